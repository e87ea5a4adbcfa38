"""Run folders survive kills, full disks, other processes and damage; stages know when to rerun."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from luthier import recipe as recipes
from luthier import run as runs
from luthier.atomic import atomic_write
from luthier.errors import RunError
from luthier.run import Run, file_digest, fingerprint, list_runs

RECIPE = """\
name: demo
model: some-model
task: {kind: generation}
data: {sources: [{path: rows.csv}]}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE, encoding="utf-8")
    return path


@pytest.fixture
def run(file: Path, tmp_path: Path) -> Run:
    return Run.create(recipes.load(file), tmp_path / "runs")


def python(code: str, *arguments: Any, within: str = "") -> subprocess.Popen[str]:
    """Start a Python process, inside a shell command where one is given."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    if within:
        command = ["unshare", "-m", "sh", "-c", f'{within} && exec "$@"', "sh", *command]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def outcome(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return out


can_mount = (
    shutil.which("unshare") is not None
    and subprocess.run(
        ["unshare", "-m", "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True
    ).returncode
    == 0
)
needs_mount = pytest.mark.skipif(not can_mount, reason="mounting is not allowed here")


# --- creating and finding ----------------------------------------------------------------------


def test_a_run_keeps_what_was_asked(file: Path, tmp_path: Path) -> None:
    text = RECIPE.replace("\n", "\r\n") + "# äöü\r\n"
    file.write_bytes(text.encode())
    loaded = recipes.load(file)
    run = Run.create(loaded, tmp_path / "runs")
    assert (run.path / "recipe.yaml").read_bytes() == file.read_bytes()
    assert run.recipe == loaded.recipe
    assert run.data_root == tmp_path
    assert run.read_json("asked.json")["file"] == str(file)
    lock = run.read_json("lock.json")
    assert lock["seed"] == 42
    assert lock["versions"]["torch"] and lock["versions"]["transformers"]
    assert lock["recipe_sha256"] == file_digest(file)
    assert run.name == "demo" and run.path == tmp_path / "runs" / "demo"


def test_overrides_make_a_run_of_their_own(file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "runs"
    plain = Run.create(recipes.load(file), folder)
    one = Run.create(recipes.load(file, ["seed=1", "train.max_steps=3"]), folder)
    other = Run.create(recipes.load(file, ["seed=2"]), folder)
    again = Run.create(recipes.load(file, ["train.max_steps=3", "seed=1"]), folder)
    assert plain.name == "demo"
    assert one.name.startswith("demo-") and one.name != other.name
    assert again.path == one.path
    assert one.recipe.seed == 1 and one.read_json("asked.json")["overrides"] != []


def test_creating_again_keeps_the_stages(run: Run, file: Path) -> None:
    with run.stage("data", "f") as folder:
        (folder / "x").write_text("1")
    again = Run.create(recipes.load(file), run.path.parent)
    assert again.is_fresh("data", "f")


def test_open_by_name_and_by_folder(run: Run) -> None:
    assert Run.open("demo", run.path.parent).path == run.path
    assert Run.open(run.path).path == run.path
    assert Run.open(str(run.path) + "/").name == "demo"


def test_open_names_the_nearest_run(run: Run, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"no run 'dmeo'. Did you mean 'demo'\? Runs here: demo."):
        Run.open("dmeo", run.path.parent)
    with pytest.raises(RunError, match=r"There are none in .*empty/"):
        Run.open("demo", tmp_path / "empty")


def test_list_runs_is_oldest_first(file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "runs"
    assert list_runs(folder) == []
    made = [Run.create(recipes.load(file, [f"name={n}"]), folder) for n in ("b", "c", "a")]
    for age, run in enumerate(reversed(made)):
        os.utime(run.path / "recipe.json", (1000 - age, 1000 - age))
    (folder / "no-run").mkdir()
    (folder / "file").write_text("")
    assert list_runs(folder) == made


def test_a_run_of_another_version_is_no_crash(run: Run) -> None:
    run.write_json("recipe.json", {**run.read_json("recipe.json"), "frobnicate": 1})
    with pytest.raises(RunError, match=r"recipe\.json does not fit this version .*frobnicate"):
        _ = run.recipe


@pytest.mark.parametrize("damage", [b"", b"{", b"\xff\xfe", b'{"a": '])
def test_damaged_json_is_no_crash(run: Run, damage: bytes) -> None:
    (run.path / "recipe.json").write_bytes(damage)
    with pytest.raises(RunError, match=r"recipe\.json cannot be read: .* Delete it and repeat"):
        run.read_json("recipe.json")
    with pytest.raises(RunError, match=r"is missing; is .* a run folder"):
        run.read_json("other.json")


# --- stages ------------------------------------------------------------------------------------


def test_a_stage_is_fresh_until_something_changes(run: Run) -> None:
    assert not run.is_done("data") and not run.is_fresh("data", "f1")
    with run.stage("data", "f1") as folder:
        (folder / "inner").mkdir()
        (folder / "inner" / "rows.txt").write_text("rows")
        assert not run.is_done("data")
    assert run.is_done("data") and run.is_fresh("data", "f1")
    assert not run.is_fresh("data", "f2")
    assert run.seconds("data") >= 0
    rows = run.path / "data" / "inner" / "rows.txt"
    rows.write_text("more rows")
    assert not run.is_fresh("data", "f1")
    rows.write_text("rows")
    assert run.is_fresh("data", "f1")
    rows.unlink()
    assert not run.is_fresh("data", "f1")
    assert run.is_done("data")


def test_a_stage_begins_empty(run: Run) -> None:
    for stage in ("data", "plan"):
        with run.stage(stage, "f") as folder:  # type: ignore[arg-type]
            (folder / "old").write_text("")
    elsewhere = run.path.parent / "precious"
    elsewhere.mkdir()
    (elsewhere / "kept").write_text("")
    (run.path / "plan" / "link").symlink_to(elsewhere)
    with run.stage("plan", "f") as folder:
        assert list(folder.iterdir()) == []
        assert run.is_done("data") and not run.is_done("plan")
    assert (elsewhere / "kept").exists()
    assert run.is_done("plan")


def make_stage(run: Run, stage: Any, text: str = "") -> None:
    with run.stage(stage, "f") as folder:
        (folder / "made").write_text(text)


def done(run: Run) -> list[str]:
    return [stage for stage in runs.STAGES if run.is_done(stage)]


@pytest.mark.parametrize(
    ("stage", "text", "left"),
    [
        ("data", "", list(runs.STAGES)),
        ("data", "other rows", ["data"]),
        ("plan", "other figures", list(runs.STAGES)),
        ("train", "", list(runs.STAGES)),
        ("train", "other weights", ["data", "plan", "train"]),
        ("evaluate", "other metrics", ["data", "plan", "train", "evaluate"]),
    ],
)
def test_later_stages_are_forgotten_when_the_outcome_differs(
    run: Run, stage: str, text: str, left: list[str]
) -> None:
    for each in runs.STAGES:
        make_stage(run, each)
    make_stage(run, stage, text)
    assert done(run) == left


def test_an_attempt_cut_short_forgets_nothing_by_itself(run: Run) -> None:
    for each in runs.STAGES:
        make_stage(run, each)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), run.stage("train", "f"):
            raise ZeroDivisionError
    assert done(run) == ["data", "plan", "evaluate", "ship"]
    make_stage(run, "train")
    assert done(run) == list(runs.STAGES)
    with pytest.raises(ZeroDivisionError), run.stage("train", "f"):
        raise ZeroDivisionError
    make_stage(run, "train", "other weights")
    assert done(run) == ["data", "plan", "train"]


def fail_to_build(run: Run, mark: str = "f") -> None:
    with pytest.raises(ZeroDivisionError), run.stage("data", mark) as folder:
        assert list(folder.iterdir()) == []
        (folder / "made").write_text("half")
        (folder / "rejects.jsonl").write_text("why it failed")
        raise ZeroDivisionError


def test_a_failed_build_leaves_the_last_dataset(run: Run) -> None:
    for each in runs.STAGES:
        make_stage(run, each, "whole")
    digest = run.digest("data")
    for _ in range(2):
        fail_to_build(run)
        assert done(run) == list(runs.STAGES) and run.digest("data") == digest
        assert (run.path / "data/made").read_text() == "whole"
        assert (run.path / "data/rejects.jsonl").read_text() == "why it failed"
        assert not run.is_fresh("data", "f"), "it is made again, whatever its fingerprint"
    make_stage(run, "data", "whole")
    assert done(run) == list(runs.STAGES)
    assert run.is_fresh("data", "f")
    assert [p.name for p in (run.path / "data").iterdir()] == ["made"]
    assert not list(run.path.glob(".data*"))


@pytest.mark.parametrize("at", ["manifest.json", "events.jsonl", "started.json"])
def test_the_last_dataset_outlives_a_kill_while_another_is_built(
    run: Run, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    """Nothing is put back by a process that is killed: the next attempt has to find it."""
    make_stage(run, "data", "whole")
    make_stage(run, "train")
    write, told = Run.write_json, Run.event

    def killed(self: Run, name: str, value: object) -> None:
        write(self, name, value)
        if name == at:
            raise KeyboardInterrupt

    def killed_then(self: Run, event: str, **fields: object) -> None:
        told(self, event, **fields)
        if at == "events.jsonl":
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Run, "write_json", killed)
        patched.setattr(Run, "event", killed_then)
        patched.setattr(Run, "_bring_back", lambda *_: None)
        with pytest.raises(KeyboardInterrupt):
            make_stage(run, "data", "other rows")
    fail_to_build(run)
    assert done(run) == ["data", "train"]
    assert (run.path / "data/made").read_text() == "whole"
    make_stage(run, "data", "other rows")
    assert done(run) == ["data"] and not list(run.path.glob(".data*"))


def test_a_run_in_which_nothing_was_made_can_be_dropped(run: Run, tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), run.stage("data", "f") as folder:
        (folder / "rejects.jsonl").write_text("")
        raise ZeroDivisionError
    kept = Run(shutil.copytree(run.path, tmp_path / "kept"))
    assert run.drop_if_empty() and not run.path.exists()
    (kept.path / "data/rejects.jsonl").write_text("why")
    assert not kept.drop_if_empty(), "somebody may want to read it"
    (kept.path / "data/rejects.jsonl").unlink()
    (kept.path / "calls.jsonl").write_text("{}\n")
    assert not kept.drop_if_empty(), "somebody paid for it"
    make_stage(kept, "data")
    assert not kept.drop_if_empty() and kept.is_done("data")


def test_a_stage_keeps_what_it_is_told_to(run: Run) -> None:
    def attempt(mark: str) -> list[str]:
        resume = run.started_as("train") == mark
        with (
            pytest.raises(KeyboardInterrupt),
            run.stage("train", mark, resume=resume) as folder,
        ):
            left = sorted(p.name for p in folder.iterdir())
            (folder / "checkpoints").mkdir(exist_ok=True)
            (folder / "log").write_text("")
            raise KeyboardInterrupt
        return left

    assert run.started_as("train") is None
    assert attempt("one") == []
    assert run.started_as("train") == "one" and run.started_as("data") is None
    make_stage(run, "plan")  # a plan made in between is another stage's attempt
    assert attempt("one") == ["checkpoints"]
    assert attempt("two") == []
    make_stage(run, "train")
    assert run.started_as("train") is None


def test_what_a_stage_is_resumed_from_outlives_a_kill_while_it_is_recorded(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Run.write_json

    def killed(self: Run, name: str, value: object) -> None:
        if name == "manifest.json" and "train" in value:  # type: ignore[operator]
            raise KeyboardInterrupt
        write(self, name, value)

    def attempt() -> list[str]:
        with run.stage("train", "f", resume=True) as folder:
            found = sorted(p.name for p in folder.iterdir())
            for name in ("checkpoints", "adapter"):
                (folder / name).mkdir(exist_ok=True)
                (folder / name / "weights").write_text(name)
        return found

    with monkeypatch.context() as patched:
        patched.setattr(Run, "write_json", killed)
        with pytest.raises(KeyboardInterrupt):
            attempt()
    assert attempt() == ["checkpoints"]
    assert run.is_done("train")
    assert [p.name for p in (run.path / "train").iterdir()] == ["adapter"]
    assert list(run.read_json("manifest.json")["train"]["files"]) == ["train/adapter/weights"]


def test_a_stage_that_fails_is_not_done(run: Run) -> None:
    with pytest.raises(ZeroDivisionError), run.stage("data", "f"):
        raise ZeroDivisionError
    with pytest.raises(KeyboardInterrupt), run.stage("data", "f"):
        raise KeyboardInterrupt
    assert not run.is_done("data")
    with pytest.raises(RunError, match="the data stage has not finished; run `luthier build`"):
        run.require("data")
    with pytest.raises(RunError, match="run `luthier train`"):
        run.digest("train")
    assert [e["event"] for e in run.events()] == ["stage_started"] * 2


def test_programmers_errors_stay_what_they_are(run: Run) -> None:
    with pytest.raises(FileNotFoundError), run.stage("data", "f") as folder:
        (folder / "not-there").read_text()
    with pytest.raises(FileExistsError), run.stage("data", "f") as folder:
        folder.mkdir()


def test_digest_depends_on_the_files_and_nothing_else(run: Run) -> None:
    def made(text: str, mark: str = "f", name: str = "rows") -> str:
        with run.stage("data", mark) as folder:
            (folder / "b").write_text("b")
            (folder / name).write_text(text)
        return run.digest("data")

    first = made("1")
    assert made("1") == first
    assert made("1", mark="another") == first
    assert made("2") != first
    assert made("1", name="rowz") != first


def test_fingerprints() -> None:
    assert fingerprint({"a": 1, "b": [2]}, "x") == fingerprint({"b": [2], "a": 1}, "x")
    parts: list[tuple[Any, ...]] = [(), (1,), ("1",), ([1],), (1, None), ({"a": 1},), ({"a": 2},)]
    assert len({fingerprint(*p) for p in parts}) == len(parts)
    # It must be the same in every process and every version: runs are kept for years.
    assert fingerprint("luthier", {"a": [1, 2.5, None]}) == "668cf2a7fb08044cf7b0ab5269c8cfa1"


STAGE_AND_DIE = """
import os, sys
from pathlib import Path
from luthier.run import Run
run = Run(Path(sys.argv[1]))
with run.lock(), run.stage("train", "mark") as folder:
    (folder / "half").write_text("x" * 1000)
    run.event("step", step=1)
    print("ready", flush=True)
    sys.stdin.read()
