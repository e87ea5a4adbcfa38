"""`luthier convert` loses nothing in silence: columns beside, keys of turns, sides of pairs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from converted import ANSWER, ASKED, TALK, records, to

from luthier.data import convert as converting
from luthier.data.convert import convert
from luthier.errors import DataError

WORSE = {"role": "assistant", "content": "no"}


# --- columns -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["prompt", "Question", "task", "system", "history"])
def test_what_columns_would_not_ask_is_asked_about(tmp_path: Path, name: str) -> None:
    record = {name: "Name it.", "input": "grass", "output": "Green."}
    with pytest.raises(DataError, match=rf"which format.*as columns nothing asks what {name} says"):
        to(tmp_path, "messages", record)
    assert to(tmp_path, "messages", record, format="columns").rows_out == 1
    assert to(tmp_path, "messages", {"input": "a", "output": "b", "id": 1}).format == "columns"


def test_rows_of_columns_that_ask_nothing_are_rejects(tmp_path: Path) -> None:
    rows = [{"prompt": "Name it.", "input": given, "output": "Green."} for given in ("", " ", "x")]
    for form in ("messages", "parquet"):
        done = to(tmp_path, form, *rows, format="columns")
        assert (done.rows_in, done.rows_out) == (3, 1) and done.reasons == {"nothing asked": 2}
    options = {"input": "prompt"}
    assert to(tmp_path, "messages", *rows, format="columns", options=options).rows_out == 3


# --- pairs -------------------------------------------------------------------------------------

PAIRS = [
    {"prompt": "hi", "chosen": "ho", "rejected": "no"},
    {"system": "S", "question": "hi", "chosen": "ho", "rejected": "no"},
    {"instruction": "hi", "input": "you", "chosen": "ho", "rejected": "no"},
    {"prompt": [ASKED], "chosen": [ANSWER], "rejected": [WORSE]},
    {"prompt": "hi", "chosen": TALK, "rejected": [ASKED, WORSE], "messages": TALK},
    {"chosen": "\n\nHuman: hi\n\nAssistant: ho", "rejected": "\n\nHuman: hi\n\nAssistant: no"},
    {"prompt": "hi", "completion": "ho", "label": True},
    {"messages": TALK, "label": True},
]


@pytest.mark.parametrize("form", ["messages", "sharegpt", "alpaca", "flan"])
@pytest.mark.parametrize("record", PAIRS)
def test_converted_pairs_can_be_read_again(
    tmp_path: Path, form: str, record: dict[str, Any]
) -> None:
    if form == "flan" and "system" in record:
        return
    done = to(tmp_path, form, record, record)
    assert done.rows_out == 2
    (written, _) = records(done.out)
    assert written.get("rejected") == record.get("rejected"), "the other side stays"
    again = convert(Path(done.out), tmp_path / "again.jsonl", to="messages")
    assert again.rows_out == 2, again.reasons
    talk = records(again.out)[0]["messages"]
    assert [t["content"] for t in talk if t["role"] != "system"][-1] == "ho"
    assert "messages_column" not in written, "it is the conversation once more"


def test_the_better_side_stays_where_the_worse_one_was_taken(tmp_path: Path) -> None:
    for record in PAIRS[:4]:
        done = to(tmp_path, "messages", record, options={"side": "rejected"})
        (written,) = records(done.out)
        assert written["messages"][-1] == WORSE and "rejected" not in written
        assert written["chosen"] == record["chosen"]
        assert convert(Path(done.out), tmp_path / "x.jsonl", to="messages").rows_out == 1


# --- what stands beside a conversation -----------------------------------------------------------


@pytest.mark.parametrize("form", ["messages", "sharegpt", "alpaca"])
def test_lists_and_objects_are_dropped_only_where_they_are_the_conversation(
    tmp_path: Path, form: str
) -> None:
    beside = {
        "input": ["keep", "me"], "prompt": {"id": "p1"}, "history": [["h", "i"]], "chosen": ["z"],
        "thread": {"k": 1}, "conversation": [WORSE], "conversations": "a note", "tools": [],
    }  # fmt: skip
    done = to(tmp_path, form, {"messages": TALK, **beside}, format="messages")
    (record,) = records(done.out)
    found = [record.get(f"{name}_column", record.get(name)) for name in beside]
    assert found == [*list(beside.values())[:-1], None] and done.left_out == []
    again = convert(Path(done.out), tmp_path / "again.jsonl", to="messages")
    assert again.format == form and records(again.out)[0]["messages"] == TALK


@pytest.mark.parametrize("form", ["messages", "sharegpt", "alpaca"])
def test_a_column_of_tools_that_are_none_is_kept_under_another_name(
    tmp_path: Path, form: str
) -> None:
    done = to(tmp_path, form, {"instruction": "hi", "output": "ho", "tools": "hammer, saw"})
    assert records(done.out)[0]["tools_column"] == "hammer, saw"
    assert convert(Path(done.out), tmp_path / "again.jsonl", to="messages").rows_out == 1


@pytest.mark.parametrize(
    "row",
    [
        {"conversations": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "ho"}]},
        {"conversations": json.dumps(TALK)},
        {"conversations": ["hi", "ho"]},
        {"conversations": [{"from": "system", "value": ""}, *TALK]},
        {"messages": [ASKED, {"role": "assistant", "content": [{"type": "text", "text": "ho"}]}]},
        {"messages": [{"from": None, "value": None, **turn} for turn in TALK]},
        {"instruction": "hi", "output": "ho", "history": []},
        {"input": {"messages": [ASKED], "tools": []}, "preferred_output": [ANSWER],
         "non_preferred_output": None},
    ],
)  # fmt: skip
def test_the_conversation_is_not_written_twice(tmp_path: Path, row: dict[str, Any]) -> None:
    (record,) = records(to(tmp_path, "messages", row).out)
    assert record.keys() - {"side"} == {"messages"} and record["messages"] == TALK


def test_what_was_cut_off_as_asked_does_not_come_back(tmp_path: Path) -> None:
    options = {"trim": True}
    (record,) = records(
        to(tmp_path, "messages", {"messages": [WORSE, *TALK, ASKED]}, options=options).out
    )
    assert record == {"messages": TALK, "trimmed": ["message 1 (assistant)", "message 4 (user)"]}


def test_keys_of_turns_that_are_left_out_are_named(tmp_path: Path, capsys: Any) -> None:
    thought = {**ANSWER, "reasoning_content": "hm", "refusal": None, "weight": 1}
    done = to(tmp_path, "messages", {"messages": TALK}, {"messages": [ASKED, thought]})
    assert done.left_out == ["messages[].reasoning_content"]
    converting.print_conversion(done)
    said = " ".join(capsys.readouterr().err.split())
    assert "not in the rows of the result: messages[].reasoning_content" in said
    turns = [{"from": "human", "value": "hi", "text": "<p>hi"},
             {"from": "gpt", "value": "ho", "markdown": "*ho*"}]  # fmt: skip
    done = to(tmp_path, "sharegpt", {"conversations": turns})
    assert done.left_out == ["conversations[].markdown", "conversations[].text"]
    assert to(tmp_path, "parquet", {"conversations": turns}).left_out == []
