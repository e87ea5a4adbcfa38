"""From a recipe to rows that a model on a real server wrote, and a dataset of them."""

from __future__ import annotations

import io
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from scripted_server import Scripted

from luthier import console as consoles
from luthier import pipeline
from luthier import recipe as recipes
from luthier.artifacts import DataStats, load_examples
from luthier.cli import app
from luthier.data.build import build
from luthier.data.lint import lint
from luthier.errors import CheckFailed, DataError, LuthierError
from luthier.run import Run

MakeRun = Callable[..., Run]
SECRET = "sk-very-secret-4711"


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scripted]:
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    here = Path(__file__).parent
    with Scripted(tmp_path / "server", answers="task_answers", path=(here,), key=SECRET) as one:
        yield one


@pytest.fixture
def sections(server: Scripted, tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "seeds.csv").write_text(
        "sentence,label\nWe will mend the roof.,True\nNobody mends a roof.,False\n"
    )
    generate = {
        "use": "task", "description": "Promises.", "seeds": "seeds.csv", "input": "sentence",
        "output": "label", "rows": 40,
    }  # fmt: skip
    llm = {"backend": "openai", "model": "strong-model", "base_url": server.base_url}
    return {"data": {"llm": llm, "sources": [{"generate": generate}]}}


def generated(run: Run) -> dict[str, bytes]:
    folder = run.path / "generated" / "1-task"
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir())}


def test_a_dataset_that_a_model_writes(
    make_run: MakeRun, sections: dict[str, Any], server: Scripted
) -> None:
    run = make_run(**sections)
    stats = build(run)
    assert sum(s.rows for s in stats.splits.values()) == 40
    labels = [split.labels for split in stats.splits.values()]
    assert sum(counts["True"] for counts in labels) == 20
    [terms] = stats.terms
    assert terms.generator == "strong-model-2026-01" and terms.commercial == "unclear"
    row = load_examples(run, "train")[0]
    assert row.fields["method"] == "task" and row.fields["generator"] == "strong-model-2026-01"
    assert len(row.fields["calls"]) == 2 and row.parents == ()
    assert stats.rows_read == {os.path.relpath(
        run.path / "generated/1-task/rows.jsonl", run.data_root): 40}  # fmt: skip
    summary = json.loads(generated(run)["summary.json"])
    assert summary["rows"] == 40 and summary["stopped"] is None
    assert len(server.completed()) == len((run.path / "calls.jsonl").read_text().splitlines())


def test_built_again_it_asks_nobody(
    make_run: MakeRun, sections: dict[str, Any], server: Scripted
) -> None:
    run = make_run(**sections)
    build(run)
    first, asked = generated(run), len(server.asked())
    for folder in (run.path / "generated").iterdir():
        for path in folder.iterdir():
            path.unlink()
        (folder / ".rows.jsonl.4711.part").write_text("of an attempt that was killed")
    build(run)
    assert generated(run) == first
    assert len(server.asked()) == asked


def test_rows_do_not_depend_on_how_many_requests_are_in_flight(
    make_run: MakeRun, sections: dict[str, Any], server: Scripted
) -> None:
    data = sections["data"]
    data["sources"][0]["generate"]["hard_negatives"] = 0.5  # made from rows that are there by then
    run = make_run(**sections)
    build(run)
    first, asked = generated(run), len(server.asked())
    build(make_run(data={**data, "llm": {**data["llm"], "max_concurrency": 2}}))
    assert generated(run) == first and len(server.asked()) == asked


def test_no_key_is_written_anywhere(make_run: MakeRun, sections: dict[str, Any]) -> None:
    run = make_run(**sections)
    build(run)
    files = [path for path in run.path.rglob("*") if path.is_file()]
    assert len(files) > 8
    assert not [path for path in files if SECRET.encode() in path.read_bytes()]


