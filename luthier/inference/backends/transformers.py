"""Any local or hub model in this process, trained runs (`run:NAME`) with their adapters too.

What waits together is generated together, `n_parallel` rows at a time, in a thread of its own.
"""

from __future__ import annotations

import asyncio
from collections import deque
from pathlib import Path
from typing import Any

from luthier.errors import ModelError
from luthier.inference.config import LlmSection
from luthier.inference.request import Choice, Completion, Request
from luthier.locate import RUN_PREFIX, earlier_run, identity


def open(section: LlmSection, runs: Path) -> InProcess:
    """A model for this process; its weights are opened at the first request."""
    return InProcess(section, runs)


class InProcess:
    """A model in this process.

    Args:
        section: which model.
        runs: where `run:NAME` is looked up.
    """

    features = frozenset({"logprobs", "seed"})

    def __init__(self, section: LlmSection, runs: Path) -> None:
        self.section, self.runs = section, runs
        self.model: dict[str, Any] = {
            "backend": "transformers",
            "model": section.model,
            "revision": section.revision,
            "identity": identity(section.model, runs),
        }
        self._opened: Any = None
        self._waiting: deque[tuple[Request, asyncio.Future[Completion]]] = deque()
        self._worker: asyncio.Task[None] | None = None

    async def complete(self, request: Request) -> Completion:
        """Answer one request, together with others that wait."""
        if request.grammar is not None:
            raise ModelError(
                "a grammar was asked for, which transformers cannot be held to; use llm: {backend: "
                "llamacpp}."
            )
        if request.lora is not None:
            raise ModelError(
                f"adapter '{request.lora}' was asked for; transformers answers with one model. "
                "Name a trained run (llm: {model: run:NAME}), or use llm: {backend: llamacpp}."
            )
        answer: asyncio.Future[Completion] = asyncio.get_running_loop().create_future()
        self._waiting.append((request, answer))
        if self._worker is None or self._worker.done():
            self._worker = asyncio.ensure_future(self._work())
        return await answer

    async def close(self) -> None:
        """Let go of the weights, once what is being generated is done."""
        if self._worker is not None:
            self._waiting.clear()
            await asyncio.gather(self._worker, return_exceptions=True)
        self._opened = None

    async def _work(self) -> None:
        while self._waiting:
            await asyncio.sleep(0)  # whoever asks at the same time gets into the same batch
            batch: list[tuple[Request, asyncio.Future[Completion]]] = []
            while self._waiting and len(batch) < self.section.n_parallel:
                request, answer = self._waiting.popleft()
                if not answer.done():  # nobody waits for it any more
                    batch.append((request, answer))
            if not batch:
                break
            try:
                found = await asyncio.to_thread(self._answered, [request for request, _ in batch])
            except Exception as error:
                for _, answer in batch:
                    if not answer.done():
                        answer.set_exception(error)
                continue
            for (_, answer), completion in zip(batch, found, strict=True):
                if not answer.done():
                    answer.set_result(completion)

    def _answered(self, requests: list[Request]) -> list[Completion]:
        from luthier.generate import draw
        from luthier.sampling import Sampling

        model, renderer = self._open()
        prompts = [self._prompt(renderer, request) for request in requests]
        limit = self._longest(model)
        found: dict[int, Completion] = {}
        rows: list[tuple[int, Sampling]] = []
        for i, request in enumerate(requests):
            if limit and len(prompts[i]) + request.max_tokens > limit:
                said = f"too long: {len(prompts[i])} tokens and {request.max_tokens} to generate"
                unfit = f"{said}, the model takes {limit}"
                found[i] = Completion((), self.section.model, unfit=unfit)
                continue
            for again in range(request.n):
                rows.append((i, _sampling(request, again)))
        drawn = []
        wanted = any(request.logprobs for request in requests)
        for start in range(0, len(rows), self.section.n_parallel):
            part = rows[start : start + self.section.n_parallel]
            drawn += draw(
                model, renderer, [prompts[i] for i, _ in part], [s for _, s in part],
                logprobs=wanted,
            )  # fmt: skip
        for i, request in enumerate(requests):
            if i in found:
                continue
            mine = [one for (of, _), one in zip(rows, drawn, strict=True) if of == i]
            choices = tuple(
                Choice(
                    one.text,
                    "length" if one.is_cut else "stop",
                    tuple(one.logprobs) if request.logprobs and one.logprobs else None,
                )
                for one in mine
            )
            tokens = sum(one.tokens for one in mine)
            found[i] = Completion(choices, self.section.model, len(prompts[i]), tokens)
        return [found[i] for i in range(len(requests))]

    def _open(self) -> Any:
        if self._opened is None:
            from luthier.chat import Renderer
            from luthier.model import open_model, open_tokenizer, trained_model
            from luthier.recipe import ModelSection
            from luthier.seq2seq import has_encoder

            name = self.section.model
            if name.startswith(RUN_PREFIX):
                model, tokenizer = trained_model(earlier_run(name, self.runs), runs=self.runs)
            else:
                section = ModelSection(name=name, revision=self.section.revision)
                model = open_model(section, runs=self.runs)
                tokenizer = open_tokenizer(section, self.runs)
            if has_encoder(model):
                raise ModelError(f"llm.model: '{name}' is an encoder-decoder; it writes no text.")
            self._opened = (model, Renderer(tokenizer))
        return self._opened

    def _prompt(self, renderer: Any, request: Request) -> list[int]:
        ids: list[int]
        if request.messages:
            ids = renderer.prompt(request.messages)
            return ids
        ids = renderer.plain(request.prompt or "")
        return ids

    def _longest(self, model: Any) -> int | None:
        longest: int | None = getattr(model.config, "max_position_embeddings", None)
        return longest


def _sampling(request: Request, again: int) -> Any:
    from luthier.sampling import Sampling

    return Sampling(
        max_tokens=request.max_tokens,
        temperature=request.temperature,
        top_p=request.top_p,
        presence_penalty=request.presence_penalty,
        frequency_penalty=request.frequency_penalty,
        stop=request.stop,
        # Other seeds for other answers to the same request.
        seed=((request.seed or 0) * 1_000_003 + again) % 2**63,
    )
