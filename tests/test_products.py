"""Frozen products and the adapters added to them, against straight code."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from luthier import products


def reference(
    x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scale: float,
    dropped: Tensor | None,
) -> Tensor:  # fmt: skip
    base = (x.to(weight.dtype) @ weight.t()).to(x.dtype)
    seen = x if dropped is None else x * (~dropped).view(x.shape)
    out = base + scale * ((seen @ a.t()) @ b.t())
    return out if bias is None else out + bias


@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("p", [0.0, 0.25])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_one_product_equals_its_parts(dtype: torch.dtype, p: float, with_bias: bool) -> None:
    torch.manual_seed(0)
    x = torch.randn(3, 5, 24, requires_grad=True)
    weight = torch.randn(16, 24).to(dtype)
    bias = torch.randn(16) if with_bias else None
    a = torch.randn(4, 24, requires_grad=True)
    b = torch.randn(16, 4, requires_grad=True)
    dropped, factor = products.draw_dropped(x, p) if p else (None, 1.0)
    given = torch.randn(3, 5, 16)

    found = products._AdaptedProduct.apply(x, weight, bias, a, b, 0.7 * factor, dropped)
    expected = reference(x, weight, bias, a, b, 0.7 * factor, dropped)

    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    gradients = torch.autograd.grad(found, (x, a, b), given)
    # A product in bf16 rounds the gradient that comes back through it, too.
    tolerance = 1e-5 if dtype == torch.float32 else 2e-2
    for one, two in zip(gradients, torch.autograd.grad(expected, (x, a, b), given), strict=True):
        torch.testing.assert_close(one, two, rtol=tolerance, atol=tolerance * 10)


@pytest.mark.parametrize("p", [0.05, 0.1, 0.5])
def test_dropout_drops_each_input_as_often_as_asked(p: float) -> None:
    torch.manual_seed(0)
    x = torch.ones(400, 1001)

    dropped, factor = products.draw_dropped(x, p)

    deviation = (p * (1 - p) / x.numel()) ** 0.5
    assert dropped.shape == x.shape
    assert float(dropped.double().mean()) == pytest.approx(p, abs=5 * deviation)
    assert factor == pytest.approx(1 / (1 - p), rel=1e-4)
    # Neighbours are drawn from the same random number, and must not know of each other.
    for step in (1, 2, 3, 4):
        both = (dropped.flatten()[:-step] & dropped.flatten()[step:]).double().mean()
        assert float(both) == pytest.approx(p * p, abs=6 * p / x.numel() ** 0.5)
    again, _ = products.draw_dropped(x, p)
    assert not torch.equal(dropped, again)


def adapted(dropout: float, **options: object) -> tuple[nn.Module, nn.Module]:
    """A linear layer under a LoRA layer: (peft's own, ours), with the same weights."""
    from peft import LoraConfig, inject_adapter_in_model

    pair = []
    for ours in (False, True):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(12, 20), nn.Linear(20, 8))
        model.requires_grad_(False)
        config = LoraConfig(r=4, lora_alpha=8, lora_dropout=dropout, target_modules=["0", "1"],
                            init_lora_weights="gaussian", **options)  # fmt: skip
        inject_adapter_in_model(config, model)
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                nn.init.normal_(parameter, generator=torch.Generator().manual_seed(len(name)))
        if ours:
            products.add_adapters_in_place(model)
        pair.append(model.train())
    return pair[0], pair[1]


def outcome(model: nn.Module, x: Tensor) -> list[Tensor]:
    out = model(x)
    trained = [p for p in model.parameters() if p.requires_grad]
    return [out.detach(), *torch.autograd.grad(out.square().sum(), trained)]


@pytest.mark.parametrize("options", [{}, {"use_dora": True}, {"use_rslora": True}])
def test_layers_compute_what_pefts_do(options: dict[str, object]) -> None:
    theirs, ours = adapted(0.0, **options)
    x = torch.randn(7, 12)

    for one, two in zip(outcome(theirs, x), outcome(ours, x), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-5)


def test_dropout_is_off_when_not_training_and_on_average() -> None:
    theirs, ours = adapted(0.3)
    x = torch.randn(5, 12)
    wanted = theirs.eval()(x)
    torch.testing.assert_close(ours.eval()(x), wanted)

    first = ours[0].train()
    mean = torch.stack([first(x).detach() for _ in range(4000)]).mean(0)

    torch.testing.assert_close(mean, ours[0].eval()(x).detach(), rtol=0.05, atol=0.3)
    assert not torch.equal(ours[0].train()(x), ours[0](x))
