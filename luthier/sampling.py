"""Draws tokens for many prompts at once, each by settings and a seed of its own.

What a row draws depends on its own seed, not on the rows it is batched with: Gumbel noise made from
the seed is added to the scores and the largest is taken, which is the same as drawing from their
softmax (C. Maddison, D. Tarlow, T. Minka, "A* sampling", 2014, section 2).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import LogitsProcessor, StoppingCriteria

_TAIL = 24
"""Tokens from the end in which a stop string is looked for; none is longer than so many tokens."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How one answer is drawn; the names are those of OpenAI's protocol."""

    max_tokens: int
    temperature: float = 1.0
    """0: always the likeliest token."""
    top_p: float = 1.0
    presence_penalty: float = 0.0
    """Taken off the score of every token that the answer has already."""
    frequency_penalty: float = 0.0
    """The same, once for each time."""
    stop: tuple[str, ...] = ()
    seed: int = 0


class PerRow(LogitsProcessor):
    """Makes the likeliest token of each row the one that its settings and seed draw.

    Args:
        settings: one for every row of the batch.
        width: length of the prompts.
        keep: also keep the log-probability of what is drawn, by the model's own scores.
    """

    def __init__(self, settings: Sequence[Sampling], width: int, *, keep: bool) -> None:
        self.settings, self.width = settings, width
        self.drawn: list[Tensor] | None = [] if keep else None
        """One (rows,) tensor a step: natural log-probabilities."""
        self._generators = [torch.Generator().manual_seed(s.seed) for s in settings]

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Shift the scores, (rows, vocabulary), of the next token."""
        shifted = scores.float().cpu().clone()
        for row, settings in enumerate(self.settings):
            shifted[row] = self._shifted(row, settings, shifted[row], input_ids[row, self.width :])
        if self.drawn is not None:
            known = scores.float().log_softmax(-1).cpu()
            self.drawn.append(known.gather(1, shifted.argmax(-1, keepdim=True)).squeeze(1))
        return shifted.to(scores.device)

    def _shifted(self, row: int, settings: Sampling, scores: Tensor, said: Tensor) -> Tensor:
        if said.numel() and (settings.presence_penalty or settings.frequency_penalty):
            tokens, times = said.cpu().unique(return_counts=True)
            scores[tokens] -= settings.presence_penalty + settings.frequency_penalty * times
        if settings.temperature == 0:
            return scores
        scores = scores / settings.temperature
        if settings.top_p < 1:
            ordered, order = scores.sort(descending=True)
            before = ordered.softmax(-1).cumsum(-1) - ordered.softmax(-1)
            scores[order[before >= settings.top_p]] = -torch.inf
        noise = torch.empty_like(scores).exponential_(generator=self._generators[row])
        return scores - noise.log()


class StopPerRow(StoppingCriteria):
    """Ends each row at its own length or stop string.

    Args:
        tokenizer: decodes what was generated.
        settings: one for every row of the batch.
        width: length of the prompts.
    """

    def __init__(self, tokenizer: Any, settings: Sequence[Sampling], width: int) -> None:
        self.tokenizer, self.settings, self.width = tokenizer, settings, width

    def __call__(self, input_ids: Tensor, scores: Tensor, **_: Any) -> Tensor:
        """Tell which rows are done: (rows,), bool."""
        said = input_ids[:, self.width :]
        done = [
            said.shape[1] >= settings.max_tokens or self._stops(said[row], settings.stop)
            for row, settings in enumerate(self.settings)
        ]
        return torch.tensor(done, device=input_ids.device)

    def _stops(self, said: Tensor, stop: tuple[str, ...]) -> bool:
        if not stop:
            return False
        tail = self.tokenizer.decode(said[-_TAIL:], skip_special_tokens=True)
        return any(text in tail for text in stop)


def cut(text: str, stop: tuple[str, ...]) -> tuple[str, bool]:
    """A text up to the first of some stop strings, and whether there was one."""
    found = [place for place in (text.find(s) for s in stop) if place >= 0]
    return (text[: min(found)], True) if found else (text, False)
