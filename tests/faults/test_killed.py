"""SIGKILL at random instants: the run that is resumed ends with the bytes of one left alone."""

from __future__ import annotations

import random
import shutil
import signal
from collections import Counter
from pathlib import Path

import pytest
from attempts import Attempts
from same_run import checkpoint_content, leftovers
from undisturbed import Undisturbed

from luthier.run import Run

KILLED = -signal.SIGKILL


def test_undisturbed_runs_are_equal(undisturbed: Undisturbed) -> None:
    """Without this, the others would say nothing."""
    for runs in ("first", "whole"):
        undisturbed.require_same(undisturbed.project.path / runs)


def test_killed_at_random_instants(
    attempts: Attempts, undisturbed: Undisturbed, tmp_path: Path
) -> None:
    hits = kill_often(attempts, undisturbed, tmp_path, kills=50, seed=1)

    assert hits["while training"] >= 10 and hits["after a resume"] >= 5, hits


@pytest.mark.slow
def test_killed_a_thousand_times(
    attempts: Attempts, undisturbed: Undisturbed, tmp_path: Path
) -> None:
    hits = kill_often(attempts, undisturbed, tmp_path, kills=1000, seed=2)

    print(dict(hits))
    assert hits["while training"] >= 300 and hits["after a resume"] >= 100, hits
    assert hits["while saving"] >= 10, hits


def kill_often(
    attempts: Attempts, undisturbed: Undisturbed, folder: Path, *, kills: int, seed: int
) -> Counter[str]:
    """Kill attempts at training until there were so many kills; every run is brought to its end.

    Returns:
        How often a kill hit what, as the run folder tells.
    """
    chance, hits = random.Random(seed), Counter[str]()
    while hits["kills"] < kills:
        # Every fifth run starts with nothing, the others where data and plan are done.
        runs, kept = folder / "runs", folder / "kept"
        args = undisturbed.begin(runs, planned=hits["runs"] % 5 > 0)
        run = Run(runs / "tiny")
        code = KILLED
        while code == KILLED:
            done = "planned" if (run.path / "plan/plan.json").is_file() else "whole"
            instant = chance.uniform(0, undisturbed.seconds[done])
            limit = {"kill_after": instant} if hits["kills"] < kills else {}
            ended = attempts.run(*args, job="train", keep=kept, **limit)
            code = ended.code
            if code == KILLED:
                hits.update(["kills", *where(run)])
        assert code == 0, ended.err
        hits["runs"] += 1
        undisturbed.require_same(runs)
        assert checkpoint_content(kept) == undisturbed.last_checkpoint
        shutil.rmtree(runs)
        shutil.rmtree(kept)
    return hits


def where(run: Run) -> list[str]:
    """What the last attempt was at when it was killed."""
    events = [event["event"] for event in run.events()]
    starts = [i for i, event in enumerate(events) if event == "stage_started"]
    attempt = events[starts[-1] :] if starts else []
    found = []
    if "step" in attempt and "stage_finished" not in attempt:
        found.append("while training")
        if "resumed" in attempt:
            found.append("after a resume")
    if any(".staging-" in name for name in leftovers(run)):
        found.append("while saving")
    return found
