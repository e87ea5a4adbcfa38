"""A recipe in TRL's words: names that exist, the same learning rates, and gaps that are told."""

from __future__ import annotations

import dataclasses
from typing import Any, get_args

import pytest

from luthier import schedules, sft
from luthier.training.config import LoraSection, Optimizer, Schedule, TrainConfig

STEPS = 20


def told(settings: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    options: dict[str, Any] = {"precision": "float32", "device": "cpu", "seed": 1, **changes}
    train = TrainConfig(**(settings or {}))
    return {a.name: a.value for a in sft.arguments(train, total_steps=STEPS, **options)}


def fields(kind: Any) -> set[str]:
    return {field.name for field in dataclasses.fields(kind)}


def test_every_name_exists_today() -> None:
    trl = pytest.importorskip("trl")
    import peft

    everything = {
        "optim": "sgd", "optim_args": {"momentum": 0.9}, "label_smoothing_factor": 0.1,
        "neftune_noise_alpha": 5, "lr_scheduler_kwargs": {"num_cycles": 2},
    }  # fmt: skip
    assert told(everything).keys() <= fields(trl.SFTConfig)
    lora = LoraSection(layers_to_transform=[0], layers_pattern="layers", modules_to_save=["norm"])
    names = {argument.name for argument in sft.lora_arguments(lora)}
    assert names - {"task_type"} == set(LoraSection.model_fields)
    assert names <= fields(peft.LoraConfig)


def test_every_optimizer_has_a_name_or_is_a_gap() -> None:
    from transformers.training_args import OptimizerNames

    nameless = set(get_args(Optimizer)) - set(OptimizerNames)
    for optim in get_args(Optimizer):
        gaps = sft.gaps(TrainConfig(optim=optim), precision="float32", device="cpu")
        assert [g.key for g in gaps] == ([f"train.optim: {optim}"] if optim in nameless else [])
        assert told({"optim": optim})["optim"] in list(OptimizerNames)


@pytest.mark.filterwarnings("ignore:Both num_training_steps and num_stable_steps")
@pytest.mark.parametrize(
    "settings",
    [
        *({"lr_scheduler_type": name, "warmup_ratio": 0.13} for name in get_args(Schedule)),
        {"lr_scheduler_type": "cosine", "warmup_steps": 3},
        {"lr_scheduler_type": "cosine_with_restarts", "lr_scheduler_kwargs": {"num_cycles": 3}},
        {"lr_scheduler_type": "warmup_stable_decay",
         "lr_scheduler_kwargs": {"num_stable_steps": 5, "decay_type": "linear"}},
        {"lr_scheduler_type": "warmup_stable_decay",
         "lr_scheduler_kwargs": {"num_decay_steps": 7, "min_lr_ratio": 0.1}},
    ],
    ids=str,
)  # fmt: skip
def test_transformers_draws_our_curve(settings: dict[str, Any], tmp_path: Any) -> None:
    import torch
    from transformers import TrainingArguments, get_scheduler

    given = told(settings)
    names = ("lr_scheduler_type", "lr_scheduler_kwargs", "warmup_steps", "learning_rate")
    args = TrainingArguments(
        str(tmp_path), use_cpu=True, **{name: given[name] for name in names if name in given}
    )
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=args.learning_rate)
    scheduler = get_scheduler(
        args.lr_scheduler_type, optimizer, args.get_warmup_steps(STEPS), STEPS,
        args.lr_scheduler_kwargs,
    )  # fmt: skip
    seen = []
    for _ in range(STEPS):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()

    assert seen == pytest.approx(schedules.learning_rates(TrainConfig(**settings), STEPS))


@pytest.mark.parametrize(
    ("settings", "changes", "said"),
    [
        ({"label_smoothing_factor": 0.1, "label_smoothing_over": "classes"}, {}, "over: classes"),
        ({"optim_args": {"amsgrad": True}}, {}, "(amsgrad)"),
        ({"optim": "sgd", "optim_args": {"momentum": 0.9, "foreach": True}}, {}, "(foreach)"),
        ({"auto_find_batch_size": True}, {}, "auto_find_batch_size: true"),
        ({"swa_start": 0.75}, {}, "train.swa_start"),
        ({}, {"precision": "frozen_bf16"}, "precision frozen_bf16"),
        ({"fp16": True}, {"precision": "fp16_autocast"}, "fp16: true"),
        ({"lora": {"target_modules": ["q_proj", "lm_head"]}}, {}, "(lm_head)"),
        ({}, {"device": "cuda", "devices": 2}, "2 GPUs"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_gap_is_told(settings: dict[str, Any], changes: dict[str, Any], said: str) -> None:
    options = {"precision": "float32", "device": "cpu", **changes}

    (gap,) = sft.gaps(TrainConfig(**settings), **options)

    assert said in gap.key
    assert all(text.endswith(".") for text in (gap.why, gap.fix, gap.instead))


@pytest.mark.parametrize(
    ("settings", "changes"),
    [
        ({}, {}),
        ({"label_smoothing_factor": 0.1}, {}),
        ({"optim": "rmsprop", "optim_args": {"momentum": 0.9}}, {}),
        ({"fp16": True}, {"precision": "fp16_autocast", "device": "cuda"}),
        ({}, {"precision": "bf16_autocast"}),
    ],
)
def test_what_can_be_told_is_no_gap(settings: dict[str, Any], changes: dict[str, Any]) -> None:
    options = {"precision": "float32", "device": "cpu", **changes}

    assert sft.gaps(TrainConfig(**settings), **options) == []


def test_a_gap_is_left_out_of_the_arguments() -> None:
    classes = {"label_smoothing_factor": 0.1, "label_smoothing_over": "classes"}

    assert told(classes)["label_smoothing_factor"] == 0
    assert told({"label_smoothing_factor": 0.1})["label_smoothing_factor"] == 0.1
    both = {"optim": "sgd", "optim_args": {"momentum": 0.9, "nesterov": True, "foreach": True}}
    assert told(both)["optim_args"] == "momentum=0.9,nesterov=True"
    assert "optim_args" not in told({"optim_args": {"amsgrad": True}})
    half = told({"fp16": True}, precision="fp16_autocast")
    assert not half["fp16"] and not half["bf16"]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"neftune_noise_alpha": 5}, "NEFTune"),
        ({"quantization": {"load_in_4bit": True}}, "bfloat16"),
        ({"lora": {"use_dora": True}}, "magnitude"),
        ({"lora": None, "optim": "adamw_bnb_8bit"}, "32 bits"),
    ],
)
def test_a_difference_is_told(settings: dict[str, Any], said: str) -> None:
    (difference,) = sft.differences(TrainConfig(**settings))

    assert said in difference
