"""Any server that speaks OpenAI's protocol: vLLM, TGI, Ollama, llama.cpp's own, providers.

The protocol is two addresses that take and give JSON, so it is spoken with `httpx2`, which comes
with `huggingface_hub`. The `openai` package costs more than twice as much a call
(`benchmarks/generation.py`), and its own retries, which know nothing of the budget and the log,
would have to be switched off.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from luthier.console import say
from luthier.errors import ModelError, nearest
from luthier.inference.config import LlmSection
from luthier.inference.request import Choice, Completion, Request, Trouble

_LOCAL = ("localhost", "127.0.0.1", "::1")
_BUSY = (408, 429, 503, 529)
_FLAKY = (409, 425)
"""Beside what is above 499."""
_SOLD_OUT = ("insufficient_quota", "billing_hard_limit_reached", "billing_not_active")
"""Codes of OpenAI's 429 that no waiting helps against."""
_OF_THE_REQUEST = (
    "content_filter", "content_policy_violation", "context_length_exceeded",
    "exceed_context_size_error", "string_above_max_length",
)  # fmt: skip
"""Codes of refusals that say nothing about other requests (OpenAI, Azure, llama.cpp)."""
_BYTES_A_TOKEN = 3
"""Where a server does not say what was used; English has 4, other languages less."""
_NEXT_SEED = 1_000_003
_NOT_STRICT = frozenset((
    "minLength", "maxLength", "pattern", "format", "minimum", "maximum", "exclusiveMinimum",
    "exclusiveMaximum", "multipleOf", "minItems", "maxItems", "uniqueItems", "contains",
    "minContains", "maxContains", "unevaluatedItems", "patternProperties", "propertyNames",
    "minProperties", "maxProperties", "unevaluatedProperties",
))  # fmt: skip
"""Keywords that strict mode refuses with status 400: OpenAI's own models took none of them at first
("Structured Outputs", section "Supported schemas"), those that are fine-tuned, Azure and other
providers still do not take all."""
_LISTED = 20
_UNFIT = (400, 413, 422)
_SHOWN = 300
"""Characters of a server's words that are repeated."""
_UNFIT_AT_FIRST = 3
"""Requests in a row, from the first on, that a server takes for unfit before it is us who are."""


def open(section: LlmSection, runs: Path) -> OpenAiServer:
    """A server as the recipe names it."""
    del runs
    assert section.base_url is not None, "LlmSection checks it"
    key = (os.environ.get(section.api_key_env) or "").strip()  # files of keys end with a newline
    if not (key.isascii() and key.isprintable()):
        # The key is not repeated, nor is the exception that a header would raise of it.
        raise ModelError(
            f"the key in {section.api_key_env} has characters that no key has (line breaks, quotes "
            "of a text processor?). Set it again."
        )
    return OpenAiServer(section, section.base_url.rstrip("/"), key or None)