"""


def test_kill_in_the_middle_leaves_a_stage_undone_and_the_lock_free(run: Run) -> None:
    with run.stage("data", "d") as folder:
        (folder / "rows").write_text("rows")
    worker = python(STAGE_AND_DIE, run.path)
    assert worker.stdout is not None and worker.stdout.readline() == "ready\n"

    with pytest.raises(RunError, match=f"is in use by process {worker.pid} on "), run.lock():
        pass
    # Its recipe cannot be changed under it either.
    changed = run.path.parent.parent / "recipe.yaml"
    changed.write_text(RECIPE + "seed: 7\n")
    with pytest.raises(RunError, match=f"in use by process {worker.pid}"):
        Run.create(recipes.load(changed), run.path.parent)
    assert run.recipe.seed == 42

    worker.send_signal(signal.SIGKILL)
    worker.communicate(timeout=30)
    with run.lock():
        assert not run.is_done("train") and not run.is_fresh("train", "mark")
        assert run.is_fresh("data", "d")
        assert run.started_as("train") == "mark"
        assert [e["step"] for e in run.events("step")] == [1]
        with run.stage("train", "mark") as folder:
            assert not (folder / "half").exists()
            (folder / "whole").write_text("y")
    assert run.is_fresh("train", "mark")


def test_a_second_process_is_refused_and_changes_nothing(run: Run, file: Path) -> None:
    second = """
