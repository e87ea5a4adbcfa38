"""What each section of the page shows, computed from the artifacts; the templates only lay it out.

Every function returns the variables of one template in `page/`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from luthier.artifacts import DataStats, Estimate, Evaluation, Plan, SystemResult, TrainSummary
from luthier.console import duration, size
from luthier.example import SPLITS
from luthier.recipe import Recipe
from luthier.reporting import plots
from luthier.reporting.history import History, smooth, tokens_per_second
from luthier.reporting.verdict import best_baseline, calibration_sentence
from luthier.reporting.wording import (
    PRECISIONS,
    compact,
    count,
    digits_for,
    estimate_text,
    metric_name,
    number,
    sentence_case,
    share,
    shortened,
)
from luthier.run import STAGES, Run

MAX_MATRIX = 20
"""Labels of a confusion matrix that is shown whole; larger ones are shown by their worst cells."""
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
    if train.lora is None:
        update = "full fine-tuning, every weight"
    else:
        update = f"LoRA, rank {train.lora.r}, alpha {compact(train.lora.lora_alpha)}"
        update += f", dropout {compact(train.lora.lora_dropout)}" if train.lora.lora_dropout else ""
        update += ", DoRA" if train.lora.use_dora else ""
        update += ", rank-stabilised" if train.lora.use_rslora else ""
    if train.quantization is not None:
        bits = "4-bit" if train.quantization.load_in_4bit else "8-bit"
        update += f", on a base quantised to {bits}"
    length = (
        f"{count(train.max_steps)} optimizer steps"
        if train.max_steps > 0
        else f"{compact(train.num_train_epochs)} epochs"
    )
    warmup = (
        f", warm-up {count(train.warmup_steps)} steps"
        if train.warmup_steps
        else f", warm-up {share(train.warmup_ratio, 1)}" if train.warmup_ratio else ""
    )
    schedule = train.lr_scheduler_type.replace("_", " ")
    highlights: Pairs = [("Model", recipe.model.name)]
    highlights.append(("Task", task.kind))
    if recipe.labels:
        highlights.append(("Labels", ", ".join(recipe.labels)))
    if len(recipe.labels) == 2:
        highlights.append(("Positive label", recipe.positive))
    highlights += [
        ("Data", ", ".join(sources)),
        ("Template", ", ".join(recipe.data.templates)),
        ("Update", update),
        ("Optimizer", train.optim),
        ("Learning rate", f"{compact(train.learning_rate)}, {schedule}{warmup}"),
        ("Length", length),
        (
            "Batch",
            f"{train.per_device_train_batch_size} rows"
            + (
                f" \u00d7 {train.gradient_accumulation_steps} accumulated"
                if train.gradient_accumulation_steps > 1
                else ""
            ),
        ),
        ("Seed", str(recipe.seed)),
    ]
    return {
        "highlights": highlights,
        "yaml": yaml_markup(text),
        "overrides": list(overrides),
        "notes": list(notes),
    }


def task_sentence(recipe: Recipe) -> str:
    """The task in one sentence, for the top of the page."""
    model = recipe.model.name
    labels = recipe.labels
    what = {
        "classification": f"choose one of {len(labels)} labels"
        + (f" ({', '.join(labels)})" if 0 < len(labels) <= 6 else ""),
        "generation": "write the answer to an input",
        "chat": "answer in a conversation",
        "text": "continue text",
    }[recipe.task.kind]
    sources = [s.path or s.hub or "" for s in recipe.data.sources]
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
    labels = sorted({label for split in stats.splits.values() for label in split.labels})
    largest = max(stats.splits, key=lambda s: stats.splits[s].rows, default=None)
    tokens = stats.splits[largest].tokens if largest else None
    return {
        "stats": stats,
        "read": read,
        "rejected": rejected,
        "kept": kept,
        "unexplained": read - rejected - kept,
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
            rules=[(tokens.median, f"median {tokens.median}"), (tokens.p95, f"95 % up to {tokens.p95}")],
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
    details = f"{head} \u2026 ({count(left_out)} characters more in events.jsonl)" if left_out else head
    at = event.get("at")
    return "" if at is None else duration(at), str(event.get("event", "")), details


# --- evaluation ------------------------------------------------------------------------------


def evaluation(found: Evaluation, recipe: Recipe) -> View:
    """Systems, labels, confusion, calibration and slices."""
    main = found.main_metric
    tuned, best = found.systems[0], best_baseline(found)
    names = list(dict.fromkeys(name for s in found.systems for name in s.metrics))
    names.sort(key=lambda name: name != main)
    return {
        "found": found,
        "main": main,
        "metrics": names,
        "digits": {
            name: digits_for(s.metrics[name].value for s in found.systems if name in s.metrics)
            for name in names
        },
        "forest": _forest([(s.name.replace("_", " "), s.describe, s.metrics[main])
                           for s in found.systems if main in s.metrics]),
        "differences": _differences(found),
        "matrices": [
            matrix
            for system in ([tuned, best] if best is not None else [tuned])
            if (matrix := _matrix(system, found.labels))
        ],
        "reliability": _reliability(found),
        "slice_by": recipe.evaluate.slice_by,
        "slices": _slices(found),
    }  # fmt: skip


def _forest(
    rows: Sequence[tuple[str, str, Estimate]], *, reference: bool = True, colour: int = 8
) -> View | None:
    """A dot-and-interval plot; the first row is the one the others are held against."""
    if not rows:
        return None
    scale = plots.Scale.over(estimate for _, _, estimate in rows)
    digits = digits_for(estimate.value for _, _, estimate in rows)
    line = rows[0][2].value if reference else None
    return {
        "axis": plots.track_axis(scale),
        "rows": [
            {
                "name": name,
                "detail": detail,
                "text": estimate_text(estimate, digits),
                "track": plots.track(
                    estimate, scale, line=line, tip=f"{name}: {estimate_text(estimate, digits)}",
                    colour=1 if reference and position == 0 else colour,
                ),
            }
            for position, (name, detail, estimate) in enumerate(rows)
        ],
    }  # fmt: skip


def _differences(found: Evaluation) -> View | None:
    """Tuned minus each baseline, around zero."""
    pairs = [(s, s.difference) for s in found.systems[1:] if s.difference is not None]
    if not pairs:
        return None
    scale = plots.Scale.over((difference for _, difference in pairs), zero=True)
    return {
        "tracks": {
            s.name: plots.track(d, scale, tip=f"tuned minus {s.name}", colour=1, line=0.0)
            for s, d in pairs
        },
        "axis": plots.track_axis(scale),
    }


def _matrix(system: SystemResult, labels: Sequence[str]) -> View | None:
    """A confusion matrix, whole or by its worst cells."""
    if not system.confusion or not labels:
        return None
    totals = [sum(row) for row in system.confusion]
    worst = sorted(
        (
            (rows, gold, guess)
            for gold, line in zip(labels, system.confusion, strict=False)
            for guess, rows in zip(labels, line, strict=False)
            if gold != guess and rows
        ),
        key=lambda cell: -cell[0],
    )
    return {
        "name": system.name.replace("_", " "),
        "rows": [
            {"label": label, "total": total, "cells": [
                {"n": n, "heat": f"{n / total:.3f}" if total else "0", "share": share(n, total)}
                for n in line]}
            for label, total, line in zip(labels, totals, system.confusion, strict=False)
        ],
        "whole": len(labels) <= MAX_MATRIX,
        "worst": worst[:MAX_MATRIX],
    }  # fmt: skip


def _reliability(found: Evaluation) -> View | None:
    calibration = found.calibration
    if calibration is None:
        return None
    ends = [
        v for b in calibration.bins_before + calibration.bins_after if b.rows
        for v in (b.confidence, b.low)
    ]  # fmt: skip
    low = min(0.5, max(0.0, int(min(ends, default=0.0) * 10) / 10))
    sentence, good = calibration_sentence(calibration)
    return {
        "sentence": sentence,
        "good": good,
        "before": plots.reliability(
            calibration.bins_before, label="Reliability before scaling", low=low, colour=2
        ),
        "after": plots.reliability(
            calibration.bins_after, label="Reliability after scaling", low=low, colour=1
        ),
        "measures": [
            (metric_name(name), number(calibration.before[name], 3),
             number(calibration.after.get(name), 3))
            for name in calibration.before
        ],
    }  # fmt: skip


def _slices(found: Evaluation) -> View | None:
    """The tuned model on each value of the slicing column, beside all rows."""
    main = found.main_metric
    rows = [
        (value, f"{count(parts['rows'].value)} rows" if "rows" in parts else "", parts[main])
        for value, parts in found.slices.items()
        if main in parts
    ]
    overall = found.systems[0].metrics.get(main)
    if not rows or overall is None:
        return None
    return _forest([("all rows", f"{count(found.rows)} rows", overall), *rows], colour=1)


# --- settings --------------------------------------------------------------------------------


def settings(run: Run, recipe: Recipe, lock: Mapping[str, Any]) -> View:
    """The resolved recipe, versions, hashes and stages."""
    resolved = _flat(recipe.resolved())
    defaults = {
        key: value
        for section in ("train", "evaluate", "ship")
        for key, value in _flat(
            Recipe.model_fields[section].default.model_dump(mode="json"), f"{section}."
        ).items()
    }
    return {
        "settings": [
            (key, _plain(value), key in defaults and defaults[key] != value
             or key.startswith(("train.", "evaluate.", "ship.")) and key not in defaults)
            for key, value in resolved.items()
        ],
        "versions": dict(lock.get("versions", {})),
        "machine": [("Python", str(lock.get("python", ""))), ("Platform", str(lock.get("platform", ""))),
                    ("Seed", str(lock.get("seed", "")))],
        "hashes": [("recipe.yaml", str(lock.get("recipe_sha256", ""))),
                   ("resolved recipe", str(lock.get("resolved_sha256", "")))]
        + [(f"{stage}/", run.digest(stage)) for stage in STAGES if run.is_done(stage)],
        "stages": [(stage, duration(run.seconds(stage)) if run.is_done(stage) else "not done")
                   for stage in STAGES],
    }  # fmt: skip


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
