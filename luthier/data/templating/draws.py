"""Random decisions about a row that follow from the seed and the row alone.

Nothing is drawn from a stream: every decision is a hash of the seed, the row's id and what the
decision is about. So neither the order of the rows nor rows that come or go change what is decided
for the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from luthier.example import content_id

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Draw:
    """The random decisions about one row."""

    seed: int
    row: str
    """Its id."""

    def bits(self, purpose: str) -> int:
        """64 random bits."""
        return int(content_id([self.seed, self.row, purpose]), 16)

    def number(self, purpose: str) -> float:
        """A number from 0 up to, not including, 1."""
        return (self.bits(purpose) >> 11) * 2.0**-53

    def index(self, purpose: str, count: int) -> int:
        """One of the numbers 0 to `count` - 1."""
        return self.bits(purpose) * count >> 64

    def shuffled(self, purpose: str, items: Sequence[Item]) -> list[Item]:
        """The items in random order."""
        order = sorted(range(len(items)), key=lambda i: self.bits(f"{purpose} {i}"))
        return [items[i] for i in order]


class Pickable(Protocol):
    """What `pick` must know of a template."""

    @property
    def name(self) -> str:
        """Its name."""
        ...

    def suits(self, fields: Mapping[str, Any]) -> bool:
        """Whether it can be used for a row."""
        ...


Picked = TypeVar("Picked", bound=Pickable)


def pick(
    templates: Sequence[Picked], draw: Draw, fields: Mapping[str, Any] | None = None
) -> Picked:
    """Choose the template of a row: the one whose name hashes highest with seed and row id.

    Rendezvous hashing (Thaler and Ravishankar, "Using Name-Based Mappings to Increase Hit Rates",
    IEEE/ACM Transactions on Networking 6(1), 1998): every template is equally likely, no row is
    left over, and neither the order of the templates nor that of the rows matters. A template that
    is added or taken out changes only the rows that get it or had it.

    Args:
        templates: at least one.
        draw: that of the row.
        fields: those of the row: templates that do not suit it are passed over, unless none does.
    """
    fitting = [t for t in templates if t.suits(fields)] if fields is not None else []
    found = fitting or templates
    if len(found) == 1:
        return found[0]
    return max(found, key=lambda t: draw.bits(f"template {t.name}"))
