"""What people decided about rows, and a build that goes by it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from luthier.artifacts import DataStats, load_examples
from luthier.data.build import build
from luthier.data.decisions import Decision, Edits, copies_of, read_decisions
from luthier.data.lint import lint
from luthier.errors import DataError, RecipeError
from luthier.example import SPLITS, Example, content_id
from luthier.recipe import load
from luthier.reporting.dataset_card import write_dataset_card
from luthier.reporting.dataset_page import write_dataset_page
from luthier.run import Run

MakeRun = Callable[..., Run]


def decide(path: Path, *decisions: dict[str, Any]) -> None:
    path.write_text("".join(json.dumps(d) + "\n" for d in decisions), encoding="utf-8")


def rows_of(run: Run) -> dict[str, Example]:
    """By file and line."""
    return {str(e.origin): e for split in SPLITS for e in load_examples(run, split)}


def rejects_of(run: Run) -> dict[str, str]:
    lines = (run.path / "data/rejects.jsonl").read_text(encoding="utf-8").splitlines()
    return {r["origin"]: r["reason"] for r in map(json.loads, lines)}


@pytest.fixture
def reviewed(make_run: MakeRun, tmp_path: Path) -> Callable[..., tuple[Run, DataStats]]:
    """Build the tiny dataset once without and once with decisions, made from the rows."""

    def make(choose: Callable[[dict[str, Example]], list[dict[str, Any]]], **data: Any) -> Any:
        run = make_run(data=data)
        build(run)
        decide(tmp_path / "seen.jsonl", *choose(rows_of(run)))
        run = make_run(data={**data, "decisions": "seen.jsonl"})
        return run, build(run)

    return make


# --- the file ----------------------------------------------------------------------------------


def test_the_last_word_counts_and_undo_takes_it_back(tmp_path: Path) -> None:
    path, a, b = tmp_path / "d.jsonl", "a" * 16, "b" * 16
    decide(
        path, {"id": a, "decision": "keep"}, {"id": b, "decision": "skip"},
        {"id": a, "decision": "drop", "note": "no\nsentence"}, {"id": b, "decision": "undo"},
    )  # fmt: skip
    found = read_decisions(path)
    assert [d.decision for d in found.last_words()] == ["drop"]
    assert found.of(a) == Decision(a, "drop", note="no\nsentence") and found.of(b) is None
    assert found.counts() == {"keep": 0, "edit": 0, "drop": 1, "skip": 0} and found.records == 4
    assert found.of(a).reason == "review: dropped (no sentence)"  # type: ignore[union-attr]
    with open(path, "a") as file:
        file.write(json.dumps({"id": a, "decision": "undo"}) + "\n")
    assert read_decisions(path).of(a) == Decision(a, "keep")


def test_every_bad_line_is_told_with_its_number(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    good = json.dumps({"id": "a" * 16, "decision": "keep"})
    bad = [
        "no json",
        {"id": "short", "decision": "keep"},
        {"id": "a" * 16, "decision": "kepe"},
        {"id": "a" * 16, "decision": "edit"},
        [],
        {"id": "b" * 16, "decision": "undo"},
        {"id": "a" * 16, "decision": "edit", "edits": {"turns": {"x": "y"}}},
    ]
    lines = [one if isinstance(one, str) else json.dumps(one) for one in bad]
    path.write_text("\n".join([good, *lines, good]) + "\n")
    with pytest.raises(DataError) as caught:
        read_decisions(path)
    said = str(caught.value)
    assert [f"d.jsonl:{n}:" in said for n in range(1, 10)] == [False] + [True] * 7 + [False]
    assert "Did you mean 'keep'?" in said and "hexadecimal" in said and "there is none" in said


def test_a_torn_last_line_was_never_acknowledged(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    whole = json.dumps({"id": "a" * 16, "decision": "keep"}) + "\n"
    path.write_text(whole + '{"id": "bbbb')
    assert len(read_decisions(path).last_words()) == 1
    path.write_text(whole + '{"id": "bbbb\n')
    with pytest.raises(DataError, match=r"d\.jsonl:2: not JSON"):
        read_decisions(path)
    with pytest.raises(DataError, match="`luthier review` writes one"):
        read_decisions(tmp_path / "none.jsonl")


def test_copies_are_found_by_how_a_build_names_them() -> None:
    base = "a" * 16
    second = content_id([base, 2])
    ids = [base, second, content_id([base, 3]), content_id([second, "again", 1]), "b" * 16]
    assert copies_of(base, dict.fromkeys(ids)) == ids[1:4]


# --- a build -----------------------------------------------------------------------------------


def test_dropped_rows_are_rejects_and_kept_ones_stay(reviewed: Any) -> None:
    run, stats = reviewed(lambda rows: [
        {"id": rows["rows.csv:2"].id, "decision": "drop", "note": "no: promise", "who": "ada"},
        {"id": rows["rows.csv:3"].id, "decision": "keep", "who": "bea"},
        {"id": rows["rows.csv:4"].id, "decision": "skip", "who": "ada"},
    ])  # fmt: skip
    assert rejects_of(run) == {"rows.csv:2": "review: dropped (no: promise)"}
    assert stats.rows_rejected == {"review": 1}
    assert len(rows_of(run)) == 59 and "rows.csv:2" not in rows_of(run)
    assert stats.review is not None
    assert stats.review.model_dump() == {
        "file": "seen.jsonl", "reviewers": ["ada", "bea"], "kept": 1, "edited": 0, "dropped": 1,
        "skipped": 1, "undecided": 57, "left_out_again": 0, "unmatched": 0,
    }  # fmt: skip
    card = write_dataset_card(run).read_text(encoding="utf-8")
    said = "2 of 60 rows (by ada, bea): 1 kept as they are, 0 edited, 1 dropped"
    assert said in card and said in write_dataset_page(run).read_text(encoding="utf-8")


def test_an_edited_row_says_what_was_written_in_the_same_words_around(reviewed: Any) -> None:
    """Of many templates the row keeps its own: it is drawn by the id, and that stays."""
    before: dict[str, Example] = {}

    def choose(rows: dict[str, Example]) -> list[dict[str, Any]]:
        before.update(rows)
        return [
            {"id": rows[f"rows.csv:{n}"].id, "decision": "edit",
             "edits": {"fields": {"input": f"A new sentence {n}."}, "label": "False"}}
            for n in range(2, 22)
        ]  # fmt: skip

    run, stats = reviewed(
        choose, template=["classify", "promise", "promise_instruction_first", "plain"]
    )
    after = rows_of(run)
    assert stats.review is not None and stats.review.edited == 20
    assert len({e.template for e in after.values()}) > 3
    for n in range(2, 22):
        old, new = before[f"rows.csv:{n}"], after[f"rows.csv:{n}"]
        assert (new.id, new.template) == (old.id, old.template)
        assert new.fields == {**old.fields, "input": f"A new sentence {n}.", "output": "False"}
        assert new.label == new.completion == "False"
        said = [m.content.replace(old.fields["input"], f"A new sentence {n}.")
                for m in old.messages[:-1]]  # fmt: skip
        assert [m.content for m in new.messages[:-1]] == said
    assert after["rows.csv:30"] == before["rows.csv:30"]


def test_a_conversation_and_a_plain_text_are_edited(make_run: MakeRun, tmp_path: Path) -> None:
    turns = [
        {"role": "user", "content": "red"}, {"role": "assistant", "content": "green"},
        {"role": "user", "content": "blue"}, {"role": "assistant", "content": "the economy"},
    ]  # fmt: skip
    chats = [{"messages": [{**turns[0], "content": f"red {i}"}, *turns[1:]]} for i in range(12)]
    (tmp_path / "chat.jsonl").write_text("".join(json.dumps(c) + "\n" for c in chats))
    texts = [{"text": f"We will build {i} new clinics."} for i in range(12)]
    (tmp_path / "text.jsonl").write_text("".join(json.dumps(t) + "\n" for t in texts))
    for kind, edits, said in (
        ("chat", {"turns": {"1": "dark-green", "3": "last year"}}, ["dark-green", "last year"]),
        ("text", {"text": "Nobody can say why."}, ["Nobody can say why."]),
    ):
        data = {
            "sources": [{"path": f"{kind}.jsonl"}], "template": None, "filters": [],
            "split": {"test": 0.2, "validation": 0.1},
        }  # fmt: skip
        run = make_run(name=kind, task={"kind": kind, "labels": None}, data=data)
        build(run)
        first = rows_of(run)[f"{kind}.jsonl:1"]
        decide(tmp_path / "seen.jsonl", {"id": first.id, "decision": "edit", "edits": edits})
        task = {"kind": kind, "labels": None}
        run = make_run(name=kind, task=task, data=data | {"decisions": "seen.jsonl"})
        build(run)
        row = rows_of(run)[f"{kind}.jsonl:1"]
        found = [m.content for m in row.messages[1::2]] if kind == "chat" else [row.text]
        assert found == said and row.id == first.id and row.split == first.split


def test_filters_see_the_edited_row(reviewed: Any) -> None:
    """Two rows that were edited to say the same are one row too many."""
    edits = {"fields": {"input": "Said twice."}, "label": "True"}
    run, stats = reviewed(lambda rows: [
        {"id": rows[f"rows.csv:{n}"].id, "decision": "edit", "edits": edits} for n in (2, 4)
    ])  # fmt: skip
    assert rejects_of(run) == {"rows.csv:4": "exact duplicate: of rows.csv:2"}
    assert stats.review is not None and stats.review.edited == 2


def test_a_row_is_kept_in_spite_of_the_filter_that_was_overruled(
    make_run: MakeRun, tmp_path: Path
) -> None:
    filters = [{"use": "length", "max_words": 11}, {"use": "exact_duplicates"}]
    run = make_run(data={"filters": filters})
    with open(tmp_path / "rows.csv", "a") as file:
        for i in range(3):
            file.write(f"One two three four five six seven eight nine ten eleven {i}.,True,plan\n")
        file.write("Not a label.,TRUE,plan\n")
    build(run)
    lines = (run.path / "data/rejects.jsonl").read_text().splitlines()
    found = [r for r in map(json.loads, lines) if int(r["origin"].partition(":")[2]) > 61]
    kind = found[0]["reason"].partition(":")[0]
    assert [r["origin"] for r in found] == [f"rows.csv:{n}" for n in range(62, 66)]
    decide(
        tmp_path / "seen.jsonl",
        {"id": found[0]["id"], "decision": "keep", "in_spite_of": kind},
        {"id": found[1]["id"], "decision": "keep", "in_spite_of": "another reason"},
        {"id": found[3]["id"], "decision": "keep", "in_spite_of": "label outside the set"},
    )
    text = (tmp_path / "rows.csv").read_text()
    run = make_run(data={"filters": filters, "decisions": "seen.jsonl"})
    (tmp_path / "rows.csv").write_text(text)
    stats = build(run)
    assert "rows.csv:62" in rows_of(run)
    assert {"rows.csv:63", "rows.csv:64", "rows.csv:65"} <= set(rejects_of(run))
    assert stats.review is not None and stats.review.left_out_again == 2


def test_decisions_without_a_row_are_said_loudly(
    reviewed: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    lost = [
        {"id": f"{n:016x}", "decision": "drop", "where": f"rows.csv:{n}"} for n in range(90, 97)
    ]
    _, stats = reviewed(lambda rows: [{"id": rows["rows.csv:2"].id, "decision": "drop"}, *lost])
    assert stats.review is not None and stats.review.unmatched == 7
    said = capsys.readouterr().err
    assert "seen.jsonl: 7 of 8 decisions match no row" in " ".join(said.split())
    assert "drop rows.csv:90" in said and "and 2 more" in said


def test_rows_that_say_the_same_share_a_decision(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run(data={"filters": []})
    text = (tmp_path / "rows.csv").read_text()
    doubled = text + "We will paint wall 0 red and green for street 0.,True,plan\n"
    (tmp_path / "rows.csv").write_text(doubled)
    build(run)
    first, second = rows_of(run)["rows.csv:2"], rows_of(run)["rows.csv:62"]
    assert copies_of(first.id, {second.id: None}) == [second.id]
    decide(tmp_path / "seen.jsonl", {"id": first.id, "decision": "drop"})
    run = make_run(data={"filters": [], "decisions": "seen.jsonl"})
    (tmp_path / "rows.csv").write_text(doubled)
    build(run)
    assert set(rejects_of(run)) == {"rows.csv:2", "rows.csv:62"}


# --- the recipe --------------------------------------------------------------------------------


def test_a_missing_file_is_told_with_its_line(make_run: MakeRun, tmp_path: Path) -> None:
    make_run()
    tree = json.loads((tmp_path / "recipe.yaml").read_text())
    tree["data"]["decisions"] = "sen.jsonl"
    (tmp_path / "seen.jsonl").write_text("")
    (tmp_path / "recipe.yaml").write_text(json.dumps(tree, indent=1))
    line = next(
        n for n, text in enumerate(json.dumps(tree, indent=1).splitlines(), 1) if "sen.j" in text
    )
    with pytest.raises(RecipeError) as caught:
        load(tmp_path / "recipe.yaml")
    [problem] = caught.value.problems
    assert problem.where == f"{tmp_path / 'recipe.yaml'}:{line}"
    assert "no file of decisions 'sen.jsonl'" in problem.message
    assert problem.fix == "Did you mean 'seen.jsonl'?"


def test_a_changed_file_makes_the_data_again_and_a_run_names_its_own(
    make_run: MakeRun, tmp_path: Path
) -> None:
    from luthier.pipeline import bring_up_to

    make_run()
    runs = tmp_path / "runs"
    run, _ = bring_up_to(load(tmp_path / "recipe.yaml"), "data", runs=runs)
    rows = rows_of(run)
    decide(run.path / "decisions.jsonl", {"id": rows["rows.csv:2"].id, "decision": "drop"})
    make_run(data={"decisions": "run:tiny"})
    _, happened = bring_up_to(load(tmp_path / "recipe.yaml"), "data", runs=runs)
    assert happened == {"data": "done"} and len(rows_of(run)) == 59
    assert bring_up_to(load(tmp_path / "recipe.yaml"), "data", runs=runs)[1]["data"] == "unchanged"
    assert (run.path / "decisions.jsonl").is_file(), "a build leaves it alone"
    with open(run.path / "decisions.jsonl", "a") as file:
        file.write(json.dumps({"id": rows["rows.csv:3"].id, "decision": "drop"}) + "\n")
    assert bring_up_to(load(tmp_path / "recipe.yaml"), "data", runs=runs)[1]["data"] == "done"
    assert len(rows_of(run)) == 58


def test_a_review_that_the_recipe_does_not_use_is_worth_a_word(
    make_run: MakeRun, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run()
    (run.path / "decisions.jsonl").write_text("")
    build(run)
    said = " ".join(capsys.readouterr().err.split())
    assert "`data.decisions: run:tiny` applies them" in said


@pytest.mark.parametrize("name", ["run:", "run:../other", "run:none"])
def test_a_run_without_decisions_is_told(make_run: MakeRun, name: str) -> None:
    with pytest.raises(DataError, match=r"run:NAME|no such file"):
        build(make_run(data={"decisions": name}))


def test_lint_of_a_recipe_goes_by_the_decisions(reviewed: Any, tmp_path: Path) -> None:
    reviewed(lambda rows: [
        {"id": rows["rows.csv:2"].id, "decision": "drop"},
        {"id": rows["rows.csv:4"].id, "decision": "edit",
         "edits": {"fields": {"input": "Write to <b>us</b> at &nbsp; once.<br>"}}},
    ])  # fmt: skip
    told: list[tuple[str, str]] = []
    report = lint(
        tmp_path / "recipe.yaml", runs=tmp_path / "runs",
        see=lambda check, what, severity, place: told.append((check, place.where)),
    )  # fmt: skip
    assert report.rows == {"rows.csv": 60}
    assert ("html_leftovers", "rows.csv:4") in told
    assert not [where for check, where in told if where == "rows.csv:2" and check == "reader"]
    assert any("1 rows that were dropped in a review" in note for note in report.notes)


def test_edits_go_on_top_of_each_other() -> None:
    first = Edits({"input": "a"}, {1: "b"}, None, "yes")
    second = Edits({"context": "c"}, {1: "d"}, "t")
    assert second.over(first) == Edits({"input": "a", "context": "c"}, {1: "d"}, "t", "yes")
    assert Edits.of(first.plain()) == first and not Edits()


def test_only_rows_that_were_read_are_counted(reviewed: Any) -> None:
    """A stream is shaped ahead in blocks; what was not taken in was not met."""
    mix = {"strategy": "weights", "rows": 20, "streaming": True}
    source = {"path": "rows.csv", "input": "sentence", "output": "label", "weight": 1}
    _, stats = reviewed(
        lambda rows: [
            {"id": row.id, "decision": "keep"} for row in list(rows.values())[:2]
        ] + [{"id": "f" * 16, "decision": "drop"}],
        sources=[source], mix=mix,
    )  # fmt: skip
    found = stats.review
    assert found is not None and (found.kept, found.unmatched) == (2, 1)
    assert found.kept + found.undecided == sum(stats.rows_read.values()) < 60
