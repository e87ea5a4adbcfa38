"""What is redone when something changes, and what is left alone."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from tiny_bert import make_bert
from trained_project import (  # noqa: F401
    Project,
    another_model,
    finished,
    luthier,
    make_project,
    project,
)

from luthier import pipeline
from luthier.artifacts import Plan
from luthier.errors import ModelError
from luthier.made_with import recipe_of
from luthier.run import STAGES, Run

UNCHANGED, DONE = "unchanged", "done"


def happened(*done: str) -> dict[str, str]:
    return {stage: DONE if stage in done else UNCHANGED for stage in STAGES}


def test_a_repeated_run_does_nothing(
    finished: Project,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pipeline, "JOBS", {})
    before = {p: p.stat().st_mtime_ns for s in STAGES for p in (finished.run / s).rglob("*")}
    assert finished.stages() == happened()
    assert before == {p: p.stat().st_mtime_ns for p in before}


def test_a_page_that_a_kill_prevented_is_written_by_the_next_command(
    finished: Project,  # noqa: F811
) -> None:
    pages = [finished.run / "data" / name for name in ("README.md", "dataset.html")]
    before = [page.read_bytes() for page in pages]
    for page in pages:
        page.unlink()
    assert finished.stages() == happened()
    assert [page.read_bytes() for page in pages] == before


@pytest.mark.parametrize(
    ("old", "new", "redone"),
    [
        ("exporters: [adapter, merged]", "exporters: [adapter]", ["ship"]),
        ("bootstrap_samples: 100", "bootstrap_samples: 120", ["plan", "evaluate", "ship"]),
        ("learning_rate: 1e-2", "learning_rate: 2e-2", ["plan", "train", "evaluate", "ship"]),
        ("bf16: false", "bf16: false, save_steps: 2, logging_steps: 3", ["plan"]),
        ("use: exact_duplicates", "use: length, max_tokens: 1000", ["data", "plan"]),
        ("promise_instruction_first", "plain", STAGES),
        ("name: tiny", "seed: 7\nname: tiny", STAGES),
    ],
    ids=["ship", "evaluate", "train", "in passing", "equal data", "data", "seed"],
)
def test_a_changed_section_redoes_what_depends_on_it(
    project: Project,  # noqa: F811
    old: str,
    new: str,
    redone: list[str],
) -> None:
    project.edit(old, new)
    assert project.stages() == happened(*redone)
    assert project.stages() == happened()


def test_a_changed_data_file_redoes_everything(project: Project) -> None:  # noqa: F811
    with open(project.path / "rows.csv", "a") as file:
        file.write("We will open a library.,True,plan\n")
    assert project.stages("build") == {"data": DONE}
    assert project.stages("build") == {"data": UNCHANGED}
    assert project.stages() == happened("plan", "train", "evaluate", "ship")


def test_comments_and_another_place_change_nothing(
    project: Project,  # noqa: F811
    tmp_path: Path,
) -> None:
    project.edit("name: tiny", "# what it is called\nname: tiny")
    assert project.stages() == happened()
    shutil.move(project.path, tmp_path / "elsewhere")
    assert Project(tmp_path / "elsewhere").stages() == happened()


def test_an_override_makes_a_run_of_its_own(project: Project) -> None:  # noqa: F811
    assert project.stages("train", "train.learning_rate=1e-3")["train"] == DONE
    assert project.stages() == happened()
    assert project.stages("train", "train.learning_rate=1e-3")["train"] == UNCHANGED
    assert project.stages("train", "train.learning_rate=2e-3")["train"] == DONE
    assert len(list(project.runs.iterdir())) == 3


def test_a_damaged_output_is_made_again(project: Project) -> None:  # noqa: F811
    (project.run / "train/adapter/adapter_model.safetensors").unlink()
    assert project.stages()["train"] == DONE
    (project.run / "ship/merged/config.json").write_text("{}")
    assert project.stages() == happened("ship")


def test_another_model_in_the_same_folder_trains_anew(tmp_path: Path, tiny_model_dir: Path) -> None:
    model = shutil.copytree(tiny_model_dir, tmp_path / "model")
    made = make_project(tmp_path / "p", model)
    assert made.stages("train")["train"] == DONE
    assert made.stages("train")["train"] == UNCHANGED
    os.utime(model / "model.safetensors", ns=(0, 0))
    assert made.stages("train")["train"] == DONE


def test_another_embedding_model_in_the_same_folder_builds_anew(
    tmp_path: Path, tiny_model_dir: Path
) -> None:
    embedder = make_bert(tmp_path / "bert")
    made = make_project(tmp_path / "p", tiny_model_dir)
    named = f"use: exact_duplicates}}, {{use: semantic_duplicates, model: {embedder}"
    made.edit("use: exact_duplicates", named)
    assert made.stages("build") == {"data": DONE}
    assert made.stages("build") == {"data": UNCHANGED}
    os.utime(embedder / "model.safetensors", ns=(0, 0))
    assert made.stages("build") == {"data": DONE}


def test_forced_training_starts_over_and_ends_the_same(project: Project) -> None:  # noqa: F811
    weights = project.run / "train/adapter/adapter_model.safetensors"
    before = weights.read_bytes()
    # What a finished run may have kept is no attempt to resume.
    (project.run / "train" / "checkpoints").mkdir()
    assert project.stages("train", "--force")["train"] == DONE
    assert weights.read_bytes() == before
    assert [e["step"] for e in Run(project.run).events("step")] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(("verb", "stage"), [("build", "data"), ("plan", "plan")])
def test_what_comes_out_the_same_has_nothing_redone(
    project: Project,  # noqa: F811
    verb: str,
    stage: str,
) -> None:
    assert project.stages(verb, "--force")[stage] == DONE
    assert project.stages() == happened()


def test_a_build_that_failed_costs_no_training(project: Project) -> None:  # noqa: F811
    source = project.path / "rows.csv"
    rows = source.read_bytes()
    source.write_bytes(b"sentence,label\n")
    assert project.do("build").code == 2
    source.write_bytes(rows)
    assert project.stages() == happened("data")


def test_a_build_that_failed_leaves_the_run_as_it_was(project: Project) -> None:  # noqa: F811
    predicted = project.do("predict", "We will paint.", name="tiny").out
    (project.path / "rows.csv").write_bytes(b"sentence,label\n")
    assert project.do("build").code == 2
    for verb in ("evaluate", "ship"):
        said = project.do(verb, "--force", "--json", name="tiny")
        assert said.code == 0, said.err
        assert said.json["stages"] == {verb: DONE}
    assert project.do("predict", "We will paint.", name="tiny").out == predicted


@pytest.mark.parametrize(
    ("rows", "kept"),
    [(b"sentence,label\n", False), (b"", False), (b"sentence,label\nHello.,Maybe\n", True)],
    ids=["no rows", "empty", "all rejected: the reasons are there to be read"],
)
def test_a_new_run_that_comes_to_nothing_leaves_no_folder(
    tmp_path: Path, tiny_model_dir: Path, rows: bytes, kept: bool
) -> None:
    made = make_project(tmp_path / "p", tiny_model_dir)
    good = (made.path / "rows.csv").read_bytes()
    (made.path / "rows.csv").write_bytes(rows)
    for args in ((), ("seed=3",)):
        said = made.do("run", *args)
        assert said.code == 2
        assert ("rejects.jsonl" in said.err) == kept
    assert len(list(made.runs.iterdir())) == (2 if kept else 0)
    assert made.do("build", "model=run:nowhere").code == 2
    assert len(list(made.runs.iterdir())) == (2 if kept else 0)
    # A folder that was there before stays, whatever is in it.
    made.run.mkdir(exist_ok=True)
    assert made.do("build").code == 2 and made.run.is_dir()
    (made.path / "rows.csv").write_bytes(good)
    assert made.stages("build") == {"data": DONE}


def test_warnings_about_the_evaluation_are_not_stale(
    project: Project,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def warned() -> bool:
        findings = Plan.load(Run(project.run)).findings
        return any("temperature" in finding.why for finding in findings)

    assert warned()
    project.edit("evaluate: {", "evaluate: {calibrate: false, ")
    monkeypatch.setitem(pipeline.JOBS, "train", ("no", "training"))
    assert project.stages() == happened("plan", "evaluate", "ship")
    assert not warned()


def test_a_trained_run_is_not_planned_for_the_machine_it_is_looked_at_on(
    project: Project,  # noqa: F811
) -> None:
    """Trained where there is a GPU, evaluated where there is none."""
    run = Run(project.run)
    planned = project.run / "plan" / "plan.json"
    planned.write_text(planned.read_text().replace('"device": "cpu"', '"device": "mps"'))
    manifest = run.read_json("manifest.json")
    manifest["train"]["fingerprint"] = pipeline._fingerprint(run, "train", project.runs)
    run.write_json("manifest.json", manifest)

    project.edit("bootstrap_samples: 100", "bootstrap_samples: 120")
    assert project.stages() == happened("evaluate", "ship")


@pytest.fixture
def stopped(tmp_path: Path, tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project whose training was stopped at its first checkpoint, of step 2."""
    made = make_project(tmp_path / "p", tiny_model_dir)
    made.edit("bf16: false", "bf16: false, save_steps: 2")
    saved = Run.event

    def stop(run: Run, event: str, **fields: object) -> None:
        saved(run, event, **fields)
        if event == "checkpoint":
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Run, "event", stop)
        assert made.do("train").code != 0
    return made


