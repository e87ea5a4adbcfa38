"""Checks of a whole dataset: one file each, with `build(context)` (see `dataset_check.py`)."""
