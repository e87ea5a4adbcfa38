"""The adapter alone, in peft's format: small, and needs its base model to run."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from luthier import model as models
from luthier.artifacts import TrainSummary
from luthier.errors import LuthierError
from luthier.made_with import base_of
from luthier.run import Run

LIBRARY = "peft"
NEEDS_BASE = True
USE = """from peft import AutoPeftModelForCausalLM

model = AutoPeftModelForCausalLM.from_pretrained("FOLDER")"""


def export(run: Run, folder: Path, runs: Path) -> None:
    """Copy the adapter, with the tokenizer that carries the chat template it was trained with."""
    summary = TrainSummary.load(run)
    if summary.kind != "adapter":
        raise LuthierError("ship.exporters: the run trained full weights; use 'merged' instead.")
    folder.mkdir(parents=True)
    for file in sorted((run.path / summary.weights).iterdir()):
        shutil.copyfile(file, folder / file.name)
    models.save_tokenizer(models.open_tokenizer(base_of(run, runs), runs), folder)


def reload(run: Run, folder: Path, runs: Path) -> Any:
    """Open the base with the exported adapter."""
    return models.open_model(base_of(run, runs), runs=runs, adapter=folder)