class OpenAiServer:
    """A server reached over HTTP.

    Args:
        section: which model, and how patient to be.
        base_url: address up to `/v1`.
        api_key: sent as a bearer token; None: none is sent.
        model: what determines the answers; None: the name of the section and its `extra_body`.
        features: what the server can be held to.
        extra: gives further fields of a request; None: none, and an adapter is asked for as the
            model that it is listed as.
        most_n: answers that it gives to one request; None: as many as one asks for.
    """

    def __init__(
        self,
        section: LlmSection,
        base_url: str,
        api_key: str | None,
        *,
        model: dict[str, Any] | None = None,
        features: frozenset[str] = frozenset({"json_schema", "logprobs", "seed"}),
        extra: Callable[[Request], Mapping[str, Any]] | None = None,
        most_n: int | None = None,
    ) -> None:
        self.section, self.base_url = section, base_url
        self._key = api_key
        if model is None:
            model = {"backend": "openai", "model": section.model}
            if section.extra_body:
                model["extra_body"] = dict(section.extra_body)
        self.model = model
        self.features = features
        self._extra = extra
        self._most_n = most_n
        self._client: Any = None
        self._fit, self._unfit = 0, 0
        self._tells_usage = True

    async def complete(self, request: Request) -> Completion:
        """Answer one request; in parts where the server gives fewer answers than were asked for."""
        wanted = request.n
        found = await self._complete(request.but(n=min(wanted, self._most_n or wanted)))
        while found.unfit is None and len(found.choices) < wanted:
            done = len(found.choices)
            part = min(wanted - done, self._most_n or wanted)
            # The same seed would give the same answer.
            seed = None if request.seed is None else (request.seed + done * _NEXT_SEED) % 2**31
            more = await self._complete(request.but(n=part, seed=seed))
            if more.unfit is not None:
                return more
            found = Completion(
                found.choices + more.choices,
                found.model,
                found.prompt_tokens + more.prompt_tokens,
                found.completion_tokens + more.completion_tokens,
            )
        return replace(found, choices=found.choices[:wanted])

    async def _complete(self, request: Request) -> Completion:
        import httpx2

        if request.grammar is not None and "grammar" not in self.features:
            raise ModelError(
                "a grammar was asked for, which this server cannot be held to; use llm: {backend: "
                "llamacpp}."
            )
        path = "/chat/completions" if request.messages else "/completions"
        try:
            # ASCII: half of a surrogate pair, which models do send, is no UTF-8.
            body = json.dumps(self._body(request), separators=(",", ":")).encode()
            answer = await self._http().post(self.base_url + path, content=body)
        except httpx2.TimeoutException as error:
            if isinstance(error, httpx2.ConnectTimeout):
                raise Trouble("gone", f"{self.base_url} does not answer") from None
            raise Trouble(
                "busy", f"no answer within {self.section.timeout:g} s (llm.timeout)"
            ) from None
        except httpx2.ConnectError as error:
            why = f" ({error})" if str(error) else ""
            raise Trouble("gone", f"{self.base_url}: nobody listens there{why}") from None
        except httpx2.InvalidURL as error:
            raise ModelError(f"llm.base_url: '{self.base_url}' is no address: {error}.") from None
        except httpx2.HTTPError as error:
            raise Trouble("flaky", f"the connection broke off ({type(error).__name__})") from None
        if answer.status_code != 200:
            return await self._refused(request, answer)
        self._fit += 1
        return self._read(request, answer.content)

    async def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.aclose()

    def _http(self) -> Any:
        import httpx2

        if self._client is None:
            headers = {"Content-Type": "application/json"}
            if self._key:
                headers["Authorization"] = f"Bearer {self._key}"
            most = self.section.concurrency
            self._client = httpx2.AsyncClient(
                headers=headers,
                timeout=httpx2.Timeout(self.section.timeout, connect=10.0, pool=None),
                limits=httpx2.Limits(max_connections=most, max_keepalive_connections=most),
                # A proxy is for others; what listens on this machine is asked directly.
                trust_env=urlsplit(self.base_url).hostname not in _LOCAL,
            )
        return self._client

    def _body(self, request: Request) -> dict[str, Any]:
        body: dict[str, Any] = {"model": self.section.model} | request.as_json()
        body |= {"max_tokens": request.max_tokens, "temperature": request.temperature}
        schema = body.pop("json_schema", None)
        if schema is not None and "json_schema" in self.features:
            # llama.cpp, which has fields of its own, takes every keyword.
            schema = _strict(schema) if self._extra is None else schema
            named = {"name": "answer", "schema": schema, "strict": True}
            body["response_format"] = {"type": "json_schema", "json_schema": named}
        if body.pop("logprobs", False):
            # llama.cpp takes none for twenty, and 0 for none at all.
            body |= {"logprobs": True, "top_logprobs": 1} if request.messages else {"logprobs": 1}
        adapter = body.pop("lora", None)
        if self._extra is not None:
            body |= self._extra(request)
        elif adapter is not None:
            body["model"] = adapter
        body |= self.section.extra_body
        # extra_body: {max_tokens: null} takes out what a server does not know.
        return {name: value for name, value in body.items() if value is not None}

    # --- answers ------------------------------------------------------------------------------

    def _read(self, request: Request, content: bytes) -> Completion:
        try:
            found = json.loads(content)
            choices = tuple(_choice(c) for c in found["choices"])
            used = found.get("usage") or self._estimated(request, choices)
            prompt = int(used.get("prompt_tokens") or 0)
            generated = int(used.get("completion_tokens") or 0)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            said = self._without_key(content[:80].decode("utf-8", "replace"))
            raise Trouble("flaky", f"an answer that cannot be read ({said!r})") from None
        if not choices:
            raise Trouble("flaky", "an answer without choices")
        return Completion(choices, str(found.get("model") or self.section.model), prompt, generated)

    def _estimated(self, request: Request, choices: tuple[Choice, ...]) -> dict[str, int]:
        """Tokens of a call that the server did not count, for budgets."""
        if self._tells_usage:
            self._tells_usage = False
            say(
                f"{self.base_url} does not say how many tokens it used; {_BYTES_A_TOKEN} bytes are "
                "counted as one.",
                style="yellow",
            )
        words = (request.text, "".join(c.text for c in choices))
        prompt, generated = (-(-len(w.encode("utf-8", "replace")) // _BYTES_A_TOKEN) for w in words)
        return {"prompt_tokens": prompt, "completion_tokens": generated}

    async def _refused(self, request: Request, answer: Any) -> Completion:
        status, said, codes = answer.status_code, *self._said(answer)
        if status in (401, 403):
            raise ModelError(self._wrong_key(status, said))
        if status == 404:
            raise ModelError(await self._unknown_model(said))
        if status == 429 and not codes.isdisjoint(_SOLD_OUT):
            raise ModelError(
                f"{self.base_url} has no credit left for this key ({status}): {said}. What was "
                "answered is kept; top it up and repeat the command."
            )
        if status in _UNFIT:
            self._unfit += codes.isdisjoint(_OF_THE_REQUEST)
            if not self._fit and self._unfit >= _UNFIT_AT_FIRST:
                raise ModelError(
                    f"{self.base_url} refuses every request ({status}): {said}. If it names a "
                    "parameter, set it in llm.extra_body, or take it out there with null: "
                    "llm: {extra_body: {max_tokens: null}}."
                )
            return Completion((), self.section.model, unfit=f"refused ({status}): {said}")
        if status in _BUSY:
            after = _seconds(answer.headers.get("retry-after"))
            raise Trouble("busy", f"the server is busy ({status}): {said}", after)
        if status >= 500 or status in _FLAKY:
            raise Trouble("flaky", f"the server failed ({status}): {said}")
        raise ModelError(f"{self.base_url} answered with status {status}: {said}")

    def _said(self, answer: Any) -> tuple[str, set[str]]:
        """What the server says is wrong, in words and as codes."""
        text, codes = answer.text, set()
        try:
            found = json.loads(text)
            error = found.get("error", found) if isinstance(found, dict) else found
            text = str(error)
            if isinstance(error, dict):
                text = str(error.get("message") or error)
                codes = {str(error.get(name)) for name in ("code", "type")}
        except (ValueError, RecursionError):
            pass
        said = " ".join(self._without_key(text).split())[:_SHOWN].rstrip(".")
        return said or "no reason given", codes

    def _without_key(self, text: str) -> str:
        """Some servers repeat the key, or most of it."""
        if self._key:
            text = text.replace(self._key, "***")
        return re.sub(r"\bsk-[A-Za-z0-9_*-]{6,}", "***", text)

    def _wrong_key(self, status: int, said: str) -> str:
        name = self.section.api_key_env
        if self._key is None:
            return (
                f"{self.base_url} wants a key ({status}), and {name} is not set. Set it: export "
                f"{name}=..., or name another variable in llm.api_key_env."
            )
        return (
            f"{self.base_url} does not take the key in {name} ({status}): {said}. Nothing more is "
            "asked; correct the key and repeat the command."
        )

    async def _unknown_model(self, said: str) -> str:
        known: list[str] = []
        try:
            listed = await self._http().get(self.base_url + "/models")
            known = [str(m["id"]) for m in json.loads(listed.content)["data"]]
        except Exception:  # what is wrong is told either way; the list is a courtesy
            known = []
        names = f" It has: {', '.join(known[:20])}." if known else ""
        hint = nearest(self.section.model, known)
        return (
            f"{self.base_url} has no model '{self.section.model}', or no such address (404): "
            f"{said}.{hint}{names}"
        )


def _strict(schema: Any) -> Any:
    """A schema without the keywords that strict mode refuses; whoever reads the answer checks it.

    A small range of whole numbers is said as a list of them, which it takes.
    """
    if isinstance(schema, list):
        return [_strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    found = {k: _strict(v) for k, v in schema.items() if k not in _NOT_STRICT}
    for group in ("properties", "$defs"):
        if isinstance(fields := schema.get(group), dict):
            # A field may be called as a keyword is.
            found[group] = {name: _strict(part) for name, part in fields.items()}
    match schema:
        case {"type": "integer", "minimum": int(least), "maximum": int(most)}:
            if most - least < _LISTED:
                found["enum"] = list(range(least, most + 1))
    return found


def _choice(found: Mapping[str, Any]) -> Choice:
    if "message" in found:
        # Held to a schema, OpenAI's models refuse in a field of its own.
        text = found["message"].get("content") or found["message"].get("refusal") or ""
    else:
        text = found["text"]
    if not isinstance(text, str):
        raise TypeError("content")
    return Choice(text, str(found.get("finish_reason") or "stop"), _logprobs(found.get("logprobs")))


def _logprobs(found: Any) -> tuple[tuple[str, float], ...] | None:
    if not found:
        return None
    if found.get("content"):
        return tuple((str(t["token"]), float(t["logprob"])) for t in found["content"])
    if found.get("tokens"):
        pairs = zip(found["tokens"], found["token_logprobs"], strict=False)
        return tuple((str(t), float(p)) for t, p in pairs if p is not None)
    return None


def _seconds(header: str | None) -> float | None:
    """`Retry-After` in seconds: a number, or a date (RFC 9110, 10.2.3)."""
    if header is None:
        return None
    try:
        seconds = float(header)
    except ValueError:
        from datetime import UTC, datetime
        from email.utils import parsedate_to_datetime

        try:
            date = parsedate_to_datetime(header)
        except ValueError:
            return None
        if date.tzinfo is None:  # `-0000`: in UTC, from somewhere
            date = date.replace(tzinfo=UTC)
        seconds = (date - datetime.now(UTC)).total_seconds()
    return None if seconds != seconds else max(0.0, seconds)