import sys
from pathlib import Path
from luthier.errors import RunError
from luthier.run import Run
try:
    with Run(Path(sys.argv[1])).lock():
        print("got it")
except RunError as error:
    print(error)
"""
    with run.lock():
        refused = outcome(python(second, run.path))
    assert f"in use by process {os.getpid()} on " in refused
    assert "Wait for it, or stop it" in refused
    assert outcome(python(second, run.path)) == "got it\n"


def test_a_lock_can_be_taken_again(run: Run) -> None:
    for _ in range(2):
        with run.lock(), pytest.raises(RunError, match="in use"), run.lock():
            pass


def test_a_lock_without_room_for_its_owner_is_explained_and_let_go(run: Run) -> None:
    import resource

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    (run.path / ".lock").unlink()
    lock = run.lock()  # kept, so that no collector closes its file
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        with pytest.raises(RunError, match=r"\.lock: the file would exceed the size limit"):
            lock.__enter__()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    with run.lock():
        pass


# --- writing -----------------------------------------------------------------------------------


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "file"
    with atomic_write(path) as file:
        file.write(b"one")
        assert not path.exists()
    assert path.read_bytes() == b"one"
    with pytest.raises(ZeroDivisionError), atomic_write(path) as file:
        file.write(b"tw")
        raise ZeroDivisionError
    assert path.read_bytes() == b"one"
    assert [p.name for p in path.parent.iterdir()] == ["file"]


def test_a_kill_while_writing_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    writer = python(
        """
