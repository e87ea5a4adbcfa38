"""`Example` and `Message`: the one record that every stage exchanges, with its provenance."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

Role = Literal["system", "user", "assistant"]
Split = Literal["train", "validation", "calibration", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "calibration", "test")


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a row came from, so that every later message can point at it."""

    source: str
    """File path as written in the recipe, or a hub id."""
    row: int
    """1-based, what `counted` says."""
    counted: Literal["line", "row"] = "line"
    """`line`: the one a CSV record or a JSONL object begins in. `row`: JSON lists, Parquet and hub
    sets, whose rows have no line of their own."""

    def __str__(self) -> str:
        joint = ":" if self.counted == "line" else ": row "
        return f"{self.source}{joint}{self.row}"


@dataclass(frozen=True, slots=True)
class Example:
    """One row of instruction data.

    A format fills `fields`; a template turns the fields into `messages`, whose last message is
    the completion to be learned. Plain language-modelling rows have `text` and no messages.
    """

    id: str
    """Stable across runs: a hash of what the row says (see `content_id`)."""
    origin: Origin
    fields: Mapping[str, Any] = field(default_factory=dict)
    """The mapped columns (`input`, `output`, ...) and, under their own names, the others."""
    messages: tuple[Message, ...] = ()
    text: str | None = None
    label: str | None = None
    """The gold label of a classification row."""
    template: str | None = None
    split: Split | None = None
    group: str | None = None
    """Rows of one group (near-duplicates of each other) never straddle a split."""

    @property
    def prompt(self) -> tuple[Message, ...]:
        """All messages but the completion."""
        return self.messages[:-1]

    @property
    def completion(self) -> str:
        """What the model is to answer (the last message, or the text of a text row)."""
        return self.messages[-1].content if self.messages else (self.text or "")

    def but(self, **changes: Any) -> Example:
        """Return a copy with some attributes changed."""
        return replace(self, **changes)


def content_id(parts: Iterable[Any]) -> str:
    """Return a 16-hex-digit id (64 bits of SHA-256) of the given values, in order."""
    digest = hashlib.sha256()
    for part in parts:
        piece = str(part).encode("utf-8", "surrogatepass")
        digest.update(len(piece).to_bytes(8, "little") + piece)
    return digest.hexdigest()[:16]
