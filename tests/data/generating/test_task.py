"""Rows for one task: targets met to the row, labels in balance, and why rows are left out."""

from __future__ import annotations

import random
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from scripted import Scripted, write

from luthier.data.generating.seeds import Seed
from luthier.data.generating.targets import Aim, Cell, Targets, cells_of
from luthier.data.generating.task_prompts import (
    as_choice,
    as_input,
    contrast,
    introduction,
    leaked,
    own_lines,
    request_for,
)
from luthier.data.generators.task import build
from luthier.errors import DataError
from luthier.example import Message
from luthier.inference.config import BudgetSection
from luthier.inference.request import Request

LABELS = ("joy", "anger")
WORDS = [f"{a}{b}" for a in "bdfgklmnprstv" for b in ("ana", "oki", "ulo", "este", "irra")]


@pytest.fixture
def seeds(tmp_path: Path) -> str:
    path = tmp_path / "seeds.csv"
    path.write_text(
        "input,output,category,tone\n"
        "the sun is out again at last,joy,weather,calm\n"
        "our team won the cup today,joy,sport,loud\n"
        "they cancelled the train once more,anger,travel,loud\n"
        "he parked across my gate,anger,street,calm\n"
    )
    return str(path)


def strong(request: Request) -> str:
    """A model that writes what it is asked for, and knows a label when it sees one."""
    asked = request.messages[-1].content
    if "Answer with one of" in request.messages[0].content:
        return next((label for label in LABELS if label in asked), "joy")
    chance = random.Random(request.seed)
    label = re.search(r"Label: (\w+)", asked)
    # Left to itself it writes of joy nine times out of ten.
    kind = label.group(1) if label else ("joy" if chance.random() < 0.9 else "anger")
    return f"{kind} " + " ".join(chance.sample(WORDS, 8))


def made(seeds: str, /, **options: Any) -> Any:
    return build(**{"description": "Tell the mood.", "seeds": seeds, "rows": 20, **options})


def kinds(joy: int | None, anger: int | None) -> list[dict[str, Any]]:
    """Two categories, with rows of their own or without."""
    found: list[dict[str, Any]] = [{"name": "a", "label": "joy"}, {"name": "b", "label": "anger"}]
    for kind, rows in zip(found, (joy, anger), strict=True):
        kind.update({} if rows is None else {"rows": rows})
    return found


def test_targets_are_met_to_the_row(seeds: str, tmp_path: Path) -> None:
    writing, _ = write(
        made(seeds, rows={"joy": 17, "anger": 4}), Scripted(strong), tmp_path / "log", labels=LABELS
    )
    assert Counter(row["output"] for row in writing.rows) == {"joy": 17, "anger": 4}
    assert all(row["output"] in row["input"] for row in writing.rows)
    assert not writing.notes
    row = writing.rows[0]
    assert row["generator"] == "scripted-1" and row["method"] == "method" and len(row["calls"]) == 2


def test_categories_are_counted_for_themselves(seeds: str, tmp_path: Path) -> None:
    wanted = [
        {"name": "weather", "label": "joy", "rows": 3, "about": "of the sky"},
        {"name": "sport", "label": "joy", "rows": 5},
        {"name": "travel", "label": "anger", "rows": 7},
    ]
    backend = Scripted(strong)
    writing, _ = write(
        made(seeds, rows=None, categories=wanted, axes={"tone": ["calm", "loud"]}, votes=0),
        backend, tmp_path / "log", labels=LABELS,
    )  # fmt: skip
    assert Counter(row["category"] for row in writing.rows) == {
        "weather": 3, "sport": 5, "travel": 7,
    }  # fmt: skip
    for kind in ("weather", "sport", "travel"):  # each axis is spread over each kind
        tones = Counter(row["axis_tone"] for row in writing.rows if row["category"] == kind)
        assert max(tones.values()) - min(tones.values()) <= 1
    shown = backend.asked[0].messages
    assert "weather: of the sky" in shown[0].content
    assert any("tone: loud" in m.content for m in shown[1:-1]), "seeds show what axes mean"


