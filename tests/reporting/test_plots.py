"""Marks stand where the numbers say, and no text escapes from a drawing."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree

import pytest

from luthier.artifacts import Estimate, ReliabilityBin
from luthier.reporting import plots
from luthier.reporting.plots import Scale, Series, chart, histogram, log_ticks, ticks


def parsed(drawing: str) -> ElementTree.Element:
    return ElementTree.fromstring(drawing)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1, [0, 0.25, 0.5, 0.75, 1]),
        (0, 3e-4, [0, 1e-4, 2e-4, 3e-4]),
        (1, 318, [0, 100, 200, 300, 400]),
        (0.43, 0.92, [0.4, 0.6, 0.8, 1.0]),
        (5, 5, [4, 6, 8, 10]),
    ],
)
def test_ticks_are_round_and_cover_the_data(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high) == pytest.approx(expected)


def test_whole_ticks_have_no_fractions() -> None:
    assert ticks(0, 3, 8, whole=True) == [0, 1, 2, 3]


def test_log_ticks_cover_the_data() -> None:
    assert log_ticks(0.31, 2.4) == [0.2, 0.5, 1, 2, 5]
    assert log_ticks(0.5, 2) == [0.5, 1, 2]


def test_a_line_runs_from_corner_to_corner() -> None:
    drawing = parsed(chart([Series("loss", [(0, 0), (10, 1)])], label="x"))
    path = next(p for p in drawing.iter("path") if p.get("class") == "line s1")
    assert path.get("d") == "M44 182L362 10"


def test_a_wide_range_of_losses_is_drawn_logarithmically() -> None:
    points = [(1.0, 10.0), (2.0, 1.0), (3.0, 0.1)]
    drawing = parsed(chart([Series("loss", points)], label="x", log=True))
    heights = [float(c.get("cy", "nan")) for c in drawing.iter("circle")]
    assert heights[1] - heights[0] == pytest.approx(heights[2] - heights[1], abs=0.2)
    assert "logarithmic scale" in "".join(drawing.itertext())
    narrow = chart([Series("loss", [(1, 2.0), (2, 1.0)])], label="x", log=True)
    assert "logarithmic" not in narrow


def test_values_are_told_on_hover_once_per_place() -> None:
    many = [(float(i), float(i)) for i in range(1000)]
    dots = [(503.0, 1.0)]
    drawing = parsed(
        chart([Series("train", many), Series("validation", dots, 2, "dots")], label="x")
    )
    tips = [t.text or "" for t in drawing.iter("title")]
    assert len(tips) <= plots.HOVER_ZONES + 1
    assert "optimizer step 503\ntrain 503\nvalidation 1" in tips


def test_nothing_to_draw_draws_nothing() -> None:
    assert chart([Series("loss", [])], label="x") == ""
    assert histogram([], label="x", x_label="tokens") == ""
    assert plots.stacked([("a", 0.0)], label="x", text=str) == ""


def test_bars_are_as_high_as_their_rows() -> None:
    drawing = parsed(histogram([(0, 5), (10, 10)], label="x", x_label="tokens"))
    heights = [float(r.get("height", "nan")) for r in drawing.iter("rect")]
    assert heights[1] == pytest.approx(2 * heights[0], abs=0.2)
    assert "0\u20139 tokens: 5 rows" in [t.text for t in drawing.iter("title")]


def test_parts_of_a_bar_add_up() -> None:
    drawing = parsed(plots.stacked([("a", 1), ("b", 3)], label="x", text=str))
    widths = [r.get("width") for r in drawing.iter("rect")]
    assert widths == ["25.000%", "75.000%"]


def test_bars_of_a_column_have_one_scale_and_keep_their_colours() -> None:
    parts = [("a", 1), ("none", 0), ("c", 1)]
    drawing = parsed(plots.stacked(parts, label="x", text=str, longest=8))
    found = [(r.get("class"), r.get("x"), r.get("width")) for r in drawing.iter("rect")]
    assert found == [("f1", "0.000%", "12.500%"), ("f3", "12.500%", "12.500%")]


def test_a_track_shows_its_interval_on_the_common_scale() -> None:
    scale = Scale.over([Estimate(value=0.5, low=0.0, high=1.0)])
    drawing = parsed(
        plots.track(Estimate(value=0.5, low=0.25, high=1.0), scale, tip="t", colour=1, line=0.0)
    )
    span = next(e for e in drawing.iter("line") if e.get("class") == "span s1")
    assert (span.get("x1"), span.get("x2")) == ("26.00%", "98.00%")
    assert next(drawing.iter("circle")).get("cx") == "50.00%"


def test_a_perfect_bin_lies_on_the_diagonal() -> None:
    bins = [
        ReliabilityBin(confidence=c, accuracy=c, low=c - 0.1, high=min(1, c + 0.1), rows=9)
        for c in (0.6, 0.8)
    ]
    empty = ReliabilityBin(confidence=0.9, accuracy=0, low=0, high=1, rows=0)
    drawing = parsed(plots.reliability([*bins, empty], label="x", low=0.5, colour=1))
    ideal = next(e for e in drawing.iter("line") if e.get("class") == "ideal")
    x1, y1, x2, y2 = (float(ideal.get(k, "nan")) for k in ("x1", "y1", "x2", "y2"))
    circles = list(drawing.iter("circle"))
    assert len(circles) == 2
    for circle in circles:
        x, y = float(circle.get("cx", "nan")), float(circle.get("cy", "nan"))
        assert (x - x1) / (x2 - x1) == pytest.approx((y - y1) / (y2 - y1), abs=0.01)


def test_text_in_drawings_is_escaped() -> None:
    bad = '"><script>alert(1)</script>'
    drawings = [
        chart([Series(bad, [(0, 1), (1, 2)])], label=bad, x_label=bad, rules=[(0.5, bad)]),
        histogram([(0, 1), (1, 1)], label=bad, x_label=bad, rules=[(1, bad)]),
        plots.stacked([(bad, 1)], label=bad, text=str),
        plots.track(Estimate(value=1), Scale(0, 1, [0, 1]), tip=bad, colour=1, line=None),
        plots.reliability([], label=bad, low=0.5, colour=1),
    ]
    for drawing in drawings:
        parsed(drawing)
        assert not re.search("<script", drawing)
