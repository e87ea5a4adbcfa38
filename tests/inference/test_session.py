"""Sessions: what is asked twice is paid once, what was paid is kept, and ill servers are told."""

from __future__ import annotations

import asyncio
import selectors
from collections import Counter
from collections.abc import Coroutine, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from asked_models import Model, asks, busy, flaky, said, section, settle

from luthier.errors import ModelError
from luthier.inference import pace as paces
from luthier.inference import session as sessions
from luthier.inference.call_log import CallLog
from luthier.inference.request import Completion, Request, Trouble
from luthier.inference.session import TRIES, Session, asking


@pytest.fixture
def log(tmp_path: Path) -> Iterator[CallLog]:
    with CallLog(tmp_path / "calls.jsonl") as opened:
        yield opened


def in_turn(*answers: Any) -> Model:
    """The k-th time that a request is sent it gets the k-th answer; the last for ever."""
    return Model(lambda request, times: answers[min(times, len(answers) - 1)])


def gone() -> Trouble:
    return Trouble("gone", "nobody listens")


# --- once --------------------------------------------------------------------------------------


def test_equal_requests_in_flight_are_sent_once(log: CallLog) -> None:
    async def run() -> list[Completion]:
        model = Model()
        async with asking(Session(section(), log, backend=model)) as session:
            tasks = [asyncio.ensure_future(session.ask(asks("a"))) for _ in range(5)]
            await settle()
            model.reply("a")
            found = await asyncio.gather(*tasks)
            found.append(await session.ask(asks("a")))
            assert model.sent == ["a"]
            assert (session.tally.calls, session.tally.replayed) == (1, 1)
        return found

    found = asyncio.run(run())
    assert {c.text for c in found} == {"re: a"}
    assert len({c.key for c in found}) == 1 and found[0].key == asks("a").key(Model().model)
    assert len(set(found)) == 1, "a replayed answer is the answer"


def test_a_failure_is_everybodys_and_is_not_remembered(log: CallLog) -> None:
    async def run() -> None:
        model = Model()
        async with asking(Session(section(), log, backend=model)) as session:
            tasks = [asyncio.ensure_future(session.ask(asks("a"))) for _ in range(2)]
            await settle()
            model.reply("a", ModelError("no such model"))
            for task in tasks:
                with pytest.raises(ModelError, match="no such model"):
                    await task
            again = asyncio.ensure_future(session.ask(asks("a")))
            await settle()
            model.reply("a")
            assert (await again).text == "re: a"

    asyncio.run(run())


def test_other_seeds_are_other_requests(log: CallLog) -> None:
    async def run() -> None:
        model = Model(lambda request, _: said(f"{request.seed}"))
        async with asking(Session(section(), log, backend=model)) as session:
            for seed in (1, 2, 1):
                assert (await session.ask(asks("a", seed=seed))).text == str(seed)
        assert len(model.sent) == 2

    asyncio.run(run())


def test_no_more_are_in_flight_than_was_asked_for(log: CallLog) -> None:
    async def run() -> None:
        model = Model(lambda request, _: said(request.text))
        async with asking(Session(section(max_concurrency=3), log, backend=model)) as session:
            await asyncio.gather(*(session.ask(asks(str(i))) for i in range(40)))
        assert model.most_in_flight == 3

    asyncio.run(run())


# --- nothing that was paid is lost -------------------------------------------------------------


def test_an_answer_nobody_waits_for_any_more_is_kept(log: CallLog) -> None:
    async def run() -> None:
        model = Model()
        async with asking(Session(section(), log, backend=model)) as session:
            task = asyncio.ensure_future(session.ask(asks("a")))
            await settle()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            model.reply("a")
            await settle()
            assert (await session.ask(asks("a"))).text == "re: a"
        assert model.sent == ["a"]

    asyncio.run(run())


async def ended(log: CallLog, model: Model, error: BaseException | None) -> None:
    """A session that ends, by an error or not, while 2 requests are sent and 3 wait."""
    async with asking(Session(section(max_concurrency=2), log, backend=model)) as session:
        for i in range(5):
            asyncio.ensure_future(session.ask(asks(str(i)))).add_done_callback(_seen)
        await settle()
        assert model.sent == ["0", "1"]
        for i in range(2):
            asyncio.get_running_loop().call_later(0.01, model.reply, str(i))
        if error is not None:
            raise error


