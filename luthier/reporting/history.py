"""What happened while training, from events.jsonl."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from luthier.run import Run

MAX_POINTS = 240
"""Points of a curve; longer trainings are averaged over equal numbers of steps."""


@dataclass(frozen=True)
class History:
    """The events of the training that the run folder now holds, in order."""

    steps: list[dict[str, Any]]
    """One per optimizer step; a step repeated after a resume appears once, as last done."""
    validations: list[dict[str, Any]]
    others: list[dict[str, Any]]
    """Everything but steps and validations; `at` is seconds since training began."""

    @property
    def averaged(self) -> int:
        """Optimizer steps behind one point of a curve."""
        return -(-len(self.steps) // MAX_POINTS) or 1

    def curve(self, value: Callable[[dict[str, Any]], float | None]) -> list[tuple[float, float]]:
        """(step, value) points of a quantity; steps without it are left out."""
        points = []
        for first in range(0, len(self.steps), self.averaged):
            group = self.steps[first : first + self.averaged]
            known = [(s["step"], v) for s in group if (v := value(s)) is not None]
            if known:
                mean = sum(v for _, v in known) / len(known)
                points.append((float(known[-1][0]), mean))
        return points

    def validation_curve(self, name: str) -> list[tuple[float, float]]:
        """(step, value) of a validation metric."""
        pairs = [(v["step"], (v.get("metrics") or {}).get(name)) for v in self.validations]
        return [(float(step), float(value)) for step, value in pairs if value is not None]

    @property
    def metrics(self) -> list[str]:
        """Names of the validation metrics, `loss` first."""
        names = {name for v in self.validations for name in (v.get("metrics") or {})}
        return sorted(names, key=lambda name: (name != "loss", name))


def read_history(run: Run) -> History:
    """Read the training that the folder's data and plan belong to.

    Building or planning anew makes older training events history of another run, unless the run
    is still trained after it; going back in steps (a resume, a fresh start) replaces the steps
    that are done again.
    """
    story = _Story(trained=run.is_done("train"))
    for event in run.events():
        story.tell(event)
    return History(list(story.steps.values()), list(story.validations.values()), story.others)


@dataclass
class _Story:
    """The events so far."""

    trained: bool
    """The run's training stands, whatever was built or planned since."""
    steps: dict[int, dict[str, Any]] = field(default_factory=dict)
    validations: dict[int, dict[str, Any]] = field(default_factory=dict)
    others: list[dict[str, Any]] = field(default_factory=list)
    training: bool = False
    began: float | None = None
    """When the first attempt that still counts started."""
    attempt: tuple[int, float | None] = (0, None)
    """Where the latest attempt starts in `others`, and when it started."""

    def tell(self, event: dict[str, Any]) -> None:
        kind, step = event.get("event"), event.get("step")
        if kind == "stage_started":
            self._stage_started(event)
        elif kind == "stage_finished":
            self.training = False
        elif kind == "step" and isinstance(step, int):
            if self.steps and step <= next(reversed(self.steps)):
                self._go_back(step)
            self.steps[step] = event
        elif kind == "validation" and isinstance(step, int):
            self.validations[step] = event
        elif self.training:
            time = event.get("time")
            at = None if time is None or self.began is None else max(0.0, time - self.began)
            self.others.append({**event, "at": at})

    def _stage_started(self, event: dict[str, Any]) -> None:
        self.training = event.get("stage") == "train"
        if self.training:
            self.began = event.get("time") if self.began is None else self.began
            self.attempt = (len(self.others), event.get("time"))
        elif event.get("stage") in ("data", "plan") and not self.trained:
            self.steps, self.validations, self.others = {}, {}, []
            self.began = None

    def _go_back(self, step: int) -> None:
        self.steps = {n: e for n, e in self.steps.items() if n < step}
        self.validations = {n: e for n, e in self.validations.items() if n < step}
        if not self.steps:
            start, self.began = self.attempt
            self.others = self.others[start:]
            self.attempt = (0, self.began)


def tokens_per_second(step: dict[str, Any]) -> float | None:
    """Throughput of one optimizer step; None where the event does not say."""
    tokens, seconds = step.get("tokens"), step.get("seconds")
    return tokens / seconds if tokens and seconds else None


def smooth(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Running mean over a tenth of the points, one-sided towards both ends."""
    reach = max(1, len(points) // 20)
    result = []
    for i, (x, _) in enumerate(points):
        window = [y for _, y in points[max(0, i - reach) : i + reach + 1]]
        result.append((x, sum(window) / len(window)))
    return result
