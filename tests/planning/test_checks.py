"""Checks: each speaks up when it should, and only then."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from planning_facts import MACHINE, split, stats

from luthier.launch import Processes
from luthier.planning.facts import Facts, Lever
from luthier.planning.plan import CHECKS, run_checks

TEXT = {"kind": "text"}
T5 = {"has_encoder": True}
NO_BNB = frozenset[str]()
UNBALANCED = stats(train=split(220, **{"True": 20, "False": 200}), validation=split(100),
                   calibration=split(100), test=split(200))  # fmt: skip
LONG = stats(train=split(100, longest=9000), test=split(200), calibration=split(60))
FEW_LINES = stats(train=split(40, longest=20))

# check, settings that it minds, severity, part of what it says
SPEAKS: list[tuple[str, dict[str, Any], str, str]] = [
    ("vocabulary_smoothing", {"train": {"label_smoothing_factor": 0.1}}, "warning", "0.9999977"),
    (
        "classes_without_labels",
        {"train": {"label_smoothing_factor": 0.1, "label_smoothing_over": "classes"}, "task": TEXT},
        "error",
        "the task is text",
    ),
    (
        "half_products_on_cpu",
        {"train": {"quantization": {"load_in_4bit": True, "bnb_4bit_compute_dtype": "float16"}}},
        "warning",
        "float16 on cpu",
    ),
    ("packing", {"train": {"packing": True}}, "note", "keeps them apart"),
    (
        "packing",
        {"train": {"packing": True, "attn_implementation": "flash_attention_2"}},
        "error",
        "sdpa",
    ),
    (
        "packing_saves_nothing",
        {"train": {"packing": True, "max_seq_length": 50}},
        "warning",
        "Hardly two rows",
    ),
    (
        "packing_saves_nothing",
        {"train": {"packing": True}, "given": {"data": FEW_LINES}},
        "warning",
        "about 1 lines",
    ),
    (
        "group_by_length_with_packing",
        {"train": {"packing": True, "group_by_length": True}},
        "note",
        "no effect",
    ),
    (
        "quantized_full_finetuning",
        {"train": {"lora": None, "quantization": {"load_in_4bit": True}}},
        "error",
        "lora: null",
    ),
    (
        "bitsandbytes_missing",
        {
            "train": {"quantization": {"load_in_8bit": True}, "optim": "lion_8bit"},
            "given": {"installed": NO_BNB},
        },
        "error",
        "train.quantization and train.optim: lion_8bit",
    ),
    ("liger", {"train": {"use_liger_kernel": True}}, "error", "on cpu"),
    (
        "liger",
        {
            "train": {"use_liger_kernel": True},
            "given": {"hardware": replace(MACHINE, device="cuda")},
        },
        "error",
        "luthier[liger]",
    ),
    ("paged_on_cpu", {"train": {"optim": "paged_adamw_32bit"}}, "note", "does not page"),
    (
        "checkpointing_on_cpu",
        {
            "train": {"gradient_checkpointing": True},
            "given": {"hardware": replace(MACHINE, keeps_freed=True)},
        },
        "warning",
        "MALLOC_MMAP_THRESHOLD_=1048576",
    ),
    ("fp16_and_bf16", {"train": {"fp16": True, "bf16": True}}, "error", "train.fp16: false"),
    ("fp16_on_cpu", {"train": {"fp16": True}}, "warning", "65,504"),
    (
        "autocast_with_lora",
        {"train": {"autocast": True}, "given": {"precision": "bf16_autocast"}},
        "warning",
        "only the frozen products in bf16",
    ),
    ("lora_scale", {"train": {"lora": {"r": 64, "lora_alpha": 8}}}, "note", "0.125"),
    ("lora_scale", {"train": {"lora": {"r": 4, "lora_alpha": 64}}}, "warning", "by 16"),
    ("learning_rate", {"train": {"learning_rate": 0.1}}, "warning", "may diverge"),
    ("learning_rate", {"train": {"learning_rate": 1e-6}}, "warning", "hardly anything"),
    (
        "learning_rate",
        {"train": {"lora": None, "learning_rate": 1e-3}},
        "warning",
        "full fine-tuning",
    ),
    (
        "few_training_rows",
        {"given": {"data": stats(train=split(30))}},
        "warning",
        "30 training rows",
    ),
    ("few_training_rows", {"given": {"data": stats(train=split(0))}}, "error", "no rows"),
    (
        "few_evaluation_rows",
        {"given": {"data": stats(train=split(500), test=split(36), calibration=split(9))}},
        "warning",
        "+-10%",
    ),
    (
        "no_test_rows",
        {"given": {"data": stats(train=split(500), calibration=split(99))}},
        "error",
        "no test rows (data.split.test is 0.2)",
    ),
    (
        "no_test_rows",
        {"data": {"split": {"test": 0}}, "given": {"data": None}},
        "error",
        "only `luthier train`",
    ),
    (
        "adapter_without_lora",
        {"train": {"lora": None}, "ship": {"exporters": ["merged", "adapter"]}},
        "error",
        "Set ship.exporters: [merged]",
    ),
    (
        "slice_column",
        {
            "evaluate": {"slice_by": "stile"},
            "given": {"test_columns": frozenset({"style", "input"})},
        },
        "error",
        "'stile'. The evaluation would stop after training. Did you mean 'style'? Columns: input,",
    ),
    (
        "metrics_of_other_tasks",
        {"evaluate": {"metrics": ["chrf", "rouge_l"]}},
        "error",
        "Set evaluate.metrics: null, or some of accuracy, auroc, macro_f1.",
    ),
    (
        "no_validation_rows",
        {"train": {"early_stopping_patience": 2}, "given": {"data": stats(train=split(9))}},
        "error",
        "when to stop",
    ),
    (
        "no_validation_rows",
        {"data": {"split": {"validation": 0}}, "given": {"data": None}},
        "note",
        "the last checkpoint is kept",
    ),
    (
        "metric_for_best_model",
        {"train": {"metric_for_best_model": "accuracy"}, "task": TEXT},
        "error",
        "accuracy",
    ),
    (
        "warmup",
        {"train": {"warmup_steps": 500}, "given": {"warmup_steps": 500}},
        "error",
        "500 warmup steps in a run of 300",
    ),
    (
        "warmup",
        {"train": {"warmup_ratio": 0.1, "lr_scheduler_type": "constant"}},
        "warning",
        "no effect",
    ),
    (
        "shared_into_named_split",
        {"data": {"sources": [{"path": "a.csv"}, {"path": "b.csv", "split": "test"}]}},
        "note",
        "b.csv is for test, and data.split.test: 0.2 sends rows of the other sources there too. "
        "Those rows are not trained on, and what is measured is a mixture of both. "
        "To keep them for training, set data.split.test: 0.",
    ),
    (
        "shared_into_named_split",
        {
            "data": {
                "sources": [
                    {"hub": "me/rows"},
                    {"path": "v.csv", "split": "validation"},
                    {"path": "t.csv", "split": "test"},
                ]
            }
        },
        "note",
        "t.csv is for test and v.csv is for validation, and data.split.test: 0.2 and "
        "data.split.validation: 0.1 send rows",
    ),
    ("few_steps", {"given": {"total_steps": 5}}, "warning", "5 optimizer steps of 8 rows"),
    ("few_steps", {"given": {"total_steps": 0}}, "error", "Nothing would be trained"),
    ("context", {"train": {"max_seq_length": 9000}}, "note", "longest row has 60"),
    (
        "context",
        {"train": {"max_seq_length": 9000}, "given": {"data": LONG}},
        "error",
        "8,192 positions",
    ),
    (
        "label_prefixes",
        {"given": {"label_ids": {"green": (1,), "green card": (1, 2)}}},
        "note",
        "'green' is the beginning of 'green card'",
    ),
    (
        "label_prefixes",
        {"given": {"label_ids": {"a": (1,), "b": (1,)}}},
        "error",
        "the same tokens",
    ),
    ("class_imbalance", {"given": {"data": UNBALANCED}}, "warning", "91%"),
    ("pad_is_eos", {"given": {"pad_id": 2}}, "note", "masks by position"),
    (
        "memory",
        {"given": {"available_bytes": 10**9, "levers": (Lever("train.x: 1", 9 * 10**8),)}},
        "error",
        "Set train.x: 1: 900.0 MB, which fits.",
    ),
    (
        "memory",
        {"given": {"available_bytes": 10**9, "levers": (Lever("train.x: 1", 2 * 10**9),)}},
        "error",
        "not enough alone",
    ),
    (
        "trl_gaps",
        {"train": {"engine": "trl", "optim": "sgd_bnb_8bit", "auto_find_batch_size": True}},
        "error",
        "sgd_bnb_8bit, train.auto_find_batch_size: true, precision frozen_bf16.",
    ),
    ("trl_differences", {"train": {"engine": "trl"}}, "note", "cannot resume"),
    (
        "deepspeed",
        {"train": {"deepspeed": {"zero_optimization": {"stage": 2}}}},
        "error",
        "not installed",
    ),
    (
        "deepspeed",
        {
            "train": {"deepspeed": {"zero_optimization": {"stage": 2}}},
            "given": {"installed": frozenset({"deepspeed"})},
        },
        "warning",
        "nobody to share",
    ),
    ("fsdp", {"train": {"fsdp": True}}, "warning", "nobody to share"),
    (
        "fsdp",
        {"train": {"fsdp": True, "optim": "adafactor"}, "given": {"processes": Processes(2, 2)}},
        "error",
        "train.optim: adafactor",
    ),
    (
        "fsdp",
        {"train": {"fsdp": True, "swa_start": 0.5}, "given": {"processes": Processes(2, 2)}},
        "error",
        "train.swa_start",
    ),
    (
        "idle_gpus",
        {"given": {"hardware": replace(MACHINE, device="cuda", devices=4)}},
        "note",
        "--nproc 4",
    ),
    (
        "processes",
        {"given": {"processes": Processes(99, 99)}},
        "warning",
        "wait for each other",
    ),
    (
        "processes",
        {"train": {"engine": "trl"}, "given": {"processes": Processes(2, 2)}},
        "error",
        "engine: luthier",
    ),
    (
        "encoder_decoder",
        {"train": {"packing": True, "engine": "trl"}, "given": T5},
        "error",
        "Leave out train.packing, train.engine: trl,",
    ),
    ("encoder_decoder", {"train": {"train_on": "assistant"}, "given": T5}, "error", "last answer"),
    ("encoder_decoder", {"train": {"neftune_noise_alpha": 5}, "given": T5}, "error", "one line"),
    ("encoder_decoder", {"train": {"fsdp": True}, "given": T5}, "error", "two stacks"),
    ("encoder_decoder", {"task": TEXT, "given": T5}, "error", "task.kind: text"),
    ("encoder_decoder", {"train": {"fp16": True}, "given": T5}, "warning", "bfloat16"),
    ("encoder_decoder", {"task": {"kind": "chat"}, "given": T5}, "note", "who wrote which"),
]


def facts_of(make_facts: Callable[..., Facts], settings: dict[str, Any]) -> Facts:
    rest = {name: value for name, value in settings.items() if name != "given"}
    return make_facts(**rest) if "given" not in settings else replace(
        make_facts(**rest), **settings["given"]
    )  # fmt: skip


@pytest.mark.parametrize(("name", "settings", "severity", "said"), SPEAKS)
def test_check_speaks(
    make_facts: Callable[..., Facts],
    name: str,
    settings: dict[str, Any],
    severity: str,
    said: str,
) -> None:
    finding = CHECKS.load(name).check(facts_of(make_facts, settings))

    assert finding is not None
    assert (finding.check, finding.severity) == (name, severity)
    assert said in f"{finding.what} {finding.why} {finding.fix}"


def test_a_sound_plan_has_no_findings(make_facts: Callable[..., Facts]) -> None:
    assert run_checks(make_facts()) == []


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("vocabulary_smoothing", {"train": {"label_smoothing_factor": 0.1}, "task": TEXT}),
        ("paged_on_cpu", {"train": {"optim": "paged_adamw_8bit"},
                          "hardware": replace(MACHINE, device="cuda")}),
        ("autocast_with_lora", {"train": {"lora": None}, "precision": "bf16_autocast"}),
        ("learning_rate", {"train": {"learning_rate": 0.05}, "total_parameters": 50_000}),
        ("learning_rate", {"train": {"learning_rate": 0.05, "optim": "sgd"}}),
        ("checkpointing_on_cpu", {"train": {"gradient_checkpointing": True}}),
        ("few_training_rows", {"data": None, "train_rows": None}),
        ("few_steps", {"total_steps": 0, "train_rows": None}),
        ("lora_scale", {"train": {"lora": {"r": 64, "lora_alpha": 8, "use_rslora": True}}}),
        ("shared_into_named_split",
         {"data": {"sources": [{"path": "a.csv", "split": "train"},
                               {"path": "b.csv", "split": "test"}]}}),
        ("shared_into_named_split",
         {"data": {"sources": [{"path": "a.csv"}, {"path": "b.csv", "split": "test"}],
                   "split": {"test": 0}}}),
        ("no_validation_rows",
         {"data": {"sources": [{"path": "v.csv", "split": "validation"}],
                   "split": {"validation": 0}}}),
        ("no_test_rows",
         {"data": {"sources": [{"path": "a.csv"}, {"path": "t.csv", "split": "test"}],
                   "split": {"test": 0}}}),
        ("adapter_without_lora", {"train": {"lora": None}}),
        ("encoder_decoder", {"has_encoder": True}),
        ("encoder_decoder", {"train": {"packing": True, "engine": "trl"}}),
        ("slice_column", {"evaluate": {"slice_by": "stile"}}),
        ("slice_column", {"evaluate": {"slice_by": "style"},
                          "test_columns": frozenset({"style"})}),
        ("metrics_of_other_tasks", {"evaluate": {"metrics": ["chrf", "accuracy"]}}),
    ],
)  # fmt: skip
def test_check_is_silent(
    make_facts: Callable[..., Facts], name: str, changes: dict[str, Any]
) -> None:
    sections = ("train", "task", "evaluate")
    given = {k: v for k, v in changes.items() if k not in sections}
    rest = {k: v for k, v in changes.items() if k in sections}
    if isinstance(given.get("data"), dict):
        rest["data"] = given.pop("data")
        given["data"] = None

    assert CHECKS.load(name).check(replace(make_facts(**rest), **given)) is None


def test_errors_come_first(make_facts: Callable[..., Facts]) -> None:
    facts = make_facts(
        train={"packing": True, "fp16": True, "bf16": True, "label_smoothing_factor": 0.1}
    )
    severities = [finding.severity for finding in run_checks(facts)]

    assert severities == sorted(severities, key=["error", "warning", "note"].index)
    assert len(set(severities)) == 3


@pytest.mark.parametrize("name", CHECKS.names())
def test_every_check_is_documented_and_tested(name: str) -> None:
    explained = CHECKS.load(name).check.__doc__ or ""

    assert re.search(r"What:.*Why:.*Fix:", explained, re.DOTALL), name
    assert CHECKS.describe(name).endswith(".")
    assert name in {case[0] for case in SPEAKS}
