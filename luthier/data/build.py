"""The job of the data stage: sources -> rows -> templates -> filters -> splits -> mixture.

Rows stream through: one is read, rendered, judged by every filter, and kept (on disk) or rejected
with a reason. When all are in, splits and mixture are decided from what is known of each row, and
the rows are read back and written to their splits. Whatever is left out stands in
`data/rejects.jsonl`.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from luthier import out_of_memory
from luthier.artifacts import DataStats, ExampleWriter, TermsPart
from luthier.chat import Renderer
from luthier.console import blank_lines_skipped, progress, say
from luthier.data.blend import Given, chosen_rows, names_of, show_mixture, take_in
from luthier.data.candidate import Candidate
from luthier.data.config import SourceConfig
from luthier.data.decisions import FILE as DECISIONS
from luthier.data.decisions import RUN, Reviewed, decisions_file, read_decisions
from luthier.data.files import sources
from luthier.data.generating.write import CALLS, GENERATORS, written_sources
from luthier.data.intake import FILTERS, Intake, Keep, files_of
from luthier.data.kept import Kept
from luthier.data.rejects import RejectLog
from luthier.data.remarks import tell_what_is_odd
from luthier.data.rows import MissingColumn, Reject
from luthier.data.shape import shape_of, template_sets
from luthier.data.split import Shared, share_out
from luthier.data.stats import Samples, SplitCounts
from luthier.data.templating.few_shot import ShotPool
from luthier.data.templating.template import BuiltTemplates, as_text, template_file
from luthier.errors import DataError
from luthier.example import SPLITS, Example, Terms, content_id
from luthier.made_with import MadeWith, base_of
from luthier.recipe import Recipe
from luthier.run import RUNS, Run

REJECTS = "data/rejects.jsonl"
_SPILLED = "data"
_MANY = 20_000
"""Rows from which comparing and writing them shows progress, and memory is given back."""
_FEW = 5
"""Decisions without a row that are named."""


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

    recipe = _with_sources(run.recipe, written_sources(run, runs=runs))
    sets = template_sets(recipe, run.data_root)
    reviewed = _reviewed(run)
    shape = shape_of(recipe, sets, reviewed)
    renderer = Renderer(open_tokenizer(recipe.model, runs), recipe.train.train_on)
    with RejectLog(run.path / REJECTS) as rejects, Kept(run.path / _SPILLED) as kept:
        keep = _keeper(kept, recipe)
        calls = run.path / CALLS
        root = run.data_root
        with Intake(recipe, shape, renderer, root, keep, rejects, calls, runs) as intake:
            take_in(intake, recipe)
        _require_rows(len(kept), rejects, run.path / REJECTS)
        _require_families(kept, recipe)
        _give_back(kept)
        with progress("Comparing rows", len(kept), shown=len(kept) >= _MANY) as advance:
            shared = share_out(
                kept, kept.questions(), config=recipe.split, seed=recipe.seed, advance=advance
            )
        _give_back(kept)
        times, available = chosen_rows(kept, shared, recipe)
        _require_training_rows(kept, shared, times, rejects, recipe.labels)
        given = Given(available)
        stats = _write_splits(run, kept, shared, times, given, renderer, rejects)
    stats.rows_read, stats.blank_lines = intake.read_counts, intake.blank_lines
    stats.formats, stats.mixture = intake.formats, given.parts()
    if reviewed is not None:
        stats.review = reviewed.counts()
        _tell_unmatched(reviewed)
    BuiltTemplates(templates=shape.templates).save(run)
    stats.save(run)
    tell_what_is_odd(stats, recipe.data)
    show_mixture(stats.mixture)
    return stats


def _with_sources(recipe: Recipe, found: Sequence[SourceConfig]) -> Recipe:
    data = recipe.data.model_copy(update={"sources": list(found)})
    return recipe.model_copy(update={"data": data})


def input_files(run: Run) -> list[Path]:
    """The files a build reads and its freshness depends on: sources, templates, those of plugins.

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
    if recipe.task.kind != "text":
        found += [template_file(name, root) for name in recipe.data.templates]
    plugins = [(FILTERS.load(f.use), f.options) for f in recipe.data.filters]
    plugins += [
        (GENERATORS.load(s.generate.use), s.generate.options)
        for s in recipe.data.sources
        if s.generate
    ]
    for module, options in plugins:
        for path in files_of(module, options, root):
            sources.require_file(path, str(path))
            found.append(path)
    if (decided := _decisions_file(run)) is not None:
        sources.require_file(decided, str(decided))
        found.append(decided)
    return list(dict.fromkeys(found))


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
    shape = shape_of(recipe, BuiltTemplates.of(made).sets(recipe))
    kept: dict[str, Example] = {}

    def keep(row: Candidate, source: SourceConfig) -> None:
        name, again = row.example.id, 1
        while name in kept:
            again += 1
            name = content_id([row.example.id, again])
        kept[name] = row.example.but(id=name)

    rejects = RejectLog(None)
    intake = Intake(recipe, shape, renderer, Path.cwd(), keep, rejects, across_rows=False)
    try:
        intake.read(source)
    except MissingColumn as error:
        fix = _other_column(recipe.task.kind, error.column, source)
        raise MissingColumn(error.name, error.column, error.columns, fix) from None
    for name, count in intake.blank_lines.items():
        say(blank_lines_skipped(name, count), style="yellow")
    _require_rows(len(kept), rejects, None)
    return list(kept.values()), dict(rejects.counts.most_common())


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


