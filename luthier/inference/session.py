"""Asks one model: from the log where it was asked before; else once, within the budget.

    with CallLog(path) as log:
        async with Session(section, log) as session:
            completion = await session.ask(Request(prompt="..."))

What can go wrong on the way is dealt with here, for all backends alike: a busy server is asked
less, and not before the time it names; a failed request is sent again; a server that is gone is
waited for, then generation stops with what to do; a wrong key or model stops it at once.
Whatever was answered is in the log by then.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol

from luthier.console import duration, say
from luthier.errors import ModelError
from luthier.inference.budget import Purse
from luthier.inference.call_log import CallLog
from luthier.inference.config import BudgetSection, LlmSection
from luthier.inference.pace import Pace
from luthier.inference.request import Completion, Request, Trouble
from luthier.registry import Registry
from luthier.run import RUNS

BACKENDS = Registry("backend", "luthier.inference.backends")
TRIES = 8
"""Times a request is sent, before it is given up, to a server that answers others."""
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
"""Seconds between tries: doubled each time, with jitter (OpenAI's client begins at 0.5 too)."""


class Backend(Protocol):
    """One way to reach a model; what a file in `backends/` opens."""

    @property
    def model(self) -> dict[str, Any]:
        """What determines the model's answers, beside the request: part of every key."""

    @property
    def features(self) -> frozenset[str]:
        """Of `json_schema`, `grammar`, `logprobs`, `seed`: what it can be held to."""

    async def complete(self, request: Request) -> Completion:
        """Answer one request.

        Raises:
            Trouble: it was not answered and may be sent again.
            ModelError: nothing will be answered: a wrong key, no such model.
        """

    async def close(self) -> None:
        """Let go of processes, connections and memory."""


@dataclass
class Tally:
    """What a session did."""

    calls: int = 0
    """Requests that were answered and paid."""
    replayed: int = 0
    """Requests that the log answered."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    retries: int = 0
    started: float = 0.0
    """When the first request was sent (`time.monotonic`)."""

    @property
    def tokens_per_second(self) -> float:
        """Tokens generated per second since the first request."""
        passed = time.monotonic() - self.started if self.started else 0.0
        return self.completion_tokens / passed if passed else 0.0


class Session:
    """Asks one model, and is a context manager that opens and closes its backend.

    Args:
        section: which model, and how it is reached.
        log: where answers are kept.
        budget: where to stop; None: nowhere.
        runs: where trained runs are found (`model: run:NAME`).
        backend: one that is open already; None: the section's, opened at the first request that
            the log cannot answer.
    """

    def __init__(
        self,
        section: LlmSection,
        log: CallLog,
        *,
        budget: BudgetSection | None = None,
        runs: Any = RUNS,
        backend: Backend | None = None,
    ) -> None:
        self.section, self.log = section, log
        self.purse = Purse(budget, section.prices, self._spent)
        self.tally = Tally()
        self.pace = Pace(section.concurrency)
        self.backend: Backend = backend or BACKENDS.load(section.backend).open(section, runs)
        self.model = self.backend.model
        self._asking: dict[str, asyncio.Task[Completion]] = {}
        self._sent: set[Any] = set()
        """Tasks whose request is on its way."""
        self._gone_since: float | None = None
        self._answered = 0
        """Requests that a server dealt with since the session began, to tell who is ill."""

    async def ask(self, request: Request) -> Completion:
        """The answer to a request.

        Raises:
            BudgetSpent: the budget has no room for it.
            ModelError: the model cannot be had, or its server is gone or ill.
            RunError: the log cannot be written.
        """
        key = request.key(self.model)
        if (known := self.log.get(key)) is not None:
            self.tally.replayed += 1
            return known
        if key not in self._asking:
            self._asking[key] = asyncio.ensure_future(self._paid(key, request))
            self._asking[key].add_done_callback(lambda _: self._asking.pop(key, None))
        # Who waits may be cancelled; the request, once it is sent, is paid and runs to its end.
        return await asyncio.shield(self._asking[key])

    async def drain(self) -> None:
        """Cancel what is not sent yet, and wait for what is: its answers go into the log."""
        for task in list(self._asking.values()):
            if task not in self._sent:
                task.cancel()
        if self._asking:
            await asyncio.gather(*self._asking.values(), return_exceptions=True)

    async def __aenter__(self) -> Session:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for task in list(self._asking.values()):
            task.cancel()
        if self._asking:
            await asyncio.gather(*self._asking.values(), return_exceptions=True)
        await self.backend.close()

    # --- one request --------------------------------------------------------------------------

    async def _paid(self, key: str, request: Request) -> Completion:
        """Send a request until it is answered, and write the answer down."""
        # A token is some 4 characters of English, fewer of others; 3 is on the safe side.
        self.purse.reserve(key, len(request.text) // 3, request.max_tokens * request.n)
        try:
            for attempt in range(1, 10_000):
                answered_before = self._answered
                try:
                    return await self._sent_once(key, request)
                except Trouble as trouble:
                    self.tally.retries += 1
                    if attempt >= TRIES and trouble.kind != "gone":
                        if self._answered == answered_before:
                            raise ModelError(self._ill(trouble, attempt)) from None
                        if trouble.kind == "flaky":
                            return self._given_up(key, request, trouble)
                    if trouble.kind != "gone":
                        await asyncio.sleep(_pause(attempt, trouble.retry_after))
            raise AssertionError("a request is not sent so often")
        finally:
            self.purse.settle(key)

    async def _sent_once(self, key: str, request: Request) -> Completion:
        async with self.pace.slot() as sent_in:
            self._sent.add(asyncio.current_task())
            self.tally.started = self.tally.started or time.monotonic()
            started = time.monotonic()
            try:
                completion = await self.backend.complete(request)
            except Trouble as trouble:
                self._ease(trouble, sent_in)
                raise
            finally:
                self._sent.discard(asyncio.current_task())
            self._gone_since = None
            self._answered += 1
            self.log.add(key, request, completion, time.monotonic() - started)
            self.pace.went_well()
        self.tally.calls += 1
        self.tally.prompt_tokens += completion.prompt_tokens
        self.tally.completion_tokens += completion.completion_tokens
        return Completion(
            completion.choices, completion.model, completion.prompt_tokens,
            completion.completion_tokens, completion.unfit, key,
        )  # fmt: skip

    def _ease(self, trouble: Trouble, sent_in: int) -> None:
        """Ask less, or wait for the server to come back; stop where it does not."""
        if trouble.kind == "busy":
            self.pace.pushed_back(sent_in, trouble.retry_after or FIRST_PAUSE)
        elif trouble.kind == "gone":
            now = time.monotonic()
            if self._gone_since is None:
                self._gone_since = now
                say(
                    f"{trouble.said}; waiting up to {duration(self.section.patience)} for it",
                    style="yellow",
                )
            if now - self._gone_since >= self.section.patience:
                raise ModelError(self._dead(trouble)) from None
            left = self.section.patience - (now - self._gone_since)
            self.pace.pushed_back(sent_in, min(_pause(2), left))

    def _given_up(self, key: str, request: Request, trouble: Trouble) -> Completion:
        """A request that fails while others do not is recorded as what it is."""
        unfit = f"failed {TRIES} times: {trouble.said}"
        completion = Completion((), str(self.model.get("model")), unfit=unfit, key=key)
        self.log.add(key, request, completion, 0.0)
        return completion

    def _dead(self, trouble: Trouble) -> str:
        where = self.section.base_url or self.section.model
        return (
            f"{trouble.said}. Nothing came from {where} for {duration(self.section.patience)} "
            f"(llm.patience). {self._kept()} Start the server, or correct llm.base_url, and repeat "
            "the command."
        )

    def _ill(self, trouble: Trouble, tries: int) -> str:
        where = self.section.base_url or self.section.model
        return (
            f"{where} failed {tries} times in a row: {trouble.said}. {self._kept()} Look at the "
            "server's own log, and repeat the command."
        )

    def _kept(self) -> str:
        count = len(self.log)
        return f"Nothing is lost: {count:,} answers are in {self.log.path} and are not asked again."

    def _spent(self) -> tuple[int, int, int]:
        return len(self.log), self.log.prompt_tokens, self.log.completion_tokens


def _pause(attempt: int, asked: float | None = None) -> float:
    if asked is not None:
        return asked
    longest: float = min(FIRST_PAUSE * 2.0 ** (attempt - 1), LONGEST_PAUSE)
    return longest * random.uniform(0.5, 1.0)  # so that not all come back at once


@contextlib.asynccontextmanager
async def asking(session: Session) -> Any:
    """Open a session and let what was sent come in at the end, so that it is not paid in vain."""
    async with session:
        yield session
        await session.drain()
