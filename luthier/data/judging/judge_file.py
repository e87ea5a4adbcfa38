"""The job of `luthier judge`: a model scores every row of a file, and is held against people."""

from __future__ import annotations

import asyncio
import json
import math
import zlib
from collections import Counter
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

_SHOWN = 40


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
        human: column with the scores, 1 to 5, that people gave some of the rows.
        out: the file to write; None: by the name of the file. Answers are kept beside it, so the
            command can be stopped and repeated.
        seed: of the resampling behind the interval of the agreement.
        runs: where trained runs are found.

    Raises:
        DataError: the file cannot be read, or has no such column, or a score of people is off the
            scale; nothing is asked then.
    """
    out = out or path.with_name(f"{path.stem}.judged.jsonl")
    rows = list(rows_of(str(path), "nothing can be judged"))
    people = _people(rows, human, path) if human is not None else None
    with CallLog(out.with_suffix(".calls.jsonl")) as log:
        session = Session(section, log, runs=runs)
        found = asyncio.run(_judged(session, rows, rubric, votes))
    with atomic_write(out) as file:
        for row, one in zip(rows, found, strict=True):
            added = {"judge_score": one.score, "judge_votes": one.votes, "judge_reason": one.reason}
            record = {**row.example.fields, **added}
            file.write(json.dumps(record, ensure_ascii=True, default=str).encode() + b"\n")
    known = [one.score for one in found if one.score is not None]
    compared = _agreement(people, found, human, seed) if people is not None else None
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


def _people(rows: list[Candidate], human: str, path: Path) -> list[float | None]:
    """The scores of people; None where they gave none."""
    columns = {str(name) for row in rows for name in row.example.fields}
    if human not in columns:
        raise DataError(f"{path}: {unknown('column', human, columns)}")
    scores: list[float | None] = []
    unreadable, off = [], []
    for row in rows:
        value, score = row.example.fields.get(human), None
        if value is not None and str(value).strip():
            score = _number(value)
            found = f"{str(value)[:_SHOWN]!r} at {row.example.origin}"
            if score is None:
                unreadable.append(found)
            elif not LOWEST <= score <= HIGHEST:
                off.append(found)
        scores.append(score)
    if off:
        raise DataError(
            f"column '{human}' has scores that are not from {LOWEST} to {HIGHEST}, the scale of "
            f"the judge: {len(off):,}, the first {off[0]}. Bring them onto that scale, and leave "
            "the column empty where people did not judge."
        )
    if unreadable:
        say(
            f"column '{human}' has values that are no numbers: {len(unreadable):,}, the first "
            f"{unreadable[0]}. These rows are not compared.",
            style="yellow",
        )
    return scores


def _number(value: object) -> float | None:
    try:
        number = float(str(value))
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _agreement(
    people: list[float | None], found: list[Judged], human: str | None, seed: int
) -> Agreement:
    pairs = [
        (said, one.score)
        for said, one in zip(people, found, strict=True)
        if said is not None and one.score is not None
    ]
    if len(pairs) < FEWEST:
        raise DataError(
            f"column '{human}': {len(pairs)} rows have a number there and a score; agreement needs "
            f"at least {FEWEST}."
        )
    return agreement([h for h, _ in pairs], [j for _, j in pairs], seed)
