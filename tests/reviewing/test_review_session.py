"""Rows of every kind as the page is given them, and what becomes of an edit."""

from __future__ import annotations

import json
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from reviews import Client, Processes
from typer.testing import CliRunner

from luthier.artifacts import load_examples
from luthier.cli import app
from luthier.data.build import build
from luthier.errors import RunError
from luthier.example import SPLITS, Example
from luthier.reviewing.review import review
from luthier.reviewing.rows import origin_of
from luthier.run import Run

Served = Callable[..., Client]


def built(run: Run) -> Run:
    with run.stage("data", "built"):
        build(run)
    return run


def rows_of(client: Client, **query: str) -> list[dict[str, Any]]:
    view = client.get("view", **query)
    return [client.get("row", view=view["view"], at=n) for n in range(view["total"])]


def examples(run: Run) -> dict[str, Example]:
    return {str(e.origin): e for split in SPLITS for e in load_examples(run, split)}


def test_every_row_of_a_run_is_shown_with_what_is_known_of_it(
    make_run: Callable[..., Run], served: Served, tmp_path: Path
) -> None:
    source = {"path": "rows.csv", "input": "sentence", "output": "label",
              "licence": "CC-BY-4.0", "generator": "gpt-4"}  # fmt: skip
    run = built(make_run(data={"sources": [source]}))
    client = served("tiny", runs=tmp_path / "runs")
    rows = rows_of(client)
    whole = examples(run)
    assert {r["where"] for r in rows} == set(whole)
    for row in rows[:5]:
        example = whole[row["where"]]
        assert [t["content"] for t in row["turns"]] == [m.content for m in example.messages]
        assert (row["id"], row["label"], row["split"]) == (example.id, example.label, example.split)
        assert row["columns"] == {"style": example.fields["style"]}
        assert row["terms"]["licence"] == "CC-BY-4.0" and row["terms"]["generator"] == "gpt-4"
        assert [(p["key"], p["value"]) for p in row["editable"]] == [
            ("field:input", example.fields["input"]), ("label", example.label),
        ]  # fmt: skip
    assert {r["split"] for r in rows_of(client, split="test")} == {"test"}
    assert len(rows_of(client, label="True")) == 30


def test_solved_examples_stand_apart_from_the_row(
    make_run: Callable[..., Run], served: Served, tmp_path: Path
) -> None:
    run = built(make_run(data={"shots": 2}, train={"max_seq_length": 900}))
    client = served("tiny", runs=tmp_path / "runs")
    row = rows_of(client)[0]
    example = examples(run)[row["where"]]
    assert len(example.messages) == 6 and len(row["shots"]) == 4 and len(row["turns"]) == 2
    said = [m.content for m in example.messages]
    assert [m["content"] for m in row["shots"] + row["turns"]] == said


def test_copies_are_one_row_and_their_rejects_too(
    make_run: Callable[..., Run], served: Served, tmp_path: Path
) -> None:
    mix = {"strategy": "proportional", "rows": 90, "repeat": True}
    run = make_run(data={"mix": mix, "filters": []})
    text = (tmp_path / "rows.csv").read_text()
    (tmp_path / "rows.csv").write_text(text + text.splitlines()[1] + "\n")
    built(run)
    assert len({e.id for s in SPLITS for e in load_examples(run, s)}) > 61
    client = served("tiny", runs=tmp_path / "runs")
    rows = rows_of(client)
    assert len(rows) == len({r["id"] for r in rows}) == 60
    assert next(r for r in rows if r["where"] == "rows.csv:2")["copies"] >= 1
    assert client.get("start")["progress"]["rows"] == 60


