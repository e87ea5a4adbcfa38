"""The job of the data stage: sources -> rows -> templates -> filters -> splits.

Rows stream through: one is read, rendered, judged by every filter, and kept or rejected with a
reason. Whatever is left out stands in `data/rejects.jsonl`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

from luthier.artifacts import DataStats, save_examples
from luthier.as_written import json_text
from luthier.atomic import atomic_write
from luthier.chat import Renderer
from luthier.console import blank_lines_skipped, progress, say
from luthier.data import sources
from luthier.data.candidate import Candidate, Filter
from luthier.data.config import SourceConfig
from luthier.data.rows import MissingColumn, Reject, Row, Table
from luthier.data.shape import Shape, shape_of
from luthier.data.split import share_out
from luthier.data.stats import samples, split_stats
from luthier.data.template import BuiltTemplates, load_template, template_file
from luthier.errors import DataError
from luthier.example import Example, content_id
from luthier.made_with import MadeWith, base_of
from luthier.recipe import Recipe
from luthier.registry import Registry
from luthier.run import RUNS, Run

FILTERS = Registry("filter", "luthier.data.filters")
FORMATS = Registry("format", "luthier.data.formats")
REJECTS = "data/rejects.jsonl"
_BIG = 2_000_000
"""Bytes or rows of a source from which reading it shows progress."""
_MANY = 20_000
"""Rows from which comparing them shows progress."""


def build(run: Run, *, runs: Path = RUNS) -> DataStats:
    """Make the dataset of a run.

    Args:
        run: reads its recipe, writes its `data` folder.
        runs: where other runs are found (`model: run:NAME`).

    Raises:
        DataError: a source that cannot be read, a placeholder without a field, no rows left, a
            label without training rows.
        LuthierError: an unknown format, filter or option.
    """
    from luthier.model import open_tokenizer

    recipe = run.recipe
    templates = [load_template(name, run.data_root) for name in _template_names(recipe)]
    shape = shape_of(recipe, templates)
    renderer = Renderer(open_tokenizer(recipe.model, runs), recipe.train.train_on)
    intake = Intake(recipe, shape, renderer)
    rejects = intake.rejects
    try:
        for source in recipe.data.sources:
            intake.read(source, run.data_root)
        _require_rows(intake.kept, rejects, run.path / REJECTS)
        total = len(intake.kept)
        with progress("Comparing rows", total, shown=total >= _MANY) as advance:
            shared = share_out(
                [row.example for row in intake.kept],
                [row.question for row in intake.kept],
                config=recipe.split,
                seed=recipe.seed,
                advance=advance,
            )
        rejects += shared.rejects
    finally:
        _write_rejects(run.path / REJECTS, rejects)
    examples = shared.examples
    _require_training_rows(examples, rejects, recipe.labels)
    stats = DataStats(
        rows_read=intake.read_counts,
        rows_rejected=dict(Counter(r.what for r in rejects).most_common()),
        rejects_file=REJECTS,
        blank_lines=intake.blank_lines,
        splits=split_stats(examples, intake.lengths),
        templates=dict(Counter(e.template for e in examples if e.template is not None)),
        samples=samples(examples, renderer),
    )
    for split in stats.splits:
        rows = [e for e in examples if e.split == split]
        save_examples(run.path / "data" / f"{split}.parquet", rows)
    BuiltTemplates(templates=templates).save(run)
    stats.save(run)
    return stats


def input_files(run: Run) -> list[Path]:
    """The files a build reads: sources and templates; what its freshness depends on.

    Raises:
        DataError: one of them is not there.
    """
    recipe, root = run.recipe, run.data_root
    found = []
    for source in recipe.data.sources:
        path = sources.source_file(source, root)
        if path is not None:
            sources.require_file(path, str(source.path))
            found.append(path)
    found += [template_file(name, root) for name in _template_names(recipe)]
    return list(dict.fromkeys(found))


def _template_names(recipe: Recipe) -> list[str]:
    """Templates the task makes use of."""
    templated = recipe.task.kind in ("classification", "generation")
    return recipe.data.templates if templated else []


def read_rows_like(
    run: Run,
    path: Path,
    *,
    input_column: str | None = None,
    output_column: str | None = None,
    runs: Path = RUNS,
) -> tuple[list[Example], dict[str, int]]:
    """Read another labelled file the way the run's recipe reads its first source.

    The templates are those the run was built with. Nothing is compared across rows: duplicates
    stay, since the file is somebody's test set.

    Args:
        run: a run that was trained, or is built; the recipe of its weights says task and model.
        path: the file, relative to the working directory.
        input_column: its input column; None: the recipe's.
        output_column: its output or label column; None: the recipe's.
        runs: where other runs are found.

    Returns:
        Rows with `split` test, and the number of rejected rows per reason.

    Raises:
        DataError: the file cannot be read, or has no such columns.
    """
    from luthier.model import open_tokenizer

    made = MadeWith.of(run)
    recipe = made.recipe
    source = source_like(run, path, input_column=input_column, output_column=output_column)
    renderer = Renderer(open_tokenizer(base_of(run, runs), runs), recipe.train.train_on)
    shape = shape_of(recipe, BuiltTemplates.of(made).templates)
    intake = Intake(recipe, shape, renderer, across_rows=False)
    try:
        intake.read(source, Path.cwd())
    except MissingColumn as error:
        fix = _other_column(recipe.task.kind, error.column, source)
        raise MissingColumn(error.name, error.column, error.columns, fix) from None
    for name, count in intake.blank_lines.items():
        say(blank_lines_skipped(name, count), style="yellow")
    _require_rows(intake.kept, intake.rejects, None)
    counts = Counter(r.what for r in intake.rejects)
    return [row.example for row in intake.kept], dict(counts.most_common())


def source_like(
    run: Run, path: Path, *, input_column: str | None = None, output_column: str | None = None
) -> SourceConfig:
    """The run's first source with another file in its place; arguments as in `read_rows_like`.

    Raises:
        DataError: columns were named that the task does not read, or one for both.
    """
    recipe = MadeWith.of(run).recipe
    kind, first = recipe.task.kind, recipe.data.sources[0]
    if (input_column or output_column) and not _has_two_columns(kind):
        raise DataError(
            f"--input and --output: a {kind} task reads one column, "
            f"'{first.messages if kind == 'chat' else first.text}'; name it so in the file."
        )
    changes = {"path": str(path), "hub": None, "split": "test", "limit": None,
               "input": input_column or first.input,
               "output": output_column or first.output}  # fmt: skip
    if changes["input"] == changes["output"]:
        raise DataError(
            f"{path}: input and output are both the column '{changes['input']}'; name another with "
            "--input or --output."
        )
    return SourceConfig.model_validate(first.model_dump() | changes)


def _has_two_columns(kind: str) -> bool:
    return kind in ("classification", "generation")


def _other_column(kind: str, column: str, source: SourceConfig) -> str:
    """How to name another column than the missing one on the command line."""
    if not _has_two_columns(kind):
        return "Rename the right one in the file; a file needs a header line."
    option = "--output" if column == source.output else "--input"
    return f"Name the right one with {option}; a file needs a header line."


# --- reading -----------------------------------------------------------------------------------


@dataclass
class Intake:
    """Takes in sources one after another and keeps the rows that pass."""

    recipe: Recipe
    shape: Shape
    renderer: Renderer
    across_rows: bool = True
    """Off, filters that compare rows with earlier ones are left out."""
    kept: list[Candidate] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    read_counts: dict[str, int] = field(default_factory=dict)
    blank_lines: dict[str, int] = field(default_factory=dict)
    """Per source that has some."""
    lengths: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Per row id: tokens, and trained tokens."""
    _filters: dict[str, list[Filter]] = field(default_factory=dict)
    """Per split that sources name."""

    def read(self, source: SourceConfig, root: Path) -> None:
        """Read a source to its end or limit."""
        filters = self._filters_for(source.split)
        wanted = self.shape.columns(source)
        table = sources.open_source(source, root, wanted=wanted)
        name = source.format or self.shape.format
        if name != self.shape.format and name in ("columns", "messages", "text"):
            raise DataError(
                f"{table.name}: task.kind: {self.recipe.task.kind} needs format: "
                f"{self.shape.format}, not {name}."
            )
        rows: Iterator[Row | Reject] = FORMATS.load(name).rows(table, source)
        count = 0
        with progress(f"Reading {table.name}", table.total, _unit(table),
                      shown=table.total >= _BIG) as advance:  # fmt: skip
            place = 0
            for count, row in enumerate(islice(rows, source.limit), 1):
                self._take(row, source, filters)
                if count % 500 == 0:
                    advance(table.place[0] - place)
                    place = table.place[0]
            advance(table.total - place)
        if count == 0:
            columns = f" (columns: {', '.join(table.columns)})" if table.columns else ""
            raise DataError(f"{table.name}: there are no rows in it{columns}.")
        self.shape.require_fields_seen(table.name)
        self.read_counts[table.name] = self.read_counts.get(table.name, 0) + count
        if table.blank_lines:
            self.blank_lines[table.name] = self.blank_lines.get(table.name, 0) + table.blank_lines

    def _take(self, row: Row | Reject, source: SourceConfig, filters: Sequence[Filter]) -> None:
        candidate = row if isinstance(row, Reject) else self.shape.apply(row, self.renderer.render)
        if isinstance(candidate, Reject):
            self.rejects.append(candidate)
            return
        example = candidate.example
        try:
            reason = next(filter(None, (judge(candidate) for judge in filters)), None)
            reason = reason or self._unusable(candidate)
        except DataError as error:
            said = str(error).removeprefix(f"{example.origin}: ")
            reason = f"cannot be rendered: {said}"
        if reason:
            self.rejects.append(Reject(example.origin, reason, dict(example.fields)))
            return
        for judge in filters:
            if remember := getattr(judge, "remember", None):
                remember(candidate)
        self._keep(candidate, source)

    def _unusable(self, candidate: Candidate) -> str | None:
        rendered, limit = candidate.rendered, self.recipe.train.max_seq_length
        if len(rendered.input_ids) > limit:
            tokens = len(rendered.input_ids)
            return f"too long: {tokens} tokens, the limit is {limit} (train.max_seq_length)"
        if not any(rendered.trained):
            return "nothing to learn: no token of the row is trained (train.train_on)"
        return None

    def _keep(self, candidate: Candidate, source: SourceConfig) -> None:
        example = candidate.example
        again = 1
        while example.id in self.lengths:
            again += 1
            example = example.but(id=content_id([candidate.example.id, again]))
        split = None if source.split == "auto" else source.split
        rendered = candidate.rendered
        self.lengths[example.id] = (len(rendered.input_ids), sum(rendered.trained))
        del candidate.rendered  # the ids have done their work; only the row stays in memory
        self.kept.append(replace(candidate, example=example.but(split=split)))

    def _filters_for(self, split: str) -> list[Filter]:
        """Filters of the sources that go to the same split.

        Sets that their sources keep apart have filters of their own: a row of the test file is no
        duplicate because a training file read before has it too. `share_out` sees to those.
        """
        key = "train" if split == "auto" else split
        if key not in self._filters:
            built = [FILTERS.build(f.use, **f.options) for f in self.recipe.data.filters]
            if self.recipe.labels:
                built = [FILTERS.build("labels"), *built]
            if not self.across_rows:
                built = [f for f in built if not hasattr(f, "remember")]
            self._filters[key] = built
        return self._filters[key]


