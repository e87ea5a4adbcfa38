"""A few rows are in another language than all the others."""

from __future__ import annotations

from collections import Counter

from luthier.data.candidate import Candidate
from luthier.data.linting.dataset_check import Context, DatasetCheck, Need
from luthier.data.linting.languages import language_asked_in
from luthier.data.linting.lint_report import LintFinding, Place
from luthier.data.linting.passages import prose
from luthier.data.rows import Row

NEEDS: tuple[Need, ...] = ()
_FEWEST, _MAIN, _OTHER = 20, 0.9, 0.05
_PLACES = 20


def build(context: Context) -> DatasetCheck:
    """Nine in ten rows are in one language, and at most one in twenty in the other."""
    return _OtherLanguages()


class _OtherLanguages:
    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.places: dict[str, list[Place]] = {}

    def see(self, row: Candidate, raw: Row) -> None:
        code = language_asked_in(prose(row.question))
        if code is None:
            return
        self.counts[code] += 1
        places = self.places.setdefault(code, [])
        if len(places) < _PLACES:
            places.append(Place(where=str(row.example.origin), said=f"the question is in '{code}'"))

    def findings(self) -> list[LintFinding]:
        total = self.counts.total()
        if total < _FEWEST:
            return []
        (main, most), *others = self.counts.most_common()
        few = [(code, count) for code, count in others if count <= _OTHER * total]
        if most < _MAIN * total or not few:
            return []
        listed = ", ".join(f"{count:,} in '{code}'" for code, count in few)
        return [
            LintFinding(
                check="other_languages", what="other language", severity="warning",
                count=sum(count for _, count in few),
                message=f"{most:,} rows are in '{main}', {listed}.",
                fix="Translate them or delete them; `use: language` leaves them out of a build.",
                places=[place for code, _ in few for place in self.places[code]][:_PLACES],
            )
        ]  # fmt: skip
