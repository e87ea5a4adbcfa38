"""What workers read and write. Imports nothing that a peer's environment may lack."""

from __future__ import annotations

import json
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

_PACKAGES = (
    "luthier", "trl", "llamafactory", "liger-kernel", "torch", "transformers", "peft",
    "accelerate", "bitsandbytes",
)  # fmt: skip


def read_job() -> dict[str, Any]:
    """The job named on the command line."""
    job: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    return job


def versions() -> dict[str, str]:
    """Versions of what this process could train with; packages that are not there are left out."""
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def gpu_peak_bytes() -> int | None:
    """Most GPU memory that tensors took in this process; None without a GPU."""
    import torch

    return torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None


class Lines:
    """The JSON lines that a worker writes; each is out as soon as it is written."""

    def __init__(self, path: str) -> None:
        self._file = open(path, "a", encoding="utf-8")  # noqa: SIM115

    def write(self, event: str, **fields: Any) -> None:
        """Append one line."""
        self._file.write(json.dumps({"event": event, **fields}) + "\n")
        self._file.flush()