import sys
from pathlib import Path
from luthier.atomic import atomic_write
with atomic_write(Path(sys.argv[1])) as file:
    file.write(b"new")
    file.flush()
    print("ready", flush=True)
    sys.stdin.read()
""",
        path,
    )
    assert writer.stdout is not None and writer.stdout.readline() == "ready\n"
    writer.kill()
    writer.communicate(timeout=30)
    assert path.read_text() == "old"


FILL = """
import resource, sys
from pathlib import Path
from luthier.errors import RunError
from luthier.atomic import atomic_write
from luthier.run import Run
run = Run(Path(sys.argv[1]))
if len(sys.argv) > 2:
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
run.write_text("small", "fits")
run.write_text("big", "old")
for attempt in ("big", "new"):
    try:
        run.write_text(attempt, "x" * 200_000)
    except RunError as error:
        print(error)
try:
    with run.stage("data", "f") as folder, open(folder / "rows", "wb") as file:
        file.write(b"x" * 200_000)
        file.flush()
except RunError as error:
    print(error)
names = sorted(p.name for p in run.path.iterdir())
print(names, (run.path / "big").read_text(), run.is_done("data"))
(run.path / "data" / "rows").unlink()
run.write_text("small", "still fits")
"""


def test_a_file_beyond_the_limit_is_explained_and_not_left(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    lines = outcome(python(FILL, tmp_path / "run", "limit")).splitlines()
    for line, name in zip(lines[:3], ("big", "new", "data"), strict=True):
        assert line.startswith(f"{tmp_path / 'run' / name}")
        assert "the file would exceed the size limit" in line
    assert (
        lines[3]
        == "['big', 'data', 'events.jsonl', 'manifest.json', 'small', 'started.json'] old False"
    )


@needs_mount
def test_a_full_disk_is_explained_and_nothing_is_half_written(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = f"mount -t tmpfs -o size=128k tmpfs '{disk}'"
    lines = outcome(python(FILL, disk, within=mount)).splitlines()
    for line, name in zip(lines[:3], ("big", "new", "data"), strict=True):
        assert line.startswith(f"{disk / name}")
        assert "the disk is full. Free some space and repeat the command" in line
    assert lines[3].startswith("['big', 'data', ") and lines[3].endswith("old False")
    assert list(disk.iterdir()) == []  # the mount was the process's own


READ_ONLY = """
import sys
from pathlib import Path
from luthier import recipe
from luthier.errors import RunError
from luthier.run import Run
loaded = recipe.load(sys.argv[1])
for action in (lambda: Run.create(loaded, Path(sys.argv[2])),
               lambda: Run(Path(sys.argv[2])).event("x"),
               lambda: Run(Path(sys.argv[2])).lock().__enter__(),
               lambda: Run(Path(sys.argv[2])).write_json("x", 1)):
    try:
        action()
    except RunError as error:
        print(error)
