"""Two datasets, compared by training the tiny model on them."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from trained_project import RECIPE, Said, luthier

from luthier.artifacts import load_examples
from luthier.run import Run

LABELS = ("True", "False")


THINGS = ("wall", "clinic", "bridge", "school", "green bird", "red economy", "election", "year")


def rows(count: int, *, shuffled: bool = False, start: int = 0) -> str:
    """Sentences in pairs, a promise and a fact of many things; shuffled, labels say nothing."""
    lines, labels = ["sentence,label,style"], list(LABELS) * count
    if shuffled:
        random.Random(4).shuffle(labels)
    for i in range(start, start + count):
        thing = THINGS[i % len(THINGS)]
        texts = (
            f"We will build {thing} {i} for street {i * 7 % 31}.",
            f"Nobody counted {thing} {i} of the {i * 13 % 37} last year.",
        )
        for text in texts:
            lines.append(f"{text},{labels.pop(0)},x")
    return "\n".join(lines) + "\n"


class Desk:
    """A folder with rows and recipes, and the command that compares them."""

    def __init__(self, folder: Path, model: Path) -> None:
        self.folder = folder
        self.model = model
        self.runs = folder / "runs"

    def file(self, name: str, text: str) -> str:
        path = self.folder / name
        path.write_text(text, encoding="utf-8")
        return str(path)

    def recipe(self, name: str, data: str, *changes: tuple[str, str]) -> str:
        text = RECIPE.format(model=self.model).replace("name: tiny", f"name: {name}")
        text = text.replace("rows.csv", data).replace("num_train_epochs: 1", "max_steps: 20")
        text = text.replace("evaluate: {", "evaluate: {metrics: [accuracy, auroc], ")
        text = text.replace("promise_instruction_first", "plain")
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        return self.file(f"{name}.yaml", text)

    def compare(self, *args: str | Path) -> Said:
        return luthier("compare-data", *args, "--runs", self.runs, "--json")

    def found(self, *args: str | Path) -> dict[str, Any]:
        said = self.compare(*args)
        assert said.code == 0, said.err
        found: dict[str, Any] = said.json["comparison"]
        return found


@pytest.fixture
def desk(tmp_path: Path, tiny_model_dir: Path) -> Desk:
    return Desk(tmp_path, tiny_model_dir)


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory, tiny_model_dir: Path) -> tuple[Desk, Said]:
    """Right labels against shuffled ones, by a recipe whose rows are the held-out ones."""
    desk = Desk(tmp_path_factory.mktemp("compared"), tiny_model_dir)
    desk.file("right.csv", rows(60))
    desk.file("shuffled.csv", rows(60, shuffled=True))
    desk.recipe(
        "common",
        "right.csv",
        ("max_steps: 20", "max_steps: 40, warmup_steps: 5"),
        ("learning_rate: 1e-2", "learning_rate: 5e-3"),
        ("lora: {r: 4, lora_alpha: 8}", "lora: null"),
        ("[adapter, merged]", "[merged]"),
    )
    said = desk.compare(*arguments(desk))
    assert said.code == 0, said.err
    return desk, said


def arguments(desk: Desk) -> list[str]:
    folder = desk.folder
    return [
        str(folder / "right.csv"), str(folder / "shuffled.csv"),
        "--recipe", str(folder / "common.yaml"), "--seeds", "2", "--no-control",
    ]  # fmt: skip


# --- what comes out ------------------------------------------------------------------------------


def test_right_labels_are_better_than_shuffled_ones(compared: tuple[Desk, Said]) -> None:
    found = compared[1].json["comparison"]
    [pair] = found["pairs"]
    difference = pair["metrics"]["accuracy"]
    assert pair["verdict"] == "first"
    assert 0 < difference["low"] < difference["value"] <= difference["high"] <= 1
    assert pair["said"].startswith("A (right.csv) is better than B (shuffled.csv) by 0.")
    assert found["seeds"] == [42, 43]
    means = [sum(arm["by_seed"]["accuracy"]) / 2 for arm in found["arms"]]
    assert difference["value"] == pytest.approx(means[0] - means[1])
    assert len(set(found["arms"][0]["runs"] + found["arms"][1]["runs"])) == 4


def test_no_model_was_trained_on_held_out_rows(compared: tuple[Desk, Said]) -> None:
    """The files hold the recipe's test rows too; with other labels their ids are others."""
    desk, said = compared
    found = said.json["comparison"]
    held_out = load_examples(Run(desk.runs / "common"), "test")
    sentences = {row.fields["input"] for row in held_out}
    assert found["held_out"]["rows"] == len(sentences) == 24
    for arm, key in zip(found["arms"], ("a", "b"), strict=True):
        side = found["sides"][key]
        assert sum(side["removed"].values()) >= 24
        lines = Path(side["removed_file"]).read_text().splitlines()
        removed = [json.loads(line) for line in lines]
        assert sentences <= {entry["fields"]["input"] for entry in removed}
        assert len(removed) == sum(side["removed"].values())
        for path, count in zip(arm["runs"], arm["rows"], strict=True):
            run = Run(Path(path))
            assert [r.id for r in load_examples(run, "test")] == [r.id for r in held_out]
            seen = [row for split in ("train", "validation") for row in load_examples(run, split)]
            assert not sentences & {row.fields["input"] for row in seen}
            assert count == side["rows"] == len(load_examples(run, "train"))


