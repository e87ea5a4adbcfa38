"""Takes sources in: one row after another is read, rendered, judged, and kept or rejected."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

from luthier.chat import Renderer
from luthier.console import progress, say
from luthier.data.candidate import Candidate, Filter
from luthier.data.config import FilterConfig, SourceConfig
from luthier.data.files import sources
from luthier.data.judging.models import Models
from luthier.data.opening import Opened, open_rows
from luthier.data.rejects import RejectLog
from luthier.data.rows import Reject, Row, Table
from luthier.data.shape import Shape
from luthier.data.terms import names_a_model, own_terms, refusal
from luthier.errors import DataError
from luthier.example import Terms
from luthier.recipe import Recipe
from luthier.registry import Registry
from luthier.run import RUNS

FILTERS = Registry("filter", "luthier.data.filters")
BLOCK = 256
"""Rows that are prepared together."""
_BIG = 2_000_000
"""Bytes or rows of a source from which reading it shows progress."""
_MODEL_COLUMNS = ("generator", "model", "model_name")
"""Columns in which sets say which model wrote a row."""

Keep = Callable[[Candidate, SourceConfig], None]


@dataclass
class Intake:
    """Takes in sources one after another and hands on the rows that pass.

    A context manager: at its end nothing can be read any more. It lets go of what the filters
    remember, and of the models that they ask.
    """

    recipe: Recipe
    shape: Shape
    renderer: Renderer
    root: Path
    """Folder of the recipe, where relative paths start from."""
    keep: Keep
    """Is given every row that every filter let pass."""
    rejects: RejectLog
    calls: Path | None = None
    """Where answers of models that filters ask are kept; None: no filter asks."""
    runs: Path = RUNS
    """Where trained runs are found, which may be among those models."""
    across_rows: bool = True
    """Off, filters that compare rows with earlier ones are left out."""
    read_counts: dict[str, int] = field(default_factory=dict)
    """Per source."""
    blank_lines: dict[str, int] = field(default_factory=dict)
    """Per source that has some."""
    formats: dict[str, str] = field(default_factory=dict)
    """Per source the importer it was read with."""
    _filters: dict[str, list[Filter]] = field(default_factory=dict)
    """Per split that sources name."""

    def __post_init__(self) -> None:
        self._models = Models(self.runs)

    def __enter__(self) -> Intake:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._filters.clear()
        self._models.__exit__(kind, value, trace)

    def read(self, source: SourceConfig) -> None:
        """Read a source to its end or limit."""
        opened = open_rows(source, self.root, self.shape)
        table = opened.table
        with progress(f"Reading {table.name}", table.total, _unit(table),
                      shown=table.total >= _BIG) as advance:  # fmt: skip
            place = 0
            for count, _ in enumerate(self.taking(opened), 1):
                if count % 500 == 0:
                    advance(table.place[0] - place)
                    place = table.place[0]
            advance(table.total - place)

    def taking(self, opened: Opened) -> Iterator[bool]:
        """Take in the rows of a source one by one; yields whether each was kept.

        Raises:
            DataError: there are no rows in it, or no row has a field that a template needs.
        """
        source, table = opened.source, opened.table
        filters = self._filters_for(source.split)
        self.formats[table.name] = opened.format
        self.read_counts.setdefault(table.name, 0)
        count = 0
        for block in _blocks(islice(opened.rows, source.limit)):
            found = [self._shaped(row, opened) for row in block]
            for note in self.shape.new_notes():
                say(note, style="yellow")
            candidates = [one for one in found if isinstance(one, Candidate)]
            self.renderer.prepare([one.example for one in candidates])
            for place, judge in enumerate(filters):
                if prepare := getattr(judge, "prepare", None):
                    if _asks(judge):
                        # Answers cost. A duplicate of another row of the block is asked for too:
                        # that one may yet be rejected.
                        before = filters[:place]
                        prepare([one for one in candidates if not self._reason(one, before)])
                    else:
                        prepare(candidates)
            for one in found:
                count += 1
                self.read_counts[table.name] += 1
                yield self._take(one, opened, filters)
        if count == 0:
            columns = f" (columns: {', '.join(table.columns)})" if table.columns else ""
            raise DataError(f"{table.name}: there are no rows in it{columns}.")
        self.shape.require_fields_seen(source, table.name)
        if table.blank_lines:
            self.blank_lines[table.name] = self.blank_lines.get(table.name, 0) + table.blank_lines

    def _shaped(self, row: Row | Reject, opened: Opened) -> Candidate | Reject:
        if isinstance(row, Reject):
            return row
        said = row.terms or _written_by(row)
        terms = own_terms(said, opened.terms, opened.source) if said else opened.terms
        if reason := refusal(terms, self.recipe.data.use):
            return Reject(row.origin, reason, row.fields)
        candidate = self.shape.apply(row, opened.source, self.renderer.render)
        if isinstance(candidate, Candidate):
            parents = _parents(row)
            if parents or candidate.example.terms != terms:
                candidate.example = candidate.example.but(terms=terms, parents=parents)
        return candidate

    def _take(self, row: Candidate | Reject, opened: Opened, filters: Sequence[Filter]) -> bool:
        if self.shape.reviewed is not None:
            self.shape.reviewed.meet(row.example.id if row.example is not None else None)
        found = row if isinstance(row, Reject) else self._judged(row, filters)
        if isinstance(found, Reject):
            self.rejects.add(found)
            return False
        for judge in filters:
            if remember := getattr(judge, "remember", None):
                remember(found)
        split = None if opened.source.split == "auto" else opened.source.split
        if found.example.text is not None and self.recipe.task.kind != "text":
            split = "train"  # plain text among questions is for learning; it has no answer to judge
        if found.example.split != split:
            found.example = found.example.but(split=split)
        self.keep(found, opened.source)
        return True

    def _judged(self, candidate: Candidate, filters: Sequence[Filter]) -> Candidate | Reject:
        origin, decision = candidate.example.origin, candidate.decision
        if reason := self._reason(candidate, filters):
            if decision and decision.rescues and self.shape.reviewed:
                self.shape.reviewed.left_out_again += 1
            return Reject(origin, reason, dict(candidate.example.fields), candidate.example)
        return candidate

    def _reason(self, candidate: Candidate, filters: Sequence[Filter]) -> str | None:
        """Why a row is rejected by filters, or cannot be trained on."""
        origin, decision = candidate.example.origin, candidate.decision
        try:
            reasons = filter(None, (judge(candidate) for judge in filters))
            reason = next((r for r in reasons if not (decision and decision.waives(r))), None)
            return reason or self._unusable(candidate)
        except DataError as error:
            said = str(error).removeprefix(f"{origin}: ")
            return f"cannot be rendered: {said}"

    def _unusable(self, candidate: Candidate) -> str | None:
        rendered, limit = candidate.rendered, self.recipe.train.max_seq_length
        if len(rendered.input_ids) > limit:
            tokens = len(rendered.input_ids)
            return f"too long: {tokens} tokens, the limit is {limit} (train.max_seq_length)"
        if not any(rendered.trained):
            return "nothing to learn: no token of the row is trained (train.train_on)"
        return None

    def _filters_for(self, split: str) -> list[Filter]:
        """Filters of the sources that go to the same split.

        Sets that their sources keep apart have filters of their own: a row of the test file is no
        duplicate because a training file read before has it too. `share_out` sees to those.
        """
        key = "train" if split == "auto" else split
        if key not in self._filters:
            wanted = [f for f in self.recipe.data.filters if self.calls or not _asks_for(f)]
            built = [FILTERS.build(f.use, **self._options(f)) for f in wanted]
            asking = [place for place, judge in enumerate(built) if _asks(judge)]
            for place in asking:
                built[place].models = self._models
            if asking:  # nobody is asked about a row that cannot be trained on
                built.insert(asking[0], self._unusable)
            if self.recipe.labels:
                built = [FILTERS.build("labels"), *built]
            if not self.across_rows:
                built = [f for f in built if not hasattr(f, "remember")]
            self._filters[key] = built
        return self._filters[key]

    def _options(self, config: FilterConfig) -> dict[str, Any]:
        options = options_of(config, self.root)
        if _asks_for(config):
            options.setdefault("llm", self.recipe.data.llm.model_dump())
            options.setdefault("log", str(self.calls))
        return options


def _asks_for(config: FilterConfig) -> bool:
    return getattr(FILTERS.load(config.use), "ASKS", False)


def _asks(judge: Filter) -> bool:
    return hasattr(judge, "models")


def options_of(config: FilterConfig, root: Path) -> dict[str, Any]:
    """A filter's options; files among them, named in its `FILES`, from the recipe's folder.

    Args:
        config: the filter as the recipe has it.
        root: folder of the recipe.
    """
    return resolved(FILTERS.load(config.use), config.options, root)


def resolved(module: ModuleType, options: Mapping[str, Any], root: Path) -> dict[str, Any]:
    """A plugin's options; files among them, named in its `FILES`, from a folder.

    Args:
        module: the plugin.
        options: as the recipe has them.
        root: folder of the recipe.
    """
    found = dict(options)
    for name in getattr(module, "FILES", ()):
        given = found.get(name)
        if isinstance(given, str):
            found[name] = _file(given, root)
        elif isinstance(given, list):
            found[name] = [_file(str(one), root) for one in given]
    return found


def _file(given: str, root: Path) -> str:
    return str(sources.source_file(SourceConfig(path=given), root))


def files_of(module: ModuleType, options: Mapping[str, Any], root: Path) -> list[Path]:
    """The files that a plugin reads.

    Args:
        module: the plugin.
        options: as the recipe has them.
        root: folder of the recipe.
    """
    named = resolved(module, options, root)
    found: list[Path] = []
    for name in getattr(module, "FILES", ()):
        given = named.get(name)
        # What is neither is a mistake, which the plugin itself explains.
        if isinstance(given, (str, list)) and given:
            found += [Path(p) for p in ([given] if isinstance(given, str) else given)]
    return found


def _written_by(row: Row) -> Terms | None:
    """What a row that a model wrote says of that model.

    Rows that luthier let a model write (`writing.py`) have its name as it calls itself. Other sets
    have it in a column too (ShareGPT's kin, UltraFeedback), where it may also be a model of a car.
    """
    ours = {"method", "calls"} <= row.fields.keys()
    for column in _MODEL_COLUMNS:
        name = row.fields.get(column)
        if not isinstance(name, str) or not name.strip():
            continue
        if names_a_model(name) or (ours and column == "generator"):
            return Terms(generator=name)
    return None


def _parents(row: Row) -> tuple[str, ...]:
    """Ids of the rows that a row was made from, where a model wrote it (`writing.py`)."""
    found = row.fields.get("parents") if "method" in row.fields else None
    if not isinstance(found, list):
        return ()
    return tuple(one for one in found if isinstance(one, str))


def _blocks(rows: Iterator[Row | Reject]) -> Iterator[list[Row | Reject]]:
    """Rows in blocks; the first is one row, so that a source that is wrong as a whole says so."""
    size = 1
    while block := list(islice(rows, size)):
        yield block
        size = BLOCK


def _unit(table: Table) -> str:
    return "rows" if table.name.endswith(".parquet") else "bytes"
