"""Natural Instructions: v1, 2021 and v2 task files, copies on the hub, and the way back out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from format_rows import one, read, reason

from luthier.data.config import SourceConfig
from luthier.data.formats import super_ni
from luthier.data.rows import Reject, Row
from luthier.errors import DataError

SOURCE = SourceConfig(path="task.json")
TASK: dict[str, Any] = {
    "Contributors": ["A"], "Categories": ["Sums"], "Definition": ["Add the numbers."],
    "Domains": ["Mathematics"],
    "Positive Examples": [{"input": "1, 1", "output": "2", "explanation": "Sum."}],
    "Negative Examples": [{"input": "1, 1", "output": "3", "explanation": "Too much."}],
    "Instances": [
        {"id": "t-1", "input": "1, 2", "output": ["3", "three"]},
        {"id": "t-2", "input": "2, 2", "output": ["4"]},
        {"id": "t-3", "input": "2, 2", "output": []},
        "broken",
    ],
    "Instance License": ["CC BY 4.0"],
}  # fmt: skip


def task_file(path: Path, task: Any, **options: Any) -> list[Row | Reject]:
    path.write_text(json.dumps(task, indent=1), encoding="utf-8")
    table = super_ni.open_file(path, path.name)
    return list(super_ni.rows(table, SOURCE, **options))


def test_every_instance_of_a_task_file_is_a_row(tmp_path: Path) -> None:
    first, second, third, fourth = task_file(tmp_path / "task1_sums.json", TASK)
    assert isinstance(first, Row) and isinstance(second, Row)
    assert [m.content for m in first.messages] == ["Add the numbers.\n\n1, 2", "3"]
    assert first.fields["task"] == "task1_sums" and first.fields["id"] == "t-1"
    assert first.fields["output"] == "3" and first.fields["outputs"] == ["3", "three"]
    assert first.fields["Categories"] == ["Sums"] and first.fields["Domains"] == ["Mathematics"]
    assert first.terms is not None and first.terms.licence == "CC BY 4.0"
    assert str(second.origin) == "task1_sums.json: row 2"
    for name in ("definition", "positive_examples", "negative_examples"):
        assert first.fields[name] is second.fields[name], "rows share what the task says"
    assert isinstance(third, Reject) and third.what == "no answer"
    assert isinstance(fourth, Reject) and fourth.reason == "not an object: found a text"


def test_every_right_answer_can_be_a_row(tmp_path: Path) -> None:
    rows = task_file(tmp_path / "t.json", TASK, outputs="all")
    assert [r.messages[-1].content for r in rows if isinstance(r, Row)] == ["3", "three", "4"]
    with pytest.raises(DataError, match="outputs is 'every', expected one of first, all"):
        task_file(tmp_path / "t.json", TASK, outputs="every")


def test_instances_are_streamed(tmp_path: Path) -> None:
    many = {**TASK, "Instances": [{"input": "x" * 4000, "output": ["y"]} for _ in range(1000)]}
    path = tmp_path / "t.json"
    path.write_text(json.dumps(many), encoding="utf-8")
    table = super_ni.open_file(path, "t.json")
    rows = super_ni.rows(table, SOURCE)
    first = next(rows)
    assert isinstance(first, Row) and first.fields["Instance License"] == ["CC BY 4.0"]
    assert table.place[0] < path.stat().st_size / 2, "the rest of the file is still to be read"
    assert sum(1 for _ in rows) == 999


def test_older_schemas_are_read_too(tmp_path: Path) -> None:
    task = {"Title": "Sums", "Definition": "Add.", "Things to Avoid": "-",
            "Examples": {"Positive Examples": [{"input": "a", "output": "b", "reason": "c"}],
                         "Negative Examples": "-"},
            "Instances": [{"input": "1", "output": "1"}]}  # fmt: skip
    (row,) = task_file(tmp_path / "v1.json", task)
    assert isinstance(row, Row) and row.messages[0].content == "Add.\n\n1"
    assert row.fields["positive_examples"][0]["reason"] == "c"
    assert row.fields["negative_examples"] == [] and row.fields["Title"] == "Sums"
    assert row.terms is None and row.fields["outputs"] == ["1"]


def test_lists_of_tasks_and_single_instances_are_read(tmp_path: Path) -> None:
    rows = task_file(tmp_path / "tasks.json", [TASK, {**TASK, "Instances": [], "Definition": "X"}])
    assert [isinstance(row, Row) for row in rows] == [True, True, False, False, False]
    assert isinstance(rows[3], Reject) and "item 4 of 'Instances' is a text" in rows[3].reason
    hub = {"Task": "t9", "Definition": ["Add."], "Positive Examples": [],
           "Instance": {"id": "i", "input": "1", "output": ["1"]}}  # fmt: skip
    assert one(super_ni, hub).fields["task"] == "t9"
    flat = {"task_name": "t9", "id": "i", "definition": "Add.", "inputs": "1", "targets": "1"}
    row = one(super_ni, flat)
    assert [m.content for m in row.messages] == ["Add.\n\n1", "1"] and row.fields["id"] == "i"


@pytest.mark.parametrize(
    ("task", "why"),
    [
        ({"Instances": []}, "missing field: no 'Definition'"),
        ({"Definition": "a"}, "missing field: no 'Instances'"),
        ({"Definition": "a", "Instances": []}, "no instances: "),
        (
            {"Definition": {}, "Instances": [{"input": "", "output": ""}]},
            "wrong type: 'Definition'",
        ),
        ({"Definition": "a", "Instances": {}}, "wrong type: 'Instances' holds an object"),
        (
            {"Definition": "a", "Instances": [{"input": [1], "output": ["b"]}]},
            "wrong type: 'input'",
        ),
        (
            {"Definition": "a", "Instances": [{"input": "x", "output": [{}]}]},
            "wrong type: 'output'",
        ),
    ],
)
def test_tasks_that_lack_something_are_rejected(task: dict[str, Any], why: str) -> None:
    assert why in reason(super_ni, task)


def test_empty_and_damaged_task_files_say_so(tmp_path: Path) -> None:
    (row,) = task_file(tmp_path / "none.json", {**TASK, "Instances": []})
    assert isinstance(row, Reject) and row.what == "no instances"
    path = tmp_path / "cut.json"
    path.write_text(json.dumps(TASK, indent=1)[:-300], encoding="utf-8")
    with pytest.raises(DataError, match=r"cut\.json:\d+: not valid JSON"):
        super_ni.open_file(path, path.name)


def test_rows_of_different_tasks_do_not_share(tmp_path: Path) -> None:
    other = {**TASK, "Definition": ["Subtract."], "Positive Examples": []}
    rows = [row for row in read(super_ni, _whole(TASK), _whole(other)) if isinstance(row, Row)]
    assert [row.fields["definition"] for row in rows] == ["Add the numbers."] * 2 + [
        "Subtract."
    ] * 2


def _whole(task: dict[str, Any]) -> dict[str, Any]:
    return {**task, "Instances": task["Instances"][:2]}
