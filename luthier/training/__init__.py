"""The training stage; the job is `train.py`."""
