"""The summed loss over chunks, against one product over all tokens."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from luthier.chunked_loss import sum_over_chunks


@pytest.mark.parametrize("trained_head", [False, True])
@pytest.mark.parametrize("tokens", [3, 8, 21])
def test_it_is_the_loss_over_all_tokens(
    tokens: int, trained_head: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("luthier.chunked_loss.CHUNK", 8)
    torch.manual_seed(0)
    head = torch.nn.Linear(6, 11).requires_grad_(trained_head)
    model = SimpleNamespace(get_output_embeddings=lambda: head)
    hidden = torch.randn(tokens, 6, requires_grad=True)
    targets = torch.randint(0, 11, (tokens,))
    calls = []

    def loss_of(start: int, part: Tensor) -> Tensor:
        calls.append(start)
        return F.cross_entropy(head(part), targets[start : start + len(part)], reduction="sum")

    asked = [hidden, *([head.weight] if trained_head else [])]
    found = sum_over_chunks(model, hidden, loss_of)
    gradients = torch.autograd.grad(3 * found, asked)

    expected = F.cross_entropy(head(hidden), targets, reduction="sum")
    assert torch.allclose(found, expected)
    for one, two in zip(gradients, torch.autograd.grad(3 * expected, asked), strict=True):
        assert torch.allclose(one, two, atol=1e-6)
    again = trained_head and tokens > 8
    assert len(calls) == -(-tokens // 8) * (2 if again else 1)
    with torch.no_grad():
        assert torch.allclose(sum_over_chunks(model, hidden, loss_of), expected)
