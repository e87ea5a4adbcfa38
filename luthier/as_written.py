"""Fractions of JSON as they were written: 0.50 is not 0.5 to a prompt, and yet it is a number."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any


class WrittenFloat(float):
    """A float that keeps its spelling; `str` and `json_text` give it back."""

    __slots__ = ("text",)
    text: str

    def __new__(cls, text: str) -> WrittenFloat:
        """Read a number as JSON spells it, `NaN` and `Infinity` included."""
        number = super().__new__(cls, text)
        number.text = text
        return number

    def __str__(self) -> str:
        return self.text


def json_text(value: Any) -> str:
    """A value as JSON on one line.

    Fractions are spelt as they were read, decimals (of Parquet) are numbers, and what JSON has no
    type for, such as a date, is a text.
    """
    pieces: list[str] = []
    _write(value, pieces)
    return "".join(pieces)


def _write(value: Any, pieces: list[str]) -> None:
    if isinstance(value, dict):
        pieces.append("{")
        for place, (key, item) in enumerate(value.items()):
            pieces.append((", " if place else "") + json.dumps(str(key), ensure_ascii=False) + ": ")
            _write(item, pieces)
        pieces.append("}")
    elif isinstance(value, (list, tuple)):
        pieces.append("[")
        for place, item in enumerate(value):
            if place:
                pieces.append(", ")
            _write(item, pieces)
        pieces.append("]")
    elif isinstance(value, WrittenFloat) or (isinstance(value, Decimal) and value.is_finite()):
        pieces.append(str(value))
    else:
        pieces.append(json.dumps(value, ensure_ascii=False, default=str))
