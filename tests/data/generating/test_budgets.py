"""Where a budget stops a method: the same rows whoever answers first, and nothing paid again."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from scripted import Scripted, write
from self_instruct_answers import strong as instructs

from luthier.data.generating.writing import Writing
from luthier.data.generators.self_instruct import build as self_instruct
from luthier.data.generators.task import build as task
from luthier.inference.budget import Purse
from luthier.inference.config import BudgetSection
from luthier.inference.request import Request

LABELS = ("joy", "anger")
WORDS = [f"{a}{b}" for a in "bdfgklmnprstv" for b in ("ana", "oki", "ulo", "este", "irra")]
ORDERS = (None, 1, 2)


def moody(request: Request) -> str:
    """Writes what it is asked for; one in four votes is against it."""
    asked = request.messages[-1].content
    chance = random.Random(f"{request.seed} {asked}")
    if "Answer with one of" in request.messages[0].content:
        right = next((label for label in LABELS if label in asked), "joy")
        return right if chance.random() < 0.75 else "anger"
    found = re.search(r"Label: (\w+)", asked)
    return " ".join([found.group(1) if found else "joy", *chance.sample(WORDS, 8)])


@pytest.fixture(params=["task", "self_instruct", "self_instruct: original"])
def method(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., Any]:
    """Writes 40 rows into a log, in some order of the answers."""
    seeds = tmp_path / "seeds.csv"
    seeds.write_text(
        "input,output\nthe sun is out again,joy\nour team won today,joy\n"
        "they cancelled the train,anger\nhe parked across my gate,anger\n"
    )

    def run(
        log: str, order: int | None = None, seed: int = 1, purse: Purse | None = None, **budget: int
    ) -> tuple[Writing, str | None, int]:
        if "tokens" in budget:  # prompts of Self-Instruct are long
            budget["tokens"] = 1_500 if request.param == "task" else 5_000
        backend = Scripted(moody if request.param == "task" else instructs, order)
        if request.param == "task":
            built = task(
                description="Tell the mood.", seeds=str(seeds), rows=40, votes=3,
                output_first=0.5, hard_negatives=0.2,
            )  # fmt: skip
        else:
            original = {"num_instructions": 30, "compat": "original"}
            built = self_instruct(**original if "original" in request.param else {"rows": 40})
        writing, stopped = write(
            built, backend, tmp_path / log, labels=LABELS, window=8, seed=seed,
            budget=purse or (BudgetSection(**budget) if budget else None),
        )  # fmt: skip
        return writing, stopped, len(backend.asked)

    return run


BUDGETS = ({"calls": 31}, {"calls": 48}, {"tokens": 0})


@pytest.mark.parametrize("budget", BUDGETS)
def test_rows_do_not_depend_on_who_answers_first(
    method: Callable[..., Any], budget: dict[str, int]
) -> None:
    first, stopped, paid = method("log", **budget)
    assert stopped and paid <= budget.get("calls", paid)
    for order in ORDERS[1:]:
        other, why, others = method(f"log {order}", order, **budget)
        assert (other.rows, other.left_out, why) == (first.rows, first.left_out, stopped)
        assert others <= budget.get("calls", others)
    assert first.session.purse.spent.tokens <= 5_000
    if budget == {"calls": 48}:
        assert paid == 48 and len(first.rows) > 5, "all of it is used"


@pytest.mark.parametrize("budget", BUDGETS)
def test_repeated_it_pays_nothing_and_a_larger_one_goes_on(
    method: Callable[..., Any], budget: dict[str, int]
) -> None:
    for order in ORDERS:
        log = f"log {order}"
        first, stopped, paid = method(log, order, **budget)
        for again in range(2):
            other, why, more = method(log, again, **budget)
            assert (other.rows, other.left_out, why, more) == (
                first.rows, first.left_out, stopped, 0
            )  # fmt: skip
    whole, _, calls = method("whole")
    rest, stopped, more = method(log)
    assert stopped is None and rest.rows == whole.rows
    assert rest.rows[: len(first.rows)] == first.rows
    assert abs(paid + more - calls) <= 8 * 4, "what is on its way at the end differs, no more"


@pytest.mark.parametrize("order", ORDERS)
def test_what_came_to_its_end_asks_for_nothing_more(
    method: Callable[..., Any], order: int | None
) -> None:
    """Not even what was under way when the rows were complete."""
    first, stopped, _ = method("log", order)
    assert stopped is None
    for again in range(3):
        other, _, paid = method("log", again)
        assert (paid, other.rows, other.left_out) == (0, first.rows, first.left_out)


def test_cut_off_anywhere_it_ends_with_the_same_rows(method: Callable[..., Any]) -> None:
    """A log of which only some lines are left, as after a power cut."""
    budget = {"calls": 48}
    first, stopped, _ = method("log", **budget)
    path = first.session.log.path
    lines = path.read_bytes().splitlines(keepends=True)
    for cut in (1, 10, 33, len(lines) - 1):
        path.with_name("cut").write_bytes(b"".join(lines[:cut]))
        other, why, paid = method("cut", cut, **budget)
        assert (other.rows, other.left_out, why) == (first.rows, first.left_out, stopped)
        assert paid <= 48 - cut


@pytest.mark.parametrize("order", ORDERS)
def test_sources_that_share_a_budget(method: Callable[..., Any], order: int | None) -> None:
    """What the second may use depends on the answers of the first alone."""

    def run(log: str, order: int | None) -> list[Any]:
        purse = Purse(BudgetSection(calls=90))
        found = [method(f"{log} {i}", order, seed=i, purse=purse) for i in range(3)]
        assert purse.spent.calls <= 90 + 3 * 8, "and what was under way when one was complete"
        return [(writing.rows, stopped) for writing, stopped, _ in found]

    first = run("first", None)
    assert run("other", order) == first
    assert first[2][1], "the budget ends before the sources do"
