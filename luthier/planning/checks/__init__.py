"""Checks: what can be wrong with a *combination* of settings, data, model and machine.

One file per check. Its docstring's first line says what it is about; `check(facts)` returns a
`Finding` (error: its `stage`, by default training, is not begun; warning; note) or None. Adding a
check is adding a file.
"""
