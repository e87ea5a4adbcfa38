"""The planning job: `plan(run)` says what will happen, what it takes, and what is wrong with it.

Nothing is trained and no weight is fetched. Where the data stage has not run, rows are taken to
be as long as `max_seq_length`, and the plan says so.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from luthier import schedules
from luthier.artifacts import Decision, Finding, Plan
from luthier.chat import Renderer
from luthier.errors import ModelError
from luthier.example import Message
from luthier.hardware import Hardware, Precision, choose_precision, describe
from luthier.planning import memory, throughput
from luthier.planning import rows as rows_of
from luthier.planning.facts import Facts, Lever
from luthier.planning.memory import Footprint
from luthier.planning.rows import Rows
from luthier.recipe import Recipe
from luthier.registry import Registry
from luthier.run import RUNS, Run
from luthier.training.config import LoraSection, QuantizationSection, TrainConfig

CHECKS = Registry("check", "luthier.planning.checks")
MAX_POINTS = 500
_SEVERITIES = ("error", "warning", "note")
_OPTIONAL = ("bitsandbytes",)


def plan(run: Run, *, runs: Path = RUNS) -> Plan:
    """Plan what the recipe of `run` asks for, and save it.

    Errors are findings, not exceptions: whoever calls decides what a finding stops.

    Args:
        run: a run; its data stage may or may not be done.
        runs: where `model: run:NAME` is looked up.

    Raises:
        LuthierError: the recipe's model cannot be found, or a setting cannot be understood.
    """
    recipe = run.recipe
    hardware = describe(run.path)
    precision, why = choose_precision(recipe.train, hardware)
    config, remark = memory.open_config(recipe.model, runs)
    renderer = _renderer(recipe, runs)
    rows, decisions = _look_at_rows(run, recipe.train, renderer)
    situation = _Situation(recipe, config, rows, hardware, precision)
    train, footprint, batch_decisions = situation.settle_batch()
    decisions = [
        Decision(key="device", value=hardware.device, why=hardware.device_name),
        Decision(key="precision", value=precision, why=why),
        *([Decision(key="model", value=recipe.model.name, why=remark)] if remark else []),
        *decisions,
        *batch_decisions,
    ]
    batches = rows_of.count_batches(rows, train)
    total_steps = schedules.count_steps(batches if rows.stats else 1, train)
    if rows.stats is None and train.max_steps < 1:
        total_steps = 0
    prefix, why_not = situation.prefix(train)
    decisions += _rhythm(train, batches)
    decisions.append(
        Decision(
            key="shared_prefix_tokens",
            value=prefix,
            why=why_not or "tokens that all prompts start with; run once per batch",
        )
    )
    available = hardware.memory_available
    fits = footprint.total - footprint.pageable <= available
    levers = () if fits else situation.levers(train)
    facts = situation.facts(train, footprint, renderer, total_steps, levers)
    result = Plan(
        device=hardware.device,
        precision=precision,
        decisions=decisions,
        findings=run_checks(facts),
        memory=list(footprint.parts),
        total_bytes=footprint.total,
        available_bytes=available,
        fits=fits,
        trainable_parameters=footprint.trainable_parameters,
        total_parameters=footprint.total_parameters,
        train_rows=rows.count,
        batches_per_epoch=batches,
        total_steps=total_steps,
        tokens_per_epoch=rows.tokens,
        seconds=situation.seconds(train, footprint, batches, total_steps),
        schedule=draw_schedule(train, total_steps),
    )
    result.save(run)
    return result


def run_checks(facts: Facts) -> list[Finding]:
    """What all checks have to say, errors first."""
    found = [CHECKS.load(name).check(facts) for name in CHECKS.names()]
    findings = [finding for finding in found if finding is not None]
    return sorted(findings, key=lambda f: _SEVERITIES.index(f.severity))


def draw_schedule(train: TrainConfig, total_steps: int) -> list[tuple[int, float]]:
    """(optimizer step from 0, learning rate), at most `MAX_POINTS`, the last step included."""
    rates = schedules.learning_rates(train, total_steps)
    if len(rates) <= MAX_POINTS:
        return list(enumerate(rates))
    last = len(rates) - 1
    steps = [round(i * last / (MAX_POINTS - 1)) for i in range(MAX_POINTS)]
    return [(step, rates[step]) for step in steps]


# --- what is there -----------------------------------------------------------------------------


def _renderer(recipe: Recipe, runs: Path) -> Renderer | None:
    """The renderer, or None where the tokenizer cannot be had now (the plan does without)."""
    from luthier.tokenizer import open_tokenizer

    try:
        return Renderer(open_tokenizer(recipe.model, runs), recipe.train.train_on)
    except ModelError:
        return None


def _look_at_rows(
    run: Run, train: TrainConfig, renderer: Renderer | None
) -> tuple[Rows, list[Decision]]:
    if renderer is not None and run.is_done("data"):
        rows, decisions = rows_of.look_at(run, renderer), []
        if train.packing:
            why = "packed lines, and so the steps, are estimated here; training counts them"
            decisions.append(Decision(key="packing", value="estimated", why=why))
        return rows, decisions
    missing = "the data stage has not run" if renderer else "the tokenizer cannot be fetched now"
    why = f"{missing}; every row is taken to have max_seq_length tokens"
    decision = Decision(key="rows", value=None, why=why)
    return rows_of.without_data(train), [decision]


def _rhythm(train: TrainConfig, batches: int) -> list[Decision]:
    """How often to validate and to save, where the recipe leaves it open."""
    per_epoch = schedules.steps_per_epoch(batches, train)
    decisions = []
    if train.eval_steps is None:
        decisions.append(Decision(key="eval_steps", value=per_epoch, why="once an epoch"))
    if train.save_steps is None:
        why = "with every validation"
        decisions.append(Decision(key="save_steps", value=train.eval_steps or per_epoch, why=why))
    return decisions


@dataclass(frozen=True)
class _Situation:
    """What does not change while batch sizes and levers are tried."""

    recipe: Recipe
    config: Any
    rows: Rows
    hardware: Hardware
    precision: Precision

    def prefix(self, train: TrainConfig) -> tuple[int, str]:
        """Tokens run once per batch, and why there are none; the conditions are training's."""
        from luthier import model as models

        if train.packing:
            return 0, "packed lines hold several prompts"
        if train.neftune_noise_alpha is not None:
            return 0, "NEFTune draws noise for every row, its prompt included"
        if train.gradient_checkpointing:
            return 0, "checkpointed layers cannot fill a cache"
        if train.train_on == "all":
            return 0, "the prompt is trained too"
        if train.lora is not None and train.lora.lora_dropout > 0:
            return 0, "dropout draws a mask for every row, its prompt included"
        # Only the configuration is looked at; there is no model yet.
        if not models.has_plain_cache(SimpleNamespace(config=self.config)):
            return 0, "the model's cache is not a plain one"
        if self.rows.stats is None:
            return 0, "unknown before the data stage has run"
        return self.rows.prefix, "" if self.rows.prefix else "the prompts share no long beginning"

    def footprint(self, train: TrainConfig) -> Footprint:
        """Peak memory with these settings."""
        shape = rows_of.largest_batch(self.rows, train, self.prefix(train)[0])
        precision = self.precision
        if train.lora is not self.recipe.train.lora:
            precision = choose_precision(train, self.hardware)[0]
        return memory.estimate(
            self.config,
            train,
            shape,
            precision=precision,
            device=self.hardware.device,
            keeps_freed=self.hardware.keeps_freed,
        )

    def settle_batch(self) -> tuple[TrainConfig, Footprint, list[Decision]]:
        """The recipe's batch, or with `auto_find_batch_size` the largest half of it that fits."""
        train = self.recipe.train
        footprint = self.footprint(train)
        while (
            train.auto_find_batch_size
            and footprint.total - footprint.pageable > self.hardware.memory_available
            and train.per_device_train_batch_size > 1
        ):
            train = train.model_copy(
                update={
                    "per_device_train_batch_size": train.per_device_train_batch_size // 2,
                    "gradient_accumulation_steps": train.gradient_accumulation_steps * 2,
                }
            )
            footprint = self.footprint(train)
        why = "the largest that fits; accumulation makes up for it"
        decisions = [
            Decision(key=key, value=getattr(train, key), why=why)
            for key in ("per_device_train_batch_size", "gradient_accumulation_steps")
            if getattr(train, key) != getattr(self.recipe.train, key)
        ]
        return train, footprint, decisions

    def levers(self, train: TrainConfig) -> tuple[Lever, ...]:
        """Single changes that save memory, each estimated like the recipe; the best first."""
        size = train.per_device_train_batch_size * train.gradient_accumulation_steps
        options: list[tuple[bool, str, dict[str, Any]]] = [
            (
                not train.gradient_checkpointing,
                "train.gradient_checkpointing: true",
                {"gradient_checkpointing": True},
            ),
            (
                train.per_device_train_batch_size > 1,
                "train.per_device_train_batch_size: 1 with "
                f"train.gradient_accumulation_steps: {size}",
                {"per_device_train_batch_size": 1, "gradient_accumulation_steps": size},
            ),
            (
                train.lora is None and train.quantization is None,
                "train.lora: {r: 16, lora_alpha: 32}",
                {"lora": LoraSection()},
            ),
            (
                train.lora is None and train.optim.startswith(("adamw_torch", "paged_adamw_32")),
                "train.optim: adamw_bnb_8bit",
                {"optim": "adamw_bnb_8bit"},
            ),
            (
                train.lora is not None and not _is_4bit(train),
                "train.quantization: {load_in_4bit: true}",
                {"quantization": QuantizationSection(load_in_4bit=True)},
            ),
        ]
        tried = [
            Lever(change, self.footprint(train.model_copy(update=update)).total)
            for possible, change, update in options
            if possible
        ]
        return tuple(sorted(tried, key=lambda lever: lever.total_bytes))

    def facts(
        self,
        train: TrainConfig,
        footprint: Footprint,
        renderer: Renderer | None,
        total_steps: int,
        levers: Sequence[Lever],
    ) -> Facts:
        """Everything the checks look at."""
        text = self.config.get_text_config()
        pad, eos = getattr(text, "pad_token_id", None), getattr(text, "eos_token_id", None)
        return Facts(
            recipe=self.recipe,
            hardware=self.hardware,
            precision=self.precision,
            total_steps=total_steps,
            warmup_steps=schedules.warmup_steps(train, total_steps),
            train_rows=self.rows.count if self.rows.stats else None,
            vocabulary=text.vocab_size,
            context=getattr(text, "max_position_embeddings", None),
            total_parameters=footprint.total_parameters,
            trainable_parameters=footprint.trainable_parameters,
            total_bytes=footprint.total - footprint.pageable,
            available_bytes=self.hardware.memory_available,
            data=self.rows.stats,
            levers=tuple(levers),
            label_ids=_label_ids(self.recipe.labels, renderer),
            pad_id=pad if isinstance(pad, int) else None,
            eos_id=eos if isinstance(eos, int) else None,
            installed=frozenset(p for p in _OPTIONAL if importlib.util.find_spec(p)),
        )

    def seconds(
        self, train: TrainConfig, footprint: Footprint, batches: int, total_steps: int
    ) -> float | None:
        """Estimated time of training; None where there are no rows or no steps."""
        if not batches or not total_steps:
            return None
        text = self.config.get_text_config()
        prefix, _ = self.prefix(train)
        largest = rows_of.largest_batch(self.rows, train, prefix)
        width = max(rows_of.typical_width(self.rows, train) - prefix, 1)
        typical = replace(largest, length=max(round(width), 1))
        embeddings = text.vocab_size * text.hidden_size * (1 if text.tie_word_embeddings else 2)
        inner = getattr(text, "intermediate_size", None) or 4 * text.hidden_size
        speed = throughput.measure(
            text.hidden_size, inner, precision=self.precision, device=self.hardware.device
        )
        operations = throughput.batch_operations(
            train,
            typical,
            body=max(footprint.total_parameters - embeddings, 0),
            trainable=footprint.trainable_parameters,
            vocabulary=text.vocab_size,
            hidden=text.hidden_size,
        )
        used = typical.rows * typical.length + prefix
        share = used / (largest.rows * largest.length + prefix)
        once = throughput.batch_seconds(operations, share * footprint.activations, speed)
        epochs = total_steps / schedules.steps_per_epoch(batches, train)
        return round(once * batches * epochs, 3)


def _is_4bit(train: TrainConfig) -> bool:
    return train.quantization is not None and train.quantization.load_in_4bit


def _label_ids(labels: Sequence[str], renderer: Renderer | None) -> dict[str, tuple[int, ...]]:
    """Tokens of each label as an answer."""
    if renderer is None:
        return {}
    asked = (Message("user", "Input"),)
    return {label: tuple(renderer.completion(asked, label)) for label in labels}
