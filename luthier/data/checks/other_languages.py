"""A few rows are in another language than all the others."""

from __future__ import annotations

from collections import Counter

from luthier.data.candidate import Candidate
from luthier.data.dataset_check import Context, DatasetCheck, Need
from luthier.data.languages import language_of
from luthier.data.lint_report import LintFinding, Tally
from luthier.data.passages import prose
from luthier.data.rows import Row

NEEDS: tuple[Need, ...] = ()
_FEWEST, _MAIN, _OTHER = 20, 0.9, 0.05


def build(context: Context) -> DatasetCheck:
    """Nine in ten rows are in one language, and at most one in twenty in the other."""
    return _OtherLanguages()


class _OtherLanguages:
    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.tallies: dict[str, Tally] = {}

    def see(self, row: Candidate, raw: Row) -> None:
        code = language_of(prose(row.question))
        if code is None:
            return
        self.counts[code] += 1
        tally = self.tallies.setdefault(
            code,
            Tally(
                "other_languages", f"rows in {code}", "warning",
                "Translate the rows or delete them; `use: language` leaves them out of a build.",
            ),
        )  # fmt: skip
        tally.add(row.example.origin, f"the question is in '{code}'")

    def findings(self) -> list[LintFinding]:
        total = self.counts.total()
        if total < _FEWEST:
            return []
        main, most = self.counts.most_common(1)[0]
        if most < _MAIN * total:
            return []
        return [
            tally.finding(f"{tally.count:,} of the rows are in '{code}', {most:,} in '{main}'.")
            for code, tally in self.tallies.items()
            if code != main and tally.count <= _OTHER * total
        ]