def test_output_first_keeps_the_balance_that_input_first_loses(seeds: str, tmp_path: Path) -> None:
    """The same model: of what it writes unasked 9 in 10 are of one label."""
    spent = {}
    for name, share in (("input first", 0.0), ("output first", 1.0)):
        backend = Scripted(strong)
        writing, _ = write(
            made(seeds, rows=60, output_first=share, votes=1, patience=1000, novelty=0),
            backend, tmp_path / name, labels=LABELS,
        )  # fmt: skip
        assert Counter(row["output"] for row in writing.rows) == {"joy": 30, "anger": 30}
        spent[name] = sum("A new input" in r.messages[-1].content for r in backend.asked)
        full = writing.reasons["label full"]
        assert (full > 100) if share == 0 else (full == 0)
    assert spent["output first"] < spent["input first"] / 3


def test_an_adapter_may_vote(seeds: str, tmp_path: Path) -> None:
    backend = Scripted(strong)
    write(made(seeds, votes_lora="judge"), backend, tmp_path / "log", labels=LABELS)
    is_vote = ["Answer with one of" in request.messages[0].content for request in backend.asked]
    assert any(is_vote) and not all(is_vote)
    assert [request.lora for request in backend.asked] == ["judge" if v else None for v in is_vote]


def test_the_result_does_not_depend_on_who_answers_first(seeds: str, tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "output_first": 0.5, "hard_negatives": 0.3, "axes": {"tone": ["calm", "loud"]}, "votes": 3,
    }  # fmt: skip
    found = [
        write(made(seeds, **options), Scripted(strong, order), tmp_path / str(order), labels=LABELS)
        for order in (None, 1, 2)
    ]
    first = found[0][0]
    for writing, _ in found[1:]:
        assert writing.rows == first.rows and writing.left_out == first.left_out


def test_made_again_from_the_log_without_a_model(seeds: str, tmp_path: Path) -> None:
    first, _ = write(made(seeds), Scripted(strong), tmp_path / "log", labels=LABELS)

    def nobody(request: Request) -> str:
        raise AssertionError("asked again")

    again, _ = write(made(seeds), Scripted(nobody), tmp_path / "log", labels=LABELS)
    assert again.rows == first.rows
    assert again.session.tally.calls == 0


def test_a_budget_stops_and_the_next_goes_on_from_there(seeds: str, tmp_path: Path) -> None:
    whole, _ = write(made(seeds), Scripted(strong), tmp_path / "whole", labels=LABELS)
    part, stopped = write(
        made(seeds), Scripted(strong), tmp_path / "log", labels=LABELS,
        budget=BudgetSection(calls=15),
    )  # fmt: skip
    assert stopped and "15 calls" in stopped
    assert 0 < len(part.rows) < 20 and part.rows == whole.rows[: len(part.rows)]
    rest, stopped = write(made(seeds), Scripted(strong), tmp_path / "log", labels=LABELS)
    assert rest.rows == whole.rows and stopped is None


def test_hard_negatives_have_their_originals_as_parents(seeds: str, tmp_path: Path) -> None:
    def swaps(request: Request) -> str:
        asked = request.messages[-1].content
        if "This input has the label" in asked:
            _, original, _ = asked.split("\n")
            wanted = re.findall(r"Label: (\w+)", asked)[-1]
            other = next(label for label in LABELS if label != wanted)
            return original.replace(other, wanted) if other in original else f"{original} {wanted}"
        return strong(request)

    writing, _ = write(
        made(seeds, hard_negatives=0.5), Scripted(swaps), tmp_path / "log", labels=LABELS
    )
    hard = [row for row in writing.rows if row["order"] == "hard negative"]
    assert len(hard) >= 5 and all(len(row["parents"]) == 1 for row in hard)
    known = {row["id"]: row for row in writing.rows}
    of_rows = [row for row in hard if row["parents"][0] in known]
    assert of_rows
    for row in of_rows:
        parent = known[row["parents"][0]]
        assert parent["output"] != row["output"]
        changed = set(parent["input"].split()) ^ set(row["input"].split())
        assert len(changed) <= 2


