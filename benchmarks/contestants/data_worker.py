"""One step of the data stage, done by luthier or by a peer, in a process of its own.

Imports nothing that a peer's environment lacks before the step that needs it.
"""

from __future__ import annotations

import gc
import json
import os
import random
import time
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

from contestants.protocol import Lines, read_job

PACKAGES = ("luthier", "numpy", "pyarrow", "rapidfuzz", "rouge_score", "datasets", "datatrove",
            "distilabel", "datasketch")  # fmt: skip
Job = dict[str, Any]
Step = Callable[[Job], dict[str, Any]]


def main() -> None:
    job = read_job()
    out = Lines(job["out"])
    gc.collect()
    found = STEPS[job["step"]](job)
    out.write("done", versions=_versions(), **found)


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _rows(job: Job) -> Iterator[dict[str, Any]]:
    with open(job["rows"], encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)


# --- novelty -----------------------------------------------------------------------------------


def novelty(job: Job) -> dict[str, Any]:
    """Filter a pool one after another, then measure the original method on a sample of it."""
    from luthier.data.novelty import NoveltyPool, rouge_l

    texts = [row["instruction"] for row in _rows(job)]
    pool = NoveltyPool()
    accepted: list[str] = []
    refused: list[tuple[str, int, float, int]] = []
    pairs = 0
    started = time.perf_counter()
    for text in texts:
        words = pool.read(text)
        pairs += len(pool)
        closest = pool.closest(words)
        if closest is None:
            pool.add(words)
            accepted.append(text)
        else:
            refused.append((text, closest.number, closest.score, len(pool)))
    ours = time.perf_counter() - started
    found = {"texts": len(texts), "accepted": len(accepted), "pairs": pairs, "seconds": ours}
    if job["scores"]:
        found |= _stored(texts)
    return found | _original(job, accepted, refused, rouge_l)


def _stored(texts: list[str]) -> dict[str, Any]:
    """The same with everything that Self-Instruct stores of accepted instructions."""
    from luthier.data.novelty import NoveltyPool

    pool = NoveltyPool()
    started = time.perf_counter()
    for text in texts:
        words = pool.read(text)
        scores = pool.scores(words)
        if scores is None or scores.highest <= pool.threshold:
            pool.add(words)
    return {"stored_seconds": time.perf_counter() - started, "stored_accepted": len(pool)}


def _original(
    job: Job, accepted: list[str], refused: list[tuple[str, int, float, int]], rouge_l: Any
) -> dict[str, Any]:
    """`rouge_score` as Self-Instruct calls it, in one process: time of a pair, and scores."""
    import numpy as np
    from rapidfuzz.distance import LCSseq
    from rouge_score import rouge_scorer

    from luthier.data.novelty import rouge_tokens

    scorer = rouge_scorer.RougeScorer(["rougeL"], use_stemmer=False)
    chance = random.Random(7)
    sample = []
    for _ in range(job["pairs"]):
        new = chance.randrange(1, len(accepted))
        sample.append((accepted[new], accepted[chance.randrange(new)]))
    started = time.perf_counter()
    theirs = [scorer.score(new, old)["rougeL"].fmeasure for new, old in sample]
    seconds = (time.perf_counter() - started) / len(sample)
    differ = 0
    for (new, old), score in zip(sample, theirs, strict=True):
        one, other = rouge_tokens(new), rouge_tokens(old)
        common = np.array([LCSseq.similarity(one, other)], np.int32)
        sizes = np.array([max(len(other), 1)], np.int32)
        differ += float(rouge_l(common, max(len(one), 1), sizes)[0]) != score
    wrong = 0
    for text, number, score, size in chance.sample(refused, min(len(refused), job["decisions"])):
        measured = [scorer.score(text, old)["rougeL"].fmeasure for old in accepted[:size]]
        wrong += (max(measured), measured.index(max(measured))) != (score, number)
    for _ in range(job["decisions"]):
        new = chance.randrange(len(accepted))
        measured = [scorer.score(accepted[new], old)["rougeL"].fmeasure for old in accepted[:new]]
        wrong += max(measured, default=0.0) > 0.7
    return {"original_pair_seconds": seconds, "sampled_pairs": len(sample),
            "scores_that_differ": differ, "decisions_checked": 2 * job["decisions"],
            "decisions_that_differ": wrong}  # fmt: skip


# --- near-duplicates ---------------------------------------------------------------------------


def near_luthier(job: Job) -> dict[str, Any]:
    """The index of the near_duplicates filter over texts, in blocks."""
    from luthier.data.near import NearIndex
    from luthier.data.shingles import BLOCK

    index = NearIndex(job["similarity"])
    removed: list[int] = []
    number = 0
    started = time.perf_counter()
    for texts in _blocks(job, BLOCK):
        for entry in index.entries(texts):
            if index.similar(entry):
                removed.append(number)
            else:
                index.add(entry)
            number += 1
    return {"rows": number, "seconds": time.perf_counter() - started, "removed": removed}


def _blocks(job: Job, size: int) -> Iterator[list[str]]:
    block = []
    for row in _rows(job):
        block.append(row["text"])
        if len(block) == size:
            yield block
            block = []
    if block:
        yield block


