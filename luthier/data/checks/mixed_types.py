"""A column holds texts in some rows and numbers, lists or truth values in others."""

from __future__ import annotations

from collections import Counter

from luthier.data.candidate import Candidate
from luthier.data.linting.dataset_check import Context, DatasetCheck, Need
from luthier.data.linting.lint_report import LintFinding, Place
from luthier.data.rows import Row, kind_of
from luthier.example import Origin

NEEDS: tuple[Need, ...] = ()
_MOST_COLUMNS = 200
_RARE = 0.2
"""Share up to which the rarer type is the mistaken one; beyond it the column is simply mixed."""


def build(context: Context) -> DatasetCheck:
    """Types as the file has them; null is none, and whole numbers are numbers like others."""
    return _MixedTypes()


class _MixedTypes:
    def __init__(self) -> None:
        self.kinds: dict[tuple[str, str], Counter[type]] = {}
        self.first: dict[tuple[str, str, type], Origin] = {}

    def see(self, row: Candidate, raw: Row) -> None:
        """Nothing: importers make texts of all values, see `watch`."""

    def watch(self, raw: Row) -> None:
        source = raw.origin.source
        for name, value in raw.fields.items():
            if value is None:
                continue
            counts = self.kinds.get((source, name))
            if counts is None:
                if len(self.kinds) >= _MOST_COLUMNS:
                    continue
                counts = self.kinds[source, name] = Counter()
            kind = type(value)
            if kind not in counts:
                self.first[source, name, kind] = raw.origin
            counts[kind] += 1

    def findings(self) -> list[LintFinding]:
        found = []
        for (source, name), types in self.kinds.items():
            if len(types) < 2:
                continue
            kinds: Counter[str] = Counter()
            origins: dict[str, Origin] = {}
            for kind, count in types.items():
                # An instance is not kept: an empty one of the type says what it is called.
                called = _called(kind)
                kinds[called] += count
                origins.setdefault(called, self.first[source, name, kind])
            if len(kinds) < 2:
                continue
            (usual, _), *others = kinds.most_common()
            if sum(n for _, n in others) > _RARE * kinds.total():
                continue
            listed = ", ".join(f"{kind} in {n:,}" for kind, n in others)
            found.append(
                LintFinding(
                    check="mixed_types", what="mixed types", severity="warning",
                    count=sum(n for _, n in others),
                    message=f"{source}: '{name}' is {usual} in most rows, {listed}.",
                    fix=f"Write {usual} in every row.",
                    places=[
                        Place(where=str(origins[kind]), said=f"'{name}' is {kind}")
                        for kind, _ in others
                    ],
                )
            )  # fmt: skip
        return found


def _called(kind: type) -> str:
    if issubclass(kind, bool):
        return kind_of(True)
    if issubclass(kind, (int, float)):
        return kind_of(0)
    known: tuple[object, ...] = ("", [], {}, b"")
    return next((kind_of(v) for v in known if issubclass(kind, type(v))), kind.__name__)
