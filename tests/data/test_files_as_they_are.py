"""Templates that were written for a file run on the file as it is, and are told what they need."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from luthier.artifacts import load_examples
from luthier.data.build import build, read_rows_like
from luthier.data.lint import lint
from luthier.data.shape import shape_of, template_sets
from luthier.errors import DataError, RecipeError
from luthier.example import SPLITS, Example
from luthier.run import Run

MakeRun = Callable[..., Run]
EMPTY = [{"use": "empty"}]
PROMPTSOURCE = """\
dataset: mine
templates:
  a1: !Template
    answer_choices: {choices}
    id: a1
    jinja: {jinja}
    metadata: !TemplateMetadata {{choices_in_prompt: false, original_task: true}}
    name: one
    reference: ''
"""
NAMES = ["red", "green", "blue", "wall", "street", "house", "road", "river", "hill", "field"]


def jsonl(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def promptsource(path: Path, jinja: str, choices: str = "null") -> str:
    text = PROMPTSOURCE.format(jinja=json.dumps(jinja), choices=choices)
    path.write_text(text, encoding="utf-8")
    return path.name


def reviews(path: Path, labels: tuple[str, ...] = ("good", "bad")) -> None:
    lines = [f"{NAMES[i % 10]} {i} {NAMES[i * 7 % 10]} {i * i},{labels[i % len(labels)]}"
             for i in range(60)]  # fmt: skip
    path.write_text("\n".join(["text,stars", *lines]) + "\n", encoding="utf-8")


def questions(path: Path) -> None:
    """Rows like those of SQuAD, as they are published."""
    jsonl(path, [
        {"id": str(i), "title": "t", "context": f"{NAMES[i % 10]} {i} holds {i * i} birds.",
         "question": f"What does {NAMES[i % 10]} {i} hold?",
         "answers": {"text": [f"{i * i} birds", "birds"], "answer_start": [8, 9]}}
        for i in range(40)
    ])  # fmt: skip


@pytest.fixture
def make(make_run: MakeRun) -> MakeRun:
    """A run of a generation task; arguments are those of `data`."""

    def made(source: dict[str, Any], *, kind: str = "generation", **data: Any) -> Run:
        task = {"kind": kind, "labels": data.pop("task_labels", None)}
        given = {"sources": [source], "filters": EMPTY, **data}
        return make_run(task=task, data=given)

    return made


def rows_of(run: Run) -> list[Example]:
    return [e for split in SPLITS for e in load_examples(run, split)]


def rejected(run: Run) -> list[str]:
    lines = (run.path / "data/rejects.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["reason"] for line in lines]


# --- columns under their own names -------------------------------------------------------------


def test_promptsource_runs_on_rows_as_they_are_published(make: MakeRun, tmp_path: Path) -> None:
    questions(tmp_path / "squad.jsonl")
    jinja = "{{context}} Q: {{question}} ||| {{answers.text[0]}}"
    name = promptsource(tmp_path / "squad.yaml", jinja)
    for source in (
        {"path": "squad.jsonl"},
        {"path": "squad.jsonl", "template": name},
        {"path": "squad.jsonl", "input": "question", "output": "answers"},
    ):
        run = make(source, template=name)
        assert build(run).rows_rejected == {}
        rows = {e.origin.row: e for e in rows_of(run)}
        assert len(rows) == 40 and len({e.id for e in rows.values()}) == 40
        assert rows[4].messages[0].content == "wall 3 holds 9 birds. Q: What does wall 3 hold?"
        assert rows[4].completion == "9 birds"
        values = [json.dumps(v) for v in rows[4].fields.values()]
        assert len(values) == 5 == len(set(values)), "nothing is stored twice"
        report = lint(tmp_path / "recipe.yaml")
        assert [f for f in report.findings if f.check == "reader"] == []


def test_promptsource_runs_on_a_csv(make: MakeRun, tmp_path: Path) -> None:
    reviews(tmp_path / "reviews.csv")
    name = promptsource(
        tmp_path / "r.yaml", "{{text}} Good? ||| {% if stars == 'good' %}Yes{% else %}No{% endif %}"
    )
    stored = []
    for source in ({}, {"input": "text", "output": "stars"}, {"output": "stars"}):
        run = make({"path": "reviews.csv", "format": "columns", **source}, template=name)
        if source == {"output": "stars"}:
            assert build(run).rows_rejected == {}, "the column of the other need not be there"
        build(run)
        rows = sorted(rows_of(run), key=lambda e: e.origin.row)
        assert [e.completion for e in rows[:3]] == ["Yes", "No", "Yes"]
        stored.append((rows[0].fields, rows[0].id))
    assert [sorted(fields) for fields, _ in stored] == [
        ["stars", "text"], ["input", "output"], ["output", "text"],
    ]  # fmt: skip
    assert len({id for _, id in stored}) == 1, "a row is known by what it says"


def test_choices_are_counted_with_the_numbers_of_the_file(make: MakeRun, tmp_path: Path) -> None:
    jsonl(tmp_path / "r.jsonl", [{"text": f"Word {i} of {i * i}", "label": i % 2}
                                 for i in range(40)])  # fmt: skip
    name = promptsource(tmp_path / "p.yaml", "{{text}} ||| {{answer_choices[label]}}", "No ||| Yes")
    run = make({"path": "r.jsonl", "input": "text", "output": "label"}, template=name)
    assert build(run).rows_rejected == {}
    assert {(e.fields["output"], e.completion) for e in rows_of(run)} == {("0", "No"), ("1", "Yes")}
    # Without the column of the answer, what the template answers with tells rows apart.
    jsonl(tmp_path / "r.jsonl", [{"text": f"Word {i // 2}", "label": i % 2} for i in range(40)])
    run = make({"path": "r.jsonl"}, template=name)
    assert build(run).rows_rejected == {} and len({e.id for e in rows_of(run)}) == 40


def test_objects_are_for_templates_that_take_them_apart(make: MakeRun, tmp_path: Path) -> None:
    jsonl(tmp_path / "r.jsonl", [
        {"input": {"text": f"Word {i}", "tags": ["a"] * (i % 3)}, "output": [f"Out {i}"]}
        for i in range(30)
    ])  # fmt: skip
    name = promptsource(
        tmp_path / "p.yaml", "{{input.text}} has {{input.tags | length}} ||| {{output[0]}}"
    )
    run = make({"path": "r.jsonl", "format": "columns"}, template=name)
    assert build(run).rows_rejected == {}
    row = next(e for e in rows_of(run) if e.origin.row == 3)
    assert (row.messages[0].content, row.completion) == ("Word 2 has 2", "Out 2")
    assert row.fields == {"input": {"text": "Word 2", "tags": ["a", "a"]}, "output": ["Out 2"]}
    for template in (None, "instruction"):
        with pytest.raises(DataError, match=r"all 30 rows were rejected.*\n.*wrong type"):
            build(make({"path": "r.jsonl", "format": "columns"}, template=template))
    [first, *_] = rejected(make({"path": "r.jsonl", "format": "columns"}))
    assert first == "wrong type: column 'input' holds an object, expected text"


def test_columns_that_templates_ask_for_are_still_required(make: MakeRun, tmp_path: Path) -> None:
    reviews(tmp_path / "reviews.csv")
    with pytest.raises(DataError, match=r"reviews.csv: no column 'input'"):
        build(make({"path": "reviews.csv", "format": "columns"}, template="instruction"))
    name = promptsource(tmp_path / "r.yaml", "{{text}} ||| {{stars}}")
    with pytest.raises(DataError, match=r"reviews.csv: no column 'star'. Did you mean 'stars'"):
        build(make({"path": "reviews.csv", "output": "star"}, template=name))
    name = promptsource(tmp_path / "w.yaml", "{{txet}} ||| {{stars}}")
    with pytest.raises(
        DataError, match=r"placeholder \{txet\} in reviews.csv. Did you mean 'text'"
    ):
        build(make({"path": "reviews.csv", "format": "columns"}, template=name))


def test_a_field_that_took_the_name_of_a_column_keeps_it(make: MakeRun, tmp_path: Path) -> None:
    jsonl(tmp_path / "r.jsonl", [{"output": f"Ask {i}", "input": f"Say {i}", "a": f"B {i}"}
                                 for i in range(30)])  # fmt: skip
    name = promptsource(tmp_path / "p.yaml", "{{input}} {{a}} {{b}} ||| {{output}}")
    run = make({"path": "r.jsonl", "input": "output", "output": "input", "fields": {"b": "a"}},
               template=name)  # fmt: skip
    build(run)
    row = next(e for e in rows_of(run) if e.origin.row == 3)
    assert [m.content for m in row.messages] == ["Ask 2 B 2 B 2", "Say 2"]
    assert row.fields == {"input": "Ask 2", "output": "Say 2", "b": "B 2"}


def test_another_file_may_have_other_columns(make: MakeRun, tmp_path: Path) -> None:
    reviews(tmp_path / "reviews.csv")
    source = {"path": "reviews.csv", "input": "text", "output": "stars", "labels": ["good", "bad"]}
    run = make(source, template="sentiment/options_in_front")
    build(run)
    (tmp_path / "other.csv").write_text("body,stars\nSome words,good\n", encoding="utf-8")
    [row], _ = read_rows_like(run, tmp_path / "other.csv", input_column="body")
    assert "Some words" in row.messages[0].content and row.completion == "good"


def test_edited_rows_keep_their_words_under_both_names(make: MakeRun, tmp_path: Path) -> None:
    from luthier.data.decisions import Edits

    reviews(tmp_path / "reviews.csv")
    name = promptsource(tmp_path / "r.yaml", "{{text}} ||| {{stars}}")
    run = make({"path": "reviews.csv", "input": "text", "output": "stars"}, template=name)
    build(run)
    shape = shape_of(run.recipe, template_sets(run.recipe, tmp_path))
    row = rows_of(run)[0]
    assert shape.with_edits(row, Edits()).messages == row.messages
    assert shape.stored_name(row, "text") == "input" and shape.stored_name(row, "input") == "input"
    edited = shape.with_edits(row, Edits(fields={"input": "New", "output": "great"}))
    assert [m.content for m in edited.messages] == ["New", "great"]


# --- keys that rows leave out ------------------------------------------------------------------


@pytest.mark.parametrize("first", ["with", "without"])
def test_a_key_that_rows_leave_out_is_null(make: MakeRun, tmp_path: Path, first: str) -> None:
    rows: list[dict[str, Any]] = [
        {"question": f"What is {NAMES[i % 10]} {i}?", "answer": f"It is {i * i}.",
         **({"context": f"Passage {i}"} if (i % 2 == 0) == (first == "with") else {})}
        for i in range(40)
    ]  # fmt: skip
    jsonl(tmp_path / "r.jsonl", rows)
    jinja = "{% if context %}P: {{context}} {% endif %}Q: {{question}} ||| {{answer}}"
    run = make({"path": "r.jsonl"}, template=promptsource(tmp_path / "p.yaml", jinja))
    assert build(run).rows_rejected == {}
    asked = {e.origin.row: e.messages[0].content for e in rows_of(run)}
    shown = [asked[row].startswith("P: ") for row in (1, 2, 3, 4)]
    assert shown == ([True, False] * 2 if first == "with" else [False, True] * 2)
    printed = promptsource(tmp_path / "q.yaml", "{{context}} Q: {{question}} ||| {{answer}}")
    run = make({"path": "r.jsonl"}, template=printed)
    assert build(run).rows_rejected == {"missing field": 20}
    jsonl(tmp_path / "r.jsonl", [{k: v for k, v in r.items() if k != "context"} for r in rows])
    with pytest.raises(DataError, match=r"no field for the placeholder \{context\} in r.jsonl"):
        build(make({"path": "r.jsonl"}, template="p.yaml"))


def test_a_field_of_a_few_rows_is_no_error_for_any_template(make: MakeRun, tmp_path: Path) -> None:
    """Each row gets one template of the set; most templates never meet the rows that have it."""
    rows = [{"question": f"What is {i}?", "answer": f"It is {i * i}."} for i in range(30)]
    rows[17]["context"] = "A passage"
    jsonl(tmp_path / "r.jsonl", rows)
    one = "  a{n}: !Template {{id: a{n}, name: t{n}, answer_choices: null, jinja: {jinja}}}\n"
    jinja = json.dumps("{% if context %}{{context}}{% endif %}{{question}} ||| {{answer}}")
    text = "templates:\n" + "".join(one.format(n=n, jinja=jinja) for n in range(6))
    (tmp_path / "p.yaml").write_text(text, encoding="utf-8")
    assert build(make({"path": "r.jsonl"}, template="p.yaml")).rows_rejected == {}


# --- label sets of sources ---------------------------------------------------------------------


def test_a_source_lists_its_labels_as_options(make: MakeRun, tmp_path: Path) -> None:
    reviews(tmp_path / "reviews.csv", ("007", "true", "bad"))
    (tmp_path / "stars.csv").write_text("text,stars\nNone of them,Bad\n", encoding="utf-8")
    for kind in ("generation", "chat"):
        source = {"path": "reviews.csv", "input": "text", "output": "stars", "format": "columns",
                  "labels": ["007", "true", "bad"]}  # fmt: skip
        run = make(source, kind=kind, template="sentiment")
        assert build(run).rows_rejected == {}
        rows = rows_of(run)
        assert len(rows) == 60 and all(e.label is None for e in rows)
        listed = [e for e in rows if "OPTIONS" in e.messages[0].content]
        assert len(listed) > 20
        for row in listed:
            assert all(f"- {x}" in row.messages[0].content for x in ("007", "true", "bad"))


def test_a_set_of_ours_runs_in_classification_too(make: MakeRun, tmp_path: Path) -> None:
    reviews(tmp_path / "reviews.csv")
    source = {"path": "reviews.csv", "input": "text", "output": "stars"}
    run = make(source, kind="classification", task_labels=["good", "bad"], template="sentiment")
    assert build(run).rows_rejected == {}
    rows = rows_of(run)
    assert {e.label for e in rows} == {"good", "bad"} and len({e.template for e in rows}) > 5
    assert all(set(e.fields) == {"input", "output"} for e in rows)


def test_labels_of_a_source_are_what_stands_in_the_recipe(make: MakeRun, tmp_path: Path) -> None:
    from luthier.recipe import load

    make({"path": "rows.csv"})
    text = (
        "name: a\nmodel: m\ntask: {kind: generation}\ndata:\n  sources:\n"
        "    - path: rows.csv\n      labels: [true, 007, 3e-4, no]\n"
    )
    path = tmp_path / "a.yaml"
    path.write_text(text, encoding="utf-8")
    assert load(path).recipe.data.sources[0].labels == ["true", "007", "3e-4", "no"]
    for override in (
        "data.sources.0.labels=[true, 007]", "data.sources.0={path: r.csv, labels: [true, 007]}",
        "data.sources=[{path: r.csv, labels: [true, 007]}]",
        "data={sources: [{path: r.csv, labels: [true, 007]}]}",
    ):  # fmt: skip
        assert load(path, [override]).recipe.data.sources[0].labels == ["true", "007"]
    assert load(path, ["data.sources.0.labels.1=08"]).recipe.data.sources[0].labels == [
        "true", "08", "3e-4", "no",
    ]  # fmt: skip


def test_answers_outside_the_labels_of_a_source(make: MakeRun, tmp_path: Path) -> None:
    reviews(tmp_path / "reviews.csv", ("good", "bad", "Good"))
    source = {"path": "reviews.csv", "input": "text", "output": "stars", "labels": ["good", "bad"]}
    for data in ({"inverted": 0.5}, {"filters": [{"use": "labels"}]}):
        run = make(source, template="sentiment", **data)
        stats = build(run)
        assert stats.rows_rejected == {"label outside the set": 20}
        assert rejected(run)[0] == (
            "label outside the set: 'Good' is none of good, bad. Did you mean 'good'?"
        )
        report = lint(tmp_path / "recipe.yaml")
        [found] = [f for f in report.findings if f.what == "label outside the set"]
        assert found.count == 20
    talks = [{"messages": [{"role": "user", "content": f"{i} good?"},
                           {"role": "assistant", "content": "good" if i % 2 else "so so"}]}
             for i in range(40)]  # fmt: skip
    jsonl(tmp_path / "talks.jsonl", talks)
    run = make({"path": "talks.jsonl", "labels": ["good", "bad"]}, kind="chat")
    assert build(run).rows_rejected == {"label outside the set": 20}


def test_options_that_nothing_says_stop_the_build(make: MakeRun, tmp_path: Path) -> None:
    reviews(tmp_path / "reviews.csv")
    source = {"path": "reviews.csv", "input": "text", "output": "stars"}
    with pytest.raises(DataError, match=r"'sentiment/.*options_.*in reviews.csv.*labels: \[yes"):
        build(make(source, template="sentiment"))
    found = [f for f in lint(tmp_path / "recipe.yaml").findings if f.what == "missing field"]
    assert any("data.sources: [{..., labels:" in p.said for f in found for p in f.places)
    assert build(make(source, template="sentiment", options={"mode": "off"})).rows_rejected == {}
    rows = [{"text": f"Word {i}", "stars": "a", **({"options": ["a", "b"]} if i % 2 else {})}
            for i in range(40)]  # fmt: skip
    jsonl(tmp_path / "own.jsonl", rows)
    run = make({**source, "path": "own.jsonl"}, template="sentiment/options_in_front")
    assert build(run).rows_rejected == {"missing field": 20}


def test_which_labels_a_source_may_have(make: MakeRun) -> None:
    source = {"path": "rows.csv", "input": "sentence", "output": "label"}
    for labels, said in (
        (["a"], "at least two"), (["a", "a"], "distinct"), (["a", " "], "must not be empty"),
    ):  # fmt: skip
        with pytest.raises(RecipeError, match=said):
            make({**source, "labels": labels})
    with pytest.raises(RecipeError, match="says nothing about plain text"):
        make({"path": "rows.csv", "labels": ["a", "b"]}, kind="text", template=None)
    given: dict[str, Any] = {"kind": "classification", "task_labels": ["True", "False"]}
    with pytest.raises(RecipeError, match=r"sources.0: 'labels' \(a, b\) are not task.labels"):
        make({**source, "labels": ["a", "b"]}, **given)
    assert make({**source, "labels": ["False", "True"]}, **given).recipe.labels == ["True", "False"]


# --- data-level templates and conversations ----------------------------------------------------

TASK = {
    "Definition": ["Name the colour."],
    "Positive Examples": [{"input": f"p{i}", "output": f"o{i}", "explanation": f"since {i}"}
                          for i in range(4)],
    "Negative Examples": [{"input": f"n{i}", "output": f"b{i}", "explanation": f"bad {i}"}
                          for i in range(3)],
    "Instances": [{"id": f"t-{i}", "input": f"{NAMES[i % 10]} {i}", "output": [f"c{i}", "d"]}
                  for i in range(40)],
}  # fmt: skip


def test_tasks_take_the_template_of_the_data(make: MakeRun, tmp_path: Path) -> None:
    (tmp_path / "task1.json").write_text(json.dumps(TASK), encoding="utf-8")
    (tmp_path / "sni.yaml").write_text(
        "description: d\nsuper_ni: {k_positive: 3, k_negative: 2, explanations: true}\n"
    )
    source = {"path": "task1.json", "format": "super_ni"}
    run = make(source, template="sni.yaml")
    build(run)
    own = make({**source, "template": "sni.yaml"})
    found = {e.id: e.messages for e in rows_of(run)}
    build(own)
    assert found == {e.id: e.messages for e in rows_of(own)} and len(found) == 40
    asked = next(iter(found.values()))[0].content
    assert "Positive Example 3 -" in asked and "Negative Example 2 -" in asked
    assert asked.count("Explanation: ") == 5


def test_a_template_that_is_not_applied_is_told(
    make: MakeRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"instruction": f"Say {NAMES[i % 10]} {i}", "input": "", "output": f"I say {i * i}"}
            for i in range(40)]  # fmt: skip
    (tmp_path / "alpaca.json").write_text(json.dumps(rows), encoding="utf-8")
    (tmp_path / "task1.json").write_text(json.dumps(TASK), encoding="utf-8")
    for name, format in (("alpaca.json", "alpaca"), ("task1.json", "super_ni")):
        build(make({"path": name, "format": format}, template="qa_context"))
        said = " ".join(capsys.readouterr().err.split())
        assert said.count("keep their own words") == 1
        assert f"{name}: its rows are conversations" in said and "template: qa_context}]" in said
        report = lint(tmp_path / "recipe.yaml")
        assert sum("keep their own words" in note for note in report.notes) == 1
    for data in ({"template": None}, {"template": "super_ni"}):
        source = {"path": "task1.json", "format": "super_ni"}
        build(make(source, **data))
        assert "keep their own words" not in capsys.readouterr().err
