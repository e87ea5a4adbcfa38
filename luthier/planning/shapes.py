"""What a micro-batch looks like, and what tracing one found."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class StepShape:
    """The largest micro-batch: what sets the peak."""

    rows: int
    length: int
    """Tokens of the longest line, without the shared prefix."""
    trained: int
    """Tokens of the micro-batch whose logits exist at the same time."""
    prefix: int = 0
    """Tokens all lines start with, run once."""
    packed: bool = False
    """Lines hold several rows, kept apart by a (T, T) mask."""


@dataclass(frozen=True)
class Traced:
    """Bytes alive in a forward and backward pass, model and optimizer state aside."""

    activations: int
    """At the end of the decoder: what it keeps for the backward pass."""
    peak: int
    """The most at any moment, logits, gradients and temporaries included."""
    gradients_at_peak: int
    """Of these, gradients of parameters."""
