"""The file of decisions during a review: appended to, on the disk before it is acknowledged."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from luthier.atomic import explained, make_durable
from luthier.data.decisions import UNDO, Decision, read_decisions
from luthier.errors import RunError


class Journal:
    """One process at a time appends; what it has read and written is `decisions`.

    Args:
        path: the file; made where it is missing, with the first decision.

    Raises:
        DataError: lines of it are no decisions.
        RunError: another process reviews with it, or it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        except OSError as error:
            raise RunError(
                f"{path}: {error.strerror}. Name a file that can be written with --decisions."
            ) from None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.decisions = read_decisions(path)
            self._mend()
        except BlockingIOError:
            os.close(self._file)
            raise RunError(
                f"{path} is in use by another `luthier review`. Stop it, or name another file with "
                "--decisions."
            ) from None
        except BaseException:
            os.close(self._file)
            raise

    def _mend(self) -> None:
        """End the last line; what a kill tore off in the middle was never acknowledged."""
        size = os.fstat(self._file).st_size
        tail = self.path.read_bytes()
        start = tail.rfind(b"\n") + 1
        if start == size:
            return
        with explained(self.path):
            try:
                json.loads(tail[start:])
            except ValueError:
                os.ftruncate(self._file, start)
            else:
                os.write(self._file, b"\n")
            os.fsync(self._file)

    def append(self, decision: Decision) -> None:
        """Write a decision down; it is on the disk when this returns.

        Raises:
            RunError: the disk does not take it; then nothing of it stands in the file.
        """
        self._write(decision.plain())
        self.decisions.add(decision)

    def undo(self, when: str, who: str) -> Decision | None:
        """Take back the last decision that stands; returns it, or None where there is none."""
        if not self.decisions.live:
            return None
        id = self.decisions.live[-1].id
        record = {"id": id, "decision": UNDO, "when": when}
        self._write(record | ({"who": who} if who else {}))
        return self.decisions.undo(id)

    def _write(self, record: dict[str, Any]) -> None:
        line = json.dumps(record, ensure_ascii=False) + "\n"
        data = line.encode("utf-8", "backslashreplace")
        before = os.fstat(self._file).st_size
        with explained(self.path):
            try:
                if os.write(self._file, data) < len(data):
                    raise OSError(28, os.strerror(28))
                os.fsync(self._file)
            except OSError:
                with contextlib.suppress(OSError):
                    os.ftruncate(self._file, before)
                raise
            if not before:
                make_durable(self.path.parent)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        empty = os.fstat(self._file).st_size == 0
        if empty:  # nothing was decided: no file is left behind
            self.path.unlink(missing_ok=True)
        os.close(self._file)
