"""Rows that are left out: written down as they come, counted by reason."""

from __future__ import annotations

import contextlib
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from luthier.as_written import json_text
from luthier.atomic import atomic_write
from luthier.data.rows import Reject
from luthier.example import Example


class RejectLog:
    """A file of rejects, one JSON object a line; None: they are only counted.

    The file is put in place at the end whether the build has come through or not: where it has
    failed, it is what one needs to read.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.counts: Counter[str] = Counter()
        """Per reason, without its details."""
        self._first: dict[str, Reject] = {}
        self._open = contextlib.ExitStack()
        self._file: IO[bytes] | None = None

    def __len__(self) -> int:
        return self.counts.total()

    def add(self, reject: Reject) -> None:
        """Write a reject down."""
        self.counts[reject.what] += 1
        self._first.setdefault(reject.what, reject)
        if self._file is not None:
            entry: dict[str, Any] = {
                "origin": str(reject.origin), "reason": reject.reason, "fields": reject.fields
            }  # fmt: skip
            if reject.example is not None:
                entry |= _shaped(reject.example)
            # Damaged text holds lone surrogates; `\udc80` is how JSON spells them.
            self._file.write((json_text(entry) + "\n").encode("utf-8", "backslashreplace"))

    def reasons(self) -> str:
        """Counts and an example per reason, commonest first; one line each."""
        return "\n".join(
            f"  {n} x {what}, e.g. {self._first[what].origin}: {self._first[what].reason}"
            for what, n in self.counts.most_common()
        )

    def __enter__(self) -> Self:
        if self.path is not None:
            self._file = self._open.enter_context(atomic_write(self.path))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # A write that failed would fail again, and say less.
        broken = isinstance(error, OSError)
        self._open.__exit__(kind if broken else None, error if broken else None, trace)


def _shaped(example: Example) -> dict[str, Any]:
    """What a review needs of a row besides its fields."""
    found: dict[str, Any] = {"id": example.id}
    if example.template is not None:
        found["template"] = example.template
    elif example.messages:
        found["messages"] = [{"role": m.role, "content": m.content} for m in example.messages]
    elif example.text is not None:
        found["text"] = example.text
    return found
