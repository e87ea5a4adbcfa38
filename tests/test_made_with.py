"""What is kept of a training: all that its weights need to be opened and told about."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from luthier.errors import ModelError
from luthier.made_with import MadeWith, base_files, base_of, has_moved_on, recipe_of
from luthier.recipe import ModelSection
from luthier.run import Run, file_digest


def change(run: Run, **sections: Any) -> None:
    """Another recipe is asked for."""
    run.write_json("recipe.json", run.recipe.resolved() | sections)


def test_what_a_training_worked_with_is_kept(
    train_run: Callable[..., Any], tiny_model_dir: Path
) -> None:
    run, _ = train_run(precision="frozen_bf16")
    made = MadeWith.of(run)
    assert made == MadeWith.load(run)
    assert made.recipe == run.recipe
    assert made.lock == run.read_json("lock.json")
    assert made.text == (run.path / "recipe.yaml").read_text()
    assert (made.device, made.precision) == ("cpu", "frozen_bf16")
    assert made.templates == run.read_json("data/templates.json")["templates"]
    weights = tiny_model_dir / "model.safetensors"
    assert made.base["model.safetensors"].sha256 == file_digest(weights)
    assert {"config.json", "tokenizer.json"} <= set(made.base)
    assert MadeWith.FILE in run.read_json("manifest.json")["train"]["files"]


def test_it_stays_what_it_was(train_run: Callable[..., Any]) -> None:
    run, _ = train_run()
    before = run.recipe
    assert recipe_of(run) == before and not has_moved_on(run)
    change(run, model={"name": "other"}, seed=7, evaluate={"slice_by": "style"})
    assert has_moved_on(run)
    found = recipe_of(run)
    assert (found.model, found.seed) == (before.model, before.seed)
    assert found.evaluate.slice_by == "style", "how it is measured is no part of the weights"
    assert base_of(run, run.path.parent) == before.model


@pytest.mark.parametrize("labels", [["True", "False"], ["False", "True", "Else"]])
def test_the_last_word_on_the_positive_label_counts_while_it_is_a_label(
    train_run: Callable[..., Any], labels: list[str]
) -> None:
    run, _ = train_run()
    assert run.recipe.labels == ["True", "False"]
    change(run, task={"kind": "classification", "labels": labels, "positive": "False"})
    same = labels == ["True", "False"]
    assert recipe_of(run).positive == ("False" if same else "True")
    assert recipe_of(run).labels == ["True", "False"]


def test_before_training_it_is_what_would_be_worked_with(ready_run: Callable[..., Run]) -> None:
    run = ready_run()
    change(run, seed=7)
    assert MadeWith.of(run).recipe.seed == 7 and MadeWith.of(run).precision is None
    assert not has_moved_on(run)


def test_only_models_that_lie_here_are_looked_into(tmp_path: Path, tiny_model_dir: Path) -> None:
    for name in ("smollm2-135m-instruct", "org/model"):
        assert base_files(ModelSection(name=name), tmp_path) == {}
    copy = shutil.copytree(tiny_model_dir, tmp_path / "model")
    (copy / "README.md").write_text("About it.")
    (copy / "more").mkdir()
    found = base_files(ModelSection(name=str(copy)), tmp_path)
    assert set(found) == {p.name for p in tiny_model_dir.iterdir()}
    gguf = tmp_path / "m.gguf"
    gguf.write_bytes(b"GGUF")
    assert set(base_files(ModelSection(name=str(gguf)), tmp_path)) == {"m.gguf"}


def test_what_changed_in_a_base_model_is_named(
    train_run: Callable[..., Any], tmp_path: Path, tiny_model_dir: Path
) -> None:
    copy = shutil.copytree(tiny_model_dir, tmp_path / "base")
    run, _ = train_run(model={"name": str(copy)})
    runs = run.path.parent
    assert base_of(run, runs).name == str(copy)
    settings = copy / "config.json"
    settings.write_text(settings.read_text() + " ")
    (copy / "new.json").write_text("{}")
    with pytest.raises(ModelError, match=r"config\.json, new\.json changed since\..*train RECIPE"):
        base_of(run, runs)
    shutil.rmtree(copy)
    with pytest.raises(ModelError, match=r"model\.safetensors"):
        base_of(run, runs)
