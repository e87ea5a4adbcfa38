"""Many requests at once whose results do not depend on who answers first.

Writers such as Self-Instruct build each prompt from what was accepted before. Here result `i` is
taken in only after all before it, and request `i` is made when result `i - window` was. So what is
asked depends on the answers alone, never on their order or on how many were in flight; and a server
is kept busy without the pauses that rounds would bring.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from typing import Any, TypeVar

from luthier.inference.budget import Purse

Asked = TypeVar("Asked")
Found = TypeVar("Found")


async def in_order(
    propose: Callable[[], Coroutine[Any, Any, Found] | None],
    take: Callable[[Found], Any],
    *,
    window: int,
    finished: Callable[[], bool] = lambda: False,
    purse: Purse | None = None,
) -> None:
    """Keep `window` jobs going, and take their results in the order they were begun.

    Args:
        propose: the next job, made when its turn comes; None: nothing before the next result is
            in, and with none under way there is nothing more.
        take: is given each result; may await nothing, so that nothing comes between.
        window: jobs that are begun before the first of them must be done. Results depend on it.
        finished: asked after each result; true ends everything.
        purse: what the jobs are paid from, each for itself and in their order; None: nothing is
            counted.

    Raises:
        BudgetSpent: the first job has no room; results before it were taken.
        Exception: what the first job that failed raised; results before it were taken.
    """
    begun: deque[asyncio.Task[Found]] = deque()
    purse = purse or Purse(None)
    try:
        while not finished():
            while len(begun) < window and (job := propose()) is not None:
                begun.append(purse.begun(job))
            if not begun:
                return
            purse.share()
            take(await begun.popleft())
            purse.taken()
    finally:
        purse.dropped()
        for task in begun:
            task.cancel()
        await asyncio.gather(*begun, return_exceptions=True)


async def each_in_order(
    items: Iterable[Asked],
    work: Callable[[Asked], Awaitable[Found]],
    *,
    window: int,
) -> AsyncIterator[tuple[Asked, Found]]:
    """Work on many items at once; yields (item, result) in the order of the items.

    Args:
        items: what to work on; taken as the window moves on.
        work: done for each; must not depend on others.
        window: items that are worked on at once.
    """
    begun: deque[tuple[Asked, asyncio.Task[Found]]] = deque()
    source = iter(items)
    try:
        while True:
            while len(begun) < window:
                for item in source:
                    begun.append((item, asyncio.ensure_future(_done(work, item))))
                    break
                else:
                    break
            if not begun:
                return
            item, job = begun[0]
            found = await job
            begun.popleft()
            yield item, found
    finally:
        for _, job in begun:
            job.cancel()
        await asyncio.gather(*(job for _, job in begun), return_exceptions=True)


async def _done(work: Callable[[Asked], Awaitable[Found]], item: Asked) -> Found:
    # Called here, so that a task that is cancelled before it begins leaves nothing unawaited.
    return await work(item)
