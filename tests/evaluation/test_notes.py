"""The plain words under the figures."""

from __future__ import annotations

import pytest
from made_runs import classification_row

from luthier.artifacts import Calibration, Estimate, SystemResult
from luthier.evaluation import notes
from luthier.evaluation.evaluate import METRICS

ACCURACY, PERPLEXITY = METRICS.build("accuracy"), METRICS.build("perplexity")


def system(
    name: str, value: float, difference: Estimate | None = None, metric: str = "accuracy"
) -> SystemResult:
    return SystemResult(
        name=name, describe="", metrics={metric: Estimate(value=value)}, seconds=0,
        difference=difference,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [(0.05, 0.15, None), (-0.02, 0.1, "not measurably better"), (-0.2, -0.1, "is worse than")],
)
def test_a_baseline_that_is_as_good(low: float, high: float, said: str | None) -> None:
    difference = Estimate(value=(low + high) / 2, low=low, high=high)
    found = notes.on_baselines(ACCURACY, [system("tuned", 0.8), system("tfidf", 0.75, difference)])

    if said is None:
        assert found == []
    else:
        assert said in found[0] and "TF-IDF is far cheaper" in found[0]
        assert "accuracy 0.800 against 0.750" in found[0]


def test_lower_is_better_for_perplexity() -> None:
    systems = [
        system("tuned", 9, metric="perplexity"),
        system("zero_shot", 12, Estimate(value=-3, low=-4, high=-2), "perplexity"),
        system("few_shot", 7, Estimate(value=2, low=1, high=3), "perplexity"),
    ]
    (found,) = notes.on_baselines(PERPLEXITY, systems)

    assert "worse than the base model with examples in its prompt" in found
    assert "Prompting may be enough" in found


def test_a_metric_that_is_0_for_all_says_nothing_of_prompting() -> None:
    tie = Estimate(value=0, low=0, high=0)
    found = notes.on_baselines(ACCURACY, [system("tuned", 0), system("zero_shot", 0, tie)])
    assert found == [
        "Every system scores 0 in accuracy, so it does not tell them apart. Look at the other "
        "metrics and at the answers."
    ]
    assert notes.on_baselines(ACCURACY, [system("tuned", 0)]) == []


def test_too_few_rows_names_how_many_would_do() -> None:
    rows = [classification_row(i) for i in range(40)]
    found = notes.on_rows(ACCURACY, Estimate(value=0.8, low=0.65, high=0.9), rows, rows)

    assert any("40 test rows are too few" in n and "246 rows" in n for n in found)
    assert any("Only 40 training rows" in n for n in found)
    assert len(found) == 2


def test_rare_and_lopsided_labels() -> None:
    test = [classification_row(0)] * 95 + [classification_row(1)] * 5
    train = [classification_row(0)] * 295 + [classification_row(1)] * 5
    found = notes.on_rows(ACCURACY, Estimate(value=0.95, low=0.9, high=0.97), train, test)

    assert "Only 5 training rows have the label 'False'." in found
    assert any(n.startswith("Only 5 test rows have the label 'False'") for n in found)
    assert any("95% of the test rows have the label 'True'" in n for n in found)


def test_without_an_interval_nothing_is_claimed() -> None:
    systems = [system("tuned", 0.9), system("majority", 0.5, Estimate(value=0.4))]
    (found,) = notes.on_baselines(ACCURACY, systems)

    assert "not measurably better" in found and "difference +0.400." in found


def test_values_without_an_interval_are_named() -> None:
    def with_metrics(name: str, difference: Estimate | None = None) -> SystemResult:
        bare, known = Estimate(value=1.0), Estimate(value=0.9, low=0.8, high=0.95)
        return SystemResult(
            name=name, describe="", seconds=0, difference=difference,
            metrics={"macro_f1": bare, "accuracy": known, "distinct_1": bare},
        )  # fmt: skip

    metrics = [METRICS.build(name) for name in ("macro_f1", "accuracy", "distinct_1")]
    systems = [with_metrics("tuned"), with_metrics("tfidf", Estimate(value=0.0))]
    sliced = [Estimate(value=1.0), Estimate(value=0.5, low=0.4, high=0.6)]
    (found,) = notes.on_intervals(metrics, systems, sliced)

    assert found.startswith(
        "No interval for macro_f1 of tuned, tfidf, the difference to tfidf, 1 slice: "
    )
    assert notes.on_intervals(metrics[1:2], systems[:1]) == []


def test_enough_balanced_rows_need_no_notes() -> None:
    rows = [classification_row(i) for i in range(400)]

    assert notes.on_rows(ACCURACY, Estimate(value=0.8, low=0.76, high=0.84), rows, rows) == []


def test_a_temperature_that_did_harm_is_said() -> None:
    calibration = Calibration(
        temperature=0.4, rows=12, before={"nll": 0.3}, after={"nll": 0.4},
        bins_before=[], bins_after=[],
    )  # fmt: skip
    found = notes.on_calibration(calibration)

    assert any("12 rows only" in n for n in found)
    assert any("worse (0.300 to 0.400" in n for n in found)


@pytest.mark.parametrize(
    ("temperature", "said"), [(0.05, "no errors"), (19.99, "next to nothing"), (1.5, None)]
)
def test_a_temperature_at_its_bound_is_said(temperature: float, said: str | None) -> None:
    calibration = Calibration(
        temperature=temperature, rows=100, before={"nll": 0.5}, after={"nll": 0.4},
        bins_before=[], bins_after=[],
    )  # fmt: skip
    found = notes.on_calibration(calibration)

    assert [said in n for n in found if said] == ([True] if said else [])
    assert len(found) == (1 if said else 0)
