"""How many requests are in flight: as many as the server takes, found out as TCP does.

Additive increase, multiplicative decrease (D. Chiu and R. Jain, "Analysis of the increase and
decrease algorithms for congestion avoidance", 1989) after a slow start (V. Jacobson, "Congestion
avoidance and control", 1988): every answer raises the limit by one until the server pushes back
for the first time; from then on a whole round of answers does. Being pushed back halves it, once
for all requests that were in flight.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator

FIRST = 8
"""Requests that are sent before anything is known of a server."""


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
        self._round = 0
        """Raised when the limit is cut: who was sent before it has nothing new to say."""
        self._resume_at = 0.0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    @contextlib.asynccontextmanager
    async def slot(self) -> AsyncIterator[int]:
        """Wait until one more request may be sent; yields the round it belongs to."""
        while self._waiting or not self._is_open():
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            self._wake_later()
            try:
                await turn
            except asyncio.CancelledError:
                with contextlib.suppress(ValueError):
                    self._waiting.remove(turn)
                self._let_in()
                raise
            if self._is_open():
                break
        self.in_flight += 1
        try:
            yield self._round
        finally:
            self.in_flight -= 1
            self._let_in()

    def went_well(self) -> None:
        """A request was answered: take a little more."""
        self.limit = min(self.limit + (1.0 if self._probing else 1.0 / self.limit), self.most)
        self._let_in()

    def pushed_back(self, sent_in: int, pause: float) -> None:
        """The server did not keep up.

        Args:
            sent_in: the round that the request was sent in.
            pause: seconds to send nothing at all.
        """
        self.hold(pause)
        if sent_in == self._round:
            self._round += 1
            self._probing = False
            self.limit = max(1.0, self.limit / 2)

    def hold(self, seconds: float) -> None:
        """Send nothing for so long."""
        self._resume_at = max(self._resume_at, time.monotonic() + seconds)
        self._wake_later()

    def _is_open(self) -> bool:
        return self.in_flight < int(self.limit) and time.monotonic() >= self._resume_at

    def _let_in(self) -> None:
        room = int(self.limit) - self.in_flight
        if time.monotonic() < self._resume_at:
            self._wake_later()
            return
        for _ in range(min(room, len(self._waiting))):
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)

    def _wake_later(self) -> None:
        left = self._resume_at - time.monotonic()
        if left > 0 and self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(left, self._on_time)

    def _on_time(self) -> None:
        self._timer = None
        self._let_in()
