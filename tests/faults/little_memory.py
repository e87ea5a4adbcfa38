"""Trainings with little memory: python little_memory.py CASES, a JSON list of objects.

Importing takes seconds, so one process does it and forks a child for each case. None of these is
forked from the tests' own process: blocks that it has freed would be used again, and nothing fail.
Prints a JSON list of exit codes, minus the signal where one ended the child.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ENVIRONMENT = {
    **os.environ,
    "OMP_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",
    "MALLOC_MMAP_THRESHOLD_": str(2**16),  # freed blocks go back, and must be asked for again
    "MALLOC_ARENA_MAX": "1",
}


def train_in_children(cases: list[dict[str, Any]]) -> list[int]:
    """Exit codes of one training a case.

    Args:
        cases: `run`, a folder whose data and plan are done, and `within` what memory is little:
            `find` (before training) or the number of a step, where allocations beyond `extra`
            bytes fail; or the folder of a control group, which all of it is in. `guarded` false:
            without `HostGuard`. `copy`: a folder that gets a copy of the run a step later.
    """
    done = subprocess.run(
        [sys.executable, __file__, json.dumps(cases, default=str)],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    codes: list[int] = json.loads(done.stdout)
    return codes


def main(cases: list[dict[str, Any]]) -> None:
    """Fork the children, one after another."""
    import luthier.training.train  # noqa: F401

    gc.collect()
    gc.freeze()  # what a collection touches in a child is copied
    codes = []
    for case in cases:
        child = os.fork()
        if not child:
            os.dup2(2, 1)
            try:
                attempt(**case)
            finally:
                os._exit(0 if sys.exc_info()[0] is None else 70)
        codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    print(json.dumps(codes))


def attempt(
    run: str, within: str | int = "", extra: int = 0, guarded: bool = True, copy: str = ""
) -> None:
    """Train, or go on with a training that was cut short."""
    from luthier.errors import LuthierError
    from luthier.run import Run
    from luthier.training import memory
    from luthier.training.train import train
    from luthier.training.trainer import Trainer

    step, save, find = Trainer.step, Trainer.save, memory.Ladder.find

    def stepping(self: Any, group: Any) -> Any:
        if self.progress.step + 1 != within:
            return step(self, group)
        with little_memory(extra):
            return step(self, group)

    def saving(self: Any) -> None:
        save(self)
        if copy and isinstance(within, int) and self.progress.step == within + 1:
            shutil.copytree(run, copy)

    def finding(self: Any) -> None:
        with little_memory(extra):
            find(self)

    Trainer.step, Trainer.save = stepping, saving  # type: ignore[method-assign]
    if within == "find":
        memory.Ladder.find = finding  # type: ignore[method-assign]
    if isinstance(within, str) and within.startswith("/"):
        (Path(within) / "cgroup.procs").write_text(str(os.getpid()))
    if not guarded:
        memory.HostGuard = lambda *args: None  # type: ignore[assignment, misc]
    opened = Run(Path(run))
    try:
        with opened.stage("train", "t", resume=True):
            train(opened)
    except LuthierError as error:
        opened.event("stopped", said=str(error))


@contextmanager
def little_memory(extra: int) -> Iterator[None]:
    """Allocations fail beyond what this process holds now and `extra` bytes."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    data = next(line for line in status.splitlines() if line.startswith("VmData"))
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (int(data.split()[1]) * 1024 + extra, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
