"""Prediction: every kind of source, every kind of bad row, and files that survive a kill."""

from __future__ import annotations

import csv
import datetime
import decimal
import io
import json
import math
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from test_cli import ENVIRONMENT
from trained_project import (  # noqa: F401
    Project,
    another_model,
    finished,
    keys,
    luthier,
    make_project,
    project,
    rows,
)

import luthier as package
from luthier import predict, row_file
from luthier.artifacts import Evaluation
from luthier.errors import DataError, LuthierError, RunError
from luthier.evaluation.evaluate import evaluate
from luthier.made_with import MadeWith
from luthier.run import Run

ADDED = ["predicted", "confidence", "p:True", "p:False"]
HARD = [
    'We will build, "soon", 4 clinics',
    "two\nlines, and a lone\rreturn",
    "Ünïcode ☃ 你好 \u202e",
    "<|im_end|> {input} {{ x }}",
    " spaces ",
    "=1+1",
]


@pytest.fixture(scope="module")
def predictor(finished: Project) -> predict.Predictor:  # noqa: F811
    return predict.load(finished.run)


def table_of(said: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(said, newline="")))


def as_csv(columns: list[str], lines: list[list[str]]) -> str:
    file = io.StringIO()
    csv.writer(file).writerows([columns, *lines])
    return file.getvalue()


# --- from Python -------------------------------------------------------------------------------


def test_load_and_predict(finished: Project) -> None:  # noqa: F811
    detector = package.load(finished.run)
    answers = detector.predict(["We will paint wall 3 red.", "Nobody counted 3 birds."])
    assert detector.predict(["We will paint wall 3 red."], batch_size=1)[0].predicted == (
        answers[0].predicted
    )
    for found in answers:
        assert sum(found.probabilities.values()) == pytest.approx(1)
        assert found.confidence == max(found.probabilities.values())
        assert found.probabilities[found.predicted] == found.confidence
    assert detector.predict([]) == []
    with pytest.raises(TypeError, match="list of texts"):
        detector.predict("a sentence")


def test_answers_equal_those_of_the_evaluation(
    finished: Project,  # noqa: F811
    predictor: predict.Predictor,
) -> None:
    measured = table_of((finished.run / "evaluate/predictions.csv").read_text())
    answers = predictor.predict([row["input"] for row in measured])
    assert [a.predicted for a in answers] == [row["predicted"] for row in measured]
    assert [a.confidence for a in answers] == pytest.approx(
        [float(row["confidence"]) for row in measured], abs=2e-6
    )


def test_confidence_is_calibrated_once_evaluated(
    project: Project,  # noqa: F811
    predictor: predict.Predictor,
) -> None:
    calibration = Evaluation.load(Run(project.run)).calibration
    assert calibration is not None
    assert predictor.temperature == calibration.temperature != 1
    # Not by training anew: where the outcome is the same, its evaluation stays.
    shutil.rmtree(project.run / "evaluate")
    manifest = project.run / "manifest.json"
    done = json.loads(manifest.read_text(encoding="utf-8"))
    manifest.write_text(json.dumps({k: v for k, v in done.items() if k != "evaluate"}), "utf-8")
    raw = predict.load(project.run)
    assert raw.temperature == 1
    text = ["We will paint wall 3 red."]
    [plain], [tempered] = raw.predict(text), predictor.predict(text)

    def margin(found: predict.Prediction) -> float:
        return math.log(found.probabilities["True"]) - math.log(found.probabilities["False"])

    assert margin(tempered) == pytest.approx(margin(plain) / calibration.temperature, rel=1e-4)


def test_text_is_predicted_for_generation_and_chat(train_run: Callable[..., Any]) -> None:
    run, _ = train_run(task={"kind": "generation", "labels": None}, data={"template": "plain"},
                       evaluate={"generation": {"max_new_tokens": 5}})  # fmt: skip
    [answer, again] = predict.load(run).predict(["Nobody counted.", "Nobody counted."])
    assert isinstance(answer.predicted, str)
    assert answer == again
    assert (answer.confidence, answer.probabilities) == (None, {})
    assert answer.columns() == {"predicted": answer.predicted}
    said = luthier("predict", run.path, "Nobody counted.", "--json")
    assert said.json["predictions"] == [
        {"input": "Nobody counted.", "predicted": answer.predicted}
    ]  # fmt: skip
    plain = luthier("predict", run.path, "Nobody counted.").out
    assert plain == answer.predicted + "\n"


