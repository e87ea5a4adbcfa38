"""Reviews that are served, in this process or in one of their own, and a browser."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from chromium import BROWSER, Chromium
from reviews import HOSTILE, Client, Processes, in_thread


@pytest.fixture
def served() -> Iterator[Callable[..., Client]]:
    """Serve something until the test ends: `served(path)`."""
    with contextlib.ExitStack() as stack:
        yield lambda name, **options: stack.enter_context(in_thread(name, **options))


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    """Starts real processes and stops them at the end."""
    started = Processes(tmp_path)
    yield started
    for process in started.running:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.communicate()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    """A headless Chromium."""
    if BROWSER is None:
        pytest.skip("no Chromium on this machine")
    with Chromium(tmp_path_factory.mktemp("profile")) as chromium:
        yield chromium


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    """A CSV file of 12 labelled rows, of which the fourth is hostile."""
    lines = ["sentence,label,style,judge_score"]
    for i in range(12):
        text = HOSTILE.replace('"', '""') if i == 3 else f"We will paint wall {i} red and green."
        lines.append(f'"{text}",{"yes" if i % 3 else "no"},{"plan" if i % 2 else "fact"},{i % 5}.5')
    path = tmp_path / "rows.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
