"""What a system said about rows, beside what it should have said."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def groups_of(names: Sequence[Hashable | None]) -> Ints | None:
    """(rows,) numbers from 0 up, equal where names are; None where no two rows share one.

    Args:
        names: per row; None: the row stands alone.
    """
    numbers: dict[Hashable, int] = {}
    keys = [(row,) if name is None else name for row, name in enumerate(names)]
    found = [numbers.setdefault(key, len(numbers)) for key in keys]
    return np.array(found, dtype=np.int64) if len(numbers) < len(keys) else None


@dataclass(frozen=True)
class Choices:
    """Classification: a score for every label of every row."""

    labels: list[str]
    positive: str
    """The label AUROC is about, with two labels."""
    gold: Ints
    """(rows,) index of the right label."""
    scores: Floats
    """(rows, labels) log-likelihoods or log-probabilities; larger is likelier, -inf is allowed."""
    groups: Ints | None = None
    """(rows,) number of the group of near-duplicates a row is in; None: each row stands alone."""

    def __len__(self) -> int:
        return len(self.gold)

    @property
    def predicted(self) -> Ints:
        """(rows,) index of the likeliest label; the first one where several tie."""
        return self.scores.argmax(axis=1)

    @property
    def correct(self) -> npt.NDArray[np.bool_]:
        """(rows,) whether the likeliest label is the right one."""
        return self.predicted == self.gold

    def probabilities(self, temperature: float = 1.0) -> Floats:
        """(rows, labels) probabilities over the label set, scores divided by the temperature."""
        scaled = self.scores / temperature
        powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))
        found: Floats = powers / powers.sum(axis=1, keepdims=True)
        return found

    def take(self, rows: Sequence[int] | Ints) -> Choices:
        """The same for some of the rows."""
        groups = None if self.groups is None else groups_of(self.groups[rows].tolist())
        return replace(self, gold=self.gold[rows], scores=self.scores[rows], groups=groups)


@dataclass(frozen=True)
class Answers:
    """Free text: generated answers, and how likely the model found the reference answers."""

    references: list[str]
    answers: list[str] | None
    """None for plain text, where nothing is generated."""
    log_likelihood: Floats
    """(rows,) of the reference (with its stop token), nats."""
    tokens: Ints
    """(rows,) tokens of the reference."""
    groups: Ints | None = None
    """(rows,) number of the group of near-duplicates a row is in; None: each row stands alone."""

    def __len__(self) -> int:
        return len(self.references)

    @property
    def written(self) -> list[str]:
        """The generated answers."""
        assert self.answers is not None, "this metric does not fit rows without answers"
        return self.answers

    def take(self, rows: Sequence[int] | Ints) -> Answers:
        """The same for some of the rows."""
        return Answers(
            [self.references[row] for row in rows],
            None if self.answers is None else [self.answers[row] for row in rows],
            self.log_likelihood[rows],
            self.tokens[rows],
            None if self.groups is None else groups_of(self.groups[rows].tolist()),
        )


Outcome = Choices | Answers


@dataclass(frozen=True)
class Metric:
    """A number that says how good an outcome is; what a file of `metrics/` builds."""

    name: str
    better: Literal["higher", "lower"] | None
    """None: neither; it describes."""
    prepare: Callable[[Any], Callable[[Floats], Floats]]
    """Outcome -> a function from row weights (samples, rows) to values (samples,).

    Weight 1 for every row gives the value itself, bootstrap counts give its resamples: whatever
    is costly happens once, and a thousand resamples are one matrix product."""
    proportion: Callable[[Any], npt.NDArray[np.bool_]] | None = None
    """For shares of rows: (rows,) which count. Such a share has a closed-form interval."""
    resampled: bool = True
    """False where resampling rows with repetition would bias the value; no interval then."""
    alike: Callable[[Any, float], tuple[float, float] | None] | None = None
    """For outcomes whose resamples all have one value, as those of a perfect score do: outcome and
    value -> a 95 % interval. The bootstrap has none to give then; without this, nor have we."""
    bounds: tuple[float, float] | None = None
    """The least and the greatest value there can be; None: there is no greatest."""
