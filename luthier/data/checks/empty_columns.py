"""A column holds nothing in any row."""

from __future__ import annotations

from luthier.data.candidate import Candidate
from luthier.data.linting.dataset_check import Context, DatasetCheck, Need
from luthier.data.linting.lint_report import LintFinding
from luthier.data.rows import Row

NEEDS: tuple[Need, ...] = ()
_FEWEST_ROWS = 5
_MOST_COLUMNS = 200
# Fields that formats have and many sets leave empty.
_OPTIONAL = (
    "input", "system", "history", "context", "tools", "tool_calls", "name", "weight", "explanation",
    "reference", "references", "metadata", "meta", "notes", "comment", "comments", "tags",
    "reasoning", "positive_examples", "positive examples", "negative_examples", "negative examples",
)  # fmt: skip


def build(context: Context) -> DatasetCheck:
    """Per source; fields that are optional in the known formats are not named."""
    return _EmptyColumns()


class _EmptyColumns:
    def __init__(self) -> None:
        self.rows: dict[str, int] = {}
        self.filled: dict[str, dict[str, bool]] = {}

    def see(self, row: Candidate, raw: Row) -> None:
        source = raw.origin.source
        self.rows[source] = self.rows.get(source, 0) + 1
        filled = self.filled.setdefault(source, {})
        for name, value in raw.fields.items():
            if not filled.get(name) and (name in filled or len(filled) < _MOST_COLUMNS):
                empty = value is None or value == [] or value == {}
                filled[name] = not empty and not (isinstance(value, str) and not value.strip())

    def findings(self) -> list[LintFinding]:
        found = []
        for source, filled in self.filled.items():
            empty = [n for n, has in filled.items() if not has and n.casefold() not in _OPTIONAL]
            if empty and self.rows[source] >= _FEWEST_ROWS:
                listed = ", ".join(f"'{name}'" for name in empty[:10])
                found.append(
                    LintFinding(
                        check="empty_columns", what="empty column", severity="warning", count=1,
                        message=f"{source}: nothing in any of {self.rows[source]:,} rows in the "
                        f"column {listed}.",
                        fix="Fill it or delete it; a wrong delimiter or join leaves such columns.",
                    )
                )  # fmt: skip
        return found
