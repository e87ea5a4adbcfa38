"""Rows of training that validation, calibration or test have too, or nearly."""

from __future__ import annotations

from luthier.data.candidate import Candidate
from luthier.data.linting.dataset_check import Context, DatasetCheck, Need
from luthier.data.linting.lint_report import LintFinding, Tally
from luthier.data.near import NearIndex
from luthier.data.places import Places
from luthier.data.rows import Row
from luthier.example import SPLITS, content_id

NEEDS: tuple[Need, ...] = ("splits",)
SIMILARITY = 0.8
"""The threshold of the filter `near_duplicates`."""
_MOST_TRAINING = 100_000
"""Training rows that are kept to compare held-out rows behind them with; recipes are read with
their held-out sources first, and need none."""
_FIX = (
    "Delete the row from one of the splits, or let luthier share the rows out (split: auto), which "
    "keeps near-duplicates together."
)


def build(context: Context) -> DatasetCheck:
    """What rows ask, compared between splits: word for word, and by word 3-grams."""
    return _TrainTestOverlap()


class _TrainTestOverlap:
    def __init__(self) -> None:
        self.exact: dict[int, dict[str, int]] = {}
        self.index = NearIndex(SIMILARITY)
        self.places, self.splits = Places(), bytearray()
        self.training = 0
        self.same = Tally("train_test_overlap", "same row", "error", _FIX)
        self.near = Tally("train_test_overlap", "near-duplicate", "warning", _FIX)

    def see(self, row: Candidate, raw: Row) -> None:
        split = row.example.split
        if split is None or not row.question.strip():
            return
        key = int(content_id([" ".join(row.question.casefold().split())]), 16)
        seen = self.exact.setdefault(key, {})
        other = next((s for s in seen if s != split), None)
        if other is not None:
            said = f"in {split}, and in {other}: {self.places[seen[other]]}"
            self.same.add(row.example.origin, said)
        else:
            self._compare(row, split)
        if split != "train" or self.training < _MOST_TRAINING:
            self.training += split == "train"
            seen.setdefault(split, len(self.places))
            self.places.append(row.example.origin)
            self.splits.append(SPLITS.index(split))
            self.index.add(self.index.entry(row.subject))

    def _compare(self, row: Candidate, split: str) -> None:
        found = [
            (number, similarity)
            for number, similarity in self.index.similar(self.index.entry(row.subject))
            if SPLITS[self.splits[number]] != split
        ]
        if found:
            number, similarity = max(found, key=lambda pair: pair[1])
            other = SPLITS[self.splits[number]]
            said = f"in {split}, {similarity:.2f} similar to {self.places[number]} in {other}"
            self.near.add(row.example.origin, said)

    def findings(self) -> list[LintFinding]:
        said = {self.same: "ask the same as", self.near: "nearly ask the same as"}
        return [
            tally.finding(f"{_rows(tally.count)} {words} a row of another split.")
            for tally, words in said.items()
            if tally.count
        ]


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count:,} rows"
