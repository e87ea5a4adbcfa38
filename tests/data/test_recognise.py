"""Formats are recognised from content, with a confidence, and asked for where it is too low."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from luthier.data.formats import built
from luthier.data.importing.recognise import CERTAIN, FORMATS, recognise, require
from luthier.data.importing.sample import partial_object
from luthier.errors import DataError


def lines(path: Path, *records: Any) -> Path:
    path.write_text("".join(json.dumps(r) + "\n" for r in records), encoding="utf-8")
    return path


def turn(speaker: str, text: str, keys: tuple[str, str] = ("from", "value")) -> dict[str, str]:
    return {keys[0]: speaker, keys[1]: text}


TALK = [turn("human", "hi"), turn("gpt", "ho")]
OPENAI = [turn("user", "hi", ("role", "content")), turn("assistant", "ho", ("role", "content"))]
FORMS: list[tuple[str, dict[str, Any]]] = [
    ("alpaca", {"instruction": "a", "input": "", "output": "b"}),
    ("alpaca", {"instruction": "a", "output": "b"}),
    ("alpaca", {"instruction": "a", "context": "c", "response": "b", "category": "d"}),
    ("alpaca", {"instruction": "a", "input": "", "output": "b", "history": []}),
    ("alpaca", {"Instruction": "a", "Input": "", "Output": "b"}),
    ("alpaca", {"Instruction": "a", "Context": "c", "Response": "b"}),
    ("sharegpt", {"id": "1", "conversations": TALK}),
    ("sharegpt", {"conversations": TALK, "tools": "[]"}),
    ("sharegpt", {"conversations": json.dumps(TALK)}),
    ("sharegpt", {"conversation": OPENAI}),
    ("messages", {"messages": OPENAI, "prompt": "hi"}),
    ("messages", {"messages": json.dumps(OPENAI)}),
    ("lima", {"conversations": ["hi", "ho"], "source": "x"}),
    ("oig", {"text": "<human>: hi\n<bot>: ho", "metadata": {}}),
    ("guanaco", {"text": "### Human: hi### Assistant: ho"}),
    ("guanaco", {"instruction": "User: a\nAssistant: b", "input": "User: c", "output": "d"}),
    ("preference", {"prompt": "a", "chosen": "b", "rejected": "c"}),
    ("preference", {"conversations": TALK[:1], "chosen": TALK[1], "rejected": TALK[1]}),
    ("preference", {"messages": OPENAI, "label": True}),
    ("preference", {"prompt": "a", "completion": "b", "label": False}),
    ("openassistant", {"message_tree_id": "a", "prompt": {"text": "a", "replies": []}}),
    ("openassistant", {"message_id": "a", "parent_id": None, "text": "x", "role": "prompter"}),
    ("self_instruct", {"instruction": "a", "instances": [{"input": "", "output": "b"}]}),
    ("unnatural_instructions",
     {"instruction": "a", "instances": [{"instruction_with_input": "a", "output": "b"}]}),
    ("super_ni", {"Definition": ["a"], "Instances": [{"input": "b", "output": ["c"]}]}),
    ("super_ni", {"task_name": "t", "definition": "a", "inputs": "b", "targets": "c"}),
    ("flan", {"inputs": "a", "targets": "b", "task": "c"}),
    ("p3", {"prompt": "a", "completion": "b<|endoftext|>"}),
    ("p3", {"inputs_pretokenized": "a", "targets_pretokenized": "b", "inputs": [1]}),
    ("p3", {"inputs": "a", "targets": "b", "answer_choices": ["b"]}),
    ("evol_instruct", {"idx": 1, "Skill": "Math", "Difficulty": 2, "Instruction": "a"}),
    ("evol_instruct", {"Skill": "Math", "Difficulty": 2, "Instruction": "a", "Output": "b"}),
    ("evol_instruct", {"idx": 1, "Instruction": "a"}),
    ("instructwild", {"instruction": "a", "instruction_type": "b", "special_tag": ""}),
    ("instructwild", {"instruction": "a"}),
    ("chain_of_thought", {"question": "a", "answer": "b", "rationale": "c"}),
    ("columns", {"input": "a", "output": "b"}),
    ("built", built.EXAMPLE),
    ("text", {"text": "It rains.", "url": "x"}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "record"), FORMS)
def test_formats_are_recognised_for_sure(tmp_path: Path, name: str, record: dict[str, Any]) -> None:
    found = recognise(lines(tmp_path / "rows.jsonl", record, record, record))
    assert found.format == name and CERTAIN <= found.confidence < 1
    require(found)
    assert found.candidates[0] == (name, found.confidence)
    as_list = tmp_path / "rows.json"
    as_list.write_text(json.dumps([record, record], indent=1), encoding="utf-8")
    assert recognise(as_list).format == name


def test_every_format_has_been_recognised_here() -> None:
    assert {name for name, _ in FORMS} == set(FORMATS.names())


def test_the_first_row_is_shown_as_it_would_be_imported(tmp_path: Path) -> None:
    long = {"conversations": [turn("human", "hi\n there"), turn("gpt", "x" * 1000)]}
    found = recognise(lines(tmp_path / "rows.jsonl", {"conversations": []}, long))
    first, second = found.sample.splitlines()
    assert first == "  user: hi there"
    assert second.startswith("  assistant: xxx") and len(second) < 330
    assert found.why == "its first 2 records have conversations"
    seeds = recognise(lines(tmp_path / "seeds.jsonl", {"instruction": "a"}))
    assert seeds.sample.startswith("  row 1 is rejected: no answer: instruction only")


def test_below_certainty_the_format_is_asked_for(tmp_path: Path) -> None:
    found = recognise(lines(tmp_path / "rows.jsonl", {"sentence": "a b c", "label": "yes"}))
    assert found.format == "columns" and found.confidence < CERTAIN
    assert found.options == {"input": "sentence", "output": "label"}
    with pytest.raises(DataError) as error:
        require(found)
    said = str(error.value)
    assert "rows.jsonl: which format is it? its only record has sentence, label" in said
    assert "columns (60%)" in said
    assert "`format: columns, input: sentence, output: label`" in said
    assert "`--format columns --option input=sentence --option output=label`" in said
    assert "  input: a b c\n  output: yes" in said


def test_a_mixture_is_not_certain(tmp_path: Path) -> None:
    found = recognise(
        lines(tmp_path / "rows.jsonl", {"instruction": "a", "output": "b"}, {"conversations": TALK})
    )
    assert found.confidence < CERTAIN and found.runner_up is not None
    with pytest.raises(DataError, match=r"alpaca \(48%\).*sharegpt|sharegpt \(49%\).*alpaca"):
        require(found)


def test_columns_stand_back_behind_what_is_known(tmp_path: Path) -> None:
    record = {"instruction": "a", "input": "b", "output": "c"}
    found = recognise(lines(tmp_path / "rows.jsonl", record))
    assert dict(found.candidates)["columns"] < 0.1


def test_bad_lines_do_not_hide_the_format(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"instruction": "a\nb"}\n' * 5 + '{"instruction": "c", "output": "d"}\n' * 40)
    assert recognise(path).format == "alpaca"
    path.write_text('{"a": \n{"b": \n')
    with pytest.raises(DataError, match=r"no record can be read; the first: .*:1: not JSON"):
        recognise(path)


def test_task_files_are_recognised_by_their_beginning(tmp_path: Path) -> None:
    task = {"Definition": ["a"], "Positive Examples": [{"input": "x" * 90_000, "output": "b"}],
            "Instances": [{"input": "b", "output": ["c"]}]}  # fmt: skip
    path = tmp_path / "task.json"
    for indent in (None, 4):
        path.write_text(json.dumps(task, indent=indent), encoding="utf-8")
        found = recognise(path)
        assert found.format == "super_ni" and "one object with the keys Definition" in found.why


def test_long_lines_are_no_single_object(tmp_path: Path) -> None:
    tree = {"message_tree_id": "a", "prompt": {"text": "x" * 90_000, "message_id": "a",
            "role": "prompter", "replies": []}}  # fmt: skip
    for name in ("trees.jsonl", "trees.json"):
        assert recognise(lines(tmp_path / name, tree, tree)).format == "openassistant"


def test_other_objects_are_refused_with_what_was_expected(tmp_path: Path) -> None:
    path = tmp_path / "squad.json"
    path.write_text(json.dumps({"version": 1, "data": [{"title": "x"}]}, indent=1))
    with pytest.raises(DataError, match=r"one JSON object; expected a list.*version, data"):
        recognise(path)


@pytest.mark.parametrize(
    ("name", "text", "what"),
    [
        (
            "t.yaml",
            "dataset: x\ntemplates:\n  a: !Template\n    jinja: b\n",
            "promptsource templates",
        ),
        ("t.yaml", "prompt: '{input}'\ncompletion: '{output}'\n", "a template"),
        ("t.json", '{\n "rte": [\n  ["{premise}?", "{answer}"]\n ]\n}', "FLAN templates"),
        ("t.json", '{"rte": [["{premise}?", "{answer}"], ["{answer}", "x"]]}', "FLAN templates"),
    ],
)
def test_templates_are_no_rows(tmp_path: Path, name: str, text: str, what: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=rf"holds {what}.*, not rows\. Give it as data\.template"):
        recognise(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("a.jsonl", b"", "the file is empty"),
        ("a.jsonl", b"\n \n", "no rows in it|only blank lines"),
        ("a.json", b"[]", "there are no rows in it"),
        ("a.md", b"# x", "unknown kind of file"),
        ("a.csv", b'a,b\n"c,d\n"e,f\n', "a quote opened in this row is not closed"),
        ("a.json", b"{", "expected a list of objects"),
        ("a.yaml", b"a: 1\n", "is YAML, which holds no rows"),
        ("a.jsonl", "{}".encode("utf-16"), "UTF-16"),
    ],
)
def test_what_holds_no_rows_says_so(tmp_path: Path, name: str, content: bytes, why: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=why):
        recognise(tmp_path / name)


def test_tables_are_recognised_by_their_columns_or_cells(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text('instruction,input,output\na,,"b, c"\n')
    assert recognise(path).format == "alpaca"
    path = tmp_path / "cot.tsv"
    path.write_text('Is "a?\tyes\tIt is so since it is.\n' * 20)
    found = recognise(path)
    assert (
        found.format == "chain_of_thought" and found.why == "its first 20 lines have 3 cells each"
    )
    assert found.sample.startswith('  user: Is "a?')
    path.write_text("one\ttwo\tthree\nfour\tfive\tsix\n")
    assert recognise(path).confidence < CERTAIN


@pytest.mark.parametrize("cut", range(1, 60, 3))
def test_objects_are_read_as_far_as_they_go(cut: int) -> None:
    whole = {"a": "x", "b": [1, {"c": [2]}, 3], "d": {"e": [4]}, "f": []}
    found = partial_object(json.dumps(whole)[:cut])
    assert found.keys() <= whole.keys()
    for key, value in found.items():
        other = whole[key]
        assert value == (other[: len(value)] if isinstance(value, list) else other)  # type: ignore[index,call-overload,arg-type]
    assert partial_object(json.dumps(whole)) == whole
