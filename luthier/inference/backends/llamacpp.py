"""GGUF models on this machine with llama.cpp: the packaged model needs nothing else.

llama.cpp's server runs in a process of its own with as many threads as it is given (sharing cores
with the rest of luthier costs it most of its speed). It batches what is asked together, runs what
prompts begin with once, and holds answers to a JSON schema or a GBNF grammar.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from luthier import packaged
from luthier.errors import MissingExtra, ModelError, nearest
from luthier.inference.backends.openai import OpenAiServer
from luthier.inference.config import LlmSection
from luthier.inference.request import Completion, Request, Trouble
from luthier.run import file_digest

FEATURES = frozenset({"json_schema", "grammar", "logprobs", "seed"})
_TAIL = 1500
"""Characters of llama.cpp's last words that are shown when it ends by itself."""


def open(section: LlmSection, runs: Path) -> LlamaCpp:
    """The model as llama.cpp runs it; the process starts at the first request.

    Raises:
        ModelError: there is no such file.
    """
    del runs
    try:
        import xllamacpp  # noqa: F401
    except ImportError:
        raise MissingExtra("llm: {backend: llamacpp}", "llamacpp") from None
    gguf = _file(section.model, "llm.model")
    lora: dict[str | None, Path] = {}
    if isinstance(section.lora, str):
        lora[None] = _file(section.lora, "llm.lora")
    elif section.lora is not None:
        lora |= {name: _file(file, f"llm.lora.{name}") for name, file in section.lora.items()}
    return LlamaCpp(section, gguf, lora)


def _file(name: str, key: str) -> Path:
    if name == packaged.NAME:
        return packaged.install_gguf()
    path = Path(name).expanduser()
    if path.suffix != ".gguf":
        hint = nearest(name, [packaged.NAME]).strip()
        raise ModelError(
            f"{key}: llama.cpp runs '{packaged.NAME}' and .gguf files; '{name}' is neither. "
            + (hint or "Other models: llm: {backend: transformers}.")
        )
    if not path.is_file():
        siblings = [str(p) for p in path.parent.glob("*.gguf")] if path.parent.is_dir() else []
        raise ModelError(f"{key}: no file '{name}'.{nearest(name, siblings)}")
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise ModelError(
                f"{key}: '{name}' is no GGUF file: it does not begin with 'GGUF'. Was it "
                "downloaded whole?"
            )
    return path


class LlamaCpp:
    """llama.cpp in a process of its own.

    Args:
        section: how it is run.
        gguf: the model's file.
        lora: files of adapters by name; the one without a name answers whenever none is named.
    """

    features = FEATURES

    def __init__(
        self, section: LlmSection, gguf: Path, lora: Mapping[str | None, Path] | None = None
    ) -> None:
        self.section, self.gguf, self.lora = section, gguf, dict(lora or {})
        self.model: dict[str, Any] = {
            "backend": "llamacpp",
            "model": section.model if section.model == packaged.NAME else gguf.name,
            "sha256": file_digest(gguf),
            "n_ctx": section.n_ctx,  # what is longer is refused, or cut
        }
        if section.extra_body:
            self.model["extra_body"] = dict(section.extra_body)
        if None in self.lora:
            self.model["lora_sha256"] = file_digest(self.lora[None])
        elif self.lora:
            digests = {str(name): file_digest(file) for name, file in self.lora.items()}
            self.model["lora_sha256"] = digests
        self._process: asyncio.subprocess.Process | None = None
        self._server: OpenAiServer | None = None
        self._starting = asyncio.Lock()
        self._failed: ModelError | None = None
        self._words = bytearray()
        self._listener: asyncio.Task[None] | None = None

    async def complete(self, request: Request) -> Completion:
        """Answer one request."""
        if request.lora is not None and request.lora not in self.lora:
            known = [name for name in self.lora if name is not None]
            raise ModelError(
                f"no adapter '{request.lora}' in llm.lora.{nearest(request.lora, known)} Name it "
                f"there: lora: {{{request.lora}: FILE.gguf}}."
            )
        async with self._starting:
            if self._failed is not None:
                raise self._failed
            if self._server is None:
                try:
                    await self._start()
                except ModelError as error:
                    self._failed = error
                    raise
        assert self._server is not None
        try:
            found = await self._server.complete(request)
        except Trouble as trouble:
            if trouble.kind != "busy":
                await self._require_alive()
            raise
        return replace(found, model=str(self.model["model"]))  # it calls itself by its path

    async def close(self) -> None:
        """End the process."""
        if self._server is not None:
            await self._server.close()
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
        if self._listener is not None:
            self._listener.cancel()
            await asyncio.gather(self._listener, return_exceptions=True)

    async def _start(self) -> None:
        key = secrets.token_urlsafe(24)
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "luthier.inference.llama_server",
            stdin=asyncio.subprocess.PIPE,  # it ends when this process does
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert self._process.stdin is not None and self._process.stdout is not None
        settings = {
            "model": str(self.gguf),
            "lora": [str(file) for file in self.lora.values()],
            "n_ctx": self.section.n_ctx,
            "n_parallel": self.section.n_parallel,
            "n_threads": self.section.n_threads,
            "key": key,
        }
        self._process.stdin.write(json.dumps(settings).encode() + b"\n")
        self._listener = asyncio.ensure_future(self._listen())
        line = await self._process.stdout.readline()
        if not line:
            await self._process.wait()
            await asyncio.wait([self._listener], timeout=1)
            of_lora = "".join(f" with {file}" for file in self.lora.values())
            raise ModelError(f"{self.gguf}: llama.cpp cannot open it{of_lora}.{self._last_words()}")
        address = json.loads(line)["address"]
        self._server = OpenAiServer(
            self.section, f"{address}/v1", key,
            model=self.model, features=FEATURES, extra=self._fields,
            most_n=1,  # of more it counts the tokens of one only, and takes no more than slots
        )  # fmt: skip

    def _fields(self, request: Request) -> dict[str, Any]:
        """What llama.cpp is told of a request beside the protocol."""
        # Adapters that a list leaves out do not take part; an empty list is none at all.
        scales = [
            {"id": i, "scale": float(name == request.lora)} for i, name in enumerate(self.lora)
        ]
        return {"cache_prompt": True} | ({"lora": scales} if scales else {})

    async def _listen(self) -> None:
        assert self._process is not None and self._process.stderr is not None
        while chunk := await self._process.stderr.read(4096):
            self._words += chunk
            del self._words[:-_TAIL]

    async def _require_alive(self) -> None:
        """Raise a ModelError with llama.cpp's last words where it has ended."""
        assert self._process is not None
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._process.wait(), 0.5)
        if self._process.returncode is None:
            return
        if self._listener is not None:
            await asyncio.wait([self._listener], timeout=1)
        code = self._process.returncode
        killed = " (killed; is there too little memory for it?)" if code == -9 else ""
        raise ModelError(
            f"{self.gguf}: llama.cpp ended with exit code {code}{killed}.{self._last_words()} "
            "What was answered is kept; repeat the command to go on."
        )

    def _last_words(self) -> str:
        lines = [line for line in self._words.decode("utf-8", "replace").splitlines() if line]
        return " It said: " + " | ".join(lines[-6:]) if lines else ""
