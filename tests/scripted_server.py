"""A server that speaks OpenAI's protocol, answers as it is told, and fails as it is planned.

A process of its own, on loopback: `Scripted` starts and ends it.

    with Scripted(tmp_path, answers="scripted_answers", faults={"seed": 1, "rate": 0.3}) as server:
        server.base_url                     http://127.0.0.1:PORT/v1
        server.asked()                      every request that arrived, in order
        server.completed()                  those whose answer was sent whole

What it answers is a function of the request alone. Either `answers` names a module with

    def answer(asked: dict) -> str | list[str] | dict:      # the JSON body of the request

(text; one text for each of `n`; or a whole `choice` as in the protocol), or `rules` are JSON:
[{"if": "regular expression of the words", "say": "text"}, ...] where `{hash}` in a text becomes
8 hex digits of the request and `{words}` its last line. What no rule fits is answered by `hash`.

Faults are planned by request: whether its k-th attempt fails, and how, depends on the seed, its
words and k, so that plans do not depend on the order of arrival. `most` bounds the faults of one
request. `script` is a list of faults for the first requests that arrive, whatever they are.
`service` is the seconds that an answer takes, `slots` how many are worked on at once, `refuse`
how many may be in the house before others get a 429.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import importlib
import json
import os
import random
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from types import TracebackType
from typing import Any

HERE = Path(__file__).parent
MODELS = ("strong-model", "strong-model-mini")
KINDS = (
    "429", "429 seconds", "429 date", "500", "503", "truncated", "drop before", "drop within",
    "duplicated", "html", "empty",
)  # fmt: skip
"""Faults that go away when the request is sent again; `FOR_EVER` are those that do not."""
FOR_EVER = ("quota", "401", "404", "filter", "sorry", "cut", "hang", "413", "sold out")
SORRY = "I'm sorry, but I can't help with that."

Answering = Callable[[dict[str, Any]], Any]


# --- what a test holds -------------------------------------------------------------------------


class Scripted:
    """The server in a process of its own; a context manager.

    Args:
        folder: where its log and settings are kept.
        answers: name of a module with `answer(asked)`; it must be importable from `path`.
        path: folders that are searched for it, beside this one.
        rules: instead of a module.
        faults: `{"seed": 1, "rate": 0.3, "kinds": [...], "most": 2, "script": [...]}`.
        key: what clients must show; None: nothing.
        service, slots, refuse: see above.
        usage: whether it says how many tokens it used.
        tell: whether `wait_for` can be told of requests that arrive.
        models: further names of models, and what each calls itself.
    """

    def __init__(
        self,
        folder: Path,
        *,
        answers: str | None = None,
        path: tuple[Path, ...] = (),
        rules: list[dict[str, str]] | None = None,
        faults: Mapping[str, Any] | None = None,
        key: str | None = None,
        service: float = 0.0,
        slots: int | None = None,
        refuse: int | None = None,
        usage: bool = True,
        tell: bool = False,
        port: int = 0,
        models: Mapping[str, str] | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.log = folder / "server.jsonl"
        self.settings = {
            "answers": answers, "rules": rules, "faults": dict(faults or {}), "key": key,
            "service": service, "slots": slots, "refuse": refuse, "usage": usage, "port": port,
            "tell": tell, "log": str(self.log), "models": dict(models or {}),
        }  # fmt: skip
        self._path = os.pathsep.join(map(str, (HERE, *path)))
        self.base_url = ""

    def __enter__(self) -> Scripted:
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "scripted_server.py"), json.dumps(self.settings)],
            stdin=subprocess.PIPE,  # it ends when this does
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": self._path + os.pathsep + _python_path()},
            text=True,
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "the scripted server did not start"
        self.port = int(line)
        self.base_url = f"http://127.0.0.1:{self.port}/v1"
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def wait_for(self, count: int) -> None:
        """Wait until so many more requests have arrived."""
        assert self.settings["tell"] and self.process.stdout is not None
        for _ in range(count):
            assert self.process.stdout.readline(), "the scripted server is gone"

    def section(self, **changes: Any) -> Any:
        """The `llm:` section of a recipe that asks this server."""
        from luthier.inference.config import LlmSection

        given = {"backend": "openai", "model": "strong-model", "base_url": self.base_url}
        return LlmSection.model_validate(given | changes)

    def asked(self) -> list[dict[str, Any]]:
        """Requests that arrived: `{"key": hash of the body, "fault": ..., "body": ...}`."""
        return [line for line in self._lines() if line["event"] == "asked"]

    def completed(self) -> list[dict[str, Any]]:
        """Requests whose answer (a real one, no fault) was sent whole, as `asked` has them."""
        return [line for line in self._lines() if line["event"] == "completed"]

    def _lines(self) -> list[dict[str, Any]]:
        if not self.log.exists():
            return []
        return [json.loads(line) for line in self.log.read_text().splitlines()]


def _python_path() -> str:
    return os.environ.get("PYTHONPATH", "")


# --- what it answers ---------------------------------------------------------------------------


def words_of(asked: Mapping[str, Any]) -> str:
    """All words of a request."""
    if "messages" in asked:
        return "\n".join(str(m.get("content") or "") for m in asked["messages"])
    return str(asked.get("prompt", ""))


def hash_of(asked: Mapping[str, Any]) -> str:
    """Hex digest of a request; equal requests have equal ones."""
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def by_hash(asked: dict[str, Any]) -> Any:
    """An answer that depends on all of the request; JSON where a schema was asked for."""
    schema = (asked.get("response_format") or {}).get("json_schema", {}).get("schema")
    digest = hash_of(asked)
    if schema is None:
        return [f"answer {i} {digest[:8]}" for i in range(asked.get("n") or 1)]
    return json.dumps(_of_schema(schema, random.Random(digest), schema.get("$defs", {})))


def _of_schema(schema: Mapping[str, Any], chance: random.Random, named: Mapping[str, Any]) -> Any:
    """Some value that a JSON schema allows."""
    if "$ref" in schema:
        return _of_schema(named[schema["$ref"].rpartition("/")[2]], chance, named)
    if "enum" in schema:
        return chance.choice(schema["enum"])
    if "const" in schema:
        return schema["const"]
    for several in ("anyOf", "oneOf"):
        if several in schema:
            return _of_schema(schema[several][0], chance, named)
    kind = schema.get("type")
    if kind == "object":
        fields = schema.get("properties", {})
        return {name: _of_schema(part, chance, named) for name, part in fields.items()}
    if kind == "array":
        count = max(schema.get("minItems", 1), min(2, schema.get("maxItems", 2)))
        return [_of_schema(schema.get("items", {}), chance, named) for _ in range(count)]
    if kind == "integer":
        return chance.randint(schema.get("minimum", 0), schema.get("maximum", 9))
    if kind == "number":
        return round(chance.uniform(schema.get("minimum", 0), schema.get("maximum", 1)), 3)
    if kind == "boolean":
        return chance.random() < 0.5
    return f"text {chance.randrange(10**6):06}"


def by_rules(rules: list[dict[str, str]]) -> Answering:
    """A function of the first rule that fits."""
    compiled = [(re.compile(rule["if"], re.DOTALL), rule["say"]) for rule in rules]

    def answer(asked: dict[str, Any]) -> Any:
        words = words_of(asked)
        for wanted, said in compiled:
            if wanted.search(words):
                last = words.rstrip().rpartition("\n")[2]
                return said.replace("{hash}", hash_of(asked)[:8]).replace("{words}", last)
        return by_hash(asked)

    return answer


# --- the server --------------------------------------------------------------------------------


class Server:
    """Reads requests, plans their faults, answers."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.settings = settings
        if settings["answers"]:
            self.answer: Answering = importlib.import_module(settings["answers"]).answer
        else:
            self.answer = by_rules(settings["rules"] or [])
        self.faults = {"seed": 0, "rate": 0.0, "kinds": KINDS, "most": 2} | settings["faults"]
        self.script = list(self.faults.get("script", []))
        self.attempts: dict[str, int] = {}
        self.log = open(settings["log"], "a", buffering=1)  # noqa: SIM115
        self.inside = 0
        self.slots = asyncio.Semaphore(settings["slots"] or 10**6)

    async def serve(self) -> None:
        """Say the port, and serve until standard input ends."""
        server = await asyncio.start_server(
            self.connection, "127.0.0.1", self.settings["port"], limit=2**24, backlog=1024
        )
        print(server.sockets[0].getsockname()[1], flush=True)
        await asyncio.to_thread(sys.stdin.read)
        os._exit(0)

    async def connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, which may carry many requests."""
        try:
            while await self.one(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Read a request and answer it; whether the connection stays."""
        line = (await reader.readline()).decode()
        if not line:
            return False
        method, address, _ = line.split(" ", 2)
        headers = {}
        while (line := (await reader.readline()).decode().strip()) != "":
            name, _, value = line.partition(":")
            headers[name.strip().lower()] = value.strip()
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        key = self.settings["key"]
        if key is not None and headers.get("authorization") != f"Bearer {key}":
            shown = headers.get("authorization", "")
            return await self.send(writer, 401, error(f"Incorrect API key provided: {shown}."))
        if method == "GET" and address == "/v1/models":
            listed = [{"id": name, "object": "model"} for name in MODELS]
            return await self.send(writer, 200, {"object": "list", "data": listed})
        if address not in ("/v1/chat/completions", "/v1/completions"):
            return await self.send(writer, 404, error(f"no such address: {address}"))
        try:
            asked = json.loads(body)
        except ValueError as wrong:
            return await self.send(writer, 400, error(str(wrong)))
        if asked.get("model") not in (*MODELS, *self.settings["models"]):
            said = error(f"The model `{asked.get('model')}` does not exist", "model_not_found")
            return await self.send(writer, 404, said)
        refuse = self.settings["refuse"]
        if refuse is not None and self.inside >= refuse:
            return await self.send(writer, 429, error("too many at once", "rate_limit_exceeded"))
        self.inside += 1
        try:
            return await self.completion(writer, asked, is_chat="chat" in address)
        finally:
            self.inside -= 1

    async def completion(
        self, writer: asyncio.StreamWriter, asked: dict[str, Any], *, is_chat: bool
    ) -> bool:
        """Answer a request, or fail as planned."""
        key = hash_of(asked)
        fault = self.fault_of(asked, key)
        record = {"key": key, "fault": fault, "body": asked}
        self.write({"event": "asked", **record})
        if self.settings["tell"]:
            print("asked", flush=True)
        if fault and fault not in ("sorry", "cut", "duplicated", "drop within", "truncated"):
            return await self.fail(writer, fault)
        async with self.slots:
            if self.settings["service"]:
                await asyncio.sleep(self.settings["service"])
        said = SORRY if fault == "sorry" else self.answer(asked)
        found = self.answered(asked, said, is_chat=is_chat, is_cut=fault == "cut")
        if fault == "truncated":
            text = json.dumps(found).encode()
            return await self.send(writer, 200, text[: len(text) // 2])
        if fault == "drop within":
            text = json.dumps(found).encode()
            head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(text)}\r\n\r\n".encode()
            writer.write(head + text[: len(text) // 2])
            await writer.drain()
            return False
        # An answer is on its way once it is handed to the system: a client that is killed then
        # has it in its log or not, and both are right.
        if fault == "duplicated":
            found["choices"] = found["choices"] * 2
        stays = await self.send(writer, 200, found)
        self.write({"event": "completed", **record})
        return stays

    def fault_of(self, asked: dict[str, Any], key: str) -> str | None:
        """The fault of this attempt of a request; None: it is answered."""
        if self.script:
            found: str | None = self.script.pop(0)
            return found
        words = words_of(asked)
        for wanted, kind in self.faults.get("always", {}).items():
            if re.search(wanted, words):
                return str(kind)
        attempt = self.attempts.get(key, 0)
        self.attempts[key] = attempt + 1
        chance = random.Random(f"{self.faults['seed']} {key} {attempt}")
        if attempt >= self.faults["most"] or chance.random() >= self.faults["rate"]:
            return None
        return str(chance.choice(self.faults["kinds"]))

    async def fail(self, writer: asyncio.StreamWriter, fault: str) -> bool:
        """Answer with an error, or break off."""
        if fault == "drop before":
            return False
        if fault == "hang":
            await asyncio.sleep(3600)
        busy = error("Rate limit reached", "rate_limit_exceeded")
        later = format_datetime(datetime.now(UTC) + timedelta(seconds=-1), usegmt=True)
        status, body, headers = {
            "429": (429, busy, {}),
            "429 seconds": (429, busy, {"Retry-After": "0.01"}),
            "429 date": (429, busy, {"Retry-After": later}),
            "sold out": (429, busy, {"Retry-After": "86400"}),
            "500": (500, error("The server had an error"), {}),
            "503": (503, error("overloaded"), {}),
            "html": (200, b"<html>Bad gateway</html>", {}),
            "empty": (200, b"", {}),
            "quota": (429, error("You exceeded your current quota", "insufficient_quota"), {}),
            "401": (401, error("Incorrect API key provided: sk-abcdefgh12345678"), {}),
            "404": (404, error("The model does not exist", "model_not_found"), {}),
            "filter": (400, error("The prompt was filtered", "content_filter"), {}),
            "400": (400, error("Unsupported parameter: 'max_tokens'"), {}),
            "413": (413, error("too long", "context_length_exceeded"), {}),
        }[fault]
        return await self.send(writer, status, body, headers)

    def answered(
        self, asked: dict[str, Any], said: Any, *, is_chat: bool, is_cut: bool
    ) -> dict[str, Any]:
        """An answer in the protocol's form."""
        texts = said if isinstance(said, list) else [said] * (asked.get("n") or 1)
        choices, generated = [], 0
        for i, one in enumerate(texts):
            choice = dict(one) if isinstance(one, dict) else {"text": str(one)}
            text = choice.pop("text", "")
            # A token of this server is 4 characters.
            tokens = [text[j : j + 4] for j in range(0, len(text), 4)]
            most = asked.get("max_tokens", 10**6)
            if is_cut:
                most = min(most, max(1, len(tokens) // 2))
            for stop in asked.get("stop") or []:
                text = text.partition(stop)[0]
            if len(tokens) > most:
                tokens = tokens[:most]
                text, choice["finish_reason"] = "".join(tokens), "length"
            generated += len(tokens)
            choice = {"index": i, "finish_reason": "stop"} | choice
            if is_chat:
                choice.setdefault("message", {"role": "assistant", "content": text})
            else:
                choice["text"] = text
            if asked.get("logprobs") not in (None, False):
                choice["logprobs"] = _logprobs(tokens, is_chat=is_chat)
            choices.append(choice)
        used = {"prompt_tokens": len(words_of(asked)) // 4 + 1, "completion_tokens": generated}
        name = self.settings["models"].get(asked["model"], f"{asked['model']}-2026-01")
        found: dict[str, Any] = {"model": name, "choices": choices}
        if self.settings["usage"]:
            found["usage"] = used
        return found

    async def send(
        self,
        writer: asyncio.StreamWriter,
        status: int,
        body: Any,
        headers: Mapping[str, str] | None = None,
    ) -> bool:
        """Send an answer whole."""
        text = body if isinstance(body, bytes) else json.dumps(body).encode()
        lines = [f"HTTP/1.1 {status} -", f"Content-Length: {len(text)}"]
        lines += ["Content-Type: application/json"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        writer.write("\r\n".join([*lines, "", ""]).encode() + text)
        await writer.drain()
        return True

    def write(self, record: dict[str, Any]) -> None:
        """A line of the log, in the file before anything else happens."""
        self.log.write(json.dumps(record) + "\n")


def error(message: str, code: str | None = None) -> dict[str, Any]:
    """An error in the protocol's form."""
    return {"error": {"message": message, "type": "error", "code": code}}


def _logprobs(tokens: list[str], *, is_chat: bool) -> dict[str, Any]:
    """Log-probabilities that depend on the tokens."""
    of = [-len(token) / 10 for token in tokens]
    if is_chat:
        pairs = zip(tokens, of, strict=True)
        return {"content": [{"token": t, "logprob": p, "top_logprobs": []} for t, p in pairs]}
    return {"tokens": tokens, "token_logprobs": of}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("settings", type=json.loads)
    asyncio.run(Server(parser.parse_args().settings).serve())