def near_datatrove(job: Job) -> dict[str, Any]:
    """Its four MinHash steps, one task each, with as many bands and rows as luthier has."""
    from datatrove.executor.local import LocalPipelineExecutor
    from datatrove.pipeline.dedup import (
        MinhashDedupBuckets,
        MinhashDedupCluster,
        MinhashDedupFilter,
        MinhashDedupSignature,
    )
    from datatrove.pipeline.dedup.minhash import MinhashConfig
    from datatrove.pipeline.readers import JsonlReader
    from datatrove.pipeline.writers.jsonl import JsonlWriter
    from datatrove.utils.hashing import HashConfig

    folder = Path(job["folder"])
    config = MinhashConfig(
        hash_config=HashConfig(precision=64), num_buckets=job["bands"],
        hashes_per_bucket=job["rows_per_band"], n_grams=3,
    )  # fmt: skip
    path = Path(job["rows"])

    def reader() -> Any:
        return JsonlReader(str(path.parent), glob_pattern=path.name, id_key="id")

    def place(name: str) -> str:
        return str(folder / name)

    kept = JsonlWriter(place("kept"), output_filename="${rank}.jsonl", compression=None)
    steps: list[list[Any]] = [
        [reader(), MinhashDedupSignature(output_folder=place("signatures"), config=config)],
        [MinhashDedupBuckets(place("signatures"), place("buckets"), config=config)],
        [MinhashDedupCluster(place("buckets"), place("removed"), config=config)],
        [reader(), MinhashDedupFilter(place("removed")), kept],
    ]
    started = time.perf_counter()
    for number, pipeline in enumerate(steps):
        tasks = job["bands"] if number == 1 else 1
        LocalPipelineExecutor(
            pipeline=pipeline, tasks=tasks, workers=1, logging_dir=place(f"log{number}")
        ).run()
    seconds = time.perf_counter() - started
    left = set()
    for name in Path(place("kept")).glob("*.jsonl"):
        with open(name, encoding="utf-8") as file:
            left |= {int(json.loads(line)["id"]) for line in file}
    count = sum(1 for _ in _rows(job))
    removed = [number for number in range(count) if number not in left]
    return {"rows": count, "seconds": seconds, "removed": removed}


def near_distilabel(job: Job) -> dict[str, Any]:
    """Its MinHashDedup step, batch after batch.

    It compares sets of character 5-grams: its other tokenizer downloads a model of NLTK.
    """
    from distilabel.steps import MinHashDedup

    step = MinHashDedup(
        tokenizer="ngrams", n=5, threshold=job["similarity"], storage="dict", input_batch_size=1000
    )
    step.load()
    removed: list[int] = []
    number = 0
    started = time.perf_counter()
    for texts in _blocks(job, 1000):
        for batch in step.process([{"text": text} for text in texts]):
            for row in batch:
                if not row["keep_row_after_minhash_filtering"]:
                    removed.append(number)
                number += 1
    return {"rows": number, "seconds": time.perf_counter() - started, "removed": removed}


# --- templates ---------------------------------------------------------------------------------


def template_luthier(job: Job) -> dict[str, Any]:
    """JSON lines through a template into a Parquet file, as a build does it without a model."""
    import pyarrow.parquet  # noqa: F401  # as `datasets` has it: before the clock starts

    from luthier.artifacts import ExampleWriter
    from luthier.data.files.sources import open_file
    from luthier.data.rows import Row
    from luthier.data.templating.template import load_template
    from luthier.example import Example, content_id

    template = load_template(job["template"], Path())
    count = 0
    started, spent = time.perf_counter(), _cpu_seconds()
    with ExampleWriter(Path(job["folder"]) / "luthier.parquet") as writer:
        for row in open_file(Path(job["rows"])).records:
            if isinstance(row, Row):
                messages = template.messages(row.fields)
                said = content_id([m.content for m in messages])
                writer.write(Example(said, row.origin, row.fields, messages))
                count += 1
    seconds = time.perf_counter() - started
    return {"rows": count, "seconds": seconds, "cpu_seconds": _cpu_seconds() - spent}


def template_datasets(job: Job) -> dict[str, Any]:
    """The same through `datasets`: load the JSON lines, map, write Parquet."""
    import datasets

    datasets.disable_progress_bars()

    def render(row: dict[str, Any]) -> dict[str, Any]:
        prompt = job["prompt"].format(instruction=row["instruction"], input=row["input"])
        answer = {"role": "assistant", "content": row["output"]}
        return {"messages": [{"role": "user", "content": prompt}, answer]}

    folder = Path(job["folder"])
    started, spent = time.perf_counter(), _cpu_seconds()
    rows = datasets.load_dataset(
        "json", data_files=job["rows"], split="train", cache_dir=str(folder / "cache")
    )
    rows = rows.map(render, num_proc=job["processes"] if job["processes"] > 1 else None)
    rows.to_parquet(str(folder / "datasets.parquet"))
    seconds = time.perf_counter() - started
    return {"rows": len(rows), "seconds": seconds, "cpu_seconds": _cpu_seconds() - spent}


def _cpu_seconds() -> float:
    """What this process and those it has waited for have computed."""
    return sum(os.times()[:4])


STEPS: dict[str, Step] = {
    "novelty": novelty,
    "near_luthier": near_luthier,
    "near_datatrove": near_datatrove,
    "near_distilabel": near_distilabel,
    "template_luthier": template_luthier,
    "template_datasets": template_datasets,
}

if __name__ == "__main__":
    main()
