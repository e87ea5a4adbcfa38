"""What each section of the page shows, computed from the artifacts; the templates only lay it out.

Every function returns the variables of one template in `page/`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from luthier.artifacts import DataStats, Plan, TrainSummary
from luthier.console import duration, size
from luthier.example import SPLITS
from luthier.recipe import Recipe
from luthier.reporting import plots
from luthier.reporting.history import History, smooth, tokens_per_second
from luthier.reporting.wording import (
    PRECISIONS,
    compact,
    count,
    last_part,
    metric_name,
    sentence_case,
    share,
    shortened,
)
from luthier.run import STAGES, Run

MAX_EVENTS = 60
_YAML_LINE = re.compile(r"^(\s*(?:- )?)([A-Za-z_][\w.-]*)(:)(?=\s|$)(.*)$")
_YAML_COMMENT = re.compile(r"^([^'\"#]*?)(\s*#.*)$")

View = dict[str, Any]
Pairs = list[tuple[str, str]]


# --- what was asked --------------------------------------------------------------------------


def asked(recipe: Recipe, text: str, overrides: Sequence[str], notes: Sequence[str]) -> View:
    """The recipe's highlights and its text."""
    train, task = recipe.train, recipe.task
    sources = [s.path or s.hub or "" for s in recipe.data.sources]
    length = (
        f"{count(train.max_steps)} optimizer steps"
        if train.max_steps > 0
        else f"{compact(train.num_train_epochs)} epochs"
    )
    batch = f"{train.per_device_train_batch_size} rows"
    if train.gradient_accumulation_steps > 1:
        batch += f" \u00d7 {train.gradient_accumulation_steps} accumulated"
    highlights: Pairs = [("Model", recipe.model.name)]
    highlights.append(("Task", task.kind))
    if recipe.labels:
        highlights.append(("Labels", ", ".join(recipe.labels)))
    if len(recipe.labels) == 2:
        highlights.append(("Positive label", recipe.positive))
    highlights += [
        ("Data", ", ".join(sources)),
        ("Template", ", ".join(recipe.data.templates)),
        ("Update", _update(recipe)),
        ("Optimizer", train.optim),
        ("Learning rate", _learning_rate(recipe)),
        ("Length", length),
        ("Batch", batch),
        ("Seed", str(recipe.seed)),
    ]
    return {
        "highlights": highlights,
        "yaml": yaml_markup(text),
        "overrides": list(overrides),
        "notes": list(notes),
    }


def _update(recipe: Recipe) -> str:
    train = recipe.train
    if train.lora is None:
        text = "full fine-tuning, every weight"
    else:
        text = f"LoRA, rank {train.lora.r}, alpha {compact(train.lora.lora_alpha)}"
        text += f", dropout {compact(train.lora.lora_dropout)}" if train.lora.lora_dropout else ""
        text += ", DoRA" if train.lora.use_dora else ""
        text += ", rank-stabilised" if train.lora.use_rslora else ""
    if train.quantization is not None:
        bits = "4-bit" if train.quantization.load_in_4bit else "8-bit"
        text += f", on a base quantised to {bits}"
    return text


def _learning_rate(recipe: Recipe) -> str:
    train = recipe.train
    text = f"{compact(train.learning_rate)}, {train.lr_scheduler_type.replace('_', ' ')}"
    if train.warmup_steps:
        return f"{text}, warm-up {count(train.warmup_steps)} steps"
    return f"{text}, warm-up {share(train.warmup_ratio, 1)}" if train.warmup_ratio else text


def task_sentence(recipe: Recipe) -> str:
    """The task in one sentence, for the top of the page."""
    model = last_part(recipe.model.name)
    labels = recipe.labels
    what = {
        "classification": f"choose one of {len(labels)} labels"
        + (f" ({', '.join(labels)})" if 0 < len(labels) <= 6 else ""),
        "generation": "write the answer to an input",
        "chat": "answer in a conversation",
        "text": "continue text",
    }[recipe.task.kind]
    sources = [last_part(s.path) if s.path else s.hub or "" for s in recipe.data.sources]
    listed = ", ".join(sources[:3]) + (f" and {len(sources) - 3} more" if len(sources) > 3 else "")
    return f"Teach {model} to {what}, from {listed}."


def yaml_markup(text: str) -> Markup:
    """YAML with its keys and comments marked; everything in it is escaped."""
    lines = []
    for line in text.splitlines():
        comment = ""
        if found := _YAML_COMMENT.match(line):
            line, comment = found.groups()
        marked = Markup("{}").format(line)
        if found := _YAML_LINE.match(line):
            marked = Markup('{}<span class="k">{}</span>{}{}').format(*found.groups())
        lines.append(marked + (Markup("<i>{}</i>").format(comment) if comment else ""))
    return Markup("\n").join(lines)


