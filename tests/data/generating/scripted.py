"""A model in the test's own process: answers are a function of the request."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from luthier.data.generating.writing import Write, Writing
from luthier.inference.budget import BudgetSpent, Purse
from luthier.inference.call_log import CallLog
from luthier.inference.config import BudgetSection, LlmSection
from luthier.inference.request import Choice, Completion, Request
from luthier.inference.session import Session, asking

Answer = Callable[[Request], str]


class Scripted:
    """A backend that answers by a function, in an order drawn at random.

    Args:
        answer: what is said to a request; texts that begin with `CUT` count as cut at max_tokens,
            those that begin with `UNFIT` as refused.
        order: seed of the order in which requests that wait are answered; None: as they come.
    """

    model: dict[str, Any] = {"backend": "scripted", "model": "scripted-1"}  # noqa: RUF012
    features = frozenset({"seed"})

    def __init__(self, answer: Answer, order: int | None = None) -> None:
        self.answer = answer
        self.asked: list[Request] = []
        self._chance = random.Random(order) if order is not None else None

    async def complete(self, request: Request) -> Completion:
        """Answer after some turns of the loop."""
        for _ in range(self._chance.randrange(12) if self._chance else 1):
            await asyncio.sleep(0)
        self.asked.append(request)
        text = self.answer(request)
        if text.startswith("UNFIT"):
            return Completion((), "scripted-1", 5, 0, text)
        finish = "length" if text.startswith("CUT") else "stop"
        return Completion((Choice(text, finish),), "scripted-1", 5, len(text.split()))

    async def close(self) -> None:
        """Nothing to let go of."""


def write(
    method: Write,
    backend: Any,
    log: Path,
    *,
    labels: tuple[str, ...] = (),
    window: int = 8,
    seed: int = 1,
    budget: BudgetSection | Purse | None = None,
    name: str = "method",
) -> tuple[Writing, str | None]:
    """Let a method write; returns what it wrote, and what stopped it."""

    async def run(calls: CallLog) -> tuple[Writing, str | None]:
        session = Session(LlmSection(), calls, backend=backend, budget=budget)
        writing = Writing(session=session, seed=seed, window=window, method=name, labels=labels)
        async with asking(session):
            try:
                await method(writing)
            except BudgetSpent as spent:
                return writing, str(spent)
        return writing, None

    with CallLog(log) as calls:
        return asyncio.run(run(calls))