CASES = {
    "UNFIT too long": "unfit",
    "CUT and on and on": "cut off",
    "   ": "empty",
    "joy": "too short",
    " ".join(["joy"] * 200): "too long",
    "A new input. Label: joy and so on": "leaked prompt words",
    "the sun is out again at last": "not novel",
    "joy lamps of the held-out file": "test data",
    "anger where it was not wanted": "label disagreed",
}


@pytest.mark.parametrize("text", CASES, ids=list(CASES.values()))
def test_each_reason_is_told(seeds: str, tmp_path: Path, text: str) -> None:
    held_out = tmp_path / "test.csv"
    held_out.write_text("input,output\njoy lamps of the held-out file,joy\nanother row,anger\n")
    first: list[bool] = []

    def once(request: Request) -> str:
        asked = request.messages[-1].content
        if "A new input" in asked and "Label: joy" in asked and not first:
            first.append(True)
            return text
        return strong(request)

    writing, _ = write(
        made(seeds, rows=6, avoid=str(held_out)), Scripted(once), tmp_path / "log", labels=LABELS
    )
    assert writing.reasons == {CASES[text]: 1}
    assert len(writing.rows) == 6
    assert writing.left_out[0]["reason"].startswith(CASES[text])


def test_scripts_without_spaces_have_words_too(tmp_path: Path) -> None:
    path = tmp_path / "seeds.csv"
    path.write_text("input,output\n今天天气非常好我很高兴,joy\n他把车停在我家门口真讨厌,anger\n")

    def answers(request: Request) -> str:
        asked = request.messages[-1].content
        if "Answer with one of" in request.messages[0].content:
            return "joy" if "高兴" in asked else "anger"
        chance = random.Random(request.seed)
        body = "".join(chr(0x4E00 + chance.randrange(5000)) for _ in range(15))
        return ("高兴" if "Label: joy" in asked else "讨厌") + body

    method = build(description="心情", seeds=str(path), rows=6, min_words=10, max_words=20)
    writing, _ = write(method, Scripted(answers), tmp_path / "log", labels=LABELS)
    assert len(writing.rows) == 6 and not writing.left_out


CELLS = [Cell("weather", "joy", 1, "of the sky"), Cell("street", "anger", 1)]


@pytest.mark.parametrize(
    ("text", "leak"),
    [
        ("it was two of a kind: rain and more rain", None),
        ("the label: a small one, came off", None),
        ("the function takes a new input every time", None),
        ("the rows of a dataset are shuffled", None),
        ("a loud tone: calm it was not", None),
        ("the label: joyful colours", None),
        ("A new input. the sun is out", "A new input."),
        ("the sun is out. Label: joy", "Label: joy"),
        ("(kind: weather) the sun is out", "kind: weather"),
        ("the sun is out\ntone: loud", "tone: loud"),
        ("Change as few words as possible, so that", "Change as few words as possible"),
        ("Sure, a row of the dataset: the sun is out", "row of the dataset:"),
    ],
)
def test_what_counts_as_copied_from_the_prompt(text: str, leak: str | None) -> None:
    assert leaked(text, own_lines(CELLS, {"tone": ["calm", "loud"]})) == leak


def test_every_line_of_the_prompts_is_known_as_theirs() -> None:
    introduced = introduction("Tell the mood.", CELLS)
    row = Seed("1", "he is late", "anger", None)
    asked = [*contrast(introduced, [], row, CELLS[0]), Message("user", request_for(CELLS[0], {}))]
    lines = own_lines(CELLS, {})
    for message in asked:
        for line in message.content.splitlines():
            assert leaked(line, lines) or line == row.input, line


def test_words_that_seeds_have_are_the_tasks_own(tmp_path: Path) -> None:
    path = tmp_path / "seeds.csv"
    path.write_text(
        "input,output\na jar with Label: joy on it,joy\na pot with Label: anger,anger\n"
    )

    def answers(request: Request) -> str:
        return re.sub("^(joy|anger)", r"with Label: \1", strong(request))

    method = build(description="Jars.", seeds=str(path), rows=4, votes=0)
    writing, _ = write(method, Scripted(answers), tmp_path / "log", labels=LABELS)
    assert len(writing.rows) == 4 and not writing.left_out


