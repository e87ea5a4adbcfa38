"""Stopped by a signal, killed in a save, damaged, brought from elsewhere: what resuming does."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from attempts import Attempts
from same_run import leftovers
from undisturbed import Undisturbed, succeeded

from luthier.run import Run
from luthier.training import checkpoint

KILLED = -signal.SIGKILL


@pytest.fixture(scope="session")
def interrupted(
    attempts: Attempts, undisturbed: Undisturbed, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A folder of runs whose training was killed in its third save; look, do not touch."""
    runs = tmp_path_factory.mktemp("interrupted") / "runs"
    args = undisturbed.begin(runs)
    kill = {"kind": "kill", "at": 20, "folder": str(runs)}
    assert attempts.run(*args, interference=kill, in_save=3).code == KILLED
    assert names(runs) == [".staging-00000006", "step-00000002", "step-00000004"]
    return runs


def names(runs: Path) -> list[str]:
    return sorted(path.name for path in (runs / "tiny/train/checkpoints").iterdir())


def resumed_at(runs: Path) -> list[int]:
    return [event["step"] for event in Run(runs / "tiny").events("resumed")]


# --- signals -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "during", "saved"),
    [
        ("SIGTERM", "write weights.safetensors", 3),  # in the save of step 2
        ("SIGTERM", "mkdir best", 3),  # in the validation after step 3
        ("SIGINT", "mkdir best", 3),
        ("insist", "open .staging-00000003", None),  # the second Ctrl-C is in the middle of it
        ("insist", "fsync state.json", None),
    ],
)
def test_a_signal_saves_and_exits(
    attempts: Attempts,
    undisturbed: Undisturbed,
    tmp_path: Path,
    kind: str,
    during: str,
    saved: int | None,
) -> None:
    args = undisturbed.begin(tmp_path / "counted")
    counting = {"kind": kind, "at": 0, "folder": str(tmp_path)}
    calls = succeeded(attempts.run(*args, interference=counting)).calls
    args = undisturbed.begin(runs := tmp_path / "runs")
    sent = {"kind": kind, "at": calls.index(during) + 1, "folder": str(runs)}

    ended = attempts.run(*args, interference=sent)

    assert ended.code == 130, ended.err
    assert "stopping after this step" in ended.err
    assert "stopped; repeat the command to go on" in ended.err
    assert not leftovers(Run(runs / "tiny"))
    if saved:
        assert names(runs)[-1] == f"step-{saved:08d}"
    succeeded(attempts.run(*args, job="train"))
    undisturbed.require_same(runs)
    assert saved is None or resumed_at(runs) == [saved]


# --- one writer --------------------------------------------------------------------------------


def test_a_second_process_is_told_who_is_at_work(
    attempts: Attempts, undisturbed: Undisturbed, tmp_path: Path
) -> None:
    args = undisturbed.begin(runs := tmp_path / "runs")
    stop = {"kind": "SIGSTOP", "at": 10, "folder": str(runs)}
    first = attempts.run(*args, interference=stop, in_save=2)
    assert first.stopped

    second = attempts.run(*args)

    assert second.code == 2, second.err
    assert f"{runs / 'tiny'} is in use by process {first.stopped} on " in second.err
    assert names(runs) == [".staging-00000004", "step-00000002"]
    assert attempts.go_on().code == 0
    undisturbed.require_same(runs)


def test_what_a_dead_writer_left_is_swept(
    attempts: Attempts, undisturbed: Undisturbed, interrupted: Path, tmp_path: Path
) -> None:
    """After a reboot as after a kill: the lock has died with its process."""
    shutil.copytree(interrupted, runs := tmp_path / "runs")
    train = runs / "tiny/train"
    (train / "best/.staging-00000005").write_bytes(b"half")
    (train / "checkpoints/.deleted-step-00000001").mkdir()
    args = ("train", undisturbed.project.recipe, "--runs", runs)
    # Killed before its first save: what is gone was swept before that.
    kill = {"kind": "kill", "at": 1, "folder": str(runs)}

    assert attempts.run(*args, interference=kill, in_save=1).code == KILLED

    assert names(runs) == ["step-00000002", "step-00000004"]
    assert not leftovers(Run(runs / "tiny"))
    succeeded(attempts.run(*args, job="train"))
    undisturbed.require_same(runs)


