"""What a micro-batch looks like, and what tracing one found."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class EndToEnd:
    """Rows laid end to end in one line, a shared prefix once per group (`luthier.ragged`)."""

    groups: tuple[tuple[int, tuple[int, ...]], ...]
    """(tokens of the shared prefix or 0, tokens of each row without it)."""
    trained: int
    """Tokens that carry loss."""

    @property
    def tokens(self) -> int:
        """Tokens that go through the model."""
        return sum(prefix + sum(rows) for prefix, rows in self.groups)

    def __str__(self) -> str:
        count = sum(len(rows) for _, rows in self.groups)
        shared = sum(prefix for prefix, _ in self.groups)
        words = f"{self.tokens:,} tokens: {count:,} rows end to end"
        return f"{words}, {shared:,} shared tokens once" if shared else words


@dataclass(frozen=True)
class Padded:
    """Lines padded to the longest."""

    lines: int
    width: int
    trained: int
    """Tokens that carry loss."""
    packed: bool = False
    """Lines hold several rows, kept apart by a (T, T) mask."""

    @property
    def tokens(self) -> int:
        """Tokens that go through the model, padding included."""
        return self.lines * self.width

    def __str__(self) -> str:
        return f"{self.lines:,} lines x {self.width:,} tokens"


@dataclass(frozen=True)
class Pairs:
    """Prompts for an encoder and answers for a decoder (`luthier.seq2seq`), each padded."""

    rows: int
    asked: int
    """Tokens of the longest prompt."""
    answered: int
    """Tokens of the longest answer."""
    trained: int
    """Tokens that carry loss."""

    @property
    def tokens(self) -> int:
        """Tokens that go through the model, padding included."""
        return self.rows * (self.asked + self.answered)

    def __str__(self) -> str:
        return f"{self.rows:,} rows x {self.asked:,} tokens read and {self.answered:,} answered"


StepShape = EndToEnd | Padded | Pairs


@dataclass(frozen=True)
class Traced:
    """A forward and backward pass: bytes alive, model and optimizer state aside, and work."""

    activations: int
    """At the end of the decoder: what it keeps for the backward pass."""
    peak: int
    """The most at any moment, logits, gradients and temporaries included."""
    gradients_at_peak: int
    """Of these, gradients of parameters."""
    written: int
    """Bytes of what operations computed or changed, one after the other."""
    calls: int
    """Operations that torch was asked for."""
