"""Rows of the jobs that do not come with a recipe of their own, as {"input", "output"}.

python -m contestants.rows FOLDER     (started in `benchmarks/`) lengths of the LIMA rows there
"""

from __future__ import annotations

import csv
import json
import random
import sys
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from contestants.instructions import TASKS, Row, Shown, Task
from luthier.recipe import ModelSection
from luthier.tokenizer import open_tokenizer

Rows = list[dict[str, str]]
MODEL = "smollm2-135m-instruct"
PER_TASK = 256
MIXED_ROWS = 300

# Deciles, smallest to largest, of the lengths in tokens of 300 of LIMA's training rows (Zhou et
# al. 2023, arXiv:2305.11206) under the tokenizer of SmolLM2; this file as a script measures them.
LIMA_PROMPTS = (7, 13, 16, 31, 44, 60, 79, 112, 137, 173, 313)
LIMA_ANSWERS = (58, 270, 305, 339, 376, 424, 458, 525, 595, 696, 1846)


def long_instructions(public: Path | None) -> tuple[Rows, str]:
    """Rows of several tasks, each with its own long instruction, in random order.

    Args:
        public: a folder with `natural_instructions/task*.json`; None: authored tasks.

    Returns:
        The rows, and what they are.
    """
    rng = random.Random(0)
    files = sorted(public.glob("natural_instructions/task*.json")) if public else []
    rows: Rows = []
    if files:
        for file in files:
            rows += _instances(file, rng)
        said = f"{len(files)} tasks of Natural Instructions"
    else:
        sentences = _sentences(rng)
        for number, task in enumerate(TASKS):
            share = sentences[number * PER_TASK : (number + 1) * PER_TASK]
            rows += [
                {"input": task.prompt(row["sentence"]), "output": task.answer(row)} for row in share
            ]
        said = f"{len(TASKS)} authored tasks in the style of Super-NaturalInstructions"
    rng.shuffle(rows)
    return rows, f"{said}, {len(rows):,} rows"


def mixed_lengths(public: Path | None) -> tuple[Rows, str]:
    """Questions and answers of very different lengths.

    Args:
        public: a folder with `lima/*.json`; None: authored sentences put together to rows with the
            lengths of LIMA's.

    Returns:
        The rows, and what they are.
    """
    files = sorted(public.glob("lima/*.json")) if public else []
    if files:
        rows = [
            {"input": f"{row['instruction']}\n{row['input']}".strip(), "output": row["output"]}
            for file in files
            for row in json.loads(file.read_text(encoding="utf-8"))
        ]
        return rows, f"LIMA, {len(rows):,} rows"
    rng = random.Random(0)
    count = _counter()
    sentences = [(row["sentence"], count(row["sentence"])) for row in _sentences(rng)]
    rows = []
    for _ in range(MIXED_ROWS):
        asked, answered = _quantile(LIMA_PROMPTS, rng), _quantile(LIMA_ANSWERS, rng)
        rows.append({"input": _text(sentences, asked), "output": _text(sentences, answered)})
        rng.shuffle(sentences)
    return rows, f"authored sentences in rows with the lengths of LIMA's, {len(rows):,} rows"


def _instances(file: Path, rng: random.Random) -> Rows:
    """Rows of a task file of (Super-)NaturalInstructions, in either of its schemas."""
    spec = json.loads(file.read_text(encoding="utf-8"))
    task = Task(
        name=file.stem,
        definition=_first(spec["Definition"]),
        positive=_shown(spec["Positive Examples"]),
        negative=_shown(spec["Negative Examples"]),
        answer=lambda row: row["output"],
    )
    instances = spec["Instances"]
    chosen = rng.sample(instances, min(PER_TASK, len(instances)))
    return [
        {"input": task.prompt(row["input"].strip()), "output": _first(row["output"])}
        for row in chosen
    ]


def _shown(examples: list[dict[str, Any]]) -> tuple[Shown, ...]:
    return tuple(
        Shown(e["input"].strip(), _first(e["output"]), e.get("explanation", "")) for e in examples
    )


def _first(value: str | list[str]) -> str:
    return (value if isinstance(value, str) else value[0]).strip()


def _sentences(rng: random.Random) -> list[Row]:
    source = resources.files("luthier") / "datasets" / "promises.csv"
    rows: list[Row] = list(csv.DictReader(source.read_text(encoding="utf-8").splitlines()))
    rng.shuffle(rows)
    return rows


def _quantile(deciles: tuple[int, ...], rng: random.Random) -> float:
    """A length drawn from the distribution that has these deciles."""
    return float(np.interp(rng.random(), np.linspace(0, 1, len(deciles)), deciles))


def _text(sentences: list[tuple[str, int]], tokens: float) -> str:
    """Sentences from the front of the list, as many as come nearest to a number of tokens."""
    taken: list[str] = []
    length = 0
    for sentence, size in sentences:
        if taken and length + size / 2 > tokens:
            break
        taken.append(sentence)
        length += size
    return " ".join(taken)


def _counter() -> Callable[[str], int]:
    tokenizer = open_tokenizer(ModelSection(name=MODEL))
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False))


def main() -> None:
    rows, said = mixed_lengths(Path(sys.argv[1]))
    count = _counter()
    print(said)
    for part in ("input", "output"):
        deciles = np.percentile([count(row[part]) for row in rows], range(0, 101, 10))
        print(part, [round(value) for value in deciles])


if __name__ == "__main__":
    main()
