"""Checkpoints: all of a run's state at an optimizer step, as safetensors and JSON, no pickle.

    checkpoints/step-00000050/
      weights.safetensors     the trained parameters
      optimizer.safetensors   the optimizer's tensors
      state.json              schedule, sampler position, random state, history, optimizer scalars
      manifest.json           sha256 of the others, written last

A checkpoint is staged beside its final place, fsynced and renamed, so a name that looks like a
checkpoint is one. On load the newest one whose manifest verifies wins.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from luthier.console import say
from luthier.errors import RunError
from luthier.run import file_digest

FILES = ("weights.safetensors", "optimizer.safetensors", "state.json")


class Checkpoint(NamedTuple):
    """A checkpoint as read."""

    step: int
    weights: dict[str, Tensor]
    optimizer: dict[str, Any]
    """As `torch.optim.Optimizer.state_dict()`."""
    state: dict[str, Any]


def save(
    root: Path,
    *,
    step: int,
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    state: dict[str, Any],
    keep: int,
) -> Path:
    """Write a checkpoint, then delete all but the newest `keep`.

    Raises:
        RunError: not enough free space, with how much is needed; nothing is left behind.
    """
    root.mkdir(parents=True, exist_ok=True)
    sweep(root)
    weights = trained_weights(model)
    tensors, scalars = _flatten(optimizer.state_dict())
    _require_space(root, list(weights.values()) + list(tensors.values()))
    final = root / f"step-{step:08d}"
    staging = root / f".staging-{step:08d}"
    staging.mkdir()
    try:
        save_file(weights, staging / "weights.safetensors")
        save_file(tensors, staging / "optimizer.safetensors")
        whole = {**state, "step": step, "optimizer": scalars, "random": random_state()}
        (staging / "state.json").write_text(json.dumps(whole), encoding="utf-8")
        manifest = {name: file_digest(staging / name) for name in FILES}
        for name in FILES:
            _fsync(staging / name)
        (staging / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
        _fsync(staging / "manifest.json")
        _fsync(staging)
        if final.exists():
            shutil.rmtree(final)
        os.rename(staging, final)
        _fsync(root)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    for old in sorted(root.glob("step-*"))[:-keep]:
        shutil.rmtree(old)
    return final


def load_newest(root: Path) -> Checkpoint | None:
    """Read the newest checkpoint that verifies; damaged ones are named and passed over."""
    for folder in sorted(root.glob("step-*"), reverse=True):
        problem = _verify(folder)
        if problem:
            say(f"{folder}: {problem}; trying the one before", style="yellow")
            continue
        state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        return Checkpoint(
            step=state["step"],
            weights=load_file(folder / "weights.safetensors"),
            optimizer=_unflatten(
                load_file(folder / "optimizer.safetensors"), state.pop("optimizer")
            ),
            state=state,
        )
    return None


def sweep(root: Path) -> None:
    """Delete what killed saves left behind."""
    for leftover in root.glob(".staging-*"):
        shutil.rmtree(leftover)


def save_weights(folder: Path, model: torch.nn.Module, step: int) -> None:
    """Keep the trained weights of a step, replacing those of an earlier one."""
    folder.mkdir(parents=True, exist_ok=True)
    staged, final = folder / ".staged", folder / f"step-{step:08d}.safetensors"
    weights = trained_weights(model)
    _require_space(folder, list(weights.values()))
    try:
        save_file(weights, staged)
        _fsync(staged)
        os.replace(staged, final)
    except BaseException:
        staged.unlink(missing_ok=True)
        raise
    for old in folder.glob("step-*.safetensors"):
        if old != final:
            old.unlink()


def load_weights(folder: Path, step: int) -> dict[str, Tensor]:
    """Read what `save_weights` kept."""
    weights: dict[str, Tensor] = load_file(folder / f"step-{step:08d}.safetensors")
    return weights


def delete(folder: Path) -> None:
    """Delete a folder of checkpoints or kept weights, if it is there."""
    if folder.exists():
        shutil.rmtree(folder)


def trained_weights(model: torch.nn.Module) -> dict[str, Tensor]:
    """Copies of the parameters that are trained, by name, on the CPU."""
    return {
        name: parameter.detach().to("cpu", copy=True).contiguous()
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }


def set_weights(model: torch.nn.Module, weights: dict[str, Tensor]) -> None:
    """Put trained parameters back in place."""
    parameters = {n: p for n, p in model.named_parameters() if p.requires_grad}
    if parameters.keys() != weights.keys():
        raise RunError("the checkpoint belongs to another model: its parameter names differ.")
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


def _flatten(value: Any, path: str = "") -> tuple[dict[str, Tensor], Any]:
    """Split a nested state into tensors by path, and JSON with references in their places."""
    if isinstance(value, Tensor):
        return {path: value.detach().to("cpu", copy=True).contiguous()}, {"$tensor": path}
    tensors: dict[str, Tensor] = {}
    if isinstance(value, dict):
        pairs = []
        for key, item in value.items():
            inner, plain = _flatten(item, f"{path}/{key}")
            tensors |= inner
            pairs.append([key, plain])  # pairs keep integer keys, which JSON objects do not
        return tensors, {"$dict": pairs}
    if isinstance(value, (list, tuple)):
        items = []
        for index, item in enumerate(value):
            inner, plain = _flatten(item, f"{path}/{index}")
            tensors |= inner
            items.append(plain)
        # JSON has no tuples, and an optimizer that unpacks one should get one back.
        return tensors, {"$tuple": items} if isinstance(value, tuple) else items
    return {}, value


def _unflatten(tensors: dict[str, Tensor], value: Any) -> Any:
    if isinstance(value, list):
        return [_unflatten(tensors, item) for item in value]
    if isinstance(value, dict):
        if "$tensor" in value:
            return tensors[value["$tensor"]]
        if "$tuple" in value:
            return tuple(_unflatten(tensors, item) for item in value["$tuple"])
        return {key: _unflatten(tensors, item) for key, item in value["$dict"]}
    return value


def _verify(folder: Path) -> str:
    """What is wrong with a checkpoint; empty when nothing is."""
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        for name in FILES:
            if file_digest(folder / name) != manifest[name]:
                return f"{name} is damaged"
    except (OSError, ValueError, KeyError) as error:
        return f"incomplete ({error})"
    return ""


def _require_space(root: Path, tensors: list[Tensor]) -> None:
    needed = sum(t.numel() * t.element_size() for t in tensors) + 10_000_000
    free = shutil.disk_usage(root).free
    if free < needed:
        raise RunError(
            f"{root}: a checkpoint needs {needed / 1e6:,.0f} MB and {free / 1e6:,.0f} MB are free. "
            "Free some space, then repeat the command: it goes on from the last checkpoint."
        )


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
