"""Fractions of JSON as they were written: 0.50 is not 0.5 to a prompt, and yet it is a number."""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from json.encoder import encode_basestring
from typing import Any

_ENCODER = json.JSONEncoder(ensure_ascii=False, default=str)


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


def fields_text(fields: Mapping[str, Any]) -> str:
    """What `json.dumps` says of a row's fields with `ensure_ascii=False` and `default=str`.

    Most values are texts, for which there is no need of an encoder that could do all kinds.
    """
    pieces = []
    for key, value in fields.items():
        if type(key) is not str:  # a reader of Parquet or of the hub may know better
            return _ENCODER.encode(dict(fields))
        text = encode_basestring(value) if type(value) is str else _ENCODER.encode(value)
        pieces.append(f"{encode_basestring(key)}: {text}")
    return f"{{{', '.join(pieces)}}}"


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
