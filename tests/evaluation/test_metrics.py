"""Metrics against independent implementations, and what every metric must keep."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.special import ndtri

from luthier.artifacts import Estimate
from luthier.evaluation.confusion import confusion, label_table
from luthier.evaluation.evaluate import METRICS
from luthier.evaluation.intervals import estimate, resample, value_of
from luthier.evaluation.outcome import Answers, Choices, Metric
from luthier.evaluation.text import distinct, words

KINDS = ("classification", "generation", "chat", "text")


def random_choices(
    rows: int = 200, labels: int = 2, seed: int = 0, *, ties: bool = False, skill: float = 1.0
) -> Choices:
    rng = np.random.default_rng(seed)
    gold = rng.integers(labels, size=rows)
    scores = rng.normal(size=(rows, labels)) + skill * np.eye(labels)[gold]
    names = [f"label {i}" for i in range(labels)]
    return Choices(names, names[0], gold, scores.round(0) if ties else scores)


def some_answers() -> Answers:
    return Answers(
        references=["The cat sat on the mat.", "Yes.", "red green blue", "Ünïcode 北京 ok"],
        answers=["The cat is on the mat", "yes.", "red green blue", ""],
        log_likelihood=np.array([-4.0, -1.0, -2.0, -9.0]),
        tokens=np.array([8, 2, 3, 5]),
    )


def fitting(kind: str) -> list[str]:
    return [name for name in METRICS.names() if kind in METRICS.load(name).FITS]


def test_the_registry_finds_the_metrics_and_every_kind_of_task_has_some() -> None:
    assert len(METRICS.names()) >= 10
    for kind in KINDS:
        assert fitting(kind)
    for name in METRICS.names():
        assert METRICS.describe(name).endswith((".", "is better.", "(Wilson interval)."))
        assert set(METRICS.load(name).FITS) <= set(KINDS)
        assert METRICS.build(name).name == name


@pytest.mark.parametrize("name", fitting("classification") + fitting("generation"))
def test_a_row_drawn_twice_counts_twice(name: str) -> None:
    """Weights and repeated rows must agree, or the bootstrap measures something else."""
    metric: Metric = METRICS.build(name)
    outcome: Any = random_choices(50, 3) if name in fitting("classification") else some_answers()
    drawn = np.random.default_rng(1).integers(len(outcome), size=len(outcome))
    weights = np.bincount(drawn, minlength=len(outcome))[None, :].astype(float)

    weighted = metric.prepare(outcome)(weights)[0]

    if metric.resampled:
        assert weighted == pytest.approx(value_of(metric, outcome.take(drawn)))
    else:
        assert estimate(metric, outcome, samples=100, seed=0).low is None  # type: ignore[union-attr]


@pytest.mark.parametrize("labels", [2, 3, 7])
@pytest.mark.parametrize("ties", [False, True])
def test_classification_metrics_equal_scikit_learn(labels: int, ties: bool) -> None:
    from sklearn import metrics as sk

    choices = random_choices(300, labels, seed=labels, ties=ties)
    p = choices.probabilities().round(12)
    values = {name: value_of(METRICS.build(name), choices) for name in fitting("classification")}

    assert values["accuracy"] == pytest.approx(sk.accuracy_score(choices.gold, choices.predicted))
    f1 = sk.f1_score(choices.gold, choices.predicted, average="macro")
    assert values["macro_f1"] == pytest.approx(f1)
    if labels == 2:
        auroc = sk.roc_auc_score(choices.gold == 0, p[:, 0])
    else:
        auroc = np.mean([sk.roc_auc_score(choices.gold == c, p[:, c]) for c in range(labels)])
    assert values["auroc"] == pytest.approx(auroc)
    table = sk.confusion_matrix(choices.gold, choices.predicted)
    np.testing.assert_array_equal(confusion(choices), table)
    precision, recall, scores, support = sk.precision_recall_fscore_support(
        choices.gold, choices.predicted, zero_division=0
    )
    for i, label in enumerate(label_table(choices).values()):
        assert [label.precision, label.recall, label.f1, label.support] == pytest.approx(
            [precision[i], recall[i], scores[i], support[i]]
        )


def test_auroc_does_not_saturate_where_probabilities_do() -> None:
    scores = np.array([[0, -8000.0], [0, -7000.0], [0, -9000.0], [0, -6000.0]])
    choices = Choices(["a", "b"], "b", np.array([0, 1, 0, 1]), scores)

    assert set(choices.probabilities()[:, 1]) == {0.0}
    assert value_of(METRICS.build("auroc"), choices) == 1.0


def test_auroc_is_left_out_where_all_rows_have_one_label() -> None:
    choices = random_choices(20)
    choices = choices.take(np.flatnonzero(choices.gold == 0))

    assert estimate(METRICS.build("auroc"), choices, samples=100, seed=0) is None


def test_auroc_of_constant_scores_is_one_half() -> None:
    choices = Choices(["a", "b"], "a", np.array([0, 1, 1]), np.zeros((3, 2)))

    assert value_of(METRICS.build("auroc"), choices) == 0.5


def test_bootstrap_interval_of_a_mean_agrees_with_the_normal_one() -> None:
    choices = random_choices(600, seed=3)
    accuracy = METRICS.build("accuracy")
    values = resample(accuracy, choices, samples=4000, seed=0)

    share = choices.correct.mean()
    assert values.mean() == pytest.approx(share, abs=0.003)
    assert values.std() == pytest.approx(math.sqrt(share * (1 - share) / 600), rel=0.05)


@pytest.mark.parametrize("name", ["macro_f1", "auroc"])
def test_two_thousand_resamples_of_600_rows_take_well_under_a_second(name: str) -> None:
    choices = random_choices(600)
    started = time.process_time()

    found = estimate(METRICS.build(name), choices, samples=2000, seed=0)

    assert time.process_time() - started < 1.0
    assert found is not None and found.low is not None and found.high is not None
    assert found.low < found.value < found.high


# --- where every resample has one value ----------------------------------------------------------


def perfect(rows: int, labels: int = 2) -> Choices:
    gold = np.arange(rows) % labels
    return Choices([f"label {i}" for i in range(labels)], "label 0", gold, np.eye(labels)[gold])


def found_for(name: str, outcome: Any) -> Estimate:
    found = estimate(METRICS.build(name), outcome, samples=200, seed=0)
    assert found is not None
    return found


def test_a_perfect_auroc_is_bounded_by_its_separate_pairs() -> None:
    twelve = found_for("auroc", perfect(12))
    assert (twelve.value, twelve.high) == (1.0, 1.0)
    assert twelve.low == pytest.approx(0.025 ** (1 / 6))
    assert found_for("auroc", perfect(600)).low == pytest.approx(0.025 ** (1 / 300))
    assert found_for("auroc", perfect(2)).low == pytest.approx(0.025)
    # Three labels, each against the two others.
    assert found_for("auroc", perfect(12, 3)).low == pytest.approx(0.025 ** (1 / 4))
    choices = perfect(12)
    wrong = found_for("auroc", replace(choices, scores=-choices.scores))
    assert (wrong.low, wrong.value) == (0.0, 0.0)
    assert wrong.high == pytest.approx(1 - 0.025 ** (1 / 6))
    tied = found_for("auroc", replace(choices, scores=np.zeros((12, 2))))
    assert tied.value == 0.5
    assert (tied.low, tied.high) == pytest.approx((0.025 ** (1 / 6) / 2, 1 - 0.025 ** (1 / 6) / 2))


def test_copies_of_rows_make_no_more_pairs() -> None:
    once = perfect(12)
    rows = np.repeat(np.arange(12), 5)
    copied = replace(once, gold=once.gold[rows], scores=once.scores[rows], groups=rows)
    assert found_for("auroc", copied).low == pytest.approx(found_for("auroc", once).low)
    # A group that holds both labels lends itself to one pair at most.
    both = replace(once, groups=np.arange(12) // 2)
    assert found_for("auroc", both).low == pytest.approx(0.025 ** (1 / 3))


@pytest.mark.parametrize("truth", [0.6, 0.8, 0.95])
def test_the_bound_of_a_perfect_auroc_covers_the_truth(truth: float) -> None:
    """Scores from two normal curves of that area, where chance alone now and then parts them."""
    rng = np.random.default_rng(0)
    apart = math.sqrt(2) * float(ndtri(truth))
    missed = 0
    for _ in range(2000):
        ours, theirs = rng.normal(size=8) + apart, rng.normal(size=8)
        if ours.min() > theirs.max():
            missed += truth < 0.025 ** (1 / 8)
    assert missed / 2000 <= 0.025


@pytest.mark.parametrize(("name", "top"), [("chrf", 100.0), ("rouge_l", 1.0)])
@pytest.mark.parametrize("right", [False, True])
def test_answers_that_all_score_alike_are_bounded_by_their_number(
    name: str, top: float, right: bool
) -> None:
    rows = 12
    answers = Answers(["red green"] * rows, ["red green" if right else "zzz"] * rows,
                      np.zeros(rows), np.ones(rows, int))  # fmt: skip
    found = found_for(name, answers)
    others = top * (1 - 0.025 ** (1 / rows))
    ends = (top - others, top) if right else (0.0, others)
    assert (found.low, found.high) == pytest.approx(ends)
    assert found.value == pytest.approx(top if right else 0.0)


def test_there_is_no_interval_where_none_is_known() -> None:
    """Macro F1 of one row, or of many that are all right, is 1.0 in every resample."""
    for rows in (1, 30):
        assert found_for("macro_f1", perfect(rows)) == Estimate(value=1.0)
    same = Answers(["a"] * 5, ["one two"] * 5, np.zeros(5), np.ones(5, int))
    assert found_for("answer_length", same) == Estimate(value=2.0)
    assert found_for("perplexity", same) == Estimate(value=1.0)


def test_equal_seeds_draw_equal_rows_however_they_are_chunked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    choices, metric = random_choices(50), METRICS.build("macro_f1")
    whole = resample(metric, choices, samples=101, seed=5)
    monkeypatch.setattr("luthier.evaluation.intervals.CHUNK", 350)

    np.testing.assert_array_equal(resample(metric, choices, samples=101, seed=5), whole)
    assert (resample(metric, choices, samples=101, seed=6) != whole).any()


def test_chrf_is_the_mean_of_sacrebleus_sentence_scores() -> None:
    from sacrebleu import sentence_chrf

    answers = some_answers()
    expected = [
        sentence_chrf(a, [r]).score
        for a, r in zip(answers.written, answers.references, strict=True)
    ]

    assert value_of(METRICS.build("chrf"), answers) == pytest.approx(np.mean(expected))
    assert expected[2] == pytest.approx(100)


def test_rouge_l_by_hand() -> None:
    # LCS "the cat on the mat": 5 words of 6 and 6; "yes"; all three; nothing of 4 words.
    expected = [5 / 6, 1.0, 1.0, 0.0]

    assert value_of(METRICS.build("rouge_l"), some_answers()) == pytest.approx(np.mean(expected))


def test_token_f1_counts_shared_words_without_case_articles_and_order() -> None:
    """2 x shared / (words + words), by hand: 2 of 2 and 2; 2 of 3 and 2; nothing; no words."""
    answers = Answers(
        ["4.2 million, the", "Yes it rose", "no", "the"],
        ["million 4.2", "it rose.", "5%", "a"],
        np.zeros(4), np.ones(4, int),
    )  # fmt: skip
    expected = [1.0, 4 / 5, 0.0, 1.0]
    assert value_of(METRICS.build("token_f1"), answers) == pytest.approx(np.mean(expected))


def test_exact_match_ignores_white_space_only() -> None:
    answers = Answers(["a b", "A", "é"], ["a \n b ", "a", "e\u0301"], np.zeros(3), np.ones(3, int))

    assert value_of(METRICS.build("exact_match"), answers) == pytest.approx(2 / 3)


def test_perplexity_is_per_token_not_per_row() -> None:
    assert value_of(METRICS.build("perplexity"), some_answers()) == pytest.approx(math.exp(16 / 18))


def test_perplexity_of_a_hopeless_model_is_a_finite_number() -> None:
    answers = Answers(["x"], None, np.array([-1e6]), np.array([1]))

    assert math.isfinite(value_of(METRICS.build("perplexity"), answers))


def test_distinct_counts_n_grams_over_all_answers() -> None:
    assert distinct(["a b a b", "a b"], 1) == pytest.approx(2 / 6)
    assert distinct(["a b a b", "a b"], 2) == pytest.approx(2 / 4)
    assert math.isnan(distinct(["a"], 2))


def test_words_splits_scripts_without_spaces_by_character() -> None:
    assert words("Dr. O'Hara's 北京abc, ÉTÉ") == [
        "dr", "o", "hara", "s", "北", "京", "abc", "été",
    ]  # fmt: skip


def test_answer_length_counts_words() -> None:
    assert value_of(METRICS.build("answer_length"), some_answers()) == pytest.approx(10 / 4)
