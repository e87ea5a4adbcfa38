"""Processes that train together, when one of them dies, hangs or is told to stop.

One fault runs with the fast tests; starting two processes takes seconds.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from trained_project import Project, make_project

from luthier.run import Run
from luthier.training import checkpoint

STEPS = 3_000
"""More than the fault takes to come, and not for ever where a test is killed itself."""


@dataclass
class Training:
    """A training by two processes that is under way."""

    project: Project
    command: subprocess.Popen[str]

    @property
    def run(self) -> Run:
        """Its run folder."""
        return Run(next(self.project.runs.iterdir()))

    def rank(self, number: int) -> psutil.Process:
        """One of the processes."""
        for process in psutil.Process(self.command.pid).children():
            if process.environ().get("RANK") == str(number):
                return process
        raise AssertionError(f"there is no process {number}")

    def wait_for_checkpoint(self, after: int = 0) -> int:
        """Wait until a step's checkpoint is written; returns the step."""
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and self.command.poll() is None:
            done = [e["step"] for e in self.run.events("checkpoint")] if self.started else []
            if done and done[-1] > after:
                return int(done[-1])
            time.sleep(0.02)
        raise AssertionError(self.command.communicate()[1])

    @property
    def started(self) -> bool:
        """Whether there is a run folder."""
        return self.project.runs.is_dir() and any(self.project.runs.iterdir())

    def end(self) -> tuple[int, dict[str, Any], str]:
        """Wait for the command: exit code, its JSON object, what it said."""
        ranks = psutil.Process(self.command.pid).children()
        out, said = self.command.communicate(timeout=120)
        _gone, alive = psutil.wait_procs(ranks, timeout=10)
        assert not alive, "the command left a process behind"
        return self.command.returncode, json.loads(out), said

    def saved(self) -> int:
        """The step of the newest checkpoint, which must be valid."""
        folder = self.run.path / "train" / "checkpoints"
        assert not list(folder.glob(".staging-*"))
        found = checkpoint.load_newest(folder, belongs_to=self.run.started_as("train"))
        assert found is not None
        assert sorted(folder.iterdir())[-1].name == f"step-{found.step:08d}"
        return found.step


@pytest.fixture
def training(
    request: pytest.FixtureRequest, tmp_path: Path, tiny_model_dir: Path
) -> Iterator[Training]:
    """Two processes, a checkpoint every 2 steps; more settings by `indirect` parameters."""
    project = make_project(tmp_path / "p", tiny_model_dir)
    command = subprocess.Popen(
        [
            sys.executable, "-m", "luthier", "train", str(project.recipe), "--json",
            "--runs", str(project.runs), "--nproc", "2", f"train.max_steps={STEPS}",
            "train.save_steps=2", "train.eval_steps=1000", "train.per_device_train_batch_size=4",
            *getattr(request, "param", []),
        ],
        env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    yield Training(project, command)
    for process in psutil.Process().children(recursive=True):
        if process.pid == command.pid or process.environ().get("RANK"):
            process.kill()
    command.communicate()


def test_a_worker_that_is_killed_stops_the_others(training: Training) -> None:
    step = training.wait_for_checkpoint()
    training.rank(1).kill()

    code, told, said = training.end()

    assert code == 2
    assert told["kind"] == "ProcessLost"
    assert "process 1 of 2 was killed (SIGKILL" in told["error"]
    assert "repeat the command" in told["error"]
    assert said.count("process 1 of 2") == 1 and "Traceback" not in said
    assert training.saved() >= step
    # One writer: every step was told once, and the run can be gone on with.
    steps = [event["step"] for event in training.run.events("step")]
    assert steps == list(range(1, len(steps) + 1))
    assert not training.run.is_done("train")


@pytest.mark.slow
def test_process_0_that_is_killed_stops_the_others(training: Training) -> None:
    step = training.wait_for_checkpoint()
    training.rank(0).kill()

    code, told, said = training.end()

    assert code == 2
    assert "process 0 of 2 was killed (SIGKILL" in told["error"]
    assert "Traceback" not in said
    folder = training.run.path / "train" / "checkpoints"
    checkpoint.sweep(folder)  # as the next attempt does: the kill may have cut a save short
    assert training.saved() >= step


@pytest.mark.slow
def test_sigterm_stops_all_and_saves_once(training: Training) -> None:
    training.wait_for_checkpoint()
    training.command.send_signal(signal.SIGTERM)

    code, told, said = training.end()

    assert (code, told["kind"]) == (130, "Stopped")
    assert said.count("stopping after this step") == 1
    steps = [event["step"] for event in training.run.events("step")]
    assert training.saved() == steps[-1]
    saves = [event["step"] for event in training.run.events("checkpoint")]
    assert saves.count(steps[-1]) == 1


@pytest.mark.slow
def test_a_second_signal_ends_all_at_once(training: Training) -> None:
    training.wait_for_checkpoint()
    training.rank(1).suspend()  # so that no step ends
    training.command.send_signal(signal.SIGINT)
    training.command.send_signal(signal.SIGTERM)

    code, told, _ = training.end()

    assert (code, told["kind"]) == (130, "Stopped")


@pytest.mark.slow
def test_a_command_that_is_killed_leaves_nobody_behind(training: Training) -> None:
    training.wait_for_checkpoint()
    ranks = [training.rank(0), training.rank(1)]
    training.command.kill()

    _, alive = psutil.wait_procs(ranks, timeout=30)

    assert not alive
    assert training.run.started_as("train") is not None


@pytest.mark.slow
@pytest.mark.parametrize("training", [["train.ddp_timeout=5"]], indirect=True)
def test_a_worker_that_hangs_is_given_up(training: Training) -> None:
    training.wait_for_checkpoint()
    training.rank(1).suspend()

    code, told, _ = training.end()

    assert code == 2
    assert "does not answer (train.ddp_timeout)" in told["error"]