def test_a_budget_on_the_command_line_stops_and_the_build_goes_on(
    make_run: MakeRun, sections: dict[str, Any], server: Scripted, tmp_path: Path
) -> None:
    make_run(**sections)
    loaded = recipes.load(tmp_path / "recipe.yaml")
    found = pipeline.write_rows(loaded, budget="60 calls", runs=tmp_path / "runs")
    written = found["generated"]["1-task"]
    assert written["rows"] < 40 and "60 calls" in written["stopped"]
    assert len(server.completed()) == 60
    run, _ = pipeline.bring_up_to(loaded, "data", runs=tmp_path / "runs")
    assert sum(s.rows for s in DataStats.load(run).splits.values()) == 40
    bodies = [json.dumps(one["body"], sort_keys=True) for one in server.completed()]
    assert len(set(bodies)) == len(bodies), "nothing was paid twice"


def test_what_terms_forbid_is_refused_before_it_is_paid(
    make_run: MakeRun, sections: dict[str, Any], server: Scripted
) -> None:
    data = sections["data"]
    run = make_run(data={**data, "use": "commercial"})
    with pytest.raises(DataError, match="not known to allow it"):
        build(run)
    run = make_run(data={**data, "use": "commercial", "llm": {**data["llm"], "model": "gpt-4o"}})
    with pytest.raises(DataError, match="OpenAI terms of use"):
        build(run)
    assert server.asked() == []
    run = make_run(data={**data, "use": "commercial", "llm": {**data["llm"], "outputs": "free"}})
    assert build(run).terms[0].commercial == "yes"


@pytest.fixture
def alias(sections: dict[str, Any], tmp_path: Path) -> Iterator[dict[str, Any]]:
    """A recipe's `data` whose open model is an alias, behind which GPT-4o answers."""
    here, answers = (Path(__file__).parent,), "task_answers"
    models = {"qwen3-8b": "gpt-4o-2024-08-06"}
    with Scripted(tmp_path / "alias", answers=answers, path=here, models=models) as server:
        llm = {"backend": "openai", "model": "qwen3-8b", "base_url": server.base_url}
        yield {**sections["data"], "llm": llm}


def test_an_alias_of_a_forbidden_model_is_found_by_its_first_answer(
    make_run: MakeRun, alias: dict[str, Any]
) -> None:
    run = make_run(data={**alias, "use": "commercial"})
    with pytest.raises(DataError, match=r"calls itself 'gpt-4o-2024-08-06'.*OpenAI terms of use"):
        build(run)
    assert len((run.path / "calls.jsonl").read_text().splitlines()) <= 64
    run = make_run(data={**alias, "use": "commercial", "llm": {**alias["llm"], "outputs": "free"}})
    assert build(run).terms[0].commercial == "yes"


def test_rows_are_listed_by_the_model_that_answered(
    make_run: MakeRun, alias: dict[str, Any], tmp_path: Path
) -> None:
    run = make_run(data=alias)
    [terms] = build(run).terms
    assert (terms.generator, terms.commercial) == ("gpt-4o-2024-08-06", "no")
    # Also where they are taken along as a file, to a recipe that knows nothing of the model.
    rows = run.path / "generated/1-task/rows.jsonl"
    source = {"path": str(rows), "licence": "MIT"}
    with pytest.raises(DataError, match="written by gpt-4o-2024-08-06: not for commercial use"):
        build(make_run(data={"sources": [source], "use": "commercial"}))


def test_rows_are_listed_with_the_licence_of_the_model(
    make_run: MakeRun, sections: dict[str, Any], server: Scripted
) -> None:
    data = sections["data"]
    run = make_run(data={**data, "llm": {**data["llm"], "licence": "CC-BY-NC-4.0"}})
    [terms] = build(run).terms
    assert (terms.licence, terms.commercial) == ("CC-BY-NC-4.0", "no")
    asked = len(server.asked())
    llm = {**data["llm"], "model": "smollm2", "licence": "CC-BY-NC-4.0"}
    with pytest.raises(DataError, match=r"forbid it \(licence CC-BY-NC-4.0\)"):
        build(make_run(data={**data, "use": "commercial", "llm": llm}))
    assert len(server.asked()) == asked


