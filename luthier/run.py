"""The run folder: everything a run asked, did and found, in files that outlive the process.

    runs/promises/
      recipe.yaml      what was asked, byte for byte       recipe.json   with all defaults
      lock.json        versions, hashes, seed, platform    manifest.json which stages are done
                       of the last command; those of the weights are in train/made_with.json
      events.jsonl     one JSON object a line, appended as things happen
      data/ plan/ train/ evaluate/ ship/                   one folder per stage
      decisions.jsonl  what people decided about its rows (`luthier review`)
      report.html

A stage is *fresh* when it finished, its fingerprint (its part of the recipe and the outputs of
the stages before it) is unchanged, and its files are still what they were. This module is the
only one that writes run folders; writes are atomic (staged on the same filesystem, fsynced,
renamed).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import shutil
import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Literal

from pydantic import ValidationError

from luthier.atomic import atomic_write, explained
from luthier.errors import RunError, nearest
from luthier.recipe import Loaded, Recipe

Stage = Literal["data", "plan", "train", "evaluate", "ship"]
STAGES: tuple[Stage, ...] = ("data", "plan", "train", "evaluate", "ship")
SCRATCH: dict[Stage, tuple[str, ...]] = {"train": ("checkpoints", "best")}
"""Names in a stage's folder that only serve to resume it. They are no part of its outcome, and are
deleted once that is recorded: until then a kill or a full disk costs nothing."""
KEPT: tuple[Stage, ...] = ("data",)
"""Stages whose last outcome comes back when they fail: a mistake in a file of rows must not cost
the dataset that a trained run is measured on."""
TOLD: dict[Stage, tuple[str, ...]] = {"data": ("rejects.jsonl",)}
"""What a failed attempt leaves for people to read, in place of the last outcome's."""
PAID = ("calls.jsonl", "generated")
"""What models were asked for while data is made (`data/generating/write.py`)."""
_OF_STEPS = (
    "step", "validation", "checkpoint", "nonfinite", "overflow", "left_out", "memory",
)  # fmt: skip
"""Events with the optimizer step they belong to."""
RUNS = Path("runs")
"""Where runs are kept, relative to the working directory, unless `--runs` says otherwise."""

_LOCKED_PACKAGES = (
    "luthier", "torch", "transformers", "peft", "accelerate", "datasets", "bitsandbytes",
    "tokenizers", "safetensors", "scikit-learn", "scipy", "numpy", "pyarrow",
)  # fmt: skip


