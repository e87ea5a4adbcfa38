"""NEFTune: uniform noise on the embeddings while training (Jain et al. 2023, arXiv:2310.05914).

noise ~ U(-1, 1) * alpha / sqrt(L * d), with L the length of the row in tokens and d the width of
the embedding. L is the row's own length, as in the paper's code, so padding and packing do not
change the noise's scale. A prefix that several rows share gets one draw for all of them, with the
mean of their lengths as L.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor


class EmbeddingNoise:
    """Adds noise in a forward hook of the input embeddings.

    Args:
        embeddings: the model's input embedding module.
        alpha: strength; the paper tries 5, 10 and 15.
    """

    def __init__(self, embeddings: torch.nn.Module, alpha: float) -> None:
        self.alpha = alpha
        self._lengths: Tensor | None = None
        embeddings.register_forward_hook(self._add)

    @contextlib.contextmanager
    def rows_of(self, lengths: Tensor) -> Iterator[None]:
        """Noise is on inside this block, for rows of these lengths ((B, T) int64)."""
        self._lengths = lengths
        try:
            yield
        finally:
            self._lengths = None

    def _add(self, module: torch.nn.Module, inputs: object, embedded: Tensor) -> Tensor:
        if self._lengths is None or not module.training:
            return embedded
        scale = self.alpha / (self._lengths * embedded.shape[-1]).sqrt()
        noise = torch.empty_like(embedded).uniform_(-1, 1)
        return embedded + noise * scale[..., None].to(embedded.dtype)
