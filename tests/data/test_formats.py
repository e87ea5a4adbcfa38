"""Importers: columns, conversations, plain text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from luthier.data.config import SourceConfig
from luthier.data.formats import columns, messages, text
from luthier.data.rows import Reject, Row, Table
from luthier.errors import DataError
from luthier.example import Message, Origin


def table(*fields: dict[str, Any], names: list[str] | None = None) -> Table:
    def records() -> Iterator[Row | Reject]:
        for number, each in enumerate(fields, 1):
            yield Row(Origin("rows", number), each)

    return Table("rows", records(), names)


SOURCE = SourceConfig(path="rows", input="sentence", output="label")


def test_columns_are_renamed_and_the_others_kept() -> None:
    given = {"label": "yes", "sentence": "S", "year": "1950", "input": "I", "input_column": "J"}
    (row,) = columns.rows(table(given), SOURCE)
    assert row.fields == {
        "input": "S", "output": "yes", "year": "1950", "input_column_column": "I",
        "input_column": "J",
    }  # fmt: skip


def test_a_column_nobody_has_is_an_error_with_the_nearest_name() -> None:
    with pytest.raises(DataError, match=r"no column 'label'\. Did you mean 'Label'\?.*'Label'"):
        list(columns.rows(table({}, names=["sentence", "Label"]), SOURCE))
    with pytest.raises(DataError, match=r"Did you mean 'labels'\? Columns: 'sentence', 'labels'"):
        list(columns.rows(table({"sentence": "a", "labels": "b"}), SOURCE))


def test_single_rows_without_the_column_are_rejected() -> None:
    given = [{"sentence": "a", "label": "x"}, {"sentence": "b", "lable": "x"}]
    good, bad = columns.rows(table(*given), SOURCE)
    assert isinstance(good, Row) and isinstance(bad, Reject)
    assert bad.what == "missing column" and "Did you mean 'lable'?" in bad.reason
    assert str(bad.origin) == "rows:2" and bad.fields == given[1]


@pytest.mark.parametrize("value", [["a"], {"a": 1}, b"raw"])
def test_values_that_are_no_text_are_rejected(value: Any) -> None:
    for importer, fields in (
        (columns, {"sentence": "a", "label": value}),
        (text, {"text": value}),
    ):
        (row,) = importer.rows(table(fields), SOURCE)
        assert isinstance(row, Reject) and row.what == "wrong type", importer


USER, ANSWER = {"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}


def test_conversations_become_messages() -> None:
    parts = {"role": "user", "content": [{"type": "text", "value": "a"}, {"text": "b"}, "c"]}
    plain, as_json, in_parts = messages.rows(
        table({"messages": [USER, ANSWER]}, {"messages": '[{"role": "user", "content": "hi"}, '
              '{"role": "assistant", "content": "ho"}]'}, {"messages": [parts, ANSWER], "n": 1}),
        SOURCE,
    )  # fmt: skip
    assert isinstance(plain, Row) and isinstance(as_json, Row) and isinstance(in_parts, Row)
    assert plain.messages == (Message("user", "hi"), Message("assistant", "ho"))
    assert as_json.messages == plain.messages
    assert in_parts.messages[0].content == "abc"
    assert in_parts.fields == {"messages": [parts, ANSWER], "n": 1}


@pytest.mark.parametrize(
    ("turns", "reason"),
    [
        ("hello", "expected a list of messages, found a text"),
        ([], "found an empty list"),
        (None, "found null"),
        ([USER], "the last message is from user, expected assistant"),
        ([ANSWER], "nothing is asked before the answer"),
        ([{"role": "system", "content": "x"}, ANSWER], "nothing is asked"),
        ([USER, {"role": "system", "content": "x"}, ANSWER], "message 2 is from system"),
        ([{"role": "tool", "content": "x"}, ANSWER], "role 'tool' is none of system"),
        ([{"from": "human", "value": "x"}, ANSWER], "no 'role' (it has from, value)"),
        ([{"role": "user", "content": None}, ANSWER], "content is null, expected text"),
        ([{"role": "user", "content": [{"type": "image"}]}, ANSWER], "part of type 'image'"),
        ([USER, {**ANSWER, "tool_calls": [{}]}], "message 2 calls tools"),
        (["hi", ANSWER], "message 1 is a text"),
    ],
)
def test_other_conversations_are_rejected_with_the_reason(turns: Any, reason: str) -> None:
    (row,) = messages.rows(table({"messages": turns}), SOURCE)
    assert isinstance(row, Reject)
    assert row.what == "not a conversation" and reason in row.reason
