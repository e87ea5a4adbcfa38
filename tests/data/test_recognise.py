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
    ("alpaca", {"instruction": "a", "input": "b", "output": 1}),
    ("sharegpt", {"id": "1", "conversations": TALK}),
    ("sharegpt", {"conversations": TALK, "tools": "[]"}),
    ("sharegpt", {"conversations": json.dumps(TALK)}),
    ("sharegpt", {"conversation": OPENAI}),
    ("messages", {"messages": OPENAI, "prompt": "hi"}),
    ("messages", {"messages": json.dumps(OPENAI)}),
    ("lima", {"conversations": ["hi", "ho"], "source": "x"}),
    ("lima", {"data": ["问：你好吗", "答：我很好"]}),
    ("oig", {"user": "Name a tree.", "chip2": "Oak."}),
    ("oig", {"text": "<human>: hi\n<bot>: ho", "metadata": {}}),
    ("guanaco", {"text": "### Human: hi### Assistant: ho"}),
    ("guanaco", {"instruction": "User: a\nAssistant: b", "input": "User: c", "output": "d"}),
    ("guanaco", {"instruction": "Human:a\nAssistant:b\nHuman:c\nAssistant:", "input": "",
                 "output": "d"}),
    ("preference", {"prompt": "a", "chosen": "b", "rejected": "c"}),
    ("preference", {"conversations": TALK[:1], "chosen": TALK[1], "rejected": TALK[1]}),
    ("preference", {"messages": OPENAI, "label": True}),
    ("preference", {"prompt": "a", "completion": "b", "label": False}),
    ("preference", {"trajectory": TALK[:1], "chosen": "b", "rejected": "c"}),
    ("preference", {"chosen": OPENAI, "rejected": OPENAI}),
    ("prompt_completion", {"prompt": OPENAI[:1], "completion": OPENAI[1:]}),
    ("messages", {"messages": OPENAI, "prompt": OPENAI[:1], "completion": OPENAI[1:]}),
    ("sharegpt", {"conversations": TALK, "user": "hi", "chip2": "ho"}),
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
    ("instructwild", {"instruction": "a b", "most_similar": {"c": 0.1}, "request_idx": 4,
                      "avg_similarity_score": 0.1, "metadata": {"response": {"text": "a b"}}}),
    ("instructwild", {"instruction": "a b", "is_classification": " Yes"}),
    ("chain_of_thought", {"question": "a", "answer": "b", "rationale": "c"}),
    ("columns", {"input": "a", "output": "b"}),
    ("built", built.EXAMPLE),
    ("text", {"text": "It rains.", "url": "x"}),
    ("text", {"text": "It rains.", "title": "Rain today", "timestamp": "2019-04-25T12:57:54Z",
              "language_score": 0.9, "file_path": "s3://a b/c", "meta": {"set": "Common Crawl"}}),
    ("text", {"text": "Users ask: what is <|im_start|>? An assistant: it is a mark."}),
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


QUESTION = {"instruction": "Name a tree."}
SENTENCE = {"text": "It rains in the town."}
TURNS = [{"question": "Why?", "answer": "So it is."}]
UNREAD: list[tuple[str, str, dict[str, Any]]] = [
    ("instructwild", "completions", QUESTION | {"completions": [{"response": "An oak."}]}),
    ("instructwild", "conversations", QUESTION | {"conversations": TURNS}),
    ("instructwild", "raw_instances", QUESTION | {"raw_instances": "Output: An oak."}),
    ("instructwild", "generations", QUESTION | {"generations": ["An oak."], "model_name": "m"}),
    ("instructwild", "chosen_response", QUESTION | {"chosen_response": "An oak.", "no": 1}),
    ("instructwild", "code", QUESTION | {"instruction_type": "Coding", "code": "print(1)"}),
    ("instructwild", "solution", QUESTION | {"solution": "An oak."}),
    ("columns", "", QUESTION | {"target": "Oak"}),
    ("evol_instruct", "Code", {"Instruction": "Name a tree.", "Code": "print(1)"}),
    ("chain_of_thought", "options", {"question": "Which?", "options": ["A) an oak", "B) a beech"],
                                     "answer": "A", "rationale": "It is an oak."}),
    ("columns", "", SENTENCE | {"summary": "Rain.", "title": "Weather"}),
    ("columns", "", SENTENCE | {"selected_text": "rains in", "sentiment": "negative"}),
    ("columns", "", SENTENCE | {"target": 1}),
    ("columns", "", SENTENCE | {"question": "What falls?", "answer": "Rain."}),
    ("columns", "", SENTENCE | {"question_id": 3, "category": "weather"}),
    ("text", "notes", SENTENCE | {"notes": {"by": "an expert of rain"}}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "column", "record"), UNREAD)