def test_a_label_that_never_comes_is_given_up_with_its_reason(seeds: str, tmp_path: Path) -> None:
    def stubborn(request: Request) -> str:
        text = strong(request)
        return text.replace("anger", "joy")

    writing, _ = write(
        made(seeds, rows=20, patience=30), Scripted(stubborn), tmp_path / "log", labels=LABELS
    )
    assert Counter(row["output"] for row in writing.rows) == {"joy": 10}
    [note] = writing.notes
    assert "anger: 0 of 10 rows" in note and "label disagreed" in note


def test_writing_stops_when_the_yield_collapses(seeds: str, tmp_path: Path) -> None:
    writing, _ = write(
        made(seeds, rows=500, patience=60, min_yield=0.1),
        Scripted(lambda request: "always the same words in this row"),
        tmp_path / "log",
    )
    assert len(writing.rows) == 1
    assert "not novel" in writing.notes[0]
    assert len(writing.left_out) <= 60


def test_free_text_rows_get_their_outputs_in_a_second_call(tmp_path: Path) -> None:
    path = tmp_path / "seeds.csv"
    path.write_text("q,a\nhow many legs has a cow,four\nwhat is red and ripe,a cherry\n")

    def answers(request: Request) -> str:
        if "A new input" in request.messages[-1].content:
            return "what about " + " ".join(random.Random(request.seed).sample(WORDS, 6))
        return "answer to " + request.messages[-1].content

    method = build(description="Riddles.", seeds=str(path), input="q", output="a", rows=5)
    writing, _ = write(method, Scripted(answers), tmp_path / "log")
    assert len(writing.rows) == 5
    assert all(row["output"] == f"answer to {row['input']}" for row in writing.rows)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"rows": {"jy": 3}}, "Did you mean 'joy'?"),
        ({"categories": [{"name": "a", "label": "joi"}]}, "Did you mean 'joy'?"),
        ({"categories": [{"name": "a", "label": "joy"}]}, "none is of the label 'anger'"),
        ({"categories": [{"label": "joy"}]}, "expected {name:"),
        ({"categories": [{"name": "a", "lable": "joy"}]}, "Did you mean 'label'?"),
        ({"output_first": 2}, "output_first is 2, expected a number from 0 to 1"),
        ({"votes": -1}, "expected a whole number of at least 0"),
        ({"axes": {"tone": []}}, "axes.tone is [], expected a list of levels"),
        ({"axes": {"tone": ["calm", "calm"]}}, "names a level twice"),
        ({"axes": ["tone"]}, "axes is ['tone'], expected a list of levels for each axis"),
        ({"rows": "ten"}, "rows is 'ten', expected a whole number of at least 1"),
        ({"rows": 2.5}, "rows is 2.5, expected a whole number"),
        ({"rows": {"joy": "ten", "anger": 3}}, "rows.joy is 'ten', expected a whole number"),
        ({"min_words": "x"}, "min_words is 'x'"),
        ({"min_words": 9, "max_words": 8}, "min_words is 9, above max_words (8)"),
        ({"temperature": "hot"}, "temperature is 'hot', expected a number from 0 to 2"),
        ({"temperature": 5}, "temperature is 5"),
        ({"top_p": 0}, "top_p is 0"),
        ({"avoid": 5}, "avoid is 5, expected a file or a list of files"),
        ({"seeds": 5}, "seeds is 5, expected a file"),
        ({"input": 5}, "input is 5, expected a column"),
        ({"votes_lora": 5}, "votes_lora is 5"),
        ({"one_line": "yes"}, "one_line is 'yes', expected true or false"),
        ({"description": 5}, "description is 5, expected text"),
        ({"categories": {"a": 5}}, "categories is {'a': 5}, expected a list"),
        ({"categories": [{"name": "a", "label": "joy", "rows": "ten"}]}, "categories.1: rows is"),
        ({"rows": {"joy": 3}}, "nothing is said of the label 'anger'"),
        ({"rows": 1}, "rows is 1: none is left for 'anger'"),
        ({"rows": 9, "categories": kinds(4, 4)}, "rows is 9, and the categories say 8"),
        ({"rows": 4, "categories": kinds(4, None)}, "none is left for 'b'"),
        ({"rows": None, "categories": kinds(4, None)}, "'b' without rows, and others with"),
        ({"rows": {"a": 3, "b": 5}, "categories": kinds(4, None)}, "rows.a is 3, and its category"),
        ({"description": " "}, "description is empty"),
        ({"output": "label"}, "no column 'label'"),
    ],
)
def test_mistakes_are_told(seeds: str, tmp_path: Path, options: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=re.escape(said)):
        write(made(seeds, **options), Scripted(strong), tmp_path / "log", labels=LABELS)


