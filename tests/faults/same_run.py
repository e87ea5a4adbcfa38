"""What two runs of one recipe have in common when one of them was killed and resumed: everything.

Left out is what tells of the clock, the machine's load and the process, by name:
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from luthier.run import Run, file_digest

MEASURED = {
    # How long training took, and the memory of the process that ended it.
    "train/summary.json": {"seconds", "peak_bytes"},
    # An estimate from the machine's speed just then, and the memory that was free.
    "plan/plan.json": {"seconds", "available_bytes"},
}
MEASURED_EVENT = {"time", "seconds", "peak_bytes"}
KEPT_PER_ATTEMPT = {".lock", "started.json", "events.jsonl", "manifest.json", "report.html"}
"""They tell of attempts. Of events and manifest, what tells of the outcome is compared."""


def outcome(run: Run) -> dict[str, Any]:
    """All that must be equal: file -> sha256 or content; events of steps and validations."""
    files = {
        str(path.relative_to(run.path)): file_digest(path)
        for path in sorted(run.path.rglob("*"))
        if path.is_file() and not path.name.endswith(".part")
    }
    found: dict[str, Any] = {n: d for n, d in files.items() if n not in KEPT_PER_ATTEMPT}
    for name, measured in MEASURED.items():
        content = run.read_json(name)
        found[name] = {key: value for key, value in content.items() if key not in measured}
    for stage, entry in run.read_json("manifest.json").items():
        found[f"manifest of {stage}"] = (entry["fingerprint"], sorted(entry["files"]))
    for kind in ("step", "validation"):
        events = [without(event, MEASURED_EVENT) for event in run.events(kind)]
        found[f"{kind} events"] = events
        steps = [event["step"] for event in events]
        assert steps == sorted(set(steps)), f"{kind} events: {steps}"
    return found


def checkpoint_content(folder: Path) -> dict[str, Any]:
    """What a checkpoint holds: weights, moments, schedule, place in the data, random state, log."""
    state = json.loads((folder / "state.json").read_text())
    state["state"]["progress"].pop("seconds")
    tensors = {p.name: file_digest(p) for p in folder.glob("*.safetensors")}
    assert len(tensors) == 2
    return {**tensors, **state}


def without(content: dict[str, Any], names: set[str]) -> dict[str, Any]:
    """A dictionary less some of its keys."""
    return {key: value for key, value in content.items() if key not in names}


def leftovers(run: Run) -> list[str]:
    """Files that an attempt began and did not finish."""
    return [
        str(path.relative_to(run.path))
        for path in run.path.rglob("*")
        if path.name.startswith((".staging-", ".deleted-")) or path.name.endswith(".part")
    ]
