"""What the headline claims, for every way an evaluation can come out."""

from __future__ import annotations

import pytest

from luthier.artifacts import Calibration, Estimate, Evaluation, SystemResult
from luthier.reporting.verdict import best_baseline, calibration_sentence, judge, pending


def system(name: str, value: float, gap: tuple[float, float] | None = None, **more: float
           ) -> SystemResult:  # fmt: skip
    difference = None if gap is None else Estimate(value=sum(gap) / 2, low=gap[0], high=gap[1])
    score = Estimate(value=value, low=value - 0.03, high=value + 0.03)
    return SystemResult(
        name=name, describe="", metrics={"m": score, "loss": score}, seconds=1.0,
        difference=difference, p_value=more.get("p"),
    )  # fmt: skip


def evaluation(*systems: SystemResult, main: str = "m") -> Evaluation:
    return Evaluation(
        task="generation", labels=[], main_metric=main, rows=1467, systems=list(systems)
    )


def calibration(ece: float, floor: float | None) -> Calibration:
    after = {"ece": ece} | ({} if floor is None else {"ece_noise_floor": floor})
    return Calibration(
        temperature=1.5, rows=200, before=after, after=after, bins_before=[], bins_after=[]
    )


@pytest.mark.parametrize(
    ("gap", "main", "tone", "headline"),
    [
        ((0.01, 0.1), "m", "better", "Tuning helped: the model is better than the baseline."),
        ((-0.01, 0.1), "m", "unclear", "Not shown to be better than zero shot."),
        ((0.0, 0.1), "m", "unclear", "Not shown to be better than zero shot."),
        ((-0.2, -0.1), "m", "worse", "Tuning did not pay: zero shot is better."),
        ((-0.2, -0.1), "loss", "better", "Tuning helped: the model is better than the baseline."),
        ((0.1, 0.2), "loss", "worse", "Tuning did not pay: zero shot is better."),
        (None, "m", "unclear", "Not shown to be better than zero shot."),
    ],
)
def test_a_claim_needs_the_whole_interval(
    gap: tuple[float, float] | None, main: str, tone: str, headline: str
) -> None:
    verdict = judge(evaluation(system("tuned", 0.8), system("zero_shot", 0.7, gap), main=main))
    assert (verdict.tone, verdict.headline) == (tone, headline)


def test_the_best_baseline_is_the_one_to_beat() -> None:
    found = evaluation(
        system("tuned", 0.8),
        system("majority", 0.3, (0.4, 0.6)),
        system("tfidf", 0.79, (-0.02, 0.04)),
    )
    best = best_baseline(found)
    assert best is not None and best.name == "tfidf"
    verdict = judge(found)
    assert verdict.headline == "Not shown to be better than TF-IDF."
    assert "the best of 2 baselines" in verdict.lead[0] and "on 1,467 test rows" in verdict.lead[0]
    lowest = best_baseline(evaluation(*found.systems, main="loss"))
    assert lowest is not None and lowest.name == "majority"


def test_every_baseline_must_be_beaten_for_the_claim_of_all() -> None:
    first, second = system("tuned", 0.9), system("tfidf", 0.8, (0.05, 0.15))
    every = judge(evaluation(first, second, system("zero_shot", 0.6, (0.2, 0.4))))
    assert every.headline == "Tuning helped: the model is better than every baseline measured."
    some = judge(evaluation(first, second, system("zero_shot", 0.7, (-0.1, 0.5))))
    assert some.headline == "Tuning helped: the model is better than the best baseline."


def test_difference_and_p_are_told_as_they_are() -> None:
    verdict = judge(
        evaluation(system("tuned", 0.8), system("tfidf", 0.76, (-0.01, 0.09), p=0.0004))
    )
    assert verdict.lead[1] == (
        "The difference, paired over the same rows, is +0.04 [\u22120.01 to +0.09]; this interval "
        "includes zero. Exact McNemar test on right and wrong answers: p < 0.001."
    )
    assert [f.value for f in verdict.figures] == ["0.80", "+0.04"]


def test_without_baselines_nothing_is_claimed() -> None:
    verdict = judge(evaluation(system("tuned", 0.8)))
    assert verdict.tone == "unclear" and "whether tuning helped is not known" in verdict.lead[1]


def test_a_missing_main_metric_is_said() -> None:
    verdict = judge(evaluation(system("tuned", 0.8), main="bleu"))
    assert verdict.lead == ["It has no BLEU, the main metric."]


@pytest.mark.parametrize(
    ("ece", "floor", "good"), [(0.02, 0.03, True), (0.044, 0.03, True), (0.046, 0.03, False),
                               (0.01, None, False)]
)  # fmt: skip
def test_calibration_is_judged_against_chance(ece: float, floor: float | None, good: bool) -> None:
    sentence, answer = calibration_sentence(calibration(ece, floor))
    assert answer is good
    assert f"{ece:.3f}" in sentence and "200 rows" in sentence
    assert ("not fully" in sentence) == (not good and floor is not None)


def test_pending_names_the_next_command() -> None:
    assert pending([], "x", training=False).command == "luthier build RECIPE"
    assert pending(["data", "plan", "train"], "x", training=False).command == "luthier evaluate x"
    verdict = pending(["data", "plan"], "x", training=True)
    assert verdict.headline == "Training has started and not finished."
    assert verdict.command == "luthier train RECIPE"
