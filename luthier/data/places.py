"""Where many rows came from, in twelve bytes each."""

from __future__ import annotations

from array import array
from typing import Literal

from luthier.example import Origin


class Places:
    """Origins by number, in the order in which they were put in."""

    def __init__(self) -> None:
        """Begin empty."""
        self._rows = array("q")
        self._sources = array("i")
        self._names: list[tuple[str, Literal["line", "row"]]] = []
        self._numbers: dict[tuple[str, str], int] = {}

    def __len__(self) -> int:
        """How many there are."""
        return len(self._rows)

    def __getitem__(self, number: int) -> Origin:
        """The origin that was put in after `number` others."""
        source, counted = self._names[self._sources[number]]
        return Origin(source, self._rows[number], counted)

    def append(self, origin: Origin) -> None:
        """Put an origin behind the others."""
        name = (origin.source, origin.counted)
        number = self._numbers.setdefault(name, len(self._names))
        if number == len(self._names):
            self._names.append(name)
        self._rows.append(origin.row)
        self._sources.append(number)
