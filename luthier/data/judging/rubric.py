"""A model's judgement of a row by a rubric, and which of two answers it prefers.

Models as judges favour what stands first and what is long (L. Zheng et al., arXiv 2306.05685,
section 3.3), so votes see the parts of a row, and the ends of the scale, in either order by turns;
a preference counts only if it stays the same when the answers change places (section 3.4). Several
votes are drawn at a temperature and their median is taken (self-consistency: X. Wang et al., arXiv
2203.11171).
"""

from __future__ import annotations

import statistics
from typing import Literal, NamedTuple

from pydantic import BaseModel, Field

from luthier.example import Message
from luthier.inference.request import Request
from luthier.inference.session import Session
from luthier.inference.structured import ask_for

DEFAULT = (
    "A good row asks something clear that can be answered as it stands, and its answer does what "
    "is asked, is right, complete, and no longer than it needs to be."
)
LOWEST, HIGHEST = 1, 5
_MAX_TOKENS = 200


class Verdict(BaseModel):
    """What one vote says."""

    reason: str = Field(max_length=600)
    score: int = Field(ge=LOWEST, le=HIGHEST)


class Preference(BaseModel):
    """Which of two answers one vote prefers."""

    reason: str = Field(max_length=600)
    better: Literal["A", "B", "tie"]


class Judged(NamedTuple):
    """What the votes come to."""

    score: float | None
    """Their median, 1 to 5; None where no vote could be read."""
    votes: list[int]
    reason: str
    """That of the vote nearest to the median."""


async def judge(
    session: Session, question: str, answer: str, *, rubric: str, votes: int, seed: int
) -> Judged:
    """Judge a row.

    Args:
        session: whom to ask.
        question: what the row asks.
        answer: what it answers.
        rubric: what makes a row good.
        votes: how many.
        seed: of the votes.
    """
    found: list[Verdict] = []
    for vote in range(votes):
        request = Request(
            messages=_to_judge(question, answer, rubric, turned=vote % 2 == 1),
            max_tokens=_MAX_TOKENS, temperature=0.0 if votes == 1 else 0.7, seed=seed + vote,
        )  # fmt: skip
        verdict, _ = await ask_for(session, request, Verdict)
        if verdict is not None:
            found.append(verdict)
    if not found:
        return Judged(None, [], "no vote could be read")
    score = statistics.median(v.score for v in found)
    nearest = min(found, key=lambda v: abs(v.score - score))
    return Judged(float(score), [v.score for v in found], nearest.reason)


async def prefer(
    session: Session, question: str, first: str, second: str, *, rubric: str, seed: int
) -> Literal["first", "second", "tie"]:
    """Which of two answers is better: one that wins in both orders, else neither.

    Args:
        session: whom to ask.
        question: what both answer.
        first: an answer.
        second: another.
        rubric: what makes an answer good.
        seed: of the votes.
    """
    won: list[str] = []
    for swapped in (False, True):
        shown = (second, first) if swapped else (first, second)
        request = Request(
            messages=_to_prefer(question, *shown, rubric), max_tokens=_MAX_TOKENS,
            temperature=0.0, seed=seed,
        )  # fmt: skip
        said, _ = await ask_for(session, request, Preference)
        if said is None or said.better == "tie":
            return "tie"
        won.append("second" if (said.better == "B") != swapped else "first")
    if won[0] != won[1]:
        return "tie"
    return "first" if won[0] == "first" else "second"


def _to_judge(question: str, answer: str, rubric: str, *, turned: bool) -> tuple[Message, ...]:
    scale = [f"{LOWEST} (useless)", f"{HIGHEST} (excellent)"]
    parts = [f"### Question\n{question}", f"### Answer\n{answer}"]
    if turned:
        scale.reverse()
        parts.reverse()
    system = (
        f"You judge rows of a dataset that a model is to learn from. {rubric} The score goes from "
        f"{scale[0]} to {scale[1]}. Reply with JSON: "
        '{"reason": "one sentence", "score": a whole number}'
    )
    return (Message("system", system), Message("user", "\n\n".join(parts)))


def _to_prefer(question: str, a: str, b: str, rubric: str) -> tuple[Message, ...]:
    system = (
        f"You compare two answers to a question. {rubric} Their order and length do not matter. "
        'Reply with JSON: {"reason": "one sentence", "better": "A", "B" or "tie"}'
    )
    said = f"### Question\n{question}\n\n### Answer A\n{a}\n\n### Answer B\n{b}"
    return (Message("system", system), Message("user", said))
