"""What importers share: turns, instructions, trees, recognition by content, the way back out."""
