"""Evol-Instruct as a whole: rounds, lineage, what goes on unevolved, and the same bytes again."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from scipy.stats import chisquare
from scripted import Scripted, write

from luthier.data.generating.evol_instruct.prompts import OPERATIONS
from luthier.data.generating.evol_instruct.seeds import read_seeds
from luthier.data.generating.writing import Writing
from luthier.data.generators.evol_instruct import build
from luthier.errors import DataError
from luthier.inference.config import BudgetSection
from luthier.inference.request import Request

FIRST = re.compile(r"The First Prompt: (.*)\nThe Second Prompt: (.*)\nYour", re.DOTALL)
LAST = re.compile(r"#(?:The )?Given Prompt#:\n((?:(?!#(?:The )?Given Prompt#:\n).)*)\n#\w+ Prompt#:\n$", re.DOTALL)  # fmt: skip  # noqa: E501
SHOWN_BY = {
    "one more constraint": "constraints", "deeper and broader": "deepening",
    "more specific": "concretizing", "in several steps": "reasoning",
    "Add data": "complicate_input", "brand new": "breadth",
}  # fmt: skip


@pytest.fixture
def seeds(tmp_path: Path) -> str:
    path = tmp_path / "seeds.jsonl"
    rows = [
        {"id": f"seed-{i}", "instruction": f"Tell me of river {i}.", "input": "", "output": "Long."}
        for i in range(12)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def asked_of(request: Request) -> str:
    return request.messages[-1].content


def kind_of(request: Request) -> str:
    """evolve, compare or respond."""
    asked = asked_of(request)
    if FIRST.search(asked):
        return "compare"
    return "evolve" if re.search(r"You are a Prompt (?:Rewriter|Creator)", asked) else "respond"


def operation_of(request: Request) -> str:
    [found] = [name for said, name in SHOWN_BY.items() if said in asked_of(request)]
    return found


def given_in(request: Request) -> str:
    found = LAST.search(asked_of(request))
    assert found, asked_of(request)
    return found.group(1)


def strong(request: Request) -> str:
    """A model that evolves, judges and answers."""
    kind = kind_of(request)
    if kind == "compare":
        return "Not Equal"
    if kind == "evolve":
        return f"{given_in(request)} Mind point {random.Random(request.seed).randrange(10**6)}."
    return f"An answer to: {asked_of(request)}"


def but(kind: str, text: str, when: Callable[[Request], bool] = lambda r: True) -> Any:
    """The strong model, except that it says something else to some requests."""
    return lambda r: text if kind_of(r) == kind and when(r) else strong(r)


def seed_0(request: Request) -> bool:
    return "river 0." in asked_of(request)


def test_all_rounds_of_all_seeds(seeds: str, tmp_path: Path) -> None:
    writing, _ = write(build(seeds=seeds), Scripted(strong), tmp_path / "log")
    assert len(writing.rows) == 12 * 4 and not writing.left_out
    assert Counter(row["round"] for row in writing.rows) == dict.fromkeys((1, 2, 3, 4), 12)
    for row in writing.rows:
        assert row["output"] == f"An answer to: {row['instruction']}"
        assert row["input"] == "" and len(row["calls"]) == 3
    assert "48 of 48 evolutions succeeded" in writing.notes[0]


def lineage_is_complete(writing: Writing) -> None:
    """Every row leads back to its seed, over rows that are there, each a round later."""
    known = {row["id"]: row for row in [*writing.rows, *writing.left_out]}
    assert len(known) == len(writing.rows) + len(writing.left_out), "ids are unique"
    for row in known.values():
        assert row["operation"] in OPERATIONS and row["round"] >= 1
        here = row
        while (parent := here["parents"][0]) != row["original"]:
            assert known[parent]["original"] == row["original"]
            assert known[parent]["round"] < here["round"]
            if "given" in here:
                assert here["given"] == known[parent]["instruction"]
            here = known[parent]
            assert here["output"], "only what succeeded is evolved further"
        assert re.fullmatch(r"seed-\d+", row["original"])
        assert re.search(r"seeds.jsonl:\d+", row["original_origin"])


def test_lineage(seeds: str, tmp_path: Path) -> None:
    def some(request: Request) -> str:
        if kind_of(request) == "compare" and (hash_of(asked_of(request)) % 3 == 0):
            return "Equal"
        return strong(request)

    for keep in ("all", "last"):
        writing, _ = write(build(seeds=seeds, keep=keep), Scripted(some), tmp_path / keep)
        assert writing.left_out and len(writing.rows) > 8
        lineage_is_complete(writing)
        for row in writing.rows:
            earlier = [
                r for r in [*writing.rows, *writing.left_out]
                if r["original"] == row["original"] and r["round"] <= row["round"]
                and ("reason" not in r or r["reason"].startswith("evolved further"))
            ]  # fmt: skip
            assert row["evolutions"] == len(earlier)


def hash_of(text: str) -> int:
    return random.Random(text).randrange(1000)


def test_the_last_of_each_seed(seeds: str, tmp_path: Path) -> None:
    writing, _ = write(build(seeds=seeds, keep="last"), Scripted(strong), tmp_path / "log")
    assert len(writing.rows) == 12 and {row["round"] for row in writing.rows} == {4}
    assert writing.reasons == {"evolved further": 36}


PLANTED = {
    "unchanged": ("evolve", "Tell me of river 0."),
    "leaked prompt": ("evolve", "Tell me, as the given prompt says, of river 0."),
    "no information gain": ("compare", "Equal"),
    "no judgement": ("compare", "Rivers are long"),
    "refusal": ("respond", "I am sorry, I know no rivers."),
    "no content": ("respond", "... and the?"),
    "unfit": ("evolve", "UNFIT too long for the model"),
    "cut off": ("evolve", "CUT tell me of river 0 and of"),
    "empty": ("evolve", "  \n"),
    "judge unfit": ("compare", "UNFIT too long for the model"),
    "response unfit": ("respond", "UNFIT refused by the server"),
    "response cut off": ("respond", "CUT it is long and"),
    "response empty": ("respond", ""),
}
CALLS = {"evolve": 1, "compare": 2, "respond": 3}


@pytest.mark.parametrize("reason", PLANTED)
def test_what_fails_is_left_out_once_and_goes_on_unevolved(
    seeds: str, tmp_path: Path, reason: str
) -> None:
    kind, text = PLANTED[reason]
    seen: list[Request] = []

    def fails_in_round_one(request: Request) -> str:
        if kind_of(request) == "evolve" and seed_0(request):
            seen.append(request)
        return text if kind_of(request) == kind and seed_0(request) and len(seen) == 1 else (
            strong(request)
        )  # fmt: skip

    writing, _ = write(build(seeds=seeds), Scripted(fails_in_round_one), tmp_path / "log")
    assert writing.reasons == {reason: 1}
    [lost] = writing.left_out
    assert lost["round"] == 1 and lost["original"] == "seed-0" and lost["parents"] == ["seed-0"]
    assert len(lost["calls"]) == CALLS[kind], "nothing is paid after the first reason"
    assert len(writing.rows) == 12 * 4 - 1
    assert given_in(seen[1]) == given_in(seen[0]) == "Tell me of river 0.", "it came back unevolved"
    assert seen[1].seed != seen[0].seed
    second = next(r for r in writing.rows if r["original"] == "seed-0" and r["round"] == 2)
    assert second["parents"] == ["seed-0"] and second["evolutions"] == 1


def test_a_model_that_always_fails_leaves_every_attempt(seeds: str, tmp_path: Path) -> None:
    writing, stopped = write(
        build(seeds=seeds), Scripted(but("compare", "Equal")), tmp_path / "log"
    )
    assert not writing.rows and stopped is None
    assert writing.reasons == {"no information gain": 48}
    assert {row["given"] for row in writing.left_out} == {
        f"Tell me of river {i}." for i in range(12)
    }


def test_rules_can_be_chosen(seeds: str, tmp_path: Path) -> None:
    backend = Scripted(but("respond", "Sorry."))
    writing, _ = write(build(seeds=seeds, rules=[]), backend, tmp_path / "log")
    assert len(writing.rows) == 48 and not any(kind_of(r) == "compare" for r in backend.asked)
    talk = but("evolve", "How can I assist you?")
    writing, _ = write(
        build(seeds=seeds, rules=["assistant_talk"]), Scripted(talk), tmp_path / "talk"
    )
    assert writing.reasons == {"assistant talk": 48}


def test_the_six_operations_are_drawn_evenly(tmp_path: Path) -> None:
    path = tmp_path / "many.jsonl"
    tasks = [{"instruction": f"Do thing {i}.", "output": "x"} for i in range(300)]
    path.write_text("".join(json.dumps(task) + "\n" for task in tasks))
    backend = Scripted(strong)
    writing, _ = write(build(seeds=str(path), rules=[]), backend, tmp_path / "log")
    drawn = Counter(row["operation"] for row in writing.rows)
    assert set(drawn) == set(OPERATIONS) and drawn.total() == 1200
    assert chisquare(list(drawn.values())).pvalue > 0.01
    forms = Counter(r["data_format"] for r in writing.rows if "data_format" in r)
    assert len(forms) == 6 and chisquare(list(forms.values())).pvalue > 0.01
    asked = Counter(operation_of(r) for r in backend.asked if kind_of(r) == "evolve")
    assert asked == drawn, "what rows say is what was asked"


def test_weights(seeds: str, tmp_path: Path) -> None:
    method = build(seeds=seeds, weights={"reasoning": 1, "breadth": 1})
    writing, _ = write(method, Scripted(strong), tmp_path / "log")
    assert {row["operation"] for row in writing.rows} == {"reasoning", "breadth"}


def test_as_many_rows_as_are_wanted(seeds: str, tmp_path: Path) -> None:
    backend = Scripted(strong)
    writing, _ = write(build(seeds=seeds, rows=10), backend, tmp_path / "log", window=8)
    assert len(writing.rows) == 10
    assert len(backend.asked) <= 3 * 4 * 3, "three chains bring 12 rows"
    writing, _ = write(build(seeds=seeds, rows=500), Scripted(strong), tmp_path / "many")
    assert len(writing.rows) == 48 and "all 12 seeds were used up at 48 of 500" in writing.notes[1]


def test_the_result_does_not_depend_on_who_answers_first(seeds: str, tmp_path: Path) -> None:
    def some(request: Request) -> str:
        if kind_of(request) == "compare" and hash_of(asked_of(request)) % 2:
            return "Equal"
        return strong(request)

    found = []
    for order in (None, 1, 2):
        backend = Scripted(some, order)
        writing, _ = write(build(seeds=seeds, rows=17), backend, tmp_path / str(order))
        found.append(json.dumps([writing.rows, writing.left_out]))
    assert len(set(found)) == 1


def test_made_again_from_the_log_without_a_model(seeds: str, tmp_path: Path) -> None:
    first, _ = write(build(seeds=seeds), Scripted(strong), tmp_path / "log")

    def nobody(request: Request) -> str:
        raise AssertionError("asked again")

    again, _ = write(build(seeds=seeds), Scripted(nobody), tmp_path / "log")
    assert (again.rows, again.left_out) == (first.rows, first.left_out)
    assert again.session.tally.calls == 0


def test_a_budget_stops_and_the_next_goes_on_from_there(seeds: str, tmp_path: Path) -> None:
    whole, _ = write(build(seeds=seeds), Scripted(strong), tmp_path / "whole", window=2)
    part, stopped = write(
        build(seeds=seeds), Scripted(strong), tmp_path / "log", window=2,
        budget=BudgetSection(calls=50),
    )  # fmt: skip
    assert stopped and "50 calls" in stopped
    assert 0 < len(part.rows) < 48 and part.rows == whole.rows[: len(part.rows)]
    backend = Scripted(strong)
    rest, _ = write(build(seeds=seeds), backend, tmp_path / "log", window=2)
    assert rest.rows == whole.rows and len(backend.asked) == 48 * 3 - 50


SEEDS = {
    "questions.jsonl": [{"instruction": "Name a river.", "input": ""}, {"instruction": "Why?"}],
    "inputs.jsonl": [{"instruction": "Name a", "input": "river."}, {"instruction": "Why?"}],
    "bare.jsonl": [{"instruction": "Name a river."}, {"instruction": "Why?"}],
    "turns.jsonl": [
        {"messages": [{"role": "system", "content": "Be kind."},
                      {"role": "user", "content": "Name a river."},
                      {"role": "assistant", "content": "The Po."},
                      {"role": "user", "content": "Another."},
                      {"role": "assistant", "content": "The Oder."}]},
        {"messages": [{"role": "user", "content": "Why?"},
                      {"role": "assistant", "content": "So."}]},
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", SEEDS)
def test_seeds_need_no_answers(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text("".join(json.dumps(row) + "\n" for row in SEEDS[name] * 2))
    texts = [" ".join(seed.text.split()) for seed in read_seeds(str(path))]
    assert texts == ["Name a river.", "Why?"]


def test_a_column_of_questions(tmp_path: Path) -> None:
    path = tmp_path / "questions.csv"
    path.write_text("question\nWhich river is the longest in Asia?\nWhy do rivers bend?\n")
    texts = [seed.text for seed in read_seeds(str(path))]
    assert texts == ["Which river is the longest in Asia?", "Why do rivers bend?"]


def test_inputs_are_asked_with_their_instructions(tmp_path: Path) -> None:
    path = tmp_path / "seeds.json"
    path.write_text(json.dumps([
        {"instruction": "Sum up.", "input": "A long text.", "output": "Text."},
        {"instruction": "Sum up.", "input": "A long text.", "output": "The same again."},
        {"instruction": "Sum up.", "input": "Another text.", "output": "Text."},
    ]))  # fmt: skip
    backend = Scripted(strong)
    writing, _ = write(build(seeds=str(path), rounds=1), backend, tmp_path / "log")
    assert len(writing.rows) == 2
    assert {given_in(r) for r in backend.asked if kind_of(r) == "evolve"} == {
        "Sum up.\n\nA long text.", "Sum up.\n\nAnother text."}  # fmt: skip


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"rounds": 0}, "rounds is 0, expected a whole number of at least 1"),
        ({"rows": True}, "rows is True"),
        ({"temperature": 3}, "temperature is 3, expected a number from 0 to 2"),
        ({"top_p": 0}, "top_p is 0"),
        ({"weights": {"deepning": 1}}, "Did you mean 'deepening'?"),
        ({"weights": {"deepening": -1}}, "weights.deepening is -1"),
        ({"weights": {"deepening": 0}}, "no operation has a weight above 0"),
        ({"weights": [1]}, "expected numbers for"),
        ({"rules": ["refusals"]}, "Did you mean 'refusal'?"),
        ({"rules": "refusal"}, "expected a list of"),
        ({"keep": "lst"}, "Did you mean 'last'?"),
        ({"seeds": 3}, "expected a file"),
        ({"seeds": "nowhere.jsonl"}, "nowhere.jsonl: no such file"),
    ],
)
def test_mistakes_are_told(seeds: str, options: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=re.escape(said)):
        build(**{"seeds": seeds, **options})


def test_all_mistakes_are_told_at_once(seeds: str) -> None:
    with pytest.raises(DataError) as told:
        build(seeds=seeds, rounds=0, keep="first", weights={"x": 1})
    assert len(str(told.value).splitlines()) == 3


def test_seeds_that_ask_nothing_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "empty.jsonl"
    path.write_text("")
    with pytest.raises(DataError, match="empty"):
        build(seeds=str(path))
    path.write_text('{"instruction": "Do this.", "output": "x"}\nnot json\n')
    assert build(seeds=str(path))
