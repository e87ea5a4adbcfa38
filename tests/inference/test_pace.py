"""The limit on requests in flight: it follows the server, and nobody waits for ever."""

from __future__ import annotations

import asyncio
import random

import pytest
from asked_models import settle
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.inference import pace as pacing
from luthier.inference.pace import EASED, FIRST, Pace


class Clock:
    """Time that passes when the test says so, for a pace and its loop."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(pacing.time, "monotonic", lambda: self.now)


def filled(pace: Pace, rounds: int) -> None:
    """Answers to as many requests as may be in flight, some rounds long."""
    for _ in range(rounds):
        size = int(pace.limit)
        for _ in range(size):
            pace.in_flight = int(pace.limit)
            pace.went_well()
    pace.in_flight = 0


def test_it_doubles_each_round_until_it_is_pushed_back() -> None:
    pace = Pace(1000)
    assert pace.limit == FIRST
    filled(pace, 3)
    assert pace.limit == FIRST * 8
    pace.pushed_back(0)
    assert pace.limit == FIRST * 4
    filled(pace, 1)
    assert FIRST * 4 < pace.limit <= FIRST * 4 + 1, "then it grows by one each round"


def test_it_is_eased_once_for_all_that_were_in_flight() -> None:
    pace = Pace(100)
    filled(pace, 2)
    for _ in range(20):
        pace.pushed_back(0)
    assert pace.limit == FIRST * 2
    pace.pushed_back(1)
    assert pace.limit == FIRST * 2 * EASED
    for i in range(2, 100):
        pace.pushed_back(i)
    assert pace.limit == 1.0


def test_it_lingers_below_where_it_was_pushed_back() -> None:
    pace = Pace(100)
    filled(pace, 2)
    pace.pushed_back(0)
    pace.pushed_back(1)
    knee, limits = 16, []
    assert pace.limit == knee * EASED
    for _ in range(24):
        filled(pace, 1)
        limits.append(pace.limit)
    close = sum(knee - 1 <= limit < knee + 1 for limit in limits)
    assert close >= 12, "two steps take it some 16 rounds"
    assert limits[-1] > knee + 1, "beyond, a server that now takes more is followed as before"


def test_it_never_exceeds_what_was_asked_for() -> None:
    pace = Pace(10)
    filled(pace, 5)
    assert pace.limit == 10
    assert Pace(3).limit == 3


def test_it_does_not_grow_where_less_is_in_flight_than_may_be() -> None:
    """Else a long quiet time would end in a burst that the server never agreed to."""
    pace = Pace(100)
    pace.in_flight = 3
    for _ in range(50):
        pace.went_well()
    assert pace.limit == FIRST


def test_a_server_that_comes_back_is_approached_anew() -> None:
    pace = Pace(100)
    filled(pace, 2)
    pace.lost(0.0)
    assert pace.limit == 1
    filled(pace, 4)
    assert pace.limit == 16, "in a few rounds, not one by one"


def test_nothing_is_sent_while_it_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)

    async def run() -> None:
        pace, loop = Pace(4), asyncio.get_running_loop()
        timers: list[float] = []

        def call_later(delay: float, callback: object, *args: object) -> asyncio.TimerHandle:
            timers.append(delay)
            return asyncio.TimerHandle(0, lambda: None, (), loop)

        monkeypatch.setattr(loop, "call_later", call_later)
        pace.hold(5)
        entered: list[int] = []

        async def one(i: int) -> None:
            async with pace.slot():
                entered.append(i)

        tasks = [asyncio.ensure_future(one(i)) for i in range(3)]
        await settle()
        assert entered == [] and timers == [5]
        pace.hold(20)
        clock.now += 6
        pace._on_time()  # what the loop does after 5 seconds
        await settle()
        assert entered == [] and timers == [5, 14]
        clock.now += 14
        pace._on_time()
        await asyncio.gather(*tasks)
        assert entered == [0, 1, 2]

    asyncio.run(run())


def test_who_comes_first_is_first() -> None:
    async def run() -> None:
        pace, entered, gates = Pace(2), list[int](), dict[int, asyncio.Event]()

        async def one(i: int) -> None:
            gates[i] = asyncio.Event()
            async with pace.slot():
                entered.append(i)
                await gates[i].wait()

        tasks = []
        for i in range(6):
            tasks.append(asyncio.ensure_future(one(i)))
            await settle()
        assert entered == [0, 1]
        for i in (1, 0, 3, 2, 5, 4):
            gates[i].set()
            late = asyncio.ensure_future(one(10 + i))  # arrives while a slot is handed over
            await settle()
            gates[10 + i].set()
            tasks.append(late)
        await asyncio.gather(*tasks)
        assert entered[:6] == [0, 1, 2, 3, 4, 5]
        assert pace.in_flight == 0

    asyncio.run(run())


def test_who_is_let_in_and_cancelled_at_once_gives_the_slot_back() -> None:
    async def run() -> None:
        pace, entered = Pace(1), list[str]()

        async def one(name: str, gate: asyncio.Event) -> None:
            async with pace.slot():
                entered.append(name)
                await gate.wait()

        gates = {name: asyncio.Event() for name in "abc"}
        tasks = {name: asyncio.ensure_future(one(name, gate)) for name, gate in gates.items()}
        await settle()
        pace.in_flight -= 1  # what a slot does at its end: b is let in, and has not run yet
        pace._let_in()
        tasks["b"].cancel()
        await settle()
        assert entered == ["a", "c"], "the slot is handed on"
        pace.in_flight += 1
        gates["a"].set()
        gates["c"].set()
        await asyncio.gather(*tasks.values(), return_exceptions=True)
        assert pace.in_flight == 0 and tasks["b"].cancelled()

    asyncio.run(run())


def test_cancelled_waiters_are_passed_over() -> None:
    async def run() -> None:
        pace, gate, entered = Pace(1), asyncio.Event(), list[int]()

        async def one(i: int) -> None:
            async with pace.slot():
                entered.append(i)
                await gate.wait()

        tasks = [asyncio.ensure_future(one(i)) for i in range(4)]
        await settle()
        tasks[1].cancel()
        tasks[2].cancel()
        gate.set()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert entered == [0, 3]

    asyncio.run(run())


steps = st.lists(
    st.tuples(st.sampled_from(["enter", "leave", "cancel", "well", "back", "lost", "hold", "time"]),
              st.integers(0, 30)),
    max_size=60,
)  # fmt: skip


@given(steps, st.integers(1, 12))
@settings(max_examples=150, deadline=None)
def test_whatever_happens_nobody_waits_for_ever(actions: list[tuple[str, int]], most: int) -> None:
    """Enter, leave, cancel, push back and hold in any order: the limit holds, all get in."""

    async def run() -> None:
        pace = Pace(most)
        gates: dict[int, asyncio.Event] = {}
        tasks: dict[int, asyncio.Task[None]] = {}
        inside: set[int] = set()

        async def one(i: int) -> None:
            async with pace.slot():
                inside.add(i)
                try:
                    await gates[i].wait()
                finally:
                    inside.discard(i)

        chance = random.Random(most)
        for number, (action, value) in enumerate(actions):
            if action == "enter":
                gates[number] = asyncio.Event()
                tasks[number] = asyncio.ensure_future(one(number))
                # Some arrive in the same tick as others.
                if chance.random() < 0.5:
                    continue
            elif action == "leave" and inside:
                gates[sorted(inside)[value % len(inside)]].set()
            elif action == "cancel" and tasks:
                tasks[sorted(tasks)[value % len(tasks)]].cancel()
            elif action == "well":
                pace.went_well()
            elif action == "back":
                pace.pushed_back(pace._round - value % 2, None)
            elif action == "lost":
                pace.lost(0.0)
            elif action == "hold":
                pace.hold(value * 1e-5)
            before = len(inside)
            await asyncio.sleep(0)
            assert pace.in_flight <= most
            assert len(inside) <= max(before, int(pace.limit), pace.in_flight)
            assert 1 <= pace.limit <= most
        for gate in gates.values():
            gate.set()
        done = asyncio.gather(*tasks.values(), return_exceptions=True)
        await asyncio.wait_for(done, 20)
        assert pace.in_flight == 0
        assert all(turn.cancelled() for turn in pace._waiting), "nobody waits"

    asyncio.run(run())
