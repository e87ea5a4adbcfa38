"""A row on its way into the dataset, and what a filter is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from luthier.chat import Rendered
from luthier.data.decisions import Decision
from luthier.errors import DataError
from luthier.example import Example

INSTRUCTIONS = ("definition", "Definition", "instruction")
"""Fields that say what is to be done with an input, those of Super-NaturalInstructions too."""


@dataclass
class Candidate:
    """What filters look at."""

    example: Example
    question: str
    """What the row asks: its fields without the template's words, the users' turns, or the text."""
    answer: str
    """What is to be answered; empty for plain text."""
    labels: Sequence[str]
    """The closed set that the answer is from, the task's or the source's; empty: there is none."""
    render: Callable[[Example], Rendered]
    decision: Decision | None = None
    """What a person decided about it."""
    edited: str | None = None
    """Id of what it says after that, where it was edited."""
    parts: Sequence[str] = ()
    """The fields that a template asks it with, each once; empty where it has words of its own."""

    @cached_property
    def rendered(self) -> Rendered:
        """The row as the model sees it; DataError where its chat template refuses it."""
        return self.render(self.example)

    @property
    def content(self) -> str:
        """Id of what the row says now; its own id is of what it said in its source."""
        return self.edited or self.example.id

    @property
    def subject(self) -> str:
        """What tells the row from others with the same instruction: its input, where it has one.

        A task's thousands of rows share an instruction of hundreds of words; compared as a whole,
        all of them would nearly repeat each other.
        """
        if not self.shared:
            return self.question
        if self.parts:
            return "\n".join(part for part in self.parts if part.strip() != self.shared)
        return str(self.example.fields["input"])

    @property
    def shared(self) -> str:
        """The instruction that stands apart from the row's input; empty where there is none."""
        fields = self.example.fields
        given = fields.get("input")
        if not isinstance(given, str) or not given.strip():
            return ""
        said = next((s for n in INSTRUCTIONS if isinstance(s := fields.get(n), str)), "").strip()
        return said if self.example.template is None or said in map(str.strip, self.parts) else ""

    @property
    def texts(self) -> list[str]:
        """Every text of the row that a person wrote."""
        example = self.example
        if example.messages:
            return [m.content for m in example.messages]
        return [example.text or ""]


def require_similarity(filter: str, similarity: object) -> None:
    """Check a filter's option `similarity`, from which rows are alike.

    Raises:
        DataError: it is no number in (0, 1].
    """
    if isinstance(similarity, bool) or not isinstance(similarity, (int, float)):
        raise DataError(f"filter '{filter}': similarity is {similarity!r}, not a number.")
    if not 0 < similarity <= 1:
        raise DataError(f"filter '{filter}': similarity is {similarity}, not in (0, 1].")


class Filter(Protocol):
    """Judges one row: a reason to reject it (`what: details`), or None.

    A file in `filters/` has `build(**options)`, which returns one. Rejects are counted by what
    stands before the colon.

    A filter that compares rows with earlier ones also has a method `remember(row)`. It is called
    for rows that every filter let pass, so that nothing is called a duplicate of a row that was
    itself rejected.

    One that is quicker, or asks, with many rows at once has `prepare(rows)`, called before they are
    judged. One that asks models (its file says `ASKS`) has an attribute `models`, which a build
    sets (`judging/models.py`); it is given only rows that the filters before it let pass.
    """

    def __call__(self, row: Candidate) -> str | None:
        """The reason to reject the row, or None."""
        ...
