"""Methods by which a model writes rows, one file each.

A file provides `build(**options)`, which returns a coroutine function `write(writing)`; `FORMAT`,
the importer that its rows are read with; and `FILES`, the names of those options that are paths.
What `write` is given, `Writing`, asks the model, and takes the rows and what was left out.
"""