def test_nothing_is_certain_that_leaves_texts_unread(
    tmp_path: Path, name: str, column: str, record: dict[str, Any]
) -> None:
    found = recognise(lines(tmp_path / "rows.jsonl", *[record] * 20))
    assert found.format == name and found.confidence < CERTAIN
    with pytest.raises(DataError, match="which format is it") as error:
        require(found)
    if column:
        assert f"as {name} nothing reads what {column}" in str(error.value)


@pytest.mark.parametrize(
    "text",
    [
        "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\nho<|im_end|>",
        "<s>[INST] hi [/INST] ho </s>", "[INST] <<SYS>>\nS\n<</SYS>>\n\nhi [/INST] ho",
        "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nhi<|eot_id|>",
        "<bos><start_of_turn>user\nhi<end_of_turn>", "<|user|>\nhi</s>\n<|assistant|>\nho",
        "### Instruction:\nhi\n\n### Response:\nho",
        "Below is a task. Do it.\n\n### Instruction:\nhi\n\n### Response:\nho",
        "Human: hi\n\nAssistant: ho", "USER: hi ASSISTANT: ho", "\n\nHuman: hi\n\nAssistant: ho",
    ],
)  # fmt: skip
def test_a_chat_written_down_is_no_plain_text_for_sure(tmp_path: Path, text: str) -> None:
    found = recognise(lines(tmp_path / "rows.jsonl", *[{"text": text}] * 3))
    assert found.format == "text" and found.confidence < CERTAIN
    with pytest.raises(DataError, match="texts begin with the marks of a chat"):
        require(found)


@pytest.mark.parametrize(
    ("name", "text", "advice"),
    [
        ("a.json", '{"data": [{"instruction": "a"}]}', "Its rows seem to stand in 'data'"),
        ("a.json", '{"a": {"0": "x"}, "b": {"0": "y"}}', "hold a whole column; .*orient='records'"),
        ("a.jsonl", '{"id": 1, "turns": ["a", "b"]}\n' * 3, "could be written as `messages`"),
        ("a.jsonl", '{"problem": "a b", "proof": "c d", "hint": "e f"}\n' * 3,
         "--format columns --option input=NAME --option output=NAME"),
    ],
)  # fmt: skip
def test_what_fits_no_format_is_not_sent_to_columns(
    tmp_path: Path, name: str, text: str, advice: str
) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=rf"no format is known to have such rows: .*{advice}") as e:
        require(recognise(tmp_path / name))
    assert "Known formats: alpaca, " in str(e.value)
    assert "which format is it" not in str(e.value)


def test_pairs_that_ask_nothing_are_no_pairs(tmp_path: Path) -> None:
    record = {"history_of": "x", "chosen": "a", "rejected": "b"}
    found = recognise(lines(tmp_path / "rows.jsonl", record, record))
    assert found.confidence < CERTAIN and "preference" not in dict(found.candidates)


def test_a_number_among_choices_is_no_answer_for_sure(tmp_path: Path) -> None:
    record = {"instruction": "Which?", "choices": ["an oak", "a beech"], "answer": 1}
    assert recognise(lines(tmp_path / "rows.jsonl", record, record)).confidence < CERTAIN


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
    for text in ('instruction,input,output\na,,"b, c"\n', 'instruction;input;output\na;;"b; c"\n'):
        path.write_text(text)
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
