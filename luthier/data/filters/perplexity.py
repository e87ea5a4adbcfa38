"""Rejects rows whose answer a local model finds too unlikely, too likely, or hard to expect."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from luthier.data.candidate import Candidate, Filter
from luthier.data.linting.lint_report import Severity
from luthier.errors import DataError
from luthier.example import content_id

SEVERITY: Severity = "warning"
FIX = "Read the row: an answer that nobody could guess may be garbage, or the most instructive one."
_BATCH = 8


class _Likelihood(NamedTuple):
    perplexity: float
    """Of the answer, given the question."""
    ifd: float
    """Loss of the answer given the question, over its loss alone."""


def build(
    *,
    model: str = "smollm2-135m-instruct",
    min_perplexity: float | None = None,
    max_perplexity: float | None = None,
    min_ifd: float | None = None,
    max_ifd: float | None = None,
) -> Filter:
    """Limits on perplexity and on instruction-following difficulty, one at least.

    IFD (M. Li et al., arXiv 2308.12032, section 2.2) is the mean loss of the answer's tokens given
    the question, divided by that without it. Above 1 the question does not help at all: the answer
    does not belong to it. Among the others the higher are the more instructive: the authors
    train on the highest 5 to 10 %.

    Args:
        model: measures; any name that a recipe's `model:` may be.
        min_perplexity: answers that are likelier are left out: nothing is learned from them.
        max_perplexity: answers that are less likely are left out.
        min_ifd: rows below are left out as too easy.
        max_ifd: rows above are left out; 1 drops those whose question does not help.
    """
    limits = {
        "min_perplexity": min_perplexity, "max_perplexity": max_perplexity, "min_ifd": min_ifd,
        "max_ifd": max_ifd,
    }  # fmt: skip
    for name, value in limits.items():
        wrong = isinstance(value, bool) or not isinstance(value, (int, float))
        if value is not None and (wrong or value <= 0):
            raise DataError(f"filter 'perplexity': {name} is {value!r}, expected a number above 0.")
    if all(value is None for value in limits.values()):
        raise DataError(f"filter 'perplexity': give one of {', '.join(limits)}.")
    return _Perplexity(model, limits)


class _Perplexity:
    def __init__(self, model: str, limits: dict[str, float | None]) -> None:
        self.name, self.limits = model, limits
        self._opened: Any = None
        self._found: dict[str, _Likelihood | None] = {}

    def prepare(self, rows: Sequence[Candidate]) -> None:
        """Measure a block of rows at once."""
        from luthier.chat import Rendered
        from luthier.scoring import answer_scores

        model, renderer = self._open()
        self._found = {}
        known, measured = [], []
        for row in rows:
            if not row.answer.strip() or not row.example.messages:
                self._found[_name(row)] = None
                continue
            given = renderer.render(row.example)
            alone = [*renderer.plain(""), *renderer.completion((), row.answer), renderer.stop_id]
            known.append(row)
            measured += [given, Rendered(alone, [False, *[True] * (len(alone) - 1)])]
        if not known:
            return
        scores = answer_scores(model, renderer, measured, _BATCH)
        losses = -scores.log_likelihood / scores.tokens.clip(1)
        for place, row in enumerate(known):
            asked, alone = losses[2 * place], losses[2 * place + 1]
            ifd = float(asked / alone) if alone > 0 else math.inf
            self._found[_name(row)] = _Likelihood(math.exp(min(float(asked), 700.0)), ifd)

    def __call__(self, row: Candidate) -> str | None:
        if _name(row) not in self._found:
            self.prepare([row])
        found = self._found[_name(row)]
        if found is None:
            return None
        for limit, value in self.limits.items():
            side, _, what = limit.partition("_")
            measured = getattr(found, what)
            if value is None or (measured >= value if side == "min" else measured <= value):
                continue
            shown = "IFD" if what == "ifd" else what
            word = "below" if side == "min" else "above"
            return f"{shown}: {measured:.3g} is {word} {value:g} ({self.name})"
        return None

    def _open(self) -> Any:
        if self._opened is None:
            from luthier.chat import Renderer
            from luthier.model import open_model, open_tokenizer
            from luthier.recipe import ModelSection

            section = ModelSection(name=self.name)
            self._opened = (open_model(section), Renderer(open_tokenizer(section)))
        return self._opened


def _name(row: Candidate) -> str:
    return content_id([row.question, "\n", row.answer])
