"""Asking a model for text: requests, who answers them, what was answered, and at what cost.

    session.ask(request)    from the log where it was asked before; else once, within the budget

`backends/` is a registry: one file is one way to reach a model. Text is never generated elsewhere
(`generate.py` does it for models in this process).
"""