def test_chat_runs_answer_a_question(train_run: Callable[..., Any], tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "What is it?"}, {"role": "assistant", "content": "Red."}]
    lines = [
        json.dumps({"messages": [{**turns[0], "content": f"What is {i}?"}, turns[1]]})
        for i in range(40)
    ]
    (tmp_path / "chat.jsonl").write_text("\n".join(lines))
    run, _ = train_run(
        task={"kind": "chat", "labels": None},
        data={"sources": [{"path": "chat.jsonl"}], "template": "plain"},
        evaluate={"generation": {"max_new_tokens": 4}},
    )
    [answer] = predict.load(run).predict(["What is it?"])
    assert answer.confidence is None
    args = ("predict", run.path, tmp_path / "chat.jsonl")
    assert "no column 'input'" in luthier(*args).err
    refused = luthier(*args, "--column", "messages")
    assert refused.code == 2
    assert "chat.jsonl:1: found a conversation" in refused.err


def test_runs_on_plain_text_have_no_answers(train_run: Callable[..., Any], tmp_path: Path) -> None:
    text = "\n".join(json.dumps({"text": f"Line {i} of a story."}) for i in range(30))
    (tmp_path / "t.jsonl").write_text(text)
    run, _ = train_run(
        task={"kind": "text", "labels": None}, data={"sources": [{"path": "t.jsonl"}]}
    )
    with pytest.raises(LuthierError, match="no question to answer"):
        predict.load(run)


# --- sources -----------------------------------------------------------------------------------


def test_a_sentence(finished: Project) -> None:  # noqa: F811
    said = luthier("predict", finished.run, "We will do it.")
    label, sure = said.out.split()
    assert label in ("True", "False")
    assert 0.5 <= float(sure) <= 1
    long = luthier("predict", finished.run, "word " * 60)  # no file name is that long
    assert long.code == 0, long.err


def test_standard_input(finished: Project) -> None:  # noqa: F811
    said = luthier("predict", finished.run, "-", given="One.\n\nÜber \u2028 two.\r\n")
    found = table_of(said.out)
    assert [row["input"] for row in found] == ["One.", "", "Über \u2028 two."]
    assert [bool(row["predicted"]) for row in found] == [True, False, True]
    assert "standard input:2: empty input" in said.err
    assert "rows without a prediction: 1 (empty input)" in said.err
    bad = luthier("predict", finished.run, "-", given=b"fine\n\xff\n")
    assert (bad.code, "standard input:2: not UTF-8" in bad.err) == (2, True)
    assert "iconv -f" in bad.err
    nul = luthier("predict", finished.run, "-", given=b"x\0y\n")
    assert (nul.code, "standard input:1: NUL byte" in nul.err) == (2, True)


def test_nothing_on_standard_input_is_refused_as_an_empty_file_is(
    finished: Project,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(predict, "load", lambda *args, **options: pytest.fail("model opened"))
    said = luthier("predict", finished.run, "-", given=b"")
    assert (said.code, said.out) == (2, "")
    assert "standard input is empty" in said.err


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "json", "parquet", "txt", "md"])
def test_every_kind_of_file_gives_the_same(
    finished: Project,  # noqa: F811
    predictor: predict.Predictor,
    tmp_path: Path,
    kind: str,
) -> None:
    texts = ["We will paint it.", "Nobody counted the birds.", "Ünï, “quoted”."]
    source = tmp_path / f"rows.{kind}"
    records = [{"n": str(i), "sentence": text} for i, text in enumerate(texts)]
    if kind in ("csv", "tsv"):
        lines = ["\t".join(r.values()) if kind == "tsv" else f'{r["n"]},"{r["sentence"]}"'
                 for r in records]  # fmt: skip
        source.write_text(("\t" if kind == "tsv" else ",").join(records[0]) + "\n"
                          + "\n".join(lines))  # fmt: skip
    elif kind == "json":
        source.write_text(json.dumps(records))
    elif kind == "jsonl":
        source.write_text("\n".join(map(json.dumps, records)))
    elif kind == "parquet":
        pq.write_table(pa.Table.from_pylist(records), source)
    else:
        source.write_text("\n".join(texts))
    said = luthier("predict", finished.run, source, "--json")
    assert said.code == 0, said.err
    found = said.json["predictions"]
    given = ["input"] if kind in ("txt", "md") else ["n", "sentence"]
    assert keys(found) == [*given, *ADDED]
    assert [row[given[-1]] for row in found] == texts
    expected = predictor.predict(texts)
    assert [row["predicted"] for row in found] == [e.predicted for e in expected]
    assert [row["p:True"] for row in found] == pytest.approx(
        [e.probabilities["True"] for e in expected], abs=2e-6
    )


