"""Bytes that are put on disk for the time of a command, and are gone with it."""

from __future__ import annotations

import os
import tempfile
import weakref
from pathlib import Path
from typing import Any

from luthier.atomic import explained


class Scratch:
    """Pieces put behind each other in a file without a name: no crash leaves it behind.

    The file is made when the first piece comes, and closed when nobody holds this any more.
    """

    def __init__(self, folder: Path | None = None) -> None:
        """Begin empty.

        Args:
            folder: on the disk that is to hold the pieces, made where it is missing; None: the
                system's folder for temporary files (TMPDIR).
        """
        self.folder = folder or Path(tempfile.gettempdir())
        self.size = 0
        """Bytes so far."""
        self._file: Any = None

    def put(self, piece: bytes | memoryview) -> int:
        """Add a piece; returns where it begins.

        Raises:
            RunError: the disk is full or the folder cannot be written.
        """
        with explained(self.folder):
            if self._file is None:
                self.folder.mkdir(parents=True, exist_ok=True)
                self._file = tempfile.TemporaryFile(dir=self.folder)  # noqa: SIM115
                weakref.finalize(self, self._file.close)
            self._file.write(piece)
            self._file.flush()
        start = self.size
        self.size += len(piece)
        return start

    def get(self, start: int, size: int) -> bytes:
        """A piece, or a part of one.

        Args:
            start: as returned by `put`, or a place inside a piece.
            size: bytes.
        """
        with explained(self.folder):
            found = os.pread(self._file.fileno(), size, start) if size else b""
        assert len(found) == size, "asked for more than was put"
        return found

    def close(self) -> None:
        """Give the disk space back."""
        if self._file is not None:
            self._file.close()
