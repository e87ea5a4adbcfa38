"""What the tuned model has to beat; one file each.

A file says what it is in its first line, has `FITS`, the kinds of task it is for, and
`measure(setting: Setting) -> Asked`, which answers `setting.test` in its order. It raises
`DataError` where it cannot be measured; the evaluation then goes on without it and says so.
"""
