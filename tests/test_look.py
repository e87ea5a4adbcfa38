"""`ls`, `show` and `diff`: what they say, for people and as JSON."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console
from trained_project import Project, finished, luthier, project  # noqa: F401

from luthier import look
from luthier.artifacts import load_examples
from luthier.chat import Renderer
from luthier.model import open_tokenizer
from luthier.run import Run


@pytest.mark.parametrize(
    ("kind", "member"),
    [
        ("baselines", "tfidf"), ("checks", "memory"), ("exporters", "merged"),
        ("filters", "length"), ("formats", "columns"), ("metrics", "auroc"),
        ("models", "smollm2-135m-instruct"), ("starters", "promises"), ("templates", "promise"),
    ],
)  # fmt: skip
def test_ls_lists_and_describes(kind: str, member: str) -> None:
    said = luthier("ls", kind, "--json")
    found = {line["name"]: line for line in said.json[kind]}
    assert member in found
    assert member in said.err
    if kind != "starters":
        assert all(len(line["describe"]) > 10 for line in found.values())


def test_every_kind_is_listed() -> None:
    for kind in (*look.REGISTRIES, *look.OTHERS):
        assert luthier("ls", kind, "--json").code == 0
        assert kind in luthier("ls", "--help").out


def test_ls_runs(project: Project, tmp_path: Path) -> None:  # noqa: F811
    assert project.do("build", "seed=3").code == 0
    damaged = project.runs / "damaged"
    damaged.mkdir()
    (damaged / "recipe.json").write_text('{"name": 1}')
    said = luthier("ls", "--runs", project.runs, "--json")
    runs = {run["name"]: run for run in said.json["runs"]}
    assert len(runs) == 3
    assert (runs["tiny"]["done"], runs["tiny"]["metric"]) == ("ship", "accuracy")
    assert 0 <= float(runs["tiny"]["value"]) <= 1
    assert "does not fit" in runs["damaged"]["done"]
    [other] = set(runs) - {"tiny", "damaged"}
    assert (runs[other]["done"], runs[other]["value"]) == ("data", "")
    nothing = luthier("ls", "--runs", tmp_path / "nowhere", "--json")
    assert nothing.json == {"runs": []}
    assert "make one with `luthier run`" in nothing.err


def test_show_a_run(finished: Project) -> None:  # noqa: F811
    said = luthier("show", finished.run, "--json")
    assert said.json["recipe"]["train"]["learning_rate"] == 0.01
    assert said.json["train"]["steps"] == 5
    assert set(said.json["data"]["splits"]) == {"train", "validation", "calibration", "test"}
    for words in ("trained 5 steps", "95 % intervals", "calibration: temperature"):
        assert words in said.err


def test_show_tokens_says_what_is_trained(finished: Project) -> None:  # noqa: F811
    run = Run(finished.run)
    said = luthier("show", finished.run, "--tokens", "--rows", "2", "--json")
    shown = said.json["rows"]
    assert len(shown) == 2
    renderer = Renderer(open_tokenizer(run.recipe.model, finished.runs), "completion")
    for row, example in zip(shown, load_examples(run, "train"), strict=False):
        rendered = renderer.render(example)
        assert [t["id"] for t in row["tokens"]] == rendered.input_ids
        assert [t["trained"] for t in row["tokens"]] == rendered.trained
        assert row["origin"] == str(example.origin)
        trained = "".join(t["text"] for t in row["tokens"] if t["trained"])
        assert trained == f"{example.label}<|im_end|>"
    label = load_examples(run, "train")[0].label
    assert f"⟦{label}·<|im_end|>·⟧" in said.err.replace("\n", "")


def test_trained_tokens_are_coloured_on_a_terminal(
    finished: Project,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    screen = StringIO()
    terminal = Console(file=screen, force_terminal=True, color_system="standard", width=200)
    monkeypatch.setattr(look, "console", terminal)
    look.show_tokens(Run(finished.run), 1, finished.runs)
    coloured = [part.partition("\x1b[0m")[0] for part in screen.getvalue().split("\x1b[30;42m")[1:]]
    assert coloured in (["True", "<|im_end|>"], ["False", "<|im_end|>"])
    assert "⟦" not in screen.getvalue()


def test_diff(project: Project) -> None:  # noqa: F811
    assert project.do("train", "train.learning_rate=1e-3", "train.lora.r=2").code == 0
    [other] = [p for p in project.runs.iterdir() if p.name != "tiny"]
    said = luthier("diff", project.run, other, "--json")
    assert said.json["settings"] == {"train.learning_rate": [0.01, 0.001], "train.lora.r": [4, 2]}
    assert said.json["versions"] == {}
    assert said.json["same_data"] is True
    assert said.json["metrics"] == {}, "the other run is not evaluated"
    assert "train.lora.r" in said.err
    equal = luthier("diff", project.run, project.run, "--json")
    assert equal.json["settings"] == {}
    assert equal.json["metrics"]["accuracy"]["difference"] == 0
    assert "settings: equal" in equal.err


def test_diff_warns_of_other_test_rows(project: Project) -> None:  # noqa: F811
    assert project.do("run", "seed=3", "ship.exporters=[adapter]").code == 0
    [other] = [p for p in project.runs.iterdir() if p.name != "tiny"]
    said = luthier("diff", project.run, other, "--json")
    assert said.json["same_data"] is False
    assert set(said.json["settings"]) == {"seed", "ship.exporters"}
    metrics = said.json["metrics"]["accuracy"]
    assert metrics["difference"] == pytest.approx(metrics["second"] - metrics["first"])
    assert "cannot be compared directly" in said.err
