"""The job of writing rows: a method, a model, a log -> files that are read like any other source.

    runs/NAME/calls.jsonl                every answer of the model, for good (`call_log.py`)
    runs/NAME/generated/<place>-<method>/
      rows.jsonl         rows with their lineage        left_out.jsonl    the rest, with reasons
      summary.json       counts, cost, why it stopped

The files depend on recipe, seed and answers alone: made again from the log they are the same, byte
for byte.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from luthier.atomic import STAGED, atomic_write
from luthier.console import duration, progress, say, table
from luthier.data.config import GenerateConfig, SourceConfig
from luthier.data.generating.writing import Writing
from luthier.data.intake import resolved
from luthier.data.terms import OF_OUTPUTS, commercial_by_licence, generator_terms
from luthier.errors import CheckFailed, DataError
from luthier.inference.budget import BudgetSpent, Purse
from luthier.inference.call_log import CallLog
from luthier.inference.config import BudgetSection, LlmSection
from luthier.inference.request import Completion, Request
from luthier.inference.session import Session, Tally, asking
from luthier.recipe import Recipe
from luthier.registry import Registry
from luthier.run import RUNS, Run

GENERATORS = Registry("generator", "luthier.data.generators")
CALLS = "calls.jsonl"
FOLDER = "generated"
_SHOWN_SECONDS = 0.1
"""Between two looks at the progress line where no row came."""


def written_sources(
    run: Run, *, runs: Path = RUNS, budget: BudgetSection | None = None
) -> list[SourceConfig]:
    """The recipe's sources, those that a model writes as the files that it wrote.

    Args:
        run: reads its recipe, writes `calls.jsonl` and `generated/`.
        runs: where other runs are found.
        budget: of all sources together, instead of the recipe's.

    Raises:
        ModelError: the model cannot be had, or its server is gone.
        DataError: nothing was written, or the terms of the model forbid what the data is for.
    """
    recipe = run.recipe
    if not any(source.generate for source in recipe.data.sources):
        return list(recipe.data.sources)
    found, purse = [], Purse(budget) if budget else None
    with CallLog(run.path / CALLS) as log:
        for place, source in enumerate(recipe.data.sources, 1):
            if source.generate is None:
                found.append(source)
                continue
            folder = run.path / FOLDER / f"{place}-{source.generate.use}"
            _write(source, recipe, run.data_root, folder, log, runs, purse)
            found.append(_as_file(source, recipe, folder, run.data_root))
    return found


def earlier_sources(
    recipe: Recipe, root: Path, runs: Path = RUNS
) -> tuple[list[SourceConfig], list[str]]:
    """The sources of a recipe, those that a model is to write as the files that it wrote before.

    Args:
        recipe: the recipe.
        root: its folder.
        runs: where its run is.

    Returns:
        The sources that there are, and what those are called that are not written yet.
    """
    found, unwritten = [], []
    for place, source in enumerate(recipe.data.sources, 1):
        if source.generate is None:
            found.append(source)
            continue
        folder = runs / recipe.name / FOLDER / f"{place}-{source.generate.use}"
        if (folder / "rows.jsonl").is_file():
            found.append(_as_file(source, recipe, folder, root))
        else:
            unwritten.append(f"{source.generate.use} (data.sources.{place - 1})")
    return found, unwritten


def summaries(run: Run) -> dict[str, Any]:
    """What was written, by the name of the folder it lies in."""
    found = sorted((run.path / FOLDER).glob("*/summary.json"))
    return {p.parent.name: json.loads(p.read_text(encoding="utf-8")) for p in found}


def _write(
    source: SourceConfig,
    recipe: Recipe,
    root: Path,
    folder: Path,
    log: CallLog,
    runs: Path,
    purse: Purse | None,
) -> None:
    config = source.generate
    assert config is not None
    section = config.llm or recipe.data.llm
    _require_terms(section, recipe)
    module = GENERATORS.load(config.use)
    options = resolved(module, config.options, root)
    write = GENERATORS.build(config.use, **options)
    started = time.monotonic()
    session = Session(section, log, budget=purse or config.budget, runs=runs, purpose=folder.name)
    with _shown(config.use, session) as show:
        writing = Writing(
            session=session, seed=recipe.seed, method=config.use, root=root,
            window=config.window or section.window, labels=recipe.labels, show=show,
            heard=_listener(section, recipe),
        )  # fmt: skip
        stopped = asyncio.run(_run(session, write, writing))
    _save(folder, writing, config, stopped)
    _tell(writing, session, stopped, time.monotonic() - started)
    if stopped and not writing.rows:
        raise CheckFailed(
            f"data.sources: {config.use}: {stopped}, and no row was finished by then. The "
            f"{len(log):,} answers so far are kept; allow more and repeat the command."
        )
    if not writing.rows:
        reasons = ", ".join(f"{what} ({n})" for what, n in writing.reasons.most_common(8))
        raise DataError(
            f"data.sources: {config.use} wrote no row that could be kept"
            + (f". Left out: {reasons}; see {folder / 'left_out.jsonl'}" if reasons else "")
            + "."
        )


async def _run(session: Session, write: Any, writing: Writing) -> str | None:
    """Let a method write; what stopped it before its end, if something did."""
    async with asking(session):
        try:
            await write(writing)
        except BudgetSpent as spent:
            return str(spent)
    return None


def _as_file(source: SourceConfig, recipe: Recipe, folder: Path, root: Path) -> SourceConfig:
    """The source as the file that was written, on the terms of the model that wrote it."""
    config = source.generate
    assert config is not None
    section = config.llm or recipe.data.llm
    outputs: str | None = source.outputs or section.outputs
    if outputs is None and section.backend != "openai":
        # What runs here is what the recipe calls it; its rows have the name of its file.
        outputs = {"yes": "free", "no": "restricted"}.get(outputs_of(section))
    changes: dict[str, Any] = {
        "generate": None,
        "path": os.path.relpath(folder / "rows.jsonl", root),
        "generator": source.generator or section.model,
        "licence": source.licence or section.licence or OF_OUTPUTS,
        "commercial": source.commercial or ("yes" if outputs == "free" else None),
        "outputs": outputs,
    }
    if source.format is None:
        changes["format"] = GENERATORS.load(config.use).FORMAT
    return SourceConfig.model_validate(source.model_dump() | changes)


def outputs_of(section: LlmSection) -> str:
    """Whether a model's outputs may be trained on for commercial use: yes, no or unclear."""
    if section.outputs is not None:
        return "yes" if section.outputs == "free" else "no"
    found = {generator_terms(section.model)[1]}
    if section.licence is not None:
        found.add(commercial_by_licence(section.licence))
    return next(word for word in ("no", "unclear", "yes") if word in found)


