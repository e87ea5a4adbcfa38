"""Kill a command that lets a model write rows, at random instants, until it has come to its end.

    written = Written(attempts, recipe_of, answers="task_writer", path=(HERE,))
    hits = written.kill_often(folder, seed=1, kills=8)

`recipe_of(base_url)` is the text of a recipe named `written` whose rows the scripted server writes.
After every kill this must hold: nothing that the call log had then is asked again; what was
answered and is not in it was in flight. And at the end: every file that was generated has the bytes
of a run that nothing disturbed.
"""

from __future__ import annotations

import json
import random
import shutil
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attempts import Attempts
from scripted_server import Scripted

KILLED = -signal.SIGKILL
FAULTS: dict[str, Any] = {"rate": 0.25, "most": 2}


class Written:
    """A recipe whose rows a model writes, and what comes of it undisturbed.

    Args:
        attempts: starts and kills.
        folder: where the undisturbed run goes.
        recipe_of: the recipe, given the address of a server. It is named `written`; what it names
            beside itself must be absolute paths.
        concurrency: what the recipe says of `max_concurrency`.
        answers: module with the model's answers (`scripted_server.py`).
        path: where it is found.
    """

    def __init__(
        self,
        attempts: Attempts,
        folder: Path,
        recipe_of: Callable[[str], str],
        *,
        concurrency: int,
        answers: str | None = None,
        path: tuple[Path, ...] = (),
    ) -> None:
        self.attempts, self.recipe_of, self.concurrency = attempts, recipe_of, concurrency
        self.server = {"answers": answers, "path": path}
        with Scripted(folder / "server", **self.server) as server:
            ended = self._attempt(folder, server)
            assert ended.code == 0, ended.err
            self.generated = generated(folder)
            self.seconds = ended.seconds
            assert len(server.completed()) > 20, "too little to be disturbed in"

    def kill_often(
        self, folder: Path, *, seed: int, kills: int, in_flight: int = 0
    ) -> Counter[str]:
        """Kill attempts at random instants; every run is brought to its end.

        Where kills hit depends on how busy the machine is. Killing goes on until enough of them
        have hit while something was in flight; four times the kills without that are a failure.

        Returns:
            How many kills there were, how many hit while something was in flight, how many
            requests were answered twice for it, and how many runs came to their end.
        """
        chance, hits = random.Random(seed), Counter[str]()

        def wanting() -> bool:
            missed = hits["in flight"] < in_flight and hits["kills"] < 4 * kills
            return hits["kills"] < kills or missed

        while wanting():
            faults = {"seed": seed + hits["runs"], **FAULTS}
            place = folder / f"run-{hits['runs']}"
            with Scripted(place / "server", faults=faults, **self.server) as server:
                self._bring_to_its_end(place, server, chance, hits, wanting)
            assert generated(place) == self.generated
            hits["runs"] += 1
            shutil.rmtree(place)
        assert hits["in flight"] >= in_flight, hits
        return hits

    def _bring_to_its_end(
        self,
        place: Path,
        server: Scripted,
        chance: random.Random,
        hits: Counter[str],
        wanting: Callable[[], bool],
    ) -> None:
        code, known = KILLED, set[str]()
        seen = 0
        while code == KILLED:
            limit = {}
            if wanting():
                limit = {"kill_after": chance.uniform(0, 1.2 * self.seconds)}
            ended = self._attempt(place, server, **limit)
            code = ended.code
            # Whatever was asked since the last kill was not in the log then.
            asked = server.asked()
            again = known & {_name(line["body"]) for line in asked[seen:]}
            assert not again, f"asked again though it was in the log: {sorted(again)[:3]}"
            if code != KILLED:
                break
            seen, known = len(asked), logged(place)
            answered = Counter(_name(line["body"]) for line in server.completed())
            lost = set(answered) - known
            assert len(lost) <= self.concurrency, "answered and not logged, but not in flight"
            hits.update({"kills": 1, "in flight": bool(lost), "lost": len(lost)})
        assert code == 0, ended.err
        answered = Counter(_name(line["body"]) for line in server.completed())
        twice = sum(answered.values()) - len(answered)
        assert twice <= hits["lost"]
        hits["twice"] += twice

    def _attempt(self, place: Path, server: Scripted, **limit: float) -> Any:
        place.mkdir(parents=True, exist_ok=True)
        recipe = place / "recipe.yaml"
        recipe.write_text(self.recipe_of(server.base_url), encoding="utf-8")
        return self.attempts.run(recipe, place / "runs", job="write_rows", **limit)


def generated(place: Path) -> dict[str, bytes]:
    """Every file that was written from answers, by its name."""
    folder = place / "runs" / "written" / "generated"
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def logged(place: Path) -> set[str]:
    """The requests whose answers are in the call log; a torn last line is none."""
    path = place / "runs" / "written" / "calls.jsonl"
    if not path.exists():
        return set()
    whole = path.read_bytes().rpartition(b"\n")[0].splitlines()
    names = [_name(json.loads(line)["request"]) for line in whole]
    assert len(names) == len(set(names)), "a request stands in the log twice"
    return set(names)


def _name(request: dict[str, Any]) -> str:
    """A request, whether the server tells of it or the log."""
    return json.dumps({k: v for k, v in request.items() if k != "model"}, sort_keys=True)