def test_a_model_whose_terms_restrict_outputs_marks_its_rows(
    make_run: MakeRun, sections: dict[str, Any]
) -> None:
    data = sections["data"]
    run = make_run(data={**data, "llm": {**data["llm"], "outputs": "restricted"}})
    assert build(run).terms[0].commercial == "no"


def test_a_recipe_without_generation_says_how(make_run: MakeRun, tmp_path: Path) -> None:
    make_run()
    with pytest.raises(LuthierError, match="no source is written by a model"):
        pipeline.write_rows(recipes.load(tmp_path / "recipe.yaml"), runs=tmp_path / "runs")


def test_money_needs_prices(make_run: MakeRun, sections: dict[str, Any], tmp_path: Path) -> None:
    make_run(**sections)
    with pytest.raises(LuthierError, match="prices"):
        pipeline.write_rows(
            recipes.load(tmp_path / "recipe.yaml"), budget="2 USD", runs=tmp_path / "runs"
        )


def test_the_command(
    make_run: MakeRun, sections: dict[str, Any], tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    make_run(**sections)
    with pytest.raises(SystemExit) as ended:
        app(["generate", str(tmp_path / "recipe.yaml"), "--runs", str(tmp_path / "r"), "--json"])
    assert ended.value.code in (0, None)
    out, err = capsys.readouterr()
    assert json.loads(out)["generated"]["1-task"]["rows"] == 40
    assert "tokens/s" in err and "True:20/20 False:20/20" in err


PROMISES = [{"name": "p", "label": "True", "rows": 6}, {"name": "v", "label": "False", "rows": 6}]


@pytest.mark.parametrize(
    ("answers", "options", "shown"),
    [
        ("task_answers", {"rows": 12}, ["12/12 ", "True:6/6 False:6/6", "left out 0,"]),
        ("task_answers", {"rows": None, "categories": PROMISES}, ["12/12 ", "p:6/6 v:6/6"]),
        ("self_instruct_answers", {"use": "self_instruct", "num_instructions": 20},
         ["/~", "instructions:20/20", "(not needed "]),
        ("instruction_answers", {"use": "evol_instruct", "rounds": 1}, ["/~", "seeds:68/68"]),
        ("instruction_answers", {"use": "unnatural", "rows": 9}, ["9/9 ", "(field missing "]),
    ],
)  # fmt: skip
def test_what_is_shown_while_rows_are_written(
    make_run: MakeRun, sections: dict[str, Any], tmp_path: Path, answers: str,
    options: dict[str, Any], shown: list[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    buffer = io.StringIO()
    made = Console(file=buffer, force_terminal=True, width=200, highlight=False)
    monkeypatch.setattr(consoles, "console", made)
    source = sections["data"]["sources"][0]
    if options.get("use", "task") == "task":
        options = source["generate"] | options
    prices = {"input": 0.15, "output": 0.6}
    with Scripted(tmp_path / "other", answers=answers, path=(Path(__file__).parent,)) as server:
        llm = {**sections["data"]["llm"], "base_url": server.base_url, "prices": prices}
        make_run(data={"llm": llm, "sources": [{"generate": options}]})
        pipeline.write_rows(recipes.load(tmp_path / "recipe.yaml"), runs=tmp_path / "runs")
    seen = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", buffer.getvalue())
    seen = seen[: seen.index(": rows")]  # before the table of what was left out
    for text in (*shown, "rows/s", "left 0:00:0", "tokens/s", "USD"):
        assert text in seen


def test_mistakes_have_their_lines(tmp_path: Path, tiny_model_dir: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(
        f"name: r\nmodel: {tiny_model_dir}\ntask: {{kind: chat}}\ndata:\n"
        "  llm: {backend: openai, api_key_env: sk-oops-a-key}\n"
        "  sources:\n    - generate: {use: self_instrukt}\n"
        "    - generate: {use: task, descripton: x, seeds: s.csv}\n"
    )
    with pytest.raises(LuthierError) as told:
        recipes.load(path)
    said = str(told.value)
    assert "r.yaml:7" in said and "unknown generator 'self_instrukt'" in said
    assert "r.yaml:8" in said and "Did you mean 'description'?" in said
    assert "NAME of an environment variable" in said and "sk-oops" not in said


def test_a_budget_that_brings_no_row_says_no(
    make_run: MakeRun, sections: dict[str, Any], tmp_path: Path
) -> None:
    make_run(**sections)
    loaded = recipes.load(tmp_path / "recipe.yaml")
    new = tmp_path / "new"
    with pytest.raises(CheckFailed, match="no row was finished by then"):
        pipeline.write_rows(loaded, budget="1 call", runs=new)
    assert len((new / "tiny/calls.jsonl").read_text().splitlines()) == 1


@pytest.mark.parametrize("command", ["generate", "build"])
def test_a_new_run_that_an_error_ends_keeps_what_was_paid(
    make_run: MakeRun, sections: dict[str, Any], tmp_path: Path, command: str
) -> None:
    faults = {"script": [None] * 20 + ["quota"]}  # somebody pays the provider after that
    here = (Path(__file__).parent,)
    with Scripted(tmp_path / "poor", answers="task_answers", path=here, faults=faults) as server:
        sections["data"]["llm"]["base_url"] = server.base_url
        make_run(**sections)
        loaded, new = recipes.load(tmp_path / "recipe.yaml"), tmp_path / "new"

        def work() -> None:
            if command == "generate":
                pipeline.write_rows(loaded, runs=new)
            else:
                pipeline.bring_up_to(loaded, "data", runs=new)

        with pytest.raises(LuthierError, match="quota"):
            work()
        log = new / "tiny/calls.jsonl"
        paid = len(log.read_text().splitlines())
        assert paid == len(server.completed()) >= 20
        work()
        bodies = [json.dumps(one["body"], sort_keys=True) for one in server.completed()]
        assert len(bodies) > paid and len(set(bodies)) == len(bodies), "nothing was paid twice"


def test_a_new_run_that_a_wrong_key_ends_leaves_no_folder(
    make_run: MakeRun, sections: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-another")
    make_run(**sections)
    loaded, new = recipes.load(tmp_path / "recipe.yaml"), tmp_path / "new"
    with pytest.raises(LuthierError, match="OPENAI_API_KEY"):
        pipeline.write_rows(loaded, runs=new)
    assert not (new / "tiny").exists()


def test_lint_looks_at_what_was_written(
    make_run: MakeRun, sections: dict[str, Any], tmp_path: Path
) -> None:
    run = make_run(**sections)
    recipe, runs = tmp_path / "recipe.yaml", tmp_path / "runs"
    with pytest.raises(DataError, match="luthier generate"):
        lint(recipe, runs=runs)
    pipeline.write_rows(recipes.load(recipe), runs=runs)
    assert sum(lint(recipe, runs=runs).rows.values()) == 40
    assert run.name == "tiny"


def test_rows_know_the_rows_they_were_made_from(
    make_run: MakeRun, sections: dict[str, Any]
) -> None:
    sections["data"]["sources"][0]["generate"]["hard_negatives"] = 0.5
    run = make_run(**sections)
    build(run)
    rows = [row for split in ("train", "test") for row in load_examples(run, split)]
    hard = [row for row in rows if row.fields["order"] == "hard negative"]
    assert hard and all(len(row.parents) == 1 for row in hard)
    assert all(list(row.parents) == row.fields["parents"] for row in hard)
