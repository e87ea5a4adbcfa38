"""Rows on disk come back as they were, and leave nothing behind."""

from __future__ import annotations

import datetime
import os
import signal
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.as_written import WrittenFloat
from luthier.data import spill
from luthier.data.scratch import Scratch
from luthier.data.spill import Spill
from luthier.errors import RunError
from luthier.example import Example, Message, Origin, Terms

FULL = Example(
    "0123456789abcdef",
    Origin("f.json", 7, "row"),
    {"a": "x\n\u2028\x85y", "n": 3, "none": None, "true": True, "deep": {"l": [1, {"k": "v"}]}},
    (
        Message("system", "Be brief."),
        Message("user", "Hi", name="Ann"),
        Message("assistant", "Ho", tool_calls='[{"name": "f"}]', weight=0.5),
    ),
    label="yes",
    template="t",
    split="train",
    group="g",
    tools="[]",
    terms=Terms("MIT", "yes", "model", "free"),
    parents=("1", "2"),
)


def back(folder: Path, *rows: Example) -> list[Example]:
    kept = Spill(folder)
    for number, row in enumerate(rows):
        assert kept.append(row, f"question\n{number}") == number
    found = list(kept)
    assert [q for _, q in found] == [f"question\n{n}" for n in range(len(rows))]
    kept.close()
    return [example for example, _ in found]


@pytest.mark.parametrize("chunk", [1 << 22, 0])
def test_rows_come_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setattr(spill, "_CHUNK", chunk)
    text = Example("2", Origin("f.txt", 1), text="plain")
    assert back(tmp_path, FULL, text, FULL) == [FULL, text, FULL]
    assert back(tmp_path) == []


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.text(), st.text()), max_size=20), st.sampled_from([0, 30, 1 << 22]))
def test_any_text_comes_back(rows: list[tuple[str, str]], chunk: int) -> None:
    kept = Spill(Path())
    before, spill._CHUNK = spill._CHUNK, chunk
    try:
        for number, (text, question) in enumerate(rows):
            kept.append(Example(str(number), Origin(text, number), {text: text}), question)
    finally:
        spill._CHUNK = before
    assert [(e.origin.source, q) for e, q in kept] == rows
    assert [e.fields for e in kept.examples()] == [{t: t} for t, _ in rows]
    assert list(kept.questions()) == [q for _, q in rows] and len(kept) == len(rows)
    kept.close()


def test_numbers_keep_how_they_were_written(tmp_path: Path) -> None:
    fields = {
        "a": WrittenFloat("0.50"),
        "b": [{"c": WrittenFloat("1e3")}],
        "d": WrittenFloat("NaN"),
    }
    (found,) = back(tmp_path, FULL.but(fields=fields))
    assert [str(found.fields["a"]), str(found.fields["b"][0]["c"])] == ["0.50", "1e3"]
    assert str(found.fields["d"]) == "NaN" and found.messages[2].weight == 0.5
    assert type(found.messages[2].weight) is float


def test_what_json_has_no_type_for_becomes_text(tmp_path: Path) -> None:
    fields = {"day": datetime.date(2024, 2, 29), "sum": Decimal("1.10"), "half": 0.5}
    (found,) = back(tmp_path, FULL.but(fields=fields))
    assert found.fields == {"day": "2024-02-29", "sum": "1.10", "half": 0.5}
    assert str(found.fields["half"]) == "0.5"


def test_rows_can_be_read_while_more_are_put(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spill, "_CHUNK", 3000)
    kept = Spill(tmp_path)
    for number in range(50):
        kept.append(FULL.but(id=str(number)), str(number))
    one, other = kept.examples(), kept.examples()
    assert [next(one).id, next(one).id, next(other).id] == ["0", "1", "0"]
    kept.append(FULL.but(id="50"), "50")
    assert [e.id for e in other] == [str(n) for n in range(1, 51)]
    kept.close()


def test_memory_holds_a_chunk_and_the_disk_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spill, "_CHUNK", 10_000)
    kept = Spill(tmp_path)
    for number in range(1000):
        kept.append(FULL.but(id=str(number), text="w" * 1000), "q")
        assert sum(map(len, kept._rows)) < 12_000
    assert kept._file.size > 1000
    assert list(tmp_path.iterdir()) == [], "the file has no name"
    kept.close()


def test_a_kill_leaves_nothing(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib\n"
        "from luthier.data.scratch import Scratch\n"
        "s = Scratch(pathlib.Path(sys.argv[1]))\n"
        "s.put(b'x' * 100_000)\n"
        "print('put', flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "new")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == b"put\n"
        os.kill(process.pid, signal.SIGKILL)
    assert list((tmp_path / "new").iterdir()) == []


def test_pieces_come_back_in_part(tmp_path: Path) -> None:
    file = Scratch(tmp_path)
    assert [file.put(b"abc"), file.put(memoryview(b"")), file.put(b"defg")] == [0, 3, 3]
    assert (file.get(0, 3), file.get(4, 2), file.get(2, 0), file.size) == (b"abc", b"ef", b"", 7)
    file.close()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    kept = Spill(tmp_path / "file")
    with pytest.raises(RunError, match=r"file: "):
        for _ in range(10):
            kept.append(FULL.but(text="x" * (1 << 20)), "q")
