"""More wordings of templates, written by a model and kept only if they ask for the same."""