def test_rows_come_out_as_they_went_in(finished: Project, tmp_path: Path) -> None:  # noqa: F811
    source = tmp_path / "hard.csv"
    given = [[text, f"note {i},", ""] for i, text in enumerate(HARD)]
    source.write_bytes(as_csv(["sentence", "a note", "p:other"], given).encode())
    for out in (tmp_path / "out.csv", tmp_path / "out.jsonl"):
        said = luthier("predict", finished.run, source, "--out", out, "--json")
        assert said.json == {"rows": len(HARD), "out": str(out)}
        text = out.read_bytes().decode()
        found = table_of(text) if out.suffix == ".csv" else [
            json.loads(line) for line in text.splitlines()
        ]  # fmt: skip
        assert [list(row.values())[:3] for row in found] == given
        assert keys(found) == ["sentence", "a note", "p:other", *ADDED]
        assert all(row["predicted"] in ("True", "False") for row in found)
    assert not list(tmp_path.glob("*.part")) + list(tmp_path.glob("*.progress"))


NUMBERS = """\
{"sentence": "We will paint it.", "half": 0.50, "big": 1E5, "more": 0.1234567890123456789}
{"sentence": "Nobody counted.", "whole": 1, "huge": 123456789012345678901234567890, "one": 1.0}
{"sentence": "They did.", "yes": true, "no": false, "null": null, "text": "0.50"}
{"sentence": "Ünï.", "nested": [1.50, {"a": [true, null, -0.0, "x"], "b": {}}], "nan": NaN}
"""


def test_json_values_keep_their_types(finished: Project, tmp_path: Path) -> None:  # noqa: F811
    source = tmp_path / "rows.jsonl"
    source.write_text(NUMBERS)
    as_list = tmp_path / "rows.json"
    as_list.write_text("[" + ",".join(NUMBERS.splitlines()) + "]")
    out, other, table = (tmp_path / name for name in ("out.jsonl", "other.jsonl", "out.csv"))
    for given, to in ((source, out), (as_list, other), (source, table)):
        said = luthier("predict", finished.run, given, "--out", to)
        assert said.code == 0, said.err
    lines = out.read_text().splitlines()
    for line, given in zip(lines, NUMBERS.splitlines(), strict=True):
        assert line.startswith(given.removesuffix("}") + ', "predicted": "')
        assert isinstance(json.loads(line)["confidence"], float)
    assert other.read_text() == out.read_text()
    first, second, third, fourth = table_of(table.read_bytes().decode())
    assert [first[name] for name in ("half", "big")] == ["0.50", "1E5"]
    assert [second[name] for name in ("whole", "one", "half")] == ["1", "1.0", ""]
    assert [third[name] for name in ("yes", "no", "null", "text")] == ["true", "false", "", "0.50"]
    assert fourth["nested"] == '[1.50, {"a": [true, null, -0.0, "x"], "b": {}}]'
    found = luthier("predict", finished.run, source, "--json").json["predictions"]
    for row, given in zip(found, NUMBERS.replace("NaN", "null").splitlines(), strict=True):
        assert {k: row[k] for k in json.loads(given)} == json.loads(given)
        assert type(row.get("one", 1.0)) is float


def test_parquet_values_keep_their_types(finished: Project, tmp_path: Path) -> None:  # noqa: F811
    source, out = tmp_path / "rows.parquet", tmp_path / "out.jsonl"
    given = {
        "sentence": "We will paint it.", "half": 0.5, "whole": 3, "yes": True, "none": None,
        "list": [1.5, 2.5], "nested": {"a": 1, "b": [False]}, "price": decimal.Decimal("1.50"),
        "day": datetime.date(2020, 1, 2),
    }  # fmt: skip
    pq.write_table(pa.Table.from_pylist([given]), source)
    assert luthier("predict", finished.run, source, "--out", out).code == 0
    [line] = out.read_text().splitlines()
    assert '"price": 1.50, "day": "2020-01-02", "predicted"' in line
    row = json.loads(line)
    same = [name for name in given if name not in ("price", "day")]
    assert {name: row[name] for name in same} == {name: given[name] for name in same}


def test_numbers_in_a_csv_file_stay_as_written(finished: Project, tmp_path: Path) -> None:  # noqa: F811
    source, out = tmp_path / "rows.csv", tmp_path / "out.jsonl"
    source.write_text("sentence,n,code,yes\nWe will.,0.50,007,true\n")
    assert luthier("predict", finished.run, source, "--out", out).code == 0
    row = json.loads(out.read_text())
    assert [row[name] for name in ("n", "code", "yes")] == ["0.50", "007", "true"]


