"""A prefix held once gives what running every row from its first token gives."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from test_scoring import ARCHITECTURES, GROUPED, SMALL, sharpened
from transformers import AutoConfig, AutoModelForCausalLM

from luthier import prefix_cache
from luthier.model import attach_adapter, hidden_states, open_model
from luthier.prefix_cache import Prefix, can_share, families
from luthier.recipe import ModelSection
from luthier.training.config import LoraSection

START = [5, 9, 40, 41, 7, 100, 3, 66, 8, 12, 77]
ROWS = [[8, 8, 30, 2], [90, 91, 92, 5, 17, 23], [4]]


def made(kind: str, attention: str = "eager", **options: Any) -> Any:
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, **options)
    model = AutoModelForCausalLM.from_config(config, attn_implementation=attention)
    return sharpened(model.float())


@pytest.fixture(scope="module")
def model(tiny_model_dir: Path) -> Any:
    return sharpened(open_model(ModelSection(name=str(tiny_model_dir))))


def behind(model: Any, prefix: Prefix, rows: Sequence[Sequence[int]] = ROWS) -> list[torch.Tensor]:
    """The states of rows padded on the left."""
    width = max(map(len, rows))
    pads = torch.tensor([width - len(row) for row in rows])
    at = torch.arange(width)
    sees = (at[:, None] >= at)[None] & (at[None] >= pads[:, None])[:, None]
    sees |= torch.eye(width, dtype=torch.bool)
    with torch.inference_mode():
        found = prefix.hidden_states(
            model,
            torch.tensor([[0] * (width - len(row)) + list(row) for row in rows]),
            sees,
            (at - pads[:, None]).clamp(min=0) + len(prefix.ids),
        )
    return [states[pad:] for states, pad in zip(found, pads, strict=True)]


def whole(model: Any, start: Sequence[int], rows: Sequence[Sequence[int]]) -> list[torch.Tensor]:
    with torch.inference_mode():
        return [
            hidden_states(model, input_ids=torch.tensor([[*start, *row]]))[0, len(start) :]
            for row in rows
        ]


def require_same(model: Any, prefix: Prefix) -> None:
    for found, expected in zip(behind(model, prefix), whole(model, prefix.ids, ROWS), strict=True):
        assert expected.std() > 0.01
        torch.testing.assert_close(found, expected, rtol=0, atol=2e-5 * float(expected.abs().max()))


SHARING = [name for name, (_, _, shares) in ARCHITECTURES.items() if shares]


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("name", SHARING)
def test_it_is_held_once_by_every_architecture(name: str, attention: str) -> None:
    kind, options, _ = ARCHITECTURES[name]
    model = made(kind, attention, **options)
    prefix = Prefix(model, START)
    require_same(model, prefix)
    assert prefix._folds, "its attention does not go through transformers' interface"
    assert model.config._attn_implementation == attention


OTHERS: dict[str, tuple[str, dict[str, Any]]] = {
    "attention of its own": (
        "codegen", {"n_embd": 32, "n_layer": 2, "n_head": 4, "rotary_dim": 4, "vocab_size": 420},
    ),
    "capped scores": (
        "gemma2", {**SMALL, **GROUPED, "head_dim": 8, "layer_types": ["full_attention"] * 2,
                   "attn_logit_softcapping": 2.0},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
def test_attention_of_another_kind_gets_copies(name: str) -> None:
    kind, options = OTHERS[name]
    model = made(kind, **options)
    assert can_share(model)
    prefix = Prefix(model, START)
    require_same(model, prefix)
    assert not prefix._folds
    require_same(model, prefix)
    assert not prefix_cache._waiting
    assert model.config._attn_implementation == "eager"


def test_with_an_adapter(model: Any, tiny_model_dir: Path) -> None:
    base = open_model(ModelSection(name=str(tiny_model_dir)))
    adapted = sharpened(attach_adapter(base, LoraSection(r=4)))
    require_same(adapted, Prefix(adapted, START))


def test_rows_in_turns(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    prefix = Prefix(model, START)
    expected = behind(model, prefix)
    monkeypatch.setattr(prefix_cache, "SCORES_BYTES", 1)
    for found, all_at_once in zip(behind(model, prefix), expected, strict=True):
        torch.testing.assert_close(found, all_at_once)


def test_nothing_is_added_to_it(model: Any) -> None:
    prefix = Prefix(model, START)
    first = behind(model, prefix)
    copies = prefix.copies(2)
    with torch.inference_mode():
        hidden_states(model, input_ids=torch.tensor([[1, 2], [3, 4]]), past_key_values=copies)
    assert copies.get_seq_length() == len(START) + 2
    for again, before in zip(behind(model, prefix), first, strict=True):
        assert torch.equal(again, before)


def test_an_error_on_the_way_leaves_the_model_as_it_was(model: Any) -> None:
    prefix = Prefix(model, START)
    with pytest.raises(IndexError):
        behind(model, prefix, [[10**6]])
    assert model.config._attn_implementation == "sdpa"
    require_same(model, prefix)


def test_families_are_of_rows_that_share_enough() -> None:
    long, other = list(range(100, 400)), list(range(500, 800))
    rows = [[*long, i] for i in range(5)] + [[*other, i] for i in range(5)] + [[1, 2]]
    found = families(rows, [1] * len(rows))
    assert sorted((shared, sorted(members)) for shared, members in found) == [
        (0, [10]), (300, [0, 1, 2, 3, 4]), (300, [5, 6, 7, 8, 9]),
    ]  # fmt: skip
    assert families([[1, 2, 3]] * 3, [1] * 3) == [(0, [0, 1, 2])], "too short to be worth it"
    assert families([long] * 3, [20] * 3) == [(280, [0, 1, 2])]
    assert families([], []) == []
