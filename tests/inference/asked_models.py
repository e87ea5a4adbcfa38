"""Models that tests ask: in this process, each answer given when the test says so."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from luthier.inference.config import LlmSection
from luthier.inference.request import Choice, Completion, Request, Trouble

Answer = Completion | BaseException


def said(text: str, *, prompt_tokens: int = 3, completion_tokens: int = 5) -> Completion:
    """An answer."""
    return Completion((Choice(text, "stop"),), "model-1", prompt_tokens, completion_tokens)


class Model:
    """A backend whose answers are a function of the request, or come when `reply` is called.

    Args:
        answer: what it answers or raises, given the request and how often that was sent before;
            None: it waits for `reply`.
    """

    features = frozenset({"json_schema", "logprobs", "seed"})

    def __init__(self, answer: Callable[[Request, int], Answer] | None = None) -> None:
        self.model: dict[str, Any] = {"backend": "test", "model": "model-1"}
        self.answer = answer
        self.sent: list[str] = []
        """The words of every request, in the order of their arrival."""
        self.most_in_flight = self.in_flight = 0
        self.waiting: dict[str, asyncio.Future[Completion]] = {}
        self.is_closed = False

    async def complete(self, request: Request) -> Completion:
        """Answer one request."""
        times = self.sent.count(request.text)
        self.sent.append(request.text)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            if self.answer is None:
                future = asyncio.get_running_loop().create_future()
                self.waiting[request.text] = future
                return await future
            found = self.answer(request, times)
            await asyncio.sleep(0)
            if isinstance(found, BaseException):
                raise found
            return found
        finally:
            self.in_flight -= 1

    def reply(self, words: str, answer: Answer | None = None) -> None:
        """Answer a request that waits."""
        future = self.waiting.pop(words)
        answer = answer or said(f"re: {words}")
        if isinstance(answer, BaseException):
            future.set_exception(answer)
        else:
            future.set_result(answer)

    async def close(self) -> None:
        """Remember it."""
        self.is_closed = True


async def settle() -> None:
    """Let everything that can go on go on."""
    for _ in range(20):
        await asyncio.sleep(0)


def asks(words: str, **how: Any) -> Request:
    """A plain request."""
    return Request(prompt=words, **{"max_tokens": 8} | how)


def section(**changes: Any) -> LlmSection:
    """Settings of a session whose backend is given."""
    given = {"backend": "openai", "base_url": "http://127.0.0.1:1/v1", "model": "model-1"}
    return LlmSection.model_validate(given | changes)


def busy(retry_after: float | None = None) -> Trouble:
    """The server asks to be asked less."""
    return Trouble("busy", "the server is busy (429)", retry_after)


def flaky() -> Trouble:
    """The server failed."""
    return Trouble("flaky", "the server failed (500): oops")