# --- data ------------------------------------------------------------------------------------


def data(stats: DataStats) -> View:
    """Rows read, rejected and split; labels; lengths; sample rows."""
    read, rejected = sum(stats.rows_read.values()), sum(stats.rows_rejected.values())
    kept = sum(split.rows for split in stats.splits.values())
    # A mixture leaves rows out, and takes others several times.
    mixed = sum(part.available - part.rows for part in stats.mixture)
    labels = sorted({label for split in stats.splits.values() for label in split.labels})
    largest = max(stats.splits, key=lambda s: stats.splits[s].rows, default=None)
    tokens = stats.splits[largest].tokens if largest else None
    return {
        "stats": stats,
        "read": read,
        "rejected": rejected,
        "kept": kept,
        "mixed": mixed,
        "unexplained": read - rejected - kept - mixed,
        "splits": [(name, stats.splits[name]) for name in SPLITS if name in stats.splits],
        "labels": labels,
        "label_bars": {
            name: plots.stacked(
                [(label, split.labels.get(label, 0)) for label in labels],
                label=f"Rows per label in {name}",
                text=lambda rows: f"{count(rows)} rows",
            )
            for name, split in stats.splits.items()
        },
        "histogram_split": largest,
        "histogram": plots.histogram(
            [(float(edge), float(rows)) for edge, rows in tokens.histogram],
            label=f"Length of the {largest} rows: median {tokens.median}, longest {tokens.max}",
            x_label="tokens",
            rules=[
                (tokens.median, f"median {tokens.median}"),
                (tokens.p95, f"95 % up to {tokens.p95}"),
            ],
        )
        if tokens
        else "",
    }


# --- plan ------------------------------------------------------------------------------------


def plan(plan: Plan) -> View:
    """Device, precision, memory, decisions, findings and the schedule."""
    order = {"error": 0, "warning": 1, "note": 2}
    parts = sorted(plan.memory, key=lambda part: -part.bytes)
    peak = max((lr for _, lr in plan.schedule), default=0.0)
    return {
        "plan": plan,
        "precision": PRECISIONS[plan.precision],
        "why": next((d.why for d in plan.decisions if d.key.endswith("precision")), ""),
        "findings": sorted(plan.findings, key=lambda finding: order[finding.severity]),
        "parts": parts,
        "memory_bar": plots.stacked(
            [(part.part, float(part.bytes)) for part in parts],
            label=f"Peak memory by part, {size(plan.total_bytes)} in all",
            text=size,
        ),
        "schedule": plots.chart(
            [plots.Series("learning rate", [(float(s), lr) for s, lr in plan.schedule], 1)],
            label=f"Planned learning rate, at most {compact(peak)}",
            from_zero=True,
        ),
    }


# --- training --------------------------------------------------------------------------------


def training(
    summary: TrainSummary | None, history: History, plan: Plan | None, recipe: Recipe
) -> View:
    """Curves of the training, and what it cost against what was planned."""
    loss = history.curve(lambda step: step.get("loss"))
    best = summary.best_step if summary and summary.best_metric is not None else None
    rules = [(float(best), f"best, step {best}")] if best else []
    train_loss = [
        plots.Series("training loss, as measured", loss, 1, "faint"),
        plots.Series("training loss", smooth(loss), 1),
        plots.Series("validation loss", history.validation_curve("loss"), 2, "dots"),
    ]
    planned = [(float(s), lr) for s, lr in plan.schedule] if plan else []
    used = history.curve(lambda step: step.get("lr"))
    norm = history.curve(lambda step: step.get("grad_norm"))
    rate = history.curve(tokens_per_second)
    quality = [
        plots.Series(metric_name(name), history.validation_curve(name), 2 + i, "dots")
        for i, name in enumerate(n for n in history.metrics if n != "loss")
    ]
    charts = [
        ("Loss", "per trained token", train_loss,
         plots.chart(train_loss, label="Training and validation loss", rules=rules, log=True)),
        ("Learning rate", "planned and used", lr := [
            plots.Series("planned", planned, 8, "dashed"), plots.Series("used", used, 1)],
         plots.chart(lr, label="Learning rate, planned and used", from_zero=True)
         if used else ""),
        ("Gradient norm", f"before clipping (at {compact(recipe.train.max_grad_norm)})"
         if recipe.train.max_grad_norm else "not clipped", None,
         _smoothed("gradient norm", norm)),
        ("Throughput", "tokens per second", None, _smoothed("tokens per second", rate)),
        ("Validation", "measured while training", quality,
         plots.chart(quality, label="Validation metrics", rules=rules)),
    ]  # fmt: skip
    return {
        "summary": summary,
        "history": history,
        "best_name": f"validation {metric_name(recipe.train.metric_for_best_model)}",
        "charts": [c for c in charts if c[3]],
        "facts": _training_facts(summary, plan) if summary else [],
        "events": [_event_row(event) for event in history.others[:MAX_EVENTS]],
        "events_left_out": max(0, len(history.others) - MAX_EVENTS),
        "rate": f"{count(summary.tokens / summary.seconds)} tokens/s"
        if summary and summary.seconds
        else "",
    }


