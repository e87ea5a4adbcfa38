"""What goes wrong with files, made to go wrong at a chosen call.

`Interference` counts the calls that open a file to write, write, fsync, rename, replace, make a
folder or delete, inside one folder. At the chosen one it kills the process, fails as a full or a
read-only disk does, or sends the process a signal. The calls themselves are the real ones. (Files
that libraries write from Rust are not counted.)
"""

from __future__ import annotations

import builtins
import errno
import io
import math
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

DELETING = ("unlink", "rmdir")
KINDS = ("kill", "power", "ENOSPC", "EROFS", "EIO", "SIGTERM", "SIGINT", "insist", "SIGSTOP")


@dataclass
class Interference:
    """One thing that goes wrong.

    Args:
        kind: `kill`: before the call, or in the middle of a write; `power`: a power cut, after
            which whatever was not fsynced is gone; an error's name; a signal's; `insist`: Ctrl-C
            at this call and at the next one.
        at: number of the call, from 1; 0: none, calls are only counted.
        folder: calls on files elsewhere do not count.
        active: off, no call counts (to begin with the second save, say).
    """

    kind: str
    at: int
    folder: str
    active: bool = True
    calls: list[str] = field(default_factory=list)
    """What was called so far, e.g. `write state.json`."""
    _real: dict[str, Callable[..., Any]] = field(default_factory=dict)
    _unsynced: dict[str, int] = field(default_factory=dict)
    """Files -> bytes of them that are surely on the disk."""
    _renamed: list[tuple[str, str]] = field(default_factory=list)
    """Renames that no fsync of their folder has made last."""

    def install(self) -> None:
        """Put it between this process and its files, for good."""
        assert self.kind in KINDS
        self.folder = os.path.realpath(self.folder)
        for name in ("fsync", "rename", "replace", "mkdir", "unlink", "rmdir"):
            self._real[name] = getattr(os, name)
            setattr(os, name, self._watched(name))
        self._real["open"] = builtins.open
        builtins.open = self._open  # type: ignore[assignment]
        io.open = self._open  # type: ignore[assignment]

    def _watched(self, name: str) -> Callable[..., Any]:
        def call(target: Any, *args: Any, **options: Any) -> Any:
            path = _path(target, options.get("dir_fd", options.get("src_dir_fd")))
            if not self._inside(path) or (name == "mkdir" and os.path.isdir(path)):
                return self._real[name](target, *args, **options)
            self._meet(name, path)
            replaced = name in ("rename", "replace") and os.path.lexists(args[0])
            done = self._real[name](target, *args, **options)
            if name == "fsync":
                self._unsynced.pop(path, None)
                self._renamed = [r for r in self._renamed if os.path.dirname(r[1]) != path]
            elif name in ("rename", "replace"):
                self._move(path, _path(args[0]))
                self._renamed += [] if replaced else [(path, _path(args[0]))]
            return done

        return call

    def _open(self, file: Any, mode: str = "r", *args: Any, **options: Any) -> Any:
        path = _path(file)
        if not set(mode) & set("wxa+") or not self._inside(path):
            return self._real["open"](file, mode, *args, **options)
        self._meet("open", path)
        raw = _File(file, mode.replace("b", "").replace("t", ""), self)
        buffered = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
        if "b" in mode:
            return buffered
        more = {key: options[key] for key in ("encoding", "errors", "newline") if key in options}
        return io.TextIOWrapper(buffered, **more)

    def _inside(self, path: str) -> bool:
        return self.active and (path + os.sep).startswith(self.folder + os.sep)

    def _meet(self, call: str, path: str, write_half: Callable[[], int] | None = None) -> int:
        """Count a call, and have things go wrong at the chosen one.

        Returns:
            How much of what is to be written a full disk still took.
        """
        if call in DELETING and self.kind in ("ENOSPC", "EIO"):
            return 0  # such a disk lets go of files
        self.calls.append(f"{call} {os.path.basename(path)}")
        reached = len(self.calls)
        # A disk that has become read-only stays so.
        times = {"EROFS": math.inf, "insist": 2}.get(self.kind, 1)
        if not self.at or not self.at <= reached < self.at + times:
            return 0
        if self.kind in ("kill", "power"):
            if write_half:
                write_half()
            if self.kind == "power":
                self._cut_power()
            os.kill(os.getpid(), signal.SIGKILL)
        elif self.kind == "insist" or self.kind.startswith("SIG"):
            os.kill(os.getpid(), signal.Signals[self.kind.replace("insist", "SIGINT")])
        elif self.kind == "ENOSPC" and write_half and (written := write_half()):
            self.at += 1  # a part is taken; the call for the rest fails
            return written
        else:
            number = getattr(errno, self.kind)
            raise OSError(number, os.strerror(number), *([] if call == "write" else [path]))
        return 0

    def _cut_power(self) -> None:
        """Undo what only the memory of the machine knew."""
        for source, target in reversed(self._renamed):
            if os.path.exists(target) and not os.path.exists(source):
                self._real["rename"](target, source)
                self._move(target, source)
        for path, kept in self._unsynced.items():
            if os.path.exists(path):
                os.truncate(path, kept)

    def _move(self, source: str, target: str) -> None:
        self._unsynced = {
            target + path.removeprefix(source) if path.startswith(source) else path: size
            for path, size in self._unsynced.items()
        }


class _File(io.FileIO):
    """A real file whose real writes are counted; a buffer stands before it, as always."""

    def __init__(self, file: Any, mode: str, interference: Interference) -> None:
        super().__init__(file, mode)
        self._interference, self._path = interference, _path(file)
        interference._unsynced.setdefault(self._path, os.fstat(self.fileno()).st_size)

    def write(self, data: Any, /) -> int:
        view, real = memoryview(data).cast("B"), super().write
        size = os.fstat(self.fileno()).st_size
        taken = self._interference._meet(
            "write", self._path, lambda: real(view[: len(view) // 2]) if len(view) > 1 else 0
        )
        self._interference._unsynced.setdefault(self._path, size)
        return taken or real(view)


def _path(target: Any, folder: int | None = None) -> str:
    """The real path of what a call is about: a name, or an open file's number."""
    if isinstance(target, int):
        return os.readlink(f"/proc/self/fd/{target}")
    name = os.fspath(target)
    name = os.fsdecode(name)
    if folder is not None:
        name = os.path.join(os.readlink(f"/proc/self/fd/{folder}"), name)
    return os.path.join(os.path.realpath(os.path.dirname(name) or "."), os.path.basename(name))
