"""Windows: results do not depend on who answers first, and a failure stops in a known place."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Coroutine
from typing import Any

import pytest
from asked_models import settle
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.inference.window import each_in_order, in_order


class Answers:
    """Jobs that end when the test lets them, in an order that chance decides."""

    def __init__(self, seed: int) -> None:
        self.chance, self.waiting = random.Random(seed), dict[str, asyncio.Future[None]]()
        self.begun = list[str]()
        self.most = 0

    async def job(self, name: str, *, fails: bool = False, steps: int = 1) -> str:
        """One job that waits `steps` times."""
        self.begun.append(name)
        for step in range(steps):
            future = asyncio.get_running_loop().create_future()
            self.waiting[f"{name} {step}"] = future
            self.most = max(self.most, len(self.waiting))
            try:
                await future
            finally:
                self.waiting.pop(f"{name} {step}", None)
        if fails:
            raise ValueError(name)
        return name

    async def until(self, task: asyncio.Future[Any]) -> None:
        """Let jobs go on, one at a time, until a task is done."""
        while not task.done():
            await settle()
            if self.waiting and not task.done():
                self.waiting.pop(self.chance.choice(sorted(self.waiting))).set_result(None)


def written(seed: int, window: int, *, rows: int, fails_at: int | None = None) -> list[str]:
    """What a writer takes whose questions depend on what it took before."""

    async def run() -> list[str]:
        answers, taken, asked = Answers(seed), list[str](), 0

        def propose() -> Coroutine[Any, Any, str] | None:
            nonlocal asked
            asked += 1
            if asked > 3 * rows:
                return None
            name = f"{asked} after {taken[-1].split()[0] if taken else 0}"
            return answers.job(name, fails=asked == fails_at, steps=1 + asked % 3)

        job = in_order(propose, taken.append, window=window, finished=lambda: len(taken) >= rows)
        task = asyncio.ensure_future(job)
        await answers.until(task)
        assert answers.most <= window
        if fails_at is not None and fails_at <= rows:
            with pytest.raises(ValueError, match=f"^{fails_at} after"):
                task.result()
        else:
            task.result()
        await settle()
        assert len(asyncio.all_tasks()) == 1, "nothing goes on behind"
        return taken

    return asyncio.run(run())


@given(st.integers(0, 10**6), st.integers(1, 12), st.integers(1, 25), st.none() | st.integers(1, 9))
@settings(max_examples=60, deadline=None)
def test_results_do_not_depend_on_who_answers_first(
    seed: int, window: int, rows: int, fails_at: int | None
) -> None:
    first = written(seed, window, rows=rows, fails_at=fails_at)
    assert first == written(seed + 1, window, rows=rows, fails_at=fails_at)
    assert [int(name.split()[0]) for name in first] == list(range(1, len(first) + 1))
    stops = rows if fails_at is None or fails_at > rows else fails_at - 1
    assert len(first) == stops
    for name in first:
        asked, after = int(name.split()[0]), int(name.split()[2])
        assert after == max(0, asked - window), "made when the one a window before was taken"


def test_jobs_run_out() -> None:
    async def run() -> list[int]:
        taken, left = list[int](), iter(range(5))

        def propose() -> Coroutine[Any, Any, int] | None:
            number = next(left, None)
            return None if number is None else _same(number)

        await in_order(propose, taken.append, window=3)
        return taken

    assert asyncio.run(run()) == [0, 1, 2, 3, 4]


async def _same(number: int) -> int:
    await asyncio.sleep(0)
    return number


def test_nothing_is_proposed_where_nothing_is_wanted() -> None:
    async def run() -> None:
        await in_order(pytest.fail, pytest.fail, window=3, finished=lambda: True)  # type: ignore[arg-type]

    asyncio.run(run())


def test_who_takes_may_fail() -> None:
    async def run() -> None:
        answers = Answers(0)
        names = iter("abcdef")

        def take(name: str) -> None:
            raise ZeroDivisionError(name)

        task = asyncio.ensure_future(in_order(lambda: answers.job(next(names)), take, window=3))
        await answers.until(task)
        with pytest.raises(ZeroDivisionError, match="a"):
            task.result()
        assert answers.begun == ["a", "b", "c"] and not answers.waiting

    asyncio.run(run())


def test_a_cancelled_window_cancels_its_jobs() -> None:
    async def run() -> None:
        answers, names = Answers(0), iter("abcdef")
        task = asyncio.ensure_future(in_order(lambda: answers.job(next(names)), print, window=3))
        await settle()
        assert len(answers.waiting) == 3
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not answers.waiting and len(asyncio.all_tasks()) == 1

    asyncio.run(run())


# --- each item by itself -----------------------------------------------------------------------


@given(st.integers(0, 10**6), st.integers(1, 8), st.integers(0, 20))
@settings(max_examples=40, deadline=None)
def test_items_come_in_their_order(seed: int, window: int, count: int) -> None:
    async def run() -> None:
        answers, taken = Answers(seed), list[int]()
        drawn: list[int] = []

        def items() -> Any:
            for i in range(count):
                drawn.append(i)
                assert i < len(taken) + window + 1, "taken as the window moves on"
                yield i

        async def work() -> None:
            found = each_in_order(items(), lambda i: answers.job(str(i)), window=window)
            async for item, name in found:
                assert name == str(item)
                taken.append(item)

        task = asyncio.ensure_future(work())
        await answers.until(task)
        task.result()
        assert taken == drawn == list(range(count)) and answers.most <= window

    asyncio.run(run())


def test_an_item_that_fails_stops_it_there() -> None:
    async def run() -> None:
        answers, taken = Answers(1), list[int]()

        async def work() -> None:
            found = each_in_order(range(9), lambda i: answers.job(str(i), fails=i == 4), window=3)
            async for item, _ in found:
                taken.append(item)

        task = asyncio.ensure_future(work())
        await answers.until(task)
        with pytest.raises(ValueError, match="4"):
            task.result()
        await settle()
        assert taken == [0, 1, 2, 3] and len(asyncio.all_tasks()) == 1

    asyncio.run(run())


def test_who_looks_no_further_leaves_nothing_behind() -> None:
    async def run() -> None:
        answers = Answers(1)

        async def work() -> None:
            found = each_in_order(range(9), lambda i: answers.job(str(i)), window=3)
            try:
                async for item, _ in found:
                    if item == 2:
                        break
            finally:
                await found.aclose()  # type: ignore[attr-defined]

        task = asyncio.ensure_future(work())
        await answers.until(task)
        task.result()
        assert not answers.waiting and len(asyncio.all_tasks()) == 1

    asyncio.run(run())