def test_an_unfinished_training_survives_another_plan(stopped: Project) -> None:
    stopped.edit("bootstrap_samples: 100", "bootstrap_samples: 120")
    assert stopped.stages("train") == {"data": UNCHANGED, "plan": DONE, "train": DONE}
    assert [e["step"] for e in Run(stopped.run).events("resumed")] == [2]


def test_an_unfinished_training_is_not_lost_to_another_recipe(stopped: Project) -> None:
    stopped.edit("learning_rate: 1e-2", "learning_rate: 2e-2")
    refused = stopped.do("train")
    assert refused.code == 2
    assert "stopped at step 2" in refused.err and "luthier train RECIPE --force" in refused.err
    # What has no part in the weights may be changed, and the attempt goes on.
    stopped.edit("learning_rate: 2e-2", "learning_rate: 1e-2")
    stopped.edit("save_steps: 2", "save_steps: 3, per_device_eval_batch_size: 4")
    assert stopped.stages("train")["train"] == DONE
    assert [e["step"] for e in Run(stopped.run).events("resumed")] == [2]
    stopped.edit("learning_rate: 1e-2", "learning_rate: 2e-2")
    anew = stopped.do("train")
    assert anew.code == 0 and "they are made anew" in " ".join(anew.err.split())


def test_force_repeats_the_last_stage_only(project: Project) -> None:  # noqa: F811
    assert project.do("ship", "--force", "--json", name="tiny").json["stages"] == {"ship": DONE}
    assert project.do("ship", "--json", name="tiny").json["stages"] == {"ship": UNCHANGED}
    evaluated = project.do("evaluate", "--force", "--json", name="tiny").json["stages"]
    assert evaluated == {"evaluate": DONE}


