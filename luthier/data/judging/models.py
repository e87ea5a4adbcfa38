"""`Models`: those that filters ask, for code that is not asynchronous."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from luthier.inference.call_log import CallLog
from luthier.inference.config import LlmSection
from luthier.inference.session import Session, asking
from luthier.run import RUNS

Found = TypeVar("Found")


class Models:
    """Opens each model, and each log, when it is first needed; all are closed together.

    Opening one may mean to start llama.cpp, so blocks of rows, and filters that ask the same model,
    share it. A log is open for one at a time, so they share that too.

    Args:
        runs: where trained runs are found (`model: run:NAME`).
    """

    def __init__(self, runs: Path = RUNS) -> None:
        self._runs = runs
        self._loop: asyncio.Runner | None = None
        self._opened = AsyncExitStack()
        self._logs: dict[Path, CallLog] = {}
        self._sessions: dict[tuple[Path, str], Session] = {}

    def ask(
        self,
        section: LlmSection,
        log: Path,
        work: Callable[[Session], Coroutine[Any, Any, Found]],
    ) -> Found:
        """What comes of asking a model.

        An error, or Ctrl-C, closes all; what was sent by then comes into the log first.

        Args:
            section: which model.
            log: where its answers are kept.
            work: asks it.
        """
        if self._loop is None:
            self._loop = asyncio.Runner()
        try:
            return self._loop.run(self._asked(section, log, work))
        except BaseException as error:
            self.__exit__(type(error), error, error.__traceback__)
            raise

    async def _asked(
        self,
        section: LlmSection,
        log: Path,
        work: Callable[[Session], Coroutine[Any, Any, Found]],
    ) -> Found:
        if log not in self._logs:
            self._logs[log] = self._opened.enter_context(CallLog(log))
        key = (log, section.model_dump_json())
        if key not in self._sessions:
            session = Session(section, self._logs[log], runs=self._runs)
            self._sessions[key] = await self._opened.enter_async_context(asking(session))
        return await work(self._sessions[key])

    def __enter__(self) -> Models:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        loop, self._loop = self._loop, None
        self._logs, self._sessions = {}, {}
        if loop is not None:
            with loop:
                loop.run(self._opened.__aexit__(kind, value, trace))
