"""`Example` and `Message`: the one record that every stage exchanges, with its provenance."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from operator import attrgetter
from typing import Any, Literal

Role = Literal["system", "user", "assistant", "tool"]
Split = Literal["train", "validation", "calibration", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "calibration", "test")


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: Role
    content: str
    name: str | None = None
    """Who speaks where several share a role; of a `tool` message, the tool."""
    tool_calls: str | None = None
    """JSON list of {name, arguments}: the tools that the assistant calls in this turn."""
    weight: float | None = None
    """What the data says of the turn's share in the loss: 0 is shown and never trained."""


@dataclass(frozen=True, slots=True)
class Terms:
    """On what terms a row may be used: those of the data and those of the model that wrote it."""

    licence: str | None = None
    """SPDX identifier, or words; None: nobody said."""
    commercial: Literal["yes", "no", "unclear"] = "unclear"
    """Whether licence and generator together allow training a commercial model."""
    generator: str | None = None
    """The model that wrote the row; None: people did, or nobody said."""
    generator_terms: str | None = None
    """What that model's terms say about training on its outputs."""


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
    tools: str | None = None
    """JSON list of the tools that the assistant may call, as the data defines them."""
    terms: Terms = Terms()
    """Data licence and generator terms."""
    parents: tuple[str, ...] = ()
    """Ids of the rows it was made from."""

    @property
    def turns(self) -> tuple[Message, ...]:
        """The conversation as a model is shown it: tools and their calls written out as text."""
        if self.tools is None and not any(m.tool_calls or m.role == "tool" for m in self.messages):
            return self.messages
        return written_out(self.messages, self.tools)

    @property
    def prompt(self) -> tuple[Message, ...]:
        """All turns but the completion."""
        return self.turns[:-1]

    @property
    def completion(self) -> str:
        """What the model is to answer (the last turn, or the text of a text row)."""
        return self.turns[-1].content if self.messages else (self.text or "")

    def but(self, **changes: Any) -> Example:
        """Return a copy with some attributes changed."""
        # `dataclasses.replace` takes twice as long, and every row comes by here several times.
        return Example(**dict(zip(_NAMES, _VALUES(self), strict=True)) | changes)


_NAMES = tuple(f.name for f in fields(Example))
_VALUES = attrgetter(*_NAMES)


def written_out(messages: Sequence[Message], tools: str | None) -> tuple[Message, ...]:
    """A conversation with tools in plain turns, which every chat template can show.

    Tools stand in the system message, calls in `<tool_call>` and results, in a turn of the user,
    in `<tool_response>`: the convention of Hermes function calling (NousResearch,
    Hermes-Function-Calling), which Qwen 2.5 and SmolLM2 were trained with too.

    Args:
        messages: the conversation.
        tools: JSON list of the tools; None: none are listed.
    """
    turns: list[Message] = []
    for message in messages:
        if message.role == "tool":
            result = f"<tool_response>\n{message.content}\n</tool_response>"
            if turns and turns[-1].role == "user" and turns[-1].name == "tool":
                # Results of calls made at once are one turn.
                turns[-1] = Message("user", f"{turns[-1].content}\n{result}", "tool")
            else:
                turns.append(Message("user", result, "tool"))
        elif message.tool_calls:
            calls = [json.dumps(c, ensure_ascii=False) for c in json.loads(message.tool_calls)]
            said = [message.content] if message.content else []
            text = "\n".join([*said, *(f"<tool_call>\n{c}\n</tool_call>" for c in calls)])
            turns.append(replace(message, content=text, tool_calls=None))
        else:
            turns.append(message)
    if tools is None:
        return tuple(turns)
    listed = "\n".join(json.dumps(t, ensure_ascii=False) for t in json.loads(tools))
    text = (
        f"You may call tools. These are their signatures:\n<tools>\n{listed}\n</tools>\n"
        "To call one, write its name and arguments as JSON between <tool_call> and </tool_call>."
    )
    if turns and turns[0].role == "system":
        return (replace(turns[0], content=f"{turns[0].content}\n\n{text}"), *turns[1:])
    return (Message("system", text), *turns)


def content_id(parts: Iterable[Any]) -> str:
    """Return a 16-hex-digit id (64 bits of SHA-256) of the given values, in order."""
    digest = hashlib.sha256()
    for part in parts:
        piece = str(part).encode("utf-8", "surrogatepass")
        digest.update(len(piece).to_bytes(8, "little") + piece)
    return digest.hexdigest()[:16]
