"""Rejects rows that a model, asked to judge them by a rubric, scores too low."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from luthier.data.candidate import Candidate, Filter
from luthier.data.judging.models import Models
from luthier.data.judging.rubric import DEFAULT, HIGHEST, LOWEST, Judged, judge
from luthier.data.linting.lint_report import Severity
from luthier.errors import DataError
from luthier.inference.config import LlmSection
from luthier.inference.session import Session
from luthier.inference.window import each_in_order

SEVERITY: Severity = "warning"
FIX = "Read the row and the reason; mend it, or delete it."
ASKS = True
"""It asks a model: the build hands it `llm` and `log`, and sets `models`."""
_REMEMBERED = 50_000
"""Verdicts that are kept; older ones are read from the log again."""


def build(
    *,
    minimum: float | None = None,
    rubric: str = DEFAULT,
    votes: int = 1,
    llm: dict[str, Any] | None = None,
    log: str | None = None,
) -> Filter:
    """Rows whose score, 1 to 5, is below a minimum; it is kept with the row as `judge_score`.

    How far the judge can be trusted is another question: `luthier judge FILE --human COLUMN` tells
    its agreement with people on rows that they have judged.

    Args:
        minimum: lowest score that is kept; None: nothing is asked.
        rubric: what makes a row good, in words.
        votes: how often each row is judged; the median counts.
        llm: the model that judges, as in `data.llm`, which it is unless given.
        log: file of its answers; the run's own unless given.
    """
    if minimum is not None and not LOWEST <= minimum <= HIGHEST:
        raise DataError(f"filter 'judge': minimum is {minimum!r}, expected {LOWEST} to {HIGHEST}.")
    if isinstance(votes, bool) or not isinstance(votes, int) or votes < 1:
        raise DataError(f"filter 'judge': votes is {votes!r}, expected a whole number from 1 on.")
    if minimum is None:
        return lambda row: None
    try:
        section = LlmSection.model_validate(llm or {})
    except ValidationError as error:
        first = error.errors()[0]
        raise DataError(
            f"filter 'judge': llm.{'.'.join(map(str, first['loc']))}: {first['msg']}."
        ) from None
    if log is None:
        raise DataError("filter 'judge': log is missing: the file that keeps the model's answers.")
    return _Judge(minimum, rubric, votes, section, Path(log))


class _Judge:
    def __init__(
        self, minimum: float, rubric: str, votes: int, section: LlmSection, log: Path
    ) -> None:
        self.minimum, self.rubric, self.votes = minimum, rubric, votes
        self.section, self.log = section, log
        self.models: Models | None = None
        """Those that it shares with others; None: it opens its own for each block."""
        self._judged: dict[str, Judged] = {}

    def prepare(self, rows: Sequence[Candidate]) -> None:
        """Judge a block of rows at once."""
        if not rows:
            return
        with nullcontext(self.models) if self.models is not None else Models() as models:
            found = models.ask(self.section, self.log, lambda session: self._block(session, rows))
        for row, one in zip(rows, found, strict=True):
            self._judged[row.example.id] = one
            fields = {**row.example.fields, "judge_score": one.score}
            row.example = replace(row.example, fields=fields)
        while len(self._judged) > max(_REMEMBERED, len(rows)):
            del self._judged[next(iter(self._judged))]

    async def _block(self, session: Session, rows: Sequence[Candidate]) -> list[Judged]:
        async def one(row: Candidate) -> Judged:
            # By the row alone, so that its verdict does not depend on which others there are.
            seed = zlib.crc32(row.example.id.encode()) // 2
            return await judge(
                session, row.question, row.answer, rubric=self.rubric, votes=self.votes, seed=seed
            )

        window = 2 * session.section.concurrency
        return [judged async for _, judged in each_in_order(rows, one, window=window)]

    def __call__(self, row: Candidate) -> str | None:
        if row.example.id not in self._judged:  # it did not come in a block
            self.prepare([row])
        found = self._judged[row.example.id]
        if found.score is None:
            return f"judge: {found.reason}"
        if found.score >= self.minimum:
            return None
        return f"judge: {found.score:g} of {HIGHEST}, {self.minimum:g} needed: {found.reason}"
