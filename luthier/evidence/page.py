"""A comparison of two datasets for people: tables on the terminal, and one page to keep."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from luthier.artifacts import Estimate
from luthier.console import duration, say, table
from luthier.evidence.comparison import ArmResult, DataComparison, Pair, digits_of, figure
from luthier.reporting import plots
from luthier.reporting.rendering import render
from luthier.reporting.wording import (
    count,
    difference_text,
    estimate_text,
    last_part,
    metric_name,
    number,
    sentence_case,
)
from luthier.run import Run

FILE = "comparison.html"
View = dict[str, Any]


def show(found: DataComparison) -> None:
    """Print a comparison: what was trained, what came out, and what that means."""
    main = found.main_metric
    metrics = [name for name in found.arm("a").metrics]
    rows = [
        [arm.name, _range(arm.rows), _range(arm.steps), *(_score(arm, name) for name in metrics)]
        for arm in found.arms
    ]
    table(
        f"{found.held_out.rows:,} held-out rows, {_seeds(found)}, 95 % intervals over both",
        ["trained on", "rows", "steps", *metrics],
        rows,
    )
    digits = _digits(found, main)
    table(
        f"differences in {main}",
        ["", "difference", "by seed"],
        [
            [
                f"{pair.first} - {pair.second}",
                figure(pair.metrics[main], digits, sign=True) if main in pair.metrics else "",
                ", ".join(f"{value:+.{digits}f}" for value in pair.by_seed.get(main, [])),
            ]
            for pair in found.pairs
        ],
    )
    for pair in found.pairs:
        say(f"{pair.question} {pair.said}", style="bold" if pair is found.pairs[0] else "")


def write_page(found: DataComparison, folder: Path) -> Path:
    """Write `comparison.html`: a page that needs no network and no other file.

    Args:
        found: the comparison.
        folder: its folder.

    Returns:
        The page's path. The same comparison always gives the same page, byte for byte.
    """
    main = found.main_metric
    lower = main in found.lower_is_better
    digits = _digits(found, main)
    text = render(
        "compare_data.html",
        found=found,
        title=f"{_short(found.sides['a'].name)} against {_short(found.sides['b'].name)}",
        headline=_headline(found),
        recipe=_short(found.recipe),
        tone="unclear" if found.pairs[0].verdict == "none" else "better",
        figures=_figures(found, digits),
        main=metric_name(main),
        lower_is_better=lower,
        differences=_forest(
            [
                (f"{_letter(pair.first)} minus {_letter(pair.second)}", pair.question,
                 pair.metrics[main], difference_text(pair.metrics[main], digits))
                for pair in found.pairs
                if main in pair.metrics
            ],
            zero=True,
        ),
        scores=_forest(
            [
                (sentence_case(arm.name), f"{_range(arm.rows)} rows, {_range(arm.steps)} steps",
                 arm.metrics[main], estimate_text(arm.metrics[main], digits))
                for arm in found.arms
                if main in arm.metrics
            ],
            zero=False,
        ),
        answers=[(pair.question, pair.said) for pair in found.pairs],
        metrics=[_metric(found, name) for name in found.arm("a").metrics],
        letters={arm.key: _letter(arm.key) for arm in found.arms},
        runs=[_runs(found, arm, digits) for arm in found.arms],
        seeds=_seeds(found),
        labels=", ".join(f"{label} {n:,}" for label, n in found.held_out.labels.items()),
    )  # fmt: skip
    Run(folder).write_text(FILE, text)
    return folder / FILE


def _headline(found: DataComparison) -> str:
    pair = found.pairs[0]
    if pair.verdict == "none":
        return "No difference measurable between A and B."
    better = pair.first if pair.verdict == "first" else pair.second
    return f"{_letter(better)} makes the better model: {_short(found.sides[better].name)}."  # type: ignore[index]


def _figures(found: DataComparison, digits: int) -> list[tuple[str, str, str]]:
    """(label, value, detail) under the headline."""
    main = found.main_metric
    figures = []
    for arm in found.arms:
        if main in arm.metrics:
            value, _, rest = estimate_text(arm.metrics[main], digits).partition(" ")
            figures.append((f"{sentence_case(metric_name(main))}, {_letter(arm.key)}", value, rest))
    pair = found.pairs[0]
    if main in pair.metrics:
        value, _, rest = difference_text(pair.metrics[main], digits).partition(" ")
        figures.append(("Difference, A minus B", value, rest))
    return figures


def _forest(rows: Sequence[tuple[str, str, Estimate, str]], *, zero: bool) -> View | None:
    """Dots and intervals, one row each: (name, detail, value, value in words)."""
    if not rows:
        return None
    scale = plots.Scale.over((estimate for _, _, estimate, _ in rows), zero=zero)
    return {
        "axis": plots.track_axis(scale),
        "rows": [
            {
                "name": name,
                "detail": detail,
                "text": said,
                "track": plots.track(
                    estimate, scale, line=0.0 if zero else None, tip=f"{name}: {said}",
                    colour=1 if position == 0 or not zero else 8,
                ),
            }
            for position, (name, detail, estimate, said) in enumerate(rows)
        ],
    }  # fmt: skip


def _metric(found: DataComparison, name: str) -> View:
    """A line of the table of all metrics."""
    digits = _digits(found, name)
    return {
        "name": sentence_case(metric_name(name)),
        "lower": name in found.lower_is_better,
        "scores": [
            estimate_text(arm.metrics[name], digits) if name in arm.metrics else "\u2014"
            for arm in found.arms
        ],
        "differences": [_difference(pair, name, digits) for pair in found.pairs],
    }


def _difference(pair: Pair, name: str, digits: int) -> str:
    return difference_text(pair.metrics[name], digits) if name in pair.metrics else "\u2014"


def _runs(found: DataComparison, arm: ArmResult, digits: int) -> list[tuple[str, ...]]:
    scores = arm.by_seed.get(found.main_metric, [])
    return [
        (_letter(arm.key), str(seed), count(arm.rows[i]), count(arm.steps[i]),
         duration(arm.seconds[i]), number(scores[i], digits) if scores else "\u2014",
         arm.runs[i])
        for i, seed in enumerate(found.seeds)
    ]  # fmt: skip


# --- words ---------------------------------------------------------------------------------------


def _digits(found: DataComparison, name: str) -> int:
    return digits_of([arm.metrics[name].value for arm in found.arms if name in arm.metrics])


def _letter(key: str) -> str:
    return key.upper() if len(key) == 1 else key


def _short(name: str) -> str:
    return last_part(name)


def _score(arm: ArmResult, name: str) -> str:
    if name not in arm.metrics:
        return ""
    return figure(arm.metrics[name], digits_of([arm.metrics[name].value])).replace(" [", "\n[")


def _range(numbers: Sequence[int]) -> str:
    low, high = min(numbers), max(numbers)
    return f"{low:,}" if low == high else f"{low:,}\u2013{high:,}"


def _seeds(found: DataComparison) -> str:
    return f"{len(found.seeds)} seed{'' if len(found.seeds) == 1 else 's'}"
