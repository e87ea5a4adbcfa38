"""Many different questions are answered with the same sentence."""

from __future__ import annotations

from typing import NamedTuple

from luthier.data.candidate import Candidate
from luthier.data.linting.dataset_check import Context, DatasetCheck, Need
from luthier.data.linting.lint_report import LintFinding, Place
from luthier.data.linting.passages import excerpt
from luthier.data.rows import Row

NEEDS: tuple[Need, ...] = ()
_COUNTERS = 512
"""Answers that are counted at once; one that is more than a 512th of all is never missed."""
_SHARE, _FEWEST, _LEAST_WORDS = 0.02, 5, 5
_PLACES = 3


class _Counted(NamedTuple):
    shown: str
    places: list[Place]
    question: int
    """A hash of the first question it answers."""


def build(context: Context) -> DatasetCheck:
    """Answers of five words or more that are 2 % of all, and at least five.

    Counted with a fixed number of counters (J. Misra and D. Gries, "Finding repeated elements",
    1982), so that memory does not grow.
    """
    return _RepeatedAnswers(context)


class _RepeatedAnswers:
    def __init__(self, context: Context) -> None:
        self.used = context.kind != "classification"
        self.rows = 0
        self.counts: dict[int, int] = {}
        self.first: dict[int, _Counted] = {}

    def see(self, row: Candidate, raw: Row) -> None:
        if not self.used or not row.example.messages:
            return
        self.rows += 1
        answer = row.answer.strip()
        if answer.count(" ") < _LEAST_WORDS - 1 or len(answer) > 2000:
            return
        key, asked = hash(answer), hash(row.question)
        if key in self.counts:
            counted = self.first[key]
            if counted.question != asked:
                self.counts[key] += 1
                if len(counted.places) < _PLACES:
                    place = Place(where=str(row.example.origin), said=f"'{counted.shown}'")
                    counted.places.append(place)
        elif len(self.counts) < _COUNTERS:
            self.counts[key] = 1
            shown = excerpt(answer)
            place = Place(where=str(row.example.origin), said=f"'{shown}'")
            self.first[key] = _Counted(shown, [place], asked)
        else:
            for other in [k for k, n in self.counts.items() if n == 1]:
                del self.counts[other], self.first[other]
            for other in self.counts:
                self.counts[other] -= 1

    def findings(self) -> list[LintFinding]:
        least = max(_FEWEST, _SHARE * self.rows)
        return [
            LintFinding(
                check="repeated_answers", what="repeated answer", severity="warning", count=count,
                message=f"At least {count:,} of {self.rows:,} rows have one answer: "
                f"'{self.first[key].shown}'",
                fix="Keep a few of them; a model learns to fall back on what it sees most.",
                places=self.first[key].places,
            )
            for key, count in self.counts.items()
            if count >= least
        ]  # fmt: skip
