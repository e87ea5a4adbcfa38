"""Every optimizer under its Hugging Face name trains, and matches its library step by step."""

from typing import get_args

import pytest
import torch

from luthier.errors import LuthierError
from luthier.training import optimizers
from luthier.training.config import Optimizer, TrainConfig

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


def parameter() -> torch.nn.Parameter:
    generator = torch.Generator().manual_seed(3)
    # 8-bit optimizers keep tensors below 4,096 elements in fp32.
    return torch.nn.Parameter(torch.randn(96, 64, generator=generator))


def descend(
    optimizer: torch.optim.Optimizer, weight: torch.nn.Parameter, steps: int
) -> list[float]:
    losses = []
    for _ in range(steps):
        loss = (weight - 1).square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("name", get_args(Optimizer))
def test_every_optimizer_descends(name: str) -> None:
    weight = parameter()
    options = {"momentum": 0.9} if name == "sgd" else {}
    rate = 1.0 if "sgd" in name else 0.05
    train = TrainConfig(optim=name, learning_rate=rate, weight_decay=0.0, optim_args=options)

    losses = descend(optimizers.build([weight], train), weight, 10)

    assert losses[-1] < losses[0] * 0.98


@pytest.mark.parametrize(
    ("name", "make"),
    [
        (
            "adamw_torch",
            lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.1, betas=(0.8, 0.9)),
        ),
        ("adagrad", lambda p: torch.optim.Adagrad(p, lr=0.01, weight_decay=0.1)),
        ("rmsprop", lambda p: torch.optim.RMSprop(p, lr=0.01, weight_decay=0.1)),
        ("sgd", lambda p: torch.optim.SGD(p, lr=0.01, weight_decay=0.1)),
    ],
)
def test_first_steps_equal_the_library(name: str, make: object) -> None:
    ours, theirs = parameter(), parameter()
    train = TrainConfig(
        optim=name, learning_rate=0.01, weight_decay=0.1, adam_beta1=0.8, adam_beta2=0.9
    )

    descend(optimizers.build([ours], train), ours, 3)
    descend(make([theirs]), theirs, 3)  # type: ignore[operator]

    assert torch.equal(ours, theirs)


def test_vectors_are_not_decayed() -> None:
    matrix, vector = torch.nn.Parameter(torch.ones(4, 4)), torch.nn.Parameter(torch.ones(4))
    optimizer = optimizers.build(
        [matrix, vector], TrainConfig(optim="sgd", learning_rate=0.1, weight_decay=0.5)
    )

    matrix.grad, vector.grad = torch.zeros(4, 4), torch.zeros(4)
    optimizer.step()

    assert torch.all(matrix < 1)
    assert torch.all(vector == 1)


def test_an_unknown_argument_names_the_nearest() -> None:
    train = TrainConfig(optim="sgd", optim_args={"momentun": 0.9})

    with pytest.raises(LuthierError, match=r"optim_args.*'momentun'.*Did you mean 'momentum'"):
        optimizers.build([parameter()], train)