def _unit(table: Table) -> str:
    return "rows" if table.name.endswith(".parquet") else "bytes"


# --- what must be there ------------------------------------------------------------------------


def _require_rows(kept: Sequence[Candidate], rejects: Sequence[Reject], file: Path | None) -> None:
    if kept:
        return
    where = f"\nEvery row and its reason: {file}" if file else ""
    raise DataError(
        f"all {len(rejects)} rows were rejected, none is left:\n{_reasons(rejects)}{where}"
    )


def _require_training_rows(
    examples: Sequence[Example], rejects: Sequence[Reject], labels: Sequence[str]
) -> None:
    counts = Counter(e.label for e in examples if e.split == "train")
    if not counts:
        shares = Counter(str(e.split) for e in examples)
        where = ", ".join(f"{split} {n}" for split, n in shares.items()) or "none"
        why = f" Rejected:\n{_reasons(rejects)}" if rejects else ""
        raise DataError(f"no rows are left to train on (rows per split: {where}).{why}")
    without = [label for label in labels if not counts[label]]
    if without:
        every = Counter(e.label for e in examples)
        found = ", ".join(f"'{label}' {every[label]}" for label in labels)
        why = f" Rejected rows:\n{_reasons(rejects)}" if rejects else ""
        named = ", ".join(f"'{label}'" for label in without)
        raise DataError(
            f"no training rows for the label {named} (rows per label in all splits: {found}). "
            f"Add rows, or take it out of task.labels.{why}"
        )


def _reasons(rejects: Sequence[Reject]) -> str:
    first: Mapping[str, Reject] = {r.what: r for r in reversed(rejects)}
    counts = Counter(r.what for r in rejects)
    return "\n".join(
        f"  {n} x {what}, e.g. {first[what].origin}: {first[what].reason}"
        for what, n in counts.most_common()
    )


def _write_rejects(path: Path, rejects: Sequence[Reject]) -> None:
    with atomic_write(path) as file:
        for reject in rejects:
            entry = {
                "origin": str(reject.origin), "reason": reject.reason, "fields": reject.fields
            }  # fmt: skip
            # Damaged text holds lone surrogates; `\udc80` is how JSON spells them.
            file.write((json_text(entry) + "\n").encode("utf-8", "backslashreplace"))
