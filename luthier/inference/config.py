"""The `llm:` section of a recipe: which model writes or judges text, and how it is reached."""

from __future__ import annotations

import re
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from luthier.section import Section


class PricesSection(Section):
    """What a provider asks for, per million tokens; luthier knows no prices of its own."""

    input: float = Field(ge=0)
    """Of a million prompt tokens."""
    output: float = Field(ge=0)
    """Of a million generated tokens."""
    currency: str = "USD"
    """What costs are shown in."""


class BudgetSection(Section):
    """Where generation stops: whichever of these is reached first. Unset ones set no limit.

    Answers that the log has already count as if they were asked for now.
    """

    calls: int | None = Field(default=None, ge=1)
    """Requests that were answered."""
    tokens: int | None = Field(default=None, ge=1)
    """Prompt and generated tokens together."""
    money: float | None = Field(default=None, gt=0)
    """In the currency of `llm.prices`, which must be there."""


class LlmSection(Section):
    """A model that writes or judges text."""

    backend: Literal["llamacpp", "transformers", "openai"] = "llamacpp"
    """A file in `luthier/inference/backends/`. `llamacpp` runs GGUF models here, `transformers` any
    local or hub model and trained runs (`run:NAME`), `openai` asks a server that speaks OpenAI's
    protocol (vLLM, TGI, Ollama, llama.cpp, providers)."""
    model: str = "smollm2-135m-instruct"
    """Name, folder or file of the model; for `openai`, the name that the server knows it by."""
    revision: str | None = None
    """Revision of a hub model."""
    base_url: str | None = None
    """Address of the server up to `/v1` (`openai` only)."""
    api_key_env: str = "OPENAI_API_KEY"
    """Name of the environment variable that holds the server's key; never the key itself."""
    max_concurrency: int | None = Field(default=None, ge=1)
    """Most requests in flight at once. null: `n_parallel` for models in this process, 64 for
    servers, which are found out how many they take."""
    timeout: float = Field(default=600.0, gt=0)
    """Seconds until a request without an answer is given up and sent again; as OpenAI's client."""
    patience: float = Field(default=60.0, ge=0)
    """Seconds that a server may be gone before generation stops."""
    retry_unfit: bool = False
    """Whether requests that an earlier attempt got no answer to (refused, or failed for good) are
    sent again, in every attempt: once the server is mended, or takes longer prompts."""
    n_parallel: int = Field(default=8, ge=1)
    """Sequences that a local model decodes together."""
    n_ctx: int = Field(default=2048, ge=64)
    """Longest prompt with its answer, in tokens, of one sequence (`llamacpp`, which rounds it up
    to a multiple of 256)."""
    n_threads: int | None = Field(default=None, ge=1)
    """Threads of llama.cpp; null: one per core."""
    lora: str | dict[str, str] | None = None
    """A LoRA adapter as GGUF that the model answers with, or several by name, of which a request
    names the one that answers it (`llamacpp`)."""
    extra_body: dict[str, Any] = Field(default={})
    """Further fields of every request to a server, as in `openai`'s client; null takes a field out
    that the server does not know (`max_tokens: null`)."""
    licence: str | None = None
    """Licence of the model, which its outputs are listed with."""
    outputs: Literal["free", "restricted"] | None = None
    """Whether the model's terms let its outputs be used to train other models for any purpose;
    null: by its name, where luthier knows it."""
    prices: PricesSection | None = None
    """What tokens cost; null: nothing, or nobody said."""

    @field_validator("api_key_env")
    @classmethod
    def _is_a_name(cls, value: str) -> str:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", value):
            # The value is not repeated: somebody put the key itself here.
            raise ValueError(
                "expected the NAME of an environment variable, such as OPENAI_API_KEY; a key must "
                "not stand in a recipe"
            )
        return value

    @field_validator("base_url")
    @classmethod
    def _is_an_address(cls, value: str | None) -> str | None:
        if value is None:
            return None
        try:
            parts = urlsplit(value)
            host, _ = parts.hostname, parts.port
        except ValueError:
            parts, host = None, None
        if parts is not None and "@" in parts.netloc:
            # The value is not repeated: it holds a password, which error messages would show too.
            raise ValueError("expected an address without user and password; see llm.api_key_env")
        if parts is None or parts.scheme not in ("http", "https") or not host:
            raise ValueError("expected an address such as http://127.0.0.1:8000/v1")
        return value

    @model_validator(mode="after")
    def _address_goes_with_server(self) -> LlmSection:
        if self.backend == "openai" and self.base_url is None:
            raise ValueError("backend: openai needs 'base_url', e.g. http://127.0.0.1:8000/v1")
        if self.backend != "openai" and self.base_url is not None:
            raise ValueError(f"'base_url' goes with backend: openai, not {self.backend}")
        if self.lora is not None and self.backend != "llamacpp":
            raise ValueError(f"'lora' goes with backend: llamacpp, not {self.backend}")
        return self

    @property
    def window(self) -> int:
        """Jobs that are begun ahead of the first where nobody says how many.

        Twice what is in flight at most, by default: 128 for servers, 16 for models in this process.
        What is written depends on it, so it does not follow `max_concurrency` and `n_parallel`,
        which are about speed.
        """
        return 128 if self.backend == "openai" else 16

    @property
    def concurrency(self) -> int:
        """Most requests in flight at once."""
        if self.max_concurrency is not None:
            most = self.max_concurrency
        else:
            most = 64 if self.backend == "openai" else self.n_parallel
        return most if self.backend == "openai" else min(most, self.n_parallel)
