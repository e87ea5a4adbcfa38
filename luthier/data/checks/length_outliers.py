"""Answers or inputs of quite another length than all others."""

from __future__ import annotations

from array import array

import numpy as np

from luthier.data.candidate import Candidate
from luthier.data.linting.dataset_check import Context, DatasetCheck, Need
from luthier.data.linting.lint_report import LintFinding, Tally
from luthier.data.places import Places
from luthier.data.rows import Row

NEEDS: tuple[Need, ...] = ()
_FEWEST = 30
_DEVIATIONS = 8
"""Robust standard deviations of the logarithm of the length (1.4826 times the median deviation)."""
_TIMES, _WORDS = 10, 300
"""A long text also has ten times the median, and three hundred words."""
_SHORT_TIMES, _SHORT_MEDIAN, _SHORT_SHARE = 50, 100, 0.01
_LEAST_SPREAD = 0.25


def build(context: Context) -> DatasetCheck:
    """Words, about: spaces and line ends are counted. Rare short answers among long ones too."""
    return _LengthOutliers(context)


class _LengthOutliers:
    def __init__(self, context: Context) -> None:
        self.answers = context.kind != "classification"
        self.places = Places()
        self.lengths = {"input": array("I"), "answer": array("I")}

    def see(self, row: Candidate, raw: Row) -> None:
        self.places.append(row.example.origin)
        self.lengths["input"].append(_words(row.question))
        if self.answers:
            self.lengths["answer"].append(_words(row.answer))

    def findings(self) -> list[LintFinding]:
        found = []
        for where, lengths in self.lengths.items():
            if len(lengths) < _FEWEST:
                continue
            words = np.frombuffer(lengths, dtype=np.uint32).astype(np.float64)
            logs = np.log1p(words)
            middle = float(np.median(logs))
            spread = max(1.4826 * float(np.median(np.abs(logs - middle))), _LEAST_SPREAD)
            median = float(np.median(words))
            long = (logs > middle + _DEVIATIONS * spread) & (words >= max(_WORDS, _TIMES * median))
            found += self._finding(where, "long", np.flatnonzero(long), words, median)
            short = (words * _SHORT_TIMES <= median) & (words > 0) & (median >= _SHORT_MEDIAN)
            if where == "answer" and short.sum() <= _SHORT_SHARE * len(words):
                found += self._finding(where, "short", np.flatnonzero(short), words, median)
        return found

    def _finding(
        self,
        where: str,
        how: str,
        rows: np.ndarray[tuple[int], np.dtype[np.int64]],
        words: np.ndarray[tuple[int], np.dtype[np.float64]],
        median: float,
    ) -> list[LintFinding]:
        if not len(rows):
            return []
        fix = "Look whether the row belongs here: files that were joined wrongly make such rows."
        tally = Tally("length_outliers", f"very {how} {where}", "warning", fix)
        for number in rows:
            tally.add(self.places[int(number)], f"{where} of {words[number]:,.0f} words")
        said = f"{tally.count:,} of the rows have a very {how} {where}; the median has"
        return [tally.finding(f"{said} {median:,.0f} words.")]


def _words(text: str) -> int:
    return text.count(" ") + text.count("\n") + bool(text)
