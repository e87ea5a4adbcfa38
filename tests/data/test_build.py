"""The whole job: from files to splits, with every row accounted for."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from luthier.artifacts import DataStats, load_examples
from luthier.data.build import build, input_files, read_rows_like
from luthier.data.opening import FORMATS
from luthier.data.templating.template import BuiltTemplates, load_template
from luthier.errors import DataError, LuthierError
from luthier.example import SPLITS, Example, content_id
from luthier.look import show_data
from luthier.run import Run

MakeRun = Callable[..., Run]


def rejects_of(run: Run) -> list[dict[str, Any]]:
    lines = (run.path / "data/rejects.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def all_rows(run: Run) -> list[Example]:
    return [e for split in SPLITS for e in load_examples(run, split)]


def sources(*each: dict[str, Any]) -> dict[str, Any]:
    return {"sources": [{"input": "sentence", "output": "label", **one} for one in each]}


def sentences(count: int, label: str = "True", start: int = 0) -> list[str]:
    return [f"{label} word{i} other{i} third{i},{label}" for i in range(start, start + count)]


def write(path: Path, lines: list[str]) -> None:
    path.write_text("\n".join(["sentence,label", *lines]) + "\n", encoding="utf-8")


def test_the_default_recipe(make_run: MakeRun) -> None:
    run = make_run()
    stats = build(run)
    assert stats == DataStats.load(run)
    assert stats.rows_read == {"rows.csv": 60} and stats.rows_rejected == {}
    assert {s: v.rows for s, v in stats.splits.items()} == {
        "train": 36, "validation": 6, "calibration": 6, "test": 12,
    }  # fmt: skip
    assert stats.splits["test"].labels == {"True": 6, "False": 6}
    assert stats.templates == {"promise_instruction_first": 60}
    rows = all_rows(run)
    assert len({e.id for e in rows}) == 60
    assert {e.origin.row for e in rows} == set(range(2, 62))
    one = next(e for e in rows if e.origin.row == 2)
    assert one.fields == {
        "input": "We will paint wall 0 red and green for street 0.", "output": "True",
        "style": "plan",
    }  # fmt: skip
    assert one.label == one.completion == "True"
    assert one.messages[0].content.endswith(
        "Input: We will paint wall 0 red and green for street 0.\nOutput:"
    )
    tokens = stats.splits["train"].tokens
    assert tokens.min <= tokens.median <= tokens.p95 <= tokens.max
    assert sum(n for _, n in tokens.histogram) == 36 and tokens.histogram[0][0] == tokens.min
    assert 36 < tokens.trained < tokens.total
    assert len(stats.samples) == 3
    assert stats.samples[0]["prompt"].endswith("<|im_start|>assistant\n")
    assert stats.samples[0]["completion"] in ("True<|im_end|>", "False<|im_end|>")


def test_building_twice_writes_the_same_bytes(make_run: MakeRun) -> None:
    run = make_run()
    build(run)
    first = {p.name: p.read_bytes() for p in (run.path / "data").iterdir()}
    build(run)
    assert {p.name: p.read_bytes() for p in (run.path / "data").iterdir()} == first
    others = {"stats.json", "rejects.jsonl", "templates.json"}
    assert set(first) == {*(f"{s}.parquet" for s in SPLITS), *others}


def test_every_row_is_kept_or_rejected_with_a_reason(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run(data={"filters": [{"use": "empty"}, {"use": "exact_duplicates"},
                                     {"use": "contradiction"}]})  # fmt: skip
    lines = sentences(20) + sentences(20, "False")
    lines += ["shouting,TRUE", "too,many,fields", lines[0], "True word1 other1 third1,False",
              ",True", "nul\0,True"]  # fmt: skip
    write(tmp_path / "rows.csv", lines)
    stats = build(run)
    assert stats.rows_read == {"rows.csv": 46}
    assert stats.rows_rejected == {
        "label outside the set": 1, "wrong number of fields": 1, "exact duplicate": 1,
        "contradiction": 1, "empty": 1, "NUL byte": 1,
    }  # fmt: skip
    found = rejects_of(run)
    assert [r["origin"] for r in found] == [f"rows.csv:{n}" for n in range(42, 48)]
    assert found[0] == {
        "origin": "rows.csv:42",
        "reason": "label outside the set: 'TRUE' is none of True, False. Did you mean 'True'?",
        "fields": {"input": "shouting", "output": "TRUE"},
        "id": content_id(["shouting", "TRUE"]),
        "template": "promise_instruction_first",
    }
    assert found[3]["reason"] == "contradiction: rows.csv:3 answers 'True' to the same input"
    assert len(all_rows(run)) == 40


def test_blank_lines_are_counted_and_said(
    make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    run = make_run()
    lines = [*sentences(20), "", "", *sentences(20, "False")]
    write(tmp_path / "rows.csv", lines)
    stats = build(run)
    assert stats.rows_read == {"rows.csv": 40} and stats.rows_rejected == {}
    assert stats.blank_lines == DataStats.load(run).blank_lines == {"rows.csv": 2}
    show_data(run)
    assert capsys.readouterr().err.count("rows.csv: 2 blank lines skipped") == 1
    write(tmp_path / "other.csv", [*sentences(2), ""])
    monkeypatch.chdir(tmp_path)
    read_rows_like(run, Path("other.csv"))
    assert capsys.readouterr().err.count("other.csv: 1 blank line skipped") == 1


def test_one_column_for_both_is_refused(
    make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(LuthierError, match=r"input and output are both the column 'label'"):
        make_run(data=sources({"path": "rows.csv", "input": "label"}))
    run = make_run()
    build(run)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"both the column 'label'; name another with --input or"):
        read_rows_like(run, Path("rows.csv"), input_column="label")


@pytest.mark.parametrize(
    ("header", "option"), [("text,label", "--input"), ("sentence,gold", "--output")]
)
@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_a_column_that_another_file_lacks_is_named_on_the_command_line(
    make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    header: str, option: str, kind: str,
) -> None:  # fmt: skip
    run = make_run()
    build(run)
    one, two = header.split(",")
    text = f"{header}\na,True\n" if kind == "csv" else json.dumps({one: "a", two: "True"})
    (tmp_path / f"on.{kind}").write_text(text)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError) as error:
        read_rows_like(run, Path(f"on.{kind}"))
    said = str(error.value)
    assert f"Columns: '{one}', '{two}'. Name the right one with {option};" in said
    assert "recipe" not in said


def test_columns_that_a_task_does_not_read_are_not_ignored(
    make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "t.csv").write_text("body\n" + "\n".join(f"x{i} y{i} z{i}" for i in range(20)))
    run = make_run(
        task={"kind": "text", "labels": None},
        data={"sources": [{"path": "t.csv", "text": "body"}]}, train={"train_on": "all"},
    )  # fmt: skip
    build(run)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"a text task reads one column, 'body'; name it so"):
        read_rows_like(run, Path("t.csv"), input_column="body")
    (tmp_path / "on.csv").write_text("words\nx\n")
    with pytest.raises(DataError, match=r"no column 'body'.*Rename the right one in the file"):
        read_rows_like(run, Path("on.csv"))


def test_rows_longer_than_the_model_may_see_are_rejected_not_cut(
    make_run: MakeRun, tmp_path: Path
) -> None:
    run = make_run(train={"max_seq_length": 400})
    with (tmp_path / "rows.csv").open("a", encoding="utf-8") as file:
        file.write("green " * 400 + ",True,long\n")
    stats = build(run)
    assert stats.rows_rejected == {"too long": 1}
    (reject,) = rejects_of(run)
    assert reject["origin"] == "rows.csv:62" and reject["fields"]["style"] == "long"
    assert reject["reason"].endswith("tokens, the limit is 400 (train.max_seq_length)")
    assert max(s.tokens.max for s in stats.splits.values()) <= 400


def test_a_row_of_the_test_source_is_not_trained_on(make_run: MakeRun, tmp_path: Path) -> None:
    both = sentences(3)
    write(tmp_path / "train.csv", sentences(30) + sentences(30, "False"))
    write(tmp_path / "test.csv", both + both[:1] + sentences(5, "False", 100))
    run = make_run(
        data=sources({"path": "train.csv"}, {"path": "test.csv", "split": "test"})
        | {"split": {"test": 0, "validation": 0.1, "calibration": 0}}
    )
    stats = build(run)
    assert stats.rows_rejected == {"also in test": 3, "exact duplicate": 1}
    assert [r["origin"] for r in rejects_of(run) if r["reason"].startswith("also in test")] == [
        "train.csv:2", "train.csv:3", "train.csv:4",
    ]  # fmt: skip
    test = load_examples(run, "test")
    assert len(test) == 8 and {e.origin.source for e in test} == {"test.csv"}


def test_labels_of_json_booleans_and_numbers(make_run: MakeRun, tmp_path: Path) -> None:
    lines = [json.dumps({"sentence": f"a{i} b{i} c{i}", "label": i % 2 == 0}) for i in range(20)]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    stats = build(make_run(data=sources({"path": "a.jsonl"})))
    assert stats.rows_rejected == {} and stats.splits["train"].labels == {"True": 6, "False": 6}
    lower = {"kind": "classification", "labels": ["true", "false"]}
    stats = build(make_run(data=sources({"path": "a.jsonl"}), task=lower))
    assert set(stats.splits["train"].labels) == {"true", "false"}
    lines = [json.dumps({"sentence": f"a{i} b{i} c{i}", "label": i % 2}) for i in range(20)]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    digits = {"kind": "classification", "labels": [0, 1]}
    stats = build(make_run(data=sources({"path": "a.jsonl"}), task=digits))
    assert set(stats.splits["train"].labels) == {"0", "1"}


def test_limit_reads_the_first_rows(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run(data=sources({"path": "rows.csv", "limit": 20}))
    assert build(run).rows_read == {"rows.csv": 20}
    assert max(e.origin.row for e in all_rows(run)) == 21


def test_several_templates_are_given_out_by_id(make_run: MakeRun) -> None:
    both = ["promise", "promise_instruction_first"]
    run = make_run(data={"template": both})
    stats = build(run)
    assert sum(stats.templates.values()) == 60 and min(stats.templates.values()) >= 18
    first = {e.id: e.template for e in all_rows(run)}
    build(run)
    assert {e.id: e.template for e in all_rows(run)} == first


def test_chat_rows_keep_their_messages(make_run: MakeRun, tmp_path: Path) -> None:
    def turns(i: int) -> list[dict[str, str]]:
        return [{"role": "user", "content": f"ask a{i} b{i}"},
                {"role": "assistant", "content": f"answer c{i} d{i}"}]  # fmt: skip

    lines = [json.dumps({"messages": turns(i), "n": i}) for i in range(20)]
    lines.insert(3, json.dumps({"messages": turns(99)[:1]}))
    (tmp_path / "chat.jsonl").write_text("\n".join(lines))
    run = make_run(
        task={"kind": "chat", "labels": None}, data={"sources": [{"path": "chat.jsonl"}]}
    )
    stats = build(run)
    assert stats.rows_rejected == {"not a conversation": 1} and stats.templates == {}
    assert rejects_of(run)[0]["origin"] == "chat.jsonl:4"
    rows = all_rows(run)
    assert len(rows) == 20 and {e.messages[-1].role for e in rows} == {"assistant"}
    assert all(e.label is None and e.fields["n"] in range(20) for e in rows)


def test_text_rows(make_run: MakeRun, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("body\n" + "\n".join(f"x{i} y{i} z{i}" for i in range(20)))
    run = make_run(
        task={"kind": "text", "labels": None},
        data={"sources": [{"path": "t.csv", "text": "body"}]},
        train={"train_on": "all"},
    )
    stats = build(run)
    tokens = stats.splits["train"].tokens
    assert tokens.trained == tokens.total
    assert {e.text for e in all_rows(run)} == {f"x{i} y{i} z{i}" for i in range(20)}


def test_other_columns_reach_the_template_and_tell_rows_apart(
    make_run: MakeRun, tmp_path: Path
) -> None:
    (tmp_path / "own.yaml").write_text(
        "description: d\nprompt: '{input} {input_column}'\ncompletion: '{output}'\n"
    )
    rows = [{"instruction": "Do", "input": f"a{i} b{i} c{i}", "output": "Done"} for i in range(10)]
    rows.append({"instruction": "Do", "output": "Done"})
    (tmp_path / "a.json").write_text(json.dumps(rows))
    source = {"path": "a.json", "input": "instruction", "output": "output"}
    run = make_run(
        task={"kind": "generation", "labels": None},
        data={"sources": [source], "template": "own.yaml"},
    )
    assert build(run).rows_rejected == {"missing field": 1}
    assert {e.messages[0].content for e in all_rows(run)} == {
        f"Do a{i} b{i} c{i}" for i in range(10)
    }
    assert set(input_files(run)) == {tmp_path / "a.json", tmp_path / "own.yaml"}


def test_duplicates_have_ids_of_their_own_when_they_are_wanted(
    make_run: MakeRun, tmp_path: Path
) -> None:
    run = make_run(data={"filters": []})
    write(tmp_path / "rows.csv", (sentences(10) + sentences(10, "False")) * 2)
    build(run)
    rows = all_rows(run)
    assert len({e.id for e in rows}) == 40
    by_text: dict[str, set[Any]] = {}
    for e in rows:
        by_text.setdefault(e.fields["input"], set()).add(e.split)
    assert all(len(splits) == 1 for splits in by_text.values())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (["sentence,label"], "rows.csv: there are no rows in it \\(columns: sentence, label\\)"),
        (["sentences,label", "a,True"], "no column 'sentence'. Did you mean 'sentences'"),
        (["sentence,label", "a,yes", "b,no"], "all 2 rows were rejected.*\n  2 x label outside"),
        (["sentence,label", *sentences(10)], "no training rows for the label 'False' .*'False' 0"),
    ],
)
def test_data_that_cannot_be_trained_on(
    make_run: MakeRun, tmp_path: Path, content: list[str], message: str
) -> None:
    run = make_run()
    (tmp_path / "rows.csv").write_text("\n".join(content) + "\n")
    with pytest.raises(DataError, match=message):
        build(run)
    # What was rejected can be looked up all the same.
    assert len(rejects_of(run)) == (2 if "rejected" in message else 0)


def test_only_test_rows_cannot_be_trained_on(make_run: MakeRun) -> None:
    run = make_run(data=sources({"path": "rows.csv", "split": "test"}))
    with pytest.raises(
        DataError, match=r"no rows are left to train on \(rows per split: test 60\)"
    ):
        build(run)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"template": "promis"}, "unknown template 'promis'. Did you mean 'promise'"),
        ({"filters": [{"use": "lenght"}]}, "unknown filter 'lenght'. Did you mean 'length'"),
        (sources({"path": "rows.csv", "format": "colums"}), "unknown format 'colums'"),
        (sources({"path": "rows.csv", "format": "text"}), "needs format: columns, not text"),
        (sources({"path": "row.csv"}), "Did you mean 'rows.csv'"),
    ],
)
def test_recipes_that_name_what_is_not_there(
    make_run: MakeRun, data: dict[str, Any], message: str
) -> None:
    with pytest.raises(LuthierError, match=message):
        build(make_run(data=data))


def test_a_placeholder_no_row_has(make_run: MakeRun, tmp_path: Path) -> None:
    text = "description: d\nprompt: '{inptu} {style}'\ncompletion: '{output}'\n"
    (tmp_path / "own.yaml").write_text(text)
    expected = (
        r"'own\.yaml'.*\{inptu\} in rows\.csv\. Did you mean 'input'.*input, label, labels, output"
    )
    with pytest.raises(DataError, match=expected):
        build(make_run(data={"template": "own.yaml"}))


def test_classification_needs_the_label_as_the_completion(
    make_run: MakeRun, tmp_path: Path
) -> None:
    (tmp_path / "own.yaml").write_text(
        "description: d\nprompt: '{input}'\ncompletion: 'It is {output}.'\n"
    )
    with pytest.raises(DataError, match="the completion is the label"):
        build(make_run(data={"template": "own.yaml"}))


def test_the_templates_of_a_dataset_are_kept_in_the_run(make_run: MakeRun, tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(
        "description: d\nsystem: Be {how}.\nlet: {how: brief, n: 3}\n"
        "prompt: '{n} {input} {{x}}'\ncompletion: '{output}'\n"
    )
    run = make_run(data={"template": ["own.yaml", "plain"]})
    with run.stage("data", "built"):
        build(run)
    expected = [load_template(name, tmp_path) for name in ("own.yaml", "plain")]
    assert BuiltTemplates.load(run).templates == expected
    manifest = json.loads((run.path / "manifest.json").read_text())
    assert BuiltTemplates.FILE in manifest["data"]["files"]


def test_another_file_is_read_like_the_first_source(
    make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "own.yaml"
    own.write_text("description: d\nprompt: 'Is it? {input}'\ncompletion: '{output}'\n")
    run = make_run(data={"template": "own.yaml"})
    build(run)
    own.unlink()
    (tmp_path / "real.csv").write_text("text,gold\na b c,True\na b c,True\nd e f,maybe\n")
    monkeypatch.chdir(tmp_path)
    rows, rejected = read_rows_like(
        run, Path("real.csv"), input_column="text", output_column="gold"
    )
    assert [(e.fields["input"], e.label, e.split) for e in rows] == [("a b c", "True", "test")] * 2
    assert {e.prompt[-1].content for e in rows} == {"Is it? a b c"}
    assert rejected == {"label outside the set": 1} and len({e.id for e in rows}) == 2
    with pytest.raises(DataError, match="no column 'sentence'"):
        read_rows_like(run, Path("real.csv"))


def test_every_format_is_described() -> None:
    assert {"columns", "messages", "text"} <= set(FORMATS.names())
    assert all(FORMATS.describe(n) and callable(FORMATS.load(n).rows) for n in FORMATS.names())


def free_text(make_run: MakeRun, file: Path, rows: list[dict[str, str]], **data: Any) -> Run:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = {"path": str(file), "fields": {n: n for n in rows[0] if n not in ("input", "output")}}
    section = {"sources": [source], "filters": [{"use": "near_duplicates"}], **data}
    section["split"] = {"validation": 0.0, "calibration": 0.0, "test": 0.25}
    return make_run(
        task={"kind": "generation", "labels": None}, data=section, train={"max_seq_length": 4096}
    )


def test_rows_of_one_task_share_its_definition(
    make_run: MakeRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """They are neither copies nor one group, however long the definition is."""
    definition = " ".join(f"Follow rule {i} of the task to the letter." for i in range(20))
    rows = [
        {"definition": definition, "input": f"word{i} other{i} third{i}", "output": f"answer{i}"}
        for i in range(40)
    ]
    stats = build(free_text(make_run, tmp_path / "task.jsonl", rows, template="super_ni"))
    assert {split: part.rows for split, part in stats.splits.items()} == {"train": 30, "test": 10}
    said = capsys.readouterr().err
    assert "near_duplicates left out" not in said and "no rows for test" not in said


def test_most_rows_left_out_and_an_empty_split_are_told(
    make_run: MakeRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    passage = " ".join(f"Sentence {i} of a passage that is nobody's own field." for i in range(20))
    rows = [{"input": f"{passage} Question {i}?", "output": f"yes {i}"} for i in range(40)]
    build(free_text(make_run, tmp_path / "rows.jsonl", rows, template="plain"))
    said = " ".join(capsys.readouterr().err.split())
    assert "near_duplicates left out 39 of 40 rows" in said
    build(free_text(make_run, tmp_path / "rows.jsonl", rows, template="plain", filters=[]))
    said = " ".join(capsys.readouterr().err.split())
    assert "no rows for test: rows that resemble each other go to the same split" in said
