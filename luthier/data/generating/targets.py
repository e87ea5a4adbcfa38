"""How many rows of each kind there are to be, and which kind is to be written next.

A *cell* is what is counted: a label, or a category of rows of one label. An *axis* is a way in
which rows are to differ (style, length, topic, register); its levels are spread evenly over the
rows of each cell, each axis for itself, as in Latin hypercube sampling (M. McKay, R. Beckman, W.
Conover, 1979): what is next goes to the level that has the fewest rows, those asked for counted.
"""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from luthier.errors import DataError, unknown

_SHOWN_CELLS = 12
"""Whose counts are shown while rows are written."""


@dataclass(frozen=True, slots=True)
class Cell:
    """Rows that are counted together."""

    name: str
    """The category, or the label where there are no categories."""
    label: str
    """Empty for free text."""
    rows: int
    about: str = ""
    """What the rows of the category are like, for the model."""


@dataclass(frozen=True, slots=True)
class Aim:
    """What one request is to bring."""

    cell: str | None
    """None: whatever comes; its label is asked for afterwards."""
    levels: Mapping[str, str]
    """Level of each axis."""


@dataclass
class Targets:
    """Counts what is there and what was asked for.

    Args:
        cells: what is wanted.
        axes: levels of each way to differ.
        patience: requests without a kept row after which a cell is given up.
    """

    cells: Sequence[Cell]
    axes: Mapping[str, Sequence[str]]
    patience: int
    kept: Counter[str] = field(default_factory=Counter)
    """Rows per cell."""
    stuck: dict[str, int] = field(default_factory=dict)
    """Cells that were given up, with the requests that were spent on them in vain."""
    _asked: Counter[str | None] = field(default_factory=Counter)
    """Requests per cell whose answers are not there yet."""
    _came: Counter[str] = field(default_factory=Counter)
    """Requests per cell that were answered."""
    _vain: Counter[str] = field(default_factory=Counter)
    _levels: Counter[tuple[str | None, str, str]] = field(default_factory=Counter)

    def next(self, chance: random.Random, *, any_cell: bool) -> Aim | None:
        """What to ask for next; None where as much is asked for as is likely to be needed.

        Args:
            chance: breaks ties.
            any_cell: do not name a cell.
        """
        open_cells = [c for c in self.cells if self._is_open(c)]
        if not open_cells:
            return None
        if any_cell:
            name = None
            self._asked[None] += 1
        else:
            # The one that is furthest behind, requests on their way counted as rows.
            def share(cell: Cell) -> float:
                return (self.kept[cell.name] + self._asked[cell.name]) / cell.rows

            least = min(map(share, open_cells))
            name = chance.choice([c.name for c in open_cells if share(c) == least])
            self._asked[name] += 1
        levels = {axis: self._level(name, axis, chance) for axis in self.axes}
        return Aim(name, levels)

    def _is_open(self, cell: Cell) -> bool:
        """Whether what was asked for is likely to leave rows lacking, by the yield so far."""
        # One row of one request is taken for granted, so that nothing is asked for twice at first.
        brings = (self.kept[cell.name] + 1) / (self._came[cell.name] + 1)
        on_their_way = self._asked[cell.name] + self._asked[None] / len(self.cells)
        return self.lacking(cell) > on_their_way * brings

    def lacking(self, cell: Cell) -> int:
        """Rows that a cell still needs."""
        return 0 if cell.name in self.stuck else cell.rows - self.kept[cell.name]

    def came(self, aim: Aim, cell: str | None) -> None:
        """A request was answered.

        Args:
            aim: what it was to bring.
            cell: what was kept; None: nothing.
        """
        self._asked[aim.cell] -= 1
        for name in [aim.cell] if aim.cell is not None else [c.name for c in self.cells]:
            self._came[name] += 1
        if cell is not None:
            self.kept[cell] += 1
            self._vain[cell] = 0
            return
        for axis, level in aim.levels.items():
            self._levels[aim.cell, axis, level] -= 1
        charged = [aim.cell] if aim.cell else [c.name for c in self.cells if self.lacking(c) > 0]
        for name in charged:
            self._vain[name] += 1
            if self._vain[name] >= self.patience and name not in self.stuck:
                self.stuck[name] = self._vain[name]

    @property
    def is_done(self) -> bool:
        """Whether every cell is full or given up."""
        return all(self.lacking(cell) <= 0 for cell in self.cells)

    @property
    def balance(self) -> str:
        """How full the cells are, in a line: those that lack most, where there are many."""
        shown: Sequence[Cell] = self.cells
        if len(shown) > _SHOWN_CELLS:
            shown = sorted(shown, key=self.lacking, reverse=True)[:_SHOWN_CELLS]
        said = " ".join(
            f"{c.name}:{self.kept[c.name]}/{c.rows}{' given up' * (c.name in self.stuck)}"
            for c in shown
        )
        more = len(self.cells) - len(shown)
        return said + (f" and {more} more" if more else "")

    @property
    def wanted(self) -> int:
        """Rows that there will be: what is asked for, less what was given up."""
        return sum(self.kept[c.name] + max(0, self.lacking(c)) for c in self.cells)

    def cell(self, name: str) -> Cell:
        """The cell of a name."""
        return next(c for c in self.cells if c.name == name)

    def _level(self, cell: str | None, axis: str, chance: random.Random) -> str:
        levels = self.axes[axis]
        fewest = min(self._levels[cell, axis, level] for level in levels)
        level = chance.choice([v for v in levels if self._levels[cell, axis, v] == fewest])
        self._levels[cell, axis, level] += 1
        return level