def _require_terms(section: LlmSection, recipe: Recipe) -> None:
    """Refuse before anything is paid what the build would leave out afterwards."""
    allowed = outputs_of(section)
    if recipe.data.use == "commercial" and allowed != "yes":
        raise _forbidden(section, f"rows written by '{section.model}'", section.model, allowed)


def _listener(section: LlmSection, recipe: Recipe) -> Callable[[Request, Completion], None]:
    """Refuses the first answer of a model that calls itself by the name of a forbidden one."""
    known = {section.model}

    def heard(request: Request, completion: Completion) -> None:
        model = completion.model
        if model in known or request.lora is not None:  # an adapter has a name of its own
            return
        if (allowed := generator_terms(model)[1]) != "yes":
            who = f"'{section.model}' of {section.base_url} calls itself '{model}', whose rows"
            raise _forbidden(section, who, model, allowed)
        known.add(model)

    matters = recipe.data.use == "commercial" and section.outputs is None
    return heard if matters and section.backend == "openai" else lambda request, completion: None


def _forbidden(section: LlmSection, who: str, model: str, allowed: str) -> DataError:
    said, _ = generator_terms(model)
    if section.licence is not None and commercial_by_licence(section.licence) == "no":
        said = f"licence {section.licence}"
    why = f"forbid it ({said})" if allowed == "no" and said else "are not known to allow it"
    return DataError(
        f"data.use: commercial: {who} cannot be used: the terms of its outputs {why}. Use an open "
        "model, or say `llm: {outputs: free}` if you know better."
    )


# --- files and people --------------------------------------------------------------------------


def _save(folder: Path, writing: Writing, config: GenerateConfig, stopped: str | None) -> None:
    for leftover in folder.glob(f".*{STAGED}"):  # of a killed attempt; the log is ours alone
        leftover.unlink(missing_ok=True)
    for name, rows in (("rows", writing.rows), ("left_out", writing.left_out)):
        with atomic_write(folder / f"{name}.jsonl") as file:
            for row in rows:
                file.write(json.dumps(row, ensure_ascii=True).encode() + b"\n")
    summary = {
        "method": config.use,
        "options": config.options,
        "rows": len(writing.rows),
        "left_out": dict(writing.reasons.most_common()),
        "stopped": stopped,
        "notes": writing.notes,
    }
    with atomic_write(folder / "summary.json") as file:
        file.write(json.dumps(summary, indent=2, ensure_ascii=False).encode() + b"\n")


@contextmanager
def _shown(method: str, session: Session) -> Iterator[Any]:
    """Progress: rows kept, those left out and why mostly, tokens a second, cost, time left."""
    last = 0.0
    with progress(f"Writing ({method})", None) as advance:

        def show(writing: Writing, kept: int) -> None:
            nonlocal last
            now = time.monotonic()
            if not kept and now - last < _SHOWN_SECONDS:
                return
            last = now
            note = f"left out {_left_out(writing.reasons)}, {_spent(session)}  {writing.live}"
            expected = writing.wanted or max(round(writing.expected), len(writing.rows))
            advance(kept, note.rstrip(), expected or None, not writing.wanted)

        yield show


def _left_out(reasons: Counter[str]) -> str:
    """How many rows were left out, and the commonest rules."""
    rules = ", ".join(f"{what} {n:,}" for what, n in reasons.most_common(3))
    return f"{reasons.total():,}" + (f" ({rules})" if rules else "")


def _spent(session: Session) -> str:
    tally = session.tally
    parts = [f"{tally.calls:,} calls"]
    if tally.replayed:
        parts.append(f"{tally.replayed:,} from the log")
    if tally.completion_tokens:
        parts.append(f"{tally.tokens_per_second:,.0f} tokens/s")
    if session.section.prices is not None:
        parts.append(f"{session.purse.cost:,.4f} {session.section.prices.currency}")
    return ", ".join(parts)


def _tell(writing: Writing, session: Session, stopped: str | None, seconds: float) -> None:
    tally: Tally = session.tally
    lines = [("kept", len(writing.rows))]
    lines += [(f"left out: {what}", n) for what, n in writing.reasons.most_common(12)]
    table(f"{writing.method}: rows", ["what", "rows"], [[what, f"{n:,}"] for what, n in lines])
    say(
        f"{writing.method}: {_spent(session)}, {tally.prompt_tokens:,} prompt tokens and "
        f"{tally.completion_tokens:,} generated in {duration(seconds)}"
    )
    if writing.live:
        say(f"{writing.method}: {writing.live}")
    for note in writing.notes:
        say(f"{writing.method}: {note}", style="yellow")
    if stopped:
        say(
            f"{writing.method}: {stopped}. The rows written so far are used; with a larger budget "
            "the same command goes on from here.",
            style="yellow",
        )
