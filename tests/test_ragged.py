"""Rows end to end: attention by layout equals attention row by row."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import (
    BloomConfig,
    BloomForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    MistralConfig,
    MistralForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from luthier import model as models
from luthier import ragged
from luthier.recipe import ModelSection

groups = st.lists(
    st.tuples(st.integers(0, 9), st.lists(st.integers(1, 20), min_size=1, max_size=5).map(sorted)),
    min_size=1,
    max_size=3,
)


def row_by_row(q: Tensor, k: Tensor, v: Tensor, shapes: list[tuple[int, list[int]]]) -> Tensor:
    """Attention of each row with its prefix in front, in straight code."""
    out, at = torch.empty_like(q), 0
    for prefix, lengths in shapes:
        shared = list(range(at, at + prefix))
        at += prefix
        rows = [(shared, [])] if prefix else []
        for length in lengths:
            rows.append((shared, list(range(at, at + length))))
            at += length
        for before, own in rows:
            both = before + own
            repeat = q.shape[1] // k.shape[1]
            keys, values = (
                t[both].transpose(0, 1).repeat_interleave(repeat, dim=0) for t in (k, v)
            )
            scores = q[both].transpose(0, 1) @ keys.transpose(1, 2) * 0.4
            future = torch.ones(len(both), len(both), dtype=torch.bool).triu(1)
            weights = F.softmax(scores.masked_fill(future, -torch.inf), dim=-1)
            wanted = own or before
            out[wanted] = (weights @ values).transpose(0, 1)[-len(wanted) :]
    return out


@pytest.mark.parametrize("attention", ["split", "plain"])
@given(shapes=groups, heads=st.sampled_from([(2, 2), (6, 2), (3, 1)]))
@settings(max_examples=25, deadline=None)
def test_attention_and_its_gradients(
    attention: str, shapes: list[tuple[int, list[int]]], heads: tuple[int, int]
) -> None:
    count = sum(prefix + sum(lengths) for prefix, lengths in shapes)
    generator = torch.Generator().manual_seed(count)
    q = torch.randn(count, heads[0], 8, generator=generator, requires_grad=True)
    k = torch.randn(count, heads[1], 8, generator=generator, requires_grad=True)
    v = torch.randn(count, heads[1], 8, generator=generator, requires_grad=True)
    weight = torch.randn(count, heads[0], 8, generator=generator)
    layout = ragged.lay_out(shapes)
    compute = ragged._SplitAttention.apply if attention == "split" else ragged._plain_attention

    found = compute(q, k, v, layout, 0.4)
    expected = row_by_row(q, k, v, shapes)

    torch.testing.assert_close(found, expected, rtol=1e-5, atol=2e-6)
    for one, two in zip(
        torch.autograd.grad(found, (q, k, v), weight),
        torch.autograd.grad(expected, (q, k, v), weight),
        strict=True,
    ):
        torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-5)


def test_rows_are_padded_to_less_than_twice_their_length() -> None:
    lengths = [1, 2, 3, 5, 9, 9, 17, 40]

    (group,) = ragged.lay_out([(4, lengths)]).groups

    assert sum(block.shape[0] for block in group.blocks) == len(lengths)
    for block in group.blocks:
        assert block.shape[0] * block.shape[1] < 2 * (block.stop - block.start)


def test_a_llama_takes_rows_end_to_end(tiny_model_dir: Path) -> None:
    model = models.open_model(ModelSection(name=str(tiny_model_dir)))

    assert ragged.why_not(model, "sdpa") == ""
    assert "eager is asked for" in ragged.why_not(model, "eager")


SMALL = {"num_attention_heads": 4, "num_hidden_layers": 2, "vocab_size": 60, "hidden_size": 32}


def test_other_architectures_are_tried_and_told_apart() -> None:
    qwen = Qwen3ForCausalLM(
        Qwen3Config(**SMALL, intermediate_size=48, num_key_value_heads=2, head_dim=8)
    )
    gpt2 = GPT2LMHeadModel(GPT2Config(n_embd=32, n_head=4, n_layer=2, vocab_size=60))
    gpt2_without = GPT2LMHeadModel(
        GPT2Config(n_embd=32, n_head=4, n_layer=2, vocab_size=60, attn_pdrop=0.0)
    )
    sliding = MistralForCausalLM(
        MistralConfig(**SMALL, intermediate_size=48, num_key_value_heads=2, sliding_window=4)
    )
    bloom = BloomForCausalLM(BloomConfig(hidden_size=32, n_head=4, n_layer=2, vocab_size=60))

    assert ragged.why_not(qwen, "sdpa") == ""
    assert ragged.why_not(gpt2_without, "sdpa") == ""
    assert "layers see all tokens" in ragged.why_not(sliding, "sdpa")
    # Positions are slopes inside its attention, which transformers does not let others replace.
    assert "a way of its own" in ragged.why_not(bloom, "sdpa")
    assert gpt2.config.attn_pdrop > 0 and "drops" in ragged.why_not(gpt2, "sdpa")


def test_the_model_is_left_as_it_was(tiny_model_dir: Path) -> None:
    model = models.open_model(ModelSection(name=str(tiny_model_dir))).train()
    config = models.decoder(model).config
    layout = ragged.lay_out([(0, [3])])

    with pytest.raises(ZeroDivisionError), ragged.laid_out(model, layout):
        assert config._attn_implementation == ragged.NAME
        _ = 1 / 0

    assert config._attn_implementation == "sdpa"
    assert ragged.why_not(model, "sdpa") == "" and model.training
