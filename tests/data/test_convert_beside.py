"""Columns beside a conversation, named like what formats use: they come back, or are named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from converted import ANSWER, ASKED, TALK, records, to
from format_rows import one, reason
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from luthier.data.convert import Conversion, convert, opened
from luthier.data.formats import alpaca, flan, lima, messages, p3, sharegpt, super_ni
from luthier.data.importing.recognise import CERTAIN, recognise
from luthier.data.importing.sample import Sample
from luthier.data.rows import Reject, Row
from luthier.errors import DataError
from luthier.example import Message

TARGETS = ("alpaca", "sharegpt", "messages", "super_ni", "flan", "p3")


def read(path: Path | str, form: str | None = None) -> list[Row]:
    """The rows of a file in the format that it is recognised to have."""
    if form is None:
        found = recognise(Path(path))
        assert found.confidence >= CERTAIN, (found.why, found.candidates)
        form = found.format
    return [row for row in opened(Path(path), form, {}).rows if isinstance(row, Row)]


# --- every source, every target ----------------------------------------------------------------

SOURCES = {
    "messages": lambda q, a: {"messages": [{**ASKED, "content": q}, {**ANSWER, "content": a}]},
    "sharegpt": lambda q, a: {
        "conversations": [{"from": "human", "value": q}, {"from": "gpt", "value": a}]
    },
    "alpaca": lambda q, a: {"instruction": q, "input": "", "output": a},
    "flan": lambda q, a: {"inputs": q, "targets": a},
    "p3": lambda q, a: {"inputs_pretokenized": q, "targets_pretokenized": a},
}
OTHERS = [{"role": "user", "content": "other"}, {"role": "assistant", "content": "else"}]
PAIRS = [{"from": "human", "value": "other"}, {"from": "gpt", "value": "else"}]
WORKED = [{"input": "x", "output": "y", "explanation": "z"}]
BESIDE: dict[str, Any] = {
    **{name: f"what {name} says" for name in (
        "prompt", "completion", "query", "question", "answer", "explanation", "context", "task",
        "task_name", "Task", "inputs", "targets", "inputs_pretokenized", "targets_pretokenized",
        "chosen", "rejected", "preferred_output", "definition", "Instruction", "Skill", "output",
        "input", "response", "instruction", "instruction_with_input", "side", "source", "fields",
        "template", "split", "row", "tools", "functions",
    )},
    "system": "be kind", "system_prompt": "be kind", "text": "<human>: other\n<bot>: else",
    "Definition": ["what it says"], "label": False, "is_correct": True, "id": 0, "rank": 1,
    "answer_choices": ["a", "b"], "messages": OTHERS, "conversations": PAIRS,
    "conversation": PAIRS, "items": PAIRS, "thread": OTHERS, "thread_id": "t", "nodes": 1,
    "data": ["one two three four", "five six seven eight"], "outputs": ["o"],
    "history": [["one", "two"]], "instances": WORKED, "Instances": WORKED, "Instance": WORKED[0],
    "positive_examples": WORKED, "Positive Examples": WORKED, "reformulations": [],
    "instruction_type": "seed", "Source": ["s"], "Instance License": ["MIT"], "trimmed": ["x"],
}  # fmt: skip
"""Columns that one format or another has a use for, each with what it might hold."""


def kept(name: str, value: Any, before: Row, after: Row, done: Conversion) -> bool:
    """Whether what a column says is there after a conversion, or is named."""
    here = [v for k, v in after.fields.items() if k.startswith(name)]
    if value in here or value in after.fields.values() or name in done.left_out:
        return True
    said = [m.content for m in before.messages]
    told = [turn for pair in value for turn in pair] if name == "history" else [value]
    return value in (None, []) or all(text in said for text in told)


@pytest.mark.parametrize("form", TARGETS)
def test_columns_beside_a_conversation_come_back(form: str, tmp_path_factory: Any) -> None:
    folder = tmp_path_factory.mktemp("beside")

    @settings(
        max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow],
    )  # fmt: skip
    @given(st.sampled_from(list(SOURCES)), st.lists(st.sampled_from(list(BESIDE)), max_size=4))
    def come_back(source: str, names: list[str]) -> None:
        rows = [SOURCES[source](f"Question {n}?", f"Answer {n}.") for n in range(3)]
        beside = {name: BESIDE[name] for name in names if name not in rows[0]}
        done = to(folder, form, *({**beside, **row} for row in rows), format=source)
        imported = read(folder / "in.jsonl", source)
        assert done.rows_in == done.rows_out + done.rejected == 3
        if not done.rows_out:
            assert sum(done.reasons.values()) == 3
            return
        again = read(done.out)
        assert [row.messages for row in again] == [row.messages for row in imported]
        for before, after in zip(imported, again, strict=True):
            lost = [n for n, v in beside.items() if not kept(n, v, before, after, done)]
            assert not lost, after.fields

    come_back()


@pytest.mark.parametrize("form", TARGETS)
@pytest.mark.parametrize("name", BESIDE)
def test_a_single_column_beside_comes_back(tmp_path: Path, form: str, name: str) -> None:
    row = SOURCES["messages"]("Question?", "Answer.")
    if name in row:
        return
    done = to(tmp_path, form, {**row, name: BESIDE[name]}, format="messages")
    if name in ("tools", "functions"):
        assert done.reasons == {"not tools": 1}
        return
    if name in ("system", "system_prompt") and form in ("super_ni", "flan", "p3"):
        assert done.reasons == {"system message": 1}
        return
    (before,), (after,) = read(tmp_path / "in.jsonl", "messages"), read(done.out)
    assert after.messages == before.messages
    assert kept(name, BESIDE[name], before, after, done), after.fields


# --- what is said, and what only seems so --------------------------------------------------------


@pytest.mark.parametrize("form", ["messages", "sharegpt", "alpaca"])
def test_texts_that_are_only_a_part_of_a_message_are_no_repetition(
    tmp_path: Path, form: str
) -> None:
    row = {
        "messages": [
            {**ASKED, "content": "Compare cat and dog."}, {**ANSWER, "content": "Yes, so."}
        ],
        "query": "cat", "context": "dog", "response": "Yes", "question": "Compare cat and dog.",
        "text": "Compare cat and dog. Yes, so. And more.",
    }  # fmt: skip
    (record,) = records(to(tmp_path, form, row, format="messages").out)
    said = {v for v in record.values() if isinstance(v, str)}
    assert said >= {row["query"], row["context"], row["response"], row["text"]}
    assert "question" not in record, "it is the question"


@pytest.mark.parametrize(
    "text", ["<human>: hi\n<bot>: ho", "### Human: hi### Assistant: ho", "hi\n\nho<|endoftext|>"]
)
def test_a_transcript_of_the_conversation_is_not_written_twice(tmp_path: Path, text: str) -> None:
    row = {"messages": TALK, "text": text}
    assert records(to(tmp_path, "messages", row, format="messages").out) == [{"messages": TALK}]


@pytest.mark.parametrize("source", ["flan", "p3"])
def test_input_and_output_of_rendered_rows_stay(tmp_path: Path, source: str) -> None:
    rendered = {"inputs": "q", "targets": "a", "input": "orig", "output": "gold"}
    row = one(flan if source == "flan" else p3, rendered)
    assert (row.fields["input"], row.fields["input_column"]) == ("q", "orig")
    assert (row.fields["output"], row.fields["output_column"]) == ("a", "gold")


def test_p3_reads_the_pair_of_which_both_are_there() -> None:
    row = one(p3, {"prompt": "template", "inputs_pretokenized": "q", "targets_pretokenized": "a"})
    assert [m.content for m in row.messages] == ["q", "a"]
    assert reason(p3, {"prompt": "q"}).startswith("no answer")


def test_tasks_keep_their_name_and_all_right_answers(tmp_path: Path) -> None:
    rows = [{"inputs": "q", "targets": "a", "task": f"t{n}", "outputs": ["x"]} for n in range(2)]
    done = to(tmp_path, "super_ni", *rows, format="flan")
    tasks = records(done.out)
    assert [task["Task"] for task in tasks] == ["t0", "t1"], "tasks of other names are others"
    assert tasks[0]["Instances"][0]["outputs_column"] == ["x"]
    assert [row.fields["task"] for row in read(done.out)] == ["t0", "t1"]


def test_a_task_keeps_what_its_records_have_besides() -> None:
    row = one(super_ni, {"definition": "Add.", "inputs": "1", "targets": "2", "outputs": ["two"],
                         "task": "a", "task_name": "b", "instruction": "c"})  # fmt: skip
    assert [m.content for m in row.messages] == ["Add.\n\n1", "two"]
    assert (row.fields["task"], row.fields["task_column"]) == ("b", "a")
    assert row.fields["targets"] == "2" and row.fields["instruction_column"] == "c"
    row = one(super_ni, {"id": "t", "Definition": ["D"], "Instance": {"id": "i", "input": "1",
                         "output": ["2"], "outputs": 3}})  # fmt: skip
    assert (row.fields["id"], row.fields["id_column"]) == ("i", "t")
    assert row.fields["outputs_column"] == 3


# --- system messages -----------------------------------------------------------------------------


@pytest.mark.parametrize("system", ["S", [{"text": "S"}]])
@pytest.mark.parametrize("name", ["system", "system_prompt"])
def test_a_column_of_the_system_message_is_one(tmp_path: Path, name: str, system: Any) -> None:
    for record in ({"messages": TALK}, {"conversations": [
        {"from": "human", "value": "hi"}, {"from": "gpt", "value": "ho"}]},
        {"instruction": "hi", "output": "ho"},
    ):  # fmt: skip
        for form in ("messages", "sharegpt", "alpaca"):
            done = to(tmp_path, form, {name: system, **record})
            (row,) = read(done.out)
            assert [(m.role, m.content) for m in row.messages] == [
                ("system", "S"), ("user", "hi"), ("assistant", "ho")
            ]  # fmt: skip
        done = to(tmp_path, "flan", {name: system, **record})
        assert done.reasons == {"system message": 1}


def test_a_system_message_in_the_conversation_comes_first(tmp_path: Path) -> None:
    said = [{"role": "system", "content": "T"}, *TALK]
    row = one(messages, {"system": "S", "messages": said})
    assert [m.content for m in row.messages] == ["T", "hi", "ho"]
    (record,) = records(to(tmp_path, "messages", {"system": "S", "messages": said}).out)
    assert record == {"messages": said, "system_column": "S"}
    assert reason(messages, {"system": {"a": 1}, "messages": TALK}).startswith("wrong type")


@pytest.mark.parametrize(
    "record", [{"prompt": "a", "completion": "b"}, {"inputs": "a", "targets": "b"}]
)
def test_a_system_message_that_would_be_left_unread_is_asked_about(
    tmp_path: Path, record: dict[str, Any]
) -> None:
    with pytest.raises(DataError, match="which format is it"):
        to(tmp_path, "messages", {**record, "system": "S"})
    assert to(tmp_path, "messages", {**record, "system": ""}).rows_out == 1


# --- labels, lists of texts, questions -----------------------------------------------------------


def test_a_label_does_not_make_an_answer_unwanted(tmp_path: Path) -> None:
    rows = [{"instruction": f"q{n}", "output": "a", "label": n % 2 == 0} for n in range(4)]
    for form in TARGETS:
        done = to(tmp_path, form, *rows)
        again = read(done.out)
        assert len(again) == 4, form
        labels = [row.fields.get("label", row.fields.get("label_column")) for row in again]
        assert labels == [True, False, True, False]


def test_data_is_no_conversation_beside_another(tmp_path: Path) -> None:
    texts = ["one two three four", "five six seven eight"]
    done = to(tmp_path, "sharegpt", {"id": "1", "data": texts})
    assert done.format == "lima" and "data" not in records(done.out)[0]
    assert [m.content for m in read(done.out)[0].messages] == texts
    for other in ({"messages": TALK}, {"instruction": "hi", "output": "ho"}):
        sample = Sample("x", ".jsonl", records=[{**other, "data": texts}])
        assert lima.fits(sample) == 0
    mixed = {"conversations": [{"from": "human", "value": "hi"}], "data": texts}
    assert [m.content for m in one(lima, mixed).messages] == texts


def test_a_file_of_questions_comes_back_from_messages(tmp_path: Path) -> None:
    done = to(tmp_path, "messages", {"instruction": "Name a river."}, format="instructwild")
    again = convert(Path(done.out), tmp_path / "again.jsonl", to="messages")
    assert (again.rows_out, again.rejected) == (1, 0)
    asked = {"messages": [ASKED]}
    assert "the last message is from user, expected assistant" in reason(messages, asked)
    assert one(messages, asked, answers="optional").messages == (Message("user", "hi"),)
    done = to(tmp_path, "messages", {"messages": TALK}, {"messages": TALK}, asked)
    assert done.reasons == {"not a conversation": 1}, "among others it is one that broke off"
    with pytest.raises(DataError, match="format 'messages': answers is 'no'"):
        one(messages, asked, answers="no")
    system = {"messages": [{"role": "system", "content": "S"}]}
    assert "from system" in reason(messages, system, answers="optional")


def test_questions_of_lima_are_converted(tmp_path: Path) -> None:
    done = to(tmp_path, "messages", {"conversations": ["Is grass green?"], "source": "x"})
    assert (done.format, done.rows_out) == ("lima", 1)
    talks = [{"conversations": ["Is grass green?", "Yes."]}] * 2
    done = to(tmp_path, "messages", *talks, {"conversations": ["Is it?"]})
    assert done.reasons == {"no answer": 1}
    assert reason(lima, {"conversations": ["Is it?"]}).startswith("no answer")


def test_numbers_are_answers(tmp_path: Path) -> None:
    rows = [{"instruction": "Count.", "input": "x", "output": n} for n in range(3)]
    done = to(tmp_path, "alpaca", *rows)
    assert done.format == "alpaca" and [r["output"] for r in records(done.out)] == ["0", "1", "2"]
    for answer in (None, ["a"], {"a": 1}):
        sample = Sample("x", ".jsonl", records=[{"instruction": "Count.", "output": answer}])
        assert alpaca.fits(sample) == 0


# --- tools ---------------------------------------------------------------------------------------

CALLS = [
    ASKED,
    {"role": "assistant", "content": None, "tool_calls": [
        {"id": one, "type": "function", "function": {"name": "f", "arguments": "{}"}}
        for one in ("call_2", "abc")
    ]},
    {"role": "tool", "tool_call_id": "call_2", "name": "f", "content": "1"},
    {"role": "tool", "tool_call_id": "abc", "name": "f", "content": "2"},
    {"role": "assistant", "content": None, "tool_calls": [
        {"type": "function", "function": {"name": "g", "arguments": "{}"}}
    ]},
    {"role": "tool", "name": "g", "content": "3"},
    ANSWER,
]  # fmt: skip


def test_ids_of_calls_stay_or_are_named(tmp_path: Path) -> None:
    done = to(tmp_path, "messages", {"messages": CALLS})
    (record,) = records(done.out)
    turns = record["messages"]
    assert [call["id"] for call in turns[1]["tool_calls"]] == ["call_2", "abc"]
    assert [turns[n]["tool_call_id"] for n in (2, 3)] == ["call_2", "abc"]
    assert turns[4]["tool_calls"][0]["id"] == turns[5]["tool_call_id"] == "call_1"
    assert done.left_out == []
    assert records(convert(Path(done.out), tmp_path / "b.jsonl", to="messages").out) == [record]
    done = to(tmp_path, "sharegpt", {"messages": CALLS})
    assert done.left_out == ["messages[].tool_calls[].id"]
    cut = {"messages": [*CALLS, ASKED, {**CALLS[1]}]}
    done = to(tmp_path, "messages", cut, options={"trim": True})
    assert done.rows_out == 1, done.reasons


def test_functions_become_tools_of_that_type(tmp_path: Path) -> None:
    done = to(tmp_path, "messages", {"messages": TALK, "functions": [{"name": "add"}]})
    tool = {"type": "function", "function": {"name": "add"}}
    assert records(done.out) == [{"messages": TALK, "tools": [tool]}]
    row = one(messages, {"messages": TALK, "functions": [tool]})
    assert json.loads(str(row.tools)) == [tool]
    row = one(sharegpt, {"conversations": TALK, "tools": '[{"name": "f"}]'})
    assert row.tools == '[{"name": "f"}]', "as it is written"


# --- Parquet -------------------------------------------------------------------------------------


def test_columns_of_type_map_are_objects(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    kind = pa.map_(pa.string(), pa.list_(pa.map_(pa.string(), pa.int64())))
    maps = [[("k", [[("n", 1)]])], [("k", []), ("k", [])], None]
    table = pa.table({
        "messages": pa.array([TALK, TALK, [ASKED, {**ANSWER, "content": "a\0b"}]]),
        "m": pa.array(maps, type=kind),
    })  # fmt: skip
    pq.write_table(table, tmp_path / "a.parquet")
    found = list(opened(tmp_path / "a.parquet", "messages", {}).rows)
    assert [row.fields["m"] for row in found] == [{"k": [{"n": 1}]}, [["k", []], ["k", []]], None]
    assert str(found[1].origin).endswith("a.parquet: row 2")
    done = convert(tmp_path / "a.parquet", tmp_path / "b.jsonl", to="messages")
    assert done.format == "messages" and done.rows_in == 3 == done.rows_out
    assert not any(isinstance(row, Reject) for row in found)
