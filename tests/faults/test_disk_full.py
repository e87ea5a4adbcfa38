"""A full disk: every command says so, leaves no half-written file, and goes on with room."""

from __future__ import annotations

import math
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from trained_project import Project, Said, finished, luthier, make_project, rows  # noqa: F401

from luthier import model as models
from luthier.errors import RunError
from luthier.recipe import ModelSection
from luthier.run import STAGES, Run

PAGE = 4096
LEFT = [0, 1, 2, 3, 5, 8, 12, 20, 40, 80, 160]
"""Pages that are left on the disk, one after another, until a command succeeds."""


@dataclass(frozen=True)
class Disk:
    """A small disk of its own."""

    path: Path

    @property
    def ballast(self) -> Path:
        return self.path / "ballast"

    def leave(self, pages: int) -> None:
        """Fill the disk but for some pages."""
        self.free()
        found = os.statvfs(self.path)
        with open(self.ballast, "wb") as file:
            os.posix_fallocate(file.fileno(), 0, (found.f_bavail - pages) * found.f_frsize)

    def free(self) -> None:
        self.ballast.unlink(missing_ok=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={32 * 2**20}", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("a disk of its own takes root and the right to mount")
    try:
        yield Disk(place)
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def require_whole(run: Run) -> None:
    """Files that are there are whole, and no stage that did not finish counts as done."""
    leftovers = [p for p in run.path.rglob("*") if p.name.endswith(".part")]
    assert not leftovers
    for stage in STAGES:
        if run.is_done(stage):
            assert run.digest(stage)
    for path in run.path.rglob("*.json"):
        assert path.read_text().rstrip().endswith(("}", "]")), path


def explained(said: Said) -> None:
    assert said.code == 2, said.err
    assert said.out == ""
    words = ("disk is full", "No space left on device", "are free. Free some space")
    assert any(word in said.err for word in words), said.err


@pytest.mark.parametrize("verb", ["build", "train", "evaluate", "ship"])
def test_a_stage_on_a_full_disk(
    disk: Disk,
    finished: Project,  # noqa: F811
    verb: str,
) -> None:
    runs = disk.path / "runs"
    before = {"train": "build", "evaluate": "train", "ship": "train"}.get(verb)
    if before:
        assert luthier(before, finished.recipe, "--runs", runs).code == 0
    named = verb in ("evaluate", "ship")
    args = (verb, runs / "tiny" if named else finished.recipe, "--runs", runs)
    failed = 0
    for pages in LEFT:
        disk.leave(pages)
        said = luthier(*args)
        if said.code == 0:
            break
        explained(said)
        failed += 1
        if (runs / "tiny" / "recipe.json").exists():
            require_whole(Run(runs / "tiny"))
    assert failed >= 3
    disk.free()
    said = luthier(*args)
    assert said.code == 0, said.err
    stage = {"build": "data"}.get(verb, verb)
    for path in (finished.run / stage).rglob("*.safetensors"):
        same = runs / "tiny" / path.relative_to(finished.run)
        assert same.read_bytes() == path.read_bytes()
    assert Run(runs / "tiny").is_done(stage)  # type: ignore[arg-type]


def test_full_weights_on_a_full_disk(disk: Disk, tmp_path: Path, tiny_model_dir: Path) -> None:
    made = make_project(tmp_path / "full", tiny_model_dir)
    made.edit("lora: {r: 4, lora_alpha: 8}", "lora: null")
    made.edit("exporters: [adapter, merged]", "exporters: [merged]")
    args = ("train", made.recipe, "--runs", disk.path / "runs")
    assert luthier("plan", *args[1:]).code == 0
    disk.leave(20)
    explained(luthier(*args))
    require_whole(Run(disk.path / "runs/tiny"))
    disk.free()
    assert luthier(*args).code == 0


def test_the_tokenizer_of_full_weights_on_a_full_disk(
    disk: Disk, tmp_path: Path, tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Room for the checkpoint and the weights, but not for the file that follows them."""
    made = make_project(tmp_path / "full", tiny_model_dir)
    made.edit("lora: {r: 4, lora_alpha: 8}", "lora: null")
    made.edit("exporters: [adapter, merged]", "exporters: [merged]")
    save, pages = (
        models.save_full,
        math.ceil((tiny_model_dir / "model.safetensors").stat().st_size / PAGE),
    )

    def save_with_little_room(model: Any, tokenizer: Any, folder: Path) -> None:
        disk.leave(pages + 5)
        save(model, tokenizer, folder)

    args = ("train", made.recipe, "--runs", disk.path / "runs")
    with monkeypatch.context() as patched:
        patched.setattr(models, "save_full", save_with_little_room)
        explained(luthier(*args))
    run = Run(disk.path / "runs/tiny")
    assert not run.is_done("train")
    assert not list((run.path / "train").rglob("tokenizer_config.json"))
    disk.free()
    assert luthier(*args).code == 0


def test_saving_says_the_same_whichever_file_does_not_fit(disk: Disk, tiny_model_dir: Path) -> None:
    section = ModelSection(name=str(tiny_model_dir))
    model, tokenizer = models.open_model(section), models.open_tokenizer(section)
    weights = math.ceil((tiny_model_dir / "model.safetensors").stat().st_size / PAGE)
    folder, failed_at = disk.path / "model", set()
    for pages in (0, 1, weights - 1, *range(weights, weights + 40)):
        shutil.rmtree(folder, ignore_errors=True)
        disk.leave(pages)
        try:
            models.save_full(model, tokenizer, folder)
        except RunError as error:
            assert "(os error 28)" in str(error) or "No space left on device" in str(error)
            assert "Free some space" in str(error)
            failed_at.add(re.search(r"the (model|tokenizer) cannot be written", str(error))[1])
        else:
            break
    else:
        pytest.fail("it never fits")
    assert failed_at == {"model", "tokenizer"}


def test_predictions_on_a_full_disk(
    disk: Disk,
    finished: Project,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("luthier.predict.CHUNK", 32)
    monkeypatch.setattr("luthier.row_file.CHUNK", 32)
    source, once = tmp_path / "rows.csv", tmp_path / "once.csv"
    source.write_text(rows(300))
    assert luthier("predict", finished.run, source, "--out", once).code == 0
    out = disk.path / "out.csv"
    args = ("predict", finished.run, source, "--out", out)
    got = []
    for pages in (0, 1, 6, 2):
        disk.leave(pages)
        said = luthier(*args)
        explained(said)
        assert not out.exists()
        part = disk.path / "out.csv.part"
        got.append(part.stat().st_size if part.exists() else 0)
    assert got[2] > 0, "no chunk was written before the disk was full"
    disk.free()
    said = luthier(*args)
    assert said.code == 0, said.err
    assert "going on after them" in said.err
    assert out.read_bytes() == once.read_bytes()
    assert [p.name for p in disk.path.iterdir()] == ["out.csv"]