def test_a_plan_is_made_again_for_another_machine_unless_trained(
    project: Project,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pipeline, "describe", lambda where: pytest.fail("torch is imported"))
    assert project.stages() == happened()
    monkeypatch.undo()
    project.edit("learning_rate: 1e-2", "learning_rate: 3e-2")
    assert project.stages("plan")["plan"] == DONE
    assert project.stages("plan")["plan"] == UNCHANGED
    planned = project.run / "plan" / "plan.json"
    planned.write_text(planned.read_text().replace('"device": "cpu"', '"device": "mps"'))
    assert Plan.load(Run(project.run)).device == "mps"
    assert project.stages("plan")["plan"] == DONE, "made for a GPU, and this is a CPU"
    assert Plan.load(Run(project.run)).device == "cpu"


def test_a_run_whose_recipe_moved_on_is_measured_with_a_word(
    project: Project,  # noqa: F811
) -> None:
    assert "has changed" not in project.do("evaluate", name="tiny").err
    project.edit("learning_rate: 1e-2", "learning_rate: 5e-2")
    assert project.stages("build") == {"data": UNCHANGED}
    said = project.do("evaluate", name="tiny")
    assert said.code == 0
    assert "has changed since this run was trained" in said.err


def test_another_base_model_in_the_recipe_changes_no_figure(
    project: Project,  # noqa: F811
    tiny_model_dir: Path,
    tmp_path: Path,
) -> None:
    def measured() -> list[dict[str, Any]]:
        systems = project.do("evaluate", "--force", "--json", name="tiny").json["evaluation"]
        return [{**system, "seconds": 0} for system in systems["systems"]]

    expected = measured()
    on = ("--on", str(project.path / "rows.csv"), "--json")
    expected_on = project.do("evaluate", *on, name="tiny").json["evaluation"]["systems"][0]
    project.edit(str(tiny_model_dir), str(another_model(tiny_model_dir, tmp_path / "another")))
    project.edit("bf16: false", "bf16: true, attn_implementation: eager")
    assert project.stages("plan") == {"data": DONE, "plan": DONE}
    assert measured() == expected
    found = project.do("evaluate", *on, name="tiny").json["evaluation"]["systems"][0]
    assert found | {"seconds": 0} == expected_on | {"seconds": 0}


