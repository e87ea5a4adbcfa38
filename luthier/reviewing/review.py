"""The job of `luthier review`: serve the page of a dataset until Ctrl-C, say what was decided."""

from __future__ import annotations

import contextlib
import signal
import threading
import webbrowser
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from luthier.console import say
from luthier.data.decisions import Decisions, read_decisions
from luthier.reviewing.dataset import Subject, opened, subject_of
from luthier.reviewing.findings import Findings, found_meanwhile
from luthier.reviewing.journal import Journal
from luthier.reviewing.server import ReviewServer
from luthier.reviewing.session import Session
from luthier.run import RUNS


def review(
    name: str,
    *,
    decisions: Path | None = None,
    rejects: bool = False,
    format: str | None = None,
    reviewer: str = "",
    port: int = 0,
    browser: bool = True,
    lint: bool = True,
    runs: Path = RUNS,
) -> dict[str, Any]:
    """Serve a page to go through the rows of a dataset; ends at Ctrl-C.

    Args:
        name: a run, a recipe that was built, or a file of rows.
        decisions: the file of decisions; None: `decisions.jsonl` of the run, or
            `FILE.decisions.jsonl` beside the file.
        rejects: also show the rows that were left out.
        format: importer of a file; None: it is recognised.
        reviewer: who decides, as it is written down; empty: nobody says.
        port: of 127.0.0.1; 0 takes a free one.
        browser: open the page.
        lint: look for defects of the rows meanwhile.
        runs: where runs are found.

    Returns:
        What `summary` returns.

    Raises:
        LuthierError: there is no such dataset.
        DataError: its rows or decisions cannot be read.
        RunError: another process reviews with the same file, the port is taken, or a file cannot be
            written.
    """
    subject = subject_of(name, format=format, runs=runs)
    path = decisions or subject.decisions
    findings = Findings()
    with contextlib.ExitStack() as stack:
        dataset = stack.enter_context(opened(subject, rejects=rejects))
        journal = stack.enter_context(Journal(path))
        session = Session(dataset, journal, reviewer=reviewer, findings=findings)
        server = stack.enter_context(ReviewServer(session, port))
        if lint:
            stack.enter_context(found_meanwhile(subject, findings, session.lint_is_done, runs=runs))
        for note in dataset.notes:
            say(note, style="dim")
        say(f"{len(dataset.rows):,} rows; decisions go to {path}")
        with contextlib.suppress(KeyboardInterrupt), _ended_by_sigterm():
            say(f"open {server.url}\nCtrl-C ends it; every decision is on the disk already.")
            if browser:
                # Some browsers do not return before they are closed.
                opening = threading.Thread(target=webbrowser.open, args=(server.url,), daemon=True)
                opening.start()
            server.serve_forever(poll_interval=0.2)
        # What is being written is written; who asks from now on gets no answer.
        session.turn.acquire()
        found = _counted(subject, path, journal.decisions)
    _tell(subject, found)
    return found


def summary(
    name: str, *, decisions: Path | None = None, format: str | None = None, runs: Path = RUNS
) -> dict[str, Any]:
    """What was decided about a dataset, without opening it.

    Args:
        name: as in `review`.
        decisions: the file of decisions, if it is another one.
        format: as in `review`.
        runs: where runs are found.

    Returns:
        The file, rows per decision, notes, undone decisions, reviewers, and when the first and the
        last decision was made.
    """
    subject = subject_of(name, format=format, runs=runs)
    path = decisions or subject.decisions
    found = _counted(subject, path, read_decisions(path) if path.is_file() else Decisions())
    _tell(subject, found)
    return found


@contextlib.contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """SIGTERM ends a review as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _counted(subject: Subject, path: Path, decisions: Decisions) -> dict[str, Any]:
    words = decisions.last_words()
    times = sorted(d.when for d in words if d.when)
    return {
        "dataset": subject.name,
        "decisions": str(path),
        **decisions.counts(),
        "notes": sum(bool(d.note) for d in words),
        "records": decisions.records,
        "reviewers": dict(Counter(d.who for d in words if d.who).most_common()),
        "first": times[0] if times else None,
        "last": times[-1] if times else None,
    }


def _tell(subject: Subject, found: dict[str, Any]) -> None:
    words = {"keep": "kept", "edit": "edited", "drop": "dropped", "skip": "skipped"}
    if not any(found[kind] for kind in words):
        say(f"{subject.name}: nothing has been decided yet.")
        return
    counts = ", ".join(f"{found[kind]:,} {word}" for kind, word in words.items())
    run = subject.run
    named = f"run:{run.name}" if run is not None else found["decisions"]
    say(f"{subject.name}: {counts}\nA recipe applies them with `data.decisions: {named}`.")
