"""Who is measured, and how: each contestant is a process of its own that takes one JSON job.

A worker is started as `python -m contestants.NAME_worker JOB.json` and writes JSON lines to the
file that the job names under `out`:

    {"event": "start", "versions": {...}}
    {"event": "step", "step": 1, "seconds": 1.2, "loss": 0.7}
    {"event": "validation", "step": 20, "train_seconds": 24.1, "loss": 0.3}
    {"event": "end", "gpu_peak_bytes": null}

`seconds` lasts from the end of the step before to the end of this one. luthier goes first and
writes down the batches it trained on (`replay.json`); the others are given these batches, token
for token, in the same order. So no renderer, sampler or length grouping makes a difference.
"""
