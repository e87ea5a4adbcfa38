"""Going through the rows of a dataset by hand: `luthier review`."""
