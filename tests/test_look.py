"""`ls`, `show` and `diff`: what they say, for people and as JSON."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console
from trained_project import Project, finished, luthier, project  # noqa: F401

from luthier import look
from luthier.artifacts import Estimate, Evaluation, SystemResult, load_examples
from luthier.chat import Renderer
from luthier.model import open_tokenizer
from luthier.pipeline import write_report
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


def test_sets_fit_a_terminal_as_it_opens(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = StringIO()
    monkeypatch.setattr("luthier.console.console", Console(file=screen, width=80))
    found = look.list_things("datasets", Path("runs"))
    shown = screen.getvalue()
    assert max(map(len, shown.splitlines())) <= 80 and "…" not in shown
    words = shown.split()
    assert all(line["name"] in words for line in found), "names are not broken"
    assert {"5,362,361", "text-davinci-003"} <= set(words)
    assert all({"rows", "authors", "year"} <= set(line) for line in found)


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


def test_ls_runs_says_what_a_hash_in_a_name_stands_for(project: Project) -> None:  # noqa: F811
    assert project.do("build", "seed=3", "train.lora.r=2").code == 0
    said = luthier("ls", "--runs", project.runs, "--json")
    overrides = {run["name"]: run["overrides"] for run in said.json["runs"]}
    assert overrides.pop("tiny") == ""
    assert list(overrides.values()) == ["seed=3 train.lora.r=2"]
    assert "overrides" in said.err and "seed=3" in said.err


def test_settings_and_versions_are_those_of_the_weights(project: Project) -> None:  # noqa: F811
    run = Run(project.run)
    lock = run.read_json("lock.json")
    assert project.do("build", "seed=3").code == 0  # another run, to compare with
    [other] = [p for p in project.runs.iterdir() if p.name != "tiny"]
    assert "changed since" not in luthier("show", project.run).err
    project.edit("learning_rate: 1e-2", "learning_rate: 7e-2")
    project.edit("exporters: [adapter, merged]", "exporters: [merged]")
    assert project.do("plan").code == 0
    run.write_json("lock.json", lock | {"versions": {"torch": "0.0.7"}})
    said = luthier("show", project.run, "--json")
    assert said.json["recipe"]["train"]["learning_rate"] == 0.01
    assert said.json["recipe"]["ship"]["exporters"] == ["merged"], "no part of the weights"
    assert said.json["lock"] == lock
    assert said.json["changed_since"] == ["train.learning_rate"]
    assert "changed since, the weights have not: train.learning_rate" in " ".join(said.err.split())
    compared = luthier("diff", project.run, other, "--json").json
    assert "train.learning_rate" not in compared["settings"] and compared["versions"] == {}
    page = write_report(run).read_text()
    asked = page[page.index('id="asked"') : page.index('id="plan"')]
    assert "learning_rate: 1e-2" in asked and "7e-2" not in page
    assert "the plan is for the next training" in page and "planned 0.07" not in page
    settings = page[page.index('id="settings"') :]
    assert ">0.01<" in settings and ">0.07<" not in settings and "0.0.7" not in settings
    assert lock["versions"]["torch"] in settings and lock["recipe_sha256"] in settings


def test_show_a_run(finished: Project) -> None:  # noqa: F811
    said = luthier("show", finished.run, "--json")
    assert said.json["recipe"]["train"]["learning_rate"] == 0.01
    assert said.json["train"]["steps"] == 5
    assert set(said.json["data"]["splits"]) == {"train", "validation", "calibration", "test"}
    for words in ("trained 5 steps", "95 % intervals", "calibration: temperature"):
        assert words in said.err


def evaluation(systems: list[str], metrics: list[str]) -> Evaluation:
    figures = {name: Estimate(value=0.8123, low=0.7, high=0.912345) for name in metrics}
    return Evaluation(
        task="generation", labels=[], main_metric=metrics[0], rows=40,
        systems=[
            SystemResult(name=name, describe="", metrics=figures, seconds=12.3) for name in systems
        ],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("systems", "metrics", "turned"),
    [
        (["tuned", "majority", "tfidf", "zero_shot", "few_shot"],
         ["accuracy", "auroc", "macro_f1"], False),
        (["tuned", "zero_shot", "few_shot"],
         ["chrf", "answer_length", "distinct_1", "distinct_2", "exact_match", "perplexity",
          "rouge_l"], True),
        (["tuned", "zero_shot"], ["perplexity"], False),
    ],
)  # fmt: skip
def test_results_fit_a_terminal_as_it_opens(
    monkeypatch: pytest.MonkeyPatch, systems: list[str], metrics: list[str], turned: bool
) -> None:
    screen = StringIO()
    monkeypatch.setattr("luthier.console.console", Console(file=screen, width=80))
    look.show_evaluation(evaluation(systems, metrics))
    shown = screen.getvalue()
    assert max(map(len, shown.splitlines())) <= 80
    words = shown.split()
    for whole in [*systems, *metrics]:
        assert whole in words, "names are not broken"
    assert shown.count("[0.700, 0.912]") == len(systems) * len(metrics)
    assert shown.count("0.812 ") == len(systems) * len(metrics)
    assert ("metric" in words, "system" in words) == (turned, not turned)


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


def test_control_characters_of_the_data_do_not_reach_the_terminal(
    project: Project,  # noqa: F811
) -> None:
    text = (project.path / "rows.csv").read_text()
    evil = "\x1b[2J\x9b31m\u202eand\x07"
    (project.path / "rows.csv").write_text(text.replace("paint", f"paint {evil}"))
    assert project.do("build").code == 0
    said = luthier("show", project.run, "--tokens", "--rows", "9")
    assert said.code == 0, said.err
    assert not set("\x1b\x9b\u202e\x07") & set(said.err)
    assert "\\x1b" in said.err
    shown = luthier("show", project.run, "--tokens", "--rows", "9", "--json").json["rows"]
    assert any("\x1b" in token["text"] for row in shown for token in row["tokens"])


def test_figures_without_an_interval_are_shown_as_figures(
    capsys: pytest.CaptureFixture[str],
) -> None:
    bare = Estimate(value=1.0)
    system = SystemResult(name="tuned", describe="", metrics={"macro_f1": bare}, seconds=1)
    found = Evaluation(
        task="classification", labels=["a", "b"], main_metric="macro_f1", rows=7, systems=[system],
        slices={"one": {"rows": Estimate(value=7), "macro_f1": bare}}, notes=["No interval."],
    )  # fmt: skip
    shown = look.show_evaluation(found)
    said = capsys.readouterr().err
    assert said.count("1.000") == 2 and "1.000 [" not in said and "No interval." in said
    assert "7.000" not in said
    assert shown["systems"][0]["metrics"]["macro_f1"] == {"value": 1.0, "low": None, "high": None}


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
