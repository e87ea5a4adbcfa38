"""Attempts at a command, each in a process of its own that can be killed at any instant.

Importing torch and luthier takes seconds. One process does it once, and forks a child for every
attempt: `Attempts` starts it and speaks to it in lines of JSON; `python attempts.py` is it.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Ended:
    """How an attempt ended."""

    code: int
    """Exit code; minus the signal's number where a signal ended it, as in `subprocess`."""
    seconds: float
    err: str
    """What it printed."""
    calls: list[str]
    """The calls that its `Interference` counted; empty where it did not live to tell."""
    stopped: int | None
    """Process id, where the attempt is stopped and has not ended."""


class Attempts:
    """The process that forks the attempts; a context manager."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._asked = folder, 0
        folder.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Attempts:
        alone = {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
        path = os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")])
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "attempts.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **alone, "PYTHONPATH": path},
            text=True,
        )
        return self

    def __exit__(self, *error: object) -> None:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def run(self, *args: str | Path, **wanted: Any) -> Ended:
        """A command of `luthier` (or `job=` a function of this module), until it ends.

        Args:
            args: of the command.
            wanted: `kill_after` seconds with `signal` (SIGKILL); `interference` as a dict;
                `in_save` n: it counts only during the n-th save of a checkpoint;
                `keep`: a folder that gets a copy of the checkpoints before they are deleted.
        """
        return self._ask({"args": [str(arg) for arg in args], **wanted})

    def learn(self, *args: str | Path) -> Ended:
        """Run a command on a recipe; then import what it imported, before others are forked."""
        return self.run(*args, learn=True)

    def go_on(self) -> Ended:
        """Let the attempt that is stopped go on, until it ends."""
        return self._ask({"go_on": True})

    def _ask(self, wanted: dict[str, Any]) -> Ended:
        assert self._process.stdin and self._process.stdout
        self._asked += 1
        files = {name: self.folder / f"{self._asked}.{name}" for name in ("log", "told")}
        if "go_on" in wanted:
            files = self._stopped  # it writes on where it began
        for path in files.values():
            path.touch()  # it may be killed before it has said a word
        self._process.stdin.write(json.dumps({**files, **wanted}, default=str) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, "the forking process is gone"
        said, calls = (files[name].read_text(errors="replace") for name in ("log", "told"))
        ended = Ended(**json.loads(answer), err=said, calls=calls.splitlines())
        if ended.stopped:
            self._stopped = files
        return ended


# --- the forking process -----------------------------------------------------------------------


def serve() -> None:
    """Fork an attempt for every line on stdin; answer how it ended on stdout."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    _import_everything()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    stopped: tuple[int, float] | None = None
    for line in sys.stdin:
        wanted = json.loads(line)
        if wanted.get("go_on"):
            assert stopped
            running, stopped = stopped, None
            os.kill(running[0], signal.SIGCONT)
        else:
            running = _fork(wanted)
        answer = _wait(*running, wanted)
        if answer["stopped"]:
            stopped = running
        if wanted.get("learn"):
            _learn(Path(wanted["told"]).read_text().splitlines(), Path(wanted["args"][1]))
        print(json.dumps(answer), file=answers, flush=True)


def _import_everything() -> None:
    import torch

    torch.set_num_threads(1)
    for name in ("cli", "look", "pipeline", "data.build", "planning.plan", "training.train",
                 "data.generating.write", "inference.backends.openai"):  # fmt: skip
        importlib.import_module(f"luthier.{name}")
    importlib.import_module("httpx2")


def _learn(modules: list[str], recipe: Path) -> None:
    """Do once what every attempt would have to."""
    from luthier import model
    from luthier.recipe import load

    for name in modules:
        with contextlib.suppress(Exception):
            importlib.import_module(name)
    model.open_model(load(recipe).recipe.model)  # transformers keeps tables that it makes then
    small_training(1)
    # What the collector does not touch is not copied into every child.
    gc.collect()
    gc.freeze()


def _fork(wanted: dict[str, Any]) -> tuple[int, float]:
    started = time.monotonic()
    if not (pid := os.fork()):
        try:
            os._exit(_attempt(wanted))
        finally:
            os._exit(70)
    return pid, started