def test_empty_cells_get_no_prediction(finished: Project, tmp_path: Path) -> None:  # noqa: F811
    source = tmp_path / "rows.csv"
    source.write_text('sentence\nWe will.\n" "\n""\nThey did.\n')
    said = luthier("predict", finished.run, source)
    assert [bool(row["predicted"]) for row in table_of(said.out)] == [True, False, False, True]
    assert "rows.csv:3: empty input; it gets no prediction" in said.err
    assert "rows without a prediction: 2 (empty input)" in said.err


def test_no_row_is_lost_at_a_blank_line(finished: Project, tmp_path: Path) -> None:  # noqa: F811
    source = tmp_path / "rows.csv"
    source.write_text("sentence\nfoo\n\nbar\n")
    said = luthier("predict", finished.run, source)
    found = table_of(said.out)
    assert [row["sentence"] for row in found] == ["foo", "", "bar"]
    assert [bool(row["predicted"]) for row in found] == [True, False, True]
    assert "rows.csv:3: empty input" in said.err and "skipped" not in said.err
    source.write_text("sentence,n\nfoo,1\n\n\nbar,2\n")
    said = luthier("predict", finished.run, source)
    assert [row["n"] for row in table_of(said.out)] == ["1", "2"]
    assert said.err.count("rows.csv: 2 blank lines skipped") == 1


def test_inputs_beyond_the_models_context(finished: Project, tmp_path: Path) -> None:  # noqa: F811
    source = tmp_path / "rows.csv"
    source.write_text(f"sentence\nWe will.\n{'word ' * 900}\n")
    said = luthier("predict", finished.run, source)
    assert [bool(row["predicted"]) for row in table_of(said.out)] == [True, False]
    assert "rows.csv:3: longer than the model's context of 512 tokens" in said.err
    alone = luthier("predict", finished.run, "word " * 900)
    assert (alone.code, alone.out) == (2, "")


def test_a_column_of_the_same_name_is_kept(finished: Project, tmp_path: Path) -> None:  # noqa: F811
    first, second = tmp_path / "first.csv", tmp_path / "second.csv"
    source = tmp_path / "rows.csv"
    source.write_text("sentence,predicted,predicted_column\nWe will.,mine,too\n")
    assert luthier("predict", finished.run, source, "--out", first).code == 0
    assert luthier("predict", finished.run, first, "--out", second).code == 0
    [row] = table_of(first.read_text())
    assert [row["predicted_column_column"], row["predicted_column"]] == ["mine", "too"]
    [again] = table_of(second.read_text())
    assert again["predicted"] == row["predicted"]
    assert {"mine", "too"} <= set(again.values())
    assert len(again) == 3 + 2 * len(ADDED)


def test_rows_with_different_keys_share_the_columns(
    finished: Project,  # noqa: F811
    tmp_path: Path,
) -> None:
    source = tmp_path / "rows.jsonl"
    records = [
        {"sentence": "One.", "a": 1}, {"b": [1, "ü"], "sentence": "Two."},
        {"sentence": "Three.", "c": None, "a": True},
    ]  # fmt: skip
    source.write_text("\n".join(map(json.dumps, records)))
    found = table_of(luthier("predict", finished.run, source).out)
    assert keys(found) == ["sentence", "a", "b", "c", *ADDED]
    assert [row["a"] for row in found] == ["1", "", "true"]
    assert [row["b"] for row in found] == ["", '[1, "ü"]', ""]


def test_fields_go_into_the_template_under_their_names_in_training(
    train_run: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "mine.yaml").write_text(
        'description: A test.\nprompt: "{labels} | {input} | {style}"\ncompletion: "{output}"\n'
    )
    run, _ = train_run(data={"template": "mine.yaml"})
    source = tmp_path / "new.csv"
    source.write_text("sentence,style,labels,input\nWe will.,plan,none,other\n")
    asked = predict.open_asked(str(source), None, "sentence")
    predictor = predict.load(run)
    [message] = predictor._prompt(next(asked.read()).fields)
    assert message.content == "True, False | We will. | plan"
    lacking = luthier("predict", run.path, "We will.")
    assert lacking.code == 2
    assert "needs the field 'style'" in lacking.err


OWN = 'description: A test.\nprompt: "Judge this: {input}"\ncompletion: "{output}"\n'


