"""Which rows somebody wants to see, and in which order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from luthier.example import SPLITS
from luthier.reviewing.rows import LEFT_OUT, Names, Rows

MOST_TEXT = 1000
_ORDERS = ("", "lowest", "highest")


@dataclass(frozen=True, slots=True)
class Query:
    """What rows must have in common; empty: anything."""

    states: tuple[int, ...] = ()
    """Places in `session.STATES`."""
    label: str = ""
    source: str = ""
    split: str = ""
    reason: str = ""
    finding: str = ""
    """`check: what`."""
    number: str = ""
    """A column of numbers, for the next three."""
    least: float | None = None
    most: float | None = None
    order: str = ""
    """`lowest` or `highest` first; else as the data has them."""
    text: str = ""
    """Anywhere in what the row says, whatever its case."""

    @classmethod
    def of(cls, given: Mapping[str, str], states: Sequence[str]) -> Query:
        """From the query of an address.

        Args:
            given: names and values.
            states: those there are, in their order.

        Raises:
            ValueError: a value that means nothing.
        """
        names = ("label", "source", "split", "reason", "finding", "number", "order", "text")
        texts = {name: given.get(name, "")[:MOST_TEXT] for name in names}
        wanted = [name for name in given.get("state", "").split(",") if name]
        for name in wanted:
            if name not in states:
                raise ValueError(f"no such state: {name}")
        if texts["order"] not in _ORDERS:
            raise ValueError(f"no such order: {texts['order']}")
        bounds = {name: float(text) for name in ("least", "most") if (text := given.get(name))}
        places = tuple(states.index(name) for name in wanted)
        return cls(states=places, **texts, **bounds)  # type: ignore[arg-type]

    def narrowed(
        self, rows: Rows, states: bytearray, found: Mapping[int, Sequence[tuple[str, str, str]]],
        numbers: Callable[[str], Any],
    ) -> list[int]:  # fmt: skip
        """Numbers of the rows, in order.

        Args:
            rows: all of them.
            states: of each, as a place in the states.
            found: what lint found, by row.
            numbers: the numbers in a column, one a row.
        """
        among: Sequence[int] = range(len(rows))
        if self.states:
            among = [i for i in among if states[i] in self.states]
        for value, column, names in (
            (self.label, rows.label, rows.labels), (self.source, rows.source, rows.sources),
            (self.reason, rows.reason, rows.reasons),
        ):  # fmt: skip
            if value:
                among = _those(among, column, names, value)
        if self.split:
            wanted = -1 if self.split == LEFT_OUT else _place(self.split)
            among = [i for i in among if rows.split[i] == wanted]
        if self.finding:
            among = [i for i in among if any(f"{f[0]}: {f[1]}" == self.finding
                                             for f in found.get(i, ()))]  # fmt: skip
        if self.text:
            holding = rows.containing(self.text)
            among = [i for i in among if i in holding]
        return self._by_number(list(among), numbers)

    def _by_number(self, among: list[int], numbers: Callable[[str], Any]) -> list[int]:
        if not self.number:
            return among
        column = numbers(self.number)
        if self.least is not None:
            among = [i for i in among if column[i] >= self.least]
        if self.most is not None:
            among = [i for i in among if column[i] <= self.most]
        if self.order:
            sign = 1 if self.order == "lowest" else -1
            # Rows without a number come last, whichever way.
            among.sort(key=lambda i: (column[i] != column[i], sign * column[i]))
        return among


def _those(among: Sequence[int], column: Any, names: Names, value: str) -> list[int]:
    number = names.numbers.get(value, -2)
    return [i for i in among if column[i] == number]


def _place(split: str) -> int:
    return next((n for n, name in enumerate(SPLITS) if name == split), -2)
