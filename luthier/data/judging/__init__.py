"""Rows judged by a model: a rubric, votes, and how far they agree with people."""
