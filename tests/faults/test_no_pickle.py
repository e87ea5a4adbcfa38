"""No pickle anywhere in a run folder: its bytes are looked through, whatever the names say."""

from __future__ import annotations

import io
import json
import pickle
import pickletools
import re
import shutil
import signal
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from attempts import Attempts
from undisturbed import Undisturbed

# What is no pickle may look like text with odd escapes to who reads it as one.
pytestmark = pytest.mark.filterwarnings("ignore:invalid escape sequence:DeprecationWarning")
NAMES = {".pt", ".pth", ".bin", ".pkl", ".pickle", ".ckpt", ".joblib", ".npy", ".npz", ".pck"}
FRAME = re.compile(rb"\x80[\x04\x05]\x95(.{8})", re.DOTALL)
"""How protocols 4 and 5 begin: version, then a frame with its length."""
GLOBAL = re.compile(
    rb"\x80[\x02\x03](}q|\]q|\([KUX]|\x8a\nl|c[a-z_]{3})|c(torch|builtins|__builtin__|numpy)[\w.]*\n\w+\n"
)
"""How protocols 2 and 3 begin, and how all up to 3 name a class."""


def why_pickle(name: str, data: bytes) -> str:
    """Why a file may be, or hold, a pickle; empty where it does not."""
    if Path(name).suffix in NAMES:
        return "its name"
    if b"PK\x03\x04" in data:
        return "a zip archive, as torch.save and numpy write it"
    if any(int.from_bytes(found[1], "little") < len(data) for found in FRAME.finditer(data)):
        return "a pickle of protocol 4 or 5"
    if GLOBAL.search(data):
        return "a pickle of protocol 2 or 3"
    try:
        ends = [at for _, _, at in pickletools.genops(data)]
    except (ValueError, UnicodeDecodeError, IndexError):
        return ""
    return "it reads as a pickle" if ends[-1] == len(data) - 1 else ""


def pickles(folder: Path) -> dict[str, str]:
    found = {
        str(path.relative_to(folder)): why_pickle(path.name, path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file()
    }
    assert len(found) > 8
    return {name: why for name, why in found.items() if why}


class Anything:
    """A class of one's own."""


def torch_saved(value: object, **how: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer, **how)
    return buffer.getvalue()


def zipped(value: object) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("data.pkl", pickle.dumps(value))
    return buffer.getvalue()


def saved_array(value: object) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.array([value], dtype=object), allow_pickle=True)
    return buffer.getvalue()


@pytest.mark.parametrize("before", [b"", b'{"a": 1}\n' * 9], ids=["whole", "inside"])
@pytest.mark.parametrize(
    "make",
    [
        *(lambda value, n=n: pickle.dumps(value, protocol=n) for n in range(6)),
        torch_saved,
        lambda value: torch_saved(value, _use_new_zipfile_serialization=False),
        zipped,
        saved_array,
    ],
    ids=[*(f"protocol {n}" for n in range(6)), "torch", "old torch", "zip", "numpy"],
)
def test_the_search_finds_pickles(make: Callable[[object], bytes], before: bytes) -> None:
    values = ({"lr": 0.1, "weights": [1.0] * 20}, Anything(), torch.ones(3))
    for value in values[1:] if before else values:
        assert why_pickle("state.json", before + make(value))


def test_the_search_lets_other_files_pass() -> None:
    assert not why_pickle("state.json", json.dumps({"lr": 0.1, "c": ["N."] * 50}).encode())
    assert not why_pickle("empty", b"")
    assert why_pickle("scheduler.pt", b"")


def test_no_pickle_in_a_finished_run(undisturbed: Undisturbed) -> None:
    run = undisturbed.project.path / "first/tiny"
    assert (run / "report.html").is_file() and (run / "train/adapter").is_dir()

    assert pickles(run) == {}


def test_no_pickle_in_an_interrupted_run(
    attempts: Attempts, undisturbed: Undisturbed, tmp_path: Path
) -> None:
    args = undisturbed.begin(runs := tmp_path / "runs")
    kill = {"kind": "kill", "at": 22, "folder": str(runs)}
    assert attempts.run(*args, interference=kill, in_save=3).code == -signal.SIGKILL
    found = {path.name for path in (runs / "tiny/train/checkpoints").iterdir()}
    assert found == {".staging-00000006", "step-00000002", "step-00000004"}

    assert pickles(runs / "tiny") == {}

    (runs / "tiny/train/checkpoints/step-00000004/state.json").write_bytes(pickle.dumps({}))
    assert list(pickles(runs / "tiny")) == ["train/checkpoints/step-00000004/state.json"]
    shutil.rmtree(runs)
