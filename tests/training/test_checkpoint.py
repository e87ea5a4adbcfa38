"""Checkpoints: whole or not there, verified on load, no pickle."""

import json
import pickletools
from pathlib import Path

import pytest
import torch

from luthier.errors import RunError
from luthier.training import checkpoint, optimizers
from luthier.training.config import TrainConfig

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


def trained(optim: str = "adamw_torch") -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)
    model = torch.nn.Linear(80, 80)
    optimizer = optimizers.build(model.parameters(), TrainConfig(optim=optim))
    model(torch.ones(2, 80)).sum().backward()
    optimizer.step()
    return model, optimizer


def save(root: Path, step: int = 1, optim: str = "adamw_torch", keep: int = 5) -> torch.nn.Module:
    model, optimizer = trained(optim)
    checkpoint.save(
        root, step=step, model=model, optimizer=optimizer, state={"note": [step]}, keep=keep
    )
    return model


@pytest.mark.parametrize(
    "optim", ["adamw_torch", "adamw_bnb_8bit", "paged_adamw_32bit", "adafactor"]
)
def test_everything_comes_back_equal(tmp_path: Path, optim: str) -> None:
    model, optimizer = trained(optim)
    before = optimizer.state_dict()
    checkpoint.save(tmp_path, step=7, model=model, optimizer=optimizer, state={"note": [1]}, keep=2)
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


@pytest.mark.parametrize("name", [*checkpoint.FILES, "manifest.json"])
def test_a_damaged_checkpoint_is_passed_over(tmp_path: Path, name: str) -> None:
    save(tmp_path, 1)
    save(tmp_path, 2)
    file = tmp_path / "step-00000002" / name
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 0xFF
    file.write_bytes(bytes(data))

    found = checkpoint.load_newest(tmp_path)

    assert found is not None and found.step == 1


def test_only_the_newest_are_kept(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        save(tmp_path, step, keep=2)

    assert [p.name for p in sorted(tmp_path.iterdir())] == ["step-00000002", "step-00000003"]


def test_leftovers_of_a_killed_save_are_swept(tmp_path: Path) -> None:
    (tmp_path / ".staging-00000009").mkdir(parents=True)
    (tmp_path / ".staging-00000009" / "weights.safetensors").write_bytes(b"half")

    assert checkpoint.load_newest(tmp_path) is None
    save(tmp_path, 1)

    assert [p.name for p in tmp_path.iterdir()] == ["step-00000001"]


def test_too_little_space_is_said_before_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = checkpoint.shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(checkpoint.shutil, "disk_usage", lambda path: usage)

    with pytest.raises(RunError, match=r"needs \d+ MB and 0 MB are free"):
        save(tmp_path)
    assert not list(tmp_path.iterdir())


def test_another_models_weights_are_refused(tmp_path: Path) -> None:
    save(tmp_path)
    found = checkpoint.load_newest(tmp_path)
    assert found is not None

    with pytest.raises(RunError, match="another model"):
        checkpoint.set_weights(torch.nn.Linear(80, 80, bias=False), found.weights)


def test_no_file_is_a_pickle(tmp_path: Path) -> None:
    save(tmp_path)

    files = [p for p in tmp_path.rglob("*") if p.is_file()]

    assert len(files) == 4
    for file in files:
        data = file.read_bytes()
        protocols = tuple(bytes([0x80, n]) for n in range(2, 6))
        assert not data.startswith((b"PK", *protocols))
        with pytest.raises((ValueError, UnicodeDecodeError, IndexError)):
            list(pickletools.genops(data))
    json.loads((tmp_path / "step-00000001" / "state.json").read_text())
