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
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Protocol

from luthier.console import duration, say
from luthier.errors import ModelError
from luthier.inference.budget import Cost, Purse, require_prices
from luthier.inference.call_log import CallLog
from luthier.inference.config import BudgetSection, LlmSection
from luthier.inference.pace import Pace
from luthier.inference.request import Completion, Request, Trouble
from luthier.registry import Registry
from luthier.run import RUNS

BACKENDS = Registry("backend", "luthier.inference.backends")
TRIES = 8
"""Times a request that fails is sent, before it is given up."""
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
"""Seconds between tries: doubled each time, with jitter (OpenAI's client begins at 0.5 too)."""
LONGEST_WAIT = 600.0
"""Seconds that a server may be too busy for anybody, or ask us to wait at once; quotas are by the
minute, and one that asks for more has sold out for now."""
_WORTH_SAYING = 10.0
"""Seconds of waiting that people are told of."""
_TEMPLATE_TOKENS = 64
"""Room for what a chat template puts around the words: about 35 with SmolLM2's."""
_TURN_TOKENS = 8
"""And around each turn."""


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
        budget: where to stop, or a purse that several sessions spend from; None: nowhere.
        runs: where trained runs are found (`model: run:NAME`).
        backend: one that is open already; None: the section's.
        purpose: what the calls are for, where several share a log: the cost that is shown is that
            of earlier attempts too.
    """

    def __init__(
        self,
        section: LlmSection,
        log: CallLog,
        *,
        budget: BudgetSection | Purse | None = None,
        runs: Any = RUNS,
        backend: Backend | None = None,
        purpose: str = "",
    ) -> None:
        self.section, self.log, self.purpose = section, log, purpose
        self.purse = budget if isinstance(budget, Purse) else Purse(budget)
        if section.prices is not None:
            self.purse.currency = section.prices.currency
        if self.purse.budget.money is not None:
            require_prices(section.prices)
        calls, prompt_tokens, completion_tokens = log.spent(purpose)
        already = Cost.of(prompt_tokens, completion_tokens, section.prices, calls=calls)
        self.purse.begin(purpose, already)
        self.tally = Tally()
        self.pace = Pace(section.concurrency)
        self.backend: Backend = backend or BACKENDS.load(section.backend).open(section, runs)
        self.model = self.backend.model
        self._asking: dict[str, asyncio.Task[Completion]] = {}
        self._unfit: dict[str, str] = {}
        """Requests that got no answer, and why."""
        self._sent: set[Any] = set()
        """Tasks whose request is on its way."""
        self._gone_since: float | None = None
        self._answered = 0
        """Requests that a server dealt with since the session began, to tell who is ill."""
        self._answered_at = 0.0
        """When it did so last (`time.monotonic`)."""
        self._draining = False
        self._waits_until = 0.0
        """Until when people were told that the server asks us to wait."""

    async def ask(self, request: Request) -> Completion:
        """The answer to a request.

        Raises:
            BudgetSpent: the budget has no room for it.
            ModelError: the model cannot be had, or its server is gone or ill.
            RunError: the log cannot be written.
        """
        key, job = request.key(self.model), self.purse.job
        most = self._most(request) if self.purse.is_limited else Cost()
        if (known := self._known(key)) is not None:
            self.tally.replayed += 1
            job.replayed(key, most, self._cost(known))
            return known
        await job.reserve(most)
        if (known := self._known(key)) is not None:  # another job has asked meanwhile
            job.settle(most, key, self._cost(known))
            return known
        if key not in self._asking:
            self._asking[key] = asyncio.ensure_future(self._paid(key, request))
            self._asking[key].add_done_callback(lambda _: self._asking.pop(key, None))

        def settle(task: asyncio.Future[Completion]) -> None:
            failed = task.cancelled() or task.exception() is not None
            job.settle(most, key, None if failed else self._cost(task.result()))

        self._asking[key].add_done_callback(settle)
        # Who waits may be cancelled; the request, once it is sent, is paid and runs to its end.
        return await asyncio.shield(self._asking[key])

    def _known(self, key: str) -> Completion | None:
        """What the log answers."""
        known = self.log.get(key)
        if known is None or known.unfit is None:
            return known
        if self.section.retry_unfit and key not in self._unfit:
            return None
        self._unfit[key] = known.unfit
        return known

    async def drain(self) -> None:
        """Cancel what is not sent yet, and wait for what is: its answers go into the log.

        What fails meanwhile is not sent again.
        """
        self._draining = True
        self.purse.turn_away()
        for task in list(self._asking.values()):
            if task not in self._sent:
                task.cancel()
        if self._asking:
            await asyncio.gather(*self._asking.values(), return_exceptions=True)

    @property
    def on_their_way(self) -> int:
        """Requests that are sent and not answered."""
        return len(self._sent)

    async def __aenter__(self) -> Session:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.purse.turn_away()
        for task in list(self._asking.values()):
            task.cancel()
        if self._asking:
            await asyncio.gather(*self._asking.values(), return_exceptions=True)
        await self.backend.close()
        if kind is None and self._unfit:
            say(self._unanswered(), style="yellow")

    # --- one request --------------------------------------------------------------------------

    async def _paid(self, key: str, request: Request) -> Completion:
        """Send a request until it is answered, and write the answer down."""
        # What was answered before each of the last tries: others that are tell a request that
        # cannot be answered from a server that answers nobody.
        before: deque[int] = deque(maxlen=TRIES)
        failures, since = 0, time.monotonic()
        while True:
            answered = self._answered
            try:
                return await self._sent_once(key, request)
            except Trouble as trouble:
                self.tally.retries += 1
                if self._draining:
                    raise ModelError(f"{trouble.said}; not sent again.") from None
                if trouble.kind == "gone":
                    continue  # the pace holds everybody back, and gives up
                before.append(answered)
                failures += 1
                if trouble.kind == "busy":
                    # It says that it will answer: not how often it does tells, but how long.
                    waited = time.monotonic() - max(since, self._answered_at)
                    if failures > 1 and waited > LONGEST_WAIT:
                        raise ModelError(self._overrun(trouble, waited)) from None
                elif failures >= TRIES:
                    if self._answered == before[0]:
                        raise ModelError(self._ill(trouble, failures)) from None
                    return self._given_up(key, request, trouble, failures)
                await asyncio.sleep(_pause(failures, trouble.retry_after))

    def _most(self, request: Request) -> Cost:
        """What a request may cost at most: a token is a byte or more of the words."""
        words = len(request.text.encode("utf-8", "replace"))
        prompt = words + _TEMPLATE_TOKENS + _TURN_TOKENS * len(request.messages)
        times = request.n  # some servers are asked for several answers one by one
        return Cost.of(prompt * times, request.max_tokens * times, self.section.prices)

    def _keep(self, key: str, request: Request, found: Completion, seconds: float) -> None:
        """Write an answer down, and count what it cost."""
        self.log.add(key, request, found, seconds, self.purpose)
        if found.unfit is not None:
            self._unfit[key] = found.unfit
        self.purse.pay(self._cost(found))

    def _cost(self, found: Completion) -> Cost:
        return Cost.of(found.prompt_tokens, found.completion_tokens, self.section.prices)

    async def _sent_once(self, key: str, request: Request) -> Completion:
        task = asyncio.current_task()
        async with self.pace.slot() as sent_in:
            self._sent.add(task)
            self.tally.started = self.tally.started or time.monotonic()
            started = time.monotonic()
            try:
                completion = await self.backend.complete(request)
            except Trouble as trouble:
                self._ease(trouble, sent_in)
                raise
            finally:
                self._sent.discard(task)
            self._gone_since = None
            self._answered += 1
            self._answered_at = time.monotonic()
            self._keep(key, request, completion, time.monotonic() - started)
            self.pace.went_well()
        self.tally.calls += 1
        self.tally.prompt_tokens += completion.prompt_tokens
        self.tally.completion_tokens += completion.completion_tokens
        return replace(completion, key=key)

    def _ease(self, trouble: Trouble, sent_in: int) -> None:
        """Ask less, or wait for the server to come back; stop where it does not."""
        now = time.monotonic()
        if trouble.kind == "busy":
            pause = trouble.retry_after
            if pause is not None and pause > LONGEST_WAIT:
                raise ModelError(self._sold_out(trouble, pause)) from None
            self.pace.pushed_back(sent_in, pause)
            if pause is not None and pause > _WORTH_SAYING and now > self._waits_until:
                self._waits_until = now + pause
                say(f"{trouble.said}; it asks to wait {duration(pause)}", style="yellow")
        elif trouble.kind == "gone":
            if self._gone_since is None:
                self._gone_since = now
                if self.section.patience:
                    patience = duration(self.section.patience)
                    say(f"{trouble.said}; waiting up to {patience} for it", style="yellow")
            left = self.section.patience - (now - self._gone_since)
            if left <= 0:
                raise ModelError(self._dead(trouble)) from None
            self.pace.lost(min(_pause(2), left))

    def _given_up(self, key: str, request: Request, trouble: Trouble, failures: int) -> Completion:
        """A request that fails while others do not is recorded as what it is."""
        unfit = f"failed {failures} times: {trouble.said}"
        completion = Completion((), str(self.model.get("model")), unfit=unfit, key=key)
        self._keep(key, request, completion, 0.0)
        return completion

    def _dead(self, trouble: Trouble) -> str:
        return (
            f"{trouble.said}. Nothing came from {self._where} for "
            f"{duration(self.section.patience)} (llm.patience). {self._kept()} Start the server, "
            "or correct llm.base_url, and repeat the command."
        )

    def _ill(self, trouble: Trouble, tries: int) -> str:
        return (
            f"{self._where} failed {tries} times in a row: {trouble.said}. {self._kept()} Look at "
            "the server's own log, and repeat the command."
        )

    def _overrun(self, trouble: Trouble, waited: float) -> str:
        return (
            f"{self._where} has answered nothing for {duration(waited)}: {trouble.said}. "
            f"{self._kept()} Repeat the command when it has time for you; if it never has, ask it "
            "less (llm.max_concurrency)."
        )

    def _sold_out(self, trouble: Trouble, pause: float) -> str:
        return (
            f"{trouble.said}, and is to be asked again in {duration(pause)}. {self._kept()} Repeat "
            "the command then."
        )

    def _unanswered(self) -> str:
        count, first = len(self._unfit), next(iter(self._unfit.values()))
        many = "1 request has" if count == 1 else f"{count:,} requests have"
        return (
            f"{self._where}: {many} no answer ({first}). That is remembered; once the server is "
            "mended, write `retry_unfit: true` into the recipe under llm: and repeat the command."
        )

    @property
    def _where(self) -> str:
        return self.section.base_url or self.section.model

    def _kept(self) -> str:
        count = len(self.log)
        if not count:
            return "Nothing was answered yet."
        many = "1 answer is" if count == 1 else f"{count:,} answers are"
        return f"Nothing is lost: {many} in {self.log.path}, not to be asked again."


def _pause(attempt: int, asked: float | None = None) -> float:
    if asked is not None:
        # One that always names a moment too soon is not to be asked without end.
        return asked if attempt < TRIES else max(asked, _pause(attempt - TRIES + 1))
    longest: float = min(FIRST_PAUSE * 2.0 ** (attempt - 1), LONGEST_PAUSE)
    return longest * random.uniform(0.5, 1.0)  # so that not all come back at once


@contextlib.asynccontextmanager
async def asking(session: Session) -> AsyncIterator[Session]:
    """Open a session and let what was sent come in at the end, so that it is not paid in vain.

    That holds for an end by Ctrl-C too; a second one waits for nothing.
    """
    async with session:
        try:
            yield session
        except BaseException as error:
            if (count := session.on_their_way) and not isinstance(error, GeneratorExit):
                many = "1 answer" if count == 1 else f"{count:,} answers"
                say(f"Waiting for {many} on the way. Ctrl-C ends it at once, and loses them.")
            raise
        finally:
            await session.drain()
