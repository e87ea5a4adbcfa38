"""Ways to reach a model, one file each: `open(section, runs)` returns a `Backend` (session.py).

Opening is cheap and asks nobody: a dataset that is made again from its log needs no model. What is
costly happens at the first request.
"""
