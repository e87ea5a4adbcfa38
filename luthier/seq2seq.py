"""Encoder-decoders (T5: Raffel et al. 2020, arXiv:1910.10683): one reads, the other answers.

A rendered row is what it is for other models, the prompt's tokens and then the answer's
(`chat.py`). Here it is taken apart where the trained ones begin: the encoder reads the first part,
all of it at once, and the decoder is given a start token and then the second part, to say each
token after those before it. Nothing that rests on reading from left to right applies to the
encoder: no rows end to end, no beginning run once for many rows, no packed lines.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache, EncoderDecoderCache


class Pair(NamedTuple):
    """A row taken apart."""

    asked: list[int]
    """What the encoder reads."""
    answer: list[int]
    """What the decoder says, its stop token included."""


class Encoded(NamedTuple):
    """What the encoder has read."""

    states: Tensor
    """(rows, longest, hidden)."""
    mask: Tensor
    """(rows, longest) int64: 1 where a token is no padding."""


def has_encoder(model: Any) -> bool:
    """Whether a model (plain or with an adapter) is an encoder-decoder."""
    return bool(model.config.is_encoder_decoder)


def start_id(model: Any) -> int | None:
    """The token that the decoder is given before the answer's first one; None: no encoder."""
    if not has_encoder(model):
        return None
    found = getattr(model.config, "decoder_start_token_id", None)
    token: int = model.config.pad_token_id if found is None else found
    return token


def take_apart(ids: Sequence[int], trained: Sequence[bool]) -> Pair:
    """Split a rendered row, of which something is trained."""
    start = list(trained).index(True)
    return Pair(list(ids[:start]), list(ids[start:]))


def padded(rows: Sequence[Sequence[int]], pad_id: int) -> tuple[Tensor, Tensor]:
    """(rows, longest) int64 token ids, padded on the right, and 1 where they are no padding."""
    width = max(map(len, rows))
    ids = torch.tensor([[*row, *[pad_id] * (width - len(row))] for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    return ids, mask


def encode(model: Any, ids: Tensor, mask: Tensor) -> Encoded:
    """Let the encoder read.

    Args:
        model: plain or with an adapter.
        ids: (rows, longest) int64.
        mask: the same, 0 at padding.
    """
    encoder = _plain(model).get_encoder()
    return Encoded(encoder(input_ids=ids, attention_mask=mask).last_hidden_state, mask)


def decode(
    model: Any, ids: Tensor, encoded: Encoded, cache: EncoderDecoderCache | None = None
) -> Tensor:
    """Run the decoder without the LM head.

    Args:
        model: plain or with an adapter.
        ids: (rows, longest) int64: the start token, then the answer; padding on the right is seen
            by no token before it.
        encoded: of the same rows.
        cache: extended in place; null: none is kept.

    Returns:
        What the LM head would be given (`model.logits`): (rows, longest, hidden).
    """
    decoder = _plain(model).get_decoder()
    states: Tensor = decoder(
        input_ids=ids,
        encoder_hidden_states=encoded.states,
        encoder_attention_mask=encoded.mask,
        past_key_values=cache,
        use_cache=cache is not None,
    ).last_hidden_state
    return states


class Answering:
    """Runs several answers to the same prompts, whose keys and values are computed once.

    Args:
        model: an encoder-decoder in eval mode.
        asked: token ids of the prompts.
        pad_id: fills up shorter ones.
    """

    def __init__(self, model: Any, asked: Sequence[Sequence[int]], pad_id: int) -> None:
        self.model = model
        ids, mask = padded(asked, pad_id)
        self.encoded = encode(model, ids.to(model.device), mask.to(model.device))
        self._of_prompts = DynamicCache()

    def states(self, answers: Sequence[Sequence[int]]) -> Tensor:
        """Hidden states that predict each token of an answer and the one after it.

        Args:
            answers: of each prompt; all equally long.

        Returns:
            (prompts, tokens + 1, hidden).
        """
        start = start_id(self.model)
        ids = torch.tensor([[start, *answer] for answer in answers], device=self.model.device)
        cache = EncoderDecoderCache(DynamicCache(), self._of_prompts)
        return decode(self.model, ids, self.encoded, cache)


def _plain(model: Any) -> Any:
    return model.get_base_model() if hasattr(model, "get_base_model") else model
