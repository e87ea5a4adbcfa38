"""What `luthier compare-data` found: the artifact, and the sentences that say what it means."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel

from luthier.artifacts import Artifact, Estimate

Verdict = Literal["first", "second", "none"]


class SideData(BaseModel):
    """One of the two datasets."""

    name: str
    """As it was given."""
    run: str
    """The run its rows were built in."""
    built: int
    """Rows of its training split."""
    removed: dict[str, int]
    """Rows that were taken out of training and validation, per reason."""
    removed_file: str
    rows: int
    """Training rows that are left to draw from."""
    validation: int
    """Validation rows of each of its runs."""


class JudgedRows(BaseModel):
    """The rows that all models are judged on."""

    what: str
    """Where they are from, in words."""
    rows: int
    labels: dict[str, int]


class ArmResult(BaseModel):
    """The models that were trained on one draw of rows, a model per seed."""

    key: Literal["a", "b", "control"]
    name: str
    rows: list[int]
    """Training rows, per seed."""
    steps: list[int]
    """Optimizer steps, per seed."""
    runs: list[str]
    seconds: list[float]
    """Of the training, per seed."""
    metrics: dict[str, Estimate]
    """Mean over the seeds, with an interval over seeds and rows."""
    by_seed: dict[str, list[float]]


class Pair(BaseModel):
    """Two arms against each other."""

    first: Literal["a", "b", "control"]
    second: Literal["a", "b", "control"]
    question: str
    """What the pair answers."""
    metrics: dict[str, Estimate]
    """First minus second."""
    by_seed: dict[str, list[float]]
    verdict: Verdict
    """Which is better on the main metric; `none`: no difference measurable."""
    said: str


class DataComparison(Artifact):
    """What `luthier compare-data` found."""

    FILE = "comparison.json"
    task: str
    recipe: str
    """Whose task, model, training and evaluation all runs have."""
    overridden: list[str]
    """Settings in which a side differed from it, and what became of them."""
    seeds: list[int]
    main_metric: str
    lower_is_better: list[str]
    held_out: JudgedRows
    sides: dict[Literal["a", "b"], SideData]
    size: int | None
    """Training rows that were asked for; null: each side has its own."""
    arms: list[ArmResult]
    pairs: list[Pair]
    notes: list[str]
    estimated_seconds: float | None
    """What the plans said of all trainings; null where they could not say."""
    asked: dict[str, Any]

    def arm(self, key: str) -> ArmResult:
        """The arm of a key."""
        return next(arm for arm in self.arms if arm.key == key)


def signed(value: float, digits: int = 3) -> str:
    """`+0.031`."""
    return f"{value:+.{digits}f}"


def figure(estimate: Estimate, digits: int = 3, *, sign: bool = False) -> str:
    """`0.031 [0.010, 0.052]`."""
    form = f"{'+' if sign else ''}.{digits}f"
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:{form}}"
    return f"{estimate.value:{form}} [{estimate.low:{form}}, {estimate.high:{form}}]"


def digits_of(values: Sequence[float]) -> int:
    """Decimals: three for shares, one for scales of 0 to 100."""
    return 1 if max(map(abs, values), default=0.0) >= 10 else 3


def verdict(
    difference: Estimate | None,
    names: tuple[str, str],
    *,
    lower_is_better: bool,
    rows: int,
    seeds: int,
    reach: float | None,
    digits: int = 3,
) -> tuple[Verdict, str]:
    """Say which of two arms is better, or what could not be seen.

    Args:
        difference: first minus second; None where the rows do not define the metric.
        names: of the first and the second.
        lower_is_better: as with perplexity.
        rows: that were judged.
        seeds: that were trained.
        reach: half of the interval.
        digits: decimals.
    """
    first, second = names
    counted = f"{rows:,} {'row' if rows == 1 else 'rows'} and {seeds} "
    counted += "seed" if seeds == 1 else "seeds"
    if difference is None:
        return "none", f"The held-out rows do not define the metric ({counted})."
    if difference.low is None or difference.high is None or reach is None:
        if difference.value == 0:
            said = f"No difference: {first} and {second} have the same score with {counted}."
        else:
            said = (
                f"{first} minus {second} is {signed(difference.value, digits)} with {counted}, "
                "without an interval; nothing is claimed."
            )
        return "none", said
    if difference.low <= 0 <= difference.high:
        return "none", (
            f"No difference measurable between {first} and {second} with {counted} "
            f"({figure(difference, digits, sign=True)}); a difference under "
            f"{reach:.{digits}f} could not be seen."
        )
    ahead = (difference.value > 0) != lower_is_better
    better, worse = (first, second) if ahead else (second, first)
    shown = difference
    if difference.value < 0:
        shown = Estimate(value=-difference.value, low=-difference.high, high=-difference.low)
    said = f"{better} is better than {worse} by {figure(shown, digits)} with {counted}."
    return ("first" if ahead else "second"), said
