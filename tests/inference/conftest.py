"""Fixtures: a scripted server, and a session with it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from scripted_server import Scripted

from luthier.inference import session as sessions


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Scripted]]:
    """Start scripted servers, which end with the test."""
    with contextlib.ExitStack() as stack:
        count = iter(range(100))
        yield lambda **how: stack.enter_context(Scripted(tmp_path / f"server-{next(count)}", **how))


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Failed requests are sent again at once."""
    monkeypatch.setattr(sessions, "FIRST_PAUSE", 0.0)