def test_the_positive_label_is_no_part_of_the_weights(project: Project) -> None:  # noqa: F811
    def auroc(said: Any) -> float:
        return float(said.json["evaluation"]["systems"][0]["metrics"]["auroc"]["value"])

    before = auroc(project.do("run", "--json"))
    project.edit('labels: ["True", "False"]', 'labels: ["True", "False"], positive: "False"')
    again = project.do("run", "--json")
    assert again.json["stages"]["train"] == UNCHANGED
    assert again.json["stages"]["evaluate"] == DONE
    assert auroc(again) == pytest.approx(before)  # of two labels it is the same from both sides
    assert recipe_of(Run(project.run)).positive == "False"


def test_a_model_that_is_not_here_can_be_planned_for(
    tmp_path: Path, tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make_project(tmp_path / "p", tiny_model_dir)
    made.edit("bf16: false", "bf16: false, max_seq_length: 512")

    def unreachable(run: Run, *, runs: Path) -> None:
        raise ModelError("the hub cannot be reached.")

    monkeypatch.setattr("luthier.data.build.build", unreachable)
    said = made.do("plan", "--json")
    assert said.code == 0, said.err
    assert said.json["stages"] == {"plan": DONE}
    assert "planning without the data: the hub cannot be reached." in said.err
    shown = made.do("plan", "--force").err
    assert "rows not known yet, precision float32" in shown
    assert "eval_steps" in shown and "None" not in shown
    page = pipeline.write_report(Run(made.run)).read_text()
    assert page.count("not known yet") == 8 and ">None<" not in page
    assert made.do("train").code == 2
    monkeypatch.undo()
    assert made.stages("train") == {"data": DONE, "plan": DONE, "train": DONE}


def test_what_was_found_on_the_way_is_said(tmp_path: Path, tiny_model_dir: Path) -> None:
    made = make_project(tmp_path / "p", tiny_model_dir)
    with open(made.path / "rows.csv", "a") as file:
        file.write("Who knows.,Perhaps,plan\n")
    said = made.do("train")
    assert said.code == 0
    assert "rejected 1:" in said.err
    assert "[few_training_rows]" in said.err
    again = luthier("train", made.recipe, "--runs", made.runs).err
    assert "rejected" not in again
