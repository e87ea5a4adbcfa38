"""The data stage: from the sources a recipe names to four files of rendered rows."""
