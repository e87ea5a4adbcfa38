"""The stage that tells the story of a run: one HTML page."""
