"""Two rows have the same id."""

from __future__ import annotations

from luthier.data.candidate import Candidate
from luthier.data.ids import Ids
from luthier.data.linting.dataset_check import Context, DatasetCheck, Need
from luthier.data.linting.lint_report import LintFinding, Tally
from luthier.data.places import Places
from luthier.data.rows import Row
from luthier.example import content_id

NEEDS: tuple[Need, ...] = ()
_NAMES = ("id", "_id", "uid", "uuid", "guid", "row_id", "example_id")
_MOST = 0.5
"""Share of repeated values from which a column is no id."""


def build(context: Context) -> DatasetCheck:
    """Columns named id, uid, uuid, guid, row_id or example_id.

    Rows that come of one record, such as the paths of a tree, share its id.
    """
    return _DuplicateIds()


class _DuplicateIds:
    def __init__(self) -> None:
        self.seen = Ids()
        self.places = Places()
        self.found: dict[str, Tally] = {}
        self.rows: dict[str, int] = {}

    def see(self, row: Candidate, raw: Row) -> None:
        name = next((n for n in _NAMES if raw.fields.get(n) not in (None, "")), None)
        if name is None:
            return
        self.rows[name] = self.rows.get(name, 0) + 1
        value = str(raw.fields[name])
        key = int(content_id([raw.origin.source, name, value]), 16)
        first = self.seen.number(key)
        if first is None:
            self.seen.add(key)
            self.places.append(raw.origin)
        elif self.places[first] != raw.origin:
            tally = self.found.setdefault(
                name,
                Tally(
                    "duplicate_ids", f"repeated {name}", "warning",
                    "Give every row an id of its own, or delete the copy.",
                ),
            )  # fmt: skip
            tally.add(raw.origin, f"{name} '{value[:40]}' is also that of {self.places[first]}")

    def findings(self) -> list[LintFinding]:
        return [
            tally.finding(f"{tally.count:,} of the rows have the {name} of an earlier one.")
            for name, tally in self.found.items()
            if tally.count <= _MOST * self.rows[name]
        ]