@dataclass(frozen=True)
class Run:
    """One run folder. Functions of the stages take it and the recipe, and nothing else."""

    path: Path

    # --- finding and making ---------------------------------------------------------------

    @classmethod
    def of(cls, loaded: Loaded, runs: Path = RUNS) -> Run:
        """The run of a recipe, whether its folder is there or not."""
        name = loaded.recipe.name
        if loaded.overrides:
            name += "-" + _digest("\n".join(sorted(loaded.overrides)).encode())[:6]
        return cls(runs / name)

    @classmethod
    def create(cls, loaded: Loaded, runs: Path = RUNS) -> Run:
        """Make (or return to) the folder of a recipe.

        Overrides make a run of their own, `NAME-xxxxxx`, so that `run` and `run lr=...` never
        overwrite each other.

        Raises:
            RunError: another process works in it, or it cannot be written.
        """
        run = cls.of(loaded, runs)
        with explained(run.path):
            run.path.mkdir(parents=True, exist_ok=True)
        asked = {
            "file": str(loaded.path),
            "folder": str(loaded.path.parent.resolve()),
            "overrides": loaded.overrides,
            "notes": loaded.notes,
        }
        # A process that is at work here reads its recipe again in every stage.
        with run.lock():
            run.write_text("recipe.yaml", loaded.text)
            run.write_json("asked.json", asked)
            run.write_json("recipe.json", loaded.recipe.resolved())
            run.write_json("lock.json", _lock(loaded))
        return run

    @classmethod
    def open(cls, name: str | Path, runs: Path = RUNS) -> Run:
        """Open an existing run by folder or by name.

        Raises:
            RunError: there is none; names the nearest one.
        """
        for path in (Path(name), runs / name):
            if (path / "recipe.json").is_file():
                return cls(path)
        known = [run.name for run in list_runs(runs)]
        listed = f" Runs here: {', '.join(known)}." if known else f" There are none in {runs}/."
        raise RunError(f"no run '{name}'.{nearest(str(name), known)}{listed}")

    @property
    def name(self) -> str:
        """Name of the run: that of its folder."""
        return self.path.resolve().name

    @property
    def recipe(self) -> Recipe:
        """The resolved recipe; RunError where another version of luthier wrote it."""
        try:
            return Recipe.model_validate(self.read_json("recipe.json"))
        except ValidationError as error:
            key = ".".join(str(part) for part in error.errors()[0]["loc"])
            raise RunError(
                f"{self.path / 'recipe.json'} does not fit this version of luthier ('{key}': "
                f"{error.errors()[0]['msg']}). Start again from the recipe file."
            ) from None

    @property
    def data_root(self) -> Path:
        """The folder that relative data paths start from: that of the recipe file."""
        return Path(self.read_json("asked.json")["folder"])

    @property
    def overrides(self) -> list[str]:
        """What the command line changed in the recipe; the hash in the run's name stands for it."""
        return [str(text) for text in self.read_json("asked.json")["overrides"]]

    # --- stages ---------------------------------------------------------------------------

    def folder(self, stage: Stage) -> Path:
        """The stage's folder (made if it is not there)."""
        path = self.path / stage
        with explained(path):
            path.mkdir(parents=True, exist_ok=True)
        return path

    def is_fresh(self, stage: Stage, fingerprint: str) -> bool:
        """Whether the stage finished with this fingerprint and its files are intact."""
        entry = self._manifest().get(stage)
        if not entry or entry["fingerprint"] != fingerprint:
            return False
        return all(
            (self.path / name).is_file() and (self.path / name).stat().st_size == record["size"]
            for name, record in entry["files"].items()
        )

    def is_done(self, stage: Stage) -> bool:
        """Whether the stage has finished, whatever its fingerprint."""
        return stage in self._manifest()

    def require(self, stage: Stage) -> None:
        """Raise a RunError unless the stage has finished."""
        if not self.is_done(stage):
            verb = {"data": "build", "plan": "plan", "train": "train"}.get(stage, stage)
            raise RunError(
                f"{self.path}: the {stage} stage has not finished; run `luthier {verb}` first."
            )

    @contextlib.contextmanager
    def stage(self, stage: Stage, fingerprint: str, *, resume: bool = False) -> Iterator[Path]:
        """Run a stage: empty its folder, hand it out, and record its files when it succeeds.

        Later stages are forgotten where the outcome differs from the last one, so repeating a
        stage costs nothing when it changes nothing. A plan never forgets them: what training
        takes from a plan is part of training's own fingerprint.

        Args:
            stage: which one.
            fingerprint: what its outputs depend on.
            resume: keep what an unfinished attempt left to go on from (`SCRATCH`).
        """
        manifest, attempts = self._manifest(), self._attempts()
        scratch = SCRATCH.get(stage, ())
        entry, last = manifest.pop(stage, None), attempts.get(stage, {})
        # An attempt that was cut short hands on what it was to be compared with.
        before = _outcome(entry["files"]) if entry else last.get("before")
        former = (entry or last.get("former")) if stage in KEPT else None
        attempts[stage] = {"fingerprint": fingerprint, "before": before, "former": former}
        self.write_json("started.json", attempts)
        self.write_json("manifest.json", manifest)
        folder, aside = self.folder(stage), self._aside(stage)
        if entry:  # what is still there is older than it
            shutil.rmtree(aside, ignore_errors=True)
        started = time.time()
        try:
            with explained(folder):
                if former and not aside.exists():
                    os.replace(folder, aside)
                    folder.mkdir()
                for child in list(folder.iterdir()):
                    if not (resume and child.name in scratch):
                        real_folder = child.is_dir() and not child.is_symlink()
                        shutil.rmtree(child) if real_folder else child.unlink()
            self.event("stage_started", stage=stage)
            with explained(folder, every=False):
                yield folder
            manifest[stage] = {
                "fingerprint": fingerprint,
                "seconds": round(time.time() - started, 3),
                "files": {
                    str(path.relative_to(self.path)): {
                        "size": path.stat().st_size,
                        "sha256": file_digest(path),
                    }
                    for path in sorted(folder.rglob("*"))
                    if path.is_file() and path.relative_to(folder).parts[0] not in scratch
                },
            }
            if stage != "plan" and _outcome(manifest[stage]["files"]) != before:
                for later in STAGES[STAGES.index(stage) + 1 :]:
                    manifest.pop(later, None)
            self.write_json("manifest.json", manifest)
        except BaseException:
            if former:
                self._bring_back(stage, former)
            raise
        del attempts[stage]
        self.write_json("started.json", attempts)
        self.event("stage_finished", stage=stage, seconds=round(time.time() - started, 3))
        self.drop_scratch(stage)

    def _aside(self, stage: Stage) -> Path:
        """Where the last outcome of a stage waits while another attempt is made."""
        return self.path / f".{stage}.former"

    def _bring_back(self, stage: Stage, former: Mapping[str, Any]) -> None:
        """Put the last outcome in the place of a failed attempt.

        It counts as done and never as fresh, so the next command makes the stage again. Where the
        disk does not take this either, the next attempt finds what it needs in started.json.
        """
        folder, aside = self.path / stage, self._aside(stage)
        with contextlib.suppress(OSError, RunError):
            for name in TOLD.get(stage, ()):
                if (folder / name).is_file():
                    os.replace(folder / name, aside / name)
            shutil.rmtree(folder, ignore_errors=True)
            os.replace(aside, folder)
            never_fresh = {**former, "fingerprint": ""}
            self.write_json("manifest.json", self._manifest() | {stage: never_fresh})

    def drop_scratch(self, stage: Stage) -> None:
        """Delete what only served to resume or repeat a stage; a kill may have come before that."""
        for name in SCRATCH.get(stage, ()):
            path = self.path / stage / name
            aside = path.with_name(f".deleted-{name}")
            shutil.rmtree(aside, ignore_errors=True)
            if path.exists():  # at once, as far as its name goes: half of it must not look whole
                os.rename(path, aside)
                shutil.rmtree(aside, ignore_errors=True)
        shutil.rmtree(self._aside(stage), ignore_errors=True)

    def drop_if_empty(self) -> bool:
        """Delete a run in which nothing was made that anybody could read; whether it was.

        Answers of a model were paid for: they stay, so that the command, repeated, asks on.
        """
        made = [path for name in (*STAGES, *PAID) for path in self._files(name)]
        if self._manifest() or any(path.stat().st_size for path in made):
            return False
        shutil.rmtree(self.path, ignore_errors=True)
        return True

    def _files(self, name: str) -> list[Path]:
        path = self.path / name
        return [p for p in (path, *path.rglob("*")) if p.is_file()]

    def started_as(self, stage: Stage) -> str | None:
        """Fingerprint of the last attempt at a stage, if it was cut short."""
        attempt = self._attempts().get(stage)
        return str(attempt["fingerprint"]) if attempt else None

    def digest(self, stage: Stage) -> str:
        """A hash over the outputs of a finished stage; what later stages depend on."""
        self.require(stage)
        return _outcome(self._manifest()[stage]["files"])

    def seconds(self, stage: Stage) -> float:
        """How long a finished stage took."""
        return float(self._manifest()[stage]["seconds"])

    def _manifest(self) -> dict[str, Any]:
        if not (self.path / "manifest.json").is_file():
            return {}
        manifest: dict[str, Any] = self.read_json("manifest.json")
        return manifest

    def _attempts(self) -> dict[str, Any]:
        """Stages that were started and not finished."""
        if not (self.path / "started.json").is_file():
            return {}
        attempts: dict[str, Any] = self.read_json("started.json")
        return attempts

    # --- files ----------------------------------------------------------------------------

    def write_json(self, name: str, value: Any) -> None:
        """Write a JSON file atomically (non-finite numbers become null)."""
        text = json.dumps(_finite(value), indent=2, ensure_ascii=False, allow_nan=False)
        self.write_text(name, text + "\n")

    def write_text(self, name: str, text: str) -> None:
        """Write a UTF-8 text file atomically."""
        with atomic_write(self.path / name) as file:
            # Damaged text holds lone surrogates; `\udc80` is how JSON spells them.
            file.write(text.encode("utf-8", "backslashreplace"))

    def read_json(self, name: str) -> Any:
        """Read a JSON file of the run.

        Raises:
            RunError: the file is missing or damaged.
        """
        path = self.path / name
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise RunError(f"{path} is missing; is {self.path} a run folder?") from None
        except (ValueError, OSError) as error:
            said = f"{path} cannot be read: {error}. Delete it and repeat the command."
            raise RunError(said) from None

    # --- events ---------------------------------------------------------------------------

    def event(self, event: str, **fields: Any) -> None:
        """Append one line to events.jsonl."""
        line = json.dumps(_finite({"event": event, "time": round(time.time(), 3), **fields}))
        path = self.path / "events.jsonl"
        with explained(path), open(path, "a+b") as file:
            if file.seek(0, os.SEEK_END):
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":  # a kill tore the line before; it must not take this one
                    line = "\n" + line
            file.write(line.encode() + b"\n")

    def events(self, event: str | None = None) -> list[dict[str, Any]]:
        """All events, or those of one kind; a torn last line (a kill while writing) is skipped."""
        path = self.path / "events.jsonl"
        if not path.is_file():
            return []
        found = []
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            with contextlib.suppress(ValueError):
                entry = json.loads(line)
                if event is None or entry.get("event") == event:
                    found.append(entry)
        return found

    def drop_events_after(self, step: int) -> None:
        """Forget steps and validations beyond a checkpoint that training goes back to."""
        kept = [
            e for e in self.events()
            if e.get("event") not in _OF_STEPS or e.get("step", 0) <= step
        ]  # fmt: skip
        self.write_text("events.jsonl", "".join(json.dumps(e) + "\n" for e in kept))

    def lock(self) -> RunLock:
        """Hold the run for this process: `with run.lock(): ...`."""
        return RunLock(self.path / ".lock")