def test_every_training_is_an_ordinary_run(compared: tuple[Desk, Said]) -> None:
    desk, said = compared
    arm = said.json["comparison"]["arms"][0]
    evaluated = luthier("evaluate", arm["runs"][1], "--runs", desk.runs, "--json")
    assert evaluated.code == 0, evaluated.err
    tuned = evaluated.json["evaluation"]["systems"][0]
    assert tuned["metrics"]["auroc"]["value"] == pytest.approx(arm["by_seed"]["auroc"][1])
    predicted = luthier("predict", arm["runs"][0], "We will paint.", "--runs", desk.runs, "--json")
    assert predicted.code == 0, predicted.err


def test_nothing_is_done_twice(compared: tuple[Desk, Said]) -> None:
    desk, said = compared
    page = Path(said.json["report"])
    before = {p: p.stat().st_mtime_ns for p in desk.runs.rglob("*/train/*") if p.is_file()}
    drawn = page.read_bytes()
    again = desk.compare(*arguments(desk))
    assert again.json == said.json
    assert page.read_bytes() == drawn
    assert {p: p.stat().st_mtime_ns for p in before} == before
    assert "all of them are done" in again.err and "Judging" not in again.err


def test_it_says_beforehand_how_long_it_takes(compared: tuple[Desk, Said]) -> None:
    said = compared[1]
    plan = next(line for line in said.err.splitlines() if "by their plans" in line)
    assert "will take about" in plan and "asked about 24 rows" in plan
    assert said.err.index("by their plans") < said.err.index("[1/4]")
    assert "[4/4] B (shuffled.csv), seed 43" in said.err
    assert said.json["comparison"]["estimated_seconds"] > 0


def test_another_comparison_does_not_take_its_place(compared: tuple[Desk, Said]) -> None:
    desk, _ = compared
    other = desk.compare(*arguments(desk), "train.learning_rate=2e-2")
    assert other.code == 2
    assert "right-vs-shuffled holds another comparison (overrides: " in other.err
    assert "--name" in other.err


def test_a_dataset_against_itself_is_no_better(desk: Desk) -> None:
    desk.file("right.csv", rows(40))
    recipe = desk.recipe("one", "right.csv", ("max_steps: 20", "max_steps: 4"))
    found = desk.found(recipe, recipe, "--seeds", "2")
    [pair] = found["pairs"]
    assert pair["verdict"] == "none" and pair["said"].startswith("No difference")
    assert pair["by_seed"]["auroc"] == [0.0, 0.0]
    assert "A and B are the same rows, and so are their models." in found["notes"]
    assert any("There is no control" in note for note in found["notes"])


