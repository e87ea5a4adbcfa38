"""Run a contestant in a process of its own and watch its memory from outside."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import psutil

HERE = Path(__file__).resolve().parent.parent
POLL_SECONDS = 0.1


@dataclass(frozen=True)
class Setting:
    """What all contestants of a run have in common."""

    threads: int
    gpu: bool
    """Whether they see the GPU."""
    timeout: float
    """Seconds after which a contestant is ended."""


@dataclass(frozen=True)
class Finished:
    """A contestant's process after its end."""

    failure: str | None
    """What it said last, if it failed."""
    seconds: float
    """Of the whole process, loading included."""
    peak_bytes: int
    """Most main memory that was resident at once."""
    lines: list[dict[str, Any]]

    def events(self, name: str) -> list[dict[str, Any]]:
        """The lines of one kind."""
        return [line for line in self.lines if line["event"] == name]


def run_worker(
    worker: str,
    job: Mapping[str, Any],
    folder: Path,
    setting: Setting,
    *,
    python: str | Path = sys.executable,
) -> Finished:
    """Start a worker, wait for it, and read what it wrote.

    Args:
        worker: module in this package.
        job: JSON values; `out` is added.
        folder: for the job file, the lines and the log; made here.
        setting: threads, device, time limit.
        python: the interpreter of the worker's environment.
    """
    folder.mkdir(parents=True)
    out, log = folder / "lines.jsonl", folder / "log.txt"
    out.touch()
    job_file = folder / "job.json"
    job_file.write_text(json.dumps({**job, "out": str(out)}), encoding="utf-8")
    started = time.monotonic()
    failure = None
    signal.signal(signal.SIGTERM, _leave)  # so that the worker is not left behind
    with open(log, "wb") as said:
        process = subprocess.Popen(
            [str(python), "-m", f"contestants.{worker}", str(job_file)],
            stdout=said,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=_environment(setting),
            cwd=folder,
        )
        try:
            peak = _watch(process, started + setting.timeout)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
                failure = f"ended after {setting.timeout:.0f} s"
    if failure is None and process.returncode != 0:
        failure = _last_words(log, process.returncode)
    # What stands behind the last line end was cut short by a kill.
    lines = [json.loads(line) for line in out.read_text(encoding="utf-8").split("\n")[:-1]]
    return Finished(failure, round(time.monotonic() - started, 2), peak, lines)


def _leave(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _environment(setting: Setting) -> dict[str, str]:
    changed = {
        "PYTHONPATH": os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH")])),
        "OMP_NUM_THREADS": str(setting.threads),
        "MKL_NUM_THREADS": str(setting.threads),
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "PYTHONUTF8": "1",
    }
    if not setting.gpu:
        changed["CUDA_VISIBLE_DEVICES"] = ""
    return {**os.environ, **changed}


def _watch(process: subprocess.Popen[bytes], until: float) -> int:
    """Peak resident bytes of a process, read until it ends or its time is up."""
    peak = 0
    while process.poll() is None and time.monotonic() < until:
        peak = max(peak, resident_peak(process.pid))
        time.sleep(POLL_SECONDS)
    return peak


def resident_peak(pid: int) -> int:
    """Most bytes a process had resident so far.

    Linux keeps this mark (VmHWM) for the program that runs in the process; `ru_maxrss` would
    include what its parent had when it forked. Elsewhere: what is resident now.
    """
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
        return 0  # it has ended; nobody has asked for its exit status yet
    with contextlib.suppress(psutil.Error):
        return int(psutil.Process(pid).memory_info().rss)
    return 0


def _last_words(log: Path, code: int) -> str:
    text = log.read_text(encoding="utf-8", errors="replace")
    if code < 0:
        return f"ended by signal {-code}" + (": out of memory?" if code == -signal.SIGKILL else "")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else f"exit code {code}"
