"""Rows of training that validation, calibration or test have too, or nearly."""

from __future__ import annotations

from dataclasses import dataclass, field

from luthier.data.candidate import Candidate
from luthier.data.ids import Ids
from luthier.data.linting.dataset_check import Context, DatasetCheck, Need
from luthier.data.linting.lint_report import LintFinding, Tally
from luthier.data.near import Entry, NearIndex
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


@dataclass
class _Asked:
    """What rows of a split ask, each once, and where it is asked first."""

    questions: Ids = field(default_factory=Ids)
    places: Places = field(default_factory=Places)


class _TrainTestOverlap:
    def __init__(self) -> None:
        self.asked: dict[str, _Asked] = {}
        self.index = NearIndex(SIMILARITY)
        self.places, self.splits = Places(), bytearray()
        self.training = 0
        self.same = Tally("train_test_overlap", "same row", "error", _FIX)
        self.near = Tally("train_test_overlap", "near-duplicate", "warning", _FIX)

    def see(self, row: Candidate, raw: Row) -> None:
        split = row.example.split
        if split is None or not row.question.strip():
            return
        question = int(content_id([" ".join(row.question.casefold().split())]), 16)
        entry = self.index.entry(row.subject)
        said = self._said_in_another(question, split)
        if said is not None:
            self.same.add(row.example.origin, said)
        else:
            self._compare(row, entry, split)
        if split == "train" and self.training == _MOST_TRAINING:
            return
        self.training += split == "train"
        asked = self.asked.setdefault(split, _Asked())
        if asked.questions.number(question) is None:
            asked.questions.add(question)
            asked.places.append(row.example.origin)
        self.places.append(row.example.origin)
        self.splits.append(SPLITS.index(split))
        self.index.add(entry)

    def _said_in_another(self, question: int, split: str) -> str | None:
        for other, asked in self.asked.items():
            if other != split and (number := asked.questions.number(question)) is not None:
                return f"in {split}, and in {other}: {asked.places[number]}"
        return None

    def _compare(self, row: Candidate, entry: Entry, split: str) -> None:
        found = [
            (number, similarity)
            for number, similarity in self.index.similar(entry)
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
