"""The commands on rows: files that are checked, written, judged, converted and gone through.

As in `cli.py`, which offers them: parse, call one function, print.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from luthier.arguments import RUNS, Format, Json, Overrides, RecipeArg, Runs
from luthier.exits import Result, SaidNo, guarded


@guarded
def lint(
    what: Annotated[str, typer.Argument(help="A data file, or a recipe (.yaml).")],
    format_name: Format = None,
    runs: Runs = RUNS,
    as_json: Json = False,
) -> Result:
    """Check rows for defects, without building anything."""
    from luthier.data import lint as linting
    from luthier.data.linting.lint_report import print_report

    report = linting.lint(Path(what), format=format_name, runs=runs)
    print_report(report)
    found = report.model_dump(mode="json")
    if report.errors:
        raise SaidNo(found)
    return found


@guarded
def generate(
    recipe: RecipeArg,
    overrides: Overrides = None,
    budget: Annotated[
        str | None, typer.Option(help="Stop at: '500 calls', '200k tokens', '2.50 USD'.")
    ] = None,
    runs: Runs = RUNS,
    as_json: Json = False,
) -> Result:
    """Let models write the rows that a recipe asks of them.

    `build` does this too. Every answer is kept: repeat the command to go on, and nothing is asked
    or paid twice.
    """
    from luthier import pipeline
    from luthier.recipe import load

    return pipeline.write_rows(load(recipe, overrides or []), budget=budget, runs=runs)


@guarded
def judge(
    file: Annotated[Path, typer.Argument(help="A file of instruction data.")],
    recipe: Annotated[
        Path | None, typer.Option(help="Recipe whose data.llm judges; the packaged model if not.")
    ] = None,
    rubric: Annotated[str | None, typer.Option(help="What makes a row good, in words.")] = None,
    votes: Annotated[int, typer.Option(min=1, help="Times each row is judged.")] = 1,
    human: Annotated[
        str | None, typer.Option(help="Column with people's scores, to compare with.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The file to write.")] = None,
    runs: Runs = RUNS,
    as_json: Json = False,
) -> Result:
    """Have a model score rows, and see if people agree."""
    from luthier.data.judging.judge_file import judge_file, print_judged
    from luthier.data.judging.rubric import DEFAULT

    found = judge_file(
        file,
        _model_of(recipe),
        rubric=rubric or DEFAULT,
        votes=votes,
        human=human,
        out=out,
        runs=runs,
    )
    print_judged(found)
    return found.model_dump(mode="json")


@guarded
def paraphrase(
    template: Annotated[str, typer.Argument(help="A template or a set of them, or a file.")],
    per_template: Annotated[int, typer.Option(min=1, help="Rewordings of each.")] = 3,
    recipe: Annotated[
        Path | None, typer.Option(help="Recipe whose data.llm rewords; the packaged model if not.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The file to write.")] = None,
    runs: Runs = RUNS,
    as_json: Json = False,
) -> Result:
    """Have a model reword templates; keep what is the same."""
    from luthier.data.paraphrasing.paraphrase import paraphrase, print_paraphrased

    found = paraphrase(template, _model_of(recipe), per_template=per_template, out=out, runs=runs)
    print_paraphrased(found)
    return found.model_dump(mode="json")


@guarded
def convert(
    source: Annotated[Path, typer.Argument(help="A file of instruction data.")],
    to: Annotated[
        str, typer.Option(help="alpaca, sharegpt, messages, super_ni, flan, p3 or parquet.")
    ],
    format_name: Format = None,
    out: Annotated[
        Path | None, typer.Option(help="The file to write; by the source's name if left out.")
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option(help="Option of the importer, e.g. paths=all.")
    ] = None,
    as_json: Json = False,
) -> Result:
    """Turn a file of one format into another."""
    from luthier.data import convert as converting

    done = converting.convert(
        source, out, to=to, format=format_name, options=converting.options_of(option or [])
    )
    converting.print_conversion(done)
    return done.model_dump(mode="json")


@guarded
def review(
    dataset: Annotated[str, typer.Argument(help="A run, a built recipe, or a data file.")],
    decisions: Annotated[
        Path | None, typer.Option(help="File of decisions; beside the data if left out.")
    ] = None,
    rejects: Annotated[bool, typer.Option("--rejects", help="Also rows left out.")] = False,
    format_name: Format = None,
    reviewer: Annotated[str, typer.Option(help="Who decides, to be written down.")] = "",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: a free one.")] = 0,
    no_browser: Annotated[
        bool, typer.Option("--no-browser", help="Print the address only.")
    ] = False,
    no_lint: Annotated[bool, typer.Option("--no-lint", help="Look for no defects.")] = False,
    summary: Annotated[
        bool, typer.Option("--summary", help="Count decisions; serve nothing.")
    ] = False,
    runs: Runs = RUNS,
    as_json: Json = False,
) -> Result:
    """Go through rows by hand: keep, edit, drop."""
    from luthier.reviewing import review as reviewing

    if summary:
        return reviewing.summary(dataset, decisions=decisions, format=format_name, runs=runs)
    return reviewing.review(
        dataset, decisions=decisions, rejects=rejects, format=format_name, reviewer=reviewer,
        port=port, browser=not no_browser, lint=not no_lint, runs=runs,
    )  # fmt: skip


def _model_of(recipe: Path | None) -> Any:
    """The model that a recipe has write and judge; without one, the packaged model."""
    from luthier.inference.config import LlmSection
    from luthier.recipe import load

    return load(recipe).recipe.data.llm if recipe else LlmSection()


COMMANDS = (lint, generate, judge, paraphrase, convert, review)
"""In the order in which they are listed."""
