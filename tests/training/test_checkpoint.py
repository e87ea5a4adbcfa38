"""Checkpoints: whole or not there, verified on load, nothing lost, nothing half deleted."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from safetensors.torch import save as library_save

from luthier.errors import RunError
from luthier.run import file_digest
from luthier.training import checkpoint, durable, optimizers
from luthier.training.config import TrainConfig

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


def trained(optim: str = "adamw_torch") -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)
    model = torch.nn.Linear(80, 80)
    optimizer = optimizers.build(model.parameters(), TrainConfig(optim=optim))
    model(torch.ones(2, 80)).sum().backward()
    optimizer.step()
    return model, optimizer


def save(root: Path, step: int = 1, keep: int = 5, **more: Any) -> Path:
    model, optimizer = trained()
    with torch.no_grad():
        model.bias.fill_(step)
    return checkpoint.save(
        root,
        step=step,
        weights=checkpoint.trained(model),
        optimizer=optimizer.state_dict(),
        state={"note": [step]},
        keep=keep,
        **more,
    )


def newest(root: Path) -> int | None:
    found = checkpoint.load_newest(root)
    assert found is None or found.weights["bias"][0] == found.step
    return found and found.step


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# --- what comes back ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "optim", ["adamw_torch", "adamw_bnb_8bit", "paged_adamw_32bit", "adafactor"]
)
def test_everything_comes_back_equal(tmp_path: Path, optim: str) -> None:
    model, optimizer = trained(optim)
    before = optimizer.state_dict()
    checkpoint.save(
        tmp_path,
        step=7,
        weights=checkpoint.trained(model),
        optimizer=optimizer.state_dict(),
        state={"note": [1]},
        keep=2,
    )
    drawn = torch.rand(3)

    found = checkpoint.load_newest(tmp_path)

    assert found is not None and found.step == 7 and found.state["note"] == [1]
    for name, parameter in model.named_parameters():
        assert torch.equal(found.weights[name], parameter)
    again, fresh = trained(optim)
    checkpoint.set_weights(again, found.weights)
    fresh.load_state_dict(found.optimizer)
    (old, old_rest), (new, new_rest) = map(checkpoint._flatten, (before, fresh.state_dict()))
    assert old_rest == new_rest and old.keys() == new.keys() and old
    assert all(torch.equal(tensor, new[name]) for name, tensor in old.items())
    checkpoint.set_random_state(found.state["random"])
    assert torch.equal(torch.rand(3), drawn)


def test_any_state_comes_back_equal(tmp_path: Path) -> None:
    model, optimizer = trained()
    state = {
        "numbers": [1, 0.1 + 0.2, 1e-300, -0.0, True, None], "pair": (1, (2, [3])),
        "infinite": {"up": math.inf, "down": -math.inf}, "keys": {1: "a", "b": {"$tensor": "x"}},
        "tensors": [torch.arange(3), torch.tensor(2.5)], "text": "é \udc80 \n", "empty": {},
    }  # fmt: skip

    checkpoint.save(
        tmp_path,
        step=1,
        weights=checkpoint.trained(model),
        optimizer=optimizer.state_dict(),
        state=state,
        keep=1,
    )
    found = checkpoint.load_newest(tmp_path)

    assert found is not None
    first, second = found.state.pop("tensors")
    assert torch.equal(first, torch.arange(3)) and torch.equal(second, torch.tensor(2.5))
    del found.state["random"], state["tensors"]
    assert found.state == state
    assert isinstance(found.state["pair"][1], tuple) and math.copysign(1, found.state["numbers"][3])


def test_what_is_not_a_number_is_still_json(tmp_path: Path) -> None:
    model, optimizer = trained()
    state = {"loss": math.nan}
    folder = checkpoint.save(
        tmp_path,
        step=1,
        weights=checkpoint.trained(model),
        optimizer=optimizer.state_dict(),
        state=state,
        keep=1,
    )

    json.loads((folder / "state.json").read_text(), parse_constant=lambda name: pytest.fail(name))
    found = checkpoint.load_newest(tmp_path)
    assert found is not None and math.isnan(found.state["loss"])


def test_tensors_are_the_bytes_that_safetensors_writes(tmp_path: Path) -> None:
    torch.manual_seed(0)
    tensors = {
        f'{dtype} {shape} é"': (torch.rand(shape) * 100).to(dtype)
        for dtype in durable._DTYPES
        for shape in ((), (0,), (3,), (2, 3, 5))
    }
    tensors["a view"] = torch.rand(6, 4).t()[1:3]

    record = durable.write_tensors(tmp_path / "x.safetensors", tensors)

    written = (tmp_path / "x.safetensors").read_bytes()
    assert written == library_save({name: t.contiguous() for name, t in tensors.items()})
    assert record == {"size": len(written), "sha256": file_digest(tmp_path / "x.safetensors")}
    for name, tensor in load_file(tmp_path / "x.safetensors").items():
        assert torch.equal(tensor, tensors[name]) and tensor.dtype == tensors[name].dtype


# --- damage ------------------------------------------------------------------------------------


def flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(bytes(data))


def cut(file: Path) -> None:
    os.truncate(file, file.stat().st_size - 1)


def empty(file: Path) -> None:
    os.truncate(file, 0)


def lose(file: Path) -> None:
    file.unlink()


@pytest.mark.parametrize("damage", [flip, cut, empty, lose])
@pytest.mark.parametrize("name", [*checkpoint.FILES, "manifest.json"])
def test_a_damaged_checkpoint_is_named_and_passed_over(
    tmp_path: Path, name: str, damage: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    save(tmp_path, 1)
    damage(save(tmp_path, 2) / name)

    assert newest(tmp_path) == 1

    said = " ".join(capsys.readouterr().err.split())
    assert "step-00000002" in said and "trying the one before" in said
    assert name in said or name == "manifest.json"


@pytest.mark.parametrize("text", ["[]", "null", "{}", '{"state.json": 1}', "\x00", "[" * 10_000])
def test_a_manifest_that_is_something_else(tmp_path: Path, text: str) -> None:
    save(tmp_path, 1)
    (save(tmp_path, 2) / "manifest.json").write_text(text)

    assert newest(tmp_path) == 1


def test_when_all_are_damaged_training_starts_again(tmp_path: Path) -> None:
    for step in (1, 2):
        flip(save(tmp_path, step) / "weights.safetensors")

    assert newest(tmp_path) is None


def test_a_damaged_one_takes_no_good_ones_place(tmp_path: Path) -> None:
    """Going back to step 1, the next save must not be deleted for being older than the damage."""
    save(tmp_path, 1, keep=1)
    flip(save(tmp_path, 3, keep=2) / "state.json")
    assert newest(tmp_path) == 1

    save(tmp_path, 2, keep=1)

    assert names(tmp_path) == ["step-00000002"]
    assert newest(tmp_path) == 2
    flip(save(tmp_path, 3, keep=2) / "state.json")
    save(tmp_path, 3, keep=2)
    assert newest(tmp_path) == 3


def test_the_older_ones_stay_until_the_new_one_verifies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path, 1, keep=1)
    write = durable.write

    def wrong(path: Path, data: bytes) -> dict[str, Any]:
        record = write(path, data)
        if path.name == "state.json":
            flip(path)  # what a failing disk does
        return record

    monkeypatch.setattr(checkpoint, "write", wrong)
    with pytest.raises(RunError, match=r"reads back differently.*goes on from step 1\."):
        save(tmp_path, 2, keep=1)

    assert names(tmp_path) == ["step-00000001"]
    assert newest(tmp_path) == 1


# --- what is kept and what is swept ------------------------------------------------------------


def test_only_the_newest_are_kept(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        save(tmp_path, step, keep=2)

    assert names(tmp_path) == ["step-00000002", "step-00000003"]


def test_leftovers_of_a_killed_save_are_swept(tmp_path: Path) -> None:
    (tmp_path / ".staging-00000009").mkdir()
    (tmp_path / ".staging-00000009" / "weights.safetensors").write_bytes(b"half")
    (tmp_path / ".staging-00000008").write_bytes(b"half")
    (tmp_path / ".deleted-step-00000007").mkdir()
    (tmp_path / "step-notes.txt").write_text("mine")

    assert newest(tmp_path) is None
    save(tmp_path, 1)

    assert names(tmp_path) == ["step-00000001", "step-notes.txt"]


def test_too_little_space_is_said_before_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path, 1)
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(checkpoint.shutil, "disk_usage", lambda path: usage)

    with pytest.raises(RunError, match=r"needs 1\d\d\.\d kB and 1\.0 kB are free.*from step 1\."):
        save(tmp_path, 2, keep=1)
    assert names(tmp_path) == ["step-00000001"]


def test_an_earlier_one_can_be_asked_for(tmp_path: Path) -> None:
    for step in (2, 4, 6):
        save(tmp_path, step)

    for before, step in ((7, 6), (6, 4), (5, 4), (2, None)):
        found = checkpoint.load_newest(tmp_path, before=before)
        assert (found and found.step) == step


# --- whose it is -------------------------------------------------------------------------------


def test_a_checkpoint_of_something_else_is_refused(tmp_path: Path) -> None:
    save(tmp_path, 1, belongs_to="this")

    assert checkpoint.load_newest(tmp_path, belongs_to="this") is not None
    for other in ("that", None):
        with pytest.raises(RunError, match=r"belongs to another recipe.*Delete"):
            checkpoint.load_newest(tmp_path, belongs_to=other)


@pytest.mark.parametrize(
    "other",
    [torch.nn.Linear(80, 80, bias=False), torch.nn.Linear(80, 40), torch.nn.Linear(1, 80)],
    ids=["fewer", "smaller", "broadcast"],
)
def test_another_models_weights_are_refused(tmp_path: Path, other: torch.nn.Module) -> None:
    save(tmp_path)
    found = checkpoint.load_newest(tmp_path)
    assert found is not None
    before = [p.clone() for p in other.parameters()]

    with pytest.raises(RunError, match="another model"):
        checkpoint.set_weights(other, found.weights)
    assert all(torch.equal(a, b) for a, b in zip(before, other.parameters(), strict=True))


# --- the best weights --------------------------------------------------------------------------


def best(tmp_path: Path, step: int) -> dict[Path, str]:
    folder, root = tmp_path / "best", tmp_path / "all"
    digest = checkpoint.save_weights(folder, checkpoint.trained(trained()[0]), step, root=root)
    return {checkpoint.weights_file(folder, step): digest}


def test_the_best_weights_stay_while_a_checkpoint_names_them(tmp_path: Path) -> None:
    """After going back, the best may not come again: they may not be there no more."""
    folder, root = tmp_path / "best", tmp_path / "all"
    save(root, 2, beside=best(tmp_path, 1), keep=1)
    for step in (3, 4):
        later = best(tmp_path, step)
        assert names(folder) == ["step-00000001.safetensors", f"step-0000000{step}.safetensors"]
    assert newest(root) == 2
    save(root, 4, beside=later, keep=1)
    assert names(folder) == ["step-00000004.safetensors"]


@pytest.mark.parametrize("damage", [flip, lose])
def test_a_checkpoint_without_its_best_weights_is_damaged(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    root = tmp_path / "all"
    save(root, 1)
    kept = best(tmp_path, 2)
    save(root, 2, beside=kept)
    damage(*kept)

    with pytest.raises(RunError, match=r"best weights are missing or damaged.*goes back"):
        checkpoint.load_weights(tmp_path / "best", 2, *kept.values())
    assert newest(root) == 1


def test_the_best_weights_come_back_equal(tmp_path: Path) -> None:
    model, _ = trained()
    kept = best(tmp_path, 5)

    found = checkpoint.load_weights(tmp_path / "best", 5, *kept.values())

    assert all(torch.equal(found[n], p) for n, p in model.named_parameters())
