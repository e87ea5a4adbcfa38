"""JSON lists with a record that is no JSON: it is one reject, and the others are read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from luthier.data.convert import convert
from luthier.data.files.sources import open_file
from luthier.data.rows import Reject, Row
from luthier.errors import DataError

GOOD = [{"q": f"question {i}", "turns": [{"q": "x"}, {"q": "y"}], "n": i} for i in range(6)]
BROKEN = {
    "quote": lambda text: text.replace("question 3", 'a "question" 3'),
    "early end": lambda text: text.replace("question 3", 'question"} 3'),
    "line break": lambda text: text.replace("question 3", "question\n{ 3"),
    "no colon": lambda text: text.replace('"n":', '"n"'),
    "bracket too many": lambda text: text + "}",
    "not closed": lambda text: text[:-1],
}


def in_lines(texts: list[str]) -> str:
    return "[\n" + ",\n".join(texts) + "\n]\n"


LAYOUTS = {
    "lines": (None, in_lines),
    "windows": (None, lambda texts: in_lines(texts).replace("\n", "\r\n")),
    "bracket": (None, lambda texts: "[" + ",\n ".join(texts) + "]"),
    "comma first": (None, lambda texts: "[ " + "\n, ".join(texts) + "\n]"),
    "indented": (2, lambda texts: in_lines(texts).replace("\n", "\n  ").rstrip() + "\n"),
    "joined": (2, lambda texts: "[" + ", ".join(texts) + "]"),
}


def read(path: Path) -> tuple[list[dict[str, object]], list[Reject]]:
    records = list(open_file(path, name=path.name).records)
    return (
        [r.fields for r in records if isinstance(r, Row)],
        [r for r in records if isinstance(r, Reject)],
    )


@pytest.mark.parametrize("chunk", [7, 1 << 20])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("defect", BROKEN)
def test_one_broken_record_is_rejected_and_the_others_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, defect: str, layout: str, chunk: int
) -> None:
    monkeypatch.setattr("luthier.data.files.json_rows._CHUNK", chunk)
    indent, joined = LAYOUTS[layout]
    texts = [json.dumps(row, indent=indent) for row in GOOD]
    texts[3] = BROKEN[defect](texts[3])
    path = tmp_path / "a.json"
    path.write_text(joined(texts), newline="")
    rows, rejects = read(path)
    assert rows == GOOD[:3] + GOOD[4:]
    assert {r.what for r in rejects} == {"not JSON"} and rejects[0].origin.row == 4
    shown = "".join(str(r.fields["text"]) for r in rejects)
    assert "".join(texts[3].split()).rstrip("}") in "".join(shown.split())
    # A break inside a text looks like two records; every other defect is one.
    assert len(rejects) == 1 or (defect == "line break" and len(rejects) == 2)


def test_the_reason_names_the_line_and_the_reject_shows_the_record(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('[\n{"a": "x"},\n{"a": "the "best" one"},\n{"a": "y"}\n]')
    rows, (reject,) = read(path)
    assert rows == [{"a": "x"}, {"a": "y"}]
    assert reject.reason == "not JSON: Expecting ',' delimiter (line 3)"
    assert reject.fields == {"text": '{"a": "the "best" one"}'}


@pytest.mark.parametrize("layout", [" ", "\n"])
@pytest.mark.parametrize("at", range(3))
def test_records_that_share_a_line_are_told_by_their_first_key(
    tmp_path: Path, at: int, layout: str
) -> None:
    texts = [json.dumps({"a": i, "b": [{"c": 1}, {"c": 2}]}) for i in range(3)]
    texts[at] = texts[at].replace('"b":', '"b"')
    path = tmp_path / "a.json"
    path.write_text(f"[{layout}{', '.join(texts)}{layout}]")
    if at == 2 and layout == " ":
        # Nothing says that the rest of the line is one record.
        with pytest.raises(DataError, match="not valid JSON"):
            read(path)
        return
    rows, rejects = read(path)
    assert [row["a"] for row in rows] == [i for i in range(3) if i != at]
    assert [r.fields["text"] for r in rejects] == [texts[at]]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_file_that_breaks_off_ends_with_one_reject(tmp_path: Path, layout: str) -> None:
    indent, joined = LAYOUTS[layout]
    text = joined([json.dumps(row, indent=indent) for row in GOOD])
    path = tmp_path / "a.json"
    second = text.index("question 1")
    for end in range(second, len(text.rstrip())):
        path.write_text(text[:end], newline="")
        rows, rejects = read(path)
        assert rows == GOOD[: len(rows)] and rows, end
        assert [(r.what, r.origin.row) for r in rejects] == [("cut off", len(rows) + 1)], end


def test_a_list_without_a_record_that_can_be_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('[\n{"a" 1},\n{"a" 2}\n]')
    with pytest.raises(DataError, match=r"a\.json:\d: not valid JSON"):
        read(path)


def test_a_stray_sign_before_a_record_costs_that_record(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    text = json.dumps(GOOD, indent=4)
    for stray in ('"', "x ", ":"):
        path.write_text(text.replace("    },\n    {", f"    }},\n {stray}   {{", 1))
        rows, rejects = read(path)
        assert rows == GOOD[:1] + GOOD[2:] and len(rejects) == 1, stray


def test_a_list_in_a_record_that_is_not_closed_takes_no_other_record_along(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('[\n{"a": 1},\n{"a": 2, "b": [{"c": 1},\n{"a": 3},\n{"a": 4}\n]')
    rows, (reject,) = read(path)
    assert [row["a"] for row in rows] == [1, 3, 4]
    assert reject.fields == {"text": '{"a": 2, "b": [{"c": 1}'}


def test_more_than_a_record_is_never_taken_for_one(tmp_path: Path) -> None:
    rest = ", ".join(json.dumps({f"k{i}": "x" * 1000}) for i in range(1100))
    path = tmp_path / "a.json"
    path.write_text('[\n{"a": 1},\n{"a" 2}, ' + rest + "]")
    with pytest.raises(DataError, match=r"a\.json:3: not valid JSON: Expecting ':'"):
        read(path)
    path.write_text('[{"a": 1},\nx{"a": 2},\n {"a": 3}, {"a": 4}]')
    with pytest.raises(DataError, match=r"a\.json:2: not valid JSON"):
        read(path)


def test_commas_too_many_or_missing_cost_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    for text in ('[{"a": 1},\n{"a": 2},\n]', '[{"a": 1}\n{"a": 2}]', '[{"a": 1} {"a": 2}, ]'):
        path.write_text(text)
        assert read(path) == ([{"a": 1}, {"a": 2}], []), text
    path.write_text("[ ]")
    assert read(path) == ([], [])


def test_memory_does_not_grow_with_what_is_passed_over(tmp_path: Path) -> None:
    import tracemalloc

    path = tmp_path / "a.json"
    filler = "".join(f"  {json.dumps({'b': 'x' * 1000})},\n" for _ in range(20_000))
    path.write_text('[\n{"a": 1},\n{"a" 2, "b": [\n' + filler + ' ]},\n{"a": 3}\n]')
    tracemalloc.start()
    rows, rejects = read(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert rows == [{"a": 1}, {"a": 3}] and len(rejects) == 1 and peak < 10_000_000, peak


def test_a_list_with_a_broken_record_is_converted(tmp_path: Path) -> None:
    texts = [
        json.dumps({"instruction": f"Name river {i}.", "input": "", "output": f"River {i}."})
        for i in range(6)
    ]
    texts[2] = texts[2].replace("Name", 'Name "the"')
    path = tmp_path / "a.json"
    path.write_text("[\n" + ",\n".join(texts) + ",\n]")
    done = convert(path, tmp_path / "out.jsonl", to="messages")
    assert (done.rows_in, done.rows_out, done.reasons) == (6, 5, {"not JSON": 1})
