"""Whatever stands in a file: an importer answers with rows and rejects, never with a traceback."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from format_rows import read
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from luthier.data import convert
from luthier.data.importing.conversation import ROLES
from luthier.data.importing.recognise import FORMATS, recognise
from luthier.data.rows import Reject, Row
from luthier.errors import DataError

WORDS = st.sampled_from(
    [
        "",
        " ",
        "hi",
        "User: a\nAssistant: b",
        "### Human: a### Assistant: b",
        "<human>: a\n<bot>: b",
        "\n\nHuman: a\n\nAssistant: b",
        "[{",
        "[]",
        '[{"role": "user", "content": "x"}]',
        "true",
        "a|b",
    ]
)
SCALARS = st.none() | st.booleans() | st.integers(-3, 3) | st.floats(allow_nan=False) | WORDS
KEYS = [
    "instruction",
    "input",
    "output",
    "response",
    "history",
    "system",
    "instances",
    "instruction_with_input",
    "constraints",
    "messages",
    "conversations",
    "conversation",
    "tools",
    "functions",
    "text",
    "prompt",
    "completion",
    "chosen",
    "rejected",
    "label",
    "question",
    "answer",
    "reformulations",
    "explanation",
    "inputs",
    "targets",
    "inputs_pretokenized",
    "targets_pretokenized",
    "Definition",
    "definition",
    "Instances",
    "Instance",
    "Positive Examples",
    "Examples",
    "Instance License",
    "message_id",
    "parent_id",
    "role",
    "replies",
    "rank",
    "deleted",
    "review_result",
    "synthetic",
    "model_name",
    "thread",
    "thread_id",
    "message_tree_id",
    "id",
    "Instruction",
    "preferred_output",
    "non_preferred_output",
    "lang",
    "context",
]
TURNS = st.fixed_dictionaries(
    {},
    optional={
        "from": st.sampled_from([*ROLES, "prompter", "alien"]) | SCALARS,
        "role": st.sampled_from([*ROLES, "prompter", "alien"]) | SCALARS,
        "value": SCALARS,
        "content": SCALARS | st.lists(st.dictionaries(st.just("text"), SCALARS), max_size=2),
        "text": SCALARS,
        "name": SCALARS,
        "weight": SCALARS,
        "tool_calls": SCALARS | st.lists(
            st.fixed_dictionaries({}, optional={"id": SCALARS, "name": SCALARS, "function": SCALARS,
                                                "arguments": SCALARS}), max_size=2),
        "function_call": SCALARS,
        "tool_call_id": SCALARS,
        "message_id": SCALARS,
        "rank": SCALARS,
        "input": SCALARS,
        "output": SCALARS,
        "replies": SCALARS | st.lists(SCALARS, max_size=2),
    },
)  # fmt: skip
VALUES = SCALARS | TURNS | st.lists(SCALARS | TURNS | st.lists(SCALARS, max_size=3), max_size=4)
RECORDS = st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=8)


@pytest.mark.parametrize("name", FORMATS.names())
def test_no_record_breaks_an_importer(name: str) -> None:
    module = FORMATS.load(name)
    own = st.sampled_from(sorted(module.EXAMPLE))

    @settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(st.lists(st.builds(dict.__or__, RECORDS, st.dictionaries(own, VALUES)), max_size=3))
    def fuzz(records: list[dict[str, Any]]) -> None:
        try:
            found = read(module, *records)
        except DataError as error:
            assert "no column" in str(error)
            return
        assert len(found) >= min(1, len(records))
        for row in found:
            if isinstance(row, Reject):
                assert re.match(r"[^:]+: .", row.reason)
            elif row.messages:
                assert row.messages[-1].role == "assistant"

    fuzz()


def test_no_file_breaks_a_conversion(tmp_path_factory: Any) -> None:
    folder = tmp_path_factory.mktemp("fuzz")

    @settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(
        st.lists(RECORDS, max_size=4), st.text(max_size=30), st.sampled_from(list(convert.ENDINGS))
    )
    def fuzz(records: list[dict[str, Any]], tail: str, to: str) -> None:
        path = folder / "rows.jsonl"
        lines = [json.dumps(r) for r in records]
        path.write_text("\n".join([*lines, tail]), encoding="utf-8", errors="replace")
        try:
            found = recognise(path)
            done = convert.convert(path, folder / "out", to=to, format=found.format)
        except DataError:
            return
        assert done.rows_in == done.rows_out + done.rejected

    fuzz()


def test_an_importer_leaves_the_records_as_they_were() -> None:
    for name in FORMATS.names():
        module = FORMATS.load(name)
        before = json.dumps(module.EXAMPLE)
        assert any(isinstance(row, Row) for row in read(module, module.EXAMPLE))
        assert json.dumps(module.EXAMPLE) == before, name
