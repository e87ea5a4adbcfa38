"""Who is let in, what is refused, and what a decision that was acknowledged is worth."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from reviews import Client, Processes

from luthier.data.build import build
from luthier.data.decisions import read_decisions
from luthier.errors import DataError, LuthierError, RunError
from luthier.reviewing.dataset import subject_of
from luthier.reviewing.journal import Journal
from luthier.reviewing.review import summary

Served = Callable[..., Client]
JSON = {"Content-Type": "application/json"}


def test_without_the_token_nobody_is_let_in(served: Served, labelled: Path) -> None:
    client = served(labelled)
    token = urlsplit(client.url).path
    assert len(token) > 30
    for path in ("/", "/x", token[:-2] + "/", f"/{'A' * 32}/", "/api/start", "//", "/%00/"):
        for method in ("GET", "POST"):
            status, _, body = client.request(method, path, b"{}", **JSON)
            assert status == 403 and b"luthier review" in body, path
            assert b"wall" not in body
    assert client.request("GET", token)[0] == 200


def test_another_host_name_or_site_is_refused(served: Served, labelled: Path) -> None:
    client = served(labelled)
    at = urlsplit(client.url)
    path = at.path + "api/start"
    for host in ("evil.example", f"evil.example:{at.port}", "127.0.0.1", "127.0.0.1:1", ""):
        assert client.request("GET", path, Host=host)[0] == 403, host
    assert client.request("GET", path, Host=f"localhost:{at.port}")[0] == 200
    for origin in ("http://evil.example", "null", "https://127.0.0.1:1"):
        assert client.request("GET", path, Origin=origin)[0] == 403, origin
    assert client.request("GET", path, **{"Sec-Fetch-Site": "cross-site"})[0] == 403
    assert client.request("GET", path, Origin=f"http://127.0.0.1:{at.port}")[0] == 200


def test_it_listens_on_this_machine_alone(served: Served, labelled: Path) -> None:
    port = urlsplit(served(labelled).url).port
    mine = {info[4][0] for info in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)}
    for address in mine - {"127.0.0.1"}:
        with pytest.raises(OSError):
            socket.create_connection((str(address), port or 0), timeout=1).close()


def test_forms_of_other_sites_can_decide_nothing(served: Served, labelled: Path) -> None:
    client = served(labelled)
    path = urlsplit(client.url).path + "api/decide?view=1&at=0"
    view = client.get("view")["view"]
    id = client.get("row", view=view, at=0)["id"]
    body = json.dumps({"id": id, "decision": "drop"}).encode()
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        assert client.request("POST", path, body, **{"Content-Type": kind})[0] == 415
    assert client.request("POST", path, b"[1]", **JSON)[0] == 400
    assert client.request("POST", path, b"{", **JSON)[0] == 400
    many = {**JSON, "Content-Length": "99999999999"}
    assert client.request("POST", path, b"", **many)[0] == 413
    assert client.request("POST", path, b"", **{**JSON, "Content-Length": "-1"})[0] == 413
    assert client.records() == []


def test_the_page_may_load_nothing_and_be_framed_by_nobody(served: Served, labelled: Path) -> None:
    client = served(labelled)
    _, headers, body = client.request("GET", urlsplit(client.url).path)
    policy = headers["Content-Security-Policy"]
    for part in ("default-src 'none'", "connect-src 'self'", "frame-ancestors 'none'",
                 "base-uri 'none'", "form-action 'none'"):  # fmt: skip
        assert part in policy
    assert "unsafe" not in policy and policy.count("sha256-") == 2
    assert headers["Referrer-Policy"] == "no-referrer" and headers["Cache-Control"] == "no-store"
    assert headers["X-Content-Type-Options"] == "nosniff"
    page = body.decode()
    assert "wall" not in page and "http://" not in page and "https://" not in page
    assert urlsplit(client.url).path.strip("/") not in page


def test_what_cannot_be_had_is_answered_in_words(served: Served, labelled: Path) -> None:
    client = served(labelled)
    base = urlsplit(client.url).path + "api/"
    view = client.get("view")["view"]
    row = client.get("row", view=view, at=0)
    for path, status, word in (
        ("nothing", 404, "nothing here"), ("row?view=99&at=0", 400, "no longer known"),
        (f"row?view={view}&at=12", 400, "no row 13"), ("row", 400, ""),
        ("view?state=kepe", 400, "kepe"), ("view?number=none", 400, "no column of numbers"),
        ("view?least=x&number=judge_score", 400, ""), ("view?order=x", 400, "no such order"),
    ):  # fmt: skip
        found, _, body = client.request("GET", base + path)
        assert (found, word in body.decode()) == (status, True), path
    for asked, word in (
        ({"decision": "kepe"}, "no such decision"), ({"id": "b" * 16}, "cannot be decided"),
        ({"note": 3}, "a note is a text"), ({"note": "x" * 2001}, "at most 2,000"),
        ({"values": []}, "must be an object"),
        ({"values": {"field:style": "x"}}, "cannot be edited"),
        ({"values": {"label": "maybe"}}, "none of the labels"),
        ({"values": {"field:input": 3}}, "expected a text"),
    ):  # fmt: skip
        whole = {"id": row["id"], "decision": "keep", **asked}
        assert word in client.post("decide", whole, 400, view=view, at=0)["error"]
    assert client.records() == []


def test_nothing_that_was_acknowledged_is_lost_by_a_kill_and_a_build_applies_it(
    processes: Processes, make_run: Callable[..., Any]
) -> None:
    make_run()
    acknowledged: list[tuple[str, str, str]] = []
    for turn in range(3):
        client = processes.start("rows.csv", "--no-lint", "--reviewer", "bea")
        view = client.get("view")
        assert view["at"] == len(acknowledged)
        for at in range(view["at"], view["at"] + 3):
            row = client.get("row", view=view["view"], at=at)
            kind = ("keep", "drop", "skip")[(at + turn) % 3]
            client.post("decide", {"id": row["id"], "decision": kind}, view=view["view"], at=at)
            acknowledged.append((row["id"], kind, row["where"]))
        assert client.process is not None
        client.process.send_signal(signal.SIGKILL)
        client.process.wait()
        # What a kill may leave behind: the beginning of a line.
        with open(client.decisions, "a") as file:
            file.write('{"id": "0123')
    client = processes.start("rows.csv", "--no-lint")
    found = read_decisions(client.decisions)
    assert [(d.id, d.decision, d.where) for d in found.live] == acknowledged
    assert {d.who for d in found.live} == {"bea"} and all(d.when for d in found.live)
    assert client.get("start")["progress"]["undecided"] == 51
    # A file is reviewed without a recipe, and its rows are known to a recipe all the same.
    run = make_run(data={"decisions": "rows.csv.decisions.jsonl"})
    stats = build(run)
    left = {where for _, kind, where in acknowledged if kind == "drop"}
    lines = (run.path / "data/rejects.jsonl").read_text().splitlines()
    assert {json.loads(line)["origin"] for line in lines} == left and len(left) == 3
    assert stats.review is not None and stats.review.unmatched == 0


def test_a_decision_is_on_the_disk_before_it_is_acknowledged(
    served: Served, labelled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = served(labelled)
    real, synced = os.fsync, []

    def sync(file: int) -> None:
        real(file)
        synced.append(len(client.records()))

    monkeypatch.setattr(os, "fsync", sync)
    client.decide(0, "keep")
    assert synced[0] == 1 and len(synced) == 2, "the file, and once its name in the folder"
    client.decide(1, "drop")
    assert synced[2:] == [2]


def test_ctrl_c_ends_it_with_the_counts(processes: Processes, labelled: Path) -> None:
    client = processes.start("rows.csv", "--json", "--no-lint")
    client.decide(0, "drop", note="why")
    assert client.process is not None
    client.process.send_signal(signal.SIGINT)
    out, err = client.process.communicate(timeout=30)
    assert client.process.returncode == 0 and "Traceback" not in err
    found = json.loads(out)
    assert (found["drop"], found["keep"], found["notes"]) == (1, 0, 1)
    assert found["decisions"] == "rows.csv.decisions.jsonl"
    assert "data.decisions: rows.csv.decisions.jsonl" in err
    assert summary(str(labelled))["drop"] == 1


def test_lint_finds_meanwhile_and_rows_are_filtered_by_it(
    processes: Processes, labelled: Path
) -> None:
    client = processes.start("rows.csv")
    while client.get("progress")["lint"] == "running":
        pass
    facets = client.get("facets")
    assert facets["lint"] == {"state": "done", "why": ""}
    found = {name: count for name, count, _ in facets["finding"]}
    assert found["control_characters: control character"] == 1
    view = client.get("view", finding="control_characters: control character")
    row = client.get("row", view=view["view"], at=0)
    assert row["where"] == "rows.csv:5"
    assert "control character" in [f["what"] for f in row["findings"]]


def test_a_session_that_found_nothing_to_decide_leaves_no_file(
    served: Served, processes: Processes, labelled: Path
) -> None:
    client = processes.start("rows.csv", "--no-lint")
    assert client.process is not None
    client.process.send_signal(signal.SIGTERM)
    assert client.process.wait(30) == 0
    assert not client.decisions.exists()


# --- the file ----------------------------------------------------------------------------------


def test_two_reviews_do_not_write_to_one_file(served: Served, labelled: Path) -> None:
    client = served(labelled)
    with pytest.raises(RunError, match=r"in use by another `luthier review`.*--decisions"):
        Journal(client.decisions)


def test_a_file_that_cannot_be_written_is_told(labelled: Path) -> None:
    for path in (labelled.parent, labelled / "decisions.jsonl", Path("/proc/x/decisions.jsonl")):
        with pytest.raises(RunError, match=r"Name a file that can be written with --decisions"):
            Journal(path)


def test_a_decision_that_the_disk_does_not_take_is_not_acknowledged(
    served: Served, labelled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = served(labelled)
    client.decide(0, "keep")
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[:9]))
    view = client.get("view")["view"]
    id = client.get("row", view=view, at=1)["id"]
    said = client.post("decide", {"id": id, "decision": "drop"}, 500, view=view, at=1)
    assert "the disk is full" in said["error"]
    monkeypatch.undo()
    assert [r["decision"] for r in client.records()] == ["keep"], "no half line is left"
    assert client.get("row", view=view, at=1)["state"] == "undecided"
    client.decide(1, "drop")
    assert [r["decision"] for r in client.records()] == ["keep", "drop"]


def test_a_last_line_without_an_end_is_a_record_if_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    path.write_text(json.dumps({"id": "a" * 16, "decision": "keep"}))
    with Journal(path) as journal:
        assert len(journal.decisions.live) == 1
        journal.undo("2026-01-31T10:00:00Z", "")
        assert journal.undo("", "") is None
    lines = path.read_text().splitlines()
    assert [json.loads(line)["decision"] for line in lines] == ["keep", "undo"]
    path.write_text("no json\n")
    with pytest.raises(DataError, match=r"d\.jsonl:1"):
        Journal(path)


# --- what can be reviewed ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "word"),
    [("rowz", "no run in"), ("none.csv", "none.csv"), ("empty.csv", "empty"),
     ("none.yaml", "no such recipe")],
)  # fmt: skip
def test_what_is_not_there_is_told(name: str, word: str, labelled: Path) -> None:
    folder = labelled.parent
    (folder / "empty.csv").write_text("")
    with pytest.raises(LuthierError, match=word):
        subject_of(str(folder / name), runs=folder / "runs")


def test_a_file_without_a_usable_row_is_told(served: Served, tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text("not json\n" * 3)
    with pytest.raises(DataError):
        served(path)


def test_a_recipe_must_have_been_built(make_run: Any, served: Served, tmp_path: Path) -> None:
    run = make_run()
    recipe, runs = tmp_path / "recipe.yaml", tmp_path / "runs"
    with pytest.raises(RunError, match="luthier build"):
        subject_of(str(recipe), runs=tmp_path / "elsewhere")
    with pytest.raises(RunError, match="luthier build"):
        subject_of(str(recipe), runs=runs)
    with pytest.raises(LuthierError, match="--format goes with a file"):
        subject_of(str(run.path), format="alpaca", runs=runs)
