"""What generation may cost, what it has cost, and where it stops."""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import Coroutine
from contextvars import ContextVar, copy_context
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

from luthier.errors import LuthierError, nearest
from luthier.inference.config import BudgetSection, PricesSection

_UNITS = {
    "call": "calls", "calls": "calls", "request": "calls", "requests": "calls",
    "token": "tokens", "tokens": "tokens",
}  # fmt: skip
_AMOUNT = re.compile(r"\s*((?:[0-9]{1,3}(?:[,_][0-9]{3})+|[0-9]+)(?:\.[0-9]+)?)\s*([A-Za-z ]*)")
_TIMES = {"k": 1e3, "m": 1e6}
_ROUNDING = 1e-9
"""Money below this is an error of addition."""
Found = TypeVar("Found")


class BudgetSpent(Exception):
    """The next request would exceed the budget; what was answered so far is kept."""


def parse_budget(text: str, prices: PricesSection | None) -> BudgetSection:
    """A budget as people write it: `500 calls`, `200k tokens`, `2.50 USD`, `2.50`.

    Args:
        text: a number and a unit; without a unit, money.
        prices: what tokens cost; money needs them.

    Raises:
        LuthierError: it is none of these, or money without prices.
    """
    found = _AMOUNT.fullmatch(text)
    currency = prices.currency if prices else "USD"
    if found is None:
        raise LuthierError(
            f"--budget: expected a number with calls, tokens or {currency}, such as '500 calls', "
            f"'200k tokens' or '2.50 {currency}' (a point before decimals); found '{text}'."
        )
    number, words = found.groups()
    times, unit = _times_and_unit(words.split(), currency)
    amount = float(number.replace(",", "").replace("_", "")) * times
    kind = _UNITS.get(unit)
    if amount <= 0 or (kind and amount < 1):
        raise LuthierError(f"--budget: '{text}' allows nothing.")
    if kind is not None:
        return BudgetSection.model_validate({kind: int(amount)})
    if unit and unit not in (currency.lower(), "money"):
        raise LuthierError(
            f"--budget: unknown unit '{' '.join(words.split())}'."
            f"{nearest(unit, ('calls', 'tokens', currency))} Known: calls, tokens, {currency} "
            "(llm.prices)."
        )
    require_prices(prices)
    return BudgetSection(money=amount)


def _times_and_unit(words: list[str], currency: str) -> tuple[float, str]:
    """What a number is multiplied by, and its unit: `k tokens`, `ktokens`, `k`, `MXN`."""
    unit = " ".join(words).lower()
    if unit in (*_UNITS, currency.lower(), "money"):  # MXN is no million of XN
        return 1.0, unit
    if unit[:1] in _TIMES and (unit[1:2] in ("", " ") or unit[1:] in _UNITS):
        return _TIMES[unit[0]], unit[1:].strip()
    return 1.0, unit