# --- what people decided -----------------------------------------------------------------------


def _decisions_file(run: Run) -> Path | None:
    named = run.recipe.data.decisions
    return None if named is None else decisions_file(named, run.data_root, run.path.parent)


def _reviewed(run: Run) -> Reviewed | None:
    """The decisions that the recipe names; a review that it does not name is worth a word."""
    path = _decisions_file(run)
    if path is not None:
        return Reviewed(read_decisions(path, run.recipe.data.decisions))
    if (run.path / DECISIONS).is_file():
        say(
            f"note: {run.path / DECISIONS} holds decisions of a review, which this recipe does not "
            f"use; `data.decisions: {RUN}{run.name}` applies them.",
            style="yellow",
        )
    return None


def _tell_unmatched(reviewed: Reviewed) -> None:
    lost = reviewed.unmatched()
    if not lost:
        return
    listed = "\n".join(f"  {d.decision} {d.where or d.id}" for d in lost[:_FEW])
    more = f"\n  and {len(lost) - _FEW:,} more" if len(lost) > _FEW else ""
    total = len(reviewed.decisions.last_words())
    say(
        f"{reviewed.decisions.name}: {len(lost):,} of {total:,} decisions match no row that was "
        f"read, and did nothing:\n{listed}{more}\nThe rows have changed or are gone, a `limit` "
        "ends before them, or the template asks with other columns.",
        style="bold red",
    )


def _has_two_columns(kind: str) -> bool:
    return kind in ("classification", "generation")


def _other_column(kind: str, column: str, source: SourceConfig) -> str:
    """How to name another column than the missing one on the command line."""
    if not _has_two_columns(kind):
        return "Rename the right one in the file; a file needs a header line."
    option = "--output" if column == source.output else "--input"
    return f"Name the right one with {option}; a file needs a header line."


def _give_back(kept: Kept) -> None:
    """Give back what a step needed, as much as the next one will; few rows are not worth it."""
    if len(kept) >= _MANY:
        out_of_memory.release()


# --- taking in ---------------------------------------------------------------------------------


def _keeper(kept: Kept, recipe: Recipe) -> Keep:
    column = recipe.data.split.group_by
    found = recipe.data.sources
    parts = {id(source): name for source, name in zip(found, names_of(found), strict=True)}

    def keep(row: Candidate, source: SourceConfig) -> None:
        value = row.example.fields.get(column) if column else None
        rendered = row.rendered
        kept.append(
            row.example, row.subject, part=parts[id(source)], family=as_text(value) or None,
            tokens=len(rendered.input_ids), trained=sum(rendered.trained),
        )  # fmt: skip

    return keep


# --- writing -----------------------------------------------------------------------------------


