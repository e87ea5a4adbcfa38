"""Near-duplicates among the test rows: a group of them is one draw, not many."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
from made_runs import classification_row, generation_row, put_rows

from luthier.artifacts import Estimate
from luthier.evaluation.compare import compare, mcnemar, newcombe
from luthier.evaluation.evaluate import METRICS, evaluate
from luthier.evaluation.intervals import design_effect, estimate, resample
from luthier.evaluation.outcome import Answers, Choices, groups_of
from luthier.example import Example
from luthier.run import Run

COPIES = 4


def some_choices(rows: int, seed: int = 0) -> Choices:
    rng = np.random.default_rng(seed)
    gold = rng.integers(2, size=rows)
    scores = rng.normal(size=(rows, 2)) + 1.5 * np.eye(2)[gold]
    return Choices(["a", "b"], "a", gold, scores)


def copied(choices: Choices) -> Choices:
    """Every row several times, as a group of its own."""
    rows = np.repeat(np.arange(len(choices)), COPIES)
    taken = choices.take(rows)
    return Choices(choices.labels, choices.positive, taken.gold, taken.scores, rows)


def width(found: Estimate | None) -> float:
    assert found is not None and found.low is not None and found.high is not None
    assert found.low <= found.value <= found.high
    return found.high - found.low


# --- copies of a row say nothing that the row does not ------------------------------------------


@pytest.mark.parametrize("name", ["macro_f1", "auroc"])
def test_the_bootstrap_is_blind_to_copies(name: str) -> None:
    metric, rows = METRICS.build(name), some_choices(80)
    once = resample(metric, rows, samples=300, seed=3)

    np.testing.assert_allclose(resample(metric, copied(rows), samples=300, seed=3), once)


def test_closed_forms_are_blind_to_copies() -> None:
    metric, first, second = METRICS.build("accuracy"), some_choices(120), some_choices(120, seed=1)
    once = estimate(metric, first, samples=100, seed=0)
    again = estimate(metric, copied(first), samples=100, seed=0)
    assert width(again) == pytest.approx(width(once), rel=0.01)

    once, p = compare(metric, first, second, samples=100, seed=0)
    again, p_again = compare(metric, copied(first), copied(second), samples=100, seed=0)
    assert width(again) == pytest.approx(width(once), rel=0.01)
    assert p_again == pytest.approx(p)


def test_a_paired_bootstrap_is_blind_to_copies() -> None:
    metric, first, second = METRICS.build("macro_f1"), some_choices(80), some_choices(80, seed=1)
    once = compare(metric, first, second, samples=300, seed=0).difference
    again = compare(metric, copied(first), copied(second), samples=300, seed=0).difference

    assert once is not None and again is not None
    assert (again.low, again.high) == pytest.approx((once.low, once.high))


def test_rows_that_are_all_right_are_not_more_certain_for_being_copied() -> None:
    right = np.ones(30, dtype=bool)
    gold = np.zeros(30, dtype=np.int64)
    once = Choices(["a", "b"], "a", gold, np.eye(2)[gold])
    for outcome in (once, copied(once)):
        found = estimate(METRICS.build("accuracy"), outcome, samples=100, seed=0)
        assert found is not None and found.low == pytest.approx(0.8865, abs=1e-4)
        assert found.high == 1.0
    assert design_effect(right.astype(float), None) == 1.0
    # One group of 4 and 26 rows alone: rows per group, weighted by rows.
    groups = np.array([0] * 4 + list(range(1, 27)))
    assert design_effect(right.astype(float), groups) == pytest.approx((16 + 26) / 30)


# --- coverage -----------------------------------------------------------------------------------


def test_intervals_cover_the_truth_where_rows_of_a_group_agree() -> None:
    """60 groups of 1 to 6 rows; most rows are right just when the group is. The truth is 0.7."""
    rng = np.random.default_rng(0)
    accuracy, mean = METRICS.build("accuracy"), METRICS.build("answer_length")
    covered, naive, resampled = 0, 0, 0
    times = 300
    for seed in range(times):
        groups = np.repeat(np.arange(60), rng.integers(1, 7, size=60))
        own, shared = rng.random(len(groups)) < 0.7, (rng.random(60) < 0.7)[groups]
        right = np.where(rng.random(len(groups)) < 0.8, shared, own)
        gold = np.zeros(len(groups), dtype=np.int64)
        scores = np.eye(2)[np.where(right, 0, 1)]
        for alone in (False, True):
            outcome = Choices(["a", "b"], "a", gold, scores, None if alone else groups)
            found = estimate(accuracy, outcome, samples=100, seed=seed)
            assert found is not None and found.low is not None and found.high is not None
            hit = found.low <= 0.7 <= found.high
            naive, covered = naive + (alone and hit), covered + (not alone and hit)
        words = ["word" if r else "" for r in right]
        nothing = np.zeros(len(groups))
        answers = Answers(words, words, nothing, nothing.astype(np.int64), groups)
        found = estimate(mean, answers, samples=200, seed=seed)
        assert found is not None and found.low is not None and found.high is not None
        resampled += found.low <= 0.7 <= found.high

    assert 0.92 <= covered / times <= 0.985
    assert 0.90 <= resampled / times <= 0.985
    assert naive / times < 0.85


def test_newcombe_covers_the_truth_where_rows_of_a_group_agree() -> None:
    rng = np.random.default_rng(0)
    covered, naive, times = 0, 0, 400
    for _ in range(times):
        groups = np.repeat(np.arange(80), rng.integers(1, 6, size=80))
        first, second = (rng.random(80) < 0.7)[groups], (rng.random(80) < 0.6)[groups]
        for given in (groups, None):
            found = newcombe(first, second, given)
            assert found.low is not None and found.high is not None
            hit = found.low <= 0.1 <= found.high
            covered, naive = covered + (given is not None and hit), naive + (given is None and hit)

    assert 0.92 <= covered / times <= 0.985
    assert naive / times < 0.85


# --- the test -----------------------------------------------------------------------------------


def test_mcnemar_over_groups_counts_all_ways_of_swapping_them() -> None:
    rng = np.random.default_rng(2)
    for _ in range(20):
        groups = np.sort(rng.integers(7, size=25))
        first, second = rng.random(25) < 0.8, rng.random(25) < 0.5
        numbers = groups_of(groups.tolist())
        assert numbers is not None
        ahead = np.bincount(numbers, weights=first.astype(float) - second)
        leads = [abs(np.dot(signs, ahead)) for signs in product([1, -1], repeat=len(ahead))]
        expected = np.mean([lead >= abs(ahead.sum()) for lead in leads])

        assert mcnemar(first, second, numbers) == pytest.approx(expected)


def test_mcnemar_of_a_group_that_decides_everything_says_nothing() -> None:
    first, second = np.repeat([True, True], [12, 8]), np.repeat([False, True], [12, 8])

    assert mcnemar(first, second) < 0.001
    assert mcnemar(first, second, np.array([0] * 12 + list(range(1, 9)))) == 1.0


# --- which rows are groups ----------------------------------------------------------------------


def test_groups_are_numbered_and_rows_without_one_stand_alone() -> None:
    assert groups_of([None, "x", None, "y", "x"]).tolist() == [0, 1, 2, 3, 1]  # type: ignore[union-attr]
    assert groups_of([None, "x", "y"]) is None
    assert groups_of([]) is None


def test_a_part_of_the_rows_has_the_groups_that_are_left_in_it() -> None:
    whole = copied(some_choices(3))

    assert whole.take([0, 4, 8]).groups is None
    assert whole.take([8, 0, 9]).groups.tolist() == [0, 1, 0]  # type: ignore[union-attr]
    answers = Answers(["x"] * 3, None, np.zeros(3), np.ones(3, int), np.array([0, 1, 1]))
    assert answers.take([1, 2]).groups.tolist() == [0, 0]  # type: ignore[union-attr]


def test_one_group_alone_has_no_interval_to_draw_from() -> None:
    choices = some_choices(10)
    one = Choices(["a", "b"], "a", choices.gold, choices.scores, np.zeros(10, dtype=np.int64))
    found = estimate(METRICS.build("macro_f1"), one, samples=100, seed=0)

    assert found is not None and found.low is None and found.high is None
    share = estimate(METRICS.build("accuracy"), one, samples=100, seed=0)
    assert width(share) > 0.75  # what a single row would tell


@pytest.mark.parametrize(
    ("kind", "row", "metrics"),
    [
        ("classification", classification_row, ["accuracy", "macro_f1"]),
        ("generation", generation_row, ["perplexity"]),
    ],
)
def test_evaluate_heeds_the_groups_of_the_data_stage(
    trained_run: Callable[..., Run], kind: str, row: Callable[[int], Example], metrics: list[str]
) -> None:
    fast = {"bootstrap_samples": 200, "generation": {"max_new_tokens": 4}}
    run = trained_run(kind, test=1, evaluate={**fast, "baselines": ["zero_shot"]})

    def widths(rows: list[Example]) -> list[float]:
        put_rows(run, test=rows)
        zero_shot = evaluate(run).systems[1]
        figures = [zero_shot.metrics[name] for name in metrics]
        return [width(figure) for figure in [*figures, zero_shot.difference]]

    rows = [row(100 + i) for i in range(36)]
    # What is said of one colour is much the same in every row.
    grouped = [e.but(group=f"colour {i % 4}, part {i // 12}") for i, e in enumerate(rows)]
    assert (np.array(widths(grouped)) > 1.1 * np.array(widths(rows))).all()
