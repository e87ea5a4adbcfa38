"""Perplexity of the reference answers under the model, per token; lower is better.

For plain text (`task.kind: text`) it is that of the whole text. Comparable only between models
with the same tokenizer, as a model and its base are.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from luthier.evaluation.outcome import Answers, Floats, Metric

FITS = ("generation", "chat", "text")


def build() -> Metric:
    """Build the metric."""
    return Metric("perplexity", "lower", _prepare)


def _prepare(outcome: Answers) -> Callable[[Floats], Floats]:
    tokens = outcome.tokens.astype(float)

    def statistic(weights: Floats) -> Floats:
        count = weights @ tokens
        nats = np.divide(
            -(weights @ outcome.log_likelihood), count,
            out=np.full(len(weights), np.nan), where=count > 0,
        )  # fmt: skip
        # Beyond e^700 a float is infinite, and so, for any purpose, is the perplexity.
        return np.exp(np.minimum(nats, 700))

    return statistic
