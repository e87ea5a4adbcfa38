"""The rows that were left out of a dataset, from its file of rejects."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WITHHELD = ("personal data",)
"""Reasons that name their find masked; what the row says would show it."""
_PLACE = re.compile(r"(?:: row |:)\d+$")


@dataclass(frozen=True)
class LeftOut:
    """One row that was left out."""

    origin: str
    reason: str
    """With its details."""
    text: str
    """What the row says; empty where it could not be read, or is better not repeated."""


@dataclass(frozen=True)
class Rejects:
    """What the file of rejects holds."""

    first: Mapping[str, LeftOut]
    """The first row per reason, without its details."""
    per_source: Mapping[str, int]


def read_rejects(path: Path) -> Rejects:
    """Read a file of rejects line by line; lines that are no reject are passed over.

    Args:
        path: may be missing: where nothing was left out there is nothing to read.
    """
    first: dict[str, LeftOut] = {}
    per_source: Counter[str] = Counter()
    if path.is_file():
        with open(path, encoding="utf-8", errors="replace") as file:
            for line in file:
                try:
                    entry = json.loads(line)
                    origin, reason = str(entry["origin"]), str(entry["reason"])
                except (ValueError, KeyError, TypeError):
                    continue
                per_source[_PLACE.sub("", origin)] += 1
                what = reason.partition(":")[0]
                if what not in first:
                    said = "" if what in WITHHELD else _said(entry.get("fields"))
                    first[what] = LeftOut(origin, reason, said)
    return Rejects(first, per_source)


def _said(fields: Any) -> str:
    """The row's own columns, one a line."""
    if not isinstance(fields, dict):
        return ""
    lines = []
    for name, value in fields.items():
        if value not in (None, "", [], {}):
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            lines.append(f"{name}: {text}")
    return "\n".join(lines)
