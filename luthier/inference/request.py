"""`Request` and `Completion`: what is asked of a model, and what it answers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from luthier.example import Message, written_out


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One call of a model; the names are those of OpenAI's protocol.

    Either `messages` (chat) or `prompt` (plain completion) is given.
    """

    messages: tuple[Message, ...] = ()
    prompt: str | None = None
    max_tokens: int = 512
    temperature: float = 1.0
    """0: always the likeliest token."""
    top_p: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    stop: tuple[str, ...] = ()
    """The answer ends before any of these."""
    n: int = 1
    """Answers."""
    seed: int | None = None
    """Of the sampling; also tells apart requests that are to be asked again on purpose."""
    logprobs: bool = False
    """Whether the log-probability of each token of the answer is told."""
    json_schema: Mapping[str, Any] | None = None
    """The answer is to be JSON of this schema. Where the backend cannot be held to it, whoever asks
    validates (`structured.py`)."""
    grammar: str | None = None
    """The answer is to be of this grammar, in llama.cpp's GBNF; backends without it refuse."""
    lora: str | None = None
    """Name of the adapter that answers, one of `llm.lora` (llama.cpp), or what a server lists as a
    model (vLLM). None: the only one there is, or the model as it is where several are named."""

    def __post_init__(self) -> None:
        assert bool(self.messages) != (self.prompt is not None), "messages or a prompt"
        if self.messages:
            # Calls of tools and their results are part of the words, or they would get lost.
            object.__setattr__(self, "messages", written_out(self.messages, None))
        for name in _FLOATS:  # a recipe's 1 is 1.0, or the same request would have two keys
            object.__setattr__(self, name, float(getattr(self, name)))

    def but(self, **changes: Any) -> Request:
        """Return a copy with some attributes changed."""
        return replace(self, **changes)

    @property
    def text(self) -> str:
        """All that the model is shown, for people and for estimates of length."""
        return (
            self.prompt if self.prompt is not None else "\n".join(m.content for m in self.messages)
        )

    def as_json(self) -> dict[str, Any]:
        """The request as it is kept in the log, what is at its default left out."""
        found: dict[str, Any] = {}
        if self.messages:
            found["messages"] = [{"role": m.role, "content": m.content} for m in self.messages]
        for name in _PLAIN:
            value = getattr(self, name)
            if value != _DEFAULTS[name]:
                found[name] = list(value) if isinstance(value, tuple) else value
        return found

    def key(self, model: Mapping[str, Any]) -> str:
        """SHA-256, in hex, of everything that determines the answer.

        Args:
            model: what the backend says of the model that is asked.
        """
        asked = {"model": dict(model), "request": self.as_json()}
        return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


_FLOATS = ("temperature", "top_p", "presence_penalty", "frequency_penalty")
_PLAIN = (
    "prompt", "max_tokens", "temperature", "top_p", "presence_penalty", "frequency_penalty", "stop",
    "n", "seed", "logprobs", "json_schema", "grammar", "lora",
)  # fmt: skip
_DEFAULTS: dict[str, Any] = {
    name: Request.__dataclass_fields__[name].default
    for name in _PLAIN
    if name not in ("max_tokens", "temperature")
} | {"max_tokens": None, "temperature": None}  # always said: defaults differ between servers


@dataclass(frozen=True, slots=True)
class Choice:
    """One answer."""

    text: str
    finish_reason: str
    """`stop`: it came to its end. `length`: cut at `max_tokens`. Others as the server says."""
    logprobs: tuple[tuple[str, float], ...] | None = None
    """Tokens of the answer with their natural log-probabilities."""


@dataclass(frozen=True, slots=True)
class Completion:
    """What came of a request."""

    choices: tuple[Choice, ...]
    model: str
    """The model as it calls itself, which may be more exact than what was asked for."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    unfit: str | None = None
    """Why the request itself cannot be answered (too long, refused by the server); no choices."""
    key: str = ""
    """That of the request in the log."""

    @property
    def text(self) -> str:
        """The only answer, or the first of several; empty where there is none."""
        return self.choices[0].text if self.choices else ""

    @property
    def finish_reason(self) -> str:
        """Why the first answer ended."""
        return self.choices[0].finish_reason if self.choices else "none"

    def as_json(self) -> dict[str, Any]:
        """As it is kept in the log."""
        found: dict[str, Any] = {"model": self.model}
        if self.unfit is not None:
            found["unfit"] = self.unfit
        found["choices"] = [
            {"text": c.text, "finish_reason": c.finish_reason}
            | ({"logprobs": [list(pair) for pair in c.logprobs]} if c.logprobs else {})
            for c in self.choices
        ]
        return found

    @classmethod
    def of_json(cls, record: Mapping[str, Any], key: str, used: tuple[int, int]) -> Completion:
        """Back from the log.

        Args:
            record: what `as_json` made.
            key: that of the request.
            used: prompt and completion tokens.
        """
        choices = tuple(
            Choice(
                c["text"],
                c["finish_reason"],
                tuple((t, p) for t, p in c["logprobs"]) if "logprobs" in c else None,
            )
            for c in record["choices"]
        )
        return cls(choices, record["model"], *used, record.get("unfit"), key)


Kind = Literal["busy", "flaky", "gone"]


class Trouble(Exception):
    """A request that was not answered and may be sent again.

    `busy`: the server asks to be asked less (429, 503). `flaky`: it failed, broke off or sent
    something unreadable. `gone`: nobody listens.
    """

    def __init__(self, kind: Kind, said: str, retry_after: float | None = None) -> None:
        super().__init__(said)
        self.kind, self.said, self.retry_after = kind, said, retry_after
