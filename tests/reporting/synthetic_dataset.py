"""Datasets of every kind in run folders, made through the artifacts API without building."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from luthier import recipe as recipes
from luthier.artifacts import (
    DataStats,
    MixturePart,
    SplitStats,
    TermsPart,
    TokenCounts,
    save_examples,
)
from luthier.example import Example, Message, Origin, Split, Terms
from luthier.run import Run

RECIPE = """\
name: {name}
model: smollm2-135m-instruct
task: {task}
data:
  sources: [{{path: first.jsonl}}, {{path: /home/somebody/second.csv}}]
  filters: [{{use: empty}}, {{use: exact_duplicates}}, {{use: length, max_tokens: 256}}]
{more}"""

TASKS = {
    "classification": '{kind: classification, labels: ["True", "False"]}',
    "generation": "{kind: generation}",
    "chat": "{kind: chat}",
    "text": "{kind: text}",
}
VERBS = [("Write", "story"), ("Write", "poem"), ("Describe", "process"), ("List", "example"),
         ("Rewrite", "sentence"), ("Suggest", "name"), ("Explain", "difference"),
         ("Create", "recipe")]  # fmt: skip
ADJECTIVES = ["short", "funny", "strange", "modern", "clear", "brief", "detailed", "simple"]
TOPICS = [
    "a lighthouse keeper", "tax law", "sorting fruit", "the history of glass", "quiet mornings",
    "mountain weather", "learning to swim", "a robot gardener", "city trams", "winter bread",
    "migrating birds", "old maps",
]  # fmt: skip
PLACES = ["Leeds", "Oslo", "Quito", "Hanoi", "Perth", "Turin", "Accra", "Lima", "Baku", "Cork"]
OPEN = Terms("CC-BY-4.0", "yes")
CLOSED = Terms(
    "CC-BY-NC-4.0", "no", "text-davinci-003", "outputs must not be used to develop competing models"
)


def instructions(count: int, seed: int = 5) -> list[str]:
    """Requests of different verbs, nouns and topics."""
    draw = random.Random(seed)
    made = []
    for i in range(count):
        verb, noun = draw.choice(VERBS)
        extra = " ".join(draw.sample(TOPICS, 2))
        made.append(
            f"{verb} a {draw.choice(ADJECTIVES)} {noun} about {draw.choice(TOPICS)} in "
            f"{draw.choice(PLACES)}, number {i} of {draw.randint(2, 9999)}, with {extra}."
        )
    return made


def example(
    kind: str,
    place: int,
    said: str,
    answer: str,
    *,
    split: Split = "train",
    terms: Terms = OPEN,
    source: str = "first.jsonl",
) -> Example:
    """A row of a kind of task."""
    fields: dict[str, Any] = {"input": said, "output": answer}
    messages: tuple[Message, ...] = (Message("user", said), Message("assistant", answer))
    text = label = template = None
    if kind == "classification":
        label, template = answer, "promise"
        messages = (Message("user", f"Is it a promise?\n\n{said}"), Message("assistant", answer))
    elif kind == "chat":
        fields = {}
        messages = (
            Message("system", "You are kind."), Message("user", said),
            Message("assistant", "Gladly."), Message("user", "Go on."),
            Message("assistant", answer),
        )  # fmt: skip
    elif kind == "text":
        fields, messages, text = {}, (), f"{said} {answer}"
    return Example(
        id=f"{place:016x}", origin=Origin(source, place), fields=fields, messages=messages,
        text=text, label=label, template=template, split=split, group=f"{place:016x}", terms=terms,
    )  # fmt: skip


def rows_of(kind: str, count: int, *, seed: int = 5) -> list[Example]:
    """Rows in four splits from two sources."""
    draw = random.Random(seed)
    splits: list[Split] = ["train", "train", "train", "validation", "calibration", "test"]
    made = []
    for i, said in enumerate(instructions(count, seed)):
        labels = ["True", "False", "False"] if kind == "classification" else [f"Well, {said[:40]}"]
        first = draw.random() < 0.7
        made.append(
            example(
                kind, i + 1, said, draw.choice(labels), split=draw.choice(splits),
                terms=OPEN if first else CLOSED,
                source="first.jsonl" if first else "/home/somebody/second.csv",
            )
        )  # fmt: skip
    return made


def make_dataset(
    root: Path,
    kind: str,
    rows: Iterable[Example],
    *,
    rejects: Iterable[tuple[str, str, Mapping[str, Any]]] = (),
    name: str = "promises",
    more: str = "",
    labels: Iterable[str] | None = None,
) -> Run:
    """A run whose data stage has made these rows.

    Args:
        root: an empty folder.
        kind: of the task.
        rows: with their splits.
        rejects: (origin, reason, fields) of rows that were left out.
        name: of the run.
        more: further lines of the recipe.
        labels: of the recipe, instead of True and False.
    """
    task = TASKS[kind]
    if labels is not None:
        task = json.dumps({"kind": kind, "labels": list(labels)})
    path = root / f"{name}.yaml"
    path.write_text(RECIPE.format(name=name, task=task, more=more), encoding="utf-8")
    run = Run.create(recipes.load(path), root / "runs")
    rows, rejects = list(rows), list(rejects)
    with run.stage("data", "f" * 32):
        splits: dict[Split, list[Example]] = {}
        for row in rows:
            assert row.split is not None
            splits.setdefault(row.split, []).append(row)
        for split, part in splits.items():
            save_examples(run.path / "data" / f"{split}.parquet", part)
        (run.path / "data/rejects.jsonl").write_text(
            "".join(
                json.dumps({"origin": origin, "reason": reason, "fields": fields}) + "\n"
                for origin, reason, fields in rejects
            ),
            encoding="utf-8",
        )
        stats(rows, splits, rejects).save(run)
    return run


def stats(
    rows: list[Example],
    splits: Mapping[Split, list[Example]],
    rejects: list[tuple[str, str, Mapping[str, Any]]],
) -> DataStats:
    """What a build would have counted; a token is four characters."""
    sources = list(dict.fromkeys(row.origin.source for row in rows))
    left_out: dict[str, int] = {}
    for _, reason, _ in rejects:
        what = reason.partition(":")[0]
        left_out[what] = left_out.get(what, 0) + 1
    read = {s: sum(row.origin.source == s for row in rows) for s in sources}
    read[sources[0]] += len(rejects)
    kinds = list(dict.fromkeys((row.origin.source, row.terms) for row in rows))
    train = [row for row in rows if row.split == "train"]
    return DataStats(
        rows_read=read,
        rows_rejected=dict(sorted(left_out.items(), key=lambda item: -item[1])),
        splits={name: split_stats(part) for name, part in splits.items()},
        templates={"promise": len(rows)} if rows[0].template else {},
        samples=[{"id": row.id, "prompt": row.text or row.messages[0].content,
                  "completion": row.completion} for row in train[:3]],
        formats={source: "columns" for source in sources},
        mixture=[
            MixturePart(source=s, available=n, rows=n, share=n / len(train), tokens=10 * n,
                        trained_tokens=2 * n, trained_share=n / len(train))
            for s in sources
            if (n := sum(row.origin.source == s for row in train))
        ],
        terms=[
            TermsPart(
                source=source, licence=t.licence, commercial=t.commercial, generator=t.generator,
                rows=sum((row.origin.source, row.terms) == (source, t) for row in rows),
                generator_terms=t.generator_terms,
            )
            for source, t in kinds
        ],
    )  # fmt: skip


def split_stats(rows: list[Example]) -> SplitStats:
    """Of one split."""
    lengths = sorted(
        (sum(len(m.content) for m in row.messages) + len(row.text or "")) // 4 + 1 for row in rows
    )
    width = (lengths[-1] - lengths[0]) // 20 + 1
    labels: dict[str, int] = {}
    for row in rows:
        if row.label is not None:
            labels[row.label] = labels.get(row.label, 0) + 1
    return SplitStats(
        rows=len(rows),
        labels=labels,
        tokens=TokenCounts(
            min=lengths[0], median=lengths[len(rows) // 2], mean=sum(lengths) / len(rows),
            p95=lengths[int(len(rows) * 0.95)], max=lengths[-1], total=sum(lengths),
            trained=2 * len(rows),
            histogram=[
                (edge, sum(edge <= n < edge + width for n in lengths))
                for edge in range(lengths[0], lengths[-1] + 1, width)
            ],
        ),
    )  # fmt: skip


REJECTS = [
    ("first.jsonl:7", "empty: the output has no words", {"input": "<b>Say</b> it", "output": ""}),
    ("first.jsonl:9", "length: 812 tokens, the limit is 256", {"input": "long", "output": "x"}),
    ("first.jsonl:12", "empty: the input has no words", {"input": "", "output": "y"}),
]
