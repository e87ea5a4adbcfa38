"""Rows as filters see them, without a file or a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from luthier.chat import Rendered
from luthier.data.candidate import Candidate
from luthier.example import Example, Message, Origin, content_id
from luthier.names import FILTERS


def row(
    question: str,
    answer: str = "All is well.",
    *,
    line: int = 1,
    labels: Sequence[str] = (),
    turns: Sequence[tuple[str, str]] = (),
    **fields: Any,
) -> Candidate:
    """A question with its answer, or a conversation; `fields` are those of the file."""
    messages = [Message(role, text) for role, text in turns]  # type: ignore[arg-type]
    if turns:
        question = "\n".join(m.content for m in messages[:-1] if m.role == "user")
        answer = messages[-1].content
    example = Example(
        content_id([question, answer]), Origin("rows.jsonl", line), fields,
        messages=tuple(messages) or (Message("user", question), Message("assistant", answer)),
        label=answer if labels else None,
    )  # fmt: skip
    return Candidate(
        example, question, answer, list(labels), lambda e: Rendered([1] * 9, [True] * 9)
    )


def said(name: str, rows: Sequence[Candidate], **options: Any) -> list[str | None]:
    """Reasons of a filter over a stream of rows; passed rows are remembered."""
    judge = FILTERS.build(name, **options)
    reasons = []
    for each in rows:
        reasons.append(judge(each))
        if reasons[-1] is None and hasattr(judge, "remember"):
            judge.remember(each)
    return reasons


def passes(name: str, *rows: Candidate, **options: Any) -> None:
    """Assert that innocent rows are left alone."""
    assert said(name, rows, **options) == [None] * len(rows)
