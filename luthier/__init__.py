"""luthier adapts an LLM to a task and proves that it did.

    import luthier
    detector = luthier.load("runs/promises")
    detector.predict(["We will build 10,000 kilometres of subway lines in the next ten years."])

The command line (`luthier --help`) does everything else. Nothing here imports torch until a
model is asked for.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"
__all__ = ["__version__", "load"]


def __getattr__(name: str) -> Any:
    """Resolve `load` on first use, so that `import luthier` stays instant."""
    if name == "load":
        return importlib.import_module("luthier.predict").load
    raise AttributeError(f"module 'luthier' has no attribute {name!r}")
