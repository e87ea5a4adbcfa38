"""llama.cpp's server for real: a tiny model as GGUF, held to grammars, killed and not found."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import psutil
import pytest
import tiny_gguf
from pydantic import BaseModel, ConfigDict

from luthier.errors import LuthierError, ModelError
from luthier.example import Message
from luthier.inference.backends import llamacpp
from luthier.inference.call_log import CallLog
from luthier.inference.config import LlmSection
from luthier.inference.request import Completion, Request
from luthier.inference.session import Session, asking
from luthier.inference.structured import ask_for

pytest.importorskip("xllamacpp")


@pytest.fixture(scope="module")
def gguf(tiny_model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    tiny_gguf.write_model(tiny_model_dir, path)
    return path


@pytest.fixture
def log(tmp_path: Path) -> Iterator[CallLog]:
    with CallLog(tmp_path / "calls.jsonl") as opened:
        yield opened


def section(gguf: Path, **changes: Any) -> LlmSection:
    given = {"model": str(gguf), "n_ctx": 256, "n_parallel": 2, "n_threads": 1}
    return LlmSection.model_validate(given | changes)


def run(log: CallLog, settings: LlmSection, job: Callable[[Session], Awaitable[Any]]) -> Any:
    async def opened() -> Any:
        async with asking(Session(settings, log)) as session:
            return await job(session)

    return asyncio.run(opened())


def ask(log: CallLog, settings: LlmSection, *requests: Request) -> list[Completion]:
    async def all_of(session: Session) -> list[Completion]:
        return await asyncio.gather(*(session.ask(r) for r in requests))

    found: list[Completion] = run(log, settings, all_of)
    return found


def chat(words: str, **how: Any) -> Request:
    return Request(messages=(Message("user", words),), **{"max_tokens": 12, "seed": 1} | how)


def plain(words: str, **how: Any) -> Request:
    return Request(prompt=words, **{"max_tokens": 12, "temperature": 0.0} | how)


# --- answers -----------------------------------------------------------------------------------


def test_it_answers_as_transformers_does(
    log: CallLog, gguf: Path, tiny_model_dir: Path, tmp_path: Path
) -> None:
    """The likeliest tokens, and their log-probabilities: template, tokens and weights agree."""
    requests = [
        chat("What is the capital of France?", temperature=0.0, logprobs=True),
        plain("We will build 400 new", logprobs=True),
    ]
    ours = ask(log, section(gguf), *requests)
    with CallLog(tmp_path / "theirs.jsonl") as other:
        theirs = ask(
            other, LlmSection(backend="transformers", model=str(tiny_model_dir)), *requests
        )
    for mine, other_one in zip(ours, theirs, strict=True):
        assert mine.text == other_one.text and mine.text
        assert mine.prompt_tokens == other_one.prompt_tokens
        of_mine, of_theirs = (c.choices[0].logprobs for c in (mine, other_one))
        # llama.cpp tells none of tokens at the end that are no whole character.
        assert of_mine and of_theirs and 8 <= len(of_mine) <= len(of_theirs) == 12
        for (_, p), (_, q) in zip(of_mine, of_theirs, strict=False):
            assert p == pytest.approx(q, abs=2e-3)


def test_seeds_and_several_answers(log: CallLog, gguf: Path) -> None:
    requests = [chat("Hello", n=3), chat("Hello", n=3, seed=2), chat("Hello"), chat("Hello!")]
    found = ask(log, section(gguf), *requests)
    texts = [c.text for one in found[:2] for c in one.choices]
    assert len(texts) == 6 and len(set(texts)) == 6
    assert found[2].text == texts[0], "the first of several is the only one of one"
    assert found[0].completion_tokens > found[2].completion_tokens, "all of them are counted"
    assert {one.model for one in found} == {"tiny.gguf"}


def test_answers_do_not_depend_on_who_is_asked_beside(
    log: CallLog, gguf: Path, tmp_path: Path
) -> None:
    requests = [chat(f"Question {i}", seed=i) for i in range(12)]
    together = ask(log, section(gguf, n_parallel=4), *requests)
    with CallLog(tmp_path / "alone.jsonl") as alone:
        one_by_one = ask(alone, section(gguf, n_parallel=1), *requests)
    same = [a.text == b.text for a, b in zip(together, one_by_one, strict=True)]
    assert sum(same) >= 10, "but for a rounding now and then"


class Verdict(BaseModel):
    model_config = ConfigDict(extra="forbid")
    label: Literal["True", "False"]
    score: int


def test_a_random_model_held_to_a_schema_writes_what_fits(log: CallLog, gguf: Path) -> None:
    async def job(session: Session) -> Any:
        asked = [
            ask_for(session, chat(f"Judge {i}.", max_tokens=80, temperature=0.2), Verdict)
            for i in range(4)
        ]
        return await asyncio.gather(*asked)

    for found, completions in run(log, section(gguf), job):
        if found is None:  # it wrote a number with no end
            assert completions[-1].finish_reason == "length"
        else:
            assert found.label in ("True", "False")
        assert completions[0].text.lstrip().startswith("{")


def test_a_random_model_held_to_a_grammar(log: CallLog, gguf: Path) -> None:
    grammar = 'root ::= ("yes" | "no") "!"'
    found = ask(log, section(gguf), *(chat(f"{i}?", grammar=grammar) for i in range(6)))
    assert {c.text for c in found} <= {"yes!", "no!"}
    [wrong] = ask(log, section(gguf), chat("?", grammar="root ::= [a-"))
    assert wrong.unfit is not None and "grammar" in wrong.unfit


def test_what_is_too_long_is_unfit(log: CallLog, gguf: Path) -> None:
    long, fits = ask(log, section(gguf), plain("red " * 300), plain("red"))
    assert long.unfit is not None and "exceeds the available context size" in long.unfit
    assert fits.text and fits.unfit is None
    # With more room it is asked again: what determines the answer has changed.
    [again] = ask(log, section(gguf, n_ctx=512), plain("red " * 300))
    assert again.unfit is None and again.text


def test_half_a_surrogate_pair_is_unfit(log: CallLog, gguf: Path) -> None:
    [found] = ask(log, section(gguf), plain("\ud800"))
    assert found.unfit is not None and "refused (400)" in found.unfit


def test_an_adapter_changes_the_answers(
    log: CallLog, gguf: Path, tiny_model_dir: Path, tmp_path: Path
) -> None:
    adapter = tmp_path / "adapter.gguf"
    tiny_gguf.write_adapter(tiny_model_dir, adapter)
    [without] = ask(log, section(gguf), plain("We will", max_tokens=24))
    [with_it] = ask(log, section(gguf, lora=str(adapter)), plain("We will", max_tokens=24))
    assert without.text != with_it.text and without.key != with_it.key
    assert len(log) == 2
    nothing = tmp_path / "nothing.gguf"
    tiny_gguf.write_adapter(tiny_model_dir, nothing, scale=0.0)
    [same] = ask(log, section(gguf, lora=str(nothing)), plain("We will", max_tokens=24))
    assert same.text == without.text


def test_each_request_names_its_adapter(
    log: CallLog, gguf: Path, tiny_model_dir: Path, tmp_path: Path
) -> None:
    """One process, three voices: what one wrote is no beginning of what another goes on from."""
    files = {}
    for seed, name in enumerate(("one", "other")):
        files[name] = str(tmp_path / f"{name}.gguf")
        tiny_gguf.write_adapter(tiny_model_dir, Path(files[name]), seed=seed)
    asked = [
        plain(question, max_tokens=8, lora=name)
        for start in ("We will", "They did")
        for question in (start, f"{start} build", f"{start} build 400 new homes")
        for name in (None, "one", "other")
    ]
    together = ask(log, section(gguf, lora=files, n_parallel=2), *asked)
    assert len({c.text for c in together[:3]}) == 3
    for name in (None, "one", "other"):
        mine = [(r, c.text) for r, c in zip(asked, together, strict=True) if r.lora == name]
        alone = section(gguf, lora=files.get(name or ""), n_parallel=1)
        with CallLog(tmp_path / f"{name}.jsonl") as other:
            expected = ask(other, alone, *(request.but(lora=None) for request, _ in mine))
        same = [text == c.text for (_, text), c in zip(mine, expected, strict=True)]
        assert sum(same) >= len(same) - 1, "but for a rounding now and then"
    with pytest.raises(ModelError, match=r"no adapter 'oen' in llm\.lora.*'one'"):
        ask(log, section(gguf, lora=files), plain("a", lora="oen"))


def test_keys_know_the_file(gguf: Path, tmp_path: Path) -> None:
    def key(settings: LlmSection) -> str:
        return plain("a").key(llamacpp.open(settings, tmp_path).model)

    base = key(section(gguf))
    for same in ({"n_parallel": 8}, {"n_threads": 2}, {"timeout": 3}, {"patience": 3}):
        assert key(section(gguf, **same)) == base
    for other in ({"n_ctx": 512}, {"extra_body": {"min_p": 0.1}}):
        assert key(section(gguf, **other)) != base
    moved = tmp_path / "moved" / gguf.name
    moved.parent.mkdir()
    moved.write_bytes(gguf.read_bytes())
    assert key(section(moved)) == base
    moved.write_bytes(gguf.read_bytes() + b" ")
    assert key(section(moved)) != base


def test_keys_do_not_change_when_the_server_starts(log: CallLog, gguf: Path) -> None:
    settings = section(gguf, extra_body={"min_p": 0.1})

    async def job(session: Session) -> list[str]:
        return [(await session.ask(plain(words))).key for words in ("a", "b", "a")]

    first, _, again = run(log, settings, job)
    assert first == again and len(log) == 2


def test_what_the_log_knows_needs_no_process(
    log: CallLog, gguf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [found] = ask(log, section(gguf), plain("a"))

    async def no_start(self: llamacpp.LlamaCpp) -> None:
        raise AssertionError("it was started")

    monkeypatch.setattr(llamacpp.LlamaCpp, "_start", no_start)
    assert ask(log, section(gguf), plain("a")) == [found]


# --- files -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("tini.gguf", "Did you mean '"), ("smollm2-135m-instrukt", "Did you mean 'smollm2-135m"),
        ("org/some-model", "backend: transformers"), ("empty.gguf", "is no GGUF file"),
        ("folder.gguf", "no file"),
    ],
)  # fmt: skip
def test_files_that_are_no_model(gguf: Path, tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / "tiny.gguf").write_bytes(gguf.read_bytes())
    (tmp_path / "empty.gguf").write_bytes(b"")
    (tmp_path / "folder.gguf").mkdir()
    given = str(tmp_path / name) if name.endswith(".gguf") else name
    with pytest.raises(ModelError) as caught:
        llamacpp.open(section(Path(given)), tmp_path)
    assert "llm.model" in str(caught.value) and words in str(caught.value)
    with pytest.raises(ModelError, match=r"llm\.lora"):
        llamacpp.open(section(gguf, lora=str(tmp_path / "none.gguf")), tmp_path)


def started(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Process ids of every server that is started from now on."""
    found, start = list[int](), asyncio.create_subprocess_exec

    async def noted(*args: Any, **how: Any) -> Any:
        process = await start(*args, **how)
        found.append(process.pid)
        return process

    monkeypatch.setattr(llamacpp.asyncio, "create_subprocess_exec", noted)
    return found


