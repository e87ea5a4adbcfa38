"""The job of `luthier judge`: a model scores every row of a file, and is held against people."""

from __future__ import annotations

import asyncio
import json
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel

from luthier.atomic import atomic_write
from luthier.console import progress, say, table
from luthier.data.candidate import Candidate
from luthier.data.judging.agreement import FEWEST, Agreement, agreement
from luthier.data.judging.rubric import HIGHEST, LOWEST, Judged, judge
from luthier.data.linting.reading import rows_of
from luthier.errors import DataError, unknown
from luthier.inference.call_log import CallLog
from luthier.inference.config import LlmSection
from luthier.inference.session import Session, asking
from luthier.inference.window import each_in_order
from luthier.run import RUNS


class JudgedFile(BaseModel):
    """What came of it."""

    file: str
    out: str
    rows: int
    unread: int
    """Rows of which no vote could be read."""
    scores: dict[str, int]
    """Rows per score, rounded."""
    mean: float | None
    agreement: str | None
    """With people, in words."""
    kappa: float | None
    calls: int
    """Requests that were answered now; the others were in the log."""


def judge_file(
    path: Path,
    section: LlmSection,
    *,
    rubric: str,
    votes: int = 1,
    human: str | None = None,
    out: Path | None = None,
    seed: int = 42,
    runs: Path = RUNS,
) -> JudgedFile:
    """Score every row, and write them with `judge_score` and `judge_reason`.

    Args:
        path: a file of instruction data in any format that can be read.
        section: the model that judges.
        rubric: what makes a row good.
        votes: how often each row is judged.
        human: column with the scores that people gave some of the rows.
        out: the file to write; None: by the name of the file. Answers are kept beside it, so the
            command can be stopped and repeated.
        seed: of the resampling behind the interval of the agreement.
        runs: where trained runs are found.

    Raises:
        DataError: the file cannot be read, or has no such column.
    """
    out = out or path.with_name(f"{path.stem}.judged.jsonl")
    rows = list(rows_of(str(path), "nothing can be judged"))
    if human is not None:
        _require_column(rows, human, path)
    with CallLog(out.with_suffix(".calls.jsonl")) as log:
        session = Session(section, log, runs=runs)
        found = asyncio.run(_judged(session, rows, rubric, votes))
    with atomic_write(out) as file:
        for row, one in zip(rows, found, strict=True):
            added = {"judge_score": one.score, "judge_votes": one.votes, "judge_reason": one.reason}
            record = {**row.example.fields, **added}
            file.write(json.dumps(record, ensure_ascii=True, default=str).encode() + b"\n")
    known = [one.score for one in found if one.score is not None]
    compared = _agreement(rows, found, human, seed) if human else None
    counts = Counter(str(round(score)) for score in known)
    return JudgedFile(
        file=str(path), out=str(out), rows=len(rows), unread=len(rows) - len(known),
        scores={str(s): counts[str(s)] for s in range(LOWEST, HIGHEST + 1)},
        mean=sum(known) / len(known) if known else None,
        agreement=str(compared) if compared else None,
        kappa=compared.kappa if compared else None, calls=session.tally.calls,
    )  # fmt: skip


def print_judged(found: JudgedFile) -> None:
    """Show what came of it."""
    lines = [[score, f"{rows:,}"] for score, rows in found.scores.items()]
    if found.unread:
        lines.append(["unread", f"{found.unread:,}"])
    table(f"{found.file}: rows by score", ["score", "rows"], lines)
    if found.agreement:
        say(f"judge: {found.agreement}", style="bold")
    say(f"written: {found.out}")


async def _judged(session: Session, rows: list[Candidate], rubric: str, votes: int) -> list[Judged]:
    async def one(row: Candidate) -> Judged:
        seed = zlib.crc32(row.example.id.encode()) // 2
        return await judge(session, row.question, row.answer, rubric=rubric, votes=votes, seed=seed)

    found: list[Judged] = []
    async with asking(session):
        with progress("Judging", len(rows)) as advance:
            async for _, judged in each_in_order(rows, one, window=2 * session.section.concurrency):
                found.append(judged)
                advance(1)
    return found


def _require_column(rows: list[Candidate], human: str, path: Path) -> None:
    columns = {str(name) for row in rows for name in row.example.fields}
    if human not in columns:
        raise DataError(f"{path}: {unknown('column', human, columns)}")


def _agreement(rows: list[Candidate], found: list[Judged], human: str, seed: int) -> Agreement:
    pairs = list(_pairs(rows, found, human))
    if len(pairs) < FEWEST:
        raise DataError(
            f"column '{human}': {len(pairs)} rows have a number there and a score; agreement needs "
            f"at least {FEWEST}."
        )
    return agreement([h for h, _ in pairs], [j for _, j in pairs], seed)


def _pairs(rows: list[Candidate], found: list[Judged], human: str) -> Iterator[tuple[float, float]]:
    for row, one in zip(rows, found, strict=True):
        value = row.example.fields.get(human)
        try:
            said = float(str(value))
        except ValueError:
            continue  # people did not judge this one
        if one.score is not None:
            yield said, one.score
