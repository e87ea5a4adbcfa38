"""The planning job: `plan(run)` says what will happen, what it takes, and what is wrong with it.

Nothing is trained and no weight is fetched. Where the data stage has not run, rows are taken to
be as long as `max_seq_length`, and the plan says so.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from luthier import schedules
from luthier.artifacts import Decision, Finding, Plan
from luthier.chat import Renderer
from luthier.errors import ModelError
from luthier.example import Message
from luthier.hardware import Hardware, Precision, choose_precision, describe
from luthier.launch import ALONE, Processes
from luthier.planning import memory, throughput
from luthier.planning import rows as rows_of
from luthier.planning.facts import Facts, Lever
from luthier.planning.memory import Footprint
from luthier.planning.rows import Rows
from luthier.planning.shapes import StepShape
from luthier.planning.sharing import shared_out
from luthier.prefixes import Prefixes
from luthier.recipe import Recipe
from luthier.registry import Registry
from luthier.run import RUNS, Run
from luthier.training.config import LoraSection, QuantizationSection, TrainConfig

CHECKS = Registry("check", "luthier.planning.checks")
MAX_POINTS = 500
_SEVERITIES = ("error", "warning", "note")
_OPTIONAL = ("bitsandbytes", "deepspeed", "liger_kernel")
_NO_ROWS = "not known without the rows"
_WHY = "the encoder reads the prompt, the decoder learns to say the answer"


def plan(run: Run, *, runs: Path = RUNS, processes: Processes = ALONE) -> Plan:
    """Plan what the recipe of `run` asks for, and save it.

    Errors are findings, not exceptions: whoever calls decides what a finding stops.

    Args:
        run: a run; its data stage may or may not be done.
        runs: where `model: run:NAME` is looked up.
        processes: those that are going to train together.

    Raises:
        LuthierError: the recipe's model cannot be found, or a setting cannot be understood.
    """
    recipe = run.recipe
    hardware = describe(run.path)
    config, remark = memory.open_config(recipe.model, runs)
    has_encoder = config.is_encoder_decoder
    precision, why = choose_precision(recipe.train, hardware, has_encoder=has_encoder)
    renderer = _renderer(recipe, runs)
    rows, decisions = _look_at_rows(run, recipe.train, renderer)
    padded = memory.why_padded(config, recipe.train)
    situation = _Situation(recipe, config, rows, hardware, precision, padded, processes)
    train, footprint, batch_decisions = situation.settle_batch()
    decisions = [
        Decision(key="device", value=hardware.device, why=hardware.device_name),
        Decision(key="precision", value=precision, why=why),
        *([Decision(key="model", value=recipe.model.name, why=remark)] if remark else []),
        *([Decision(key="architecture", value="encoder-decoder", why=_WHY)] if has_encoder else []),
        *decisions,
        *batch_decisions,
    ]
    # Micro-batches run in pieces are as many steps as whole ones.
    pieces = train.gradient_accumulation_steps // recipe.train.gradient_accumulation_steps
    batches = rows_of.count_batches(rows, recipe.train) * pieces
    # An optimizer step takes the micro-batches of all processes.
    paced = train.model_copy(
        update={"gradient_accumulation_steps": train.gradient_accumulation_steps * processes.size}
    )
    total_steps = schedules.count_steps(batches if rows.stats else 1, paced)
    if rows.stats is None and train.max_steps < 1:
        total_steps = 0
    decisions += [*_rhythm(paced, batches), *situation.sharing(train)]
    available = situation.available
    fits = footprint.total - footprint.pageable <= available
    levers = () if fits else situation.levers(train)
    facts = situation.facts(train, footprint, renderer, total_steps, levers)
    if recipe.evaluate.slice_by is not None:
        facts = replace(facts, test_columns=rows_of.columns(run, "test"))
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
        seconds=situation.seconds(paced, footprint, batches, total_steps),
        schedule=draw_schedule(train, total_steps),
        processes=processes.size,
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
    missing = "the data is not built yet" if renderer else "the tokenizer cannot be fetched now"
    why = f"{missing}; every row is taken to have max_seq_length tokens"
    decision = Decision(key="rows", value=None, why=why)
    return rows_of.without_data(train), [decision]


def _rhythm(train: TrainConfig, batches: int) -> list[Decision]:
    """How often to validate and to save, where the recipe leaves it open."""
    # Without rows an epoch has no number of steps.
    per_epoch = schedules.steps_per_epoch(batches, train) or None
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
    padded: str
    """Why rows are padded; empty: they are laid end to end."""
    processes: Processes = ALONE

    @property
    def available(self) -> int:
        """Bytes that one process may take; those on one CPU share its memory."""
        shared = self.processes.here if self.hardware.device == "cpu" else 1
        return self.hardware.memory_available // shared

    @cached_property
    def prefixes(self) -> Prefixes | None:
        """What prompts share, as training will find it; None where lines are padded."""
        # Smaller micro-batches are pieces of the recipe's, and their groups are those of it.
        size = self.recipe.train.per_device_train_batch_size
        return None if self.padded else self.rows.prefixes(size)

    @property
    def has_encoder(self) -> bool:
        """Whether the model is an encoder-decoder."""
        return bool(self.config.is_encoder_decoder)

    def largest_batch(self, train: TrainConfig) -> StepShape:
        """The micro-batch that takes the most memory."""
        if self.has_encoder:
            return rows_of.largest_pairs(self.rows, train)
        return rows_of.largest_batch(self.rows, train, self.prefixes)

    def sharing(self, train: TrainConfig) -> list[Decision]:
        """What is run once per batch, and how many tokens are computed for how many in the rows."""
        if self.rows.stats is None:
            return [Decision(key="shared_prefix_tokens", value=None, why=_NO_ROWS)]
        prefixes = self.prefixes
        lengths = sorted(prefixes.lengths) if prefixes else []
        value = lengths[len(lengths) // 2] if lengths else 0
        why = "tokens that all prompts start with; run once per batch"
        if prefixes is None:
            why = f"rows are padded: {self.padded}"
        elif not any(lengths):
            why = "the prompts share no long beginning"
            why = "the prompt is trained too" if train.train_on == "all" else why
        elif len(lengths) > 1:
            why = f"median of {len(lengths):,} kinds of prompts; each run once per batch"
        computed = rows_of.computed_tokens(self.rows, train, prefixes)
        share = computed / max(self.rows.tokens, 1)
        return [
            Decision(key="shared_prefix_tokens", value=value, why=why),
            Decision(
                key="computed_tokens",
                value=computed,
                why=f"{share:.0%} of the {self.rows.tokens:,} tokens in the rows, each epoch",
            ),
        ]

    def footprint(self, train: TrainConfig) -> Footprint:
        """Peak memory with these settings."""
        shape, precision = self.largest_batch(train), self.precision
        if train.lora is not self.recipe.train.lora:
            precision = choose_precision(train, self.hardware, has_encoder=self.has_encoder)[0]
        whole = memory.estimate(
            self.config,
            train,
            shape,
            precision=precision,
            device=self.hardware.device,
            keeps_freed=self.hardware.keeps_freed,
        )
        return shared_out(
            whole,
            self.config,
            train,
            processes=self.processes.size,
            device=self.hardware.device,
        )

    def settle_batch(self) -> tuple[TrainConfig, Footprint, list[Decision]]:
        """The recipe's batch, or with `auto_find_batch_size` as much at a time as fits.

        Training goes down the same ladder (training/memory.py) and starts from what is decided
        here, so the steps and their rows are the recipe's either way.
        """
        train = self.recipe.train
        footprint = self.footprint(train)
        while (
            train.auto_find_batch_size
            and footprint.total - footprint.pageable > self.available
            and (smaller := _one_rung_down(train)) is not None
        ):
            try:
                train, footprint = smaller, self.footprint(smaller)
            except ModelError:  # an architecture without gradient checkpointing
                break
        whys = {
            "per_device_train_batch_size": "the largest that fits; accumulation makes up for it",
            "gradient_accumulation_steps": "the same rows in each optimizer step",
            "gradient_checkpointing": "without it, a row at a time takes more than is free",
        }
        decisions = [
            Decision(key=key, value=getattr(train, key), why=why)
            for key, why in whys.items()
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
            available_bytes=self.available,
            has_encoder=self.has_encoder,
            kept_bytes=footprint.kept,
            data=self.rows.stats,
            levers=tuple(levers),
            label_ids=_label_ids(self.recipe.labels, renderer),
            pad_id=pad if isinstance(pad, int) else None,
            eos_id=eos if isinstance(eos, int) else None,
            installed=frozenset(p for p in _OPTIONAL if importlib.util.find_spec(p)),
            processes=self.processes,
        )

    def seconds(
        self, train: TrainConfig, footprint: Footprint, batches: int, total_steps: int
    ) -> float | None:
        """Estimated time of training; None where there are no rows or no steps."""
        if not batches or not total_steps:
            return None
        text = self.config.get_text_config()
        largest = self.largest_batch(train)
        typical = rows_of.computed_tokens(self.rows, train, self.prefixes) / batches
        embeddings = text.vocab_size * text.hidden_size * (1 if text.tie_word_embeddings else 2)
        inner = getattr(text, "intermediate_size", None) or 4 * text.hidden_size
        body = max(footprint.total_parameters - embeddings, 0)
        if self.has_encoder:
            body //= 2  # a token goes through the encoder or the decoder, about half of it each
        speed = throughput.measure(
            text.hidden_size, inner, precision=self.precision, device=self.hardware.device
        )
        operations = throughput.batch_operations(
            train,
            tokens=typical,
            trained=self.rows.trained / batches,
            body=body,
            trainable=footprint.trainable_parameters,
            vocabulary=text.vocab_size,
            hidden=text.hidden_size,
        )
        written = footprint.written * typical / largest.tokens
        once = throughput.batch_seconds(operations, written, footprint.calls, speed)
        epochs = total_steps / schedules.steps_per_epoch(batches, train)
        # Processes on one CPU share the cores that were measured; GPUs work side by side.
        shared = self.processes.here if self.hardware.device == "cpu" else 1
        computing = once * batches * epochs / self.processes.size
        stepping = throughput.optimizer_seconds(footprint.trainable_parameters, speed)
        return round((computing + stepping * total_steps) * shared, 3)


def _one_rung_down(train: TrainConfig) -> TrainConfig | None:
    """The next setting that takes less memory and changes no gradient; None at the bottom."""
    size = train.per_device_train_batch_size
    if size > 1:
        accumulation = 2 * train.gradient_accumulation_steps
        update = {
            "per_device_train_batch_size": -(-size // 2),
            "gradient_accumulation_steps": accumulation,
        }
    elif not train.gradient_checkpointing:
        update = {"gradient_checkpointing": True}
    else:
        return None
    return train.model_copy(update=update)


def _is_4bit(train: TrainConfig) -> bool:
    return train.quantization is not None and train.quantization.load_in_4bit


def _label_ids(labels: Sequence[str], renderer: Renderer | None) -> dict[str, tuple[int, ...]]:
    """Tokens of each label as an answer."""
    if renderer is None:
        return {}
    asked = (Message("user", "Input"),)
    return {label: tuple(renderer.completion(asked, label)) for label in labels}