def _write_splits(
    run: Run,
    kept: Kept,
    shared: Shared,
    times: Sequence[int],
    given: Given,
    renderer: Renderer,
    rejects: RejectLog,
) -> DataStats:
    """Read the rows back and write each to its split."""
    recipe = run.recipe
    shots = _shot_pool(kept, shared, times, recipe)
    counts = {split: SplitCounts() for split in SPLITS}
    templates: Counter[str] = Counter()
    terms: Counter[tuple[str, Terms]] = Counter()
    samples = Samples()
    wanted = {shared.splits[i] for i, taken in enumerate(times) if taken}
    total = sum(times)
    with contextlib.ExitStack() as open_files:
        writers = {
            split: open_files.enter_context(ExampleWriter(run.path / "data" / f"{split}.parquet"))
            for split in SPLITS
            if split in wanted
        }
        advance = open_files.enter_context(progress("Writing rows", total, shown=total >= _MANY))
        for time in range(max(times, default=0)):
            for i, example in enumerate(kept.examples()):
                if time == 0 and i in shared.claimed:
                    rejects.add(
                        Reject(example.origin, shared.claimed[i], dict(example.fields), example)
                    )
                if times[i] <= time:
                    continue
                row = example.but(split=shared.splits[i], group=shared.groups[i])
                if time:
                    row = row.but(id=content_id([row.id, "again", time]))
                tokens, trained = kept.tokens[i], kept.trained[i]
                if shots is not None:
                    row, rendered = shots.shown_before(row, renderer.render)
                    tokens, trained = len(rendered.input_ids), sum(rendered.trained)
                writers[shared.splits[i]].write(row)
                counts[shared.splits[i]].see(row, tokens, trained)
                terms[row.origin.source, row.terms] += 1
                if row.template is not None:
                    templates[row.template] += 1
                if row.split == "train":
                    samples.see(row)
                    given.see(kept.part(i), tokens, trained)
                advance(1)
    if shots is not None:
        shots.tell_shortened()
    for split in SPLITS:
        if split not in wanted:
            (run.path / "data" / f"{split}.parquet").unlink(missing_ok=True)
    return DataStats(
        rows_read={},
        rows_rejected=dict(rejects.counts.most_common()),
        rejects_file=REJECTS,
        splits={split: counts[split].stats() for split in SPLITS if split in wanted},
        templates=dict(templates),
        samples=samples.shown(renderer),
        terms=[
            TermsPart(
                source=source, rows=rows, licence=t.licence, commercial=t.commercial,
                generator=t.generator, generator_terms=t.generator_terms,
            )
            for (source, t), rows in terms.most_common()
        ],
    )  # fmt: skip


def _shot_pool(kept: Kept, shared: Shared, times: Sequence[int], recipe: Recipe) -> ShotPool | None:
    """Training rows to show before others; None where the recipe asks for none."""
    if not recipe.data.shots:
        return None
    pool = ShotPool(recipe.data.shots, recipe.seed, recipe.train.max_seq_length)
    for i, example in enumerate(kept.examples()):
        if times[i] and shared.splits[i] == "train" and example.messages:
            pool.offer(example.but(group=shared.groups[i]))
    return pool


# --- what must be there ------------------------------------------------------------------------


def _require_rows(kept: int, rejects: RejectLog, file: Path | None) -> None:
    if kept:
        return
    where = f"\nEvery row and its reason: {file}" if file else ""
    raise DataError(
        f"all {len(rejects)} rows were rejected, none is left:\n{rejects.reasons()}{where}"
    )


def _require_families(kept: Kept, recipe: Recipe) -> None:
    column = recipe.data.split.group_by
    if column and all(kept[i].family is None for i in range(len(kept))):
        raise DataError(f"data.split.group_by: no row has a column '{column}'.")


def _require_training_rows(
    kept: Kept, shared: Shared, times: Sequence[int], rejects: RejectLog, labels: Sequence[str]
) -> None:
    taken = Counter((kept[i].label, shared.splits[i]) for i, n in enumerate(times) if n)
    counts = Counter({label: n for (label, split), n in taken.items() if split == "train"})
    if not counts:
        shares: Counter[str] = Counter()
        for (_, split), n in taken.items():
            shares[split] += n
        where = ", ".join(f"{split} {n}" for split, n in shares.items()) or "none"
        why = f" Rejected:\n{rejects.reasons()}" if len(rejects) else ""
        raise DataError(f"no rows are left to train on (rows per split: {where}).{why}")
    without = [label for label in labels if not counts[label]]
    if without:
        every: Counter[str | None] = Counter()
        for (label, _), n in taken.items():
            every[label] += n
        found = ", ".join(f"'{label}' {every[label]}" for label in labels)
        why = f" Rejected rows:\n{rejects.reasons()}" if len(rejects) else ""
        named = ", ".join(f"'{label}'" for label in without)
        raise DataError(
            f"no training rows for the label {named} (rows per label in all splits: {found}). "
            f"Add rows, or take it out of task.labels.{why}"
        )
