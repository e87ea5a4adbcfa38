"""How many requests are in flight: as many as the server takes, found out as TCP does.

Additive increase, multiplicative decrease (D. Chiu and R. Jain, "Analysis of the increase and
decrease algorithms for congestion avoidance", 1989) after a slow start (V. Jacobson, "Congestion
avoidance and control", 1988): every answer raises the limit by one until the server pushes back
for the first time; from then on a whole round of answers does. Being pushed back lowers it, once
for all requests that were in flight. Just below where that happened last it lingers, as CUBIC does
(RFC 9438, section 4.1): most servers take the same number all day.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator

FIRST = 8
"""Requests that are sent before anything is known of a server."""
OVERSHOT = 0.5
"""Of the limit, after a slow start: it doubles each round, so half of it was still taken."""
EASED = 0.85
"""Of the limit, later. TCP's half would leave a server idle that refuses all beyond a limit: on
average (1 + 0.85) / 2 of the limit is used, instead of 3/4. Routers keep queues for that; servers
that refuse have none."""

LINGERS = 8
"""Rounds of answers for one more request, where the server pushed back before."""


class Pace:
    """A limit on requests in flight that follows the server.

    Args:
        most: what the limit never exceeds.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.limit = float(min(FIRST, most))
        self.in_flight = 0
        self._probing = True
        self._knee = float("inf")
        """The limit at which the server pushed back last."""
        self._round = 0
        """Raised when the limit is cut: who was sent before it has nothing new to say."""
        self._resume_at = 0.0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    @contextlib.asynccontextmanager
    async def slot(self) -> AsyncIterator[int]:
        """Wait until one more request may be sent; yields the round it belongs to."""
        await self._enter()
        try:
            yield self._round
        finally:
            self.in_flight -= 1
            self._let_in()

    def went_well(self) -> None:
        """A request was answered: take a little more, if all that may be in flight is."""
        if self.in_flight >= int(self.limit):
            if self._probing:
                more = 1.0
            elif self._knee - 1 <= self.limit < self._knee + 1:
                more = 1.0 / (LINGERS * self.limit)
            else:
                more = 1.0 / self.limit
            self.limit = min(self.limit + more, float(self.most))
            self._let_in()

    def pushed_back(self, sent_in: int, pause: float | None = None) -> None:
        """The server did not keep up.

        Args:
            sent_in: the round that the request was sent in.
            pause: seconds to send nothing at all, where it said so.
        """
        if pause is not None:
            self.hold(pause)
        if sent_in == self._round:
            self._round += 1
            if not self._probing:  # a slow start ends somewhere beyond it
                self._knee = self.limit
            self.limit = max(1.0, self.limit * (OVERSHOT if self._probing else EASED))
            self._probing = False

    def lost(self, pause: float) -> None:
        """Nobody listens: try one request at a time, and begin anew when one is answered.

        Args:
            pause: seconds to send nothing at all.
        """
        self.hold(pause)
        self._round += 1
        self.limit, self._probing = 1.0, True

    def hold(self, seconds: float) -> None:
        """Send nothing for so long."""
        self._resume_at = max(self._resume_at, time.monotonic() + seconds)

    async def _enter(self) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        self._let_in()
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():  # let in and cancelled at once
                self.in_flight -= 1
                self._let_in()
            raise

    def _let_in(self) -> None:
        """Let in whoever is first, counted at once, so that nobody who comes later is before it."""
        while self._waiting and self.in_flight < int(self.limit):
            left = self._resume_at - time.monotonic()
            if left > 0:
                if self._timer is None:
                    self._timer = asyncio.get_running_loop().call_later(left, self._on_time)
                return
            turn = self._waiting.popleft()
            if not turn.done():
                self.in_flight += 1
                turn.set_result(None)

    def _on_time(self) -> None:
        self._timer = None
        self._let_in()
