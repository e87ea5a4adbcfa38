"""The mean of the trained weights over the end of a run, in place of those of its last step.

Where the last steps leave the weights is partly chance: which rows came last, and how large the
steps still were. Their mean is less so (SWA: Izmailov et al. 2018, arXiv:1803.05407, section 3.2;
for stochastic gradients already Polyak & Juditsky 1992, "Acceleration of stochastic approximation
by averaging"). Training itself does not notice: the optimizer goes on from its own weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from luthier.training import checkpoint


class WeightAverage:
    """The mean of a model's trained weights over the steps that were added.

    Args:
        model: on its device. The memory of the mean, that of its trained weights, is taken now:
            what does not fit fails before training.
    """

    def __init__(self, model: torch.nn.Module) -> None:
        self.weights = checkpoint.trained(model)
        """Those of the last step; they share the model's memory."""
        self.mean = {name: weight.clone() for name, weight in self.weights.items()}
        self.count = 0
        """Steps that were added."""

    def add(self) -> None:
        """Take the weights as they are now into the mean."""
        self.count += 1
        for name, mean in self.mean.items():
            mean.lerp_(self.weights[name], 1 / self.count)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Inside, the model has the mean for its weights; as it is where nothing was added."""
        if not self.count:
            yield
            return
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def put(self) -> None:
        """Leave the mean in the model, for good; nothing where nothing was added."""
        if self.count:
            for name, weight in self.weights.items():
                weight.copy_(self.mean[name])

    def _swap(self) -> None:
        for name, weight in self.weights.items():
            kept = weight.clone()
            weight.copy_(self.mean[name])
            self.mean[name].copy_(kept)

    # --- checkpoints ------------------------------------------------------------------------

    def state(self) -> dict[str, int | Mapping[str, Tensor]]:
        """What `restore` needs; the tensors are the mean's own."""
        return {"count": self.count, "mean": self.mean if self.count else {}}

    def restore(self, count: int, mean: Mapping[str, Tensor]) -> None:
        """Go back to what `state` returned."""
        self.count = count
        for name, tensor in mean.items():
            self.mean[name].copy_(tensor)