def test_the_control_has_the_size_of_the_smaller(desk: Desk) -> None:
    many, few = desk.file("many.csv", rows(50, start=100)), desk.file("few.csv", rows(20, start=90))
    desk.file("test.csv", rows(10, start=30))
    common = desk.recipe("common", "test.csv", ("max_steps: 20", "max_steps: 2"))
    on = ["--recipe", common, "--on", str(desk.folder / "test.csv"), "--seeds", "1"]
    found = desk.found(few, many, *on)
    arms = {arm["key"]: arm for arm in found["arms"]}
    assert arms["a"]["rows"] == arms["control"]["rows"] < arms["b"]["rows"]
    asked = {(pair["first"], pair["second"]): pair["question"] for pair in found["pairs"]}
    assert list(asked) == [("a", "b"), ("a", "control"), ("b", "control")]
    assert asked["a", "control"].startswith("Are the rows of A better, row for row, than as many")
    assert asked["b", "control"] == "Do more rows of B help?"
    larger = {row.id for row in load_examples(Run(Path(arms["b"]["runs"][0])), "train")}
    control = {row.id for row in load_examples(Run(Path(arms["control"]["runs"][0])), "train")}
    assert control < larger
    assert any("With one seed" in note for note in found["notes"])
    assert found["held_out"]["rows"] == 20 and "test.csv" in found["held_out"]["what"]

    # As many of each: the control is another draw.
    found = desk.found(few, many, *on, "--size", "16")
    assert [arm["rows"] for arm in found["arms"]] == [[16], [16], [16]]
    draws = [
        {row.id for row in load_examples(Run(Path(arm["runs"][0])), "train")}
        for arm in found["arms"]
    ]
    assert draws[1] <= larger and draws[2] <= larger and draws[1] != draws[2]
    assert "another random draw from B" in found["pairs"][2]["question"]


def test_near_duplicates_of_held_out_rows_are_removed(desk: Desk) -> None:
    text = "The council will plant forty new trees along the river before the spring of next year"
    desk.file("test.csv", f"sentence,label\n{text}.,True\nNobody saw the old bridge fall.,False\n")
    near = text.replace("forty", "fifty")
    a = desk.file("a.csv", rows(12) + f"{near}.,True,x\n{text.upper()}!,True,x\n")
    b = desk.file("b.csv", rows(12, start=50))
    common = desk.recipe("common", "test.csv", ("max_steps: 20", "max_steps: 1"))
    found = desk.found(
        a, b, "--recipe", common, "--on", desk.folder / "test.csv", "--seeds", "1", "--no-control"
    )
    assert sum(found["sides"]["a"]["removed"].values()) == 2
    assert found["sides"]["b"]["removed"] == {}


@pytest.mark.parametrize(
    ("kind", "columns", "metric"),
    [("generation", "input: sentence, output: answer", "chrf"), ("text", "text: sentence", None)],
)
def test_other_tasks(desk: Desk, kind: str, columns: str, metric: str | None) -> None:
    def lines(start: int) -> str:
        made = [
            f"We paint wall {i} red for street {i * 7 % 31}.,red {i}"
            for i in range(start, start + 24)
        ]
        return "\n".join(["sentence,answer", *made]) + "\n"

    desk.file("a.csv", lines(0))
    desk.file("b.csv", lines(100))
    recipes = []
    for name in ("a", "b"):
        tree = {
            "name": name, "model": str(desk.model), "task": {"kind": kind},
            "data": {"sources": [{"path": f"{name}.csv",
                                  **dict(part.split(": ") for part in columns.split(", "))}],
                     "filters": []},
            "train": {"max_steps": 2, "lora": {"r": 4, "lora_alpha": 8}, "bf16": False},
            "evaluate": {"generation": {"max_new_tokens": 3}, "bootstrap_samples": 100},
        }  # fmt: skip
        recipes.append(desk.file(f"{name}.yaml", json.dumps(tree)))
    found = desk.found(*recipes, "--seeds", "2", "--no-control")
    assert found["main_metric"] == (metric or "perplexity")
    assert "perplexity" in found["lower_is_better"]
    assert found["pairs"][0]["metrics"]["perplexity"]["low"] is not None
    assert any("home ground" in note for note in found["notes"])
    again = desk.compare(*recipes, "--seeds", "2", "--no-control")
    assert again.json["comparison"] == found, "what was judged is kept as it was"


# --- what is refused -----------------------------------------------------------------------------