"""


@needs_mount
def test_a_read_only_disk_is_explained(file: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = f"mount -t tmpfs -o ro tmpfs '{disk}'"
    lines = outcome(python(READ_ONLY, file, disk, within=mount)).splitlines()
    assert len(lines) == 4
    for line in lines:
        assert line.startswith(str(disk))
        assert "the filesystem is read-only. Choose another folder with --runs" in line


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_explained(file: Path, tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir(mode=0o500)
    with pytest.raises(RunError, match=r"permission denied\. Choose another folder"):
        Run.create(recipes.load(file), tmp_path / "runs")


def test_a_file_in_the_way_is_explained(file: Path, tmp_path: Path, run: Run) -> None:
    with pytest.raises(RunError, match="there is a file where a folder should be"):
        Run.create(recipes.load(file), file)
    (run.path / "data").write_text("in the way")
    with pytest.raises(RunError, match="there is a file where a folder should be"):
        run.folder("data")
    (run.path / "report.html").mkdir()
    with pytest.raises(RunError, match=r"report\.html: Is a directory"):
        run.write_text("report.html", "x")
    assert not list(run.path.glob("*.part")) and not list(run.path.glob(".*.part"))


def test_numbers_that_json_lacks_become_null(run: Run) -> None:
    run.write_json(
        "x.json", {"a": math.nan, "b": [math.inf, -math.inf, 1.5], 3: {"c": (math.nan,)}}
    )
    text = (run.path / "x.json").read_text()
    assert "NaN" not in text and "Infinity" not in text
    assert run.read_json("x.json") == {"a": None, "b": [None, None, 1.5], "3": {"c": [None]}}
    run.event("step", loss=math.nan)
    assert run.events("step")[0]["loss"] is None


def test_text_is_written_as_utf_8_and_damaged_text_stays_readable(run: Run) -> None:
    run.write_json("x.json", {"a": "é 😀 \udc80"})
    assert "é 😀" in (run.path / "x.json").read_text(encoding="utf-8")
    assert run.read_json("x.json") == {"a": "é 😀 \udc80"}
    run.write_text("x.txt", "a\r\nb\udc80\n")
    assert (run.path / "x.txt").read_bytes() == b"a\r\nb\\udc80\n"


# --- events ------------------------------------------------------------------------------------


def test_events_come_back_in_order(run: Run) -> None:
    assert run.events() == []
    for step in range(3):
        run.event("step", step=step, text="ä\u2028\n")
    run.event("validation", step=2, loss=0.5)
    assert [e["step"] for e in run.events("step")] == [0, 1, 2]
    assert run.events("step")[0]["text"] == "ä\u2028\n"
    assert [e["event"] for e in run.events()] == ["step"] * 3 + ["validation"]
    assert all(isinstance(e["time"], float) for e in run.events())


@pytest.mark.parametrize(
    "torn", [b'{"event": "st', b'{"event": "step", "step": 9', b"\xff\x00", b"{"]
)
def test_a_torn_line_is_skipped_and_takes_no_other_with_it(run: Run, torn: bytes) -> None:
    run.event("step", step=1)
    with open(run.path / "events.jsonl", "ab") as file:
        file.write(torn)
    assert [e["step"] for e in run.events("step")] == [1]
    run.event("step", step=2)
    run.event("step", step=3)
    assert [e["step"] for e in run.events("step")] == [1, 2, 3]


def test_steps_beyond_a_checkpoint_are_forgotten(run: Run) -> None:
    for step in (1, 2, 3):
        run.event("step", step=step)
        run.event("checkpoint", step=step)
        run.event("validation", step=step)
        run.event("note", step=step)
    run.event("nonfinite", step=3)
    run.event("stage_started", stage="train")
    with open(run.path / "events.jsonl", "ab") as file:
        file.write(b'{"event": "step", "st')
    run.drop_events_after(2)
    left = [(e["event"], e.get("step")) for e in run.events()]
    for kind in ("step", "checkpoint", "validation"):
        assert [s for k, s in left if k == kind] == [1, 2]
    assert [s for k, s in left if k == "note"] == [1, 2, 3]
    assert ("nonfinite", 3) not in left and ("stage_started", None) in left
    for line in (run.path / "events.jsonl").read_text().splitlines():
        json.loads(line)


def test_stages_announce_themselves(run: Run) -> None:
    with run.stage("data", "f"):
        pass
    started, finished = run.events()
    assert (started["event"], started["stage"]) == ("stage_started", "data")
    assert (finished["event"], finished["stage"]) == ("stage_finished", "data")
    assert finished["seconds"] >= 0


def test_stage_names_are_in_the_order_of_the_work() -> None:
    assert runs.STAGES == ("data", "plan", "train", "evaluate", "ship")
