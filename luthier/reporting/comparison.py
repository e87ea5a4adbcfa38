"""What the evaluation section shows: systems, labels, confusion, calibration and slices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from luthier.artifacts import Estimate, Evaluation, SystemResult
from luthier.recipe import Recipe
from luthier.reporting import plots
from luthier.reporting.verdict import best_baseline, calibration_sentence
from luthier.reporting.wording import (
    count,
    digits_for,
    estimate_text,
    metric_name,
    number,
    share,
    system_name,
)

MAX_MATRIX = 20
"""Labels of a confusion matrix that is shown whole; larger ones are shown by their worst cells."""

View = dict[str, Any]


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
        "forest": _forest([(system_name(s.name), s.describe, s.metrics[main])
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
            s.name: plots.track(
                d, scale, tip=f"tuned minus {system_name(s.name)}", colour=1, line=0.0
            )
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
        "name": system_name(system.name),
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
