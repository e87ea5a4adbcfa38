"""Something goes wrong at every single call of a save, and of a whole training.

Small checkpoints, every call: by themselves. A real training: at some of the calls of a save, and
marked slow, at every call of the whole command.
"""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

import pytest
import torch
from attempts import Attempts, Ended, save_checkpoints, small_training
from interference import DELETING
from safetensors.torch import load_file
from same_run import leftovers
from undisturbed import Undisturbed, succeeded

from luthier.run import Run, file_digest
from luthier.training import checkpoint

KILLED = -signal.SIGKILL
ERRORS = {"ENOSPC": "No space left on device", "EROFS": "Read-only", "EIO": "Input/output error"}


# --- a save by itself --------------------------------------------------------------------------


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a checkpoint of step 1 in it."""
    root = tmp_path_factory.mktemp("saved")
    assert save_checkpoints(str(root), "1") == 0
    return root


@pytest.fixture(scope="session")
def calls(
    attempts: Attempts,
    undisturbed: Undisturbed,  # what it imported need not be imported again
    saved: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> list[str]:
    """The calls of a save that nothing disturbs."""
    root = tmp_path_factory.mktemp("counted")
    ended = save_again(attempts, saved, root / "x", kind="kill", at=0)
    assert {"fsync state.json", "rename .staging-00000002", "fsync all"} <= set(ended.calls)
    assert sum(call.startswith("write") for call in ended.calls) > 8
    return succeeded(ended).calls


def save_again(
    attempts: Attempts, saved: Path, root: Path, *, step: int = 2, **interference: object
) -> Ended:
    """Save a step where step 1 is saved, while something goes wrong."""
    shutil.copytree(saved, root)
    wanted = {"folder": str(root), **interference}
    return attempts.run(root, str(step), job="save_checkpoints", interference=wanted)


def content(root: Path) -> dict[str, str]:
    return {str(p.relative_to(root)): file_digest(p) for p in root.rglob("*") if p.is_file()}


def require_one_of_both(root: Path) -> int:
    """One of the two checkpoints is there and whole, its best weights too; returns which."""
    found = checkpoint.load_newest(root / "all")
    assert found is not None and found.state["note"] == [found.step]
    model, optimizer = small_training(found.step)
    best = load_file(checkpoint.weights_file(root / "best", found.step))
    for name, parameter in model.named_parameters():
        assert torch.equal(found.weights[name], parameter)
        assert torch.equal(best[name], parameter)
    for number, moments in optimizer.state_dict()["state"].items():
        for name, moment in moments.items():
            assert torch.equal(found.optimizer["state"][number][name], moment)
    return found.step


@pytest.mark.parametrize("kind", ["kill", "power"])
def test_killed_at_every_call_of_a_save(
    attempts: Attempts, saved: Path, calls: list[str], tmp_path: Path, kind: str
) -> None:
    shutil.copytree(saved, tmp_path / "finished")
    assert save_checkpoints(str(tmp_path / "finished"), "2") == 0
    finished = content(tmp_path / "finished")
    steps = []
    for at, call in enumerate(calls, 1):
        root = tmp_path / str(at)
        ended = save_again(attempts, saved, root, kind=kind, at=at)
        assert ended.code == KILLED, call
        steps.append(require_one_of_both(root))
        # Whoever comes after it ends where nobody was killed, and nothing lies about.
        assert save_checkpoints(str(root), "2") == 0
        assert content(root) == finished
    renamed = calls.index("rename .staging-00000002")
    assert set(steps[: renamed + 1]) == {1} and set(steps[renamed + 2 :]) == {2}


@pytest.mark.parametrize("kind", ["kill", "EIO"])
def test_the_only_checkpoint_saved_again(
    attempts: Attempts, saved: Path, tmp_path: Path, kind: str
) -> None:
    """A step that is saved twice, as where memory runs out right after going on, is never lost."""
    counted = save_again(attempts, saved, tmp_path / "counted", step=1, kind="kill", at=0)
    calls = succeeded(counted).calls
    aside, renamed = calls.index("rename step-00000001"), calls.index("rename .staging-00000001")
    assert aside < renamed
    for at in range(aside - 1, min(renamed + 6, len(calls)) + 1):
        root = tmp_path / str(at)
        ended = save_again(attempts, saved, root, step=1, kind=kind, at=at)
        assert ended.code == (KILLED if kind == "kill" else 2) or calls[at - 1].startswith(DELETING)
        checkpoint.sweep(root / "all")  # as training does before it goes on
        assert require_one_of_both(root) == 1
        assert not list(root.rglob(".*")), calls[at - 1]


@pytest.mark.parametrize("kind", ["ENOSPC", "EIO", pytest.param("EROFS", marks=pytest.mark.slow)])
def test_an_error_at_every_call_of_a_save(
    attempts: Attempts, saved: Path, calls: list[str], tmp_path: Path, kind: str
) -> None:
    shutil.copytree(saved, tmp_path / "finished")
    assert save_checkpoints(str(tmp_path / "finished"), "2") == 0
    finished = content(tmp_path / "finished")
    spared = () if kind == "EROFS" else DELETING
    for at, call in enumerate([c for c in calls if not c.startswith(spared)], 1):
        if kind == "EIO" and not call.startswith("fsync"):
            continue
        root = tmp_path / str(at)
        ended = save_again(attempts, saved, root, kind=kind, at=at)
        assert ended.code == 2, (call, ended.err)
        assert ERRORS[kind] in ended.err and "cannot be written" in ended.err, call
        assert "training goes on from step" in ended.err
        require_one_of_both(root)
        if kind != "EROFS":  # there, nothing can be deleted either
            assert not list(root.rglob(".*")), call
        assert save_checkpoints(str(root), "2") == 0
        assert content(root) == finished


# --- a real training ---------------------------------------------------------------------------


def disturb_and_finish(
    attempts: Attempts, undisturbed: Undisturbed, runs: Path, kind: str, **wanted: object
) -> Ended:
    """Train with something going wrong, then train on: the run ends as if nothing had."""
    args = undisturbed.begin(runs)
    at = {"kind": kind, "at": wanted.pop("at"), "folder": str(runs)}
    ended = attempts.run(*args, interference=at, **wanted)
    if kind in ERRORS and ended.code:
        assert ended.code == 2, ended.err
        assert "Traceback" not in ended.err
        words = (ERRORS[kind], "disk is full", "filesystem is read-only")
        assert any(word in ended.err for word in words), ended.err
        if kind == "ENOSPC":
            assert not leftovers(Run(runs / "tiny"))
    else:
        assert ended.code in (0, KILLED), ended.err
    succeeded(attempts.run(*args, job="train"))
    undisturbed.require_same(runs)
    return ended


@pytest.mark.parametrize(
    ("kind", "call"),
    [
        ("kill", "fsync optimizer.safetensors"),
        ("kill", "rename .staging-00000004"),
        ("ENOSPC", "write optimizer.safetensors"),
        ("EROFS", "mkdir .staging-00000004"),
    ],
)
def test_a_training_disturbed_in_its_second_save(
    attempts: Attempts, undisturbed: Undisturbed, tmp_path: Path, kind: str, call: str
) -> None:
    args = undisturbed.begin(tmp_path / "counted")
    counting = {"kind": kind, "at": 0, "folder": str(tmp_path)}
    calls = succeeded(attempts.run(*args, interference=counting, in_save=2, job="train")).calls

    runs, at = tmp_path / "runs", calls.index(call) + 1
    ended = disturb_and_finish(attempts, undisturbed, runs, kind, at=at, in_save=2)

    assert ended.code == {"kill": KILLED}.get(kind, 2)
    assert [event["step"] for event in Run(runs / "tiny").events("resumed")] == [2]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["kill", "power", "ENOSPC", "EROFS"])
def test_a_training_disturbed_at_every_call(
    attempts: Attempts, undisturbed: Undisturbed, tmp_path: Path, kind: str
) -> None:
    args = undisturbed.begin(tmp_path / "counted")
    counting = {"kind": kind, "at": 0, "folder": str(tmp_path)}
    calls = succeeded(attempts.run(*args, interference=counting)).calls
    assert len(calls) > 200
    for at in range(1, len(calls) + 1):
        disturb_and_finish(attempts, undisturbed, tmp_path / "runs", kind, at=at)
        shutil.rmtree(tmp_path / "runs")
