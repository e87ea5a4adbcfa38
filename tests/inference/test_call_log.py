"""The call log: what is in it is never asked again, whatever happened to the file."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from asked_models import asks, said
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.errors import RunError
from luthier.inference.call_log import CallLog
from luthier.inference.request import Choice, Completion, Request

MODEL = {"backend": "test"}


def add(log: CallLog, words: str, completion: Completion | None = None) -> str:
    request = asks(words)
    key = request.key(MODEL)
    log.add(key, request, completion or said(f"re: {words}"), 0.1)
    return key


def filled(path: Path, count: int = 5) -> list[str]:
    with CallLog(path) as log:
        return [add(log, f"question {i}") for i in range(count)]


def found(path: Path, keys: list[str]) -> list[str | None]:
    with CallLog(path) as log:
        return [c.text if (c := log.get(key)) else None for key in keys]


def test_what_was_added_is_there_when_it_is_opened_again(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "calls.jsonl"
    keys = filled(path)
    assert found(path, keys) == [f"re: question {i}" for i in range(5)]
    with CallLog(path) as log:
        assert len(log) == 5 and keys[0] in log and "0" * 64 not in log
        assert (log.prompt_tokens, log.completion_tokens) == (15, 25)
        assert log.get("0" * 64) is None
        again = log.get(keys[3])
    assert again is not None
    assert again == Completion((Choice("re: question 3", "stop"),), "model-1", 3, 5, None, keys[3])


def test_lines_are_json_with_all_that_was_asked_and_answered(tmp_path: Path) -> None:
    filled(tmp_path / "calls.jsonl", 1)
    [line] = (tmp_path / "calls.jsonl").read_text().splitlines()
    record = json.loads(line)
    assert record["request"] == {"prompt": "question 0", "max_tokens": 8, "temperature": 1.0}
    assert record["response"]["choices"][0]["text"] == "re: question 0"
    assert (record["in"], record["out"]) == (3, 5)


@given(st.integers(min_value=1, max_value=400))
@settings(max_examples=25, deadline=None)
def test_a_torn_last_line_is_cut_off(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    path = tmp_path_factory.mktemp("torn") / "calls.jsonl"
    keys = filled(path, 3)
    whole = path.read_bytes()
    last = whole.rstrip(b"\n").rfind(b"\n") + 1
    cut = min(cut, len(whole) - last)
    path.write_bytes(whole[:-cut])
    # Without its line break alone, it is whole: nothing is lost.
    kept = 3 if cut == 1 else 2
    assert [text is not None for text in found(path, keys)] == [i < kept for i in range(3)]
    with CallLog(path) as log:
        keys.append(add(log, "another"))
    assert all(found(path, [*keys[:kept], keys[-1]]))
    assert path.read_bytes().startswith(whole[:last])
    assert all(json.loads(line) for line in path.read_text().splitlines())


@pytest.mark.parametrize(
    "damage", [b"", b"\x00" * 50, b"not json", b'{"key":"12"}', b"\xff\xfe\n\n\x00", b"[]"]
)
def test_a_damaged_line_costs_that_line_only(
    tmp_path: Path, damage: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "calls.jsonl"
    keys = filled(path)
    lines = path.read_bytes().splitlines()
    path.write_bytes(b"\n".join([*lines[:2], damage, *lines[3:]]) + b"\n")
    texts = found(path, keys)
    assert [text is None for text in texts] == [False, False, True, False, False]
    said_of_it = "asked again" in " ".join(capsys.readouterr().err.split())
    assert said_of_it == bool(damage)
    with CallLog(path) as log:
        add(log, "question 2")
    assert all(found(path, keys))


def test_a_line_damaged_behind_its_key_is_asked_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "calls.jsonl"
    keys = filled(path)
    text = path.read_bytes().replace(b'"re: question 1"', b'"re: question 1 ')
    path.write_bytes(text)
    with CallLog(path) as log:
        assert len(log) == 5
        assert log.get(keys[1]) is None
        said_of_it = " ".join(capsys.readouterr().err.split())
        assert "is damaged; it is asked again" in said_of_it
        assert len(log) == 4 and log.prompt_tokens == 12
        add(log, "question 1")
        assert len(log) == 5
    assert all(found(path, keys))


def test_a_second_process_is_told(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    code = (
        "import sys; from pathlib import Path\n"
        "from luthier.inference.call_log import CallLog\n"
        "CallLog(Path(sys.argv[1]))"
    )
    with CallLog(path):
        done = subprocess.run(
            [sys.executable, "-c", code, str(path)], capture_output=True, text=True
        )
        assert done.returncode != 0
        assert "is in use by another process, which generates into it" in done.stderr
        with pytest.raises(RunError, match="in use by another process"):
            CallLog(path)
    CallLog(path).close()


def test_half_a_surrogate_pair_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    text = "a\ud800b \udfff é 😀 \x00 \u2028"
    with CallLog(path) as log:
        key = add(log, text, said(text))
    path.read_text(encoding="ascii")
    assert len(path.read_bytes().splitlines()) == 1
    assert found(path, [key]) == [text]


def test_where_there_is_a_folder_or_no_right(tmp_path: Path) -> None:
    (tmp_path / "calls.jsonl").mkdir()
    with pytest.raises(RunError, match=r"calls\.jsonl"):
        CallLog(tmp_path / "calls.jsonl")
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="file"):
        CallLog(tmp_path / "file" / "calls.jsonl")


FULL = """
import resource, signal, sys
from pathlib import Path
sys.path.insert(0, {here!r})
from asked_models import asks, said
from luthier.errors import RunError
from luthier.inference.call_log import CallLog
with CallLog(Path(sys.argv[1])) as log:
    added = 0
    try:
        while True:
            request = asks(f"question {{added}}")
            log.add(request.key({{"backend": "test"}}), request, said("x" * 500), 0.1)
            added += 1
    except RunError as error:
        print(added)
        print(error)
