"""Runs whose data and train stages are done."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from made_runs import (
    classification_row,
    generation_row,
    put_rows,
    put_weights,
    text_row,
    train_fully,
)

from luthier.run import Run

MAKERS = {
    "classification": classification_row, "generation": generation_row, "chat": generation_row,
    "text": text_row,
}  # fmt: skip


@pytest.fixture(scope="session")
def weights(
    tiny_model_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """Folders of trained weights by kind of task, each trained once."""
    folder = tmp_path_factory.mktemp("weights")

    def trained(kind: str) -> Path:
        path = folder / MAKERS[kind].__name__
        if not path.exists():
            train_fully(tiny_model_dir, [MAKERS[kind](i) for i in range(24)], path, steps=STEPS)
        return path

    return trained


STEPS = 40


@pytest.fixture
def trained_run(make_run: Callable[..., Run], weights: Callable[[str], Path]) -> Callable[..., Run]:
    """Make a trained run of a kind of task: `trained_run("classification", evaluate={...})`."""

    def make(kind: str = "classification", *, test: int = 40, **sections: Any) -> Run:
        labels = ["True", "False"] if kind == "classification" else None
        run = make_run(**{"task": {"kind": kind, "labels": labels}, **sections})
        rows = [MAKERS[kind](i) for i in range(60 + 30 + test)]
        put_rows(run, train=rows[:60], calibration=rows[60:90], test=rows[90:])
        put_weights(run, weights(kind))
        return run

    return make
