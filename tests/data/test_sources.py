"""Reading files: nothing is lost, nothing is changed, every bad row is named with its line."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from luthier.as_written import json_text
from luthier.data import opening
from luthier.data.config import SourceConfig
from luthier.data.files.sources import open_file, open_source
from luthier.data.rows import Reject, Row, kind_of
from luthier.data.shape import shape_of, template_sets
from luthier.data.templating.template import as_text
from luthier.errors import DataError
from luthier.run import Run


def read(path: Path, *wanted: str) -> tuple[list[Row], list[Reject]]:
    records = list(open_file(path, name=path.name, wanted=wanted).records)
    return (
        [r for r in records if isinstance(r, Row)],
        [r for r in records if isinstance(r, Reject)],
    )


def write(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


AS_WRITTEN = [
    "no",
    "1",
    "01",
    "1.50",
    "NaN",
    "null",
    "NA",
    "None",
    "true",
    "2020-01-01",
    "1e5",
    " x ",
]


def test_csv_values_stay_as_written(tmp_path: Path) -> None:
    text = "text,label\n" + "".join(f"row {i},{v}\n" for i, v in enumerate(AS_WRITTEN))
    rows, rejects = read(write(tmp_path / "a.csv", text))
    assert [r.fields["label"] for r in rows] == AS_WRITTEN and not rejects
    assert [r.origin.row for r in rows] == list(range(2, 2 + len(AS_WRITTEN)))


@pytest.mark.parametrize("suffix", ["jsonl", "json"])
def test_json_strings_and_fractions_stay_as_written(tmp_path: Path, suffix: str) -> None:
    fractions = ["0.50", "1E5", "-0.0", "0.1234567890123456789", "1e400", "NaN", "-Infinity"]
    lines = [json.dumps({"label": v}) for v in AS_WRITTEN]
    lines += [f'{{"label": {v}, "in": [{{"deep": {v}}}]}}' for v in fractions]
    text = "\n".join(lines) if suffix == "jsonl" else "[" + ",\n".join(lines) + "]"
    rows, rejects = read(write(tmp_path / f"a.{suffix}", text))
    assert [str(r.fields["label"]) for r in rows] == [*AS_WRITTEN, *fractions] and not rejects
    numbers = [r.fields["label"] for r in rows[len(AS_WRITTEN) :]]
    assert all(isinstance(n, float) for n in numbers)
    assert numbers[:3] == [0.5, 100000.0, 0.0]
    assert [json_text(r.fields) for r in rows] == lines
    inner = [as_text(r.fields["in"]) for r in rows[len(AS_WRITTEN) :]]
    assert inner == [f'[{{"deep": {v}}}]' for v in fractions]
    assert kind_of(numbers[0]) == "a number"


@pytest.mark.parametrize("suffix", ["jsonl", "json"])
def test_a_row_that_is_nested_too_deeply_is_one_reject(tmp_path: Path, suffix: str) -> None:
    deep = [f'{{"a": {"[" * n}1{"]" * n}}}' for n in (99, 100)] + ["[" * 101 + "]" * 101]
    lines = [*deep, '{"a": "' + "[" * 300 + '"}']
    text = "\n".join(lines) if suffix == "jsonl" else "[" + ",\n".join(lines) + "]"
    rows, rejects = read(write(tmp_path / f"a.{suffix}", text))
    assert [r.origin.row for r in rows] == [1, 4]
    assert [(r.origin.row, r.what) for r in rejects] == [
        (2, "nested too deeply"), (3, "nested too deeply"),
    ]  # fmt: skip
    assert rejects[0].fields == {"line": lines[1]}
    assert json_text(rows[0].fields) == lines[0]


def test_a_bad_jsonl_line_is_one_reject_with_its_line(tmp_path: Path) -> None:
    text = '{"a": 1}\n\n{"a": \n[1, 2]\n"word"\n{"a": 1, "a": 2}\n{"a": "\\u0000"}\n'
    text += '{"a": "\\ud83d"}\n{"a": 2}\r\n'
    rows, rejects = read(write(tmp_path / "a.jsonl", text))
    assert [(r.origin.row, r.fields) for r in rows] == [(1, {"a": 1}), (9, {"a": 2})]
    assert [(r.origin.row, r.what) for r in rejects] == [
        (3, "not JSON"), (4, "not an object"), (5, "not an object"), (6, "repeated key"),
        (7, "NUL byte"), (8, "broken Unicode"),
    ]  # fmt: skip
    assert rejects[0].fields == {"line": '{"a": '}
    assert "found a list" in rejects[1].reason


def test_csv_rows_of_the_wrong_width_are_rejected_with_their_line(tmp_path: Path) -> None:
    text = 'text,label\n"two\nlines",a\nonly\nx,b,c\n"y" z,d\n\nlast,e\n'
    rows, rejects = read(write(tmp_path / "a.csv", text))
    assert [(r.origin.row, r.fields["text"]) for r in rows] == [(2, "two\nlines"), (8, "last")]
    assert [(r.origin.row, r.reason) for r in rejects[:2]] == [
        (4, "wrong number of fields: found 1, the header has 2"),
        (5, "wrong number of fields: found 3, the header has 2"),
    ]
    assert (rejects[2].origin.row, rejects[2].what) == (6, "not CSV")
    assert rejects[1].fields == {"record": ["x", "b", "c"]}


@pytest.mark.parametrize(
    "rest",
    [
        'next,c\nmore,d\n', 'next,"c"\nmore,d\n', 'next,c\n"say ""so""",x\nmore,d\n',
        'next,c\nin,e\na "quote",x,y\nmore,d\n', '"open too,b\nnext,c\nmore,d',
    ],
)  # fmt: skip
def test_a_quote_that_is_not_closed_costs_its_line(tmp_path: Path, rest: str) -> None:
    """Whether reading fails at the end of the file, at another quote, or by the number of cells."""
    rows, rejects = read(write(tmp_path / "a.csv", f'text,label\nfine,a\n"open,b\n{rest}'))
    found = [r.fields["text"] for r in rows]
    assert found[0] == "fine" and found[-1] == "more" and "next" in found
    lines = 2 + rest.strip().count("\n") + 1
    assert len(rows) + len(rejects) == lines, "every line is a row or a reject"
    assert (rejects[0].origin.row, rejects[0].fields) == (3, {"line": '"open,b'})
    assert rejects[0].reason.startswith("not CSV: a quote opened in this row is not closed")
    assert [r.origin.row for r in rows] == sorted({r.origin.row for r in rows})


