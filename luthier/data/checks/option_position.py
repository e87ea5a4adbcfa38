"""The right answer is nearly always the same one of the options listed in the input."""

from __future__ import annotations

import re
from collections import Counter

from luthier.data.candidate import Candidate
from luthier.data.linting.dataset_check import Context, DatasetCheck, Need
from luthier.data.linting.lint_report import LintFinding
from luthier.data.rows import Row

NEEDS: tuple[Need, ...] = ()
_FEWEST, _SHARE, _OVER_CHANCE = 30, 0.6, 2
_LETTERED = re.compile(
    r"(?:^|[\s(])\(?([A-H])[).:]\s+(\S.*?)(?=\s+\(?[A-H][).:]\s|\n|$)", re.MULTILINE
)
_LISTED = re.compile(
    r"^options?:?\s*\n((?:\s*[-*]\s+.+(?:\n|\Z)){2,})", re.IGNORECASE | re.MULTILINE
)
_ANSWER = re.compile(
    r"(?:the )?(?:correct )?(?:answer|option)?(?: is)?:?\s*\(?([A-H])[).:]?(?:\s|$)", re.IGNORECASE
)


def build(context: Context) -> DatasetCheck:
    """Options as `(A) ... (B) ...` or as a list under OPTIONS:, in an order that varies."""
    return _OptionPosition()


class _OptionPosition:
    def __init__(self) -> None:
        self.positions: Counter[int] = Counter()
        self.options = 0
        self.orders: set[int] = set()

    def see(self, row: Candidate, raw: Row) -> None:
        prompt = row.example.messages[-2].content if len(row.example.messages) > 1 else ""
        text = prompt or row.question
        # Two cheap signs: most rows have no options.
        if ")" not in text and "ption" not in text and "PTION" not in text:
            return
        options = _options(text)
        place = _place(row.answer.strip(), options)
        if place is not None:
            self.positions[place] += 1
            self.options += len(options)
            if len(self.orders) < 2:
                self.orders.add(hash(tuple(options)))

    def findings(self) -> list[LintFinding]:
        rows = self.positions.total()
        if rows < _FEWEST or len(self.orders) < 2:
            return []
        (place, count), share = self.positions.most_common(1)[0], 0.0
        share, average = count / rows, self.options / rows
        if share < max(_SHARE, _OVER_CHANCE / average):
            return []
        return [
            LintFinding(
                check="option_position", what="label leakage", severity="warning", count=1,
                message=f"Option {place + 1} is the right one in {share:.0%} of {rows:,} rows with "
                f"options (on average {average:.1f}).",
                fix="Shuffle the options of every row (data.options.shuffle).",
            )
        ]  # fmt: skip


def _options(text: str) -> list[str]:
    listed = _LISTED.search(text)
    if listed:
        lines = listed.group(1).strip().split("\n")
        return [line.strip().lstrip("-*").strip() for line in lines]
    found = _LETTERED.findall(text)
    letters = [letter for letter, _ in found]
    if len(found) < 2 or letters != list("ABCDEFGH"[: len(found)]):
        return []
    return [option.strip() for _, option in found]


def _place(answer: str, options: list[str]) -> int | None:
    if len(options) < 2 or not answer:
        return None
    folded = [option.casefold() for option in options]
    if folded.count(answer.casefold()) == 1:
        return folded.index(answer.casefold())
    found = _ANSWER.match(answer)
    place = ord(found.group(1).upper()) - ord("A") if found else len(options)
    return place if place < len(options) else None