def test_all_mistakes_are_told_at_once(seeds: str, tmp_path: Path) -> None:
    with pytest.raises(DataError) as told:
        made(seeds, rows="ten", temperature="hot", axes=["a"], avoid=5, min_words="x")
    for name in ("rows", "temperature", "axes", "avoid", "min_words"):
        assert f"generator 'task': {name} is " in str(told.value)
    wrong = [{"label": "joy"}, {"name": "b", "label": "angr"}, {"name": "c", "lable": "joy"}]
    with pytest.raises(DataError) as told:
        write(made(seeds, categories=wrong), Scripted(strong), tmp_path / "log", labels=LABELS)
    assert all(f"categories.{n}" in str(told.value) for n in (1, 2, 3))


@pytest.mark.parametrize(
    ("rows", "own", "counts"),
    [
        (50, (10, None), [10, 40]),
        (7, (None, None), [4, 3]),
        (None, (10, 3), [10, 3]),
        (13, (10, 3), [10, 3]),
        (None, (None, None), [50, 50]),
        (None, (0, 3), [3]),
        ({"a": 2}, (None, 3), [2, 3]),
        ({"a": 2, "b": 0}, (None, None), [2]),
    ],
)
def test_no_category_is_left_without_rows_by_an_omission(
    rows: Any, own: tuple[int | None, int | None], counts: list[int]
) -> None:
    assert [cell.rows for cell in cells_of(rows, LABELS, kinds(*own))] == counts


def test_every_seed_that_is_no_good_is_told(tmp_path: Path) -> None:
    path = tmp_path / "seeds.csv"
    path.write_text("input,output\nfine,joy\n,anger\nfine too,angr\n")
    with pytest.raises(DataError) as told:
        write(made(str(path)), Scripted(strong), tmp_path / "log", labels=LABELS)
    assert "2 seed rows" in str(told.value)
    assert "seeds.csv:3: the input is empty" in str(told.value)
    assert "seeds.csv:4" in str(told.value) and "Did you mean 'anger'?" in str(told.value)


def test_levels_go_to_those_with_the_fewest_rows() -> None:
    targets = Targets([Cell("a", "a", 100)], {"x": ["1", "2", "3"], "y": ["p", "q"]}, patience=1000)
    chance, rows = random.Random(0), Counter()
    while not targets.is_done:
        aim = targets.next(chance, any_cell=False)
        assert isinstance(aim, Aim)
        kept = chance.random() < 0.3
        targets.came(aim, "a" if kept else None)
        if kept:
            rows.update([("x", aim.levels["x"]), ("y", aim.levels["y"])])
    assert rows["y", "p"] == rows["y", "q"] == 50
    assert {rows["x", level] for level in "123"} == {33, 34}


def test_rows_are_shared_out_evenly() -> None:
    assert [c.rows for c in cells_of(7, ["a", "b", "c"], [])] == [3, 2, 2]


@pytest.mark.parametrize(
    ("said", "read"),
    [
        ('"We will."', "We will."),
        ("Input: “We will.”", "We will."),
        ("1. Sentence: We will.", "We will."),
        ('He said "no" and "yes"', 'He said "no" and "yes"'),
        ("  ", ""),
    ],
)
def test_what_a_model_puts_around_an_input_is_taken_off(said: str, read: str) -> None:
    assert as_input(said) == read


def test_a_label_is_recognised_where_it_is_the_only_one_named() -> None:
    assert as_choice("Label: JOY.", LABELS) == "joy"
    assert as_choice("It is anger, I think", LABELS) == "anger"
    assert as_choice("joy or anger", LABELS) is None
    assert as_choice("enjoyable", LABELS) is None