def test_a_row_of_several_lines_with_a_cell_too_many_is_one_reject(tmp_path: Path) -> None:
    text = 'text,label\n"one\ntwo, and a half\nthree\nfour",a,b\nlast,c\n'
    rows, rejects = read(write(tmp_path / "a.csv", text))
    assert [r.fields["text"] for r in rows] == ["last"]
    assert [(r.origin.row, r.what) for r in rejects] == [(2, "wrong number of fields")]


def test_the_rest_of_a_broken_row_is_no_row(tmp_path: Path) -> None:
    text = 'text,label\n"he said "so"\nand went",a\nlast,c\n'
    rows, rejects = read(write(tmp_path / "a.csv", text))
    assert [r.fields["text"] for r in rows] == ["last"]
    assert [r.origin.row for r in rejects] == [2, 3]


def test_every_stray_quote_costs_its_own_line(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "text,label\n" + '"open,b\nfine,c\n' * 20_000)
    rows, rejects = read(path)
    assert len(rows) == len(rejects) == 20_000


@pytest.mark.parametrize("mark", [";", "\t", "|"])
def test_the_delimiter_is_seen_where_no_column_is_asked_for(tmp_path: Path, mark: str) -> None:
    text = f"text{mark}label\n" + f"well, so, yes{mark}a\n" * 30
    rows, _ = read(write(tmp_path / "a.csv", text))
    assert rows[0].fields == {"text": "well, so, yes", "label": "a"}
    rows, _ = read(write(tmp_path / "b.csv", f"text\none{mark} two\n"))
    assert rows[0].fields == {"text": f"one{mark} two"}, "a file of one column"


