"""Every optimizer under its Hugging Face name trains, and matches its library step by step."""

import functools
import warnings
from typing import Any, get_args

import bitsandbytes.optim as bnb
import pytest
import torch
import transformers.optimization

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


COMMON = {"lr": 0.01, "weight_decay": 0.1}
BETAS = {"betas": (0.8, 0.9)}
LIBRARY = {
    "adamw_torch": lambda p: torch.optim.AdamW(p, **COMMON, **BETAS),
    "adamw_torch_fused": lambda p: torch.optim.AdamW(p, **COMMON, **BETAS, fused=True),
    "sgd": lambda p: torch.optim.SGD(p, **COMMON),
    "rmsprop": lambda p: torch.optim.RMSprop(p, **COMMON),
    "adagrad": lambda p: torch.optim.Adagrad(p, **COMMON),
    "adafactor": lambda p: transformers.optimization.Adafactor(
        p, **COMMON, scale_parameter=False, relative_step=False
    ),
    "adamw_bnb_8bit": lambda p: bnb.AdamW8bit(p, **COMMON, **BETAS),
    "paged_adamw_32bit": lambda p: bnb.PagedAdamW32bit(p, **COMMON, **BETAS),
    "paged_adamw_8bit": lambda p: bnb.PagedAdamW8bit(p, **COMMON, **BETAS),
    "lion_32bit": lambda p: bnb.Lion32bit(p, **COMMON, **BETAS),
    "lion_8bit": lambda p: bnb.Lion8bit(p, **COMMON, **BETAS),
    "paged_lion_32bit": lambda p: bnb.PagedLion32bit(p, **COMMON, **BETAS),
    "paged_lion_8bit": lambda p: bnb.PagedLion8bit(p, **COMMON, **BETAS),
    "rmsprop_bnb": lambda p: bnb.RMSprop32bit(p, **COMMON),
    "rmsprop_bnb_8bit": lambda p: bnb.RMSprop8bit(p, **COMMON),
    "adagrad_bnb_8bit": lambda p: bnb.Adagrad8bit(p, **COMMON),
    "sgd_bnb_8bit": lambda p: bnb.SGD8bit(p, **COMMON, momentum=0.9),
}


@pytest.mark.parametrize("name", get_args(Optimizer))
def test_first_steps_equal_the_library(name: str) -> None:
    ours, theirs = parameter(), parameter()
    train = TrainConfig(
        optim=name, learning_rate=0.01, weight_decay=0.1, adam_beta1=0.8, adam_beta2=0.9
    )

    descend(optimizers.build([ours], train), ours, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # paged ones page nothing on a CPU
        descend(LIBRARY[name]([theirs]), theirs, 3)

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


@pytest.mark.parametrize(
    ("name", "setting"),
    [
        ("lr", "learning_rate"),
        ("weight_decay", "weight_decay"),
        ("betas", r"adam_beta1 and train\.adam_beta2"),
    ],
)
def test_an_argument_that_is_a_setting_is_refused(name: str, setting: str) -> None:
    train = TrainConfig(optim_args={name: 0.5})

    with pytest.raises(LuthierError, match=rf"optim_args: {name} is set by train\.{setting}\."):
        optimizers.build([parameter()], train)


def test_an_unknown_argument_names_the_nearest() -> None:
    train = TrainConfig(optim="sgd", optim_args={"momentun": 0.9})

    with pytest.raises(LuthierError, match=r"optim_args.*'momentun'.*Did you mean 'momentum'"):
        optimizers.build([parameter()], train)


def test_a_wrapped_optimizer_still_names_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    class Wrapped(torch.optim.SGD):
        @functools.wraps(torch.optim.SGD.__init__)
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)

    monkeypatch.setattr(torch.optim, "SGD", Wrapped)
    train = TrainConfig(optim="sgd", optim_args={"momentun": 0.9})
    with pytest.raises(LuthierError, match=r"'momentun'.*Did you mean 'momentum'"):
        optimizers.build([parameter()], train)


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("adafactor", {"eps": 1e-8}, r"eps is 2 numbers, which optim_args cannot give"),
        ("sgd", {"momentum": -1}, r"optim_args \(sgd\): Invalid momentum value"),
        ("sgd", {"betas": 5}, r"unknown argument 'betas'"),
    ],
)
def test_an_argument_of_a_wrong_kind_is_refused(
    name: str, options: dict[str, float], said: str
) -> None:
    train = TrainConfig(optim=name, optim_args=options)
    with pytest.raises(LuthierError, match=said):
        optimizers.build([parameter()], train)
