"""Rows that a model writes: the job (`write.py`) and what a method works with (`writing.py`)."""
