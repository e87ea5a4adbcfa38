"""What generation may cost, what it has cost, and where it stops."""

from __future__ import annotations

import asyncio
import re
from collections import deque
from dataclasses import dataclass

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


class Purse:
    """Counts what requests cost and refuses those that the budget has no room for.

    A request is let in when the budget has room for the most that it and all that are in flight
    may cost. Where it has none, it waits for those before it: they may cost less. So whether it
    is let in depends on what was asked before it, not on who answered first; and the first one
    that is refused is the last one: nothing cheaper slips in behind it.

    What earlier attempts paid counts from the beginning, so an attempt that goes on where another
    was killed stops where that would have stopped, and repeating a command costs nothing more.

    Args:
        budget: where to stop; None: nowhere.
    """

    def __init__(self, budget: BudgetSection | None) -> None:
        self.budget = budget or BudgetSection()
        self.currency = "USD"
        """Of its money; a session says what its prices are in."""
        self.spent = Cost()
        """By this attempt and earlier ones."""
        self._begun: set[str] = set()
        """Purposes whose earlier attempts are counted."""
        self._reserved: dict[str, Cost] = {}
        self._set_aside = Cost()
        """Sum of `_reserved`."""
        self._waiting: deque[tuple[asyncio.Future[None], str, Cost]] = deque()
        self._over: str | None = None
        """Why nothing more is let in."""

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

    async def reserve(self, key: str, most: Cost) -> None:
        """Set aside what a request may cost at most, until `settle`; waits for those before it.

        Args:
            key: that of the request.
            most: what it may cost.

        Raises:
            BudgetSpent: there is no room for it.
        """
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((turn, key, most))
        self._let_in()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self._waiting = deque(w for w in self._waiting if w[0] is not turn)
                self._let_in()
            elif turn.exception() is None:
                self.settle(key)
            raise

    def settle(self, key: str) -> None:
        """Give back what was set aside."""
        if (most := self._reserved.pop(key, None)) is not None:
            self._set_aside -= most
            if not self._reserved:
                self._set_aside = Cost()  # without the errors of additions
        self._let_in()

    def _let_in(self) -> None:
        while self._waiting:
            turn, key, most = self._waiting[0]
            if self._over is None and (lacking := self._lacking(most)) is not None:
                if self._reserved:
                    return  # what is in flight may cost less than it may
                self._over = lacking
            self._waiting.popleft()
            if turn.done():
                continue
            if self._over is not None:
                turn.set_exception(BudgetSpent(self._over))
            else:
                self._reserved[key] = most
                self._set_aside += most
                turn.set_result(None)

    def _lacking(self, most: Cost) -> str | None:
        total = self.spent + self._set_aside + most
        budget = self.budget
        if budget.calls is not None and total.calls > budget.calls:
            return f"the budget of {budget.calls:,} calls is used up"
        tokens = total.prompt_tokens + total.completion_tokens
        if budget.tokens is not None and tokens > budget.tokens:
            return f"the budget of {budget.tokens:,} tokens has no room for another request"
        if budget.money is not None and total.money > budget.money + _ROUNDING:
            amount = f"{budget.money:,.2f} {self.currency}"
            return f"the budget of {amount} has no room for another request"
        return None
