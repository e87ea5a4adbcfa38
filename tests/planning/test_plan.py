"""The planning job: what it decides, what it finds, and what it says when it cannot know."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from planning_facts import MACHINE, give_data

from luthier import model as models
from luthier.artifacts import Plan, load_examples
from luthier.chat import Renderer
from luthier.errors import ModelError
from luthier.planning import plan as planning
from luthier.planning import rows as rows_of
from luthier.training import batches
from luthier.training.config import TrainConfig


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """The same machine for all tests; call it to change the machine."""

    def set_machine(**changes: Any) -> None:
        monkeypatch.setattr(planning, "describe", lambda where: replace(MACHINE, **changes))

    set_machine()
    return set_machine


def checks(plan: Plan, severity: str | None = None) -> list[str]:
    return [f.check for f in plan.findings if severity in (None, f.severity)]


def decided(plan: Plan) -> dict[str, Any]:
    return {d.key: d.value for d in plan.decisions}


def test_plan_over_data(make_run: Callable[..., Any]) -> None:
    run = make_run(train={"per_device_train_batch_size": 4, "num_train_epochs": 2})
    give_data(run, rows=42)
    run.folder("plan")

    plan = planning.plan(run)

    assert Plan.load(run) == plan
    assert (plan.train_rows, plan.batches_per_epoch, plan.total_steps) == (42, 11, 22)
    assert plan.precision == "float32"
    assert plan.fits and plan.total_bytes == sum(part.bytes for part in plan.memory)
    assert plan.trainable_parameters < plan.total_parameters
    assert decided(plan)["eval_steps"] == decided(plan)["save_steps"] == 11
    assert plan.seconds is not None and plan.seconds > 0
    assert [step for step, _ in plan.schedule] == list(range(22))
    assert "few_training_rows" in checks(plan, "warning")


def why(plan: Plan, key: str) -> str:
    return next(d.why for d in plan.decisions if d.key == key)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"neftune_noise_alpha": 5, "lora": {"r": 4, "lora_dropout": 0.1}},
        {"gradient_checkpointing": True, "group_by_length": True},
    ],
    ids=str,
)
def test_tokens_are_computed_as_training_will(
    make_run: Callable[..., Any], settings: dict[str, Any]
) -> None:
    run = make_run(train=settings)
    give_data(run, rows=42)
    renderer = Renderer(models.open_tokenizer(run.recipe.model))
    items = batches.prepare(load_examples(run, "train"), renderer)
    prefixes = batches.shared_prefixes(items, 8)
    real = [
        batches.collate(plan, items, pad_id=0, prefixes=prefixes)
        for plan in batches.plan_epoch(items, run.recipe.train, seed=1, epoch=0, prefixes=prefixes)
    ]

    plan = planning.plan(run)

    assert decided(plan)["shared_prefix_tokens"] == prefixes.lengths[0] > 8
    assert "once per batch" in why(plan, "shared_prefix_tokens")
    assert decided(plan)["computed_tokens"] == sum(batch.computed_tokens for batch in real)
    assert f"{plan.tokens_per_epoch:,} tokens" in why(plan, "computed_tokens")


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"train_on": "all"}, "trained too"),
        ({"attn_implementation": "eager"}, "padded: attn_implementation: eager"),
    ],
    ids=str,
)
def test_what_keeps_prompts_from_being_shared(
    make_run: Callable[..., Any], settings: dict[str, Any], reason: str
) -> None:
    run = make_run(train=settings)
    give_data(run, rows=42)

    plan = planning.plan(run)

    assert decided(plan)["shared_prefix_tokens"] == 0
    assert reason in why(plan, "shared_prefix_tokens")
    if "padded" in reason:
        assert decided(plan)["computed_tokens"] > plan.tokens_per_epoch
    else:
        assert decided(plan)["computed_tokens"] == plan.tokens_per_epoch


def test_prompts_of_several_kinds_are_shared_kind_by_kind(make_run: Callable[..., Any]) -> None:
    run = make_run()
    give_data(run, rows=48, instructions=[f"Task {i}: " + f"{i * 37} is the code. " * 9
                                          for i in range(3)])  # fmt: skip

    plan = planning.plan(run)

    assert "3 kinds of prompts" in why(plan, "shared_prefix_tokens")
    assert decided(plan)["computed_tokens"] < plan.tokens_per_epoch / 2


def test_memory_that_hardly_suffices_is_a_warning(
    make_run: Callable[..., Any], machine: Callable[..., None]
) -> None:
    settings = {"max_seq_length": 512, "per_device_train_batch_size": 32}
    machine(keeps_freed=True)
    needed = planning.plan(make_run(train=settings)).total_bytes
    machine(memory_available=needed, keeps_freed=True)

    plan = planning.plan(make_run(train=settings))

    assert plan.fits and plan.total_bytes == needed
    (finding,) = (f for f in plan.findings if f.check == "memory")
    assert finding.severity == "warning"
    assert "given back when memory runs short" in finding.why


def test_plan_without_data_takes_the_longest_rows(make_run: Callable[..., Any]) -> None:
    run = make_run(train={"max_seq_length": 256})
    shorter = make_run(["train.max_seq_length=64"])

    plan = planning.plan(run)

    (decision,) = (d for d in plan.decisions if d.key == "rows")
    assert "the data is not built yet" in decision.why
    unknown = {"rows", "eval_steps", "save_steps", "shared_prefix_tokens"}
    assert {key for key, value in decided(plan).items() if value is None} == unknown
    assert (plan.train_rows, plan.total_steps, plan.seconds, plan.schedule) == (0, 0, None, [])
    assert plan.total_bytes > planning.plan(shorter).total_bytes
    assert checks(plan, "error") == []
    fixed = planning.plan(make_run(["train.max_steps=30"]))
    assert fixed.total_steps == len(fixed.schedule) == 30


def test_too_little_memory_is_an_error_that_names_the_best_change(
    make_run: Callable[..., Any], machine: Callable[..., None]
) -> None:
    run = make_run(train={"max_seq_length": 512, "per_device_train_batch_size": 32})
    needed = planning.plan(run).total_bytes
    machine(memory_available=round(needed * 0.8))

    plan = planning.plan(run)

    assert not plan.fits
    (finding,) = (f for f in plan.findings if f.check == "memory")
    assert finding.severity == "error"
    assert "which fits" in finding.fix
    assert finding.fix.startswith(("Set train.per_device", "Set train.gradient_checkpointing"))


def test_the_batch_is_halved_when_that_is_asked_for(
    make_run: Callable[..., Any], machine: Callable[..., None]
) -> None:
    settings = {"max_seq_length": 512, "per_device_train_batch_size": 32}
    needed = planning.plan(make_run(train=settings)).total_bytes
    machine(memory_available=round(needed * 0.9))

    plan = planning.plan(make_run(train={**settings, "auto_find_batch_size": True}))

    assert plan.fits
    assert "memory" not in checks(plan)
    size = decided(plan)["per_device_train_batch_size"]
    assert size < 32 and size * decided(plan)["gradient_accumulation_steps"] == 32


@pytest.mark.parametrize("room", [0.7, 0.5])
def test_rows_that_fit_at_a_time_change_no_step(
    make_run: Callable[..., Any], machine: Callable[..., None], room: float
) -> None:
    settings = {"per_device_train_batch_size": 5, "max_seq_length": 512, "train_on": "all"}
    run = make_run(train=settings)
    give_data(run, rows=42, text="Is this row number {} long? " * 12)
    whole = planning.plan(run)
    parts = {part.part: part.bytes for part in whole.memory}
    moving = sum(parts.get(name, 0) for name in ("activations", "logits", "temporaries"))
    machine(memory_available=whole.total_bytes - round((1 - room) * moving))

    run = make_run(["train.auto_find_batch_size=true"], train=settings)
    give_data(run, rows=42, text="Is this row number {} long? " * 12)
    plan = planning.plan(run)

    assert plan.fits
    size, pieces = (3, 2) if room == 0.7 else (2, 4)
    assert decided(plan)["per_device_train_batch_size"] == size
    assert decided(plan)["gradient_accumulation_steps"] == pieces
    assert whole.batches_per_epoch == 9 and plan.batches_per_epoch == 9 * pieces
    assert (plan.total_steps, plan.schedule) == (whole.total_steps, whole.schedule)
    # Training starts from there (tests/training/test_ladder.py).
    assert plan.decided("per_device_train_batch_size") == size
    assert whole.decided("per_device_train_batch_size") is None


def test_gradient_checkpointing_is_the_last_resort(
    make_run: Callable[..., Any], machine: Callable[..., None]
) -> None:
    settings = {"max_seq_length": 4096, "per_device_train_batch_size": 2, "train_on": "all"}
    single = {**settings, "per_device_train_batch_size": 1, "gradient_accumulation_steps": 2}
    machine(device="cuda")
    least = planning.plan(make_run(train={**single, "gradient_checkpointing": True})).total_bytes
    assert least < planning.plan(make_run(train=single)).total_bytes
    machine(device="cuda", memory_available=least)

    plan = planning.plan(make_run(train={**settings, "auto_find_batch_size": True}))

    assert plan.fits and plan.total_bytes == least
    assert decided(plan)["per_device_train_batch_size"] == 1
    assert decided(plan)["gradient_checkpointing"] is True
    machine(device="cuda", memory_available=least - 1)
    plan = planning.plan(make_run(train={**settings, "auto_find_batch_size": True}))
    assert "memory" in checks(plan, "error")


def test_paged_state_need_not_fit_on_the_gpu(
    make_run: Callable[..., Any], machine: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("luthier.planning.optimizer_state._SMALLEST_PAGED", 1)
    run = make_run(train={"lora": None, "optim": "paged_adamw_32bit"})
    machine(device="cuda")
    whole = planning.plan(run)
    state = next(part.bytes for part in whole.memory if part.part == "optimizer")
    machine(device="cuda", memory_available=whole.total_bytes - state // 2)

    assert planning.plan(run).fits


def test_llama2_7b_is_planned_without_its_hub(
    make_run: Callable[..., Any], machine: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*args: Any) -> Any:
        raise ModelError("the hub does not answer")

    monkeypatch.setattr(models, "open_config", unreachable)
    monkeypatch.setattr("luthier.tokenizer.open_tokenizer", unreachable)
    machine(device="cuda", device_name="T4", memory_available=15_500_000_000, bf16=False)
    run = make_run(
        model="llama2-7b",
        train={
            "optim": "paged_adamw_32bit", "learning_rate": 3e-4, "max_seq_length": 128,
            "gradient_checkpointing": True,
            "gradient_accumulation_steps": 4, "bf16": True, "label_smoothing_factor": 0.1,
            "lora": {"r": 64, "lora_alpha": 8, "lora_dropout": 0.1},
            "quantization": {"load_in_4bit": True, "bnb_4bit_compute_dtype": "float16"},
        },
    )  # fmt: skip

    plan = planning.plan(run)

    assert plan.total_parameters == 6_738_415_616
    assert plan.fits and 6e9 < plan.total_bytes < 10e9
    assert "published configuration" in next(d.why for d in plan.decisions if d.key == "model")
    assert "cannot be fetched" in next(d.why for d in plan.decisions if d.key == "rows")
    assert set(checks(plan)) == {"lora_scale", "vocabulary_smoothing"}


def test_packing_counts_lines_instead_of_rows(make_run: Callable[..., Any]) -> None:
    run = make_run(train={"packing": True, "max_seq_length": 512})
    give_data(run, rows=400)
    plan = planning.plan(run)
    examples = load_examples(run, "train")
    tokenizer = models.open_tokenizer(run.recipe.model)
    items = batches.prepare(examples, Renderer(tokenizer))
    real = batches.plan_epoch(items, run.recipe.train, seed=1, epoch=0)

    rows = rows_of.look_at(run, Renderer(tokenizer))
    exact = replace(rows, tokens=sum(len(item.ids) for item in items))
    assert rows_of.count_batches(exact, run.recipe.train) == pytest.approx(len(real), abs=1)
    assert decided(plan)["packing"] == "estimated"
    assert plan.batches_per_epoch < 400 / 8


def test_a_long_schedule_is_drawn_with_few_points() -> None:
    train = TrainConfig(warmup_ratio=0.1, learning_rate=1e-3)
    points = planning.draw_schedule(train, 12_345)

    assert len(points) == planning.MAX_POINTS
    assert [points[0][0], points[-1][0]] == [0, 12_344]
    assert max(rate for _, rate in points) == pytest.approx(1e-3, rel=0.01)
