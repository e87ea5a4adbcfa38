"""A few answers in prose lack the full stop that all the others have."""

from __future__ import annotations

import re

from luthier.data.candidate import Candidate
from luthier.data.filters import truncated
from luthier.data.linting.dataset_check import Context, DatasetCheck, Need
from luthier.data.linting.lint_report import LintFinding, Tally
from luthier.data.linting.passages import excerpt, has_code
from luthier.data.rows import Row

NEEDS: tuple[Need, ...] = ()
_FEWEST, _RARE = 20, 0.05
"""Answers in prose, and the share of them that may be a slip; above it is the file's way."""
_LEAST_WORDS, _LEAST_LAST = 8, 5
"""Of an answer, and of its last line: titles, lists and verse have no full stop."""
_WORD = re.compile(r"[^\W\d_A-ZÀ-Þ][^\W\d_]*")
"""What a sentence may break off in; names, titles, links and hashtags stand behind the end, and of
commas the filter `truncated` speaks."""
_ITEM = re.compile(r"\s*(?:[-*•+#>|]|\d{1,3}[.)]|[A-Za-z][.)]\s|\w[\w ]{0,30}:)")
_SENTENCE_END = re.compile(r"[a-z)\"'][.!?][\"')\]]*\s+[\"'(]*[A-ZÀ-Þ]")


def build(context: Context) -> DatasetCheck:
    """Answers of several sentences that end in a letter, where 95 % of their kind end in a mark.

    A model that ran out of tokens stops anywhere, in a word too. In one answer that says nothing;
    in a set in which nobody else leaves out the full stop, it does.
    """
    return _UnfinishedAnswers()


class _UnfinishedAnswers:
    def __init__(self) -> None:
        self.all = 0
        self.surely_cut = truncated.build()
        self.tally = Tally(
            "unfinished_answers", "unfinished answer", "warning",
            "Complete them, generate them again with more tokens, or delete them.",
        )  # fmt: skip

    def see(self, row: Candidate, raw: Row) -> None:
        answer = row.answer.strip()
        if row.labels or not row.example.messages or not _is_prose(answer):
            return
        self.all += 1
        # The filter has named what is cut for sure.
        if (
            _WORD.fullmatch(answer[-40:].split()[-1])
            and not has_code(answer)
            and not self.surely_cut(row)
        ):
            self.tally.add(row.example.origin, f"'...{excerpt(answer[-40:], 40)}'")

    def findings(self) -> list[LintFinding]:
        count = self.tally.count
        if not count or self.all < _FEWEST or count > _RARE * self.all:
            return []
        return [
            self.tally.finding(
                f"{count:,} of {self.all:,} answers in prose end without a full stop."
            )
        ]


def _is_prose(answer: str) -> bool:
    """Whether an answer is of whole sentences: one that has its mark, or several before the end."""
    if answer.count(" ") + 1 < _LEAST_WORDS:
        return False
    line = answer.rpartition("\n")[2]
    if line.count(" ") + 1 < _LEAST_LAST or "|" in line or _ITEM.match(line):
        return False
    # Nearly all end in a mark; the others are looked at more closely.
    return answer[-1] in ".!?" or _SENTENCE_END.search(answer) is not None
