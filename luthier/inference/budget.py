"""What generation may cost, what it has cost, and where it stops."""

from __future__ import annotations

import re
from collections.abc import Callable

from luthier.errors import LuthierError
from luthier.inference.config import BudgetSection, PricesSection

_UNITS = {
    "call": "calls", "calls": "calls", "request": "calls", "requests": "calls",
    "token": "tokens", "tokens": "tokens",
}  # fmt: skip
_AMOUNT = re.compile(r"\s*([0-9][0-9_,]*(?:\.[0-9]+)?)\s*([kKmM]?)\s*([A-Za-z]*)\s*")
_TIMES = {"": 1.0, "k": 1e3, "m": 1e6}


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
            f"'200k tokens' or '2.50 {currency}'; found '{text}'."
        )
    number, times, unit = found.groups()
    amount = float(number.replace(",", "").replace("_", "")) * _TIMES[times.lower()]
    if amount <= 0:
        raise LuthierError(f"--budget: '{text}' allows nothing.")
    kind = _UNITS.get(unit.lower())
    if kind is not None:
        return BudgetSection.model_validate({kind: max(1, int(amount))})
    if unit and unit.lower() not in (currency.lower(), "money"):
        raise LuthierError(
            f"--budget: unknown unit '{unit}'. Known: calls, tokens, {currency} (llm.prices)."
        )
    require_prices(prices)
    return BudgetSection(money=amount)


def require_prices(prices: PricesSection | None) -> None:
    """Raise a LuthierError where money cannot be counted."""
    if prices is None:
        raise LuthierError(
            "a budget in money needs the prices of the model. Write them into the recipe: "
            "llm: {prices: {input: 0.15, output: 0.60}} (per million tokens)."
        )


class Purse:
    """Counts what requests cost and refuses those that the budget has no room for.

    Args:
        budget: where to stop; None: nowhere.
        prices: what tokens cost; None: nothing.
        spent: calls, prompt tokens and generated tokens of earlier attempts.
    """

    def __init__(
        self,
        budget: BudgetSection | None,
        prices: PricesSection | None,
        spent: Callable[[], tuple[int, int, int]],
    ) -> None:
        if budget is not None and budget.money is not None:
            require_prices(prices)
        self.budget = budget or BudgetSection()
        self.prices = prices
        self._spent = spent
        self._reserved: dict[str, tuple[int, int]] = {}

    @property
    def cost(self) -> float:
        """What all calls of the log cost; 0 where prices are unknown."""
        _, prompt, generated = self._spent()
        return self._money(prompt, generated)

    def reserve(self, key: str, prompt_tokens: int, completion_tokens: int) -> None:
        """Set aside what a request may cost at most, until `settle`.

        Args:
            key: that of the request.
            prompt_tokens: estimate.
            completion_tokens: the most that it may generate.

        Raises:
            BudgetSpent: there is no room for it.
        """
        calls, prompt, generated = self._spent()
        calls += len(self._reserved) + 1
        prompt += sum(p for p, _ in self._reserved.values()) + prompt_tokens
        generated += sum(g for _, g in self._reserved.values()) + completion_tokens
        budget = self.budget
        if budget.calls is not None and calls > budget.calls:
            raise BudgetSpent(f"the budget of {budget.calls:,} calls is used up")
        if budget.tokens is not None and prompt + generated > budget.tokens:
            raise BudgetSpent(
                f"the budget of {budget.tokens:,} tokens has no room for another request"
            )
        if budget.money is not None and self._money(prompt, generated) > budget.money:
            assert self.prices is not None
            raise BudgetSpent(
                f"the budget of {budget.money:,.2f} {self.prices.currency} has no room for another "
                "request"
            )
        self._reserved[key] = (prompt_tokens, completion_tokens)

    def settle(self, key: str) -> None:
        """Give back what was set aside; what it really cost stands in the log."""
        self._reserved.pop(key, None)

    def _money(self, prompt: int, generated: int) -> float:
        if self.prices is None:
            return 0.0
        return (prompt * self.prices.input + generated * self.prices.output) / 1e6
