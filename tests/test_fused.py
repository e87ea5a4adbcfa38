"""Norms and gated activations in fewer passes: the same numbers, and the right modules."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers.models.gemma.modeling_gemma import GemmaConfig, GemmaMLP, GemmaRMSNorm
from transformers.models.llama.modeling_llama import LlamaConfig, LlamaMLP, LlamaRMSNorm
from transformers.models.qwen3.modeling_qwen3 import Qwen3RMSNorm

from luthier import fused
from luthier import model as models
from luthier.recipe import ModelSection


def pair(module: nn.Module, **state: Any) -> tuple[nn.Module, nn.Module]:
    """A module as it is and fused, with the same random weights."""
    torch.manual_seed(0)
    for parameter in module.parameters():
        nn.init.normal_(parameter)
    short = type(module)(**state)
    short.load_state_dict(module.state_dict())
    module.requires_grad_(False)
    short.requires_grad_(False)
    fused.fuse(short)
    return module, short


def outcome(module: nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    x = x.clone().requires_grad_()
    out = module(x)
    return out.detach(), torch.autograd.grad(
        out, x, torch.linspace(-1, 2, out.numel()).view_as(out)
    )[0]


CONFIG = LlamaConfig(hidden_size=12, intermediate_size=20, num_attention_heads=2)


@pytest.mark.parametrize(
    ("module", "state"),
    [
        (LlamaRMSNorm(12, eps=1e-3), {"hidden_size": 12, "eps": 1e-3}),
        (Qwen3RMSNorm(12), {"hidden_size": 12}),
        (LlamaMLP(CONFIG), {"config": CONFIG}),
    ],
    ids=["llama norm", "qwen norm", "llama mlp"],
)
def test_values_and_gradients_are_the_same(module: nn.Module, state: dict[str, Any]) -> None:
    own, short = pair(module, **state)
    x = torch.randn(2, 5, 12)

    assert type(short) is not type(own)
    for one, two in zip(outcome(own, x), outcome(short, x), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-5)


def test_other_arithmetic_is_left_alone() -> None:
    gelu = LlamaMLP(
        LlamaConfig(hidden_size=12, intermediate_size=20, num_attention_heads=2, hidden_act="gelu")
    )
    gemma = GemmaConfig(hidden_size=12, intermediate_size=20, num_attention_heads=2)
    modules = [GemmaRMSNorm(12), GemmaMLP(gemma), gelu, nn.LayerNorm(12), nn.Linear(3, 4)]

    kinds = [type(module) for module in modules]
    for module in modules:
        fused.fuse(module)

    assert [type(module) for module in modules] == kinds


def test_trained_norms_keep_their_gradient() -> None:
    norm = LlamaRMSNorm(12)
    fused.fuse(norm)

    norm(torch.randn(3, 12)).sum().backward()

    assert norm.weight.grad is not None and norm.weight.grad.abs().sum() > 0


def test_other_dtypes_take_the_models_own_way() -> None:
    own, short = pair(LlamaRMSNorm(12), hidden_size=12)
    x = torch.randn(3, 12).bfloat16()

    torch.testing.assert_close(own(x), short(x), rtol=0, atol=0)


def test_models_are_opened_fused(tiny_model_dir: Path) -> None:
    model = models.open_model(ModelSection(name=str(tiny_model_dir)))
    layer = models.decoder(model).layers[0]

    assert type(layer.input_layernorm) is not LlamaRMSNorm
    assert type(layer.mlp) is not LlamaMLP
    assert type(layer.mlp).__name__ == "LlamaMLP"
