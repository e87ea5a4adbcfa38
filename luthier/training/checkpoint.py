"""Checkpoints: all of a run's state at an optimizer step, as safetensors and JSON, no pickle.

    checkpoints/step-00000050/
      weights.safetensors     the trained parameters
      optimizer.safetensors   the optimizer's tensors
      state.json              schedule, sampler position, random state, history, optimizer scalars
      manifest.json           size and sha256 of the others, written last
    best/step-00000040.safetensors      the best weights so far; manifests name it

A checkpoint is staged beside its final place, every file fsynced, read back and compared with its
manifest, and renamed, so a name that looks like a checkpoint is one. Only then are older ones
deleted. On load the newest one whose manifest verifies wins. One process writes: the run's lock.
"""

from __future__ import annotations

import base64
import contextlib
import json
import math
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file
from torch import Tensor

from luthier.atomic import make_durable
from luthier.console import say, size
from luthier.errors import RunError
from luthier.run import file_digest
from luthier.training.durable import byte_size, write, write_tensors

FILES = ("weights.safetensors", "optimizer.safetensors", "state.json")
_FORMER = ".former-"
SLACK = 2**16
"""Bytes beyond the tensors and the JSON: headers, the manifest, directory entries."""


class Checkpoint(NamedTuple):
    """A checkpoint as read."""

    step: int
    weights: dict[str, Tensor]
    optimizer: dict[str, Any]
    """As `torch.optim.Optimizer.state_dict()`."""
    state: dict[str, Any]


# --- saving ------------------------------------------------------------------------------------


def save(
    root: Path,
    *,
    step: int,
    weights: Mapping[str, Tensor],
    optimizer: Mapping[str, Any],
    state: dict[str, Any],
    keep: int,
    belongs_to: str | None = None,
    log: Path | None = None,
    beside: Mapping[Path, str] | None = None,
) -> Path:
    """Write a checkpoint, then delete all but the newest `keep`.

    Tensors go to the file one after another, so no second copy of the model is in memory.

    Args:
        root: the folder of checkpoints; made if it is not there.
        step: optimizer steps done.
        weights: the trained parameters by name.
        optimizer: its `state_dict()`.
        state: the rest, of plain values and tensors.
        keep: how many checkpoints stay.
        belongs_to: what `load_newest` must be asked for to get it.
        log: a file that grows and must not lose what it holds now; it goes to the disk first.
        beside: files elsewhere that it is of no use without -> their sha256.

    Raises:
        RunError: too little space, or it cannot be written, or what was written reads back
            differently. Nothing is left behind, and the older checkpoints are kept.
    """
    final, staging = _folder(root, step), root / f".staging-{step:08d}"
    whole = {"optimizer": optimizer, "random": random_state(), "state": state}
    tensors, plain = _flatten(whole)
    document = {"step": step, "belongs_to": belongs_to, **plain}
    text = json.dumps(document, allow_nan=False).encode()
    try:
        if log:
            make_durable(log)
        _make_folder(root)
        sweep(root)
        _require_space(root, byte_size(weights) + byte_size(tensors) + len(text), root)
        staging.mkdir()
        manifest = {
            "weights.safetensors": write_tensors(staging / "weights.safetensors", weights),
            "optimizer.safetensors": write_tensors(staging / "optimizer.safetensors", tensors),
            "state.json": write(staging / "state.json", text),
        }
        for path, digest in (beside or {}).items():
            name = os.path.relpath(path, final)
            manifest[name] = {"size": path.stat().st_size, "sha256": digest}
        write(staging / "manifest.json", json.dumps(manifest, indent=1).encode())
        make_durable(staging)
        if problem := _problem(staging):
            raise RunError(
                f"{final}: the checkpoint reads back differently from what was written "
                f"({problem}). The disk may be failing. {_way_back(root)}"
            )
        if final.exists():
            # Damaged, or saved twice; perhaps all there is until the new one has its name.
            os.rename(final, _former(final))
        os.rename(staging, final)
        make_durable(root)
        sweep(root)
        _retain(root, step, keep)
        for path in beside or {}:
            _drop_unneeded(path.parent, root, path)
    except OSError as error:
        shutil.rmtree(staging, ignore_errors=True)
        with contextlib.suppress(OSError):
            _bring_back(root)
        raise RunError(
            f"{final}: the checkpoint cannot be written: {error.strerror or error}. Free some "
            f"space or choose another folder with --runs. {_way_back(root)}"
        ) from error
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    return final


