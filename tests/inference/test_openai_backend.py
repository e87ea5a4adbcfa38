"""The openai backend against a real server: its protocol, its errors, and no word of the key."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, Field, ValidationError
from scripted_server import KINDS, SORRY, Scripted

from luthier.errors import LuthierError, ModelError
from luthier.example import Message
from luthier.inference.backends import openai
from luthier.inference.backends.openai import OpenAiServer
from luthier.inference.call_log import CallLog
from luthier.inference.config import BudgetSection, LlmSection
from luthier.inference.request import Completion, Request
from luthier.inference.session import Session, asking
from luthier.inference.structured import closed

Serve = Callable[..., Scripted]
KEY = "sk-proj-Very_secret-0123456789"


def chat(words: str, **how: Any) -> Request:
    return Request(messages=(Message("user", words),), **{"max_tokens": 32, "seed": 1} | how)


def ask(
    section: LlmSection, folder: Path, *requests: Request, budget: BudgetSection | None = None
) -> list[Completion]:
    """Ask a server some requests at once; the log is `folder/calls.jsonl`."""

    async def run(log: CallLog) -> list[Completion]:
        async with asking(Session(section, log, budget=budget)) as session:
            return await asyncio.gather(*(session.ask(r) for r in requests))

    with CallLog(folder / "calls.jsonl") as log:
        return asyncio.run(run(log))


def bodies(server: Scripted) -> list[dict[str, Any]]:
    return [line["body"] for line in server.asked()]


# --- the protocol ------------------------------------------------------------------------------


def test_chat_and_completion(serve: Serve, tmp_path: Path) -> None:
    server = serve(rules=[{"if": "capital", "say": "Paris. {words}"}])
    turns = (Message("system", "Be brief."), Message("user", "The capital of France?"))
    asked = Request(messages=turns, temperature=0.5, top_p=0.9, stop=("?",), seed=7)
    found, plain = ask(server.section(), tmp_path, asked, Request(prompt="capital", max_tokens=2))
    assert found.text == "Paris. The capital of France"
    assert (found.finish_reason, found.model) == ("stop", "strong-model-2026-01")
    assert found.prompt_tokens > 0 and found.completion_tokens > 0 and found.unfit is None
    assert (plain.text, plain.finish_reason) == ("Paris. c", "length")
    sent = {("messages" in body): body for body in bodies(server)}
    assert sent[True] == {
        "model": "strong-model", "max_tokens": 512, "temperature": 0.5, "top_p": 0.9, "seed": 7,
        "stop": ["?"],
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "The capital of France?"},
        ],
    }  # fmt: skip
    assert sent[False] == {
        "model": "strong-model",
        "max_tokens": 2,
        "temperature": 1.0,
        "prompt": "capital",
    }


@pytest.mark.parametrize("plain", [False, True])
def test_logprobs(serve: Serve, tmp_path: Path, plain: bool) -> None:
    server = serve(rules=[{"if": "", "say": "abcdefgh"}])
    asked = Request(prompt="a", logprobs=True) if plain else chat("a", logprobs=True)
    [found] = ask(server.section(), tmp_path, asked)
    assert found.choices[0].logprobs == (("abcd", -0.4), ("efgh", -0.4))
    [body] = bodies(server)
    assert body["logprobs"] == (1 if plain else True)
    assert body.get("top_logprobs") == (None if plain else 1)


def test_an_adapter_is_asked_for_as_a_model(serve: Serve, tmp_path: Path) -> None:
    server = serve()
    [found] = ask(server.section(), tmp_path, chat("a", lora="strong-model-mini"))
    assert found.model == "strong-model-mini-2026-01"
    assert [body["model"] for body in bodies(server)] == ["strong-model-mini"]


def test_several_answers(serve: Serve, tmp_path: Path) -> None:
    [found] = ask(serve().section(), tmp_path, chat("a", n=3))
    assert len({c.text for c in found.choices}) == 3


def test_a_server_that_gives_one_answer_is_asked_for_the_others(
    serve: Serve, tmp_path: Path
) -> None:
    (tmp_path / "one_answer.py").write_text(
        "def answer(asked): return [f\"seed {asked['seed']}\"]\n"
    )
    server = serve(answers="one_answer", path=(tmp_path,))
    [found] = ask(server.section(), tmp_path, chat("a", n=3))
    assert len({c.text for c in found.choices}) == 3
    seeds = [body["seed"] for body in bodies(server)]
    assert len(set(seeds)) == 3 and [body.get("n", 1) for body in bodies(server)] == [3, 2, 1]
    assert found.completion_tokens > 3


def test_more_answers_than_were_asked_for_are_not_taken(serve: Serve, tmp_path: Path) -> None:
    server = serve(faults={"script": ["duplicated"]})
    [found] = ask(server.section(), tmp_path, chat("a"))
    assert len(found.choices) == 1


def test_a_schema_is_handed_on(serve: Serve, tmp_path: Path) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    server = serve()
    [found] = ask(server.section(), tmp_path, chat("a", json_schema=schema))
    assert found.text.startswith('{"n": ')
    [body] = bodies(server)
    assert body["response_format"]["json_schema"]["schema"] == schema
    assert "json_schema" not in body


class Part(BaseModel):
    pattern: str = Field(max_length=5, pattern="a+")
    numbers: list[int] = Field(min_length=1, max_length=3)


class Form(BaseModel):
    reason: str = Field(max_length=600)
    score: int = Field(ge=1, le=5)
    share: float = Field(ge=0, le=1)
    parts: list[Part]


def test_a_schema_has_no_keyword_that_strict_mode_refuses(serve: Serve, tmp_path: Path) -> None:
    server = serve()
    whole = closed(Form.model_json_schema())
    ask(server.section(), tmp_path, chat("a", json_schema=whole))
    sent = bodies(server)[0]["response_format"]["json_schema"]["schema"]
    assert sent["properties"] == {
        "reason": {"title": "Reason", "type": "string"},
        "score": {"title": "Score", "type": "integer", "enum": [1, 2, 3, 4, 5]},
        "share": {"title": "Share", "type": "number"},
        "parts": whole["properties"]["parts"],
    }
    part = sent["$defs"]["Part"]
    assert part["properties"]["pattern"] == {"title": "Pattern", "type": "string"}
    assert set(part["properties"]["numbers"]) == {"title", "type", "items"}
    assert part["required"] == ["pattern", "numbers"] and part["additionalProperties"] is False
    llama = OpenAiServer(server.section(), server.base_url, None, extra=lambda request: {})
    body = llama._body(chat("a", json_schema=whole))
    assert body["response_format"]["json_schema"]["schema"] == whole, "llama.cpp takes all"


def test_extra_fields_are_sent_and_null_takes_one_out(serve: Serve, tmp_path: Path) -> None:
    server = serve()
    extra = {"top_k": 5, "max_tokens": None, "max_completion_tokens": 9}
    ask(server.section(extra_body=extra), tmp_path, chat("a"))
    [body] = bodies(server)
    assert (body["top_k"], body["max_completion_tokens"]) == (5, 9) and "max_tokens" not in body


def test_half_a_surrogate_pair_reaches_the_server(serve: Serve, tmp_path: Path) -> None:
    server = serve(rules=[{"if": "", "say": "{words}"}])
    [found] = ask(server.section(), tmp_path, chat("a\ud800b é 😀"))
    assert found.text == "a\ud800b é 😀"


def test_a_server_that_does_not_count_tokens(
    serve: Serve, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server = serve(usage=False, rules=[{"if": "", "say": "x" * 30}])
    first, second = ask(server.section(), tmp_path, chat("a" * 30), chat("b" * 30))
    assert (first.prompt_tokens, first.completion_tokens) == (10, 10)
    assert second.completion_tokens == 10
    words = " ".join(capsys.readouterr().err.split())
    assert words.count("does not say how many tokens it used") == 1


def test_a_grammar_is_refused(serve: Serve, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="a grammar was asked for"):
        ask(serve().section(), tmp_path, chat("a", grammar="root ::= [a]"))


# --- faults ------------------------------------------------------------------------------------


@pytest.mark.usefixtures("no_pauses")
@pytest.mark.parametrize("kind", KINDS)
def test_faults_that_go_away(serve: Serve, tmp_path: Path, kind: str) -> None:
    server = serve(faults={"script": [kind] * 3})
    [found] = ask(server.section(), tmp_path, chat("a"))
    assert found.text.startswith("answer 0")
    assert len(server.asked()) == (1 if kind == "duplicated" else 4)


@pytest.mark.usefixtures("no_pauses")
def test_many_faults_at_once_change_no_answer(serve: Serve, tmp_path: Path) -> None:
    requests = [chat(f"question {i}") for i in range(60)]
    plain = ask(serve().section(), tmp_path / "plain", *requests)
    server = serve(faults={"seed": 1, "rate": 0.4, "most": 3})
    found = ask(server.section(), tmp_path / "faults", *requests)
    assert [c.text for c in found] == [c.text for c in plain]
    faults = {line["fault"] for line in server.asked()}
    assert faults == {None, *KINDS}, "a plan that does not try them all"


def test_a_slow_answer_is_given_up(serve: Serve, tmp_path: Path) -> None:
    server = serve(faults={"script": ["hang"]})
    [found] = ask(server.section(timeout=0.3), tmp_path, chat("a"))
    assert found.text.startswith("answer 0") and len(server.asked()) == 2


def test_no_credit_left_stops_it_at_once(serve: Serve, tmp_path: Path) -> None:
    server = serve(faults={"always": {".": "quota"}})
    with pytest.raises(ModelError, match=r"has no credit left for this key \(429\)"):
        ask(server.section(max_concurrency=1), tmp_path, *(chat(f"{i}") for i in range(9)))
    assert len(server.asked()) <= 2


def test_a_daily_limit_stops_it(serve: Serve, tmp_path: Path) -> None:
    server = serve(faults={"always": {".": "sold out"}})
    with pytest.raises(ModelError, match="to be asked again in 24 h 00 min"):
        ask(server.section(max_concurrency=1), tmp_path, chat("a"))


def test_an_unknown_model_gets_the_nearest_name(serve: Serve, tmp_path: Path) -> None:
    with pytest.raises(ModelError) as caught:
        ask(serve().section(model="strong-modle"), tmp_path, chat("a"))
    text = str(caught.value)
    assert "has no model 'strong-modle'" in text and "Did you mean 'strong-model'?" in text
    assert "It has: strong-model, strong-model-mini." in text


def test_a_wrong_address(serve: Serve, tmp_path: Path) -> None:
    server = serve()
    section = server.section(base_url=server.base_url + "/v2/wrong", model="strong-model")
    with pytest.raises(ModelError, match="or no such address"):
        ask(section, tmp_path, chat("a"))


def test_nobody_listens(serve: Serve, tmp_path: Path) -> None:
    server = serve()
    server.__exit__(None, None, None)
    with pytest.raises(ModelError, match=r"nobody listens there \(.+\)\. Nothing came from"):
        ask(server.section(patience=0), tmp_path, chat("a"))


def test_a_server_that_is_started_late_is_met(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = serve()
    first.__exit__(None, None, None)
    lost, again = Session._ease, list[Scripted]()

    def ease(self: Session, trouble: Any, sent_in: int) -> None:
        if not again:
            assert trouble.kind == "gone"
            again.append(serve(port=first.port))
        lost(self, trouble, sent_in)

    monkeypatch.setattr(Session, "_ease", ease)
    found = ask(first.section(), tmp_path, *(chat(f"{i}") for i in range(20)))
    assert len(found) == 20 and len(again[0].completed()) == 20


def test_a_request_that_is_unfit(serve: Serve, tmp_path: Path) -> None:
    always = {"bad": "filter", "long": "413", "sorry": "sorry", "half": "cut"}
    server = serve(faults={"always": always})
    words = ("bad", "long", "sorry", "half", "fine", "bad 2", "bad 3", "bad 4")
    found = ask(server.section(), tmp_path, *map(chat, words))
    assert found[0].unfit == "refused (400): The prompt was filtered"
    assert found[1].unfit == "refused (413): too long"
    assert found[2].text == SORRY and found[2].unfit is None
    assert found[3].finish_reason == "length"
    assert found[4].unfit is None and found[4].text
    assert all(f.unfit for f in found[5:])
    asked = len(server.asked())
    ask(server.section(), tmp_path, *map(chat, words))
    assert len(server.asked()) == asked, "what is unfit is in the log too"


def test_prompts_that_a_filter_refuses_are_not_taken_for_a_wrong_recipe(
    serve: Serve, tmp_path: Path
) -> None:
    server = serve(faults={"always": {"bad": "filter"}})
    requests = [*(chat(f"bad {i}") for i in range(10)), chat("fine")]
    found = ask(server.section(max_concurrency=1), tmp_path, *requests)
    assert [bool(c.unfit) for c in found] == [True] * 10 + [False]


def test_a_server_that_refuses_everything_says_how_to_go_on(serve: Serve, tmp_path: Path) -> None:
    server = serve(faults={"always": {".": "400"}})
    with pytest.raises(ModelError) as caught:
        ask(server.section(), tmp_path, *(chat(f"{i}") for i in range(10)))
    text = str(caught.value)
    assert "refuses every request (400): Unsupported parameter: 'max_tokens'" in text
    assert "llm: {extra_body: {max_tokens: null}}" in text


def test_a_refusal_in_a_field_of_its_own(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "refusing.py").write_text(
        "def answer(asked): return {'message': {'content': None, 'refusal': 'I will not.'}}\n"
    )
    server = serve(answers="refusing", path=(tmp_path,))
    [found] = ask(server.section(), tmp_path, chat("a"))
    assert found.text == "I will not."


@pytest.mark.parametrize(
    "content",
    [
        b"", b"null", b"[]", b"{}", b'{"choices": []}', b'{"choices": [{}]}', b'{"choices": {}}',
        b'{"choices": [{"text": 5}]}', b'{"choices": [{"message": null}]}', b'{"error": "x"}',
        b'{"choices": [{"text": "a"}], "usage": [1]}', b"[" * 100_000,
        b'{"choices": [{"text": "a"}], "usage": {"prompt_tokens": "many"}}',
        b'{"choices": [{"text": "a", "logprobs": {"content": [{}]}}]}', b"\xff\xfe",
    ],
)  # fmt: skip
def test_answers_that_cannot_be_read_are_asked_for_again(content: bytes) -> None:
    section = LlmSection(backend="openai", base_url="http://127.0.0.1:1/v1", model="m")
    server = openai.OpenAiServer(section, "http://127.0.0.1:1/v1", None)
    with pytest.raises(openai.Trouble) as caught:
        server._read(Request(prompt="a"), content)
    assert caught.value.kind == "flaky" and len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None), ("3", 3.0), ("0.5", 0.5), ("-3", 0.0), ("soon", None), ("", None),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0), ("Wed, 99 Oct 2015 07:28:00 GMT", None),
        ("Wed, 21 Oct 2015 07:28:00 -0000", 0.0), ("nan", None),
    ],
)  # fmt: skip
def test_retry_after(header: str | None, seconds: float | None) -> None:
    assert openai._seconds(header) == seconds


# --- the key -----------------------------------------------------------------------------------


@pytest.mark.parametrize("secret", [KEY, "any.other-kind.of-key-4711"])
def test_the_key_opens_the_server_and_is_seen_nowhere(
    serve: Serve,
    secret: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    server = serve(key=secret)
    monkeypatch.setenv("OPENAI_API_KEY", secret + "\n")
    [found] = ask(server.section(), tmp_path, chat("a"))
    assert found.text
    texts = [(tmp_path / "calls.jsonl").read_text(), server.log.read_text(), caplog.text]
    monkeypatch.setenv("OPENAI_API_KEY", secret + "x")
    monkeypatch.setenv("OTHER", "")
    for name, words in (("OPENAI_API_KEY", "does not take the key"), ("OTHER", "wants a key")):
        try:
            ask(server.section(api_key_env=name), tmp_path, chat("b"))
        except ModelError as error:
            assert words in str(error) and name in str(error)
            texts += [str(error), "".join(traceback.format_exception(error))]
        else:
            pytest.fail("it was let in")
    out, err = capsys.readouterr()
    for text in (*texts, out, err):
        assert secret not in text and secret[:14] not in text


def test_a_wrong_key_is_asked_with_once(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "wrong")
    server = serve(key=KEY)
    with pytest.raises(ModelError, match="correct the key"):
        ask(server.section(), tmp_path, chat("a"))
    assert server.asked() == []


@pytest.mark.parametrize("key", ["sk-abc\ndef1234567", "sk-abc\u201ddef1234567", "sk-\x00123456"])
def test_a_key_that_no_header_takes(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    section = LlmSection(backend="openai", base_url="http://127.0.0.1:1/v1", model="m")
    monkeypatch.setattr(openai.os, "environ", {"OPENAI_API_KEY": key})
    with pytest.raises(ModelError, match="the key in OPENAI_API_KEY has characters") as caught:
        openai.open(section, Path("runs"))
    assert key[:6] not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("http://user:hunter2@host/v1", "without user and password"),
        ("localhost:8000/v1", "expected an address such as"), ("", "expected an address such as"),
        ("ftp://host/v1", "expected an address such as"), ("http://", "expected an address such"),
        ("http://[::1/v1", "expected an address such as"), ("http://h:x/v1", "expected an address"),
    ],
)  # fmt: skip
def test_addresses_that_are_none(address: str, words: str) -> None:
    with pytest.raises(ValidationError, match=words) as caught:
        LlmSection(backend="openai", base_url=address, model="m")
    assert "hunter2" not in caught.value.errors()[0]["msg"]


# --- Ctrl-C ------------------------------------------------------------------------------------

INTERRUPTED = """
import asyncio, sys
from pathlib import Path
from luthier.inference.call_log import CallLog
from luthier.inference.config import LlmSection
from luthier.inference.request import Request
from luthier.inference.session import Session, asking

async def run(log):
    section = LlmSection(backend="openai", base_url={url!r}, model="strong-model")
    async with asking(Session(section, log)) as session:
        await asyncio.gather(*(session.ask(Request(prompt=str(i))) for i in range(30)))

with CallLog(Path(sys.argv[1])) as log:
    asyncio.run(run(log))
"""


def test_ctrl_c_keeps_what_is_on_its_way(serve: Serve, tmp_path: Path) -> None:
    server = serve(service=0.3, tell=True)
    code = INTERRUPTED.format(url=server.base_url)
    path = tmp_path / "calls.jsonl"
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stderr=subprocess.PIPE, text=True, env=os.environ
    )
    server.wait_for(8)  # the first 8 are on their way for 0.3 s
    process.send_signal(signal.SIGINT)
    _, words = process.communicate(timeout=60)
    assert process.returncode != 0 and "KeyboardInterrupt" in words
    assert "Waiting for 8 answers on the way" in words
    with CallLog(path) as log:
        assert len(log) == len(server.completed()) == len(server.asked()) == 8


def test_backends_without_an_address_are_refused() -> None:
    with pytest.raises(ValidationError, match="needs 'base_url'"):
        LlmSection(backend="openai", model="m")
    assert issubclass(ModelError, LuthierError)
