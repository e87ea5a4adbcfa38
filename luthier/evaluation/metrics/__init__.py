"""What is measured; one file each.

A file says what it is in its first line, has `FITS`, the kinds of task it is for, and
`build(...) -> Metric`. Classification metrics are given `Choices`, all others `Answers`.
"""
