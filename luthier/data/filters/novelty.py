"""Rejects rows whose question is too much like an earlier one, by ROUGE-L as in Self-Instruct."""

from __future__ import annotations

from collections.abc import Sequence

from luthier.console import say
from luthier.data.candidate import Candidate, Filter
from luthier.data.linting.lint_report import Severity
from luthier.data.novelty import THRESHOLD, NoveltyPool, Words
from luthier.data.places import Places
from luthier.errors import DataError, unknown

SEVERITY: Severity = "warning"
FIX = "Ask for something else, or delete the row; a set of like instructions teaches little more."
FILES = ("against",)
"""Options that name files, relative to the recipe."""
_COMPARED = ("instruction", "question")


def build(
    *,
    threshold: float = THRESHOLD,
    against: str | Sequence[str] = (),
    compare: str = "instruction",
    unicode: bool = False,
) -> Filter:
    """Rows that no earlier row and no seed is too similar to pass (arXiv 2212.10560, 2.2).

    Args:
        threshold: the largest ROUGE-L F1 that is novel, in [0, 1].
        against: a file of seed tasks, or several, which rows must differ from too.
        compare: `instruction` compares the column of this name, and what a row asks where it has
            none; `question` what it asks, its input included.
        unicode: words of every script are compared. Off, as in Self-Instruct, only a-z and 0-9 are
            seen, and texts in other letters pass.
    """
    # It finds filters, and so this one, by name.
    from luthier.data.linting.reading import rows_of

    name = "filter 'novelty'"
    if isinstance(threshold, bool) or not isinstance(threshold, (int, float)):
        raise DataError(f"{name}: threshold is {threshold!r}, not a number.")
    if not 0 <= threshold <= 1:
        raise DataError(f"{name}: threshold is {threshold}, not in [0, 1].")
    if compare not in _COMPARED:
        raise DataError(f"{name}: {unknown('value of compare', str(compare), _COMPARED)}")
    if not isinstance(unicode, bool):
        raise DataError(f"{name}: unicode is {unicode!r}, expected true or false.")
    files = [against] if isinstance(against, str) else list(against)
    if not all(isinstance(file, str) and file for file in files):
        raise DataError(f"{name}: against is {against!r}, expected a file or a list of files.")
    found = _Novelty(NoveltyPool(float(threshold), unicode), compare == "instruction")
    for file in files:
        for row in rows_of(file, "there are no seeds to differ from"):
            found.remember(row)
    return found


class _Novelty:
    def __init__(self, pool: NoveltyPool, instructions: bool) -> None:
        self.pool, self.instructions = pool, instructions
        self.places = Places()
        self.warned = False
        self.last: tuple[Candidate, Words] | None = None

    def __call__(self, row: Candidate) -> str | None:
        closest = self.pool.closest(self._words(row))
        if not self.warned and (warning := self.pool.warning):
            self.warned = True
            say(warning, style="yellow")
        if closest is None:
            return None
        return f"not novel: ROUGE-L {closest.score:.2f} with {self.places[closest.number]}"

    def remember(self, row: Candidate) -> None:
        self.pool.add(self._words(row))
        self.places.append(row.example.origin)

    def _words(self, row: Candidate) -> Words:
        if self.last is None or self.last[0] is not row:
            instruction = row.example.fields.get("instruction") if self.instructions else None
            text = instruction if isinstance(instruction, str) else row.question
            self.last = (row, self.pool.read(text))
        return self.last[1]
