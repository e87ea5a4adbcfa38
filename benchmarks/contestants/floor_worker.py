"""The floor: the least arithmetic a step takes, over how fast this machine multiplies matrices.

Per token, with frozen weights W and adapters A, B: 4 FLOPs per weight of W (forward, and the
gradient of its input), 6 per weight of A and B (their own gradient too); attention takes 12 FLOPs
per layer, head dimension, head and pair of tokens that may see each other; the LM head 4 per
weight and *trained* token. Nothing is computed again, padding is not computed, and norms,
softmaxes, the optimizer and memory traffic take no time at all. `shared` counts a token whose
whole past stands in another row of the batch too only once.

The job: {"replay": file, "from_step": n, "steps": n}.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from contestants.protocol import Lines, read_job

SIZE = 2048
"""Rows and columns of the matrices whose product is timed; large enough for the full rate."""
ROUNDS = 8


class Work(NamedTuple):
    """FLOPs of one step."""

    frozen: float
    """Products with frozen weights, the LM head included."""
    adapters: float
    attention: float


def main() -> None:
    job = read_job()
    out = Lines(job["out"])
    replay = json.loads(Path(job["replay"]).read_text(encoding="utf-8"))
    measured = replay["batches"][job["from_step"] : job["steps"]]
    shape = _shape(replay["model"], replay["train"]["lora"]["r"])
    rates = {"fp32": _rate(torch.float32), "bf16": _rate(torch.bfloat16)}
    for name, shared in (("plain", False), ("shared", True)):
        works = [work(batch, shape, shared=shared) for batch in measured]
        total = Work(*(sum(parts) / len(works) for parts in zip(*works, strict=True)))
        out.write("floor", kind=name, **total._asdict(), **_seconds(total, rates))
    out.write("rates", **rates)


def work(batch: Sequence[dict[str, Any]], shape: dict[str, int], *, shared: bool) -> Work:
    """FLOPs of a batch of rows (`ids`, `trained`)."""
    seen: set[tuple[int, int]] = set()
    tokens = pairs = trained = 0
    for row in batch:
        past = 0
        trained += sum(row["trained"][1:])
        for depth, token in enumerate(row["ids"], start=1):
            # Two different pasts meet here with a chance of about 1e-16.
            past = hash((past, token))
            if shared and (depth, past) in seen:
                continue
            seen.add((depth, past))
            tokens += 1
            pairs += depth
    head = 4 * shape["head"] * trained
    return Work(
        frozen=4.0 * shape["frozen"] * tokens + head,
        adapters=6.0 * shape["adapters"] * tokens,
        attention=12.0 * shape["attention"] * pairs,
    )


def _seconds(total: Work, rates: dict[str, float]) -> dict[str, float]:
    """Seconds per step in fp32, and with the frozen products alone in bf16."""
    rest = total.adapters + total.attention
    return {
        "seconds_fp32": (total.frozen + rest) / rates["fp32"],
        "seconds_bf16": total.frozen / rates["bf16"] + rest / rates["fp32"],
    }


def _shape(folder: str, rank: int) -> dict[str, int]:
    """Weights of a model by what is done with them; no weights are opened."""
    config = AutoConfig.from_pretrained(folder)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    head = model.get_output_embeddings()
    linear = [m for m in model.modules() if isinstance(m, torch.nn.Linear) and m is not head]
    text = config.get_text_config()
    width = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    return {
        "frozen": sum(m.weight.numel() for m in linear),
        "adapters": sum(rank * (m.in_features + m.out_features) for m in linear),
        "attention": text.num_hidden_layers * text.num_attention_heads * width,
        "head": head.weight.numel(),
    }


def _rate(dtype: torch.dtype) -> float:
    """FLOPs per second of a large product; the best of some rounds."""
    device = torch.accelerator.current_accelerator() if torch.cuda.is_available() else "cpu"
    a = torch.randn(SIZE, SIZE, device=device).to(dtype)
    b = torch.randn(SIZE, SIZE, device=device).to(dtype)
    best = float("inf")
    for _ in range(ROUNDS):
        started = time.perf_counter()
        a @ b
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - started)
    return 2 * SIZE**3 / best


if __name__ == "__main__":
    main()
