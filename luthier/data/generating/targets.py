"""How many rows of each kind there are to be, and which kind is to be written next.

A *cell* is what is counted: a label, or a category of rows of one label. An *axis* is a way in
which rows are to differ (style, length, topic, register); its levels are spread evenly over the
rows of each cell, each axis for itself, as in Latin hypercube sampling (M. McKay, R. Beckman, W.
Conover, 1979): what is next goes to the level that has the fewest rows, those asked for counted.
"""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from luthier.data.generating.options import problems, require_none
from luthier.errors import DataError, unknown

ROWS = 100
"""Ours: where nothing is said of how many."""
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
    rows: int | Mapping[str, int] | None,
    labels: Sequence[str],
    categories: Sequence[Mapping[str, str | int]],
) -> list[Cell]:
    """The cells of a task.

    Args:
        rows: how many in all, or for each label (or category); None: what the categories say, and
            ROWS in all where none says anything. What categories with `rows` of their own leave is
            shared out evenly among the others.
        labels: the closed label set; empty for free text.
        categories: kinds of rows: {name, label, about, rows}; empty: labels are counted.

    Raises:
        DataError: labels or categories that are not there, or counts that do not go together.
    """
    wrong = [said for n, one in enumerate(categories, 1) for said in _of_category(n, one, labels)]
    require_none("task", wrong)
    kinds = [Cell(str(k["name"]), str(k.get("label", "")), 0, str(k.get("about", "")))
             for k in categories]  # fmt: skip
    given = {str(k["name"]): int(k["rows"]) for k in categories if k.get("rows") is not None}
    names = [kind.name for kind in kinds] or list(labels) or ["rows"]
    if len(set(names)) < len(names):
        wrong.append("categories: two have the same name.")
    for label in labels:
        if kinds and label not in {kind.label for kind in kinds}:
            wrong.append(
                f"categories: none is of the label '{label}'. Add one: {{name: ..., label: "
                f"{label}}}."
            )
    require_none("task", wrong)
    kinds = kinds or [Cell(name, name if labels else "", 0) for name in names]
    what = "category" if categories else "label"
    counts = _counts(rows, names, given, what)
    found = [Cell(k.name, k.label, counts[k.name], k.about) for k in kinds if counts[k.name] > 0]
    if not found:
        raise DataError("generator 'task': rows: no rows are asked for.")
    return found


def _counts(
    rows: int | Mapping[str, int] | None, names: Sequence[str], given: Mapping[str, int], what: str
) -> dict[str, int]:
    """Rows of every cell; nobody is left without by an omission."""
    counts, wrong = dict(given), []
    rest = [name for name in names if name not in given]
    if isinstance(rows, Mapping):
        for name, count in rows.items():
            if str(name) not in names:
                wrong.append(f"rows: {unknown(what, str(name), names)}")
            elif counts.setdefault(str(name), count) != count:
                wrong.append(f"rows.{name} is {count}, and its category says {counts[str(name)]}.")
        for name in names:
            if name not in counts:
                wrong.append(
                    f"rows: nothing is said of the {what} '{name}'; say {name}: 0 if it is to have "
                    "none."
                )
    elif rows is None and given and rest:
        wrong.append(
            f"categories: {_listed(rest)} without rows, and others with. Give each its rows, or "
            "say by rows: how many there are to be in all."
        )
    else:
        own = sum(given.values())
        total = rows if rows is not None else (own if given else ROWS)
        left = max(0, total - own)
        if left < len(rest):
            others = f", of which other categories have {own}" if given else ""
            wrong.append(f"rows is {total}{others}: none is left for {_listed(rest[left:])}.")
        elif not rest and total != own:
            wrong.append(f"rows is {total}, and the categories say {own}; leave out one of them.")
        for place, name in enumerate(rest):
            each, over = divmod(left, len(rest))
            counts[name] = each + (place < over)
    require_none("task", wrong)
    return counts


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)


def _of_category(
    number: int, given: Mapping[str, str | int], labels: Sequence[str]
) -> Iterator[str]:
    """What is wrong with a category of a recipe."""
    where = f"categories.{number}"
    known = {"name", "label", "about", "rows"}
    if not isinstance(given, Mapping) or "name" not in given:
        yield f"{where}: expected {{name: ..., label: ..., about: ..., rows: ...}}."
        return
    yield from (f"{where}: {unknown('key', str(k), known)}" for k in given if k not in known)
    label = str(given.get("label", ""))
    if labels and label not in labels:
        yield f"{where}: {unknown('label', label, labels)}"
    rows = {"rows": given.get("rows")}
    yield from problems(
        rows, counts={"rows": 0}, numbers={}, optional=("rows",), prefix=f"{where}: "
    )