def _wait(pid: int, started: float, wanted: dict[str, Any]) -> dict[str, Any]:
    """Wait for a child to end or to stop itself; kill it when its time is up."""
    deadline = started + wanted["kill_after"] if "kill_after" in wanted else None
    number = signal.Signals[wanted.get("signal", "SIGKILL")]
    stops = wanted.get("interference", {}).get("kind") == "SIGSTOP"
    while True:
        found, status = os.waitpid(pid, os.WNOHANG | os.WUNTRACED)
        if found and (stops or not os.WIFSTOPPED(status)):
            break
        left = 3600 if deadline is None else max(deadline - time.monotonic(), 0)
        if signal.sigtimedwait({signal.SIGCHLD}, left) is None and deadline is not None:
            os.kill(pid, number)
            deadline = None
    seconds = time.monotonic() - started
    if os.WIFSTOPPED(status):
        return {"code": 0, "seconds": seconds, "stopped": pid}
    return {"code": os.waitstatus_to_exitcode(status), "seconds": seconds, "stopped": None}


def _attempt(wanted: dict[str, Any]) -> int:
    """What the child does; returns its exit code."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
    log = os.open(wanted["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    interference = _interfere(wanted)
    if "keep" in wanted:
        _keep_checkpoints(wanted["keep"])
    job = globals()[wanted["job"]] if "job" in wanted else _command
    try:
        code: int = job(*wanted["args"])
    except BaseException:
        traceback.print_exc()
        code = 71
    sys.stderr.flush()
    if wanted.get("learn"):
        Path(wanted["told"]).write_text("\n".join(sys.modules))
    elif interference:
        interference.active = False
        Path(wanted["told"]).write_text("\n".join(interference.calls))
    return code


def _command(*args: str) -> int:
    from luthier.cli import app

    try:
        app(list(args))
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def train(verb: str, recipe: str, option: str, runs: str) -> int:
    """`luthier train`, without the report that it writes at the end."""
    from luthier import pipeline
    from luthier.recipe import load

    pipeline.bring_up_to(load(Path(recipe), []), "train", runs=Path(runs))
    return 0


def write_rows(recipe: str, runs: str) -> int:
    """`luthier generate`, which sends again what failed with hardly a pause."""
    from luthier import pipeline
    from luthier.inference import session
    from luthier.recipe import load

    session.FIRST_PAUSE = 0.02
    pipeline.write_rows(load(Path(recipe), []), runs=Path(runs))
    return 0


def small_training(step: int) -> tuple[Any, Any]:
    """A model and an optimizer that depend on the step alone."""
    import torch

    torch.manual_seed(step)
    model = torch.nn.Linear(48, 48)
    optimizer = torch.optim.AdamW(model.parameters())
    for parameter in model.parameters():
        parameter.grad = torch.rand_like(parameter)
    optimizer.step()
    return model, optimizer


def save_checkpoints(root: str, *steps: str) -> int:
    """Save what `small_training` makes at each of some steps; keep one checkpoint."""
    from luthier.errors import RunError
    from luthier.training import checkpoint

    for step in map(int, steps):
        model, optimizer = small_training(step)
        folder, state = Path(root), {"note": [step]}
        try:
            weights, moments = checkpoint.trained(model), optimizer.state_dict()
            digest = checkpoint.save_weights(folder / "best", weights, step, root=folder / "all")
            checkpoint.save(
                folder / "all", step=step, weights=weights, optimizer=moments, state=state, keep=1,
                beside={checkpoint.weights_file(folder / "best", step): digest},
            )  # fmt: skip
        except RunError as error:
            print(error, file=sys.stderr)
            return error.exit_code
    return 0


def _interfere(wanted: dict[str, Any]) -> Any:
    if "interference" not in wanted:
        return None
    from interference import Interference

    from luthier.training import checkpoint

    made = Interference(**wanted["interference"])
    made.install()
    if nth := wanted.get("in_save"):
        made.active, save, saves = False, checkpoint.save, [0]

        def counted(*args: Any, **options: Any) -> Any:
            saves[0] += 1
            made.active = saves[0] == nth
            try:
                return save(*args, **options)
            finally:
                made.active = False

        checkpoint.save = counted
    return made


def _keep_checkpoints(folder: str) -> None:
    """Have the newest checkpoint copied before it is deleted at the end of training."""
    import shutil

    from luthier.run import Run

    drop = Run.drop_scratch

    def kept(run: Run, stage: Any) -> None:
        for newest in sorted((run.path / "train" / "checkpoints").glob("step-*"))[-1:]:
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(newest, folder)
        drop(run, stage)

    Run.drop_scratch = kept  # type: ignore[method-assign]


if __name__ == "__main__":
    serve()
    os._exit(0)  # taking down all that is imported takes seconds
