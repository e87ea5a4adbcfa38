"""The command line: exit codes, one JSON object, and messages instead of tracebacks."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch
from trained_project import Project, finished, luthier, make_project, project, rows  # noqa: F401
from typer.testing import CliRunner

from luthier import look
from luthier.cli import app
from luthier.errors import LuthierError
from luthier.run import Run

ENVIRONMENT = {
    **os.environ, "HF_HUB_OFFLINE": "1", "NO_COLOR": "1",
    # As many threads as here: sums in another order would be other numbers.
    "OMP_NUM_THREADS": str(torch.get_num_threads()),
}  # fmt: skip
COMMANDS = (
    "build", "plan", "train", "evaluate", "ship", "run", "predict", "lint", "generate", "judge",
    "paraphrase", "convert", "review", "new", "ls", "show", "diff", "compare-data", "eject",
    "doctor", "schema",
)  # fmt: skip


def process(
    code: str, *args: str | Path, check: int | None = 0
) -> subprocess.CompletedProcess[str]:
    """A real `luthier ARGS` whose interpreter runs some code first."""
    start = f"{code}\nimport sys\nfrom luthier.cli import app\nsys.argv[0] = 'luthier'\napp()"
    done = subprocess.run(
        [sys.executable, "-c", start, *map(str, args)],
        capture_output=True, text=True, timeout=120, env=ENVIRONMENT,
        cwd=Path(__file__).parents[1],
    )  # fmt: skip
    assert check is None or done.returncode == check, done.stderr
    assert "Traceback" not in done.stderr
    return done


# --- help --------------------------------------------------------------------------------------


def test_help_shows_the_first_steps_line_by_line() -> None:
    said = luthier("--help")
    assert said.code == 0
    lines = [line.strip() for line in said.out.splitlines()]
    for start in ("luthier new NAME", "luthier run NAME.yaml", "luthier predict runs/NAME"):
        assert sum(line.startswith(start) for line in lines) == 1
    listed = said.out.partition("Commands:")[2]
    assert [line.split()[0] for line in listed.splitlines() if line.strip()] == list(COMMANDS)
    assert "..." not in listed, "a command's first sentence is too long to be shown whole"
    assert max(map(len, said.out.splitlines())) <= 80


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_takes_json(command: str) -> None:
    assert "--json" in luthier(command, "--help").out


def test_version() -> None:
    assert luthier("--version").out.startswith("luthier 0.")


# --- results -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["build", "{recipe}", "--runs", "{runs}"], {"run", "stages", "data"}),
        (["plan", "{recipe}", "--runs", "{runs}"], {"run", "stages", "plan"}),
        (["train", "{recipe}", "--runs", "{runs}"], {"run", "stages", "train", "report"}),
        (["run", "{recipe}", "--runs", "{runs}"], {"run", "stages", "evaluation", "report"}),
        (["evaluate", "{run}"], {"run", "stages", "evaluation", "report"}),
        (["evaluate", "{run}", "--on", "{rows}"], {"run", "on", "rejected", "evaluation"}),
        (["ship", "{run}"], {"run", "stages", "exports"}),
        (["predict", "{run}", "We will do it."], {"predictions"}),
        (["ls", "--runs", "{runs}"], {"runs"}),
        (["ls", "models"], {"models"}),
        (["show", "{run}"], {"run", "recipe", "data", "train", "evaluation"}),
        (["show", "{run}", "--tokens"], {"run", "rows"}),
        (["diff", "{run}", "{run}"], {"settings", "versions", "same_data", "metrics"}),
        (["schema"], {"properties", "required", "$defs", "title", "type", "additionalProperties"}),
    ],
    ids=lambda value: "-".join(value[:1] + value[2:3]) if isinstance(value, list) else "",
)
def test_json_is_one_object_on_stdout(
    finished: Project,  # noqa: F811
    args: list[str],
    expected: set[str],
) -> None:
    places = {
        "recipe": finished.recipe, "runs": finished.runs, "run": finished.run,
        "rows": finished.path / "rows.csv",
    }  # fmt: skip
    said = luthier(*(arg.format(**places) for arg in args), "--json")
    assert said.code == 0, said.err
    assert set(said.json) >= expected
    if args[0] in ("build", "plan", "train", "run", "evaluate", "ship") and "--on" not in args:
        assert set(said.json["stages"].values()) == {"unchanged"}
        assert "unchanged" in said.err


def test_doctor_says_what_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {"python": "3", "versions": {"torch": "0.1"}, "problems": []}
    monkeypatch.setattr("luthier.doctor.diagnose", lambda: found)
    assert luthier("doctor", "--json").code == 0
    found["problems"] = [{"what": "torch 0.1", "why": "is old.", "fix": "get a new one"}]
    said = luthier("doctor", "--json")
    assert said.code == 1
    assert said.json["problems"] == found["problems"]
    assert "get a new one" in said.err


def test_new_writes_a_recipe_that_plans(
    tmp_path: Path, tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.csv").write_text(rows())
    said = luthier("new", "mine", "--data", "mine.csv", "--json")
    assert said.code == 0, said.err
    assert said.json == {"recipe": "mine.yaml"}
    again = luthier("new", "mine", "--json")
    assert (again.code, "exists already" in again.json["error"]) == (2, True)
    planned = luthier("plan", "mine.yaml", f"model={tiny_model_dir}", "train.bf16=false", "--json")
    assert planned.code == 0, planned.err
    assert planned.json["plan"]["train_rows"] > 20


def test_schema_is_written_where_asked(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "schema.json"
    assert luthier("schema", out, "--json").json == {"schema": str(out)}
    assert json.loads(out.read_text()) == luthier("schema", "--json").json
    assert luthier("schema").out == out.read_text()


def test_json_has_no_nan(monkeypatch: pytest.MonkeyPatch) -> None:
    figures = [{"name": "x", "value": float("nan")}, {"name": "y", "value": float("inf")}]
    monkeypatch.setattr(look, "list_things", lambda what, runs: figures)
    assert [line["value"] for line in luthier("ls", "--json").json["runs"]] == [None, None]


def test_what_a_library_prints_is_kept_off_stdout(monkeypatch: pytest.MonkeyPatch) -> None:
    def noisy(what: str, runs: Path) -> list[Any]:
        print("a library says hello")
        return []

    monkeypatch.setattr(look, "list_things", noisy)
    said = luthier("ls", "--json")
    assert said.json == {"runs": []}
    assert "hello" in said.err


def test_evaluate_on_another_file(finished: Project, tmp_path: Path) -> None:  # noqa: F811
    other = tmp_path / "other.csv"
    lines = rows(12).replace("sentence,label", "text,gold") + "Odd one,Perhaps,fact\n"
    other.write_text(lines)
    args = ("evaluate", finished.run, "--on", other, "--input", "text", "--output", "gold")
    said = luthier(*args, "--slice-by", "style", "--json")
    assert said.code == 0, said.err
    found = said.json["evaluation"]
    accuracy = found["systems"][0]["metrics"]["accuracy"]
    assert accuracy["low"] <= accuracy["value"] <= accuracy["high"]
    assert {name: s["rows"]["value"] for name, s in found["slices"].items()} == {
        "fact": 12, "plan": 12,
    }  # fmt: skip
    assert sum(said.json["rejected"].values()) == 1
    assert "rejected 1" in said.err
    shown = luthier(*args, "--slice-by", "style").err
    assert f"{accuracy['value']:.3f}" in shown
    assert f"[{accuracy['low']:.3f}, {accuracy['high']:.3f}]" in shown
    assert "plan" in shown
    assert luthier("evaluate", finished.run, "--slice-by", "style").code == 2


def test_columns_of_another_file_are_named_on_the_command_line(
    finished: Project,  # noqa: F811
    tmp_path: Path,
) -> None:
    other = tmp_path / "on.csv"
    other.write_text(rows(6).replace("sentence,label", "text,gold"))
    args = ("evaluate", finished.run, "--on", other)
    said = luthier(*args)
    assert said.code == 2
    assert "Columns: 'text', 'gold', 'style'. Name the right one with --input" in said.err
    args = (*args, "--input", "text", "--output", "gold", "--slice-by")
    unknown = luthier(*args, "stile")
    assert unknown.code == 2
    assert "Did you mean 'style'? Columns: gold, style, text." in unknown.err
    assert set(luthier(*args, "gold", "--json").json["evaluation"]["slices"]) == {"True", "False"}


# --- mistakes ----------------------------------------------------------------------------------


FIVE = """\
name: tiny
model: {model}
task: {{kind: clasification, labels: ["True", "False"]}}
data:
  sources: [{{path: rows.csv, inptu: sentence}}]
