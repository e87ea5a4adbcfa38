"""Whether what a recipe says to a method makes sense; all that does not is told at once."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from luthier.errors import DataError

SAMPLING = {"temperature": (0.0, 2.0), "top_p": (0.0, 1.0)}
"""Ranges of OpenAI's protocol."""


def problems(
    given: Mapping[str, Any],
    *,
    counts: Mapping[str, int],
    numbers: Mapping[str, tuple[float, float]],
    switches: Collection[str] = (),
    optional: Collection[str] = (),
    prefix: str = "",
) -> Iterator[str]:
    """What is wrong with the values of options, one sentence each.

    Args:
        given: the options.
        counts: whole numbers, each with the least that it may be.
        numbers: other numbers, each with its range.
        switches: those that are true or false.
        optional: those that may be null.
        prefix: what stands before their names, where they are part of an option.
    """
    for name, value in given.items():
        if value is None and name in optional:
            continue
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if name in counts:
            least = counts[name]
            if not is_number or not isinstance(value, int) or value < least:
                yield f"{prefix}{name} is {value!r}, expected a whole number of at least {least}."
        elif name in numbers:
            low, high = numbers[name]
            if not is_number or not low <= value <= high:
                yield f"{prefix}{name} is {value!r}, expected a number from {low:g} to {high:g}."
        elif name in switches and not isinstance(value, bool):
            yield f"{prefix}{name} is {value!r}, expected true or false."
    if given.get("top_p") == 0:
        yield "top_p is 0, which leaves no token to choose; temperature: 0 is greedy."


def require_none(method: str, found: Collection[str]) -> None:
    """Raise a DataError with all problems of a method's options, if there are any."""
    if found:
        raise DataError("\n".join(f"generator '{method}': {said}" for said in found))