# --- damage ------------------------------------------------------------------------------------


def cut(folder: Path) -> None:
    os.truncate(folder / "optimizer.safetensors", 1000)


def flip(folder: Path) -> None:
    path = folder / "weights.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def without_manifest(folder: Path) -> None:
    (folder / "manifest.json").unlink()


def without_best(folder: Path) -> None:
    shutil.rmtree(folder.parent.parent / "best")


@pytest.mark.parametrize(
    ("damage", "said", "step"),
    [
        (cut, "optimizer.safetensors has 1,000 bytes instead of", 2),
        (flip, "weights.safetensors is damaged", 2),
        (without_manifest, "manifest.json is missing", 2),
        (without_best, "best/step-00000003.safetensors is missing", 2),
    ],
)
def test_a_damaged_checkpoint_falls_back_to_the_one_before(
    attempts: Attempts,
    undisturbed: Undisturbed,
    interrupted: Path,
    tmp_path: Path,
    damage: Callable[[Path], None],
    said: str,
    step: int,
) -> None:
    shutil.copytree(interrupted, runs := tmp_path / "runs")
    damage(newest := runs / "tiny/train/checkpoints/step-00000004")

    args = ("train", undisturbed.project.recipe, "--runs", runs)
    ended = succeeded(attempts.run(*args, job="train"))

    assert f"{newest}: " in ended.err and said in ended.err
    assert resumed_at(runs) == [step]
    undisturbed.require_same(runs)


def test_without_any_good_checkpoint_training_starts_again(
    attempts: Attempts, undisturbed: Undisturbed, interrupted: Path, tmp_path: Path
) -> None:
    shutil.copytree(interrupted, runs := tmp_path / "runs")
    for folder in (runs / "tiny/train/checkpoints").glob("step-*"):
        flip(folder)

    args = ("train", undisturbed.project.recipe, "--runs", runs)
    ended = succeeded(attempts.run(*args, job="train"))

    assert ended.err.count("weights.safetensors is damaged") == 2
    assert resumed_at(runs) == []
    undisturbed.require_same(runs)


# --- from elsewhere ----------------------------------------------------------------------------


def test_a_checkpoint_of_another_recipe_is_refused(
    attempts: Attempts, undisturbed: Undisturbed, interrupted: Path, tmp_path: Path
) -> None:
    """The same shapes, another learning rate: it would load, and silently be something else."""
    shutil.copytree(interrupted, runs := tmp_path / "runs")
    other = undisturbed.begin(tmp_path / "other")
    kill = {"kind": "kill", "at": 1, "folder": str(tmp_path)}
    rate = "train.learning_rate=2e-2"
    assert attempts.run(*other, rate, interference=kill, in_save=2).code == KILLED
    (foreign,) = (tmp_path / "other").glob("tiny-*/train/checkpoints/step-00000002")
    for place in ("step-00000002", "step-00000004"):
        shutil.rmtree(runs / "tiny/train/checkpoints" / place)
    shutil.copytree(foreign, put := runs / "tiny/train/checkpoints/step-00000002")

    ended = attempts.run("train", undisturbed.project.recipe, "--runs", runs)

    assert ended.code == 2, ended.err
    assert f"{put}: the checkpoint belongs to another recipe" in ended.err
    assert f"Delete {put.parent} to start again" in ended.err
    assert checkpoint._problem(put) == ""
    shutil.rmtree(put.parent)
    succeeded(attempts.run("train", undisturbed.project.recipe, "--runs", runs, job="train"))
    undisturbed.require_same(runs)