train:
  learning_rate: fast
  lora: {{r: 0}}
seed: -1
"""


def test_all_mistakes_of_a_recipe_with_their_lines(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(FIVE.format(model=tmp_path))
    said = luthier("run", tmp_path / "r.yaml", "--json")
    assert said.code == 2
    places = [p["where"].rpartition(":")[2] for p in said.json["problems"]]
    assert places == ["3", "5", "7", "8", "9"]
    for word in ("classification", "inptu", "learning_rate", "train.lora.r", "seed"):
        assert word in said.json["error"]
    assert said.json["error"] in said.err


Spoil = Callable[[Project], list[str]]


def edited(old: str, new: str, *args: str) -> Spoil:
    def spoil(project: Project) -> list[str]:  # noqa: F811
        project.edit(old, new)
        return [*args] if args else ["run", str(project.recipe)]

    return spoil


def data(text: str) -> Spoil:
    def spoil(project: Project) -> list[str]:  # noqa: F811
        (project.path / "rows.csv").write_text(text)
        return ["run", str(project.recipe)]

    return spoil


MISTAKES: dict[str, tuple[Spoil, list[str]]] = {
    "no such recipe": (
        lambda p: ["run", str(p.path / "recipes.yaml")], ["no such recipe file", "recipe.yaml"]
    ),
    "no such data file": (
        edited("rows.csv", "row.csv"), ["row.csv", "no such file", "Did you mean 'rows.csv'?"]
    ),
    "no such column": (
        edited("input: sentence", "input: sentense"),
        ["rows.csv", "no column 'sentense'", "Did you mean 'sentence'?"],
    ),
    "labels outside the set": (
        edited('["True", "False"]', '["yes", "no"]'),
        ["all 60 rows were rejected", "'True'", "rows.csv:2"],
    ),
    "empty file": (data(""), ["rows.csv", "empty"]),
    "header only": (data("sentence,label\n"), ["rows.csv", "no rows"]),
    "a model that cannot be reached": (
        lambda p: ["run", str(p.recipe), "model=some-org/some-model"],
        ["some-org/some-model", "cannot be fetched"],
    ),
    "a model folder that is not there": (
        lambda p: ["run", str(p.recipe), "model=./nowhere/model"], ["no folder", "nowhere"]
    ),
    "an override of nothing": (
        lambda p: ["run", str(p.recipe), "train.learning_rat=1"],
        ["command line", "Did you mean 'learning_rate'?"],
    ),
    "no such run": (lambda p: ["predict", "tiiny", "text"], ["no run 'tiiny'"]),
    "no such filter": (
        edited("use: empty", "use: emty"), ["unknown filter 'emty'", "Did you mean 'empty'?"]
    ),
    "no such exporter": (
        edited("[adapter, merged]", "[adaptor]"),
        ["recipe.yaml:10: unknown exporter", "Did you mean 'adapter'?"],
    ),
    "a list without a template": (
        lambda p: ["run", str(p.recipe), "data.template=[]"], ["a list of at least 1"]
    ),
    "half a regular expression": (
        lambda p: ["run", str(p.recipe), "train.lora.target_modules='q_pro['"],
        ["command line: 'train.lora.target_modules': not a regular expression"],
    ),
    "a regular expression that peft cannot build on": (
        lambda p: ["run", str(p.recipe), "train.lora.layers_pattern=(?i)x",
                   "train.lora.layers_to_transform=[0]"],
        ["train.lora: global flags not at the start"],
    ),
    "no such kind of thing": (lambda p: ["ls", "template"], ["Did you mean 'templates'?"]),
    "not an override": (lambda p: ["run", str(p.recipe), "fast"], ["key=value"]),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_explained(
    project: Project,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    spoil, expected = MISTAKES[name]
    monkeypatch.chdir(project.path)
    said = luthier(*spoil(project), "--json")
    assert said.code == 2
    for words in expected:
        assert words in said.json["error"]
    assert said.json["error"] in said.err


def test_the_nearest_run_is_named(finished: Project) -> None:  # noqa: F811
    said = luthier("show", "tinny", "--runs", finished.runs)
    assert said.code == 2
    assert "no run 'tinny'. Did you mean 'tiny'?" in said.err


@pytest.mark.parametrize("command", ["evaluate", "ship", "predict"])
def test_a_run_must_be_trained_first(tmp_path: Path, tiny_model_dir: Path, command: str) -> None:
    fresh = make_project(tmp_path / "fresh", tiny_model_dir)
    assert fresh.do("build").code == 0
    said = luthier(command, fresh.run, *(["text"] if command == "predict" else []), "--json")
    assert said.code == 2
    assert "has not finished; run `luthier" in said.json["error"]


@pytest.mark.parametrize(
    "args",
    [["run"], ["run", "r.yaml", "--bogus"], ["frobnicate"], ["predict", "x"], ["ls", "--json=yes"]],
)
def test_a_wrong_command_line_is_json_too(args: list[str]) -> None:
    asked = "--json" in args[-1]
    said = luthier(*args) if asked else luthier(*args, "--json")
    assert said.code == 2
    assert said.json["kind"] == "UsageError"
    assert said.json["error"] in said.err
    assert asked or luthier(*args).out == ""


def test_a_plan_that_says_no(project: Project) -> None:  # noqa: F811
    bad = ["train.metric_for_best_model=accuracy", "task.kind=generation", "task.labels=null"]
    said = project.do("plan", *bad, "evaluate.baselines=[]", "--json")
    assert said.code == 1
    assert "metric_for_best_model" in [
        f["check"] for f in said.json["plan"]["findings"] if f["severity"] == "error"
    ]
    stopped = project.do("train", *bad, "evaluate.baselines=[]", "--json")
    assert stopped.code == 1
    assert stopped.json["kind"] == "CheckFailed"
    assert "metric_for_best_model" in stopped.json["error"]


@pytest.mark.parametrize(
    ("settings", "check"),
    [
        (["data.split.test=0"], "no_test_rows"),
        (["evaluate.slice_by=stile"], "slice_column"),
        (["evaluate.metrics=[chrf]"], "metrics_of_other_tasks"),
        (["train.lora=null", "ship.exporters=[adapter]"], "adapter_without_lora"),
    ],
)
def test_what_would_fail_after_training_stops_a_run_before_it(
    project: Project,  # noqa: F811
    settings: list[str],
    check: str,
) -> None:
    said = project.do("run", *settings, "--json")
    assert (said.code, said.json["kind"]) == (1, "CheckFailed")
    assert f"\n  {check}: " in said.json["error"]
    assert "train: done" not in said.err
    assert project.do("train", *settings, "train.max_steps=1", "--json").code == 0


def test_full_weights_are_shipped_whole_unless_said_otherwise(project: Project) -> None:  # noqa: F811
    said = project.do("run", "train={lora: null, max_steps: 1, bf16: false}", "ship=null", "--json")
    assert said.code == 2, "a section may be left out, not be null"
    project.edit("ship: {exporters: [adapter, merged]}\n", "")
    said = project.do("run", "train={lora: null, max_steps: 1, bf16: false}", "--json")
    assert said.code == 0, said.err
    assert (Path(said.json["run"]) / "ship" / "merged").is_dir()


def test_results_are_shown_and_reported_also_where_shipping_fails(
    project: Project,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from luthier.shipping import ship

    def fail(*args: Any) -> NoReturn:
        raise LuthierError("no room for it.")

    monkeypatch.setattr(ship, "_questions", fail)
    project.edit("[adapter, merged]", "[merged]")
    (project.run / "report.html").unlink()
    said = project.do("run", "--json")
    assert (said.code, said.json["error"]) == (2, "no room for it.")
    assert "95 % intervals" in said.err
    assert f"report: {project.run / 'report.html'}" in said.err.replace("\n", "")
    assert (project.run / "report.html").is_file()


def test_a_run_says_how_to_predict_only_where_there_is_a_question(
    finished: Project,  # noqa: F811
    tmp_path: Path,
    tiny_model_dir: Path,
) -> None:
    assert "predict: luthier predict" in finished.do("run").err
    plain = make_project(tmp_path / "plain", tiny_model_dir)
    plain.edit('{kind: classification, labels: ["True", "False"]}', "{kind: text}")
    plain.edit("input: sentence, output: label", "text: sentence")
    plain.edit("baselines: [majority, zero_shot]", "baselines: []")
    said = plain.do("run", "train.max_steps=2", "ship.exporters=[adapter]")
    assert said.code == 0, said.err
    assert "report:" in said.err and "predict:" not in said.err
    splits = said.err.partition("data")[2]
    assert "calibration" not in splits, "plain text has no temperature to fit"


# --- stopping ----------------------------------------------------------------------------------


def test_ctrl_c_is_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(what: str, runs: Path) -> NoReturn:
        raise KeyboardInterrupt

    monkeypatch.setattr(look, "list_things", stopped)
    said = luthier("ls", "--json")
    assert said.code == 130
    assert "repeat the command" in said.json["error"]


def test_a_full_disk_is_explained_and_a_bug_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails_with(error: BaseException) -> None:
        def fail(what: str, runs: Path) -> NoReturn:
            raise error

        monkeypatch.setattr(look, "list_things", fail)

    fails_with(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/some/file"))
    said = luthier("ls", "--json")
    assert said.code == 2
    assert "/some/file: No space left on device" in said.json["error"]
    for bug in (OSError(errno.EBADF, "ours"), KeyError("ours")):
        fails_with(bug)
        broken = CliRunner().invoke(app, ["ls", "--json"])
        assert broken.exit_code == 70
        assert json.loads(broken.stdout) == {
            "error": f"a mistake of luthier's own: {type(bug).__name__}: {bug}",
            "kind": "InternalError",
        }
        assert "Traceback (most recent call last)" in broken.stderr
        plain = CliRunner().invoke(app, ["ls"])
        assert (plain.exit_code, plain.stdout) == (70, "")
        assert "Traceback (most recent call last)" in plain.stderr


def test_a_reader_that_goes_away() -> None:
    command = f"'{sys.executable}' -m luthier schema | head -c 1"
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"],
        capture_output=True, text=True, env=ENVIRONMENT, cwd=Path(__file__).parents[1],
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "{", "")


def test_a_real_process_keeps_its_streams_apart(finished: Project) -> None:  # noqa: F811
    args = ("run", finished.recipe, "--runs", finished.runs)
    done = process("", *args, "--json")
    assert json.loads(done.stdout)["stages"]["ship"] == "unchanged"
    assert done.stdout.count("\n") == 1
    assert "ship: unchanged" in done.stderr
    assert process("", *args).stdout == ""


INTERRUPTED = """
import os, signal
from luthier.run import Run
tell = Run.event
def event(run, event, **fields):
    tell(run, event, **fields)
    if event == "step" and fields["step"] == 7 and "again" in str(run.path):
        os.kill(os.getpid(), signal.SIGINT)
Run.event = event
"""


def test_ctrl_c_while_training_and_on(tmp_path: Path, tiny_model_dir: Path) -> None:
    made = make_project(tmp_path / "p", tiny_model_dir)
    args = ("train", made.recipe, "train.max_steps=12", "train.lora.lora_dropout=0.1", "--runs")
    assert luthier(*args, tmp_path / "once").code == 0
    stopped = process(INTERRUPTED, *args, tmp_path / "again", "--json", check=130)
    assert "repeat the command" in json.loads(stopped.stdout)["error"]
    [run] = (tmp_path / "again").iterdir()
    assert not Run(run).is_done("train")
    assert [p.name for p in (run / "train" / "checkpoints").iterdir()]
    assert luthier(*args, tmp_path / "again").code == 0
    steps = [e["step"] for e in Run(run).events("step")]
    assert steps == list(range(1, 13))
    assert (run / "train/adapter/adapter_model.safetensors").read_bytes() == (
        tmp_path / "once" / run.name / "train/adapter/adapter_model.safetensors"
    ).read_bytes()
