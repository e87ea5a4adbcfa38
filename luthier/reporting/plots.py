"""Plots as small inline SVG: text stays text, colours come from the page's style sheet.

Charts are drawn 372 units wide and shown at about that many pixels, so their text has one size
on a phone, on a screen and on paper. Interval tracks and stacked bars use percentages and take
the width they are given. Every mark carries a `<title>`, which browsers show on hover.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from markupsafe import Markup

from luthier.artifacts import Estimate, ReliabilityBin
from luthier.reporting.wording import compact, count, number

WIDTH, HEIGHT = 372, 216
LEFT, RIGHT, TOP, BOTTOM = 44, 10, 10, 34
HOVER_ZONES = 120
"""At most so many places of a chart answer to the pointer."""

Point = tuple[float, float]


@dataclass(frozen=True)
class Series:
    """One line or set of dots of a chart."""

    name: str
    points: Sequence[Point]
    colour: int = 1
    """1-8: a colour of the page's palette."""
    style: Literal["line", "faint", "dashed", "dots"] = "line"


@dataclass(frozen=True)
class Axis:
    """A linear or logarithmic scale from data to a length of the drawing."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def at(self, value: float) -> float:
        """Where a value stands."""
        low, high = self.low, self.high
        if self.log:
            value, low, high = math.log(max(value, low)), math.log(low), math.log(high)
        return self.start + (value - low) / (high - low) * (self.end - self.start)


def ticks(low: float, high: float, about: int = 5, *, whole: bool = False) -> list[float]:
    """Round values (1, 2, 2.5 or 5 times a power of ten) that cover `low` to `high`.

    Args:
        low: smallest value to cover.
        high: largest value to cover.
        about: how many are wanted.
        whole: whole numbers only (steps, rows).
    """
    if high <= low:
        high = low + (abs(low) or 1.0)
    rough = (high - low) / max(1, about - 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= rough * (1 - 1e-9))
    if whole:
        step = max(1.0, math.ceil(step) if step < 5 else step)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten that cover `low` to `high` (both above zero)."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    marks = [float(f"{m}e{p}") for p in powers for m in (1, 2, 5)]
    first = max(i for i, mark in enumerate(marks) if mark <= low * (1 + 1e-9))
    last = min(i for i, mark in enumerate(marks) if mark >= high * (1 - 1e-9))
    return marks[first : max(last, first + 1) + 1]


def chart(
    series: Sequence[Series],
    *,
    label: str,
    x_label: str = "optimizer step",
    from_zero: bool = False,
    log: bool = False,
    rules: Sequence[tuple[float, str]] = (),
) -> Markup:
    """Lines and dots over optimizer steps.

    Args:
        series: what to draw, first at the back.
        label: what the chart shows, for those who do not see it.
        x_label: name of the horizontal axis.
        from_zero: the vertical axis starts at zero.
        log: the vertical axis is logarithmic where the values span more than a factor of four.
        rules: (x, text) of vertical lines.
    """
    points = [p for s in series for p in s.points]
    if not points:
        return Markup("")
    x_values = [x for x, _ in points]
    y_values = [y for _, y in points] + ([0.0] if from_zero else [])
    x_ticks = ticks(min(x_values), max(x_values), whole=True)
    log = log and 0 < 4 * min(y_values) < max(y_values)
    y_ticks = (log_ticks if log else ticks)(min(y_values), max(y_values))
    x_low, x_high = min(x_values), max(x_values)
    x = Axis(x_low, x_high if x_high > x_low else x_low + 1, LEFT, WIDTH - RIGHT)
    y = Axis(y_ticks[0], y_ticks[-1], HEIGHT - BOTTOM, TOP, log)
    parts = [_frame(x, y, [t for t in x_ticks if x_low <= t <= x_high], y_ticks, x_label)]
    parts += [_rule(x, at, text, row) for row, (at, text) in enumerate(rules)]
    parts += [_draw(s, x, y) for s in series]
    parts.append(_hover(series, x, y, x_label))
    return _svg(parts, label)


def histogram(
    bins: Sequence[Point], *, label: str, x_label: str, rules: Sequence[tuple[float, str]] = ()
) -> Markup:
    """Bars of equal width from (lower edge, rows) pairs."""
    if not bins:
        return Markup("")
    step = bins[1][0] - bins[0][0] if len(bins) > 1 else 1
    low, high = bins[0][0], bins[-1][0] + step
    y_ticks = ticks(0, max(rows for _, rows in bins), whole=True)
    x = Axis(low, high, LEFT, WIDTH - RIGHT)
    y = Axis(0, y_ticks[-1], HEIGHT - BOTTOM, TOP)
    inner = [t for t in ticks(low, high, whole=True) if low <= t <= high]
    parts = [_frame(x, y, inner, y_ticks, x_label)]
    for edge, rows in bins:
        left, right, top = x.at(edge) + 0.5, x.at(edge + step) - 0.5, y.at(rows)
        last = max(edge, edge + step - 1)
        parts.append(
            Markup('<rect class="bar" x="{}" y="{}" width="{}" height="{}"><title>{}</title></rect>'
            ).format(_n(left), _n(top), _n(max(0.5, right - left)), _n(y.start - top),
                     f"{count(edge)}\u2013{count(last)} {x_label}: {count(rows)} rows")
        )  # fmt: skip
    inside = [(at, text) for at, text in rules if low <= at <= high]
    parts += [_rule(x, at, text, row) for row, (at, text) in enumerate(inside)]
    return _svg(parts, label)


def reliability(bins: Sequence[ReliabilityBin], *, label: str, low: float, colour: int) -> Markup:
    """Accuracy over confidence with 95 % bands; the diagonal is perfect calibration.

    Args:
        bins: bins with rows; empty ones are left out.
        label: what the chart shows, for those who do not see it.
        low: where both axes start (the same for charts that stand side by side).
        colour: palette number.
    """
    bins = [b for b in bins if b.rows]
    marks = [t for t in ticks(low, 1.0, 6) if low - 1e-9 <= t <= 1 + 1e-9]
    x = Axis(low, 1.0, LEFT, WIDTH - RIGHT)
    y = Axis(low, 1.0, HEIGHT - BOTTOM, TOP)
    parts = [
        _frame(x, y, marks, marks, "confidence"),
        Markup('<line class="ideal" x1="{}" y1="{}" x2="{}" y2="{}"/>').format(
            *map(_n, (x.start, y.start, x.end, y.end))
        ),
    ]
    most = max((b.rows for b in bins), default=1)
    upper = [(b.confidence, b.high) for b in bins]
    band = upper + [(b.confidence, b.low) for b in reversed(bins)]
    if len(bins) > 1:
        outline = " ".join(f"{_n(x.at(c))},{_n(y.at(max(low, a)))}" for c, a in band)
        parts.append(Markup('<polygon class="band b{}" points="{}"/>').format(colour, outline))
    centres = [(b.confidence, b.accuracy) for b in bins]
    parts.append(_draw(Series("", centres, colour), x, y, floor=low))
    for b in bins:
        at = _n(x.at(b.confidence))
        text = (
            f"confidence {number(b.confidence)}\naccuracy {number(b.accuracy)} "
            f"[{number(b.low)}\u2013{number(b.high)}]\n{count(b.rows)} rows"
        )
        parts.append(
            Markup(
                '<g class="s{c}"><line class="whisker" x1="{x}" x2="{x}" y1="{lo}" y2="{hi}"/>'
                '<circle cx="{x}" cy="{y}" r="{r}"/><title>{t}</title></g>'
            ).format(
                c=colour, x=at, lo=_n(y.at(max(low, b.low))), hi=_n(y.at(b.high)),
                y=_n(y.at(max(low, b.accuracy))), r=_n(2.5 + 4 * math.sqrt(b.rows / most)), t=text,
            )
        )  # fmt: skip
    return _svg(parts, label)


# --- marks that take the width they are given ----------------------------------------------------


@dataclass(frozen=True)
class Scale:
    """The common scale of a column of interval tracks."""

    low: float
    high: float
    marks: list[float]

    @classmethod
    def over(cls, estimates: Iterable[Estimate], *, zero: bool = False) -> Scale:
        """A scale that covers all intervals (and zero where asked)."""
        ends = [
            v for e in estimates for v in (e.value, e.low, e.high) if v is not None and v == v
        ] + ([0.0] if zero else [])
        marks = ticks(min(ends, default=0), max(ends, default=1), 5)
        return cls(marks[0], marks[-1], marks)

    def at(self, value: float) -> str:
        """Position in percent; room is left for a dot at either end."""
        return f"{2 + 96 * (value - self.low) / (self.high - self.low):.2f}%"


def track(estimate: Estimate, scale: Scale, *, tip: str, colour: int, line: float | None) -> Markup:
    """One row of a dot-and-interval plot.

    Args:
        estimate: the dot and its interval.
        scale: shared by the rows.
        tip: shown on hover.
        colour: palette number.
        line: value of a reference line through all rows.
    """
    parts = [
        Markup('<line class="grid" x1="{0}" x2="{0}" y1="0" y2="100%"/>').format(scale.at(mark))
        for mark in scale.marks
    ]
    if line is not None:
        parts.append(
            Markup('<line class="reference" x1="{0}" x2="{0}" y1="0" y2="100%"/>').format(
                scale.at(line)
            )
        )
    if estimate.low is not None and estimate.high is not None:
        parts.append(
            Markup('<line class="span s{}" x1="{}" x2="{}" y1="50%" y2="50%"/>').format(
                colour, scale.at(estimate.low), scale.at(estimate.high)
            )
        )
    parts.append(
        Markup('<circle class="dot s{}" cx="{}" cy="50%" r="5"/><title>{}</title>').format(
            colour, scale.at(estimate.value), tip
        )
    )
    return Markup('<svg class="track" role="img" aria-label="{}">{}</svg>').format(
        tip, Markup("").join(parts)
    )


def track_axis(scale: Scale) -> Markup:
    """The numbers under a dot-and-interval plot."""
    marks = [
        Markup('<text x="{}" y="12">{}</text>').format(scale.at(mark), compact(mark))
        for mark in scale.marks
    ]
    return Markup('<svg class="track axis" aria-hidden="true">{}</svg>').format(
        Markup("").join(marks)
    )


def stacked(
    parts: Sequence[tuple[str, float]],
    *,
    label: str,
    text: Callable[[float], str],
    longest: float | None = None,
) -> Markup:
    """One horizontal bar made of parts, in palette order.

    Args:
        parts: (name, value) of each.
        label: what the bar shows, for those who do not see it.
        text: a value in words.
        longest: value of the longest bar in a column of bars, which takes the whole width; None:
            this one does.
    """
    total = longest if longest is not None else sum(value for _, value in parts)
    if total <= 0:
        return Markup("")
    drawn, start = [], 0.0
    for position, (name, value) in enumerate(parts):
        if not value:
            continue
        width = 100 * value / total
        drawn.append(
            Markup(
                '<rect class="f{}" x="{:.3f}%" width="{:.3f}%" height="100%">'
                "<title>{}: {}</title></rect>"
            ).format(position % 8 + 1, start, width, name, text(value))
        )
        start += width
    return Markup('<svg class="stack" role="img" aria-label="{}">{}</svg>').format(
        label, Markup("").join(drawn)
    )


# --- parts of a chart ----------------------------------------------------------------------------


def _svg(parts: Sequence[Markup], label: str) -> Markup:
    return Markup(
        '<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>'
    ).format(WIDTH, HEIGHT, label, Markup("").join(parts))


def _frame(
    x: Axis, y: Axis, x_ticks: Sequence[float], y_ticks: Sequence[float], x_label: str
) -> Markup:
    parts = []
    for value in y_ticks:
        at = y.at(value)
        parts.append(
            Markup('<line class="grid" x1="{}" x2="{}" y1="{y}" y2="{y}"/>'
                   '<text class="y" x="{}" y="{}">{}</text>'
            ).format(LEFT, WIDTH - RIGHT, LEFT - 6, _n(at + 3.6), compact(value), y=_n(at))
        )  # fmt: skip
    for value in x_ticks:
        parts.append(
            Markup('<text class="x" x="{}" y="{}">{}</text>').format(
                _n(x.at(value)), HEIGHT - BOTTOM + 14, compact(value)
            )
        )
    parts.append(
        Markup('<line class="floor" x1="{}" x2="{}" y1="{y}" y2="{y}"/>'
               '<text class="axis-name" x="{}" y="{}">{}</text>'
               '<text x="{}" y="{}">{}</text>'
        ).format(LEFT, WIDTH - RIGHT, WIDTH - RIGHT, HEIGHT - 4, x_label,
                 LEFT, HEIGHT - 4, "logarithmic scale" if y.log else "", y=_n(y.start))
    )  # fmt: skip
    return Markup("").join(parts)


def _draw(series: Series, x: Axis, y: Axis, floor: float | None = None) -> Markup:
    placed = [
        (_n(x.at(a)), _n(y.at(b if floor is None else max(floor, b)))) for a, b in series.points
    ]
    if not placed:
        return Markup("")
    if series.style == "dots" or len(placed) == 1:
        dots = [Markup('<circle cx="{}" cy="{}" r="3.2"/>').format(a, b) for a, b in placed]
        line = _path(placed, series, "thin") if series.style == "dots" else Markup("")
        return line + Markup('<g class="s{}">{}</g>').format(series.colour, Markup("").join(dots))
    return _path(placed, series, series.style)


def _path(placed: Sequence[tuple[str, str]], series: Series, style: str) -> Markup:
    path = "M" + "L".join(f"{a} {b}" for a, b in placed)
    return Markup('<path class="{} s{}" d="{}"/>').format(style, series.colour, path)


def _rule(x: Axis, at: float, text: str, row: int) -> Markup:
    place, height = x.at(at), TOP + 9 + 13 * row
    right = place > WIDTH * 0.72
    return Markup(
        '<line class="rule" x1="{x}" x2="{x}" y1="{}" y2="{}"/>'
        '<text class="note{}" x="{}" y="{}">{}</text>'
    ).format(
        TOP, HEIGHT - BOTTOM, " end" if right else "", _n(place + (-4 if right else 4)), height,
        text, x=_n(place),
    )  # fmt: skip


def _hover(series: Sequence[Series], x: Axis, y: Axis, x_label: str) -> Markup:
    """Invisible columns with the values of all series as tooltip."""
    at: dict[float, list[tuple[Series, float]]] = {}
    for one in series:
        for place, value in one.points:
            at.setdefault(place, []).append((one, value))
    keys = sorted(at)
    dotted = {a for s in series if s.style == "dots" for a, _ in s.points}
    stride = -(-len(keys) // HOVER_ZONES)
    keys = [k for i, k in enumerate(keys) if i % stride == 0 or k in dotted]
    zones = []
    for i, key in enumerate(keys):
        left = x.start if i == 0 else (x.at(keys[i - 1]) + x.at(key)) / 2
        right = x.end if i == len(keys) - 1 else (x.at(key) + x.at(keys[i + 1])) / 2
        lines = [f"{x_label} {count(key)}", *(f"{s.name} {compact(v)}" for s, v in at[key])]
        shown, value = at[key][-1]
        zones.append(
            Markup(
                '<g class="zone s{}"><rect x="{}" y="{}" width="{}" height="{}"/>'
                '<circle cx="{}" cy="{}" r="3.5"/><title>{}</title></g>'
            ).format(
                shown.colour, _n(left), TOP, _n(max(0.1, right - left)), HEIGHT - TOP - BOTTOM,
                _n(x.at(key)), _n(y.at(value)), "\n".join(lines),
            )
        )  # fmt: skip
    return Markup("").join(zones)


def _n(value: float) -> str:
    """A coordinate with at most one decimal."""
    return f"{value:.1f}".removesuffix(".0")
