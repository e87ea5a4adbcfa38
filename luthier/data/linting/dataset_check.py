"""What a check of a whole dataset is, and what it is told beforehand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from luthier.data.candidate import Candidate
from luthier.data.linting.lint_report import LintFinding
from luthier.data.rows import Row

Need = Literal["labels", "label set", "model", "splits"]
"""What a check cannot do without: labelled rows; the set that `task.labels` declares; a tokenizer;
rows of more than one split."""


@dataclass(frozen=True)
class Context:
    """What is known before the first row is read."""

    kind: str
    """classification, generation, chat or text."""
    labels: Sequence[str] = ()
    """The label set of the recipe; empty where nobody declared one."""
    max_seq_length: int | None = None
    """Tokens a row may have in training."""
    positions: int | None = None
    """Tokens the model can read; None: it does not say."""
    renders: bool = False
    """Whether rows can be rendered, which needs the model's tokenizer."""
    splits: bool = False
    """Whether rows come with splits: from their sources, or from a column."""

    def has(self, need: Need) -> bool:
        """Whether a check that needs this can be made."""
        return {
            "labels": self.kind == "classification",
            "label set": bool(self.labels),
            "model": self.renders,
            "splits": self.splits,
        }[need]


class DatasetCheck(Protocol):
    """Sees every row once, keeps counts rather than rows, and says at the end what it found.

    A file in `checks/` has `build(context)`, which returns one, and `NEEDS`, the things it cannot
    do without. A million rows must fit: nothing may keep their texts.

    One check may have a method `watch(record)`, which is told of the records behind the rows as
    they stand in the file, before an importer makes texts of their values.
    """

    def see(self, row: Candidate, raw: Row) -> None:
        """Take notice of a row, and of how it was read: `raw.fields` have their types."""
        ...

    def findings(self) -> list[LintFinding]:
        """What is wrong with the set as a whole; called once, after the last row."""
        ...