def _seen(task: asyncio.Future[Any]) -> None:
    if not task.cancelled():
        task.exception()


@pytest.mark.parametrize("error", [None, ValueError("ours"), ModelError("x"), KeyboardInterrupt()])
def test_what_was_sent_comes_in_however_it_ends(
    log: CallLog, error: BaseException | None, capsys: pytest.CaptureFixture[str]
) -> None:
    model = Model()
    if error is None:
        asyncio.run(ended(log, model, None))
    else:
        with pytest.raises(type(error)):
            asyncio.run(ended(log, model, error))
    assert model.sent == ["0", "1"], "what waited was never sent"
    assert len(log) == 2 and model.is_closed
    assert ("Waiting for 2 answers on the way" in capsys.readouterr().err) == (error is not None)


def test_a_cancelled_job_lets_what_was_sent_come_in(log: CallLog) -> None:
    async def run() -> None:
        model = Model()

        async def job() -> None:
            async with asking(Session(section(), log, backend=model)) as session:
                await session.ask(asks("a"))

        task = asyncio.ensure_future(job())
        await settle()
        task.cancel()  # what the first Ctrl-C does
        await settle()
        assert not task.done(), "it waits for the answer"
        model.reply("a")
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(log) == 1 and model.is_closed

    asyncio.run(run())


def test_the_second_cancellation_waits_for_nothing(log: CallLog) -> None:
    async def run() -> None:
        model = Model()

        async def job() -> None:
            async with asking(Session(section(), log, backend=model)) as session:
                await session.ask(asks("a"))

        task = asyncio.ensure_future(job())
        for _ in range(2):
            await settle()
            task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, 5)
        assert len(log) == 0 and model.is_closed

    asyncio.run(run())


def test_what_fails_while_it_drains_is_not_sent_again(log: CallLog) -> None:
    async def run() -> None:
        model = Model()
        async with Session(section(), log, backend=model) as session:
            task = asyncio.ensure_future(session.ask(asks("a")))
            await settle()
            draining = asyncio.ensure_future(session.drain())
            await settle()
            model.reply("a", flaky())
            await asyncio.wait_for(draining, 5)
            with pytest.raises(ModelError, match=r"\(500\): oops; not sent again"):
                await task
        assert model.sent == ["a"]

    asyncio.run(run())


# --- servers that do not answer ----------------------------------------------------------------


@pytest.mark.usefixtures("no_pauses")
@pytest.mark.parametrize("trouble", [busy(), busy(0.0), flaky()])
def test_a_failed_request_is_sent_again(log: CallLog, trouble: Trouble) -> None:
    async def run() -> None:
        model = in_turn(*[trouble] * (TRIES - 1), said("at last"))
        async with asking(Session(section(), log, backend=model)) as session:
            assert (await session.ask(asks("a"))).text == "at last"
        assert len(model.sent) == TRIES and session.tally.retries == TRIES - 1
        assert session.tally.calls == 1 == len(log)

    asyncio.run(run())


@pytest.mark.usefixtures("no_pauses")
def test_a_server_that_fails_for_everybody_stops_it(log: CallLog) -> None:
    async def run() -> None:
        model, trouble = in_turn(flaky()), flaky()
        async with asking(Session(section(), log, backend=model)) as session:
            with pytest.raises(ModelError) as caught:
                await session.ask(asks("a"))
        text = str(caught.value)
        assert f"http://127.0.0.1:1/v1 failed {TRIES} times in a row: {trouble.said}" in text
        assert "Nothing was answered yet" in text and "repeat the command" in text
        assert len(model.sent) == TRIES and len(log) == 0

    asyncio.run(run())


@pytest.mark.usefixtures("no_pauses")
def test_a_request_that_fails_while_others_do_not_is_recorded_as_that(log: CallLog) -> None:
    async def run() -> None:
        model = Model(
            lambda request, _: flaky() if request.text == "poison" else said(request.text)
        )
        async with asking(Session(section(), log, backend=model)) as session:
            bad = asyncio.ensure_future(session.ask(asks("poison")))
            count = 0
            while not bad.done():
                await session.ask(asks(f"fine {count}"))
                count += 1
            found = await bad
            assert found.unfit == f"failed {TRIES} times: the server failed (500): oops"
            assert found.choices == () and found.key
            assert (await session.ask(asks("poison"))).unfit == found.unfit
        assert model.sent.count("poison") == TRIES, "it is in the log, and not tried again"

    asyncio.run(run())


