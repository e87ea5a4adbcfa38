"""Which rows each training of a comparison sees: none that resembles a held-out row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from luthier.artifacts import load_examples, save_examples
from luthier.chat import Rendered
from luthier.console import say
from luthier.data.candidate import Candidate
from luthier.data.config import SplitConfig
from luthier.data.held_out import HeldOut
from luthier.data.rejects import RejectLog
from luthier.data.rows import Reject
from luthier.data.shape import as_built
from luthier.data.split import Head, share_out
from luthier.errors import DataError
from luthier.evidence.sides import Side
from luthier.example import Example, Split, content_id
from luthier.recipe import Recipe

ArmKey = Literal["a", "b", "control"]
_TRAINED: tuple[Split, ...] = ("validation", "train")
"""Splits that training looks at."""


class Pool(NamedTuple):
    """What of a side may be trained on."""

    side: Side
    built: int
    """Rows of its training split, before any was removed."""
    train: list[Example]
    validation: list[Example]
    removed: dict[str, int]
    """Rows that were taken out, per reason."""
    removed_file: Path


class Arm(NamedTuple):
    """One way of drawing training rows."""

    key: ArmKey
    name: str
    pool: Pool
    size: int
    """Training rows of each draw."""

    def draw(self, seed: int) -> list[Example]:
        """The training rows of a seed, in the order of the dataset."""
        return drawn(self.pool.train, self.size, [seed, "control"] if self.is_control else [seed])

    @property
    def is_control(self) -> bool:
        """Whether it is the random subset of the larger side."""
        return self.key == "control"

    @property
    def whole(self) -> bool:
        """Whether every seed sees the same rows: all there are."""
        return self.size >= len(self.pool.train)


def drawn(rows: Sequence[Example], size: int, mark: Sequence[object]) -> list[Example]:
    """A random subset: whether a row is in depends on the mark, its id and the others' ids alone.

    Args:
        rows: to draw from.
        size: how many.
        mark: what the draw is known by.
    """
    by_chance = sorted(range(len(rows)), key=lambda i: content_id([*mark, rows[i].id]))
    return [rows[i] for i in sorted(by_chance[:size])]


def pool_of(side: Side, held_out: Sequence[Example], recipe: Recipe, removed_file: Path) -> Pool:
    """A side's training and validation rows without those that the held-out rows have too.

    Left out are rows that share the question, 13 words in a row or most of their wording with a
    held-out row (the filter `decontamination`), and rows that the split would have kept on its side
    (`data.split.near_duplicates`).

    Args:
        side: a built dataset.
        held_out: what models are judged on.
        recipe: of the comparison; its `data.split` says from when rows resemble each other.
        removed_file: is written: the rows left out, with their reasons.

    Raises:
        DataError: nothing is left.
    """
    test = [_candidate(row, recipe) for row in held_out]
    tests = HeldOut(rows=test)
    rows = {split: load_examples(side.run, split) for split in _TRAINED}
    built = len(rows["train"])
    with RejectLog(removed_file) as log:
        for split, members in rows.items():
            kept = []
            for row in members:
                candidate = _candidate(row, recipe)
                if like := tests.like(candidate.question, candidate.answer):
                    log.add(Reject(row.origin, f"test data: {like}", dict(row.fields)))
                else:
                    kept.append(row)
            rows[split] = kept
        _remove_claimed(rows, test, recipe.data.split, log)
        removed = dict(log.counts.most_common())
    pool = Pool(side, built, rows["train"], rows["validation"], removed, removed_file)
    if not pool.train:
        raise DataError(
            f"{side.given}: all {built} training rows resemble held-out rows, so none is left to "
            f"train on; {removed_file} says which. Hold out other rows with --on FILE."
        )
    for label in recipe.labels:
        if not any(row.label == label for row in pool.train):
            raise DataError(
                f"{side.given}: no training row with the label '{label}' is left once "
                f"{sum(removed.values())} rows that resemble held-out rows are taken out; "
                f"{removed_file} says which."
            )
    for reason, count in removed.items():
        say(f"{side.given}: {count} rows not trained on ({reason}); see {removed_file}", "yellow")
    return pool


def _remove_claimed(
    rows: dict[Split, list[Example]],
    test: Sequence[Candidate],
    config: SplitConfig,
    log: RejectLog,
) -> None:
    """Take out what a build with the held-out rows as its test split would leave out."""
    members = [(split, row) for split in _TRAINED for row in rows[split]]
    heads = [Head(c.example.id, c.example.origin, split="test") for c in test]
    heads += [Head(row.id, row.origin, split=split) for split, row in members]
    questions = [c.subject for c in test]
    questions += [as_built(row, (), _unrendered).subject for _, row in members]
    claimed = share_out(heads, questions, config=config, seed=0).claimed
    for split in _TRAINED:
        rows[split] = []
    for number, (split, row) in enumerate(members, len(test)):
        if number in claimed:
            log.add(Reject(row.origin, claimed[number], dict(row.fields)))
        else:
            rows[split].append(row)


def _candidate(row: Example, recipe: Recipe) -> Candidate:
    return as_built(row, recipe.labels, _unrendered)


def _unrendered(example: Example) -> Rendered:
    raise AssertionError("neither filter asks for tokens")


# --- arms --------------------------------------------------------------------------------------


def arms_of(
    a: Pool, b: Pool, size: int | None, seeds: Sequence[int], recipe: Recipe, *, control: bool
) -> tuple[list[Arm], list[str]]:
    """The draws that are compared, and notes on those that are not made.

    With `size` both sides give as many rows; else each gives all it has, and the control as many
    rows of the larger side as the smaller one has.

    Args:
        a: rows of side A.
        b: rows of side B.
        size: `--size`.
        seeds: of the draws.
        recipe: says which labels every draw must have.
        control: whether one is wanted.

    Raises:
        DataError: a side has fewer rows than are asked for, or a draw lacks a label.
    """
    for pool in (a, b):
        if size is not None and size > len(pool.train):
            gone = sum(pool.removed.values())
            after = f" once {gone} that resemble held-out rows are taken out" if gone else ""
            raise DataError(
                f"--size {size}: {pool.side.given} has {len(pool.train)} training rows{after}. "
                f"Ask for at most {min(len(a.train), len(b.train))}."
            )
    names = [Path(pool.side.given).name for pool in (a, b)]
    if names[0] == names[1]:
        names = [pool.side.given for pool in (a, b)]
    arms = [
        Arm("a", f"A ({names[0]})", a, size or len(a.train)),
        Arm("b", f"B ({names[1]})", b, size or len(b.train)),
    ]
    larger = a if len(a.train) >= len(b.train) else b
    wanted = size or min(len(a.train), len(b.train))
    notes = []
    if control and len(larger.train) > wanted:
        name = f"control ({wanted:,} random rows of {larger.side.key.upper()})"
        arms.append(Arm("control", name, larger, wanted))
    elif control:
        notes.append(
            f"There is no control: both sides have {wanted:,} rows, so no others could be drawn."
        )
    for arm in arms:
        for seed in seeds:
            _require_labels(arm, arm.draw(seed), seed, recipe.labels)
    return arms, notes


def _require_labels(arm: Arm, rows: Sequence[Example], seed: int, labels: Sequence[str]) -> None:
    counts = Counter(row.label for row in rows)
    without = [label for label in labels if not counts[label]]
    if without:
        listed = ", ".join(f"'{label}'" for label in without)
        raise DataError(
            f"{arm.name}: among the {len(rows)} rows drawn by seed {seed} none has the label "
            f"{listed}. Give a larger --size, or another seed in the recipe."
        )


def save_draw(arm: Arm, seed: int, validation: int, folder: Path) -> list[tuple[str, Split]]:
    """Write the rows of one training; returns the files, relative to the folder, and their splits.

    Args:
        arm: the draw.
        seed: of the draw.
        validation: validation rows; all sides have as many.
        folder: of the comparison.
    """
    number = "" if arm.whole else f"-{seed}"
    files: list[tuple[str, Split]] = [(f"rows/{arm.key}{number}.parquet", "train")]
    save_examples(folder / files[0][0], arm.draw(seed))
    if validation:
        rows = drawn(arm.pool.validation, validation, [seed, "validation"])
        files.append((f"rows/{arm.key}-{seed}-validation.parquet", "validation"))
        save_examples(folder / files[1][0], rows)
    return files
