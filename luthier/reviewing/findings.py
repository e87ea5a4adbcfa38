"""What lint finds in the rows under review, found by a process of its own: the page does not wait.

`python -m luthier.reviewing.findings` is that process: it reads what to check from standard input
and writes a line of JSON per find.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from luthier.reviewing.dataset import Subject

MOST = 200_000
"""Finds that are kept; more say something about the set, not about its rows."""


@dataclass
class Findings:
    """What was found so far."""

    state: Literal["off", "running", "done", "failed"] = "off"
    why: str = ""
    """Where it failed, why."""
    kinds: dict[tuple[str, str], str] = field(default_factory=dict)
    """(check, what) -> severity."""
    rows: dict[str, list[tuple[str, str, str]]] = field(default_factory=dict)
    """File and line of a row -> its (check, what, details)."""


@contextlib.contextmanager
def found_meanwhile(
    subject: Subject, findings: Findings, done: Callable[[], None], *, runs: Path
) -> Iterator[None]:
    """Lint a dataset while the `with` block runs; it is stopped at its end.

    Args:
        subject: the dataset.
        findings: filled in when all is found.
        done: called then, in another thread, before `findings.state` says so.
        runs: where runs are found.
    """
    asked = _asked(subject, runs)
    if asked is None:
        findings.state, findings.why = "failed", "the recipe of this run is no longer there"
        yield
        return
    process = subprocess.Popen(
        [sys.executable, "-m", "luthier.reviewing.findings"], stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, encoding="utf-8",
        start_new_session=True,  # Ctrl-C is for the review, which stops this one
    )  # fmt: skip
    findings.state = "running"
    reader = threading.Thread(target=_collect, args=(process, asked, findings, done), daemon=True)
    reader.start()
    try:
        yield
    finally:
        process.kill()
        process.wait()
        reader.join(5)


def _asked(subject: Subject, runs: Path) -> dict[str, Any] | None:
    if subject.run is None:
        return {"path": subject.file, "format": subject.format, "runs": str(runs)}
    asked = subject.run.read_json("asked.json")
    recipe = Path(asked["folder"]) / Path(asked["file"]).name
    if not recipe.is_file():
        return None
    return {"path": str(recipe), "overrides": asked["overrides"], "runs": str(runs)}


def _collect(
    process: subprocess.Popen[str], asked: dict[str, Any], findings: Findings,
    done: Callable[[], None],
) -> None:  # fmt: skip
    assert process.stdin is not None and process.stdout is not None
    kinds: dict[tuple[str, str], str] = {}
    rows: dict[str, list[tuple[str, str, str]]] = {}
    end: dict[str, Any] | None = None
    with contextlib.suppress(OSError):
        with process.stdin:
            process.stdin.write(json.dumps(asked))
        for count, line in enumerate(process.stdout, 1):
            record = json.loads(line)
            if isinstance(record, dict):
                end = record
                break
            check, what, severity, where, said = record
            kinds[check, what] = severity
            if count <= MOST:
                rows.setdefault(where, []).append((check, what, said))
    if end is None or "error" in end:
        findings.state, findings.why = "failed", (end or {}).get("error", "it was stopped")
    else:
        # Lint takes some finds back: rows that all share a long instruction are no duplicates.
        stands = {tuple(kind) for kind in end["kinds"]}
        findings.kinds = {kind: how for kind, how in kinds.items() if kind in stands}
        findings.rows = {
            where: kept
            for where, found in rows.items()
            if (kept := [one for one in found if one[:2] in stands])
        }
        done()
        findings.state = "done"
    process.stdout.close()


def main() -> None:
    """Lint what standard input names; one JSON list a find, one object at the end."""
    from luthier.data.lint import lint
    from luthier.data.linting.lint_report import Place
    from luthier.errors import LuthierError

    asked = json.load(sys.stdin)
    out = sys.stdout
    sys.stdout = sys.stderr

    def see(check: str, what: str, severity: str, place: Place) -> None:
        out.write(json.dumps([check, what, severity, place.where, place.said]) + "\n")

    try:
        report = lint(
            asked["path"], format=asked.get("format"), overrides=asked.get("overrides", ()),
            runs=Path(asked["runs"]), see=see,
        )  # fmt: skip
        end: dict[str, Any] = {"kinds": [[f.check, f.what] for f in report.findings]}
    except LuthierError as error:
        end = {"error": str(error).split("\n")[0]}
    except Exception as error:  # the review goes on without; its page says why
        end = {"error": f"{type(error).__name__} {error}".split("\n")[0]}
    out.write(json.dumps(end) + "\n")
    out.flush()


if __name__ == "__main__":
    main()
