"""Rows that passed every filter: on disk as a whole, in memory only what decides on their split."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self, overload

from luthier.data.ids import Ids
from luthier.data.mix import Weighed
from luthier.data.spill import Spill
from luthier.data.split import Head
from luthier.example import SPLITS, Example, Origin, Split, content_id

_COUNTED = ("line", "row")


class Kept(Sequence[Head]):
    """Rows in order; about 64 bytes each in memory, whatever they hold.

    Args:
        folder: where the rows are spilled to; they are gone when the object is closed.
    """

    def __init__(self, folder: Path) -> None:
        self._spill = Spill(folder)
        self._ids = array("Q")
        self._taken = Ids()
        self._rows = array("Q")
        self._counted = array("b")
        self._splits = array("b")
        self._texts: list[str] = []
        self._numbers: dict[str, int] = {}
        self._sources, self._parts = array("i"), array("i")
        self._labels, self._families = array("i"), array("i")
        self.tokens = array("i")
        """Per row."""
        self.trained = array("i")
        """Per row: tokens that carry loss."""

    def append(
        self,
        example: Example,
        question: str,
        *,
        part: str,
        family: str | None,
        tokens: int,
        trained: int,
    ) -> None:
        """Keep a row; one that says what an earlier one says gets an id of its own.

        Args:
            example: the row; `split` is what its source says.
            question: what it asks, without the template's words.
            part: the source's own name in a mixture (`blend.names_of`).
            family: see `Head`.
            tokens: its rendered length.
            trained: how many of them carry loss.
        """
        number, again = int(example.id, 16), 1
        while self._taken.number(number) is not None:
            again += 1
            number = int(content_id([example.id, again]), 16)
        self._taken.add(number)
        if again > 1:
            example = example.but(id=f"{number:016x}")
        self._spill.append(example, question)
        self._ids.append(number)
        self._rows.append(example.origin.row)
        self._counted.append(_COUNTED.index(example.origin.counted))
        self._splits.append(-1 if example.split is None else SPLITS.index(example.split))
        self._sources.append(self._number(example.origin.source))
        self._parts.append(self._number(part))
        self._labels.append(self._number(example.label))
        self._families.append(self._number(family))
        self.tokens.append(tokens)
        self.trained.append(trained)

    def _number(self, text: str | None) -> int:
        if text is None:
            return -1
        if text not in self._numbers:
            self._numbers[text] = len(self._texts)
            self._texts.append(text)
        return self._numbers[text]

    def _text(self, number: int) -> str | None:
        return None if number < 0 else self._texts[number]

    def __len__(self) -> int:
        return len(self._ids)

    @overload
    def __getitem__(self, place: int) -> Head: ...
    @overload
    def __getitem__(self, place: slice) -> list[Head]: ...
    def __getitem__(self, place: int | slice) -> Head | list[Head]:
        if isinstance(place, slice):
            return [self[i] for i in range(*place.indices(len(self)))]
        source = self._texts[self._sources[place]]
        counted = _COUNTED[self._counted[place]]
        split: Split | None = None if self._splits[place] < 0 else SPLITS[self._splits[place]]
        return Head(
            f"{self._ids[place]:016x}",
            Origin(source, self._rows[place], counted),  # type: ignore[arg-type]
            self._text(self._labels[place]),
            split,
            self._text(self._families[place]),
        )

    def part(self, place: int) -> str:
        """The source of a row, by its own name in a mixture."""
        return self._texts[self._parts[place]]

    def weighed(self, place: int) -> Weighed:
        """What a mixture must know of a row."""
        return Weighed(self.part(place), f"{self._ids[place]:016x}")

    def weighing(self, places: Sequence[int]) -> Sequence[Weighed]:
        """What a mixture must know of some rows, looked up when it is asked for."""
        return _Weighing(self, places)

    def examples(self) -> Iterator[Example]:
        """The rows, read from disk in order."""
        return self._spill.examples()

    def questions(self) -> Iterator[str]:
        """What the rows ask, read from disk in order."""
        return self._spill.questions()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._spill.close()


class _Weighing(Sequence[Weighed]):
    def __init__(self, kept: Kept, places: Sequence[int]) -> None:
        self._kept, self._places = kept, places

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, place: int) -> Weighed: ...
    @overload
    def __getitem__(self, place: slice) -> list[Weighed]: ...
    def __getitem__(self, place: int | slice) -> Weighed | list[Weighed]:
        if isinstance(place, slice):
            return [self._kept.weighed(i) for i in self._places[place]]
        return self._kept.weighed(self._places[place])
