"""Memory that really runs out: failing allocations, and a control group that the kernel guards."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from little_memory import train_in_children

from luthier import recipe as recipes
from luthier.data.build import build
from luthier.planning.plan import plan
from luthier.run import Run, file_digest

MB = 10**6
pytestmark = pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="limits on what a process maps are Linux's"
)


def make_run(folder: Path, model: Path, *, words: int, **train: Any) -> Run:
    """A run whose data and plan are done, of rows with about four tokens a word."""
    lines = ["sentence,label"]
    for i in range(80):
        some = " ".join(f"{'red' if i % 2 else 'blue'} {i * j % 97}" for j in range(words))
        lines.append(f"Row {i} is {some}.,{bool(i % 2)}")
    folder.mkdir()
    (folder / "rows.csv").write_text("\n".join(lines), encoding="utf-8")
    settings = {"bf16": False, "lora": {"r": 4}, "max_seq_length": 1024, "learning_rate": 1e-2}
    asked = {
        "name": "tiny",
        "model": str(model),
        "task": {"kind": "classification", "labels": ["True", "False"]},
        "data": {
            "sources": [{"path": "rows.csv", "input": "sentence", "output": "label"}],
            "template": "promise_instruction_first",
        },
        "train": {**settings, **train},
    }
    (folder / "recipe.yaml").write_text(json.dumps(asked), encoding="utf-8")
    run = Run.create(recipes.load(folder / "recipe.yaml", []), folder / "runs")
    with run.stage("data", "d"):
        build(run)
    with run.stage("plan", "p"):
        plan(run)
    return run


def copied(run: Run, name: str) -> Run:
    """The same run again."""
    return Run(shutil.copytree(run.path, run.path.with_name(name)))


@contextmanager
def control_group(limit: int) -> Iterator[Path | None]:
    """A control group of memory; None where there is no right to make one."""
    for line in Path("/proc/self/cgroup").read_text(encoding="ascii").splitlines():
        number, controllers, path = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        base = Path("/sys/fs/cgroup") / ("" if number == "0" else controllers)
        group = base / path.lstrip("/") / f"luthier-{os.getpid()}"
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            for name in ("memory.max", "memory.limit_in_bytes"):
                if (group / name).exists():
                    (group / name).write_text(str(limit))
                    yield group
                    return
        finally:
            group.rmdir()
    yield None


@pytest.fixture(scope="module")
def happened(tmp_path_factory: pytest.TempPathFactory, tiny_model_dir: Path) -> dict[str, Any]:
    """All trainings of this file: the run and the exit code of each, by name."""
    folder = tmp_path_factory.mktemp("memory")
    small = {"words": 50, "per_device_train_batch_size": 16, "max_steps": 3, "save_steps": 1}
    plain = make_run(folder / "small", tiny_model_dir, **small)
    found = make_run(folder / "found", tiny_model_dir, **small, auto_find_batch_size=True)
    long = {"words": 150, "max_steps": 1}
    large = make_run(folder / "large", tiny_model_dir, **long, per_device_train_batch_size=48)
    never = make_run(
        folder / "never",
        tiny_model_dir,
        **long,
        per_device_train_batch_size=16,
        auto_find_batch_size=True,
    )
    runs = {
        "plain": plain,
        "cramped": copied(plain, "cramped"),
        "resumed": Run(plain.path.with_name("resumed")),
        "found": found,
        "stopped": never,
        "killed": large,
        "guarded": copied(large, "guarded"),
    }
    with control_group(limit=300 * MB) as group:
        cases: dict[str, dict[str, Any]] = {
            "plain": {},
            "cramped": {"within": 2, "extra": 10 * MB, "copy": runs["resumed"].path},
            "resumed": {},
            "found": {"within": "find", "extra": 25 * MB},
            # Less than a row of 600 tokens takes, more than Python asks for at a time (1 MiB).
            "stopped": {"within": "find", "extra": 3 * MB // 2},
        }
        if group is not None:
            cases["killed"] = {"within": group, "guarded": False}
            cases["guarded"] = {"within": group}
        codes = train_in_children([{"run": runs[name].path, **c} for name, c in cases.items()])
    return {name: (runs[name], code) for name, code in zip(cases, codes, strict=True)}


def test_a_step_that_fails_is_done_again_in_smaller_pieces(happened: dict[str, Any]) -> None:
    (plain, _), (run, code) = happened["plain"], happened["cramped"]

    assert code == 0
    rungs = run.events("memory")
    assert {e["step"] for e in rungs} == {2}
    assert rungs[0]["change"] == "micro-batches" and rungs[0]["rows"] == 8
    assert "no room for" in rungs[0]["reason"]
    kept = ("step", "lr", "examples", "tokens", "trained_tokens")
    steps, expected = run.events("step"), plain.events("step")
    assert [[e[k] for k in kept] for e in steps] == [[e[k] for k in kept] for e in expected]
    assert [e["loss"] for e in steps] == pytest.approx([e["loss"] for e in expected], rel=1e-5)
    # A shared prefix is computed once a piece: after the failure there are more pieces.
    assert steps[0]["computed_tokens"] == expected[0]["computed_tokens"]
    assert all(e["computed_tokens"] > expected[0]["computed_tokens"] for e in steps[1:])


def test_a_resumed_run_goes_on_in_the_same_pieces(happened: dict[str, Any]) -> None:
    (run, _), (again, code) = happened["cramped"], happened["resumed"]

    assert code == 0
    assert len(again.events("resumed")) == 1
    assert again.events("memory") == run.events("memory")
    weights = "train/adapter/adapter_model.safetensors"
    assert file_digest(again.path / weights) == file_digest(run.path / weights)


def test_the_batch_is_found_before_training(happened: dict[str, Any]) -> None:
    run, code = happened["found"]

    assert code == 0 and run.is_done("train")
    rungs = run.events("memory")
    rows = [e["rows"] for e in rungs if e["change"] == "micro-batches"]
    assert rows == [8, 4, 2, 1][: len(rungs)] and {e["step"] for e in rungs} == {1}
    expected = happened["plain"][0].events("step")
    assert [e["examples"] for e in run.events("step")] == [e["examples"] for e in expected]


def test_where_nothing_fits_training_stops(happened: dict[str, Any]) -> None:
    run, code = happened["stopped"]

    assert code == 0 and not run.is_done("train")
    halved = [("micro-batches", rows) for rows in (8, 4, 2, 1)]
    changes = [(e["change"], e.get("rows")) for e in run.events("memory")]
    assert changes == [*halved, ("gradient checkpointing", None)]
    (stopped,) = run.events("stopped")
    assert stopped["said"].startswith("step 1 does not fit into memory, not even one row at a time")
    assert "with gradient checkpointing: no room for" in stopped["said"]
    assert "train.max_seq_length" in stopped["said"]
    assert not run.events("step")


def test_the_kernel_does_not_get_to_decide(happened: dict[str, Any]) -> None:
    if "killed" not in happened:
        pytest.skip("a control group of one's own takes root")
    (killed, code), (run, guarded) = happened["killed"], happened["guarded"]

    assert code == -signal.SIGKILL and not killed.events("step")
    assert guarded == 0 and run.is_done("train")
    first = run.events("memory")[0]
    assert first["change"] == "micro-batches"
    assert first["reason"].endswith(("are free", "of main memory are left"))
    assert run.events("step")[0]["examples"] == killed.read_json("plan/plan.json")["train_rows"]
