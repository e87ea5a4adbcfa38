"""Two processes x 4 rows are one process x 8: the same loss and gradients, in fp32."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from one_of_two import gradients
from safetensors.torch import load_file

from luthier.launch import STORE
from luthier.run import Run
from luthier.training.config import TrainConfig
from luthier.training.parallel import Team

FULL: dict[str, Any] = {"lora": None}
SHARDED: dict[str, Any] = {"fsdp": True}


def lines(*rows: int) -> list[list[int]]:
    return [[row] for row in rows]


EIGHT = [lines(*range(8))]
FOURS = [lines(0, 1, 2, 3), lines(4, 5, 6, 7)]
# Process 1 has one micro-batch less than process 0, or none; process 0 has the long rows.
UNEVEN = [lines(0, 1, 2), lines(3, 4), lines(5, 6, 7)]
ONE = [lines(2, 5)]
PACKED = [[[0, 1, 2], [3]], [[4, 5], [6, 7]]]
# name -> (what two processes run, what one process runs, settings)
CASES: dict[str, tuple[list[Any], list[Any], dict[str, Any]]] = {
    "lora": (FOURS, EIGHT, {}),
    "full": (FOURS, EIGHT, FULL),
    "uneven": (UNEVEN, EIGHT, FULL),
    "no rows for process 1": (ONE, ONE, {}),
    "packed": (PACKED, EIGHT, {"packing": True, "max_seq_length": 1024}),
    "lora, sharded": (FOURS, EIGHT, SHARDED),
    "full, sharded": (FOURS, EIGHT, {**FULL, **SHARDED}),
    "uneven, sharded": (UNEVEN, EIGHT, {**FULL, **SHARDED}),
    "no rows for process 1, sharded": (ONE, ONE, {**FULL, **SHARDED}),
}


@pytest.fixture
def run(ready_run: Callable[..., Run], tmp_path: Path) -> Run:
    """Rows of very different lengths."""
    rows = ["sentence,label"]
    for i in range(60):
        words = " ".join(f"street {i * 7 % 31} and wall {k}" for k in range(i * i % 17))
        rows.append(f'"We will paint house {i}, {words}.",{i % 3 == 0}')
    (tmp_path / "ragged.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    source = {"path": "ragged.csv", "input": "sentence", "output": "label"}
    return ready_run(data={"sources": [source]})


def in_two_processes(run: Run, folder: Path) -> dict[str, Any]:
    """Losses and counts of all cases, by name."""
    script = Path(__file__).with_name("one_of_two.py")
    cases = json.dumps({name: {"group": g, "train": t} for name, (g, _, t) in CASES.items()})
    variables = {
        "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", STORE: str(folder / "store"),
        "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo",
    }  # fmt: skip
    processes = [
        subprocess.Popen(
            [sys.executable, str(script), str(run.path), str(folder), cases],
            env={**os.environ, **variables, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    said = [process.communicate(timeout=300)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], "\n".join(said)
    found: dict[str, Any] = json.loads((folder / "losses.json").read_text())
    return found


def test_two_processes_are_one(run: Run, tmp_path: Path) -> None:
    together = in_two_processes(run, tmp_path)

    for name, (_, group, settings) in CASES.items():
        # What is shared out is not what is computed.
        alone = {**run.recipe.train.model_dump(), **settings, "fsdp": False}
        train = TrainConfig.model_validate(alone)
        loss, counts, expected = gradients(run, group, Team(), train)
        found = load_file(tmp_path / f"{name}.safetensors")
        assert (together[name]["rank"], together[name]["size"]) == (0, 2)
        assert together[name]["loss"] == pytest.approx(loss, rel=1e-5), name
        for what in ("examples", "tokens", "trained_tokens"):
            assert together[name]["counts"][what] == counts[what], name
        assert found.keys() == expected.keys() and found
        for parameter, gradient in expected.items():
            scale = gradient.abs().max()
            assert scale > 0, parameter
            differ = (gradient - found[parameter]).abs().max()
            assert differ <= 1e-5 * scale, f"{name}: {parameter}"