"""


def test_a_file_that_may_not_grow(tmp_path: Path) -> None:
    """Nothing of the line that did not fit stays, and with room it goes on."""
    path = tmp_path / "calls.jsonl"
    code = FULL.format(here=str(Path(__file__).parent))
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000)),
    )  # fmt: skip
    added, message = done.stdout.split("\n", 1)
    assert int(added) > 2 and str(path) in message
    text = path.read_bytes()
    assert text.endswith(b"\n") and len(text.splitlines()) == int(added)
    keys = [asks(f"question {i}").key(MODEL) for i in range(int(added))]
    assert all(found(path, keys))


def test_a_full_disk(tmp_path: Path) -> None:
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("a disk of its own takes root and the right to mount")
    try:
        path, keys = place / "calls.jsonl", list[str]()
        with CallLog(path) as log:
            with pytest.raises(RunError, match="disk is full"):
                for i in range(10_000):
                    keys.append(add(log, f"question {i}", said("x" * 900)))
            size = path.stat().st_size
            assert path.read_bytes().endswith(b"\n")
            with pytest.raises(RunError, match="disk is full"):
                add(log, "another", said("x" * 9000))
            assert path.stat().st_size == size and len(log) == len(keys) > 10
            assert all(log.get(key) for key in keys)
            subprocess.run(["mount", "-o", "remount,size=256k", str(place)], check=True)
            keys.append(add(log, "another", said("y" * 9000)))
        assert all(found(path, keys))
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def test_an_unfit_request_is_kept_as_one(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    with CallLog(path) as log:
        key = add(log, "long", Completion((), "m", unfit="refused (400): too long"))
        assert (known := log.get(key)) is not None
    assert known.unfit == "refused (400): too long" and known.text == ""
    assert known.finish_reason == "none"


def test_the_later_of_two_lines_counts(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    with CallLog(path) as log:
        key = add(log, "a", said("first"))
        add(log, "a", said("second", completion_tokens=50))
        assert len(log) == 1 and log.completion_tokens == 50
    assert found(path, [key]) == ["second"]


def test_a_request_with_everything_is_one_line(tmp_path: Path) -> None:
    request = Request(
        prompt="a\nb", stop=("\n",), n=2, seed=1, logprobs=True, json_schema={"type": "object"}
    )
    key = request.key(MODEL)
    answer = Completion((Choice("x", "stop", (("x", -0.5),)),) * 2, "m", 1, 2)
    with CallLog(tmp_path / "calls.jsonl") as log:
        log.add(key, request, answer, 0.0)
        assert (known := log.get(key)) is not None
    assert known.choices == answer.choices
