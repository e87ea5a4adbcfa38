"""What K labels cost, in passes over the prompt: 2, 6 and 20 labels on the packaged model.

    python benchmarks/scoring.py                 about two minutes on two cores
    python benchmarks/scoring.py --repeats 3     less

The unit is one plain forward pass of transformers over the same prompts (the same batches, logits
of the last token only), which gives a score to a single one-token label. It is timed between the
label sets, again and again, and ratios are taken of medians. Results go to
benchmarks/results/scoring.md.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import time
from collections.abc import Callable, Sequence
from importlib import metadata, resources
from pathlib import Path
from typing import Any, NamedTuple

import torch

from luthier.chat import Renderer
from luthier.console import say
from luthier.data.templating.template import load_template
from luthier.example import Message
from luthier.hardware import choose_precision, describe
from luthier.model import open_model, open_tokenizer
from luthier.packaged import NAME
from luthier.products import round_frozen_weights
from luthier.recipe import ModelSection
from luthier.scoring import label_scores
from luthier.training.config import TrainConfig

RESULTS = Path(__file__).parent / "results" / "scoring.md"
TARGET = 1.2
LABELS = [
    ["True", "False"],
    ["abbreviation", "entity", "description", "human", "location", "number"],
    ["politics", "business", "science", "health", "sport", "travel", "food", "music", "film",
     "weather", "education", "technology", "religion", "art", "history", "law", "transport",
     "housing", "energy", "defence"],
]  # fmt: skip
ONE_BY_ONE, BATCH = 16, 32


class Task(NamedTuple):
    """Prompts, and how many are asked at a time."""

    name: str
    prompts: list[list[Message]]
    batch_size: int


class Found(NamedTuple):
    """One row of the table."""

    task: str
    labels: int
    tokens: float
    """Of a label, on average."""
    ratio: float
    """To one plain pass."""


def main() -> None:
    """Measure, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=9)
    repeats = parser.parse_args().repeats
    section = ModelSection(name=NAME)
    precision, _ = choose_precision(TrainConfig(), describe())
    model = open_model(section, precision=precision)
    if precision == "frozen_bf16":
        round_frozen_weights(model)
    renderer = Renderer(open_tokenizer(section))
    found: list[Found] = []
    for task in _tasks():
        found += _measure(task, model, renderer, repeats)
    text = _page(found, precision, repeats)
    RESULTS.write_text(text, encoding="utf-8")
    print(text)


def _tasks() -> list[Task]:
    source = resources.files("luthier") / "datasets" / "promises.csv"
    with source.open(encoding="utf-8", newline="") as file:
        sentences = [row["sentence"] for row in csv.DictReader(file)][: 2 * BATCH]
    first = load_template("promise_instruction_first", Path())
    prompts = [first.prompt({"input": sentence}) for sentence in sentences]
    return [
        Task("one prompt at a time", prompts[:ONE_BY_ONE], 1),
        Task(f"{2 * BATCH} prompts in batches of {BATCH}", prompts, BATCH),
    ]


def _measure(task: Task, model: Any, renderer: Renderer, repeats: int) -> list[Found]:
    def scored(labels: list[str]) -> Callable[[], Any]:
        if task.batch_size > 1:
            return lambda: label_scores(model, renderer, task.prompts, labels, task.batch_size)
        # One call a prompt: nothing is shared between calls.
        return lambda: [label_scores(model, renderer, [p], labels, 1) for p in task.prompts]

    jobs = {0: _plain_pass(task, model, renderer)} | {len(x): scored(x) for x in LABELS}
    seconds: dict[int, list[float]] = {key: [] for key in jobs}
    for repeat in range(repeats + 1):
        for key, job in jobs.items():
            started = time.perf_counter()
            job()
            if repeat:  # the first round warms up
                seconds[key].append(time.perf_counter() - started)
        say(f"{task.name}: round {repeat} of {repeats}", style="dim")
    unit = statistics.median(seconds[0])
    sizes = {len(x): [len(renderer.completion((), label)) for label in x] for x in LABELS}
    return [
        Found(task.name, k, statistics.mean(sizes[k]), statistics.median(seconds[k]) / unit)
        for k in sizes
    ]


def _plain_pass(task: Task, model: Any, renderer: Renderer) -> Callable[[], None]:
    ids = sorted((renderer.prompt(prompt) for prompt in task.prompts), key=len, reverse=True)

    def run() -> None:
        for start in range(0, len(ids), task.batch_size):
            _forward(model, ids[start : start + task.batch_size], renderer.pad_id)

    return run


def _forward(model: Any, rows: Sequence[Sequence[int]], pad_id: int) -> None:
    """Rows padded on the left, as transformers users do for the next token."""
    width = max(map(len, rows))
    with torch.inference_mode():
        model(
            input_ids=torch.tensor([[pad_id] * (width - len(row)) + [*row] for row in rows]),
            attention_mask=torch.tensor(
                [[0] * (width - len(row)) + [1] * len(row) for row in rows]
            ),
            use_cache=False,
            logits_to_keep=1,
        )


def _page(found: Sequence[Found], precision: str, repeats: int) -> str:
    cores = torch.get_num_threads()
    threads = "1 thread" if cores == 1 else f"{cores} threads"
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("torch", "transformers"))
    lines = [
        "# What K labels cost",
        "",
        f"{NAME} ({precision}), {describe().device_name}, {threads}, {versions}. "
        f"`python benchmarks/scoring.py`, median of {repeats} rounds. The unit is one plain "
        "forward pass of transformers over the same prompts in the same batches, with logits of "
        f"the last token only. The target is at most {TARGET}.",
        "",
        "| prompts | labels | tokens of a label | cost in plain passes | target |",
        "|---|---:|---:|---:|---|",
    ]
    lines += [
        f"| {row.task} | {row.labels} | {row.tokens:.1f} | {row.ratio:.2f} | "
        f"{'met' if row.ratio <= TARGET else 'missed'} |"
        for row in found
    ]
    lines += [
        "",
        "One prompt at a time shares nothing with another: what is above 1 are the labels. In "
        "batches the instruction, which all prompts start with, is run once.",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
