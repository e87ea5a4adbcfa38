"""Words such as <noinput> or N/A stand in the input where there is none."""

from __future__ import annotations

from collections import Counter

from luthier.data.candidate import Candidate
from luthier.data.linting.dataset_check import Context, DatasetCheck, Need
from luthier.data.linting.lint_report import LintFinding, Tally
from luthier.data.rows import Row

NEEDS: tuple[Need, ...] = ()
# AlpacaDataCleaned lists them among its ten defects (gururise/AlpacaDataCleaned).
_MARKERS = frozenset(
    ["noinput", "no input", "no input needed", "no input required", "no input provided",
     "no input given", "no input necessary", "no additional input", "no context", "n/a", "na",
     "not applicable", "not available", "not specified", "not provided", "not required", "none",
     "null", "nan", "empty", "blank", "nil", "-", "--"]
)  # fmt: skip
_BRACKETS = str.maketrans("_", " ", "<>[](){}\"'")


def build(context: Context) -> DatasetCheck:
    """The field `input` of instructions, in how many spellings."""
    return _EmptyInputMarkers()


class _EmptyInputMarkers:
    def __init__(self) -> None:
        self.spellings: Counter[str] = Counter()
        self.tally = Tally(
            "empty_input_markers", "empty-input marker", "warning",
            "Write an empty text instead; the model reads these words as input.",
        )  # fmt: skip

    def see(self, row: Candidate, raw: Row) -> None:
        given = raw.fields.get("input")
        if not isinstance(given, str) or "instruction" not in raw.fields:
            return
        if len(given) > 24 or _plain(given) not in _MARKERS:
            self.spellings[""] += not given.strip()
            return
        self.spellings[given.strip()] += 1
        self.tally.add(raw.origin, f"input is '{given.strip()}'")

    def findings(self) -> list[LintFinding]:
        if not self.tally.count:
            return []
        shown = [(w, n) for w, n in self.spellings.most_common(6) if n]
        listed = ", ".join(f"'{word}' {count:,}" for word, count in shown)
        ways = "in one way" if len(shown) == 1 else f"in {len(shown)} ways"
        return [self.tally.finding(f"That there is no input is said {ways}: {listed}.")]


def _plain(given: str) -> str:
    """An input without case, brackets, full stop and extra white space."""
    return " ".join(given.casefold().translate(_BRACKETS).split()).strip(" .")
