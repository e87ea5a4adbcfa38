"""What filters must be told, since they would do nothing without it."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def needed_options(name: str, folder: Path, model: Path) -> dict[str, Any]:
    """Options with which a filter lets ordinary rows pass; empty for one that needs none.

    Args:
        name: the filter.
        folder: where a file of rows may be written.
        model: a tiny model.
    """
    file = folder / "storks.csv"
    file.write_text("input,output\nWhen do the storks leave?,In August.\n", encoding="utf-8")
    needed: dict[str, dict[str, Any]] = {
        "decontamination": {"against": str(file)},
        "relevance": {"seeds": str(file), "maximum": 0.99},
        "perplexity": {"min_perplexity": 1e-9, "model": str(model)},
    }
    return needed.get(name, {})
