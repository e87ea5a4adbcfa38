"""The input itself as the answer: what a rewriting has to beat."""

from __future__ import annotations

import numpy as np

from luthier.evaluation.asking import Asked, Setting
from luthier.evaluation.outcome import Answers, groups_of

FITS = ("generation",)


def measure(setting: Setting) -> Asked:
    """Answer every test row with its input, unchanged."""
    answers = [str(example.fields.get("input", "")) for example in setting.test]
    unknown = np.full(len(answers), np.nan)  # nothing was asked of a model
    outcome = Answers(
        [example.completion for example in setting.test],
        answers,
        unknown,
        np.ones(len(answers), dtype=np.int64),
        groups_of([example.group for example in setting.test]),
    )
    return Asked(outcome, "the input itself, unchanged")
