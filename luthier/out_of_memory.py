"""Running out of memory: telling it from other errors, letting go, and smaller batches.

A batch size that gets smaller by itself: `for rows, scores in BatchSize(16).run(order, score)`.
"""

from __future__ import annotations

import ctypes
import gc
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from luthier.console import say, size
from luthier.errors import LuthierError

Row = TypeVar("Row")
Result = TypeVar("Result")

_SAYS = (
    "out of memory",  # CUDA, MPS
    "can't allocate memory", "not enough memory",  # torch's allocator of main memory
    "std::bad_alloc", "Cannot allocate memory",  # libraries below it
    "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED",
)  # fmt: skip

_ASKED = re.compile(r"[Tt]ried to allocate ([\d.]+) (\w+)")


def happened(error: BaseException) -> bool:
    """Whether an error means that memory ran out: a GPU's, or what this process may use."""
    if isinstance(error, MemoryError):
        return True
    # torch.OutOfMemoryError is a RuntimeError; main memory has no class of its own.
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _SAYS)


def reason(error: BaseException) -> str:
    """What an error says of it, in a few words: allocators say much else."""
    if found := _ASKED.search(str(error)):
        amount, unit = found.groups()
        return f"no room for {size(int(amount)) if unit == 'bytes' else f'{amount} {unit}'} more"
    return (str(error).strip() or "an allocation failed").splitlines()[0]


def release() -> None:
    """Give back what an abandoned computation held.

    Call it after the `except` block: until then the traceback holds the computation's tensors.
    """
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)  # glibc keeps freed blocks, and they count as used


def announce(rows: int) -> None:
    """Tell people that batches are smaller from here on."""
    say(f"a batch did not fit into memory: from here on {counted(rows)} at a time", "yellow")


def counted(rows: int) -> str:
    """`1 row`, `2 rows`."""
    return f"{rows:,} row{'' if rows == 1 else 's'}"


@dataclass
class BatchSize:
    """How many rows are run at a time; it halves when memory runs out."""

    rows: int
    smaller: Callable[[int], Any] = announce
    """Called with the new number whenever it gets smaller."""

    def run(
        self, rows: Sequence[Row], compute: Callable[[Sequence[Row]], Result]
    ) -> Iterator[tuple[Sequence[Row], Result]]:
        """Run `compute` over the rows in batches; those that do not fit are run in halves.

        Yields:
            rows of a batch, and what `compute` made of them.

        Raises:
            LuthierError: a single row does not fit.
        """
        start = 0
        while start < len(rows):
            batch = rows[start : start + self.rows]
            found: list[Result] = []
            try:
                found.append(compute(batch))
            except Exception as error:
                if not happened(error):
                    raise
                why = reason(error)
            if found:
                yield batch, found[0]
                start += len(batch)
                continue
            release()
            if len(batch) == 1:
                raise LuthierError(
                    f"not even one row fits into memory ({why}). Leave out the longest rows "
                    "(filters: [{use: length, max_tokens: ...}]), take a smaller model, or free "
                    "some memory."
                )
            self.rows = -(-len(batch) // 2)
            self.smaller(self.rows)
