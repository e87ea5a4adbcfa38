"""Filters: one file each, with `build(**options)` (see `luthier.data.candidate.Filter`)."""