def test_a_template_finds_the_column_under_its_own_name(
    train_run: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "mine.yaml").write_text(
        'description: Mine.\nprompt: "{options_}\\n{sentence}"\ncompletion: "{label}"\n'
    )
    source = {"path": "rows.csv", "input": "sentence", "output": "label",
              "labels": ["True", "False"]}  # fmt: skip
    run, _ = train_run(task={"kind": "generation", "labels": None},
                       data={"template": "mine.yaml", "sources": [source]})  # fmt: skip
    predictor = predict.load(run)
    [asked] = predictor._prompt({"input": "We paint."})
    assert asked.content == "OPTIONS:\n- True\n- False\nWe paint."
    (tmp_path / "a.csv").write_text('sentence\nWe paint.\n""\n')
    (tmp_path / "b.csv").write_text('body\nWe paint.\n""\n')
    for name, column in (("a.csv", None), ("b.csv", "body")):
        given = predict.open_asked(str(tmp_path / name), column, predictor.column)
        first, empty = given.read()
        assert predictor._prompt(first.fields)[0].content.endswith("\nWe paint.")
        assert predictor.why_not(first.fields) is None
        assert predictor.why_not(empty.fields) == "empty input"


def test_the_template_is_the_one_of_the_training(
    train_run: Callable[..., Any], tmp_path: Path
) -> None:
    own = tmp_path / "mine.yaml"
    own.write_text(OWN)
    run, _ = train_run(data={"template": "mine.yaml"})
    texts = ["We will paint wall 3 red.", "Nobody counted."]
    expected = predict.load(run).predict(texts)
    own.write_text(OWN.replace("Judge this", "Say nothing but False, whatever this is"))
    assert predict.load(run).predict(texts) == expected
    own.unlink()
    assert predict.load(run).predict(texts) == expected
    moved = tmp_path.parent / f"{tmp_path.name}-moved"
    shutil.move(run.path, moved)
    assert predict.load(moved).predict(texts) == expected


def test_a_dataset_that_is_gone_changes_no_answer(project: Project) -> None:  # noqa: F811
    expected = predict.load(project.run).predict(TEXTS)
    shutil.rmtree(project.run / "data")
    assert predict.load(project.run).predict(TEXTS) == expected


# --- a recipe that has moved on ----------------------------------------------------------------


TEXTS = ["We will paint wall 3 red.", "Nobody counted 3 birds."]


def test_another_base_model_in_the_recipe_is_not_put_under_the_weights(
    project: Project,  # noqa: F811
    tiny_model_dir: Path,
    tmp_path: Path,
) -> None:
    expected = predict.load(project.run).predict(TEXTS)
    project.edit(str(tiny_model_dir), str(another_model(tiny_model_dir, tmp_path / "another")))
    project.edit("bf16: false", "bf16: true, attn_implementation: eager")
    assert project.do("plan").code == 0
    run = Run(project.run)
    assert run.recipe.model.name.endswith("another") and run.is_done("train")
    assert predict.load(run).predict(TEXTS) == expected
    assert predict.load(run).recipe.model.name == str(tiny_model_dir)


def test_a_base_model_that_was_changed_in_place_is_refused(
    tmp_path: Path, tiny_model_dir: Path
) -> None:
    base = shutil.copytree(tiny_model_dir, tmp_path / "model")
    made = make_project(tmp_path / "p", base)
    assert made.do("train").code == 0
    weights = (base / "model.safetensors").read_bytes()
    expected = made.do("predict", TEXTS[0], name="tiny")
    assert expected.code == 0, expected.err

    os.utime(base / "model.safetensors", ns=(0, 0))  # a copy has another time
    (base / "README.md").write_text("It may say what it likes.")
    assert made.do("predict", TEXTS[0], name="tiny") == expected
    another_model(tiny_model_dir, tmp_path / "another")
    shutil.copy(tmp_path / "another/model.safetensors", base)
    for verb, *args in (["predict", TEXTS[0]], ["evaluate"], ["ship"], ["show", "--tokens"]):
        said = made.do(verb, *args, name="tiny")
        assert said.code == 2, verb
        assert "no longer the one that" in said.err and "model.safetensors changed" in said.err
        assert "`luthier train RECIPE`" in said.err
    (base / "model.safetensors").write_bytes(weights)
    assert made.do("predict", TEXTS[0], name="tiny") == expected
    (base / "tokenizer_config.json").unlink()
    assert "tokenizer_config.json changed" in made.do("predict", TEXTS[0], name="tiny").err


