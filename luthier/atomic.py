"""Files that appear whole or not at all, and what the machine says when it does not take them."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from luthier.errors import RunError

STAGED = ".part"
"""How the names of unfinished files end."""


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[IO[bytes]]:
    """Open a file that appears under its name whole or not at all.

    Raises:
        RunError: the disk is full or the folder cannot be written; nothing is left behind.
    """
    staged = path.with_name(f".{path.name}.{os.getpid()}{STAGED}")
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(staged, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(staged, path)
            make_durable(path.parent)
        except BaseException:
            staged.unlink(missing_ok=True)
            raise


def make_durable(path: Path) -> None:
    """Put a file, or a folder's list of names, onto the disk.

    A new or renamed file outlives a power cut only when its folder's list is there too.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


_REASONS = {
    errno.ENOSPC: "the disk is full. Free some space and repeat the command",
    errno.EDQUOT: "the disk quota is used up. Free some space and repeat the command",
    errno.EFBIG: "the file would exceed the size limit of this process or filesystem",
    errno.EACCES: "permission denied. Choose another folder with --runs",
    errno.EPERM: "permission denied. Choose another folder with --runs",
    errno.EROFS: "the filesystem is read-only. Choose another folder with --runs",
    errno.EEXIST: "there is a file where a folder should be. Choose another folder with --runs",
    errno.ENOTDIR: "there is a file where a folder should be. Choose another folder with --runs",
}
_OF_THE_MACHINE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EROFS)


@contextlib.contextmanager
def explained(path: Path, *, every: bool = True) -> Iterator[None]:
    """Turn what an operating system says about writing into something a person can act on.

    Args:
        path: what is written.
        every: explain errors of any kind; off, those of the machine only, which no mistake in
            the program can cause.
    """
    try:
        yield
    except BlockingIOError:
        raise  # a lock that another process holds
    except OSError as error:
        if not every and error.errno not in _OF_THE_MACHINE:
            raise
        reason = _REASONS.get(error.errno or 0, error.strerror or str(error))
        staged = str(error.filename or "").endswith(STAGED)
        name = path if staged or not error.filename else error.filename
        raise RunError(f"{name}: {reason}.") from error
