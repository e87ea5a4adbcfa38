"""Unnatural Instructions: a fourth example after three, its output, and other words for it."""