@pytest.mark.usefixtures("no_pauses")
def test_a_busy_server_that_answers_others_is_never_given_up(log: CallLog) -> None:
    async def run() -> None:
        patient = 5 * TRIES
        model = Model(
            lambda request, times: (
                busy() if request.text == "late" and times < patient else said(request.text)
            )
        )
        async with asking(Session(section(), log, backend=model)) as session:
            late = asyncio.ensure_future(session.ask(asks("late")))
            count = 0
            while not late.done():
                await session.ask(asks(f"fine {count}"))
                count += 1
            assert (await late).text == "late"

    asyncio.run(run())


class Clock(selectors.DefaultSelector):
    """Time that passes as soon as everybody waits for it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self.now, clock = 1000.0, SimpleNamespace(monotonic=lambda: self.now)
        for module in (sessions, paces):
            monkeypatch.setattr(module, "time", clock)

    def select(self, timeout: float | None = None) -> list[Any]:
        """Nothing comes from outside."""
        self.now += timeout or 0.0
        return super().select(0)

    def run(self, job: Coroutine[Any, Any, None]) -> float:
        """Run a job to its end; how long it took."""
        began, loop = self.now, asyncio.SelectorEventLoop(self)
        loop.time = lambda: self.now  # type: ignore[method-assign]
        try:
            loop.run_until_complete(job)
        finally:
            loop.close()
        return self.now - began


@pytest.mark.parametrize("after", [None, 0.0, 1.0, 2.0, 5.0, 40.0])
@pytest.mark.parametrize(("quota", "count"), [(100, 102), (20, 21), (3, 12)])
def test_a_quota_by_the_minute_is_waited_for(
    log: CallLog, monkeypatch: pytest.MonkeyPatch, after: float | None, quota: int, count: int
) -> None:
    """Whatever `Retry-After` says of it."""
    clock, used = Clock(monkeypatch), Counter[int]()

    def answer(request: Request, times: int) -> Completion | Trouble:
        minute = int(clock.now // 60)
        used[minute] += 1
        return busy(after) if used[minute] > quota else said(request.text)

    async def run() -> None:
        async with asking(Session(section(), log, backend=Model(answer))) as session:
            await asyncio.gather(*(session.ask(asks(str(i))) for i in range(count)))

    assert clock.run(run()) < 60 * (count // quota + 2)
    assert len(log) == count


@pytest.mark.parametrize("after", [None, 0.0, 30.0])
def test_a_server_that_is_busy_for_everybody_stops_it_after_ten_minutes(
    log: CallLog, monkeypatch: pytest.MonkeyPatch, after: float | None
) -> None:
    clock = Clock(monkeypatch)
    model = Model(lambda request, _: said("fine") if request.text == "first" else busy(after))

    async def run() -> None:
        async with asking(Session(section(), log, backend=model)) as session:
            await session.ask(asks("first"))
            await asyncio.sleep(3600)  # nobody asked meanwhile
            with pytest.raises(ModelError) as caught:
                await asyncio.gather(*(session.ask(asks(str(i))) for i in range(3)))
        text = str(caught.value)
        assert "has answered nothing for 10 min" in text and "is busy (429)" in text
        assert "1 answer is in" in text and "llm.max_concurrency" in text

    assert 600 < clock.run(run()) - 3600 < 700
    assert len(model.sent) < 150, "it is not asked without end"


def test_a_server_that_has_sold_out_stops_it(log: CallLog) -> None:
    """A daily limit: nobody waits for it with a process that does nothing."""

    async def run() -> None:
        model = in_turn(busy(7200.0))
        async with asking(Session(section(), log, backend=model)) as session:
            with pytest.raises(ModelError, match="to be asked again in 2 h 00 min"):
                await session.ask(asks("a"))
        assert model.sent == ["a"]

    asyncio.run(run())


def test_people_are_told_of_a_long_wait_once(
    log: CallLog, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    monkeypatch.setattr(sessions.Pace, "hold", lambda self, seconds: slept.append(seconds))
    monkeypatch.setattr(sessions, "_pause", lambda attempt, asked=None: 0.0)

    async def run() -> None:
        model = in_turn(busy(30.0), busy(30.0), said("a"))
        async with asking(Session(section(), log, backend=model)) as session:
            await asyncio.gather(*(session.ask(asks(str(i))) for i in range(3)))

    asyncio.run(run())
    assert slept == [30.0] * 6
    assert capsys.readouterr().err.count("it asks to wait 30 s") == 1


def test_a_server_that_is_gone_is_waited_for(
    log: CallLog, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "FIRST_PAUSE", 0.001)
    paused, lost = list[float](), sessions.Pace.lost

    def noted(self: Any, pause: float) -> None:
        paused.append(pause)
        lost(self, pause)
        assert self.limit == 1, "one at a time asks whether it is back"

    monkeypatch.setattr(sessions.Pace, "lost", noted)

    async def run() -> None:
        model = in_turn(*[gone()] * (2 * TRIES), said("back"))
        async with asking(Session(section(), log, backend=model)) as session:
            tasks = [session.ask(asks(str(i))) for i in range(4)]
            assert {c.text for c in await asyncio.gather(*tasks)} == {"back"}

    asyncio.run(run())
    assert len(paused) == 4 * 2 * TRIES and min(paused) > 0
    assert capsys.readouterr().err.count("nobody listens; waiting up to 1 min 00 s for it") == 1


@pytest.mark.parametrize("patience", [0, 0.02])
def test_patience_ends(log: CallLog, patience: float) -> None:
    async def run() -> None:
        model = Model(lambda request, _: said("fine") if request.text == "first" else gone())
        async with asking(Session(section(patience=patience), log, backend=model)) as session:
            await session.ask(asks("first"))
            with pytest.raises(ModelError) as caught:
                await session.ask(asks("a"))
        text = str(caught.value)
        assert "nobody listens. Nothing came from http://127.0.0.1:1/v1" in text
        assert "llm.patience" in text and "Start the server" in text
        assert f"1 answer is in {log.path}" in text

    asyncio.run(run())


def test_unfit_is_an_answer(log: CallLog) -> None:
    async def run() -> None:
        model = in_turn(Completion((), "m", unfit="refused (400): too long"))
        async with asking(Session(section(), log, backend=model)) as session:
            for _ in range(2):
                assert (await session.ask(asks("a"))).unfit == "refused (400): too long"
        assert model.sent == ["a"] and session.tally.replayed == 1

    asyncio.run(run())


def test_unfit_is_asked_again_on_request(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Once an attempt; what was answered is not."""

    def attempt(model: Model, *, retry: bool) -> list[Completion]:
        async def run(log: CallLog) -> list[Completion]:
            how = section(retry_unfit=retry)
            async with asking(Session(how, log, backend=model, purpose="1-task")) as session:
                return [await session.ask(asks(words)) for words in ("a", "b", "a", "c")]

        with CallLog(tmp_path / "calls.jsonl") as log:
            found = asyncio.run(run(log))
            assert log.spent("1-task")[0] == 3, "each counts once"
        return found

    unfit = Completion((), "m", unfit="refused (413): too long")
    broken = Model(lambda request, _: said("b") if request.text == "b" else unfit)
    mended = Model(lambda request, _: said(f"now {request.text}"))
    for model, retry, sent in (
        (broken, False, ["a", "b", "c"]), (mended, False, []), (broken, True, ["a", "c"]),
        (mended, True, ["a", "c"]), (broken, True, []),
    ):  # fmt: skip
        model.sent = []
        found = attempt(model, retry=retry)
        assert model.sent == sent
        told = capsys.readouterr().err
        if found[0].unfit is not None:
            assert "2 requests have no answer (refused (413): too long)" in " ".join(told.split())
            assert "`retry_unfit: true`" in told
        else:
            assert not told
    assert [c.text for c in found] == ["now a", "b", "now a", "now c"]


def test_a_mistake_of_ours_is_not_sent_again(log: CallLog) -> None:
    async def run() -> None:
        model = in_turn(ZeroDivisionError())
        async with asking(Session(section(), log, backend=model)) as session:
            with pytest.raises(ZeroDivisionError):
                await session.ask(asks("a"))
        assert model.sent == ["a"]
        assert session.pace.in_flight == 0

    asyncio.run(run())


def test_requests_of_any_words_are_paid_within_their_reserve(log: CallLog) -> None:
    request: Request = asks("\ud800 " * 10)
    most = Session(section(), log, backend=Model())._most(request)
    assert most.prompt_tokens >= 30 and most.completion_tokens == 8
    assert Session(section(), log, backend=Model())._most(asks("a", n=3)).completion_tokens == 24
