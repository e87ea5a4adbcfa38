"""Several processes for one training: started here, or by torchrun, Accelerate, Slurm.

    luthier train RECIPE --nproc 4               the processes are started here (`train`)
    torchrun --nproc-per-node 4 -m luthier ...   this is one of them (`RANK` is set)

Started here, the command itself does everything but the training and then waits for its processes.
Started from outside, process 0 is the command: it does every stage, and says over a store when the
others are to train along; they do nothing else (`Processes.follow`).
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import Any

from luthier import errors
from luthier.errors import LuthierError, ProcessLost
from luthier.hardware import cores
from luthier.run import Run

JOIN_SECONDS = 1800.0
"""How long processes wait for each other at the start; torch's own default."""
GRACE_SECONDS = 20.0
"""After one process has ended badly, the others have so long to notice by themselves."""
LEAVE_SECONDS = 10.0
"""How long process 0 waits until the others have heard that there is nothing to train."""
LISTEN_SECONDS = 0.2
"""From one look for word from process 0 to the next."""
STORE = "LUTHIER_STORE"
"""Environment variable: the file over which processes that were started here find each other."""
WORKER = "luthier.training.worker"
TAIL = 20
"""Lines shown of what a process said that ended without an error message."""


@dataclass(frozen=True)
class Place:
    """This process among those that train together."""

    rank: int
    size: int
    local_rank: int
    """Among those on the same machine; also the number of its GPU."""
    local_size: int


def place(environment: Mapping[str, str] | None = None) -> Place | None:
    """Read this process's place from the environment; None where it trains alone.

    The variables are torchrun's (torch.distributed.run, "Environment Variables").

    Raises:
        LuthierError: they are incomplete or contradict each other.
    """
    found = os.environ if environment is None else environment
    size = _number(found, "WORLD_SIZE", 1)
    if size <= 1 or "RANK" not in found:
        return None
    rank = _number(found, "RANK", 0)
    if rank >= size:
        raise LuthierError(f"RANK is {rank} and WORLD_SIZE is {size}; ranks count from 0.")
    if STORE not in found:
        missing = [name for name in ("MASTER_ADDR", "MASTER_PORT") if not found.get(name)]
        if missing:
            raise LuthierError(
                f"WORLD_SIZE is {size}, but {' and '.join(missing)} is not set: the address of "
                "process 0, and a free port there. docs/scale.md shows it for Slurm."
            )
    local_rank = _number(found, "LOCAL_RANK", _number(found, "SLURM_LOCALID", rank))
    return Place(rank, size, local_rank, _number(found, "LOCAL_WORLD_SIZE", 1))


def _number(found: Mapping[str, str], name: str, otherwise: int) -> int:
    text = found.get(name, "")
    if not text:
        return otherwise
    if not text.isdecimal():
        raise LuthierError(f"the environment variable {name} is {text!r}, expected a number.")
    return int(text)


# --- who does what -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Processes:
    """The processes of one command."""

    size: int = 1
    """That train together."""
    here: int = 1
    """Of them, on this machine."""
    rank: int = 0
    """Of this process, where it was started from outside."""
    outside: bool = False
    """torchrun or the like started them; else process 0 starts them when it comes to training."""

    def run(self, job: Callable[[], Callable[..., Any]], run: Run, runs: Path) -> None:
        """Train: in this process, with others started from outside, or in processes of its own.

        Args:
            job: gives the function that trains in this process, and joins the others by itself.
            run: whose train stage has begun.
            runs: where `model: run:NAME` is looked up.
        """
        if self.outside:
            word = {"run": str(run.path.resolve()), "runs": str(runs.resolve())}
            store().set("word", json.dumps(word))
        if self.size == 1 or self.outside:
            job()(run, runs=runs)
        else:
            train(run, runs=runs, size=self.size)

    def follow(self, job: Callable[..., Any]) -> None:
        """Be one of the others: train when process 0 says so, or leave when there is no need.

        Raises:
            ProcessLost: process 0 is gone.
        """
        word = json.loads(_listen())
        store().add("heard", 1)
        if word:
            job(Run(Path(word["run"])), runs=Path(word["runs"]))