class RunLock:
    """One writer per run folder: an advisory lock that dies with the process (flock)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: IO[str] | None = None

    def __enter__(self) -> RunLock:
        import fcntl

        with explained(self.path):
            self._file = open(self.path, "a+", encoding="utf-8")
        try:
            with explained(self.path):
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except RunError:
            self._file.close()
            raise
        except BlockingIOError:
            self._file.seek(0)
            owner = self._file.read().strip() or "another process"
            self._file.close()
            raise RunError(
                f"{self.path.parent} is in use by {owner}. Wait for it, or stop it."
            ) from None
        try:
            with explained(self.path):
                self._file.seek(0)
                self._file.truncate()
                self._file.write(f"process {os.getpid()} on {socket.gethostname()}")
                self._file.flush()
        except RunError:
            with contextlib.suppress(OSError):  # what is still buffered does not fit either
                self._file.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._file is not None
        self._file.close()


def list_runs(runs: Path = RUNS) -> list[Run]:
    """All runs in a folder, oldest first."""
    found = [Run(p.parent) for p in runs.glob("*/recipe.json")]
    return sorted(found, key=lambda run: (run.path / "recipe.json").stat().st_mtime)


def fingerprint(*parts: Any) -> str:
    """Hash of plain JSON values: equal inputs, equal fingerprint."""
    return _digest(json.dumps(parts, sort_keys=True, default=str).encode())[:32]


def file_digest(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _outcome(files: Mapping[str, Mapping[str, Any]]) -> str:
    """A hash over names and contents of a stage's files, as the manifest records them."""
    return _digest(json.dumps({name: file["sha256"] for name, file in files.items()}).encode())


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _lock(loaded: Loaded) -> dict[str, Any]:
    versions = {}
    for package in _LOCKED_PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)
    return {
        "versions": versions,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "seed": loaded.recipe.seed,
        "recipe_sha256": _digest(loaded.text.encode("utf-8", "surrogatepass")),
        "resolved_sha256": fingerprint(loaded.recipe.resolved()),
    }


def _finite(value: Any) -> Any:
    """Replace NaN and infinities by null: JSON has no others, and readers choke on them."""
    if isinstance(value, float):
        return value if value - value == 0 else None
    if isinstance(value, Mapping):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in value]
    return value
