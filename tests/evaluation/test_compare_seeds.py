"""Differences over seeds and rows: coverage by simulation, values by independent arithmetic."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from luthier.evaluation.compare_seeds import compare_seeds, over_seeds
from luthier.evaluation.evaluate import METRICS
from luthier.evaluation.outcome import Answers, Choices

ACCURACY = METRICS.build("accuracy")


def answered(right: np.ndarray, groups: np.ndarray | None = None) -> Choices:
    """A model that is right on these rows."""
    scores = np.where(np.asarray(right, bool)[:, None], [[0.0, -1.0]], [[-1.0, 0.0]])
    return Choices(["a", "b"], "a", np.zeros(len(right), np.int64), scores, groups)


def models(rng: np.random.Generator, skill: np.ndarray, seeds: int, spread: float) -> list[Choices]:
    """One model a seed: rows have a difficulty of their own, and seeds a luck."""
    found = []
    for _ in range(seeds):
        logits = skill + rng.normal(0, spread) + rng.normal(0, 0.4, len(skill))
        found.append(answered(rng.random(len(skill)) < 1 / (1 + np.exp(-logits))))
    return found


@pytest.mark.parametrize(("seeds", "spread"), [(2, 0.0), (3, 0.5), (5, 0.5)])
def test_nine_in_ten_intervals_and_more_hold_the_truth(seeds: int, spread: float) -> None:
    """The two ways are equally good, so the truth is 0; each has rows it is better at."""
    rng = np.random.default_rng(3)
    repeats, hits, narrow = 150, 0, 0
    for _ in range(repeats):
        skill = rng.normal(1.2, 1.2, 120)
        ones, others = (
            models(rng, skill + rng.normal(0, 0.7, 120), seeds, spread) for _ in range(2)
        )
        found = compare_seeds(ACCURACY, ones, others, samples=100, seed=0)
        assert found is not None and found.estimate.low is not None
        assert found.estimate.high is not None
        hits += found.estimate.low <= 0 <= found.estimate.high
        one = compare_seeds(ACCURACY, ones[:1], others[:1], samples=100, seed=0)
        assert one is not None and one.estimate.low is not None and one.estimate.high is not None
        narrow += one.estimate.low <= 0 <= one.estimate.high
    assert 0.92 * repeats <= hits <= repeats
    if spread:  # what an interval over the rows of one seed alone would have said
        assert narrow < 0.9 * repeats


def test_the_arithmetic() -> None:
    """Obuchowski & Rockette with Hillis' degrees of freedom, from the rows' exact covariance."""
    rng = np.random.default_rng(0)
    rows, seeds = 400, 3
    base = rng.random(rows) < 0.8
    ones = [base ^ (rng.random(rows) < 0.1) for _ in range(seeds)]
    others = [base ^ (rng.random(rows) < 0.2) for _ in range(seeds)]
    found = compare_seeds(
        ACCURACY, [answered(x) for x in ones], [answered(x) for x in others], samples=4000, seed=1
    )
    differences = np.array([a.astype(float) - b for a, b in zip(ones, others, strict=True)])
    covariance = np.cov(differences, bias=True) / rows  # of means, over resampled rows
    own = np.diag(covariance).mean()
    shared = max(0.0, covariance[~np.eye(seeds, dtype=bool)].mean())
    by_seed = differences.mean(axis=1)
    between = by_seed.var(ddof=1)
    variance = max(between, own - shared) / seeds + shared
    freedom = (seeds - 1) * (variance / (between / seeds)) ** 2
    reach = stats.t.ppf(0.975, freedom) * np.sqrt(variance)

    assert found is not None and found.reach is not None
    assert found.by_seed == pytest.approx(by_seed)
    assert found.estimate.value == pytest.approx(by_seed.mean())
    assert found.reach == pytest.approx(reach, rel=0.1)
    assert found.estimate.low == pytest.approx(by_seed.mean() - found.reach)


def test_seeds_that_differ_widen_the_interval() -> None:
    right = np.arange(100) < 80
    steady = [answered(np.roll(right, shift)) for shift in (0, 1, 2)]
    shaky = [answered(np.arange(100) < n) for n in (60, 80, 100)]
    other = [answered(np.roll(right, 40))] * 3
    one, two = (
        compare_seeds(ACCURACY, ones, other, samples=300, seed=0) for ones in (steady, shaky)
    )
    assert one is not None and two is not None and one.reach is not None and two.reach is not None
    assert one.estimate.value == pytest.approx(two.estimate.value, abs=1e-9)
    assert two.reach > 1.5 * one.reach


def test_near_duplicates_count_as_one() -> None:
    rng = np.random.default_rng(1)
    once = [rng.random(50) < p for p in (0.9, 0.6)]
    groups = np.repeat(np.arange(50), 8)
    alone, grouped = (
        compare_seeds(
            ACCURACY,
            [answered(np.repeat(once[0], 8), marks)],
            [answered(np.repeat(once[1], 8), marks)],
            samples=300,
            seed=0,
        )
        for marks in (None, groups)
    )
    assert alone is not None and grouped is not None
    assert alone.reach is not None and grouped.reach is not None
    assert grouped.reach > 2 * alone.reach


def test_models_that_answer_alike_have_no_interval() -> None:
    same = [answered(np.arange(30) < 20)] * 2
    found = compare_seeds(ACCURACY, same, same, samples=100, seed=0)
    assert found is not None
    assert (found.estimate.value, found.estimate.low, found.reach) == (0.0, None, None)


def test_ends_stay_where_values_can_be() -> None:
    few = [answered(np.array([True, True, True, False])), answered(np.array([True] * 3 + [False]))]
    none = [answered(np.array([False] * 4)), answered(np.array([False, False, False, True]))]
    found = compare_seeds(ACCURACY, few, none, samples=100, seed=0)
    assert found is not None and found.estimate.high == 1.0
    score = over_seeds(ACCURACY, few, samples=100, seed=0)
    assert score is not None and score.estimate.high == 1.0


def test_a_metric_the_rows_do_not_define_is_left_out() -> None:
    auroc = METRICS.build("auroc")  # all rows have the same label
    models = [answered(np.arange(9) < 5)] * 2
    assert compare_seeds(auroc, models, models, samples=100, seed=0) is None


def test_free_text_and_losses() -> None:
    def model(shift: float) -> Answers:
        nats = -np.linspace(1, 3, 40) - shift
        return Answers(["x"] * 40, ["x"] * 40, nats, np.ones(40, np.int64))

    perplexity = METRICS.build("perplexity")
    found = compare_seeds(
        perplexity, [model(0.0), model(0.1)], [model(0.5), model(0.6)], samples=200, seed=0
    )
    assert found is not None and found.estimate.high is not None
    assert found.estimate.value < found.estimate.high < 0
