"""Budgets: read as people write them, never exceeded, and stopped at in the same place."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest
from asked_models import Model, asks, said, section, settle
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.errors import LuthierError
from luthier.inference.budget import BudgetSpent, Cost, Purse, parse_budget
from luthier.inference.call_log import CallLog
from luthier.inference.config import BudgetSection, PricesSection
from luthier.inference.request import Completion, Request
from luthier.inference.session import Session, asking
from luthier.inference.window import in_order

PRICES = PricesSection(input=1.0, output=2.0)
PESOS = PricesSection(input=1.0, output=2.0, currency="MXN")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("500 calls", {"calls": 500}), ("1 call", {"calls": 1}), ("500calls", {"calls": 500}),
        ("1,500 requests", {"calls": 1500}), ("10_000 Calls", {"calls": 10_000}),
        ("200k tokens", {"tokens": 200_000}), ("200ktokens", {"tokens": 200_000}),
        ("1.5M tokens", {"tokens": 1_500_000}), ("200 k tokens", {"tokens": 200_000}),
        (" 12 tokens ", {"tokens": 12}), ("2.50", {"money": 2.5}), ("2.50 USD", {"money": 2.5}),
        ("2.50usd", {"money": 2.5}), ("3 money", {"money": 3.0}), ("1k", {"money": 1000.0}),
        ("1,000,000.5 usd", {"money": 1_000_000.5}),
    ],
)  # fmt: skip
def test_budgets_as_people_write_them(text: str, expected: dict[str, float]) -> None:
    found = parse_budget(text, PRICES)
    assert found.model_dump(exclude_none=True) == expected


def test_a_currency_that_begins_as_a_million_does() -> None:
    assert parse_budget("500 MXN", PESOS).money == 500
    assert parse_budget("500", PESOS).money == 500


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "expected a number"), ("calls", "expected a number"), ("-5 calls", "expected a"),
        ("2,50 USD", "a point before decimals"), ("1,5 calls", "a point before decimals"),
        ("0 calls", "allows nothing"), ("0.5 calls", "allows nothing"), ("0", "allows nothing"),
        ("5 callz", "Did you mean 'calls'"), ("5 EUR", "unknown unit 'EUR'"),
        ("5 minutes", "unknown unit 'minutes'"), ("5 calls 6", "expected a number"),
        ("1e5 tokens", "expected a number"), ("nan", "expected a number"),
    ],
)  # fmt: skip
def test_what_is_no_budget(text: str, words: str) -> None:
    with pytest.raises(LuthierError) as caught:
        parse_budget(text, PRICES)
    assert words in str(caught.value)


def test_money_needs_prices(tmp_path: Path) -> None:
    with pytest.raises(LuthierError, match=r"llm: \{prices: \{input: 0\.15"):
        parse_budget("2 USD", None)
    with (
        CallLog(tmp_path / "calls.jsonl") as log,
        pytest.raises(LuthierError, match="needs the prices"),
    ):
        Session(section(), log, budget=BudgetSection(money=1.0), backend=Model())


def test_what_calls_cost() -> None:
    assert Cost.of(1_000_000, 500_000, PRICES) == Cost(1, 1_000_000, 500_000, 2.0)
    assert Cost.of(7, 8, None).money == 0
    purse = Purse(None)
    purse.begin("source", Cost.of(1_000_000, 0, PRICES, calls=7))
    purse.begin("source", Cost.of(1_000_000, 0, PRICES, calls=7))
    purse.pay(Cost.of(0, 1_000_000, PRICES))
    assert purse.cost == 3.0 and purse.spent.calls == 8, "earlier attempts count once"


# --- sessions with a budget --------------------------------------------------------------------


async def ask_all(
    log: CallLog, model: Model, words: list[str], *, budget: BudgetSection | Purse, of: str = ""
) -> tuple[list[str | None], Session]:
    """Ask many at once; their answers in order, None where the budget had no room."""
    session = Session(section(), log, budget=budget, backend=model, purpose=of)
    async with asking(session):
        found = await asyncio.gather(*(session.ask(asks(w)) for w in words), return_exceptions=True)
    for one in found:
        assert isinstance(one, (Completion, BudgetSpent)), one
    return [one.text if isinstance(one, Completion) else None for one in found], session


def words(count: int) -> list[str]:
    return [f"question {i:03}" for i in range(count)]


def test_calls_stop_where_the_budget_does(tmp_path: Path) -> None:
    model = Model(lambda request, _: said(f"re: {request.text}"))
    with CallLog(tmp_path / "calls.jsonl") as log:
        found, session = asyncio.run(ask_all(log, model, words(30), budget=BudgetSection(calls=12)))
        assert [text is not None for text in found] == [i < 12 for i in range(30)]
        assert len(model.sent) == len(log) == session.tally.calls == 12


def test_a_larger_budget_goes_on(tmp_path: Path) -> None:
    model = Model(lambda request, _: said(f"re: {request.text}"))
    path = tmp_path / "calls.jsonl"
    for calls in (5, 5, 4, 12, 12, 40):
        with CallLog(path) as log:
            already = len(log)
            found, session = asyncio.run(
                ask_all(log, model, words(30), budget=BudgetSection(calls=calls))
            )
            done = max(min(calls, 30), already)
            assert [text is not None for text in found] == [i < done for i in range(30)]
            assert session.tally.replayed == already
    assert sorted(model.sent) == words(30), "nothing is asked twice"


@given(
    st.integers(0, 1000), st.integers(1, 40), st.integers(300, 3000),
    st.sampled_from(["tokens", "money"]),
)  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_it_stops_in_the_same_place_whoever_answers_first(
    tmp_path_factory: pytest.TempPathFactory, seed: int, at_once: int, limit: int, kind: str
) -> None:
    """Never exceeded at any instant, and no order of answers changes who is refused."""

    def cost(text: str) -> int:
        return random.Random(text).randrange(0, 9)  # at most max_tokens

    async def run(seed: int, at_once: int) -> list[str | None]:
        chance, model = random.Random(seed), Model()
        budget = BudgetSection(tokens=limit) if kind == "tokens" else None
        # A token costs 1 / 1e6 each way, so that both budgets mean the same.
        prices = PricesSection(input=1, output=1)
        budget = budget or BudgetSection(money=limit / 1e6)
        path = tmp_path_factory.mktemp("budget") / "calls.jsonl"
        with CallLog(path) as log:
            session = Session(
                section(max_concurrency=at_once, prices=prices), log, budget=budget, backend=model
            )
            session.pace.limit = float(at_once)
            async with asking(session):
                tasks = [asyncio.ensure_future(session.ask(asks(w))) for w in words(30)]
                while not all(task.done() for task in tasks):
                    await settle()
                    if model.waiting:
                        name = chance.choice(sorted(model.waiting))
                        model.reply(name, said(name, prompt_tokens=3, completion_tokens=cost(name)))
                    used = session.purse.spent
                    assert used.prompt_tokens + used.completion_tokens <= limit
            spent = sum(t.exception() is None for t in tasks)
            assert len(log) == spent
        return [None if task.exception() else task.result().text for task in tasks]

    first = asyncio.run(run(seed, at_once))
    one_by_one = asyncio.run(run(0, 1))
    assert first == one_by_one
    refused = [text is None for text in first]
    assert refused == sorted(refused), "nothing slips in behind the first that is refused"
    used, most = 0, len("question 000") + 64 + 8
    for name, text in zip(words(30), first, strict=True):
        assert (text is not None) == (used + most <= limit)
        if text is None:
            break
        used += 3 + cost(name)


def test_who_waits_for_room_can_be_cancelled() -> None:
    async def run() -> None:
        job = Purse(BudgetSection(calls=2)).job
        await job.reserve(Cost(1))
        await job.reserve(Cost(1))
        waiting = [asyncio.ensure_future(job.reserve(Cost(1))) for _ in range(2)]
        await settle()
        waiting[0].cancel()
        await settle()
        assert waiting[0].cancelled() and not waiting[1].done()
        job.settle(Cost(1))  # it failed, and was not paid
        await settle()
        assert waiting[1].done() and waiting[1].exception() is None
        third = asyncio.ensure_future(job.reserve(Cost(1)))
        await settle()
        job.settle(Cost(1))
        third.cancel()  # let in and cancelled at once
        await settle()
        await asyncio.wait_for(job.reserve(Cost(1)), 5)

    asyncio.run(run())


def test_nothing_cheaper_slips_in_behind_what_was_refused(tmp_path: Path) -> None:
    """Else what is asked would depend on what answers happened to cost."""

    async def run(log: CallLog) -> list[bool]:
        model = Model(lambda request, _: said(request.text))
        session = Session(section(), log, budget=BudgetSection(tokens=450), backend=model)
        sizes = (8, 8, 400, 8, 8)
        asked = [asks(str(i), max_tokens=most) for i, most in enumerate(sizes)]
        async with asking(session):
            found = await asyncio.gather(*map(session.ask, asked), return_exceptions=True)
            with pytest.raises(BudgetSpent):
                await session.ask(asks("later"))
        return [isinstance(one, Completion) for one in found]

    with CallLog(tmp_path / "calls.jsonl") as log:
        assert asyncio.run(run(log)) == [True, True, False, False, False]


def another() -> Model:
    model = Model(lambda request, _: said(request.text))
    model.model = {"backend": "test", "model": "another"}
    return model


def test_several_sources_spend_from_one_purse(tmp_path: Path) -> None:
    """Also when the command is repeated: nothing more is paid then."""
    for _ in range(3):
        purse = Purse(BudgetSection(calls=5))
        with CallLog(tmp_path / "calls.jsonl") as log:
            model = Model(lambda request, _: said(request.text))
            first, _ = asyncio.run(ask_all(log, model, words(3), budget=purse, of="1-task"))
            second, _ = asyncio.run(ask_all(log, another(), words(3), budget=purse, of="2-task"))
            assert len(log) == 5
        assert all(first) and [bool(text) for text in second] == [True, True, False]


def test_calls_of_another_source_do_not_count(tmp_path: Path) -> None:
    """The log is that of the run; a budget of one source is about its own calls."""
    for _ in range(2):
        with CallLog(tmp_path / "calls.jsonl") as log:
            model = Model(lambda request, _: said(request.text))
            asyncio.run(ask_all(log, model, words(6), budget=Purse(None), of="1-task"))
            budget = BudgetSection(calls=4)
            found, session = asyncio.run(
                ask_all(log, another(), words(6), budget=budget, of="2-task")
            )
            assert log.spent("2-task") == (4, 12, 20) and len(log) == 10
        assert [bool(text) for text in found] == [i < 4 for i in range(6)]
        assert session.purse.spent.calls == 4


# --- jobs of several calls ---------------------------------------------------------------------


class Jobs:
    """Jobs whose questions depend on what was taken before, answered in any order.

    Args:
        log: where answers are kept.
        limits: the budget's.
        seed: of the order in which requests are answered.
        rows: how many jobs are wanted.
        window: how many are begun ahead.
    """

    def __init__(
        self, log: Path, limits: dict[str, int], seed: int, *, rows: int = 25, window: int = 6
    ) -> None:
        self.path, self.limits, self.chance = log, limits, random.Random(seed)
        self.rows, self.window, self.begun = rows, window, 0
        self.taken: list[tuple[str, ...]] = []
        self.model = Model()

    def propose(self) -> Coroutine[Any, Any, tuple[str, ...]]:
        self.begun += 1
        name = f"{self.begun} after {self.taken[-1][0] if self.taken else 'none'}"[:20]
        return self.job(name, random.Random(name))

    async def job(self, name: str, chance: random.Random) -> tuple[str, ...]:
        found = [name]
        for step in range(chance.choice((1, 1, 2, 3, 5))):
            most = chance.choice((8, 8, 30))
            asked = [f"{name}, step {step}{part}" for part in chance.choice(("a", "ab"))]
            together = [self.session.ask(asks(words, max_tokens=most)) for words in asked]
            found += [one.text for one in await asyncio.gather(*together)]
        return tuple(found)

    def run(self, answers: int | None = None) -> str | None:
        """Let it come to its end, or be killed after so many answers; what stopped it."""
        with CallLog(self.path) as log:
            return asyncio.run(self._run(log, answers))

    async def _run(self, log: CallLog, answers: int | None) -> str | None:
        self.model = Model()
        prices = PricesSection(input=1, output=1)
        limits = {k: v / 1e6 if k == "money" else v for k, v in self.limits.items()}
        self.session = Session(
            section(prices=prices), log, budget=BudgetSection.model_validate(limits),
            backend=self.model,
        )  # fmt: skip

        async def all_jobs() -> str | None:
            async with asking(self.session):
                try:
                    await in_order(
                        self.propose, self.taken.append, window=self.window,
                        finished=lambda: len(self.taken) >= self.rows, purse=self.session.purse,
                    )  # fmt: skip
                except BudgetSpent as spent:
                    return str(spent)
            return None

        task = asyncio.ensure_future(all_jobs())
        while not task.done():
            for _ in range(self.chance.randrange(1, 9)):
                await asyncio.sleep(0)
            if self.model.waiting and answers == 0:
                break  # killed: nobody waits for what is on its way
            if self.model.waiting and self.chance.random() < 0.7:
                name = self.chance.choice(sorted(self.model.waiting))
                used = random.Random(name).randrange(9)
                self.model.reply(name, said(name, prompt_tokens=3, completion_tokens=used))
                answers = None if answers is None else answers - 1
            assert "calls" not in self.limits or len(log) <= self.limits["calls"]
            assert log.prompt_tokens + log.completion_tokens <= min(
                self.limits.get(kind, 10**9) for kind in ("tokens", "money")
            )
        if task.done():
            return task.result()
        for _ in range(2):
            task.cancel()
            await settle()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        return None


LIMITS = st.one_of(
    st.builds(lambda n: {"calls": n}, st.integers(1, 80)),
    st.builds(lambda kind, n: {kind: n}, st.sampled_from(["tokens", "money"]),
              st.integers(90, 900)),
    st.builds(lambda n, m: {"calls": n, "tokens": m}, st.integers(1, 80), st.integers(90, 900)),
)  # fmt: skip


@given(st.integers(0, 10**6), st.integers(1, 9), LIMITS)
@settings(max_examples=60, deadline=None)
def test_results_and_cost_of_a_budget_depend_on_answers_alone(
    tmp_path_factory: pytest.TempPathFactory, seed: int, window: int, limits: dict[str, int]
) -> None:
    """Whoever answers first, killed or not, asked once or again; and a larger one goes on."""
    folder = tmp_path_factory.mktemp("jobs")

    def jobs(log: str, seed: int, limits: dict[str, int]) -> Jobs:
        return Jobs(folder / log, limits, seed, window=window)

    first = jobs("first", seed, limits)
    stopped = first.run()
    assert (stopped is None) == (len(first.taken) >= first.rows)
    again = jobs("first", seed + 1, limits)
    assert again.run() == stopped
    assert (again.taken, again.model.sent) == (first.taken, []), "a repeated command pays nothing"
    other = jobs("other", seed + 2, limits)
    assert (other.run(), other.taken) == (stopped, first.taken), "in another order"
    for kill in range(3):
        jobs("killed", seed + kill, limits).run(answers=random.Random(seed).randrange(12))
    killed = jobs("killed", seed + 4, limits)
    assert (killed.run(), killed.taken) == (stopped, first.taken), "killed and repeated"

    larger = {kind: 2 * limit for kind, limit in limits.items()}
    at_once, goes_on = jobs("larger", seed, larger), jobs("other", seed + 5, larger)
    assert (goes_on.run(), goes_on.taken) == (at_once.run(), at_once.taken)
    assert at_once.taken[: len(first.taken)] == first.taken
    lines = (folder / "other").read_text().splitlines()
    assert len({json.loads(line)["key"] for line in lines}) == len(lines), "nothing is paid twice"


def test_a_budget_is_used_up_and_most_jobs_run_side_by_side(tmp_path: Path) -> None:
    jobs = Jobs(tmp_path / "log", {"calls": 400}, 0, rows=999, window=12)
    assert jobs.run() == "the budget of 400 calls is used up"
    assert len(jobs.model.sent) == 400 and jobs.model.most_in_flight > 12


def test_a_job_waits_for_no_other_that_asks_the_same(tmp_path: Path) -> None:
    """Behind the first, whose turn it is not yet, or before it."""

    async def run(log: CallLog) -> list[str]:
        model = Model(lambda request, _: said(request.text))
        budget, taken = BudgetSection(calls=3), list[str]()
        session = Session(section(), log, budget=budget, backend=model)
        names = iter(["ab", "ba", "ab", "c", "d", *"efgh"])

        async def job(name: str) -> str:
            return "".join([(await session.ask(asks(part))).text for part in name])

        async with asking(session):
            with pytest.raises(BudgetSpent):
                await asyncio.wait_for(
                    in_order(lambda: job(next(names)), taken.append, window=4, purse=session.purse),
                    5,
                )
        assert model.sent == ["a", "b", "c"], "asked again it costs nothing"
        return taken

    with CallLog(tmp_path / "calls.jsonl") as log:
        assert asyncio.run(run(log)) == ["ab", "ba", "ab", "c"]


def test_what_failed_for_good_gives_its_room_back(tmp_path: Path) -> None:
    def answer(request: Request, times: int) -> Completion | BaseException:
        del times
        return ValueError("a mistake of ours") if "0" in request.text else said(request.text)

    async def run(log: CallLog) -> None:
        budget = BudgetSection(calls=2)
        async with asking(Session(section(), log, budget=budget, backend=Model(answer))) as session:
            with pytest.raises(ValueError, match="a mistake of ours"):
                await session.ask(asks("0"))
            await session.ask(asks("1"))
            await session.ask(asks("2"))
            with pytest.raises(BudgetSpent, match="the budget of 2 calls is used up"):
                await session.ask(asks("3"))

    with CallLog(tmp_path / "calls.jsonl") as log:
        asyncio.run(run(log))