def _smoothed(name: str, points: list[plots.Point]) -> Markup:
    series = [
        plots.Series(f"{name}, as measured", points, 1, "faint"),
        plots.Series(f"{name}, running mean", smooth(points), 1),
    ]
    return plots.chart(series, label=sentence_case(name), from_zero=True)


def _training_facts(summary: TrainSummary, plan: Plan | None) -> list[tuple[str, str, str]]:
    """(what, planned, measured)."""
    planned = {
        "steps": count(plan.total_steps) if plan else "",
        "time": duration(plan.seconds) if plan and plan.seconds is not None else "",
        "memory": size(plan.total_bytes) if plan else "",
    }
    return [
        ("Optimizer steps", planned["steps"], count(summary.steps)),
        ("Epochs", "", compact(summary.epochs)),
        ("Time", planned["time"], duration(summary.seconds)),
        ("Peak memory", planned["memory"], size(summary.peak_bytes)),
        ("Rows seen", "", count(summary.examples)),
        ("Tokens seen", "", count(summary.tokens)),
        ("Tokens that carried loss", "", f"{count(summary.trained_tokens)} "
         f"({share(summary.trained_tokens, summary.tokens)})"),
        ("Weights trained", "", f"{count(summary.trainable_parameters)} "
         f"({share(summary.trainable_parameters, summary.total_parameters)})"),
    ]  # fmt: skip


def _event_row(event: Mapping[str, Any]) -> tuple[str, str, str]:
    rest = {k: v for k, v in event.items() if k not in ("event", "time", "at")}
    details = ", ".join(f"{k} {_plain(v)}" for k, v in rest.items())
    head, _, left_out = shortened(details, 300)
    if left_out:
        details = f"{head} \u2026 ({count(left_out)} characters more in events.jsonl)"
    at = event.get("at")
    return "" if at is None else duration(at), str(event.get("event", "")), details


# --- settings --------------------------------------------------------------------------------


def settings(run: Run, recipe: Recipe, lock: Mapping[str, Any]) -> View:
    """The resolved recipe, versions, hashes and stages."""
    resolved = _flat(recipe.resolved())
    with_defaults = ("train", "evaluate", "ship")
    defaults = {}
    for section in with_defaults:
        default = Recipe.model_fields[section].default.model_dump(mode="json")
        defaults.update(_flat(default, f"{section}."))
    changed = {
        key
        for key, value in resolved.items()
        if key.partition(".")[0] in with_defaults
        and (key not in defaults or defaults[key] != value)
    }
    finished = [stage for stage in STAGES if run.is_done(stage)]
    return {
        "settings": [(key, _plain(value), key in changed) for key, value in resolved.items()],
        "versions": dict(lock.get("versions", {})),
        "machine": [
            (name, str(lock.get(key, "")))
            for name, key in (("Python", "python"), ("Platform", "platform"), ("Seed", "seed"))
        ],
        "hashes": [
            ("recipe.yaml", str(lock.get("recipe_sha256", ""))),
            ("resolved recipe", str(lock.get("resolved_sha256", ""))),
            *((f"{stage}/", run.digest(stage)) for stage in finished),
        ],
        "stages": [
            (stage, duration(run.seconds(stage)) if stage in finished else "not done")
            for stage in STAGES
        ],
    }


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """Nested settings as dotted keys; lists of plain values and empty mappings stay whole."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    flat: dict[str, Any] = {}
    for key, inner in items:
        nested = isinstance(inner, dict) or (
            isinstance(inner, list) and any(isinstance(entry, dict) for entry in inner)
        )
        if nested and inner:
            flat.update(_flat(inner, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = inner
    return flat


def _plain(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return compact(value)
    return "null" if value is None else str(value)