def test_a_run_to_build_upon_that_was_trained_otherwise_is_refused(
    project: Project,  # noqa: F811
) -> None:
    upon = "model=run:tiny"
    assert project.do("train", upon).code == 0
    [other] = [p.name for p in project.runs.iterdir() if p.name != "tiny"]
    expected = project.do("predict", TEXTS[0], name=other)
    assert project.do("train", "--force").code == 0
    assert project.do("predict", TEXTS[0], name=other) == expected, "the same weights again"
    project.edit("learning_rate: 1e-2", "learning_rate: 3e-2")
    assert project.do("train").code == 0
    said = project.do("predict", TEXTS[0], name=other)
    assert said.code == 2 and "model 'run:tiny' is no longer the one" in said.err


def test_full_weights_need_nothing_but_the_tokenizer_of_their_base(
    tmp_path: Path, tiny_model_dir: Path
) -> None:
    base = shutil.copytree(tiny_model_dir, tmp_path / "model")
    made = make_project(tmp_path / "p", base)
    made.edit("lora: {r: 4, lora_alpha: 8}", "lora: null")
    assert made.do("train").code == 0
    expected = made.do("predict", TEXTS[0], name="tiny")
    (base / "model.safetensors").unlink()
    assert made.do("predict", TEXTS[0], name="tiny") == expected


def test_answers_are_made_as_they_were_measured(train_run: Callable[..., Any]) -> None:
    run, _ = train_run(task={"kind": "generation", "labels": None}, data={"template": "plain"},
                       evaluate={"generation": {"max_new_tokens": 5}})  # fmt: skip

    def most_tokens() -> int:
        return predict.load(run).recipe.evaluate.generation.max_new_tokens

    generation = {"evaluate": {"baselines": [], "generation": {"max_new_tokens": 3}}}
    run.write_json("recipe.json", run.recipe.resolved() | generation)
    assert most_tokens() == 5, "nothing was measured yet"
    with run.stage("evaluate", "f"):
        evaluate(run)
    assert most_tokens() == 3
    generation["evaluate"]["generation"] = {"max_new_tokens": 7}
    run.write_json("recipe.json", run.recipe.resolved() | generation)
    assert most_tokens() == 3


def test_a_run_that_does_not_say_what_it_was_made_with(project: Project) -> None:  # noqa: F811
    (project.run / MadeWith.FILE).unlink()
    said = project.do("predict", TEXTS[0], name="tiny")
    assert said.code == 2
    assert "made_with.json is missing" in said.err and "`luthier train --force`" in said.err


# --- what cannot be read -----------------------------------------------------------------------