@dataclass
class Yield:
    """The share of requests that brought a row, lately."""

    window: int
    least: float
    _lately: deque[bool] = field(default_factory=deque)

    def came(self, kept: bool) -> None:
        """A request was answered."""
        self._lately.append(kept)
        if len(self._lately) > self.window:
            self._lately.popleft()

    @property
    def has_collapsed(self) -> bool:
        """Whether of a whole window too few brought a row."""
        return len(self._lately) >= self.window and self.rate < self.least

    @property
    def rate(self) -> float:
        """Rows per request over the window."""
        return sum(self._lately) / max(1, len(self._lately))


def cells_of(
    rows: int | Mapping[str, int],
    labels: Sequence[str],
    categories: Sequence[Mapping[str, str | int]],
) -> list[Cell]:
    """The cells of a task.

    Args:
        rows: how many in all, shared out evenly, or for each label (or category).
        labels: the closed label set; empty for free text.
        categories: kinds of rows: {name, label, about, rows}; empty: labels are counted.

    Raises:
        DataError: a label or category that is not there, or counts that do not go together.
    """
    kinds = [_category(number, given, labels) for number, given in enumerate(categories, 1)]
    names = [kind.name for kind in kinds] or list(labels) or ["rows"]
    if len(set(names)) < len(names):
        raise DataError("generator 'task': categories: two have the same name.")
    missing = [label for label in labels if kinds and label not in {k.label for k in kinds}]
    if missing:
        raise DataError(
            f"generator 'task': categories: none is of the label '{missing[0]}'. Add one: "
            f"{{name: ..., label: {missing[0]}}}."
        )
    if not kinds:
        kinds = [Cell(name, name if labels else "", 0) for name in names]
    if isinstance(rows, Mapping):
        for name in rows:
            if name not in names:
                kind = "category" if categories else "label"
                raise DataError(f"generator 'task': rows: {unknown(kind, name, names)}")
        counts = {name: int(rows.get(name, 0)) for name in names}
    elif any(kind.rows for kind in kinds):
        counts = {kind.name: kind.rows for kind in kinds}
    else:
        each, over = divmod(rows, len(names))
        counts = {name: each + (place < over) for place, name in enumerate(names)}
    found = [Cell(k.name, k.label, counts[k.name], k.about) for k in kinds if counts[k.name] > 0]
    if not found:
        raise DataError("generator 'task': rows: no rows are asked for.")
    return found


def _category(number: int, given: Mapping[str, str | int], labels: Sequence[str]) -> Cell:
    where = f"generator 'task': categories.{number}"
    known = {"name", "label", "about", "rows"}
    if not isinstance(given, Mapping) or "name" not in given:
        raise DataError(f"{where}: expected {{name: ..., label: ..., about: ..., rows: ...}}.")
    for key in given:
        if key not in known:
            raise DataError(f"{where}: {unknown('key', str(key), known)}")
    label = str(given.get("label", ""))
    if labels and label not in labels:
        raise DataError(f"{where}: {unknown('label', label, labels)}")
    rows = given.get("rows", 0)
    if isinstance(rows, bool) or not isinstance(rows, int) or rows < 0:
        raise DataError(f"{where}: rows is {rows!r}, expected a whole number.")
    return Cell(str(given["name"]), label, rows, str(given.get("about", "")))
