"""Keys: what determines an answer changes them, and nothing else does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luthier.example import Message
from luthier.inference.backends import openai
from luthier.inference.config import LlmSection
from luthier.inference.request import Choice, Completion, Request

MODEL = {"backend": "openai", "model": "m"}
BASE = Request(prompt="Say A.", seed=1)
OTHERS: dict[str, Any] = {
    "prompt": "Say B.", "max_tokens": 511, "temperature": 0.5, "top_p": 0.9,
    "presence_penalty": 0.1, "frequency_penalty": 0.1, "stop": ("\n",), "n": 2, "seed": 2,
    "logprobs": True, "json_schema": {"type": "object"}, "grammar": "root ::= [a]", "lora": "a",
}  # fmt: skip


def test_every_attribute_changes_the_key() -> None:
    keys = {BASE.key(MODEL)} | {BASE.but(**{n: v}).key(MODEL) for n, v in OTHERS.items()}
    assert len(keys) == len(OTHERS) + 1
    assert set(OTHERS) | {"messages"} == set(Request.__dataclass_fields__), "a new attribute?"


def test_messages_change_the_key() -> None:
    def of(*turns: Message) -> str:
        return Request(messages=turns).key(MODEL)

    user, call = Message("user", "a"), '[{"name": "add", "arguments": {}}]'
    keys = [
        of(user), of(Message("system", "a")), of(user, Message("assistant", "b")),
        of(user, Message("assistant", "", tool_calls=call)), of(user, Message("tool", "b")),
        of(Message("user", "a\na")), Request(prompt="a").key(MODEL),
    ]  # fmt: skip
    assert len(set(keys)) == len(keys)


def test_a_call_of_a_tool_is_part_of_the_words() -> None:
    call = Message("assistant", "", tool_calls='[{"name": "add", "arguments": {"a": 1}}]')
    asked = Request(messages=(Message("user", "1+1?"), call, Message("tool", "2")))
    text = json.dumps(asked.as_json())
    assert "add" in text and "tool_response" in text
    assert {m["role"] for m in asked.as_json()["messages"]} <= {"user", "assistant"}


def test_equal_requests_have_equal_keys() -> None:
    whole = Request(prompt="a", temperature=1, top_p=1, presence_penalty=0, seed=3)
    assert whole == Request(prompt="a", seed=3)
    assert whole.key(MODEL) == Request(prompt="a", seed=3).key(MODEL)
    schemas = ({"a": 1, "b": 2}, {"b": 2, "a": 1})
    assert len({BASE.but(json_schema=s).key(MODEL) for s in schemas}) == 1
    assert BASE.key({"a": 1, "b": 2}) == BASE.key({"b": 2, "a": 1})


def opened(monkeypatch: pytest.MonkeyPatch | None = None, **changes: Any) -> str:
    given = {"backend": "openai", "model": "m", "base_url": "http://a/v1"} | changes
    backend = openai.open(LlmSection.model_validate(given), Path("runs"))
    return BASE.key(backend.model)


def test_how_a_server_is_reached_is_no_part_of_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "one")
    key = opened()
    for changes in (
        {"base_url": "https://b.example/v1"}, {"max_concurrency": 3}, {"timeout": 1},
        {"patience": 1}, {"api_key_env": "OTHER"}, {"prices": {"input": 1, "output": 1}},
        {"n_threads": 1},
    ):  # fmt: skip
        assert opened(**changes) == key, changes
    monkeypatch.setenv("OPENAI_API_KEY", "another")
    assert opened() == key


def test_which_model_is_asked_is_part_of_the_key() -> None:
    keys = {opened(), opened(model="n"), opened(extra_body={"top_k": 1})}
    assert len(keys) == 3


def test_a_request_is_words_or_turns() -> None:
    for wrong in ({}, {"prompt": "a", "messages": (Message("user", "a"),)}):
        with pytest.raises(AssertionError, match="messages or a prompt"):
            Request(**wrong)  # type: ignore[arg-type]


texts = st.text(st.characters(codec=None, exclude_categories=()), max_size=20)


@given(texts, st.lists(st.tuples(texts, st.floats(-9, 0)), max_size=3), st.none() | texts)
def test_a_completion_comes_back_from_json(
    text: str, pairs: list[tuple[str, float]], unfit: str | None
) -> None:
    choice = Choice(text, "stop", tuple(pairs) or None)
    made = Completion((choice,), "m", 3, 4, unfit, "k")
    record = json.loads(json.dumps(made.as_json()))
    assert Completion.of_json(record, "k", (3, 4)) == made


@given(texts)
def test_words_of_any_kind_have_a_key(text: str) -> None:
    assert len(Request(prompt=text).key(MODEL)) == 64