def test_a_blank_line_is_an_empty_cell_where_there_is_one_column(tmp_path: Path) -> None:
    table = open_file(write(tmp_path / "a.csv", "\ntext\r\nfoo\r\n\r\nbar\n\n"), name="a.csv")
    rows = list(table.records)
    assert [(r.origin.row, r.fields) for r in rows] == [
        (3, {"text": "foo"}), (4, {"text": ""}), (5, {"text": "bar"}), (6, {"text": ""}),
    ]  # fmt: skip
    assert table.blank_lines == 1, "the one above the header"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", "a,b\n1,2\n\n\n3,4\n"), ("a.tsv", "a\tb\n1\t2\n\n\n3\t4\n"),
        ("a.jsonl", '{"a": "1", "b": "2"}\n\n  \n{"a": "3", "b": "4"}\n'),
    ],
)  # fmt: skip
def test_other_blank_lines_are_no_rows_and_are_counted(
    tmp_path: Path, name: str, text: str
) -> None:
    table = open_file(write(tmp_path / name, text))
    found = [(r.origin.row, r.fields["a"]) for r in table.records]
    assert found[0][1] == "1" and found[1][1] == "3" and len(found) == 2
    assert table.blank_lines == 2


def test_rows_without_a_line_of_their_own_are_called_by_their_number(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    text = json.dumps([{"a": 1, "b": 2}] * 3 + ["odd"], indent=2)
    rows, (reject,) = read(write(tmp_path / "rows.json", text))
    assert [str(r.origin) for r in rows] == [f"rows.json: row {n}" for n in (1, 2, 3)]
    assert str(reject.origin) == "rows.json: row 4"
    rows, _ = read(write(tmp_path / "rows.jsonl", '\n{"a": 1}\n'))
    assert str(rows[0].origin) == "rows.jsonl:2"
    rows, _ = read(write(tmp_path / "rows.csv", 'a\n"two\nlines"\nlast\n'))
    assert [str(r.origin) for r in rows] == ["rows.csv:2", "rows.csv:4"]
    pq.write_table(pa.table({"a": ["x", "nul\0"]}), tmp_path / "rows.parquet")
    rows, (reject,) = read(tmp_path / "rows.parquet")
    assert [str(rows[0].origin), str(reject.origin)] == [
        "rows.parquet: row 1", "rows.parquet: row 2",
    ]  # fmt: skip


def test_another_encoding_in_a_json_list_is_named_with_its_line(tmp_path: Path) -> None:
    text = json.dumps([{"a": "plain"}, {"a": "café"}], indent=2, ensure_ascii=False)
    with pytest.raises(DataError, match=r"^a\.json:6: is not UTF-8; it looks like ISO-8859-1"):
        read(write(tmp_path / "a.json", text.encode("latin-1")))


def test_utf8_with_a_mark_is_read_and_the_mark_is_no_part_of_the_name(tmp_path: Path) -> None:
    rows, _ = read(write(tmp_path / "a.csv", "\ufefftext,label\nà,é\n".encode()))
    assert rows[0].fields == {"text": "à", "label": "é"}


@pytest.mark.parametrize(
    ("encoding", "named"),
    [
        ("utf-16", "UTF-16-LE"), ("utf-16-be", "UTF-16-BE"), ("utf-16-le", "UTF-16-LE"),
        ("utf-32", "UTF-32-LE"), ("latin-1", "ISO-8859-1"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_other_encodings_are_named(tmp_path: Path, encoding: str, named: str, suffix: str) -> None:
    text = "text,label\ncafé,a\n" if suffix == "csv" else '{"text": "café"}\n{"text": "b"}\n'
    line = "2" if encoding == "latin-1" and suffix == "csv" else "1"
    with pytest.raises(DataError, match=rf"^a\.{suffix}:{line}: .*{named}.*iconv -f {named}"):
        read(write(tmp_path / f"a.{suffix}", text.encode(encoding)))


def test_windows_quotes_are_told_from_latin_1(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"CP1252 \('.*“so”"):
        read(write(tmp_path / "a.csv", "text,label\n“so”,a\n".encode("cp1252")))


def test_damaged_rows_of_a_utf8_file_are_rejects(tmp_path: Path) -> None:
    body = "text,label\né,a\nü,b\n".encode() + b"\xe9,c\nx\x00y,d\n"
    rows, rejects = read(write(tmp_path / "a.csv", body))
    assert [r.fields["label"] for r in rows] == ["a", "b"]
    assert [(r.origin.row, r.reason.split(":")[0]) for r in rejects] == [
        (4, "not UTF-8"), (5, "NUL byte"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"", "empty \\(0 bytes\\)"),
        ("a.jsonl", b"\n \n", "only blank lines"),
        ("a.csv", b"\n\n", "only blank lines"),
        ("a.csv", b"x,y,x\n1,2,3\n", "two columns are named 'x'"),
        ("a.csv", b"PK\x03\x04....", "Excel or ZIP"),
        ("a.jsonl", b"\x1f\x8b.....", "gzip"),
        ("a.csv", b"%PDF-1.7 ...", "is a PDF; save its text"),
        (
            "a.csv",
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0",
            "pointer of Git LFS",
        ),
        ("a.parquet", b"text,label\n", "not a readable Parquet file"),
        ("a.xlsx", b"PK", "unknown kind of file; expected one of .csv"),
        ("a.json", b'{\n"rows": [\n{"a": 1}]}', "expected a list of objects"),
        ("a.json", b'[\n{"a" 2}]', "a.json:2: not valid JSON"),
        ("a.json", b'[{"a": 1}, {"b" 2}, {"c": 3}]', "a.json:1: not valid JSON: Expecting ':'"),
        ("a.json", b'[{"a": 1} x, {"b": 2}]', "a.json:1: expected ',', found 'x'"),
        ("a.json", b'[{"a', "not valid JSON"),
        ("a.json", b"[2026-01-01] INFO started\n[2026-01-01] INFO done\n", "expected ','"),
        ("a.json", b'[{"a": "open}]', "not valid JSON: Unterminated string"),
        ("a.json", b'[{"a": 1}] x', "text after the end"),
    ],
)
def test_files_that_cannot_be_read(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(write(tmp_path / name, content))


def test_missing_files_name_the_nearest(tmp_path: Path) -> None:
    write(tmp_path / "promises.csv", "a\n1\n")
    with pytest.raises(DataError, match=r"Did you mean 'promises\.csv'\?"):
        open_file(tmp_path / "promise.csv")
    with pytest.raises(DataError, match=r"Data files there: promises\.csv"):
        open_file(tmp_path / "zzz.jsonl")
    with pytest.raises(DataError, match="no folder"):
        open_file(tmp_path / "nowhere" / "a.csv")
    with pytest.raises(DataError, match="is a folder"):
        open_file(tmp_path)


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_the_wanted_columns_tell_the_delimiter(tmp_path: Path, delimiter: str) -> None:
    path = write(tmp_path / "a.csv", f"text{delimiter}label\na, b{delimiter}c\n")
    rows, _ = read(path, "text", "label")
    assert rows[0].fields == {"text": "a, b", "label": "c"}


CELLS = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=8
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=8))
def test_whatever_csv_and_json_can_hold_comes_back(
    tmp_path: Path, cells: list[tuple[str, str]]
) -> None:
    out = io.StringIO(newline="")
    writer = csv.writer(out, quoting=csv.QUOTE_ALL)
    writer.writerows([("a", "b"), *cells])
    expected = [{"a": a, "b": b} for a, b in cells]
    lines = [json.dumps(e, ensure_ascii=False) for e in expected]
    files = {
        "x.csv": out.getvalue(),
        "x.jsonl": "\n".join(lines),
        "x.json": "[" + " ,\n".join(lines) + "]\n",
    }
    for name, text in files.items():
        rows, rejects = read(write(tmp_path / name, text))
        assert [r.fields for r in rows] == expected and not rejects, name


def test_a_json_list_longer_than_the_window(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("luthier.data.files.json_rows._CHUNK", 7)
    items: list[dict[str, Any]] = [{"a": "x" * n, "n": 10**n} for n in range(40)]
    rows, rejects = read(write(tmp_path / "a.json", json.dumps(items, indent=1)))
    assert [r.fields for r in rows] == items and not rejects
    assert [r.origin.row for r in rows] == list(range(1, 41))
    rows, rejects = read(write(tmp_path / "b.json", "[1234567890123, {}]"))
    assert rejects[0].fields == {"value": 1234567890123} and rows[0].origin.row == 2


def test_parquet_class_numbers_become_their_names(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    feature = {"names": ["no", "yes"], "_type": "ClassLabel"}
    meta = {"info": {"features": {"t": {"dtype": "string", "_type": "Value"}, "l": feature}}}
    table = pa.table({"t": ["a", "b", "c"], "l": pa.array([1, 0, -1], pa.int64())})
    path = tmp_path / "odd [1].parquet"
    pq.write_table(table.replace_schema_metadata({"huggingface": json.dumps(meta)}), path)
    opened = open_file(path)
    assert opened.columns == ["t", "l"] and opened.total == 3
    rows = [r for r in opened.records if isinstance(r, Row)]
    assert [(r.origin.row, r.fields["l"]) for r in rows] == [(1, "yes"), (2, "no"), (3, None)]


def test_a_missing_file_is_looked_for_in_a_folder_with_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=rf"^a\.csv: no such file in {tmp_path}\.$"):
        open_file(Path("a.csv"))
    with pytest.raises(DataError, match=rf"there is no folder {tmp_path / 'deep'} either\.$"):
        open_file(Path("deep/a.csv"))


def test_an_unreachable_hub_is_said_to_be(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nobody/nothing: .*hub cannot be reached.*`path:`"):
        open_source(SourceConfig(hub="nobody/nothing"), tmp_path, wanted=[])


def test_a_hub_id_that_the_catalogue_knows(
    make_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Its importer and its terms apply, unless the recipe names columns."""
    recipe = make_run(task={"kind": "generation", "labels": None}, data={"template": None}).recipe
    shape = shape_of(recipe, template_sets(recipe, tmp_path))
    row = {"instruction": "Name a tree.", "input": "", "output": "Oak"}
    written = tmp_path / "hub.jsonl"
    written.write_text(json.dumps(row) + "\n")

    def hub(source: SourceConfig, root: Path, *, wanted: Any) -> Any:  # there is none here
        return open_file(written)

    monkeypatch.setattr(opening.sources, "open_source", hub)
    known = opening.open_rows(SourceConfig(hub="tatsu-lab/alpaca"), tmp_path, shape)
    assert known.format == "alpaca" and known.terms.licence == "CC-BY-NC-4.0"
    assert known.terms.generator_terms and known.terms.commercial == "no"
    named = SourceConfig(hub="tatsu-lab/alpaca", input="instruction", output="output")
    found = opening.open_rows(named, tmp_path, shape)
    assert found.format == "columns" and found.terms == known.terms
    assert opening.open_rows(SourceConfig(hub="a/b"), tmp_path, shape).terms.licence is None


def test_packaged_sets_are_found_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "datasets").mkdir()
    write(tmp_path / "datasets" / "promises.csv", "a\n1\n")
    monkeypatch.setattr("luthier.data.files.sources.resources.files", lambda package: tmp_path)
    for name in ("luthier:promises.csv", "luthier:promises"):
        table = open_source(SourceConfig(path=name), tmp_path, wanted=["a"])
        assert table.name == name and len(list(table.records)) == 1
    with pytest.raises(DataError, match=r"Did you mean 'promises\.csv'\?"):
        open_source(SourceConfig(path="luthier:promise.csv"), tmp_path, wanted=[])
    with pytest.raises(DataError, match="no such packaged set"):
        open_source(SourceConfig(path="luthier:../a.csv"), tmp_path, wanted=[])


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    import tracemalloc

    row = {"a": "x" * 1000}
    line = json.dumps(row)
    write(tmp_path / "a.jsonl", (line + "\n") * 8000)
    write(tmp_path / "a.json", "[" + ",".join([line] * 8000) + "]")
    write(tmp_path / "a.csv", "a\n" + ("x" * 1000 + "\n") * 8000)
    for name in ("a.jsonl", "a.json", "a.csv"):
        tracemalloc.start()
        count = sum(1 for _ in open_file(tmp_path / name).records)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert count == 8000 and peak < 6_000_000, (name, peak)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"\x89PNG\r\n\x1a\n" + bytes(range(256)), "is a PNG picture, not data"),
        (bytes(range(256)) * 4, "holds binary data, not text"),
    ],
)
def test_what_is_no_text_is_not_called_an_encoding(
    tmp_path: Path, content: bytes, what: str
) -> None:
    for name in ("rows.csv", "rows.jsonl"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=f"{name}: {what}"):
            list(open_file(tmp_path / name, name=name).records)