def test_other_settings_are_refused_unless_a_recipe_says_whose_count(desk: Desk) -> None:
    desk.file("a.csv", rows(20))
    desk.file("b.csv", rows(20, start=40))
    short = ("max_steps: 20", "max_steps: 1")
    a = desk.recipe("a", "a.csv", short)
    b = desk.recipe("b", "b.csv", short, ("learning_rate: 1e-2", "learning_rate: 1e-3"),
                    ("r: 4", "r: 8"))  # fmt: skip
    refused = desk.compare(a, b)
    assert refused.code == 2
    assert "only data: may differ" in refused.err
    assert f"{b}: train.learning_rate is 0.001, and 0.01 in {a}" in refused.err
    assert "train.lora.r is 8, and 4" in refused.err and f"--recipe {a}" in refused.err
    assert not desk.runs.exists()
    found = desk.found(a, b, "--recipe", a, "--seeds", "1", "--no-control")
    assert any("train.lora.r is 8, and 4" in line for line in found["overridden"])
    settings = [Run(Path(arm["runs"][0])).recipe.train for arm in found["arms"]]
    assert settings[0] == settings[1] and settings[0].learning_rate == 0.01


YES_NO = ('["True", "False"]', "[yes, no]")
GENERATION = ('classification, labels: ["True", "False"]', "generation")
LATER = rows(20, start=60)
ONE_LABEL = "\n".join(line for line in LATER.splitlines() if "Nobody" not in line) + "\n"
OTHER_LABELS = LATER.replace("True", "yes").replace("False", "no")


@pytest.mark.parametrize(
    ("b", "options", "said"),
    [
        ("missing.csv", ["--recipe", "common.yaml"], "missing.csv: no such file"),
        ("nothing", [], "no run 'nothing'"),
        ("good.csv", ["--recipe", "common.yaml", "--size", "500"], "--size 500: "),
        ("one.csv", ["--recipe", "common.yaml"], "no training rows for the label 'False'"),
        ("yes.csv", ["--recipe", "common.yaml"], "label outside the set"),
        ("yes.yaml", ["--recipe", "common.yaml"], "the label sets differ: yes, no in "),
        ("answers.yaml", [], "is a generation task and "),
        ("untested.yaml", ["--recipe", "untested.yaml"], "its test split has no rows"),
        ("good.csv", ["--recipe", "common.yaml", "--on", "nowhere.csv"], "nowhere.csv: no such"),
        ("good.csv", ["--recipe", "common.yaml", "--on", "good.csv"], "resemble held-out rows"),
        ("good.csv", ["--recipe", "common.yaml", "--input", "x"], "go with --on FILE"),
        ("good.csv", ["--recipe", "common.yaml", "--name", "a/b"], "--name a/b: expected at most"),
        ("text.csv", ["--recipe", "common.yaml"], "no column 'sentence'"),
        ("empty.csv", ["--recipe", "common.yaml"], "the file is empty"),
        ("twin.yaml", [], "both have the name 'common'"),
        ("good.csv", ["--recipe", "spread.yaml"], "none of them says which of two models"),
        ("good.csv", ["--recipe", "nowhere.yaml"], "no such recipe file"),
        ("good.csv", ["--recipe", "common.yaml", "train.bf17=true"], "train.bf17"),
    ],
)
def test_bad_input_ends_with_a_sentence(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, b: str, options: list[str], said: str
) -> None:
    monkeypatch.chdir(desk.folder)
    for name, text in (
        ("good", rows(20)), ("one", ONE_LABEL), ("yes", OTHER_LABELS), ("empty", ""),
        ("text", LATER.replace("sentence", "text")),
    ):  # fmt: skip
        desk.file(f"{name}.csv", text)
    desk.recipe("common", "good.csv")
    desk.recipe("yes", "yes.csv", YES_NO)
    desk.recipe("answers", "good.csv", GENERATION, ("metrics: [accuracy, auroc], ", ""))
    desk.recipe("spread", "good.csv", GENERATION, ("[accuracy, auroc]", "[distinct_1]"))
    desk.recipe("untested", "good.csv", ("data:\n", "data:\n  split: {test: 0}\n"))
    desk.file("twin.yaml", (desk.folder / "common.yaml").read_text() + "\n")
    a = "good.csv" if "--recipe" in options else "common.yaml"
    ended = desk.compare(a, b, *options)
    assert ended.code == 2, ended.err
    assert said in " ".join(ended.json["error"].split())
    assert not list(desk.runs.glob("*/train/summary.json")), "nothing was trained"


def test_what_was_refused_can_be_asked_for_again(desk: Desk) -> None:
    good, later = desk.file("good.csv", rows(20)), desk.file("later.csv", LATER)
    common = desk.recipe("common", "good.csv", ("max_steps: 20", "max_steps: 1"))
    args = [good, later, "--recipe", common, "--seeds", "1", "--no-control"]
    assert desk.compare(*args, "--on", good).code == 2
    assert desk.compare(*args).code == 0