ALONE = Processes()


@contextlib.contextmanager
def processes(asked: int | None) -> Iterator[Processes]:
    """The processes of a command; inside, process 0 works and the others follow.

    Args:
        asked: `--nproc`; null where it is not given.

    Raises:
        LuthierError: `--nproc` together with processes that were started from outside.
    """
    here = place()
    if here is None:
        yield Processes(asked or 1, asked or 1)
        return
    if asked is not None and asked != 1:
        raise LuthierError(
            f"--nproc {asked}: the processes are started from outside already (WORLD_SIZE is "
            f"{here.size}). Leave --nproc out."
        )
    joined = store()
    try:
        yield Processes(here.size, here.local_size, here.rank, outside=True)
    finally:
        # Those who still wait for word are told that there is nothing to train.
        if here.rank == 0 and not joined.check(["word"]):
            joined.set("word", json.dumps({}))
            deadline = time.monotonic() + LEAVE_SECONDS
            while joined.add("heard", 0) < here.size - 1 and time.monotonic() < deadline:
                time.sleep(0.02)


_store: Any = None


def store() -> Any:
    """The store over which the processes find each other; waits until all are there.

    Raises:
        ProcessLost: not all of them came.
    """
    global _store
    if _store is None:
        import torch.distributed as dist

        mine = place()
        assert mine is not None, "a single process needs no store"
        timeout = timedelta(seconds=JOIN_SECONDS)
        if path := os.environ.get(STORE):
            found: Any = dist.FileStore(path, mine.size)
        else:
            try:
                found, _, _ = next(dist.rendezvous("env://", timeout=timeout))
            except RuntimeError as error:
                where = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
                raise ProcessLost(
                    f"process {mine.rank} of {mine.size} found no process 0 at {where}: "
                    f"{str(error).splitlines()[0]}. MASTER_ADDR must be its machine and "
                    "MASTER_PORT free there."
                ) from None
        _store = dist.PrefixStore("luthier", found)
    return _store


def _listen() -> str:
    import torch.distributed as dist

    joined = store()
    try:
        while not joined.check(["word"]):
            time.sleep(LISTEN_SECONDS)
        text: bytes = joined.get("word")
        return text.decode()
    except dist.DistNetworkError:
        raise ProcessLost("process 0 is gone; see what it said.") from None


# --- processes of our own ----------------------------------------------------------------------


def train(run: Run, *, runs: Path, size: int) -> None:
    """Train in `size` processes on this machine; returns when all have ended well.

    Ctrl-C and SIGTERM are passed on: the processes stop after a step and process 0 saves. A second
    one ends them at once.

    Raises:
        LuthierError: what one of the processes said; ProcessLost where one died.
        KeyboardInterrupt: they were asked to stop, and have.
    """
    with tempfile.TemporaryDirectory(prefix="luthier-") as folder:
        workers: list[_Worker] = []
        try:
            for rank in range(size):
                workers.append(_Worker(rank, size, run, runs, Path(folder)))
            with _passed_on(workers) as asked:
                _wait_for(workers)
        finally:
            for worker in workers:
                worker.kill()
        failure = _failure(workers)
        # What was asked for is no failure; what went wrong while saving is.
        if asked and (failure is None or isinstance(failure, ProcessLost)):
            raise KeyboardInterrupt
        if failure is not None:
            raise failure