BAD: dict[str, tuple[str, bytes, list[str], list[str]]] = {
    "wrong column": (
        "a.csv", b"sentence\nx\n", ["--column", "sentense"],
        ["a.csv: no column 'sentense'. Did you mean 'sentence'?", "Choose one with --column"],
    ),
    "no such column in a row": (
        "a.jsonl", b'{"sentence": "x"}\n{"sentense": "y"}\n', [],
        ["a.jsonl:2: no column 'sentence'. Did you mean 'sentense'?"],
    ),
    "empty": ("a.csv", b"", [], ["a.csv", "empty"]),
    "empty text": ("a.txt", b"", [], ["a.txt", "empty"]),
    "header only": ("a.csv", b"sentence\n", [], ["a.csv: there are no rows"]),
    "too many fields": (
        "a.csv", b"sentence,n\nx,1\ny,1,2\n", [],
        ["a.csv:3: wrong number of fields", "Mend the row"],
    ),
    "not JSON": ("a.jsonl", b'{"sentence": "x"}\n{oops\n', [], ["a.jsonl:2: not JSON"]),
    "another encoding": (
        "a.txt", b"fine\nna\xefve\n", [],
        ["a.txt:2: is not UTF-8", "iconv -f ISO-8859-1 -t UTF-8 'a.txt' > 'a.utf8.txt'"],
    ),
    "a line that is not UTF-8": (
        "a.txt", "é\nü\n".encode() + b"\xff\n", [], ["a.txt:3: not UTF-8: byte 0xFF", "Mend"]
    ),
    "NUL in text": ("a.txt", b"fine\n" * 9 + b"x\0y\n", [], ["a.txt:10: NUL byte", "Mend"]),
    "NUL in CSV": ("a.csv", b"sentence\nx\0y\n", [], ["a.csv:2: NUL byte", "Mend"]),
    "a row of a JSON list": (
        "a.json", b'[\n {\n  "sentence": "x"\n },\n 3\n]', [], ["a.json: row 2: not an object"]
    ),
    "another kind": ("a.xlsx", b"PK\x03\x04\x00", [], ["a.xlsx", "Excel"]),
    "not Parquet": ("a.parquet", b"nothing", [], ["a.parquet", "not a readable Parquet"]),
    "a column of text": ("a.txt", b"x\n", ["--column", "x"], ["--column", "one input a line"]),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_bad_source_is_refused_before_anything_is_opened(
    finished: Project,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    file, content, options, expected = BAD[name]
    monkeypatch.setattr(predict, "load", lambda *args, **options: pytest.fail("model opened"))
    monkeypatch.chdir(tmp_path)
    Path(file).write_bytes(content)
    said = luthier("predict", finished.run, file, "--out", "out.csv", *options, "--json")
    assert said.code == 2
    for words in expected:
        assert words in said.json["error"]
    assert sorted(p.name for p in tmp_path.iterdir()) == [file]


def test_folders_missing_files_and_empty_sentences(
    finished: Project,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("rows.csv").write_text("sentence\nx\n")
    for source, expected in {
        ".": "is a folder; give one of its files",
        "row.csv": "Did you mean 'rows.csv'?",
        "  ": "the sentence is empty",
        "bro\udcffken": "not UTF-8",
    }.items():
        said = luthier("predict", finished.run, source)
        assert (said.code, said.out) == (2, "")
        assert expected in said.err
    assert luthier("predict", finished.run, "Hm", "--column", "x").code == 2


@pytest.mark.parametrize(
    "source", ["rows.pdf", "./rows", "data/rows", "rows.CSV", "C:\\rows", "my_rows(1).log", "/"]
)
def test_a_mistyped_file_is_no_sentence(
    finished: Project,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    source: str,
) -> None:
    monkeypatch.setattr(predict, "load", lambda *args, **options: pytest.fail("model opened"))
    monkeypatch.chdir(tmp_path)
    said = luthier("predict", finished.run, source)
    assert (said.code, said.out) == (2, "")
    assert "is a folder" in said.err if source == "/" else "no such file" in said.err
    known = source in ("rows.CSV", "/")
    assert ("the text to answer, give it on standard input (-)" in said.err) is not known


@pytest.mark.parametrize("source", ["Hm...", "3.14", "Why?", "well-known.", "and/or not", "a, b.c"])
def test_a_word_or_two_are_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    monkeypatch.chdir(tmp_path)
    [asked] = predict.open_asked(source, None, "sentence").read()
    assert asked.fields == {"input": source}


def test_existing_output_is_not_touched(
    finished: Project,  # noqa: F811
    tmp_path: Path,
) -> None:
    source, out = tmp_path / "rows.csv", tmp_path / "out.csv"
    source.write_text("sentence\nWe will.\n")
    out.write_text("mine")
    said = luthier("predict", finished.run, source, "--out", out)
    assert (said.code, out.read_text()) == (2, "mine")
    assert "exists already; delete it or choose another --out" in said.err
    for name, words in {"rows.csv": "exists already", "out.xlsx": "unknown ending"}.items():
        refused = luthier("predict", finished.run, source, "--out", tmp_path / name)
        assert (refused.code, words in refused.err) == (2, True)
    (tmp_path / "new.csv.part").write_text("somebody's")
    refused = luthier("predict", finished.run, source, "--out", tmp_path / "new.csv")
    assert (refused.code, "is in the way" in refused.err) == (2, True)


# --- files of any size -------------------------------------------------------------------------


def test_only_a_chunk_is_held(tmp_path: Path) -> None:
    """Rows are read when those before them are on the disk."""
    out = tmp_path / "out.csv"
    read = 0

    def items() -> Iterator[int]:
        nonlocal read
        while read < 10 * row_file.CHUNK - 1:
            read += 1
            yield read

    def make(chunk: list[int]) -> list[dict[str, Any]]:
        part = tmp_path / "out.csv.part"
        written = part.read_bytes().count(b"\n") - 1 if part.exists() else 0
        assert written == chunk[0] - 1
        assert read == chunk[-1] <= written + row_file.CHUNK
        return [{"n": n} for n in chunk]

    row_file.write_rows(
        out, items(), make, columns=["n"], about={}, key=lambda n: n, tally=Counter()
    )
    assert [int(row["n"]) for row in table_of(out.read_text())] == list(
        range(1, 10 * row_file.CHUNK)
    )


KILLED = """
import os, signal, sys
from luthier import row_file
save, at = row_file._save, int(sys.argv.pop(1))
def kill_at(mark, state):
    if state["rows"] == at:  # the chunk is on the disk, the mark is not
        os.kill(os.getpid(), signal.SIGKILL)
    save(mark, state)
row_file._save = kill_at
row_file.CHUNK = 16
from luthier.cli import app
app()
"""


def test_killed_and_repeated_it_ends_the_same(
    finished: Project,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(row_file, "CHUNK", 16)
    source, once, out = tmp_path / "rows.csv", tmp_path / "once.csv", tmp_path / "out.csv"
    source.write_text(rows(30).replace("We will paint wall 9 red", " ", 1))
    with open(source, "a") as file:
        file.write(",True,empty\n")
    args = ("predict", str(finished.run), str(source), "--out")
    assert luthier(*args, once).code == 0
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, "48", *args, str(out)],
        capture_output=True, text=True, timeout=120, env=ENVIRONMENT,
        cwd=Path(__file__).parents[1],
    )  # fmt: skip
    assert killed.returncode == -9, killed.stderr
    assert not out.exists()
    state = json.loads((tmp_path / "out.csv.progress").read_text())
    part = tmp_path / "out.csv.part"
    assert (state["rows"], part.stat().st_size > state["offset"]) == (32, True)
    with open(part, "ab") as file:
        file.write(b"torn,ro")
    said = luthier(*args, out)
    assert said.code == 0, said.err
    assert "holds 32 rows already" in said.err
    assert "rows without a prediction: 1" in said.err
    assert out.read_bytes() == once.read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["once.csv", "out.csv", "rows.csv"]


@pytest.fixture
def half_done(tmp_path: Path) -> Callable[..., int]:
    """Writes 0..19 in chunks of 5, or stops at a number."""

    def write(
        numbers: range = range(20), stop: int = -1, about: str = "x", name: str = "out.csv"
    ) -> int:
        def make(chunk: list[int]) -> list[dict[str, Any]]:
            if stop in chunk:
                raise KeyboardInterrupt
            return [{"n": n} for n in chunk]

        out = tmp_path / name
        row_file.require_free(out)
        return row_file.write_rows(
            out, iter(numbers), make, columns=["n"], about={"it": about}, key=lambda n: n,
            tally=Counter(),
        )  # fmt: skip

    return write


def test_going_on_needs_the_same_input_and_model(
    half_done: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(row_file, "CHUNK", 5)
    with pytest.raises(KeyboardInterrupt):
        half_done(stop=12)
    part, mark = tmp_path / "out.csv.part", tmp_path / "out.csv.progress"
    before = part.read_bytes()
    with pytest.raises(DataError, match="begun with another input"):
        half_done(range(1, 20))
    with pytest.raises(DataError, match="another model"):
        half_done(about="y")
    assert part.read_bytes() == before
    part.write_bytes(before[:-3])
    with pytest.raises(DataError, match="shorter than"):
        half_done()
    part.write_bytes(before)
    kept = mark.read_bytes()
    mark.write_bytes(kept[:20])
    with pytest.raises(DataError, match="damaged"):
        half_done()
    mark.write_bytes(kept)
    # Rows behind those that are done may have been mended or added.
    assert half_done(range(25)) == 25
    assert [int(row["n"]) for row in table_of((tmp_path / "out.csv").read_text())] == list(
        range(25)
    )


def test_stopped_at_the_very_beginning_and_the_very_end(
    half_done: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(row_file, "CHUNK", 5)
    with pytest.raises(KeyboardInterrupt):
        half_done(stop=0)
    assert half_done() == 20
    once = (tmp_path / "out.csv").read_bytes()
    with pytest.raises(DataError, match="exists already"):
        half_done()

    def unlink(path: Path, missing_ok: bool = False) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Path, "unlink", unlink)
        half_done(name="late.csv")
    assert (tmp_path / "late.csv.progress").exists()
    assert half_done(name="late.csv") == 20
    assert (tmp_path / "late.csv").read_bytes() == once
    assert not (tmp_path / "late.csv.progress").exists()


def test_a_place_that_cannot_be_written(
    half_done: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="a file where a folder should be"):
        half_done(name="file/out.csv")
    monkeypatch.setattr(row_file, "CHUNK", 5)
    (tmp_path / "out.csv.part").mkdir()
    (tmp_path / "out.csv.progress").write_text(
        json.dumps({"about": {"it": "x"}, "rows": 0, "offset": 0, "tally": {},
                    "items": row_file.hashlib.sha256().hexdigest()})
    )  # fmt: skip
    with pytest.raises(RunError, match=r"out.csv cannot be written: Is a directory.*after row 0"):
        half_done()


def test_probabilities_are_those_of_the_scores(predictor: predict.Predictor) -> None:
    found = predictor._prediction(np.array([0.0, math.log(3)]))
    assert found.predicted == predictor.labels[1]
    assert found.confidence == pytest.approx(0.75)
    huge = predictor._prediction(np.array([-1e5, -2e5]))
    assert huge.probabilities == {"True": 1.0, "False": 0.0}
