"""The job end to end on a tiny trained model."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from made_runs import classification_row, put_rows

from luthier.artifacts import Evaluation
from luthier.errors import DataError, LuthierError
from luthier.evaluation.evaluate import _baselines, evaluate, evaluate_on
from luthier.run import Run

FAST = {"bootstrap_samples": 100, "generation": {"max_new_tokens": 5}}


@pytest.fixture
def read_csv() -> Callable[[Path], list[dict[str, str]]]:
    def read(path: Path) -> list[dict[str, str]]:
        with open(path, encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))

    return read


def test_classification(
    trained_run: Callable[..., Run], read_csv: Callable[[Path], list[dict[str, str]]]
) -> None:
    run = trained_run("classification", evaluate={**FAST, "slice_by": "style"})

    found = evaluate(run)

    assert Evaluation.load(run) == found
    assert [s.name for s in found.systems] == ["tuned", "majority", "tfidf", "zero_shot",
                                               "few_shot"]  # fmt: skip
    assert (found.rows, found.main_metric) == (40, "accuracy")
    tuned, majority = found.systems[0], found.systems[1]
    assert tuned.metrics["accuracy"].value > 0.9
    assert tuned.difference is None and tuned.p_value is None
    assert majority.metrics["accuracy"].value == 0.5
    assert majority.metrics["auroc"].value == 0.5
    assert majority.difference is not None and majority.difference.low is not None
    assert majority.difference.low > 0.2
    assert majority.p_value is not None and majority.p_value < 1e-3
    for system in found.systems:
        assert next(iter(system.metrics)) == "accuracy"
        assert set(system.metrics) == {"accuracy", "macro_f1", "auroc"}
        assert system.confusion is not None and sum(map(sum, system.confusion)) == 40
        assert system.labels["True"].support == 20

    rows = read_csv(run.path / found.predictions_file)
    assert len(rows) == 40
    assert list(rows[0]) == [
        "id", "origin", "style", "input", "gold", "predicted", "confidence", "p:True", "p:False",
        "majority", "tfidf", "zero_shot", "few_shot",
    ]  # fmt: skip
    right = sum(row["gold"] == row["predicted"] for row in rows)
    assert right / 40 == tuned.metrics["accuracy"].value
    for row in rows:
        p = [float(row["p:True"]), float(row["p:False"])]
        assert sum(p) == pytest.approx(1, abs=1e-5)
        assert float(row["confidence"]) == max(p)
    assert rows[0]["origin"] == "rows.csv:92"

    assert found.calibration is not None and found.calibration.rows == 30
    kept = json.loads((run.path / "evaluate/calibration.json").read_text())
    assert kept["temperature"] == found.calibration.temperature
    assert set(found.slices) == {"plan", "fact", "news"}
    assert sum(s["rows"].value for s in found.slices.values()) == 40
    assert [e["name"] for e in run.events("system_measured")] == [s.name for s in found.systems]


@pytest.mark.parametrize("kind", ["generation", "chat"])
def test_free_text(
    kind: str, trained_run: Callable[..., Run], read_csv: Callable[[Path], list[dict[str, str]]]
) -> None:
    run = trained_run(kind, test=12, evaluate=FAST)

    found = evaluate(run)

    assert [s.name for s in found.systems] == ["tuned", "zero_shot", "few_shot"]
    assert found.main_metric == "chrf"
    assert not any("do not fit" in note for note in found.notes), "nobody asked for the others"
    tuned, zero_shot, _ = found.systems
    assert tuned.metrics["perplexity"].value < zero_shot.metrics["perplexity"].value / 5
    assert tuned.metrics["rouge_l"].value > zero_shot.metrics["rouge_l"].value
    assert tuned.p_value is None and zero_shot.p_value is None
    assert zero_shot.difference is not None and zero_shot.difference.value > 0
    assert found.calibration is None and tuned.confusion is None
    assert len(found.samples) == 8 and set(found.samples[0]) == {"prompt", "expected", "answer"}
    rows = read_csv(run.path / found.predictions_file)
    assert {"gold", "predicted", "zero_shot", "few_shot", "tokens"} <= set(rows[0])
    assert rows[0]["gold"].startswith("a ")


def test_plain_text(trained_run: Callable[..., Run]) -> None:
    found = evaluate(trained_run("text", test=12, evaluate=FAST))

    assert found.main_metric == "perplexity"
    assert [s.name for s in found.systems] == ["tuned", "zero_shot"]
    difference = found.systems[1].difference
    assert difference is not None and difference.high is not None and difference.high < 0
    assert not any("not measurably better" in note for note in found.notes)


def test_without_test_rows(trained_run: Callable[..., Run]) -> None:
    run = trained_run("classification")
    put_rows(run, test=[])

    with pytest.raises(DataError, match=r"the test split has no rows.*data\.split\.test"):
        evaluate(run)


def test_without_calibration_rows(trained_run: Callable[..., Run]) -> None:
    run = trained_run("classification", evaluate={**FAST, "baselines": []})
    put_rows(run, calibration=[])

    found = evaluate(run)

    assert found.calibration is None
    assert any("no calibration split" in note for note in found.notes)


def test_chosen_metrics_the_first_is_the_main_one(trained_run: Callable[..., Run]) -> None:
    wanted = ["macro_f1", "rouge_l", "accuracy"]
    run = trained_run(
        "classification", evaluate={**FAST, "baselines": ["majority"], "metrics": wanted}
    )

    found = evaluate(run)

    assert found.main_metric == "macro_f1"
    assert list(found.systems[0].metrics) == ["macro_f1", "accuracy"]
    assert any("'rouge_l' does not fit a classification task" in note for note in found.notes)


def test_baselines_of_another_task_are_left_out_with_a_note_if_asked_for(
    make_run: Callable[..., Run],
) -> None:
    asked = {"baselines": ["tfidf", "zero_shot", "majority"]}
    recipe = make_run(task={"kind": "text", "labels": None}, evaluate=asked).recipe
    assert _baselines(recipe) == (
        ["zero_shot"],
        ["The baselines tfidf, majority do not fit a text task and were left out."],
    )
    unset = recipe.evaluate.model_copy(update={"baselines": None})
    recipe = recipe.model_copy(update={"evaluate": unset})
    for kind, usual in (
        ("text", ["zero_shot"]),
        ("chat", ["zero_shot", "few_shot"]),
        ("classification", ["majority", "tfidf", "zero_shot", "few_shot"]),
    ):
        task = recipe.task.model_copy(update={"kind": kind})
        assert _baselines(recipe.model_copy(update={"task": task})) == (usual, [])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metrics": ["chrf"]}, "none of chrf fits a classification task"),
        ({"slice_by": "stile"}, "no row has a column 'stile'. Did you mean 'style'"),
    ],
)
def test_mistakes_in_the_recipe_are_found_before_any_work(
    options: dict[str, object], message: str, make_run: Callable[..., Run]
) -> None:
    run = make_run(evaluate=options)
    put_rows(run, test=[classification_row(i) for i in range(4)])

    with pytest.raises(LuthierError) as error:
        evaluate(run)

    assert message in str(error.value)


def test_a_label_outside_the_set_names_the_row(trained_run: Callable[..., Run]) -> None:
    run = trained_run("classification", evaluate=FAST)
    put_rows(run, test=[classification_row(0), classification_row(1).but(label="Flase")])

    with pytest.raises(DataError, match=r"rows\.csv:3: the label is 'Flase'.*mean 'False'"):
        evaluate(run)


def test_a_baseline_that_cannot_be_measured_is_noted(trained_run: Callable[..., Run]) -> None:
    run = trained_run("classification", evaluate={**FAST, "baselines": ["tfidf", "majority"]})
    put_rows(run, train=[classification_row(i) for i in range(0, 20, 2)])

    found = evaluate(run)

    assert [s.name for s in found.systems] == ["tuned", "majority"]
    assert any("'tfidf' could not be measured" in note for note in found.notes)


def test_repeating_the_evaluation_gives_the_same_figures(trained_run: Callable[..., Run]) -> None:
    run = trained_run("classification", evaluate=FAST)

    def figures() -> object:
        found = evaluate(run).model_dump()
        for system in found["systems"]:
            system.pop("seconds")
        return found

    assert figures() == figures()


def test_on_other_rows(trained_run: Callable[..., Run]) -> None:
    run = trained_run("classification", evaluate={**FAST, "baselines": []})
    others = [classification_row(i) for i in range(200, 230)]
    with run.stage("evaluate", "fingerprint"):
        fitted = evaluate(run).calibration
    before = (run.path / "evaluate/metrics.json").read_bytes()

    found = evaluate_on(run, others, slice_by="style")

    assert [s.name for s in found.systems] == ["tuned"]
    assert found.rows == 30 and len(found.slices) == 3
    assert fitted is not None and found.calibration is not None
    assert found.calibration.temperature == fitted.temperature
    assert found.calibration.before != fitted.before
    assert (run.path / "evaluate/metrics.json").read_bytes() == before

    with pytest.raises(DataError, match="no rows"):
        evaluate_on(run, [])


def test_slices_go_by_the_names_of_the_file(
    trained_run: Callable[..., Run], read_csv: Callable[[Path], list[dict[str, str]]]
) -> None:
    run = trained_run("classification", evaluate={**FAST, "baselines": [], "slice_by": "label"})
    found = evaluate(run)
    assert set(found.slices) == {"True", "False"}
    rows = read_csv(run.path / found.predictions_file)
    assert len(rows) == found.rows
    assert [row["label"] for row in rows] == [row["gold"] for row in rows]

    others = [classification_row(i) for i in range(200, 230)]
    for slice_by, columns in (("label", None), ("gold", {"output": "gold"}), ("output", None)):
        assert set(evaluate_on(run, others, slice_by=slice_by, columns=columns).slices) == {
            "True", "False",
        }  # fmt: skip
    others_names = {"input": "text", "output": "gold"}
    for columns, listed in (
        (None, "label, sentence, style"), (others_names, "gold, style, text"),
    ):  # fmt: skip
        with pytest.raises(DataError, match=rf"no row has a column 'year'\. Columns: {listed}\."):
            evaluate_on(run, others, slice_by="year", columns=columns)


def test_figures_without_an_interval_are_noted(trained_run: Callable[..., Run]) -> None:
    run = trained_run("classification", evaluate={**FAST, "baselines": ["majority"]})
    put_rows(run, test=[classification_row(0)])

    found = evaluate(run)

    assert found.systems[0].metrics["macro_f1"].low is None
    assert any(note.startswith("No interval for macro_f1 of tuned") for note in found.notes)
    assert not any("interval for accuracy" in note for note in found.notes)