def require_prices(prices: PricesSection | None) -> None:
    """Raise a LuthierError where money cannot be counted."""
    if prices is None:
        raise LuthierError(
            "a budget in money needs the prices of the model. Write them into the recipe: "
            "llm: {prices: {input: 0.15, output: 0.60}} (per million tokens)."
        )


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one request or of many."""

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    money: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.calls + other.calls,
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.money + other.money,
        )

    def __sub__(self, other: Cost) -> Cost:
        return self + Cost(
            -other.calls, -other.prompt_tokens, -other.completion_tokens, -other.money
        )

    @property
    def tokens(self) -> int:
        """Of prompt and answer together."""
        return self.prompt_tokens + self.completion_tokens

    def largest(self, other: Cost) -> Cost:
        """The larger of both, for each part."""
        return Cost(
            max(self.calls, other.calls),
            max(self.prompt_tokens, other.prompt_tokens),
            max(self.completion_tokens, other.completion_tokens),
            max(self.money, other.money),
        )

    @classmethod
    def of(
        cls,
        prompt_tokens: int,
        completion_tokens: int,
        prices: PricesSection | None,
        *,
        calls: int = 1,
    ) -> Cost:
        """Of one call or several; without prices it costs nothing."""
        money = 0.0
        if prices is not None:
            money = (prompt_tokens * prices.input + completion_tokens * prices.output) / 1e6
        return cls(calls, prompt_tokens, completion_tokens, money)


class Job:
    """Requests that lead to one result: what they cost, and what they may cost.

    A request of the first job that is under way is let in when the budget has room for the most
    that it may cost; where it has none while others of the job are on their way, it waits for them:
    they may cost less. So whether it is let in depends on what was asked before it, not on who
    answered first; and the first one that is refused is the last one: nothing cheaper slips in
    behind it. A job that is begun ahead uses what it is allowed (`Purse.share`), and waits for its
    turn with what goes beyond.

    Args:
        purse: what it is paid from.
    """

    def __init__(self, purse: Purse) -> None:
        self.purse = purse
        self.allowed = Cost()
        """What it may cost while others are before it."""
        self.most = Cost()
        """What all its requests together might have cost."""
        self.costs: dict[str, Cost] = {}
        """What requests that were answered did cost, by their keys."""
        self.used = Cost()
        """Sum of `costs`."""
        self.reserved = Cost()
        self._on_their_way = 0
        self._waiting: deque[tuple[asyncio.Future[None], Cost]] = deque()

    def replayed(self, key: str, most: Cost, cost: Cost) -> None:
        """Count a request that the log answers: as if it had been paid now.

        Args:
            key: that of the request.
            most: what it might have cost.
            cost: what it did cost.
        """
        self.most += most
        self._count(key, cost)

    async def reserve(self, most: Cost) -> None:
        """Set aside what a request may cost at most, until `settle`; waits for its turn.

        Args:
            most: what it may cost.

        Raises:
            BudgetSpent: there is no room for it.
        """
        self.most += most
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((turn, most))
        self.let_in()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self._waiting = deque(one for one in self._waiting if one[0] is not turn)
                self.let_in()
            elif turn.exception() is None:
                self.settle(most)
            raise

    def settle(self, most: Cost, key: str = "", cost: Cost | None = None) -> None:
        """Give back what was set aside.

        Args:
            most: that.
            key: that of the request.
            cost: what it really cost; None: it was not answered.
        """
        self._on_their_way -= 1
        # Without the errors of additions where nothing is left.
        self.reserved = self.reserved - most if self._on_their_way else Cost()
        if cost is not None:
            self._count(key, cost)
        self.let_in()

    def let_in(self) -> None:
        """Let in, or refuse, those that wait."""
        while self._waiting:
            turn, most = self._waiting[0]
            if not turn.done():
                try:
                    if not self.purse.admits(self, self.used + self.reserved + most):
                        return
                except BudgetSpent as spent:
                    if self._on_their_way:
                        return  # they may cost less than they may
                    self.purse.over = str(spent)
                    turn.set_exception(spent)
                else:
                    self.reserved += most
                    self._on_their_way += 1
                    turn.set_result(None)
            self._waiting.popleft()

    def turn_away(self) -> None:
        """Cancel those that wait."""
        for turn, _ in list(self._waiting):
            turn.cancel()
        self._waiting.clear()

    def _count(self, key: str, cost: Cost) -> None:
        if self.purse.is_limited and key not in self.costs:
            self.costs[key] = cost
            self.used += cost


_JOB: ContextVar[Job] = ContextVar("job")
"""The job that asks."""


class Purse:
    """Counts what requests cost and refuses those that the budget has no room for.

    Jobs are begun ahead of others and answered in any order; still the results that a budget brings
    depend on the answers alone. Three rules see to that:

    - Only the first job is ever refused. What it may use is the budget less what the jobs before it
      did cost and less what those behind it are allowed.
    - Those behind it are allowed, in their order, what the largest job so far might have cost, as
      far as half of what is left goes. That is decided when a result was taken (`share`), never
      when one comes in. So the budget is never exceeded, and at its end jobs run one by one.
    - Nothing is sent before the first job needs an answer that the log does not have. So a command
      that is repeated does not ask, ahead, for what its end made needless.

    What the log answers counts like what is paid now, so an attempt that goes on where another was
    killed stops where that would have stopped. What nobody asks again, since the recipe has
    changed, does not count; nor does, for a further source, what was on its way for one that was
    complete without it.

    Args:
        budget: where to stop; None: nowhere.
    """

    def __init__(self, budget: BudgetSection | None) -> None:
        self.budget = budget or BudgetSection()
        self.is_limited = self.budget != BudgetSection()
        """Whether there is a budget at all."""
        self.currency = "USD"
        """Of its money; a session says what its prices are in."""
        self.spent = Cost()
        """By this attempt and earlier ones, whatever for; it is shown, and decides nothing."""
        self.over: str | None = None
        """Why nothing more is let in."""
        self._begun: set[str] = set()
        """Purposes whose earlier attempts are counted in `spent`."""
        self._jobs: deque[Job] = deque()
        """Under way, in their order."""
        self._charged = Cost()
        """What the jobs did cost that were taken."""
        self._held = Cost()
        """What the jobs behind the first are allowed together."""
        self._keys: set[str] = set()
        """Their requests: who asks again pays nothing."""
        self._largest = Cost()
        """What one of them might have cost, at most."""
        self._asks = False
        """Whether the first job needed an answer that the log did not have."""
        self._apart = Job(self)
        """Requests that are asked outside of any job, as they come."""

    @property
    def cost(self) -> float:
        """Money spent; 0 where prices are unknown."""
        return self.spent.money

    def begin(self, purpose: str, already: Cost) -> None:
        """Count what earlier attempts spent on a purpose, once.

        Args:
            purpose: name of it in the call log.
            already: what stands there.
        """
        if purpose not in self._begun:
            self._begun.add(purpose)
            self.spent += already

    def pay(self, cost: Cost) -> None:
        """Count a request that was answered.

        Args:
            cost: what it really cost.
        """
        self.spent += cost

    # --- jobs ---------------------------------------------------------------------------------

    @property
    def job(self) -> Job:
        """The one whose code is running."""
        job = _JOB.get(self._apart)
        return job if job.purse is self else self._apart

    def begun(self, work: Coroutine[Any, Any, Found]) -> asyncio.Task[Found]:
        """Begin a job behind those that are under way."""
        if not self._jobs:
            self._asks = False
        self._jobs.append(Job(self))
        context = copy_context()
        context.run(_JOB.set, self._jobs[-1])
        return asyncio.get_running_loop().create_task(work, context=context)

    def taken(self) -> None:
        """The first job is done, and its result was taken in."""
        job = self._jobs.popleft()
        if self.is_limited:
            for key in job.costs.keys() - self._keys:
                self._charged += job.costs[key]
            self._keys |= job.costs.keys()
            if self._jobs:
                self._held -= self._jobs[0].allowed
            if (largest := self._largest.largest(job.most)) != self._largest:
                self._largest = largest

    def share(self) -> None:
        """Allow jobs behind the first what there is room for; called before it is awaited.

        What is allowed depends on results that were taken, not on who has answered by now.
        """
        for job in islice(self._jobs, 1, None) if self.is_limited else ():
            if job.allowed is not self._largest:
                held = self._held + self._largest - job.allowed
                if self._lacking(self._charged + held + held) is not None:
                    break
                self._held, job.allowed = held, self._largest
                job.let_in()
        self._jobs[0].let_in()

    def dropped(self) -> None:
        """Those that are under way come to nothing."""
        self._jobs.clear()
        self._held = Cost()

    def turn_away(self) -> None:
        """Cancel all that waits to be let in."""
        for job in (self._apart, *self._jobs):
            job.turn_away()

    def admits(self, job: Job, total: Cost) -> bool:
        """Whether a job may cost so much; False: it has to wait.

        Raises:
            BudgetSpent: the budget has no room for it.
        """
        if self.over is not None:
            raise BudgetSpent(self.over)
        if job is not self._apart and job is not self._jobs[0]:
            return self._asks and (not self.is_limited or self._fits(total, job.allowed))
        if self.is_limited:
            total += self._charged + self._held
            if job is not self._apart:
                total += self._apart.used + self._apart.reserved
            if (lacking := self._lacking(total)) is not None:
                raise BudgetSpent(lacking)
        if job is not self._apart and not self._asks:
            self._asks = True
            for one in islice(self._jobs, 1, None):
                one.let_in()
        return True

    def _fits(self, total: Cost, allowed: Cost) -> bool:
        budget = self.budget
        return (
            (budget.calls is None or total.calls <= allowed.calls)
            and (budget.tokens is None or total.tokens <= allowed.tokens)
            and (budget.money is None or total.money <= allowed.money + _ROUNDING)
        )

    def _lacking(self, total: Cost) -> str | None:
        budget = self.budget
        if budget.calls is not None and total.calls > budget.calls:
            return f"the budget of {budget.calls:,} calls is used up"
        if budget.tokens is not None and total.tokens > budget.tokens:
            return f"the budget of {budget.tokens:,} tokens has no room for another request"
        if budget.money is not None and total.money > budget.money + _ROUNDING:
            amount = f"{budget.money:,.2f} {self.currency}"
            return f"the budget of {amount} has no room for another request"
        return None
