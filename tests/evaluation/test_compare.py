"""Intervals and paired comparisons: coverage by simulation, values by independent arithmetic."""

from __future__ import annotations

import numpy as np
import pytest

from luthier.artifacts import Estimate
from luthier.evaluation.compare import (
    compare,
    mcnemar,
    newcombe,
    rows_for_reach,
    square_and_add,
)
from luthier.evaluation.evaluate import METRICS
from luthier.evaluation.intervals import estimate, wilson
from luthier.evaluation.outcome import Answers, Choices


def pairs(both: int, first: int, second: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    counts = [both, first, second, neither]
    return (
        np.repeat([True, True, False, False], counts),
        np.repeat([True, False, True, False], counts),
    )


def test_wilson_equals_scipy() -> None:
    from scipy.stats import binomtest

    for hits, rows in [(0, 10), (3, 10), (10, 10), (81, 263), (1, 1)]:
        expected = binomtest(hits, rows).proportion_ci(method="wilson")
        assert wilson(hits, rows) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert wilson(0, 0) == (0, 1)


def test_newcombe_without_correlation_is_square_and_add() -> None:
    """With both*neither = first*second phi is 0 and the interval that of independent shares."""
    first, second = pairs(20, 20, 10, 10)
    found = newcombe(first, second)
    (l1, u1), (l2, u2) = wilson(40, 60), wilson(30, 60)

    assert found.value == pytest.approx(1 / 6)
    assert found.low == pytest.approx(1 / 6 - np.hypot(40 / 60 - l1, u2 - 0.5))
    assert found.high == pytest.approx(1 / 6 + np.hypot(u1 - 40 / 60, 0.5 - l2))


def test_newcombe_is_narrower_where_the_systems_agree() -> None:
    def width(counts: tuple[int, int, int, int]) -> float:
        found = newcombe(*pairs(*counts))
        assert found.low is not None and found.high is not None
        return found.high - found.low

    assert width((70, 10, 5, 15)) < 0.75 * width((50, 30, 25, -0 + 0))
    assert width((100, 0, 0, 0)) < 0.08


def test_newcombe_mirrors_when_the_systems_swap() -> None:
    first, second = pairs(36, 12, 2, 10)
    there, back = newcombe(first, second), newcombe(second, first)

    assert there.low == pytest.approx(-back.high)  # type: ignore[operator]
    assert there.high == pytest.approx(-back.low)  # type: ignore[operator]


@pytest.mark.parametrize("probabilities", [(0.6, 0.15, 0.1, 0.15), (0.85, 0.08, 0.02, 0.05)])
@pytest.mark.parametrize("rows", [50, 400])
def test_newcombe_covers_the_truth_in_about_95_of_100_cases(
    probabilities: tuple[float, ...], rows: int
) -> None:
    rng = np.random.default_rng(0)
    truth = probabilities[1] - probabilities[2]
    covered = 0
    for counts in rng.multinomial(rows, probabilities, size=800):
        found = newcombe(*pairs(*counts))
        assert found.low is not None and found.high is not None
        covered += found.low <= truth <= found.high

    assert 0.93 <= covered / 800 <= 0.985


def test_mcnemar_is_the_exact_sign_test_on_discordant_rows() -> None:
    assert mcnemar(*pairs(50, 8, 1, 5)) == pytest.approx(2 * (1 + 9) / 2**9)
    assert mcnemar(*pairs(50, 0, 0, 5)) == 1.0
    assert mcnemar(*pairs(0, 3, 3, 0)) == 1.0


def choices(correct: np.ndarray) -> Choices:
    gold = np.arange(len(correct)) % 2
    predicted = np.where(correct, gold, 1 - gold)
    return Choices(["a", "b"], "a", gold, np.eye(2)[predicted] * 2.0)


def test_accuracy_is_compared_by_newcombe_and_mcnemar() -> None:
    first, second = pairs(60, 15, 5, 20)
    found = compare(METRICS.build("accuracy"), choices(first), choices(second), samples=100, seed=0)

    assert found.difference == newcombe(first, second)
    assert found.p_value == mcnemar(first, second)


def test_other_metrics_are_compared_by_the_paired_bootstrap() -> None:
    first, second = pairs(600, 60, 30, 60)
    rng = np.random.default_rng(0)
    order = rng.permutation(len(first))
    tuned, other = choices(first[order]), choices(second[order])
    found = compare(METRICS.build("macro_f1"), tuned, other, samples=2000, seed=0).difference
    exact = newcombe(first, second)

    # Labels are balanced, so macro F1 is nearly the accuracy, and so is its interval.
    assert found is not None
    assert (found.value, found.low, found.high) == pytest.approx(
        (exact.value, exact.low, exact.high), abs=0.006
    )
    # Unpaired, the interval would be half as wide again.
    assert found.high - found.low < 0.06  # type: ignore[operator]


def test_a_system_compared_with_itself_differs_by_exactly_nothing() -> None:
    outcome = choices(pairs(30, 10, 5, 5)[0])
    for name in ("accuracy", "macro_f1", "auroc"):
        found = compare(METRICS.build(name), outcome, outcome, samples=200, seed=0)
        assert found.difference is not None and found.difference.value == 0
        assert found.p_value == 1.0
        assert found.difference.low is not None and found.difference.low <= 0


def test_free_text_has_no_mcnemar_and_the_sign_of_perplexity_is_kept() -> None:
    def answers(nats: float) -> Answers:
        rng = np.random.default_rng(int(nats))
        return Answers(["x"] * 40, None, -nats + rng.normal(size=40) * 0.1, np.ones(40, int))

    found = compare(METRICS.build("perplexity"), answers(1), answers(2), samples=300, seed=0)

    assert found.p_value is None
    assert found.difference is not None and found.difference.high is not None
    assert found.difference.high < 0


def ranked(values: list[float]) -> Choices:
    """Half of the rows positive; the values are their scores for it, positives first."""
    gold = np.repeat([0, 1], len(values) // 2)
    scores = np.stack([np.array(values), np.zeros(len(values))], axis=1)
    return Choices(["a", "b"], "a", gold, scores)


def test_a_perfect_system_is_compared_by_the_intervals_of_both() -> None:
    """The bootstrap takes a perfect score for certain, so its difference would be too narrow."""
    rng = np.random.default_rng(0)
    metric, rows = METRICS.build("auroc"), 40
    perfect = ranked([1.0] * 20 + [-1.0] * 20)
    other = ranked(list(rng.normal(size=rows) + np.repeat([1.0, 0.0], 20)))
    constant = ranked([0.0] * rows)
    for rival in (other, constant):
        one, two = (estimate(metric, o, samples=400, seed=0) for o in (perfect, rival))
        found = compare(metric, perfect, rival, samples=400, seed=0).difference
        assert one is not None and two is not None and found is not None
        assert found == square_and_add(one, two)
        assert found.low is not None and 0 < found.low < found.value
        back = compare(metric, rival, perfect, samples=400, seed=0).difference
        assert back is not None and back.high == pytest.approx(-found.low)


def test_square_and_add_of_shares_is_newcombe_without_correlation() -> None:
    (l1, u1), (l2, u2) = wilson(40, 60), wilson(30, 60)
    first = Estimate(value=40 / 60, low=l1, high=u1)
    found = square_and_add(first, Estimate(value=30 / 60, low=l2, high=u2))

    assert found is not None and (found.low, found.high) == pytest.approx(
        (newcombe(*pairs(20, 20, 10, 10)).low, newcombe(*pairs(20, 20, 10, 10)).high)
    )
    assert square_and_add(first, Estimate(value=0.5)) is None


def test_a_difference_that_never_varies_has_no_interval() -> None:
    right = choices(np.ones(30, dtype=bool))
    found = compare(METRICS.build("macro_f1"), right, right, samples=200, seed=0)

    assert found.difference == Estimate(value=0.0)


def test_rows_for_reach() -> None:
    assert rows_for_reach(0.5, 0.05) == 385
    low, high = wilson(round(0.8 * rows_for_reach(0.8, 0.05)), rows_for_reach(0.8, 0.05))
    assert (high - low) / 2 == pytest.approx(0.05, abs=0.002)
