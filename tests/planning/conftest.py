"""Fixtures of the planning tests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from planning_facts import MACHINE, split, stats

from luthier.planning.facts import Facts
from luthier.recipe import Recipe


@pytest.fixture
def make_facts() -> Callable[..., Facts]:
    """Facts of a sound plan; sections of the recipe and attributes of Facts on top."""

    def make(
        train: dict[str, Any] | None = None,
        task: dict[str, Any] | None = None,
        data: dict[str, Any] | None = None,
        evaluate: dict[str, Any] | None = None,
        ship: dict[str, Any] | None = None,
        **changes: Any,
    ) -> Facts:
        recipe = Recipe.model_validate(
            {
                "name": "facts",
                "model": "tiny",
                "task": task or {"kind": "classification", "labels": ["True", "False"]},
                "data": {"sources": [{"path": "rows.csv"}], **(data or {})},
                "train": train or {},
                "evaluate": evaluate or {},
                "ship": ship or {},
            }
        )
        facts = Facts(
            recipe=recipe,
            hardware=MACHINE,
            precision="frozen_bf16",
            total_steps=300,
            warmup_steps=0,
            train_rows=1000,
            vocabulary=49_152,
            context=8192,
            total_parameters=134_515_008,
            trainable_parameters=4_884_480,
            total_bytes=2_000_000_000,
            available_bytes=20_000_000_000,
            data=stats(
                train=split(1000, **{"True": 500, "False": 500}),
                validation=split(100),
                calibration=split(100),
                test=split(200),
            ),
            label_ids={"True": (5,), "False": (6,)},
            pad_id=0,
            eos_id=2,
            installed=frozenset({"bitsandbytes"}),
        )
        return replace(facts, **changes)

    return make
