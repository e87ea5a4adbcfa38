"""What the filter `judge` pays for, and what an error leaves of it."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from scripted_server import Scripted

from luthier.artifacts import DataStats, load_examples
from luthier.data.build import build, read_rows_like
from luthier.data.judging import models
from luthier.errors import DataError, LuthierError, ModelError
from luthier.inference.session import Session
from luthier.run import Run

MakeRun = Callable[..., Run]
GOOD = [{"if": ".", "say": '{"reason": "good", "score": 4}'}]
REFUSAL = "I'm sorry, but I cannot help with that."
BIRDS = [{"if": "birds", "say": '{"reason": "about birds", "score": 2}'}, *GOOD]


def judged_by(server: Scripted, filters: Sequence[Any], **data: Any) -> dict[str, Any]:
    """Sections of a recipe whose filters ask a server."""
    llm = {"backend": "openai", "model": "strong-model", "base_url": server.base_url}
    return {"data": {"llm": llm, "filters": list(filters), **data}}


def rejects(run: Run) -> list[dict[str, Any]]:
    return [json.loads(x) for x in (run.path / "data/rejects.jsonl").read_text().splitlines()]


def kept(run: Run, stats: DataStats) -> set[str]:
    return {row.fields["input"] for split in stats.splits for row in load_examples(run, split)}


def test_an_error_loses_no_answer(make_run: MakeRun, tmp_path: Path) -> None:
    faults = {"always": {r"wall 3\b": "quota"}}
    with Scripted(tmp_path / "server", rules=GOOD, service=0.2, faults=faults) as server:
        run = make_run(**judged_by(server, [{"use": "judge", "minimum": 3}]))
        with pytest.raises(LuthierError, match="no credit left"):
            build(run)
        paid = len(server.completed())
        assert paid > 1 and len((run.path / "calls.jsonl").read_text().splitlines()) == paid


def test_an_end_by_ctrl_c_loses_no_answer(make_run: MakeRun, tmp_path: Path) -> None:
    with Scripted(tmp_path / "server", rules=GOOD, service=0.5, tell=True) as server:
        run = make_run(**judged_by(server, [{"use": "judge", "minimum": 3}]))

        def interrupt() -> None:
            server.wait_for(1 + 4)  # the first block is one row
            os.kill(os.getpid(), signal.SIGINT)

        other = threading.Thread(target=interrupt)
        other.start()
        with pytest.raises(KeyboardInterrupt):
            build(run)
        other.join()
        paid = len(server.completed())
        assert paid > 1 and len((run.path / "calls.jsonl").read_text().splitlines()) == paid


def test_what_earlier_filters_reject_is_not_paid_for(make_run: MakeRun, tmp_path: Path) -> None:
    rows = [{"instruction": f"Name street {i}.", "output": REFUSAL if i % 2 else f"Elm Road {i}."}
            for i in range(40)]  # fmt: skip
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    filters = [{"use": "refusals"}, {"use": "judge", "minimum": 3}]
    with Scripted(tmp_path / "server", rules=GOOD) as server:
        sections = judged_by(server, filters, sources=[{"path": "rows.jsonl"}], template=None)
        run = make_run(**sections, task={"kind": "generation", "labels": None})
        build(run)
        assert len(rejects(run)) == 20 == len(server.completed())
        assert REFUSAL not in str(server.asked())


def test_a_row_that_is_too_long_is_not_paid_for(make_run: MakeRun, tmp_path: Path) -> None:
    with Scripted(tmp_path / "server", rules=GOOD) as server:
        run = make_run(
            **judged_by(server, [{"use": "judge", "minimum": 3}]), train={"max_seq_length": 8}
        )
        with pytest.raises(DataError):
            build(run)
        assert len(rejects(run)) == 60 and server.asked() == []
        assert all(reject["reason"].startswith("too long") for reject in rejects(run))


def test_the_same_rows_stay_wherever_it_stands(make_run: MakeRun, tmp_path: Path) -> None:
    """Also where a row repeats one of its block that the judge rejects."""
    rows = [f"{kind},{label}" for i in range(6) for kind, label in (
        (f"The birds of field {i} sing.", "True"), (f"Nobody mends roof {i}.", "False"),
        (f"Nobody mends roof {i}.", "False"), (f"We build house {i}.", "True"),
        (f"We build house {i}.", "False"), (f"The birds of field {i} sing.", "False"),
    )]  # fmt: skip
    (tmp_path / "repeats.csv").write_text("\n".join(["sentence,label", *rows]) + "\n")
    source = {"path": "repeats.csv", "input": "sentence", "output": "label"}
    others = [{"use": name} for name in ("exact_duplicates", "near_duplicates", "contradiction")]
    # Of two that contradict each other the first is bad, so the second must stay.
    rules = [{"if": "birds.*Answer\nTrue", "say": '{"reason": "no", "score": 1}'}, *GOOD]
    found, asked = [], []
    judge = {"use": "judge", "minimum": 3}
    for place in (0, 1, 3):
        filters = [*others[:place], judge, *others[place:]]
        with Scripted(tmp_path / f"server-{place}", rules=rules) as server:
            run = make_run(**judged_by(server, filters, sources=[source]))
            (run.path / "calls.jsonl").unlink(missing_ok=True)
            found.append((kept(run, build(run)), len(rejects(run))))
            asked.append(len(server.completed()))
    assert found[0] == found[1] == found[2]
    assert sum("birds" in sentence for sentence in found[0][0]) == 6
    assert asked == [30, 30, 30], "an exact duplicate asks the same, which is paid once"


def test_one_session_serves_all_that_ask(
    make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []

    class Counted(Session):
        def __init__(self, *given: Any, **named: Any) -> None:
            opened.append(self)
            super().__init__(*given, **named)

    monkeypatch.setattr(models, "Session", Counted)
    (tmp_path / "test.csv").write_text("sentence,label\nWe will mend it.,True\nNever.,False\n")
    columns = {"input": "sentence", "output": "label"}
    sources = [{"path": "rows.csv", **columns}, {"path": "test.csv", "split": "test", **columns}]
    twice = [{"use": "judge", "minimum": 3}, {"use": "judge", "minimum": 4, "rubric": "Short."}]
    with Scripted(tmp_path / "server", rules=GOOD) as server:
        run = make_run(**judged_by(server, twice, sources=sources))
        stats = build(run)
        assert sum(split.rows for split in stats.splits.values()) == 62
        assert len(server.completed()) == 2 * 62 and len(opened) == 1
    descriptors = [os.readlink(f"/proc/self/fd/{n}") for n in os.listdir("/proc/self/fd")
                   if os.path.exists(f"/proc/self/fd/{n}")]  # fmt: skip
    assert str(run.path / "calls.jsonl") not in descriptors, "the log is closed"


def test_it_finds_runs_where_the_build_does(make_run: MakeRun, tmp_path: Path) -> None:
    llm = {"backend": "transformers", "model": "run:judges"}
    run = make_run(data={"llm": llm, "filters": [{"use": "judge", "minimum": 3}]})
    with pytest.raises(LuthierError, match=r"no run 'judges'.*Runs here: tiny"):
        build(run, runs=tmp_path / "runs")


def test_it_is_not_asked_about_a_test_set_of_others(
    make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with Scripted(tmp_path / "server", rules=BIRDS) as server:
        run = make_run(**judged_by(server, [{"use": "judge", "minimum": 2}]))
        build(run)
        asked = len(server.asked())
        rows, rejected = read_rows_like(run, Path("rows.csv"))
        assert len(rows) == 60 and not rejected and len(server.asked()) == asked


def test_a_wrong_key_is_no_fault_of_the_rows(
    make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-another")
    with Scripted(tmp_path / "server", rules=GOOD, key="sk-right") as server:
        run = make_run(**judged_by(server, [{"use": "judge", "minimum": 3}]))
        with pytest.raises(ModelError, match="OPENAI_API_KEY"):
            build(run)