def test_two_files_need_a_recipe(desk: Desk) -> None:
    good = desk.file("good.csv", rows(5))
    ended = desk.compare(good, good)
    assert ended.code == 2 and "--recipe RECIPE" in ended.err
    assert "says nothing of task, model or training" in ended.err


def test_a_draw_without_a_label_is_seen_before_training(desk: Desk) -> None:
    rare = "\n".join(line for line in rows(40, start=60).splitlines() if "Nobody" not in line)
    a = desk.file("a.csv", rare + "\nNobody saw the grey cat.,False,x\n")
    b = desk.file("b.csv", rows(10, start=200))
    desk.file("good.csv", rows(10))
    common = desk.recipe("common", "good.csv", ("data:\n", "data:\n  split: {validation: 0}\n"))
    ended = desk.compare(a, b, "--recipe", common, "--size", "3", "--seeds", "9")
    assert ended.code == 2
    assert "rows drawn by seed" in ended.err and "larger --size" in ended.err


# --- runs, and going on --------------------------------------------------------------------------


def test_built_runs_are_compared_as_they_were_built(desk: Desk) -> None:
    desk.file("a.csv", rows(20))
    desk.file("b.csv", rows(20, start=40))
    for name in ("a", "b"):
        recipe = desk.recipe(name, f"{name}.csv", ("max_steps: 20", "max_steps: 1"))
        assert luthier("build", recipe, "--runs", desk.runs).code == 0
    (desk.folder / "a.csv").unlink()
    found = desk.found("a", "b", "--seeds", "1", "--no-control")
    assert found["held_out"]["what"] == "the test split of a"
    built, trained = (
        load_examples(Run(path), "train")
        for path in (desk.runs / "b", Path(found["arms"][1]["runs"][0]))
    )
    words = {row.id: row.messages for row in built}
    assert trained and all(words[row.id] == row.messages for row in trained)
    refused = desk.compare("a", "b", "train.max_steps=2", "--name", "x")
    assert refused.code == 2 and "overrides change a recipe, and a is a run" in refused.err


def test_a_killed_comparison_goes_on_where_it_was(desk: Desk) -> None:
    """SIGKILL as soon as the second training has saved a checkpoint."""
    steps = ("max_steps: 20", "max_steps: 12, save_steps: 2")
    a, b = desk.file("a.csv", rows(20)), desk.file("b.csv", rows(20, start=60))
    common = desk.recipe("common", "a.csv", steps)
    args = [a, b, "--recipe", common, "--seeds", "1", "--no-control", "--runs", str(desk.runs)]
    killed = subprocess.Popen(
        [sys.executable, "-c", KILLER, "compare-data", *args],
        stderr=subprocess.PIPE, text=True, env={**os.environ, "RUN_TO_KILL": "a-vs-b-b-42"},
    )  # fmt: skip
    _, said = killed.communicate(timeout=300)
    assert killed.returncode == -signal.SIGKILL, said
    first, second = Run(desk.runs / "a-vs-b-a-42"), Run(desk.runs / "a-vs-b-b-42")
    assert first.is_done("train") and not second.is_done("train")

    found = desk.compare(*args[:-2]).json["comparison"]
    assert [len(run.events("resumed")) for run in (first, second)] == [0, 1]
    assert len([e for e in first.events("stage_started") if e["stage"] == "train"]) == 1

    assert len(found["arms"]) == 2
    alone = luthier("train", desk.runs / "a-vs-b" / "b-42.yaml", "--runs", desk.folder / "alone")
    assert alone.code == 0, alone.err
    weights = "train/adapter/adapter_model.safetensors"
    undisturbed = desk.folder / "alone" / second.name / weights
    assert (second.path / weights).read_bytes() == undisturbed.read_bytes()


KILLER = """
import os, signal
from luthier.run import Run
from luthier.cli import app
told = Run.event
def kill(run, event, **fields):
    told(run, event, **fields)
    if event == "checkpoint" and run.name == os.environ["RUN_TO_KILL"]:
        os.kill(os.getpid(), signal.SIGKILL)
Run.event = kill
app()
"""
"""luthier, which kills itself once a run of a given name has saved a checkpoint."""
