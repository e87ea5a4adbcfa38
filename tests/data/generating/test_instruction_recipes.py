"""Unnatural Instructions and Evol-Instruct from a recipe to a dataset, on a server that fails."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from scripted_server import Scripted

from luthier.artifacts import load_examples
from luthier.data.build import build
from luthier.data.convert import convert
from luthier.inference import session as sessions
from luthier.run import Run

MakeRun = Callable[..., Run]
FAULTS = {"seed": 3, "rate": 0.3, "kinds": ["429", "500", "truncated", "drop within", "empty"]}
METHODS: dict[str, dict[str, Any]] = {
    "unnatural": {"rows": 30},
    "evol_instruct": {"rows": 20, "seeds": "seeds.jsonl"},
}
LEFT_OUT = {
    "unnatural": {"field missing", "no placeholder"},
    "evol_instruct": {"leaked prompt", "no information gain", "refusal"},
}


@pytest.fixture(params=[None, FAULTS], ids=["well", "failing"])
def server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[Scripted]:
    monkeypatch.setattr(sessions, "FIRST_PAUSE", 0.0)
    here = Path(__file__).parent
    with Scripted(
        tmp_path / "server", answers="instruction_answers", path=(here,), faults=request.param
    ) as one:
        yield one


def run_of(make_run: MakeRun, server: Scripted, folder: Path, method: str) -> Run:
    seeds = [{"instruction": f"Tell of {i}.", "output": "All."} for i in range(15)]
    (folder / "seeds.jsonl").write_text("".join(json.dumps(seed) + "\n" for seed in seeds))
    llm = {"backend": "openai", "model": "strong-model", "base_url": server.base_url}
    return make_run(
        task={"kind": "generation", "labels": None},
        data={
            "llm": llm, "sources": [{"generate": {"use": method, **METHODS[method]}}],
            "filters": [{"use": "empty"}], "template": None,
        },
    )  # fmt: skip


def files(run: Run) -> dict[str, bytes]:
    [folder] = (run.path / "generated").iterdir()
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("method", METHODS)
def test_a_dataset(make_run: MakeRun, server: Scripted, tmp_path: Path, method: str) -> None:
    run = run_of(make_run, server, tmp_path, method)
    stats = build(run)
    assert sum(split.rows for split in stats.splits.values()) == METHODS[method]["rows"]
    assert [part.generator for part in stats.terms] == ["strong-model-2026-01"]
    written = files(run)
    summary = json.loads(written["summary.json"])
    assert set(summary["left_out"]) >= LEFT_OUT[method]
    for row in load_examples(run, "train"):
        assert row.fields["method"] == method and row.fields["calls"]
        assert row.messages[-1].role == "assistant" and row.messages[-1].content
        if method == "evol_instruct":
            assert row.fields["parents"] and row.fields["original"] and row.fields["operation"]
            assert row.messages[0].content == row.fields["instruction"]
        elif "original_instruction" not in row.fields:
            assert row.messages[0].content.endswith("\nOne word.")
    asked = len(server.asked())
    for name in written:
        next((run.path / "generated").iterdir()).joinpath(name).unlink()
    build(run)
    assert files(run) == written and len(server.asked()) == asked, "the log answers"


@pytest.mark.parametrize("method", METHODS)
def test_what_a_failing_server_does_is_not_seen(
    make_run: MakeRun, server: Scripted, tmp_path: Path, method: str
) -> None:
    run = run_of(make_run, server, tmp_path, method)
    build(run)
    found = files(run)
    here = Path(__file__).parent
    with Scripted(tmp_path / "well", answers="instruction_answers", path=(here,)) as well:
        shutil.rmtree(run.path)
        again = run_of(make_run, well, tmp_path, method)
        build(again)
        assert well.completed(), "it was asked"
    same = files(again)
    assert found["left_out.jsonl"] == same["left_out.jsonl"]
    assert found["rows.jsonl"] == same["rows.jsonl"]


@pytest.mark.parametrize(("method", "to"), [("unnatural", "sharegpt"), ("evol_instruct", "alpaca")])
def test_what_is_written_can_be_converted(
    make_run: MakeRun, server: Scripted, tmp_path: Path, method: str, to: str
) -> None:
    run = run_of(make_run, server, tmp_path, method)
    build(run)
    [folder] = (run.path / "generated").iterdir()
    out = tmp_path / "out.json"
    done = convert(folder / "rows.jsonl", out, to=to)
    assert done.rows_out == METHODS[method]["rows"] and done.rejected == 0
