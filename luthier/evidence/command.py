"""`luthier compare-data` on the command line: parse, call one function, print."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from luthier.exits import Result, guarded

_Side = "A recipe (.yaml), a run, or a data file."


@guarded
def compare_data(
    a: Annotated[str, typer.Argument(help=_Side, show_default=False)],
    b: Annotated[str, typer.Argument(help=_Side, show_default=False)],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(help="key=value, e.g. train.max_steps=60.", show_default=False),
    ] = None,
    recipe: Annotated[
        Path | None, typer.Option(help="Whose settings all trainings have; A's if left out.")
    ] = None,
    on: Annotated[
        Path | None, typer.Option(help="Labelled rows to judge on; a test split if left out.")
    ] = None,
    input_column: Annotated[
        str | None, typer.Option("--input", help="Input column of --on.")
    ] = None,
    output_column: Annotated[
        str | None, typer.Option("--output", help="Output or label column of --on.")
    ] = None,
    size: Annotated[
        int | None, typer.Option(min=1, help="Training rows of each; all if left out.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, max=100, help="Trainings of each.")] = 3,
    control: Annotated[
        bool, typer.Option(help="Also train on a random subset of the larger one.")
    ] = True,
    name: Annotated[str | None, typer.Option(help="Of the comparison's folder.")] = None,
    runs: Annotated[Path, typer.Option("--runs", help="Folder of run folders.")] = Path("runs"),
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> Result:
    """Train on two datasets; say which is better."""
    from luthier.console import say
    from luthier.errors import LuthierError
    from luthier.evidence.compare_data import Wanted
    from luthier.evidence.compare_data import compare_data as compare
    from luthier.evidence.page import show, write_page

    if (input_column or output_column) and on is None:
        raise LuthierError(
            "--input and --output go with --on FILE; for other rows they stand in the recipe "
            "(data.sources)."
        )
    found, folder = compare(
        Wanted(a, b, recipe, on, input_column, output_column, size, seeds, control, name,
               overrides or []),
        runs=runs,
    )  # fmt: skip
    show(found)
    page = write_page(found, folder)
    say(f"report: {page}")
    return {"comparison": found.model_dump(mode="json"), "folder": str(folder), "report": str(page)}