def test_rejects_are_shown_on_request_and_named_like_the_row(
    make_run: Callable[..., Run], served: Served, tmp_path: Path
) -> None:
    run = make_run()
    rows = tmp_path / "rows.csv"
    twin = rows.read_text().splitlines()[1]
    rows.write_text(rows.read_text() + twin + "\n" + "a,b,c,d,e\n" + "Wrong.,TRUE,plan\n")
    built(run)
    client = served("tiny", runs=tmp_path / "runs", rejects=True)
    [again] = rows_of(client, reason="exact duplicate")
    assert again["reason"] == "exact duplicate: of rows.csv:2" and again["split"] is None
    [kept] = [r for r in rows_of(client, split="train") + rows_of(client, split="test")
              + rows_of(client, split="validation") + rows_of(client, split="calibration")
              if r["where"] == "rows.csv:2"]  # fmt: skip
    assert again["id"] == kept["id"] and again["turns"] == kept["turns"]
    [broken] = rows_of(client, reason="wrong number of fields")
    assert not broken["known"] and broken["state"] == "unreadable" and broken["editable"] == []
    [wrong] = rows_of(client, reason="label outside the set")
    view = client.get("view", reason="label outside the set")["view"]
    done = client.post(
        "decide", {"id": wrong["id"], "decision": "edit", "values": {"label": "True"}},
        view=view, at=0,
    )  # fmt: skip
    assert done["state"] == "edit" and done["progress"]["rows"] == 62
    [record] = client.records()
    assert record["in_spite_of"] == "label outside the set" and record["before"]["label"] == "TRUE"
    client_runs = tmp_path / "runs"
    run = make_run(data={"decisions": "run:tiny"})
    rows.write_text(rows.read_text() + "Wrong.,TRUE,plan\n")
    assert client_runs.is_dir()
    stats = build(run)
    assert stats.review is not None and stats.review.edited == 1
    assert examples(run)["rows.csv:62"].label == "True"


def test_conversations_with_tools_and_plain_text(served: Served, tmp_path: Path) -> None:
    call = [{"type": "function", "function": {"name": "time", "arguments": "{}"}}]
    chat = [
        {"role": "user", "content": "What time is it?"},
        {"role": "assistant", "content": "", "tool_calls": call},
        {"role": "tool", "content": "noon", "name": "time"},
        {"role": "assistant", "content": "It is noon."},
    ]
    path = tmp_path / "chat.jsonl"
    path.write_text(json.dumps({"messages": chat, "judge_score": 3}) + "\n")
    client = served(path)
    [row] = rows_of(client)
    assert [t["role"] for t in row["turns"]] == ["user", "assistant", "tool", "assistant"]
    assert "time" in row["turns"][1]["calls"] and row["scores"] == {"judge_score": 3.0}
    assert [p["key"] for p in row["editable"]] == [f"turn:{n}" for n in range(4)]
    view = client.get("view")["view"]
    client.post("decide", {"id": row["id"], "decision": "edit", "note": "a",
                           "values": {"turn:3": "Noon."}}, view=view, at=0)  # fmt: skip
    assert client.records()[-1]["edits"] == {"turns": {"3": "Noon."}}
    assert rows_of(client)[0]["turns"][3]["content"] == "Noon."
    path = tmp_path / "text.jsonl"
    path.write_text("".join(json.dumps({"text": f"Bread {i} rises."}) + "\n" for i in range(3)))
    client = served(path)
    assert client.decide(1, "edit", values={"text": "Bread falls."})["state"] == "edit"
    assert [r["text"] for r in rows_of(client)] == [
        "Bread 0 rises.", "Bread falls.", "Bread 2 rises.",
    ]  # fmt: skip
    assert [r["where"] for r in rows_of(client, text="RISES")] == [f"{path}:1", f"{path}:2",
                                                                   f"{path}:3"]  # fmt: skip


def test_how_a_model_wrote_a_row_stands_apart(served: Served, tmp_path: Path) -> None:
    made = {"method": "self_instruct", "generator": "tiny", "calls": ["c1", "c2"], "parents": ["p"]}
    path = tmp_path / "written.jsonl"
    path.write_text(
        "".join(
            json.dumps({"instruction": f"Say {i}.", "output": f"{i}", "topic": "numbers", **made})
            + "\n" for i in range(4)
        )
    )  # fmt: skip
    row = rows_of(served(path))[0]
    assert row["lineage"] == {**made, "calls": '["c1", "c2"]', "parents": '["p"]'}
    assert row["columns"]["topic"] == "numbers" and "method" not in row["columns"]


def test_dropping_an_edited_row_forgets_the_edit_and_undo_brings_it_back(
    served: Served, labelled: Path
) -> None:
    client = served(labelled)
    client.decide(0, "edit", values={"label": "yes"})
    client.decide(0, "drop")
    assert rows_of(client)[0]["label"] == "no" and rows_of(client)[0]["state"] == "drop"
    client.post("undo", {}, view=client.get("view")["view"])
    assert rows_of(client)[0]["label"] == "yes" and rows_of(client)[0]["state"] == "edit"
    client.post("undo", {}, view=client.get("view")["view"])
    assert rows_of(client)[0]["label"] == "no" and rows_of(client)[0]["state"] == "undecided"
    assert client.post("undo", {}, view=1)["undone"] is None


