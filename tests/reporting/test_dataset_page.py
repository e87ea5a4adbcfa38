"""The page of a dataset: what it says of every kind of set, and that no row becomes markup."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from synthetic_dataset import (
    CLOSED,
    REJECTS,
    TASKS,
    example,
    instructions,
    make_dataset,
    rows_of,
)
from test_report import Page, words

from luthier.artifacts import DataStats
from luthier.errors import RunError
from luthier.example import Message
from luthier.reporting import dataset_rows
from luthier.reporting.dataset_page import write_dataset_page
from luthier.reporting.dataset_rows import sampled_rows
from luthier.reporting.left_out import read_rejects
from luthier.run import Run

HOSTILE = "<script>document.title='owned'</script>"
ARABIC = "\u0627\u0643\u062a\u0628 \u0642\u0635\u0629 \u0642\u0635\u064a\u0631\u0629"


def page_of(run: Run) -> Page:
    page = Page(write_dataset_page(run))
    assert page.problems == [], "tags are balanced"
    assert len(page.ids) == len(set(page.ids))
    assert all(url.startswith("#") and url[1:] in page.ids for url in page.urls)
    assert page.scripts == []
    return page


@pytest.mark.parametrize("kind", TASKS)
def test_every_kind_has_a_page(kind: str, tmp_path: Path) -> None:
    run = make_dataset(tmp_path, kind, rows_of(kind, 90), rejects=REJECTS)
    page = page_of(run)
    said = words(page)
    assert "90 rows in 4 splits" in said
    assert "93 rows read, 3 left out, 90 used." in said
    assert "Measured on all 90 rows" in said
    assert ("labels" in page.ids) == (kind == "classification")
    assert ("What is asked for" in said) == (kind in ("generation", "chat"))
    assert ("How the inputs of each label begin" in said) == (kind == "classification")
    assert "rows may not be used commercially (second.csv: CC-BY-NC-4.0" in said
    assert "Empty" in said and "empty: the output has no words" in said
    first = page.source
    assert write_dataset_page(run).read_text(encoding="utf-8") == first, "byte for byte"


def test_verbs_and_nouns_are_drawn(tmp_path: Path) -> None:
    said = words(page_of(make_dataset(tmp_path, "generation", rows_of("generation", 200))))
    assert "200 of 200 instructions name a verb, in 8 different pairs of verb and noun." in said
    assert "A rule finds verb and noun, not a parser" in said
    assert re.search(r"\b(poem|story) \d+", said)


def test_instructions_of_another_language_are_shown_by_their_openings(tmp_path: Path) -> None:
    rows = [example("generation", i + 1, f"{ARABIC} {i}", "!") for i in range(5)]
    page = page_of(make_dataset(tmp_path, "generation", rows))
    said = words(page)
    assert "found a verb in 0 of 5 only" in said and ARABIC in said
    assert "What is asked for" not in said
    assert f"<bdi>{ARABIC}</bdi>" in page.source


def test_no_text_of_a_row_becomes_markup(tmp_path: Path) -> None:
    label = f"yes {HOSTILE} \"'&"
    rows = [
        example("classification", i + 1, f"{HOSTILE} & {i}", answer, source=f"{HOSTILE}.csv")
        for i, answer in enumerate([label, "no", label])
    ]
    rejects = [(f"{HOSTILE}.csv:7", f"bad {HOSTILE}: {HOSTILE}", {HOSTILE: HOSTILE})]
    labels = [label, "no"]
    run = make_dataset(tmp_path, "classification", rows, rejects=rejects, labels=labels)
    page = page_of(run)
    assert "<script" not in page.source
    assert f"{HOSTILE} & 0" in page.text and label in page.text


def test_odd_labels_and_an_empty_input_are_shown(tmp_path: Path) -> None:
    labels = ["\u0646\u0639\u0645", "line\nbreak", "\U0001f600", "never"]
    rows = [
        example("classification", i + 1, "" if i else "Say it.", label)
        for i, label in enumerate(labels[:3])
    ]
    run = make_dataset(tmp_path, "classification", rows, labels=labels)
    page = page_of(run)
    said = words(page)
    assert all(" ".join(label.split()) in said for label in labels)
    assert "Without any row: 1 label." in said


def test_a_set_with_one_split_and_nothing_left_out(tmp_path: Path) -> None:
    rows = [example("text", i + 1, text, "end") for i, text in enumerate(instructions(9))]
    said = words(page_of(make_dataset(tmp_path, "text", rows)))
    assert "9 rows in 1 split " in said and "None: every row that was read passed." in said
    assert "None of these pairs straddles a split." in said
    one = words(page_of(make_dataset(tmp_path, "text", rows[:1], name="one")))
    assert "1 row in 1 split" in one and "Measured on 1 row." in one
    assert "No two rows have three neighbouring words in common" in one


def test_pairs_across_splits_are_marked(tmp_path: Path) -> None:
    said = "We will raise the tax on sugar by two percent next"
    rows = [
        example("classification", 1, f"{said} spring.", "True"),
        example("classification", 2, f"{said} autumn.", "False", split="test"),
        example("classification", 3, "Nobody knows the way home.", "False"),
    ]
    page = page_of(make_dataset(tmp_path, "classification", rows))
    nearest = words(page)
    assert "0.82 first.jsonl:1 and first.jsonl:2 across splits labels differ" in nearest


def test_a_row_that_a_mixture_repeats_is_no_pair(tmp_path: Path) -> None:
    row = example("generation", 1, "Write a story about the tax on sugar.", "No.")
    said = words(page_of(make_dataset(tmp_path, "generation", [row, row.but(id="again")])))
    assert "have three neighbouring words in common" in said


def test_many_labels_are_listed_and_the_commonest_drawn(tmp_path: Path) -> None:
    labels = [f"label {i}" for i in range(40)]
    rows = [
        example("classification", i + 1, f"Say {i} and no more.", labels[min(i // 2, 39)])
        for i in range(100)
    ]
    page = page_of(make_dataset(tmp_path, "classification", rows, labels=labels))
    assert page.source.count('class="bars-name"><bdi>') == 24
    assert "all 40 labels" in words(page) and "label 38" in words(page)
    assert "Not shown: 28 rarer labels." in words(page)


def test_a_conversation_with_tools_is_shown_as_the_model_sees_it(tmp_path: Path) -> None:
    row = example("chat", 1, "What is the weather?", "Sunny.")
    turns = (
        Message("user", "What is the weather?"),
        Message("assistant", "", tool_calls='[{"name": "look", "arguments": {}}]'),
        Message("tool", "sun", name="look"),
        Message("assistant", "Sunny."),
    )
    rows = [row.but(messages=turns, tools='[{"name": "look"}]')]
    said = words(page_of(make_dataset(tmp_path, "chat", rows)))
    assert "<tool_call>" in said and "<tool_response>" in said


def test_statistics_of_an_earlier_version_are_enough(tmp_path: Path) -> None:
    run = make_dataset(tmp_path, "generation", rows_of("generation", 30))
    path = run.path / DataStats.FILE
    old = json.loads(path.read_text(encoding="utf-8"))
    for name in ("mixture", "terms", "formats", "blank_lines"):
        del old[name]
    path.write_text(json.dumps(old), encoding="utf-8")
    (run.path / "data/rejects.jsonl").unlink()
    assert "What the rows may be used for was not recorded." in words(page_of(run))


def test_a_large_set_is_sampled_by_the_seed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_dataset(tmp_path, "generation", rows_of("generation", 90))
    monkeypatch.setattr(dataset_rows, "_BATCH", 7)
    some = sampled_rows(run, ["test", "train"], most=20)
    stats = DataStats.load(run)
    assert some.total == stats.splits["train"].rows + stats.splits["test"].rows
    assert len(some.rows) == 20 and not some.is_all
    assert {row.split for row in some.rows} == {"train", "test"}
    again = sampled_rows(run, ["train", "test"], most=20)
    assert [row.id for row in again.rows] == [row.id for row in some.rows]
    every = sampled_rows(run, ["train", "test"])
    assert every.is_all and len({row.id for row in every.rows}) == every.total


def test_rejects_are_read_whatever_their_lines_are(tmp_path: Path) -> None:
    path = tmp_path / "rejects.jsonl"
    assert read_rejects(path).first == {}
    lines = [
        '{"origin": "a b.csv:7", "reason": "x: 1", "fields": {"n": 3, "empty": ""}}',
        "{not json",
        "[1]",
        '{"origin": "hub/set: row 9", "reason": "x: 2", "fields": null}',
    ]
    path.write_bytes("\n".join(lines).encode() + b'\n{"origin": "\xff')
    found = read_rejects(path)
    assert (found.first["x"].reason, found.first["x"].text) == ("x: 1", "n: 3")
    assert found.per_source == {"a b.csv": 1, "hub/set": 1}


def test_personal_data_that_was_found_is_not_repeated(tmp_path: Path) -> None:
    reason = "personal data: mail address j***@***.org in the input"
    rejects = [("first.jsonl:7", reason, {"input": "Write to jane@example.org"})]
    run = make_dataset(tmp_path, "text", rows_of("text", 9), rejects=rejects)
    page = page_of(run)
    assert reason in page.text and "jane@" not in page.source


def test_a_missing_split_is_named(tmp_path: Path) -> None:
    run = make_dataset(tmp_path, "text", [example("text", 1, "a", "b", terms=CLOSED)])
    (run.path / "data/train.parquet").unlink()
    with pytest.raises(RunError, match=r"train\.parquet is missing.*luthier build"):
        write_dataset_page(run)
