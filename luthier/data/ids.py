"""Which of many row ids were there before, and as the how manieth, in about twenty bytes each."""

from __future__ import annotations

from array import array

_SEGMENTS = 256
"""Tables that grow one after another, so that memory does not double at once."""
_FULL = 0.8
"""Share of a table's places that may be taken (D. Knuth, TAOCP 3, 6.4: three probes on average)."""


class Ids:
    """Numbers (0, 1, ...) of ids, which are evenly spread numbers below 2^64 such as hashes."""

    def __init__(self) -> None:
        """Begin empty."""
        self._segments = [_Segment() for _ in range(_SEGMENTS)]
        self._count = 0

    def __len__(self) -> int:
        """How many ids there are."""
        return self._count

    def number(self, id: int) -> int | None:
        """As the how manieth an id was added; None if it was not."""
        segment = self._segments[id % _SEGMENTS]
        place = segment.place(id)
        return segment.numbers[place] - 1 if segment.numbers[place] else None

    def add(self, id: int) -> int:
        """Add an id that is not there; returns its number."""
        self._segments[id % _SEGMENTS].put(id, self._count + 1)
        self._count += 1
        return self._count - 1


class _Segment:
    """A table with linear probing."""

    def __init__(self) -> None:
        self.ids = array("Q", bytes(8 * 4))
        self.numbers = array("I", bytes(4 * 4))
        """One more than the number of the id; 0: nothing is there."""
        self.taken = 0

    def place(self, id: int) -> int:
        """Where an id is, or would be put."""
        size = len(self.ids)
        place = (id * size) >> 64
        while self.numbers[place] and self.ids[place] != id:
            place = place + 1 if place + 1 < size else 0
        return place

    def put(self, id: int, number: int) -> None:
        """Put an id into the table, and make it larger when it is full."""
        if self.taken + 1 > _FULL * len(self.ids):
            ids, numbers = self.ids, self.numbers
            size = len(ids) * 3 // 2
            self.ids, self.numbers = array("Q", bytes(8 * size)), array("I", bytes(4 * size))
            for old, its_number in zip(ids, numbers, strict=True):
                if its_number:
                    place = self.place(old)
                    self.ids[place], self.numbers[place] = old, its_number
        place = self.place(id)
        self.ids[place], self.numbers[place] = id, number
        self.taken += 1