class _Worker:
    """One process, and what came of it."""

    def __init__(self, rank: int, size: int, run: Run, runs: Path, folder: Path) -> None:
        self.rank, self.size = rank, size
        self.code: int | None = None
        self.ended_by_us = False
        self.said = folder / f"{rank}.json"
        self.log = folder / f"{rank}.log"
        command = [sys.executable, "-m", WORKER, str(run.path.resolve()), str(runs.resolve())]
        # Process 0 speaks for all; what the others say is shown only when they fail.
        with open(self.said, "wb") as out, open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,  # closed when this process dies, whatever killed it
                stdout=out,
                stderr=None if rank == 0 else log,
                env=_environment(rank, size, folder / "store"),
                start_new_session=True,  # Ctrl-C comes to this process only, which passes it on
            )

    def signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)

    def kill(self) -> None:
        if self.process.poll() is None:
            self.ended_by_us = True
            self.signal(signal.SIGKILL)
        self.code = self.process.wait()
        if self.process.stdin is not None:
            self.process.stdin.close()

    def error(self) -> LuthierError | None:
        """What its error message was, if it had one."""
        with contextlib.suppress(OSError, ValueError, LookupError):
            found = json.loads(self.said.read_text(encoding="utf-8"))
            kind = getattr(errors, found["kind"], LuthierError)
            plain = kind if kind in _PLAIN else LuthierError
            made: LuthierError = plain(found["error"])
            return made
        return None

    def loss(self) -> ProcessLost:
        """How it ended, for one that said nothing."""
        assert self.code is not None
        who = f"process {self.rank} of {self.size}"
        if self.code < 0:
            name = signal.Signals(-self.code).name
            why = ", as the system does when memory runs out" if name == "SIGKILL" else ""
            said = f"{who} was killed ({name}{why})."
        else:
            said = f"{who} ended with exit code {self.code}; see what it said."
            lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
            if lines:  # of process 0 they have been on the screen
                said = "\n  ".join([f"{who} ended with exit code {self.code}:", *lines[-TAIL:]])
        return ProcessLost(
            f"{said}\nThe other processes were stopped. Nothing that was saved is lost: repeat the "
            "command, and training goes on from the last checkpoint, if there is one."
        )


_PLAIN = (
    errors.DataError, errors.ModelError, errors.RunError, errors.TrainingError, ProcessLost,
)  # fmt: skip
"""Errors that are made of a message alone."""


def _environment(rank: int, size: int, file: Path) -> dict[str, str]:
    found = {
        **os.environ,
        "RANK": str(rank),
        "WORLD_SIZE": str(size),
        "LOCAL_RANK": str(rank),
        "LOCAL_WORLD_SIZE": str(size),
        STORE: str(file),
    }
    found.setdefault("OMP_NUM_THREADS", str(max(cores() // size, 1)))
    # Names of machines do not always resolve to themselves; all processes are on this one.
    found.setdefault("GLOO_SOCKET_IFNAME", "lo0" if sys.platform == "darwin" else "lo")
    return found


def _wait_for(workers: list[_Worker]) -> None:
    """Wait until all have ended; end the rest when one has ended badly."""
    ended: queue.SimpleQueue[_Worker] = queue.SimpleQueue()

    def wait(worker: _Worker) -> None:
        worker.code = worker.process.wait()
        ended.put(worker)

    for worker in workers:
        threading.Thread(target=wait, args=(worker,), daemon=True).start()
    failed = False
    for _ in workers:
        try:
            failed |= bool(ended.get(timeout=GRACE_SECONDS if failed else None).code)
        except queue.Empty:  # stuck in a call that nobody will ever answer
            for worker in workers:
                worker.kill()
            return


@contextlib.contextmanager
def _passed_on(workers: list[_Worker]) -> Iterator[list[int]]:
    """Signals go to all workers; yields those that came."""
    came: list[int] = []

    def pass_on(number: int, frame: FrameType | None) -> None:
        came.append(number)
        for worker in workers:
            worker.signal(signal.SIGTERM if len(came) == 1 else signal.SIGKILL)

    try:
        previous = {s: signal.signal(s, pass_on) for s in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not the main thread: signals are somebody else's
        yield came
        return
    try:
        yield came
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _failure(workers: list[_Worker]) -> LuthierError | None:
    """What to tell the user: the cause, and not what followed from it in other processes."""
    failed = [worker for worker in workers if worker.code]
    told = [error for worker in failed if (error := worker.error()) is not None]
    causes = [error for error in told if not isinstance(error, ProcessLost)]
    dead = [w.loss() for w in failed if w.error() is None and not w.ended_by_us and w.code != 130]
    return next(iter([*causes, *dead, *told]), None)
