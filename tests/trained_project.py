"""A project as a user has it: a recipe, rows, and a run that went through all five stages.

It is made once a session, by the command line; tests that change something take a copy.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from luthier.cli import app

_MADE: dict[Path, Path] = {}
RECIPE = """\
name: tiny
model: {model}
task: {{kind: classification, labels: ["True", "False"]}}
data:
  sources: [{{path: rows.csv, input: sentence, output: label}}]
  template: promise_instruction_first
  filters: [{{use: empty}}, {{use: exact_duplicates}}]
train: {{learning_rate: 1e-2, num_train_epochs: 1, lora: {{r: 4, lora_alpha: 8}}, bf16: false}}
evaluate: {{baselines: [majority, zero_shot], bootstrap_samples: 100}}
ship: {{exporters: [adapter, merged]}}
"""


def rows(count: int = 30) -> str:
    lines = ["sentence,label,style"]
    for i in range(count):
        lines.append(f"We will paint wall {i} red and green for street {i * 7 % 31}.,True,plan")
        lines.append(f"Nobody counted {i} of the {i * 13 % 37} birds last year.,False,fact")
    return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class Said:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one object on stdout."""
        lines = self.out.splitlines()
        assert len(lines) == 1, self.out
        return json.loads(lines[0], parse_constant=lambda name: pytest.fail(name))


def luthier(*args: str | Path, given: str | bytes | None = None) -> Said:
    """Run a command in this process; a traceback fails the test."""
    result = CliRunner().invoke(app, [str(arg) for arg in args], input=given)
    assert result.exit_code != 70, result.stderr
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Said(result.exit_code, result.stdout, result.stderr)


@dataclass(frozen=True)
class Project:
    """A folder with recipe.yaml, rows.csv and runs/tiny."""

    path: Path

    @property
    def recipe(self) -> Path:
        return self.path / "recipe.yaml"

    @property
    def runs(self) -> Path:
        return self.path / "runs"

    @property
    def run(self) -> Path:
        return self.runs / "tiny"

    def edit(self, old: str, new: str) -> None:
        text = self.recipe.read_text()
        assert old in text
        self.recipe.write_text(text.replace(old, new))

    def do(self, verb: str, *args: str | Path, name: str | None = None) -> Said:
        """A command on the recipe (`name` None) or a run."""
        return luthier(verb, name or self.recipe, *args, "--runs", self.runs)

    def stages(self, verb: str = "run", *args: str) -> dict[str, str]:
        """What happened to each stage."""
        said = self.do(verb, *args, "--json")
        assert said.code == 0, said.err
        return dict(said.json["stages"])


def make_project(folder: Path, model: Path) -> Project:
    """Recipe and rows; nothing is run yet."""
    folder.mkdir(parents=True)
    (folder / "rows.csv").write_text(rows())
    (folder / "recipe.yaml").write_text(RECIPE.format(model=model))
    return Project(folder)


def another_model(like: Path, folder: Path) -> Path:
    """A copy of a model with other weights."""
    shutil.copytree(like, folder)
    tensors = load_file(folder / "model.safetensors")
    changed = {
        name: tensor + 0.05 * tensor.std() * tensor.sin() for name, tensor in tensors.items()
    }
    changed |= {n: -t for n, t in tensors.items() if "down_proj" in n}
    save_file(changed, folder / "model.safetensors", {"format": "pt"})
    return folder


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny_model_dir: Path) -> Project:
    """The project after `luthier run`; look, do not touch."""
    base = tmp_path_factory.getbasetemp()
    if base not in _MADE:  # one for all modules that import this fixture
        _MADE[base] = tmp_path_factory.mktemp("finished") / "project"
        said = make_project(_MADE[base], tiny_model_dir).do("run")
        assert said.code == 0, said.err
    return Project(_MADE[base])


@pytest.fixture
def project(finished: Project, tmp_path: Path) -> Project:
    """A copy of the finished project, to be changed."""
    shutil.copytree(finished.path, tmp_path / "project")
    return Project(tmp_path / "project")


def keys(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Columns of rows that all have the same ones."""
    assert all(list(row) == list(rows[0]) for row in rows)
    return list(rows[0])
