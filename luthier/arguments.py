"""Arguments and options that several commands take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

RecipeArg = Annotated[Path, typer.Argument(help="Recipe file (YAML).", show_default=False)]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(help="key=value, e.g. train.learning_rate=1e-4.", show_default=False),
]
RunArg = Annotated[str, typer.Argument(help="Run folder or name.", show_default=False)]
Runs = Annotated[Path, typer.Option("--runs", help="Folder of run folders.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]
Nproc = Annotated[
    int | None,
    typer.Option(
        "--nproc", min=1, help="Processes that train together on this machine.", show_default=False
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Repeat it even if nothing changed.")]
InputColumn = Annotated[str | None, typer.Option("--input", help="Its input column.")]
OutputColumn = Annotated[str | None, typer.Option("--output", help="Its output or label column.")]
Format = Annotated[
    str | None, typer.Option("--format", help="Importer of the file; recognised if left out.")
]
RUNS = Path("runs")
