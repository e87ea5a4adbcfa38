"""One file is one exporter: `export`, `reload`, and what the model card says of it.

LIBRARY: the package that opens the export. USE: a piece of Python that opens it in "FOLDER" with
that package; `ForCausalLM` in it becomes `ForSeq2SeqLM` for a model with an encoder. NEEDS_BASE:
whether it opens only together with the model it was made from.

The weights are those of `MadeWith.of(run).recipe`, on `base_of(run, runs)` (made_with.py): what
`run.recipe` asks for now may be something else.
"""
