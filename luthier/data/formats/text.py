"""One column of plain text, for `task.kind: text`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from luthier.data.config import SourceConfig
from luthier.data.files.mapping import mapped
from luthier.data.importing.sample import Sample
from luthier.data.importing.side_columns import said_of, unread
from luthier.data.rows import Reject, Row, Table, kind_of

EXAMPLE: dict[str, Any] = {"text": "Grass is green."}
"""A record of this format."""
# Marks of ChatML, Llama 2 and 3, Gemma, Zephyr and Alpaca's prompt, and speakers as Anthropic's
# HH-RLHF and Vicuna's prompt name them.
_CHAT = re.compile(
    r"""\A\s* (?:<s>|<bos>|<\|begin_of_text\|>)? \s* (?:
        (?: [^\n]{0,300} \n+ )? \#{2,3}[ ]?(?: Instruction | Response | Human | User | Assistant )\b
      | <\|im_start\|> | <\|start_header_id\|> | <\|(?: system | user | assistant | prompter )\|>
      | <start_of_turn> | \[INST\] | <<SYS>>
      | (?: Human | User ) \s? [:：] .* \b (?: Assistant | AI | Bot ) \s? [:：]
    )""",
    re.VERBOSE | re.IGNORECASE | re.DOTALL,
)
_FEW = 0.1
"""Share of texts that may look like a chat without being taken for one."""


def rows(table: Table, source: SourceConfig) -> Iterator[Row | Reject]:
    """Rows with the field `text`, and the other columns under their own names."""
    for row in mapped(table, {"text": source.text}):
        if isinstance(row, Reject):
            yield row
            continue
        text = row.fields["text"]
        if isinstance(text, str):
            yield replace(row, text=text)
        else:
            reason = f"wrong type: column '{source.text}' holds {kind_of(text)}, expected text"
            yield Reject(row.origin, reason, row.fields)


def fits(sample: Sample) -> float:
    """How sure it is that a file is of this format, its column being `text`."""
    texts = sample.share(lambda r: isinstance(r.get("text"), str))
    labelled = sample.share(lambda r: any(name in r for name in ("label", "output", "role")))
    if labelled > 0.5:
        return 0.4 * texts
    return (0.5 if _chats(sample) > _FEW or unread(sample, ("text",)) else 0.9) * texts


def doubt(sample: Sample) -> str:
    """What speaks against it, to be told after the columns; empty: nothing."""
    if _chats(sample) > _FEW:
        return ", whose texts begin with the marks of a chat, which as text are words like others"
    return said_of(unread(sample, ("text",)), "text")


def _chats(sample: Sample) -> float:
    return sample.share(lambda r: _CHAT.match(str(r.get("text") or "")) is not None)
