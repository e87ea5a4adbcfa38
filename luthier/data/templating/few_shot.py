"""Few-shot rows: solved training rows are shown, as earlier turns, before the question.

Shots come from the training rows only, are never the row itself nor one of its near-duplicates, and
use the row's own template, those of its own source where that has any for training. Which ones
follows from the seed and the row, not from their order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from luthier.chat import Rendered
from luthier.console import say
from luthier.data.templating.draws import Draw
from luthier.example import Example, content_id

MOST = 5_000
"""Rows per template and label among which shots are chosen: a pool never holds a whole dataset."""


def with_shots(example: Example, shots: Sequence[Example]) -> Example:
    """The row with solved rows before its question: the system message first, then the shots.

    Shots' own system messages are left out. Their answers are shown and never trained on (`weight`
    0), whatever `train_on` says.

    Args:
        example: a row with messages.
        shots: rows with messages, in the order in which they are to be shown.
    """
    own = list(example.messages)
    head = own[:1] if own and own[0].role == "system" else []
    shown = [
        replace(message, weight=0.0) if message.role == "assistant" else message
        for shot in shots
        for message in shot.messages
        if message.role != "system"
    ]
    return example.but(messages=(*head, *shown, *own[len(head) :]))


def choose_shots(
    train: Sequence[Example], k: int, draw: Draw, *, avoid: Example | None = None
) -> list[Example]:
    """Choose shots among training rows, as many of each label as of any other.

    Rows are taken by a hash of the draw and their ids: the same ones come out whatever the order of
    `train`, and rows that are added or taken out change little.

    Args:
        train: training rows.
        k: how many; fewer come out where there are not enough.
        draw: that of the row that is asked.
        avoid: the row that is asked; it and the rows of its group are never taken. Of any other
            group one row at most is.
    """
    shelf = _Shelf()
    for example in train:
        shelf.add(example)
    return shelf.choose(k, draw, avoid)


@dataclass
class ShotPool:
    """Training rows to choose shots from, per template and source."""

    k: int
    """Shots per row."""
    seed: int
    max_tokens: int
    """Length that a row with its shots must not exceed (`train.max_seq_length`)."""
    shortened: int = 0
    """Rows that were shown fewer shots, so that they are not too long."""
    _shelves: dict[tuple[str, ...], _Shelf] = field(default_factory=dict)

    def offer(self, example: Example) -> None:
        """Take in a training row; conversations of several turns, and with tools, are no shots."""
        if _is_one_answer(example):
            for kind in _kinds(example):
                self._shelves.setdefault(kind, _Shelf()).add(example)

    def shown_before(
        self, example: Example, render: Callable[[Example], Rendered]
    ) -> tuple[Example, Rendered]:
        """The row with as many of its shots as there is room for, and how it is rendered.

        Args:
            example: a row; it stays as it is where no training row fits or it is a conversation.
            render: turns a row into tokens.
        """
        shelf = next((s for k in _kinds(example) if (s := self._shelves.get(k))), None)
        shots: list[Example] = []
        if shelf is not None and _is_one_answer(example):
            shots = shelf.choose(self.k, Draw(self.seed, example.id), example)
        for count in range(len(shots), 0, -1):
            shown = with_shots(example, shots[:count])
            rendered = render(shown)
            if len(rendered.input_ids) <= self.max_tokens:
                self.shortened += count < len(shots)
                return shown, rendered
        self.shortened += bool(shots)
        return example, render(example)

    def tell_shortened(self) -> None:
        """Say how many rows had no room for all their shots."""
        if self.shortened:
            say(
                f"{self.shortened:,} rows are shown fewer than {self.k} shots, or none: with more "
                f"they exceed {self.max_tokens} tokens (data.shots, train.max_seq_length).",
                style="yellow",
            )


def _kinds(example: Example) -> list[tuple[str, ...]]:
    """Rows of one kind ask alike: those of a template and source, else of either."""
    source = example.origin.source
    if example.template is None:
        return [("", source)]
    return [(example.template, source), (example.template,)]


def _is_one_answer(example: Example) -> bool:
    roles = [message.role for message in example.messages if message.role != "system"]
    return roles == ["user", "assistant"] and example.tools is None


class _Shelf:
    """Rows that may be shots for each other, by label."""

    def __init__(self) -> None:
        self._rows: dict[str | None, dict[int, Example]] = {}
        self._numbers: dict[str | None, npt.NDArray[np.uint64]] = {}

    def add(self, example: Example) -> None:
        rows = self._rows.setdefault(example.label, {})
        rows[int(content_id(["shot", example.id]), 16)] = example
        if len(rows) >= 2 * MOST:
            self._rows[example.label] = dict(sorted(rows.items())[:MOST])
        self._numbers.pop(example.label, None)

    def choose(self, k: int, draw: Draw, avoid: Example | None) -> list[Example]:
        labels = draw.shuffled("shot labels", sorted(self._rows, key=str))
        # A label that has too few rows leaves its places to the others, so each is ranked up to k.
        ranked = [self._ranked(label, k, draw, avoid) for label in labels]
        chosen: list[Example] = []
        groups = {avoid.group} - {None} if avoid is not None else set()
        turn = 0
        while len(chosen) < k and any(ranked):
            rows = ranked[turn % len(ranked)]
            turn += 1
            while rows:
                example = rows.pop(0)
                if example.group is None or example.group not in groups:
                    groups.add(example.group)
                    chosen.append(example)
                    break
        return draw.shuffled("shot order", chosen)

    def _ranked(
        self, label: str | None, k: int, draw: Draw, avoid: Example | None
    ) -> list[Example]:
        """The rows of a label that come first for this draw, enough to leave some out."""
        rows = self._rows[label]
        if label not in self._numbers:
            kept = sorted(rows)[:MOST]
            self._numbers[label] = np.array(kept, dtype=np.uint64)
        numbers = self._numbers[label]
        hashes = _mixed(numbers ^ np.uint64(draw.bits("shots")))
        found: list[Example] = []
        groups: set[str | None] = {avoid.group} - {None} if avoid is not None else set()
        for place in _smallest_first(hashes, 8 * k + 32):
            example = rows[int(numbers[place])]
            if (avoid is not None and example.id == avoid.id) or example.group in groups:
                continue
            if example.group is not None:
                groups.add(example.group)
            found.append(example)
            if len(found) == 2 * k:
                break
        return found


def _smallest_first(hashes: npt.NDArray[np.uint64], most: int) -> Iterator[int]:
    """Places in the order of their hashes; the first `most` without sorting all the others."""
    if len(hashes) > most:
        first = np.argpartition(hashes, most)[:most]
        yield from first[np.argsort(hashes[first])]
    yield from np.argsort(hashes)[most if len(hashes) > most else 0 :]


def _mixed(numbers: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Every number hashed: the finalizer of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014)."""
    with np.errstate(over="ignore"):
        found = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        found = (found ^ (found >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return found ^ (found >> np.uint64(31))
