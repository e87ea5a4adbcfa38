"""The adapter merged into its full-precision base: one plain model that needs nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from luthier import model as models
from luthier.made_with import base_of
from luthier.recipe import ModelSection
from luthier.run import Run

LIBRARY = "transformers"
NEEDS_BASE = False
USE = """from transformers import AutoModelForCausalLM

model = AutoModelForCausalLM.from_pretrained("FOLDER")"""


def export(run: Run, folder: Path, runs: Path) -> None:
    """Merge in fp32, never into quantized weights, and save as safetensors."""
    merged = models.merge(run, runs=runs)
    models.save_full(merged, models.open_tokenizer(base_of(run, runs), runs), folder)


def reload(run: Run, folder: Path, runs: Path) -> Any:
    """Open the merged model by itself."""
    return models.open_model(ModelSection(name=str(folder.resolve())))
