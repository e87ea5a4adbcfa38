"""Files packed with gzip: read as what is in them, and a clear word where they are damaged."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path

import pytest

from luthier.data.convert import convert
from luthier.data.files.sources import open_file
from luthier.data.rows import Reject, Row
from luthier.errors import DataError


def records(path: Path) -> list[Row | Reject]:
    return list(open_file(path, name=path.name).records)


def _packed(content: bytes) -> bytes:
    """With no time in it: names of tests hold it, and must be the same in every process."""
    return gzip.compress(content, mtime=0)


def packed(path: Path, text: str | bytes) -> Path:
    path.write_bytes(_packed(text if isinstance(text, bytes) else text.encode()))
    return path


@pytest.mark.parametrize(
    ("name", "text", "count"),
    [
        ("a.csv", '\ufeffa,b\n1,"é\n"\n01,\n2\n', 3),
        ("a.tsv", "a\tb\n1\té\n", 1),
        ("a.jsonl", '{"a": "é"}\n\nbroken\n{"a": 1.50}\n', 3),
        ("a.NDJSON", '{"a": "\u2028"}\n', 1),
        ("a.json", '[{"a": "é"},\n{"a": 2}]', 2),
        ("lines.json", '{"a": 1}\n{"a": 2}\n', 2),
    ],
)
def test_a_packed_file_is_read_as_what_is_in_it(
    tmp_path: Path, name: str, text: str, count: int
) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8", newline="")
    plain = records(tmp_path / name)
    found = records(packed(tmp_path / f"{name}.gz", text))
    assert len(plain) == count
    assert [(r.fields, r.origin.row) for r in found] == [(r.fields, r.origin.row) for r in plain]
    assert [r.reason for r in found if isinstance(r, Reject)] == [
        r.reason for r in plain if isinstance(r, Reject)
    ]
    assert all(r.origin.source == f"{name}.gz" for r in found)


def test_several_members_behind_each_other_are_one_file(tmp_path: Path) -> None:
    """How logs are joined, and how parallel packers write."""
    parts = [_packed(f'{{"a": {i}}}\n'.encode()) for i in range(3)]
    (tmp_path / "a.jsonl.gz").write_bytes(b"".join(parts))
    assert [r.fields["a"] for r in records(tmp_path / "a.jsonl.gz")] == [0, 1, 2]


def test_the_progress_of_a_packed_file_ends_at_its_size(tmp_path: Path) -> None:
    noise = random.Random(0)
    rows = [{"a": f"{noise.getrandbits(4000):x}"} for _ in range(2048)]
    lines = [json.dumps(row) for row in rows]
    texts = {
        "a.jsonl.gz": "\n".join(lines) + "\n",
        "a.json.gz": "[" + ",\n".join(lines) + "]",
        "a.csv.gz": "a\n" + "".join(row["a"] + "\n" for row in rows),
    }
    for name, text in texts.items():
        path = packed(tmp_path / name, text)
        table = open_file(path, name=name)
        places = [table.place[0] for _ in table.records]
        assert table.total == path.stat().st_size < len(text)
        assert places == sorted(places) and places[-1] == table.total, name
        assert len(set(places)) > 1, name


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.json.gz", "a.csv.gz"])
def test_damaged_gzip_data_is_said_with_the_name(tmp_path: Path, name: str) -> None:
    noise = random.Random(0)
    lines = [json.dumps({"a": f"{noise.getrandbits(4000):x}"}) for _ in range(500)]
    text = "[" + ",\n".join(lines) + "]" if name == "a.json.gz" else "\n".join(lines)
    whole = packed(tmp_path / name, text).read_bytes()
    path = tmp_path / name
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=rf"{name}: the gzip data breaks off"):
        records(path)
    path.write_bytes(whole[:5])
    with pytest.raises(DataError, match=rf"{name}: the gzip data breaks off"):
        records(path)
    path.write_bytes(whole[:-8] + bytes(4) + whole[-4:])
    with pytest.raises(DataError, match=rf"{name}: the gzip data is damaged \(CRC"):
        records(path)
    middle = len(whole) // 2
    path.write_bytes(whole[:middle] + b"\xff" * 4000 + whole[middle + 4000 :])
    with pytest.raises(DataError, match=rf"{name}: the gzip data is damaged"):
        records(path)
    path.write_text(text)
    with pytest.raises(DataError, match=rf"{name}: is not gzip data"):
        records(path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl.gz", _packed(b""), "only blank lines"),
        ("a.csv.gz", b"", "empty \\(0 bytes\\)"),
        ("a.gz", _packed(b"x"), "unknown kind of file; expected one of .csv"),
        ("a.gz.gz", _packed(b"x"), "unknown kind of file"),
        ("a.parquet.gz", _packed(b"PAR1"), "packed Parquet file; unpack it"),
        ("a.jsonl.gz", _packed(_packed(b"{}")), "is gzip-compressed"),
        ("a.jsonl", _packed(b"{}"), r"a\.jsonl: is gzip-compressed; end its name in \.gz"),
        (
            "a.csv.gz",
            _packed("text\ncafé\n".encode("utf-16")),
            r"a\.csv\.gz:1: is UTF-16-LE, .*gzip -dc 'a\.csv\.gz' \| iconv .* > 'a\.utf8\.csv'",
        ),
        (
            "a.csv.gz",
            _packed("text\ncafé\n".encode("latin-1")),
            r"a\.csv\.gz:2: is not UTF-8; .*gzip -dc 'a\.csv\.gz' \| iconv -f ISO-8859-1",
        ),
    ],
)
def test_packed_files_that_cannot_be_read(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        records(tmp_path / name)


def test_memory_does_not_grow_with_a_packed_file(tmp_path: Path) -> None:
    import tracemalloc

    path = packed(tmp_path / "a.jsonl.gz", (json.dumps({"a": "x" * 1000}) + "\n") * 8000)
    tracemalloc.start()
    count = sum(1 for _ in open_file(path).records)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 8000 and peak < 6_000_000, peak


def test_a_packed_file_is_converted(tmp_path: Path) -> None:
    row = {"instruction": "Name a river.", "input": "", "output": "The Elbe is one."}
    path = packed(tmp_path / "a.json.gz", json.dumps([row] * 3))
    done = convert(path, tmp_path / "out.jsonl", to="messages")
    assert (done.format, done.rows_in, done.rows_out) == ("alpaca", 3, 3)
    path.write_bytes(path.read_bytes()[:-12])
    with pytest.raises(DataError, match=r"a\.json\.gz: the gzip data breaks off"):
        convert(path, tmp_path / "torn.jsonl", to="messages")
    assert not (tmp_path / "torn.jsonl").exists()