def save_weights(folder: Path, weights: Mapping[str, Tensor], step: int, *, root: Path) -> str:
    """Keep the trained weights of a step, and drop kept ones that no checkpoint needs.

    Args:
        folder: where kept weights are.
        weights: the trained parameters by name.
        step: optimizer steps done.
        root: the folder of checkpoints.

    Returns:
        The file's sha256, to be asked for on load.

    Raises:
        RunError: too little space, or it cannot be written; nothing is left behind.
    """
    final, staging = weights_file(folder, step), folder / f".staging-{step:08d}"
    try:
        _make_folder(folder)
        sweep(folder)
        _require_space(folder, byte_size(weights), root)
        record = write_tensors(staging, weights)
        os.replace(staging, final)
        make_durable(folder)
        _drop_unneeded(folder, root, final)
    except OSError as error:
        with contextlib.suppress(OSError):
            staging.unlink(missing_ok=True)
        raise RunError(
            f"{final}: the best weights cannot be written: {error.strerror or error}. Free some "
            f"space or choose another folder with --runs. {_way_back(root)}"
        ) from error
    except BaseException:
        staging.unlink(missing_ok=True)
        raise
    return str(record["sha256"])


def weights_file(folder: Path, step: int) -> Path:
    """Where `save_weights` keeps the weights of a step."""
    return folder / f"step-{step:08d}.safetensors"


def _make_folder(folder: Path) -> None:
    if not folder.is_dir():
        folder.mkdir(parents=True)
        make_durable(folder.parent)


def sweep(folder: Path) -> None:
    """Delete what killed saves and killed deletions left behind, but for what they would lose.

    Whoever calls it holds the run's lock, so nobody is at work on them.
    """
    _bring_back(folder)
    for leftover in [*folder.glob(".staging-*"), *folder.glob(".deleted-*")]:
        shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()


def _former(final: Path) -> Path:
    """Where a checkpoint waits while another one of the same step takes its name."""
    return final.with_name(_FORMER + final.name)


def _bring_back(root: Path) -> None:
    """Give checkpoints their names back that were to be replaced and were not."""
    for former in root.glob(f"{_FORMER}*"):
        final = root / former.name.removeprefix(_FORMER)
        if final.exists():
            shutil.rmtree(former)
        else:
            os.rename(former, final)


def _retain(root: Path, step: int, keep: int) -> None:
    """Delete all but the newest `keep` checkpoints up to `step`.

    Later ones are damaged, or of a path that training went back from.
    """
    found = _steps(root)
    wanted = [number for number in found if number <= step][-keep:]
    for number, folder in found.items():
        if number not in wanted:
            _discard(folder)


def _discard(folder: Path) -> None:
    """Delete a checkpoint at once, as far as its name goes: half of one must not look whole."""
    aside = folder.with_name(f".deleted-{folder.name}")
    os.rename(folder, aside)
    shutil.rmtree(aside)


def _drop_unneeded(folder: Path, root: Path, newest: Path) -> None:
    """Delete kept weights but the newest and those that a checkpoint names."""
    needed = {newest.name}
    for checkpoint in _steps(root).values():
        with contextlib.suppress(OSError, ValueError, AttributeError):
            manifest = json.loads((checkpoint / "manifest.json").read_text(encoding="utf-8"))
            needed |= {Path(name).name for name in manifest.keys() - set(FILES)}
    for old in folder.glob("step-*.safetensors"):
        if old.name not in needed:
            old.unlink()


def _require_space(folder: Path, needed: int, root: Path) -> None:
    needed += SLACK
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise RunError(
            f"{folder}: a checkpoint needs {size(needed)} and {size(free)} are free. Free some "
            f"space. {_way_back(root)}"
        )


def _way_back(root: Path) -> str:
    steps = _steps(root)
    where = f"goes on from step {max(steps)}" if steps else "starts again"
    return f"Repeat the command then: training {where}."


# --- loading -----------------------------------------------------------------------------------


def load_newest(
    root: Path, *, belongs_to: str | None = None, before: int | None = None
) -> Checkpoint | None:
    """Read the newest checkpoint that verifies; damaged ones are named and passed over.

    Args:
        root: the folder of checkpoints.
        belongs_to: what it must have been saved for.
        before: a step; only checkpoints of earlier ones are read.

    Raises:
        RunError: it was saved for something else than `belongs_to`.
    """
    for step, folder in reversed(_steps(root).items()):
        if before is not None and step >= before:
            continue
        if problem := _problem(folder):
            say(f"{folder}: {problem}; trying the one before", style="yellow")
            continue
        document = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        if document["belongs_to"] != belongs_to:
            raise RunError(
                f"{folder}: the checkpoint belongs to another recipe, other data, another model "
                f"or another version of luthier. Delete {root} to start again, or bring back "
                "what it was made with."
            )
        whole = _unflatten(load_file(folder / "optimizer.safetensors"), document)
        return Checkpoint(
            step=whole["step"],
            weights=load_file(folder / "weights.safetensors"),
            optimizer=whole["optimizer"],
            state={**whole["state"], "random": whole["random"]},
        )
    return None