def test_damaged_text_arrives(served: Served, tmp_path: Path) -> None:
    path = tmp_path / "odd.jsonl"
    good = [{"instruction": f"Odd \u0007 {i}", "output": "fine"} for i in range(3)]
    bad = '{"instruction": "half \\ud83d", "output": "fine"}'
    path.write_text("".join(json.dumps(one) + "\n" for one in good) + bad + "\n")
    client = served(path, rejects=True)
    rows = rows_of(client)
    assert [r["known"] for r in rows] == [True, True, True, False]
    assert rows[0]["turns"][0]["content"] == "Odd \u0007 0"
    assert "half \ud83d" in rows[3]["columns"].values()
    client.decide(0, "drop", note="odd \ud83d note")
    assert rows_of(client)[0]["decision"]["note"] == "odd \ud83d note"
    assert client.records()[0]["note"] == "odd \ud83d note"


def test_rows_are_found_by_number_whatever_their_number(served: Served, tmp_path: Path) -> None:
    path = tmp_path / "many.csv"
    with open(path, "w") as file:
        file.write("sentence,label\n")
        file.writelines(
            f"Sentence {i} of many.,{'yes' if i % 2 else 'no'}\n" for i in range(25_000)
        )
    client = served(path)
    view = client.get("view")
    assert view["total"] == 25_000
    for at in (0, 9_999, 10_000, 24_999):  # on both sides of a row group's end
        row = client.get("row", view=view["view"], at=at)
        assert row["turns"][0]["content"] == f"Sentence {at} of many."
    body = json.dumps(client.get("row", view=view["view"], at=77))
    assert len(body) < 2000, "a page is given one row"
    assert client.get("view", label="no")["total"] == 12_500
    assert client.get("view", text="Sentence 2499")["total"] == 11


def test_where_a_row_is_from_is_understood() -> None:
    for text in ("rows.csv:12", "a: b.json: row 4", "C:/x.csv:1"):
        assert str(origin_of(text)) == text


# --- the command -------------------------------------------------------------------------------


def test_summary_counts_and_serves_nothing(served: Served, labelled: Path) -> None:
    client = served(labelled)
    for at, kind in enumerate(["keep", "drop", "drop", "skip"]):
        client.decide(at, kind, note="because" if at == 1 else "")
    done = CliRunner().invoke(app, ["review", str(labelled), "--summary", "--json"])
    assert done.exit_code == 0
    found = json.loads(done.stdout)
    assert {k: found[k] for k in ("keep", "edit", "drop", "skip", "notes", "records")} == {
        "keep": 1, "edit": 0, "drop": 2, "skip": 1, "notes": 1, "records": 4,
    }  # fmt: skip
    assert found["reviewers"] == {"ada": 4} and found["first"] <= found["last"]
    assert f"data.decisions: {client.decisions}" in done.stderr.replace("\n", "")
    none = CliRunner().invoke(app, ["review", "rowz", "--summary", "--json"])
    assert none.exit_code == 2 and "no run in" in json.loads(none.stdout)["error"]


def test_a_port_that_is_taken_is_told(labelled: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(RunError, match=rf"port {port} is in use.*--port"):
            review(str(labelled), port=port, browser=False, lint=False)


def test_a_built_recipe_is_reviewed_with_lint_of_its_sources(
    make_run: Callable[..., Run], processes: Processes, tmp_path: Path
) -> None:
    run = make_run()
    rows = tmp_path / "rows.csv"
    rows.write_text(rows.read_text() + "Read <b>this</b> page &nbsp; now.<br>,True,plan\n")
    built(run)
    client = processes.start("recipe.yaml", "--rejects")
    end = time.monotonic() + 60
    while client.get("progress")["lint"] == "running":
        assert time.monotonic() < end
    assert client.get("facets")["lint"]["state"] == "done"
    [row] = rows_of(client, finding="html_leftovers: HTML")
    assert row["where"] == "rows.csv:62"
    client.decide(0, "keep")
    assert (run.path / "decisions.jsonl").read_text().count("\n") == 1
    assert client.process is not None
    client.process.send_signal(signal.SIGINT)
    _, err = client.process.communicate(timeout=30)
    assert client.process.returncode == 0 and "data.decisions: run:tiny" in err