def test_a_broken_file_is_explained_once(
    log: CallLog, gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(gguf.read_bytes()[:-5000])
    pids = started(monkeypatch)

    async def job(session: Session) -> None:
        tasks = [session.ask(plain(str(i))) for i in range(2)]
        for error in await asyncio.gather(*tasks, return_exceptions=True):
            assert isinstance(error, ModelError)
            text = str(error)
            assert f"{broken}: llama.cpp cannot open it. It said: " in text
            assert "not within the file bounds" in text and "Traceback" not in text

    run(log, section(broken), job)
    assert len(pids) == 1
    assert not psutil.pid_exists(pids[0])


def test_an_adapter_of_another_model_is_named(log: CallLog, gguf: Path, tmp_path: Path) -> None:
    """An adapter file that is a model."""
    with pytest.raises(ModelError, match=r"llama\.cpp cannot open it with .*tiny\.gguf"):
        ask(log, section(gguf, lora=str(gguf)), plain("a"))


# --- processes ---------------------------------------------------------------------------------


def test_a_session_leaves_no_process(
    log: CallLog, gguf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pids = started(monkeypatch)
    ask(log, section(gguf), plain("a"))
    with pytest.raises(ZeroDivisionError):

        async def job(session: Session) -> None:
            await session.ask(plain("b"))
            raise ZeroDivisionError

        run(log, section(gguf), job)
    assert len(pids) == 2 and not any(map(psutil.pid_exists, pids))


def test_a_killed_server_is_reported(
    log: CallLog, gguf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pids = started(monkeypatch)

    async def job(session: Session) -> None:
        await session.ask(plain("a"))
        os.kill(pids[0], signal.SIGKILL)
        with pytest.raises(ModelError) as caught:
            await session.ask(plain("b"))
        text = str(caught.value)
        assert "llama.cpp ended with exit code -9 (killed; is there too little memory" in text
        assert "repeat the command to go on" in text
        assert (await session.ask(plain("a"))).text, "what is in the log is still answered"

    run(log, section(gguf), job)
    assert len(log) == 1


PARENT = """
import asyncio, os, sys
from pathlib import Path
from luthier.inference.call_log import CallLog
from luthier.inference.config import LlmSection
from luthier.inference.request import Request
from luthier.inference.session import Session

async def main():
    section = LlmSection(model=sys.argv[1], n_ctx=128, n_parallel=2, n_threads=1)
    with CallLog(Path(sys.argv[2])) as log:
        async with Session(section, log) as session:
            await session.ask(Request(prompt="a", max_tokens=4))
            print(session.backend._process.pid, flush=True)
            await asyncio.sleep(600)

asyncio.run(main())
"""


def test_a_killed_luthier_leaves_no_server(gguf: Path, tmp_path: Path) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(gguf), str(tmp_path / "calls.jsonl")],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert parent.stdout is not None
    server = psutil.Process(int(parent.stdout.readline()))
    assert "luthier.inference.llama_server" in server.cmdline()
    assert not any("llm" in part and "key" in part for part in server.cmdline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    server.wait(timeout=20)
    with CallLog(tmp_path / "calls.jsonl") as log:
        assert len(log) == 1


# --- asked over HTTP ---------------------------------------------------------------------------


@pytest.fixture
def llama_server(gguf: Path) -> Iterator[str]:
    """The address of llama.cpp's own server, as somebody else would have started it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "luthier.inference.llama_server"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdin is not None and process.stdout is not None
    settings = {
        "model": str(gguf), "lora": [], "n_ctx": 256, "n_parallel": 2, "n_threads": 1,
        "key": "the-key",
    }  # fmt: skip
    process.stdin.write(json.dumps(settings) + "\n")
    process.stdin.flush()
    yield json.loads(process.stdout.readline())["address"] + "/v1"
    process.stdin.close()
    assert process.wait(20) == 0, "it ends when nobody needs it"
    process.stdout.close()


def test_the_openai_backend_asks_llama_cpp(
    log: CallLog, gguf: Path, llama_server: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LLAMA_KEY", "the-key")
    settings = LlmSection(
        backend="openai", base_url=llama_server, model="tiny", api_key_env="LLAMA_KEY"
    )
    schema = {
        "type": "object", "properties": {"a": {"enum": ["x", "y"]}}, "required": ["a"],
        "additionalProperties": False,
    }  # fmt: skip
    requests = [
        plain("We will"), chat("Hello", temperature=0.0),
        chat("JSON", json_schema=schema, max_tokens=40), plain("red " * 300),
    ]  # fmt: skip
    asked = [*requests, *(chat(f"{i}", seed=i) for i in range(20))]
    found = ask(log, settings, *asked)
    with CallLog(tmp_path / "own.jsonl") as own:
        ours = ask(own, section(gguf), *requests)
    assert [c.text for c in found[:2]] == [c.text for c in ours[:2]]
    assert json.loads(found[2].text)["a"] in ("x", "y")
    assert found[3].unfit and found[3].unfit == ours[3].unfit
    assert all(c.choices for c in found[4:])
    monkeypatch.setenv("LLAMA_KEY", "another")
    with pytest.raises(LuthierError, match=r"does not take the key in LLAMA_KEY \(401\)"):
        ask(log, settings, plain("new"))


@pytest.mark.slow
@pytest.mark.network
def test_the_packaged_model(log: CallLog) -> None:
    settings = LlmSection(n_parallel=4, n_ctx=512)
    asked = chat("What is the capital of France? One word.", temperature=0.0)
    found, *others = ask(log, settings, asked, *(chat(f"Write sentence {i}.") for i in range(8)))
    assert "Paris" in found.text and found.model == "smollm2-135m-instruct"
    assert all(c.text for c in others)
