"""Main memory while training on a CPU: what a step takes, against what is left.

When main memory runs out no error is raised: the kernel ends the process. So the guard raises one
before, where training can still do something about it.
"""

from __future__ import annotations

import contextlib
import resource
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import torch
from torch import Tensor
from transformers.modeling_layers import GradientCheckpointingLayer

from luthier.console import size

MARGIN = 1.1
"""What a micro-batch is expected to take is multiplied by this: allocators round and keep."""
RESERVE = 64 * 2**20
"""Bytes of main memory that are left alone."""
FASTEST = 10 * 10**9
"""Bytes a second that memory can be filled with; tells how long a look at it (half a millisecond)
is good for."""
LOGIT_BYTES = 12
"""Per logit: log-probabilities, the gradient of the loss and that of the logits, in float32."""
_CPU = torch.device("cpu")


def peak_bytes(device: torch.device) -> int:
    """Peak memory so far: of the GPU where that is what is trained on, else of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


class HostGuard:
    """Raises MemoryError before main memory runs out.

    Before a step, where one as large is expected to take more than is free: in proportion to
    tokens, from what the plan says of its largest micro-batch, then from the largest one measured.
    While a step runs, at its layers, when little is left: whatever the estimate was.

    Args:
        model: watched while it runs.
        free: bytes of main memory that are free.
    """

    def __init__(self, model: Any, free: Callable[[], int]) -> None:
        self.free = free
        self._layers = [m for m in model.modules() if isinstance(m, GradientCheckpointingLayer)]
        self._head = model.get_output_embeddings()
        self._process = psutil.Process()
        self._before: int | None = None
        self._next_look, self._last_free = 0.0, 0
        self.forget()

    # --- before a step ----------------------------------------------------------------------

    def forget(self) -> None:
        """From here on, steps take another amount of memory for their tokens."""
        self._per_token = 0.0
        self._seen: tuple[int, int] | None = None

    def expect(self, takes: int, tokens: int) -> None:
        """A micro-batch of `tokens` tokens takes `takes` bytes, until something is measured."""
        self._per_token = takes / tokens

    def require(self, tokens: int, *, held: int, to_come: int = 0) -> None:
        """Raise MemoryError where a micro-batch is expected to need more than is free.

        Args:
            tokens: of the micro-batch.
            held: bytes of the optimizer's state so far.
            to_come: bytes that it is still going to take.
        """
        takes = self._takes(tokens)
        if not takes:
            return
        expected = MARGIN * takes + to_come
        if self._before is not None:
            # Blocks that the allocator has kept are there to be used again.
            expected -= max(self._process.memory_info().rss - self._before - held, 0)
        free = max(self.free() - RESERVE, 0)
        if expected > free:
            raise MemoryError(f"it takes about {size(expected)} more, and {size(free)} are free")

    def _takes(self, tokens: int) -> float:
        """Bytes for a micro-batch; 0: nothing is known yet."""
        if self._seen is None or not tokens:
            return self._per_token * tokens
        most, took = self._seen
        if tokens <= most:
            return took * tokens / most
        # Not in proportion: what was loaded late is part of what was seen, and not loaded again.
        return took + (tokens - most) * (self._per_token or took / most)

    @contextlib.contextmanager
    def measure(self, tokens: int, held: int) -> Iterator[None]:
        """Learn from the micro-batches run in here; from those that do not fit, too.

        Args:
            tokens: of the largest of them.
            held: bytes of the optimizer's state so far; they stay from step to step.
        """
        if self._before is None:
            self._before = self._process.memory_info().rss - held
        highest = peak_bytes(_CPU)
        try:
            yield
        finally:
            peak = peak_bytes(_CPU)
            # Below the peak of something else (opening the model, say) a step's own cannot be seen.
            if tokens and peak > highest:
                most, took = self._seen or (0, 0)
                self._seen = max(most, tokens), max(took, peak - self._before - held)

    # --- while it runs ----------------------------------------------------------------------

    @contextlib.contextmanager
    def watch(self) -> Iterator[None]:
        """Inside, running the model raises MemoryError when main memory is about to run out."""
        self._next_look, self._last_free = 0.0, self.free()
        hooks = [layer.register_forward_pre_hook(self._look) for layer in self._layers]
        hooks.append(self._head.register_forward_pre_hook(self._look_before_logits))
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _look(self, module: torch.nn.Module, inputs: tuple[Any, ...]) -> None:
        now = time.monotonic()
        if now < self._next_look:
            return
        free = self.free()
        self._next_look = now + max(free - RESERVE, 0) / FASTEST
        # The next layer takes as much as the last one, and its backward pass not more than both.
        taken, self._last_free = max(self._last_free - free, 0), free
        self._leave(max(RESERVE, 2 * taken), free)

    def _look_before_logits(self, module: Any, inputs: tuple[Tensor, ...]) -> None:
        positions = inputs[0].numel() // inputs[0].shape[-1]
        self._leave(RESERVE + LOGIT_BYTES * positions * module.weight.shape[0], self.free())

    def _leave(self, needed: int, free: int) -> None:
        if free < needed:
            raise MemoryError(f"{size(free)} of main memory are left")
