"""What one rendering of a Jinja template may use up: steps, time, characters, and what it keeps.

What a template keeps cannot be told from a single step: it may put a text of ordinary length into a
list a hundred thousand times. So whatever steps make is added up, and each time the sum reaches the
limit of one value, everything within reach of the template (its names, the row, the lists and
objects that it changed) is weighed. That costs at most about as much as making it did.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, MappingView
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import BuiltinMethodType, MethodType
from typing import Any

from jinja2 import Undefined
from jinja2.runtime import Macro
from jinja2.utils import Cycler, Joiner, Namespace

from luthier.data.templating.draws import Draw
from luthier.data.templating.template_fields import Skipped

MAX_STEPS = 1_000_000
MAX_CHARACTERS = 1_000_000
MAX_SECONDS = 10.0
_KEPT = 4
"""A template may keep, and print into blocks and macros, so many times what one value may hold."""
_ITEM = 8
"""Characters that an item of a list counts for, beside its text: it takes about as much memory."""
_OPAQUE = (Iterator, MappingView, MethodType, BuiltinMethodType, Macro, Cycler, Joiner)
"""What holds values that cannot be looked at from outside."""


@dataclass
class Rendering:
    """What one rendering has used up so far."""

    draw: Draw | None
    limit: int
    """Characters or items that one value may have."""
    own: frozenset[str] = frozenset()
    """Names that the template sets itself."""
    until: float = field(default_factory=lambda: time.monotonic() + MAX_SECONDS)
    steps: int = 0
    draws: int = 0
    printed: int = 0
    """Characters that went into the text, or into a block or macro."""
    made: int = 0
    """Characters and items that steps made since what is kept was last weighed."""
    held: dict[object, Any] = field(default_factory=dict)
    """The row, by names what the template gave them last, by ids what it changed."""

    def step(self, count: int = 1) -> None:
        """Count steps."""
        self.steps += count
        if self.steps > MAX_STEPS:
            raise Skipped(f"too much work: template takes more than {MAX_STEPS:,} steps")
        if time.monotonic() > self.until:
            raise Skipped(f"too slow: template takes longer than {MAX_SECONDS:g} s")

    def drawn(self, count: int) -> int:
        """Place of the next item that is drawn among so many; the first without a draw."""
        if not count:
            raise Skipped("cannot be rendered: the template draws from an empty list")
        self.draws += 1
        return self.draw.index(f"choice {self.draws}", count) if self.draw is not None else 0

    def refuse_larger(self, size: int) -> None:
        """Refuse a value of that size if it is too large."""
        if size > self.limit:
            raise Skipped(f"too long: template renders more than {self.limit:,} characters")

    def print(self, size: int) -> None:
        """Count what is printed, also what is printed only to be set aside."""
        self.printed += size
        if self.printed > _KEPT * self.limit:
            raise Skipped(
                f"too long: template renders more than {_KEPT * self.limit:,} characters, with "
                "what it prints into blocks and macros"
            )

    def make(self, size: int) -> None:
        """Count what a step made; from time to time, weigh what is kept of it."""
        self.made += size
        if self.made <= self.limit:
            return
        self.made = 0
        most = _KEPT * self.limit
        if _kept(self.held, most) > most:
            raise Skipped(f"too much memory: template keeps more than {most:,} characters")


RENDERING: ContextVar[Rendering] = ContextVar("rendering")


def size_of(value: Any, enough: int) -> int:
    """Characters and items in a value; stops counting when there are enough.

    What several lists share is counted in each of them, since printing writes it out each time.
    """
    total, left = 0, [value]
    while left and total <= enough:
        found = left.pop()
        if isinstance(found, str):
            total += len(found)
        elif isinstance(found, dict):
            total += len(found)
            left.extend(found.keys())
            left.extend(found.values())
        elif isinstance(found, (list, tuple, set)):
            total += len(found)
            left.extend(found)
        else:
            total += 1
    return total


def _kept(held: Mapping[object, Any], enough: int) -> int:
    """Characters within reach, each text, list and object once; stops when there are enough.

    Raises:
        Skipped: something in it cannot be looked into.
    """
    total, seen, left = 0, set(), list(held.values())
    while left and total <= enough:
        found = left.pop()
        if found is None or isinstance(found, (int, float)):
            continue
        if id(found) in seen:
            continue
        seen.add(id(found))
        if isinstance(found, str):
            total += len(found)
        elif isinstance(found, dict):
            total += 2 * _ITEM * len(found)
            if total <= enough:
                left.extend(found.keys())
                left.extend(found.values())
        elif isinstance(found, (list, tuple, set)):
            total += _ITEM * len(found)
            if total <= enough:
                left.extend(found)
        elif isinstance(found, Namespace):
            left.append(object.__getattribute__(found, "_Namespace__attrs"))
        elif isinstance(found, Undefined):
            left.append(object.__getattribute__(found, "_undefined_obj"))
        elif isinstance(found, _OPAQUE):
            raise Skipped(
                "too much memory: template makes a lot, and keeps what cannot be weighed "
                f"({type(found).__name__}); `| list` makes it a list"
            )
    return total
