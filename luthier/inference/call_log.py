"""The call log: every answered request, kept so that none is ever paid twice.

One JSON object a line, appended as answers come in:

    {"key": <64 hex>, "in": prompt tokens, "out": generated tokens, "for": what it was asked
     for, "request": ..., "response": ...}

The key is the hash of all that determines the answer (`Request.key`), so a log serves any later
run that asks the same. A line is handed to the system as soon as the answer is there, so that a
killed process loses only what was in flight; it is forced onto the disk in batches, so that a power
cut costs at most the last second. Only the beginning of each line is read when a log is
opened: 100,000 calls take about a second (`benchmarks/generation.py`). No key of a provider
is ever part of a request, so none can get here.
"""

from __future__ import annotations

import json
import mmap
import os
import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from luthier.atomic import explained
from luthier.console import say
from luthier.errors import RunError
from luthier.inference.request import Completion, Request

SYNC_SECONDS = 1.0
"""A power cut costs at most the answers of so long."""
SYNC_LINES = 64
_HEAD = re.compile(rb'\{"key":"([0-9a-f]{64})","in":(\d+),"out":(\d+),(?:"for":"([\w-]*)",)?')


@dataclass(slots=True)
class _Place:
    start: int
    length: int
    prompt_tokens: int
    completion_tokens: int
    purpose: str


class CallLog:
    """An append-only file of answered requests, open for one process at a time.

    Args:
        path: the file; made if it is not there.

    Raises:
        RunError: another process has it, or it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._places: dict[bytes, _Place] = {}
        self.prompt_tokens = 0
        """Of all calls in the log."""
        self.completion_tokens = 0
        self._spent: dict[str, tuple[int, int, int]] = {}
        with explained(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        self._lock()
        self._end = self._read()
        self._unsynced, self._synced = 0, time.monotonic()

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, key: str) -> bool:
        return bytes.fromhex(key) in self._places

    def spent(self, purpose: str) -> tuple[int, int, int]:
        """Calls, prompt tokens and generated tokens of all calls for one purpose."""
        return self._spent.get(purpose, (0, 0, 0))

    def get(self, key: str) -> Completion | None:
        """The answer to a request; None where it was never answered, or its line is damaged."""
        name = bytes.fromhex(key)
        place = self._places.get(name)
        if place is None:
            return None
        line = os.pread(self._file, place.length, place.start)
        try:
            record = json.loads(line)
            used = (place.prompt_tokens, place.completion_tokens)
            return Completion.of_json(record["response"], key, used)
        except (ValueError, KeyError, TypeError):
            say(
                f"{self.path}: the call at byte {place.start:,} is damaged; it is asked again.",
                style="yellow",
            )
            self._forget(name)
            return None

    def add(
        self,
        key: str,
        request: Request,
        completion: Completion,
        seconds: float,
        purpose: str = "",
    ) -> None:
        """Append an answered request.

        Args:
            key: that of the request.
            request: what was asked.
            completion: what came of it.
            seconds: how long it took.
            purpose: what it was asked for; letters, digits, `-` and `_`.

        Raises:
            RunError: the disk is full or the file cannot be written; nothing of the line stays.
        """
        head = (
            f'{{"key":"{key}","in":{completion.prompt_tokens},"out":{completion.completion_tokens},'
        )
        assert re.fullmatch(r"[A-Za-z0-9_-]*", purpose), purpose
        body = {
            **({"for": purpose} if purpose else {}),
            "time": round(time.time(), 3),
            "seconds": round(seconds, 3),
            "request": request.as_json(),
            "response": completion.as_json(),
        }
        line = (head + _dumped(body)[1:] + "\n").encode()
        with explained(self.path):
            try:
                rest = line
                while rest:  # less is written where the disk fills up: the next write says so
                    rest = rest[os.write(self._file, rest) :]
            except OSError:
                os.ftruncate(self._file, self._end)
                raise
        used = (completion.prompt_tokens, completion.completion_tokens)
        self._remember(bytes.fromhex(key), _Place(self._end, len(line), *used, purpose))
        self._end += len(line)
        self._unsynced += 1
        if self._unsynced >= SYNC_LINES or time.monotonic() - self._synced > SYNC_SECONDS:
            self.sync()

    def sync(self) -> None:
        """Force what was appended onto the disk."""
        if self._unsynced:
            with explained(self.path):
                os.fdatasync(self._file)
            self._unsynced, self._synced = 0, time.monotonic()

    def close(self) -> None:
        """Sync, and let go of the file."""
        try:
            self.sync()
        finally:
            os.close(self._file)

    def __enter__(self) -> CallLog:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # --- reading ------------------------------------------------------------------------------

    def _lock(self) -> None:
        import fcntl

        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._file)
            raise RunError(
                f"{self.path} is in use by another process, which generates into it. Wait for it, "
                "or stop it."
            ) from None

    def _read(self) -> int:
        """Find all lines; a torn last one (a kill while writing) is cut off. Returns the end."""
        size = os.fstat(self._file).st_size
        if not size:
            return 0
        damaged = start = 0
        with mmap.mmap(self._file, size, access=mmap.ACCESS_READ) as text:
            while (end := text.find(b"\n", start)) >= 0:
                if head := _HEAD.match(text, start):
                    key, prompt, generated, purpose = head.groups(b"")
                    name = sys.intern(purpose.decode())  # one text, not 100,000
                    place = _Place(start, end + 1 - start, int(prompt), int(generated), name)
                    self._remember(bytes.fromhex(key.decode()), place)
                elif end > start:
                    damaged += 1
                start = end + 1
            rest = text[start:]
        if start < size:
            with explained(self.path):
                if self._is_whole(rest):  # an editor took the last line break away
                    os.write(self._file, b"\n")
                    return self._read()
                os.ftruncate(self._file, start)
        if damaged:
            said = "1 line that is" if damaged == 1 else f"{damaged:,} lines that are"
            say(f"{self.path}: {said} no call; what they held is asked again.", style="yellow")
        return start

    @staticmethod
    def _is_whole(line: bytes) -> bool:
        try:
            return _HEAD.match(line) is not None and bool(json.loads(line))
        except ValueError:
            return False

    def _remember(self, name: bytes, place: _Place) -> None:
        self._forget(name)
        self._places[name] = place
        self._count(place, 1)

    def _forget(self, name: bytes) -> None:
        if (place := self._places.pop(name, None)) is not None:
            self._count(place, -1)

    def _count(self, place: _Place, times: int) -> None:
        prompt, generated = times * place.prompt_tokens, times * place.completion_tokens
        self.prompt_tokens += prompt
        self.completion_tokens += generated
        calls, prompts, completions = self.spent(place.purpose)
        self._spent[place.purpose] = (calls + times, prompts + prompt, completions + generated)


def _dumped(value: Any) -> str:
    # ASCII: half of a surrogate pair, which models do send, is no UTF-8.
    return json.dumps(value, separators=(",", ":"), ensure_ascii=True)