def load_weights(folder: Path, step: int, sha256: str) -> dict[str, Tensor]:
    """Read what `save_weights` kept.

    Raises:
        RunError: it is missing or damaged.
    """
    path = weights_file(folder, step)
    if not path.is_file() or file_digest(path) != sha256:
        raise RunError(
            f"{path}: the best weights are missing or damaged. Repeat the command: training goes "
            "back to before they were made."
        )
    weights: dict[str, Tensor] = load_file(path)
    return weights


def _folder(root: Path, step: int) -> Path:
    return root / f"step-{step:08d}"


def _steps(root: Path) -> dict[int, Path]:
    """The checkpoints in a folder by step, in order; whether they are whole is another matter."""
    numbers = {
        int(path.name.removeprefix("step-")): path
        for path in root.glob("step-*")
        if path.is_dir() and path.name.removeprefix("step-").isdecimal()
    }
    return dict(sorted(numbers.items()))


def _problem(folder: Path) -> str:
    """What is wrong with a checkpoint; empty when nothing is."""
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        for name in [*FILES, *(manifest.keys() - set(FILES))]:
            path, record = folder / name, manifest[name]
            if path.stat().st_size != record["size"]:
                return f"{name} has {path.stat().st_size:,} bytes instead of {record['size']:,}"
            if file_digest(path) != record["sha256"]:
                return f"{name} is damaged"
    except FileNotFoundError as error:
        return f"{os.path.relpath(str(error.filename), folder)} is missing"
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        return f"its manifest cannot be read ({error})"
    return ""


# --- weights and random state in memory --------------------------------------------------------


def set_weights(model: torch.nn.Module, weights: dict[str, Tensor]) -> None:
    """Put trained parameters back in place.

    Raises:
        RunError: they are not this model's, by their names or shapes.
    """
    parameters = trained(model)
    shapes = {name: tuple(parameter.shape) for name, parameter in parameters.items()}
    found = {name: tuple(weight.shape) for name, weight in weights.items()}
    if shapes != found:
        differing = sorted(dict(shapes.items() ^ found.items()))
        raise RunError(
            f"the checkpoint belongs to another model: {len(differing)} parameters differ in name "
            f"or shape, e.g. {differing[0]}."
        )
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(weights[name])


def random_state() -> dict[str, str]:
    """State of torch's generators, base64-encoded."""
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state()
    return {n: base64.b64encode(s.numpy().tobytes()).decode() for n, s in states.items()}


def set_random_state(encoded: dict[str, str]) -> None:
    """Restore what `random_state` returned."""
    states = {
        name: torch.frombuffer(bytearray(base64.b64decode(text)), dtype=torch.uint8)
        for name, text in encoded.items()
    }
    torch.set_rng_state(states["cpu"])
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"])


def trained(model: torch.nn.Module) -> dict[str, Tensor]:
    """The parameters that are trained, by name; they share the model's memory."""
    return {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}


# --- nested state -------------------------------------------------------------------------------


def _flatten(value: Any, path: str = "") -> tuple[dict[str, Tensor], Any]:
    """Split a nested state into tensors by path, and JSON with references in their places."""
    tensors: dict[str, Tensor] = {}

    def plain(item: Any, key: Any) -> Any:
        inner, rest = _flatten(item, f"{path}/{key}" if path else str(key))
        tensors.update(inner)
        return rest

    if isinstance(value, Tensor):
        return {path: value.detach()}, {"$tensor": path}
    if isinstance(value, float) and not math.isfinite(value):
        return {}, {"$float": str(value)}  # JSON has no NaN and no infinities
    if isinstance(value, dict):
        # Pairs keep keys that JSON would turn into text.
        if all(isinstance(key, str) and not key.startswith("$") for key in value):
            return tensors, {key: plain(item, key) for key, item in value.items()}
        return tensors, {"$dict": [[key, plain(item, key)] for key, item in value.items()]}
    if isinstance(value, (list, tuple)):
        items = [plain(item, index) for index, item in enumerate(value)]
        # JSON has no tuples, and an optimizer that unpacks one should get one back.
        return tensors, {"$tuple": items} if isinstance(value, tuple) else items
    return {}, value


def _unflatten(tensors: dict[str, Tensor], value: Any) -> Any:
    if isinstance(value, list):
        return [_unflatten(tensors, item) for item in value]
    if not isinstance(value, dict):
        return value
    match value:
        case {"$tensor": path}:
            return tensors[path]
        case {"$float": text}:
            return float(text)
        case {"$tuple": items}:
            return tuple(_unflatten(tensors, item) for item in items)
        case {"$dict": pairs}:
            return {key: _unflatten(tensors, item) for key, item in pairs}
    return {key: _unflatten(tensors, item) for key, item in value.items()}
