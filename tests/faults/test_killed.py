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
from undisturbed import Undisturbed, train_undisturbed

from luthier import packaged
from luthier.run import Run

KILLED = -signal.SIGKILL


def test_undisturbed_runs_are_equal(undisturbed: Undisturbed) -> None:
    """Without this, the others would say nothing."""
    for runs in ("first", "whole"):
        undisturbed.require_same(undisturbed.project.path / runs)


def test_killed_at_random_instants(
    attempts: Attempts, undisturbed: Undisturbed, tmp_path: Path
) -> None:
    kill_often(
        attempts, undisturbed, tmp_path, seed=1, kills=50, while_training=10, after_a_resume=5
    )


@pytest.mark.slow
def test_killed_a_thousand_times(
    attempts: Attempts, undisturbed: Undisturbed, tmp_path: Path
) -> None:
    hits = kill_often(
        attempts,
        undisturbed,
        tmp_path,
        seed=2,
        kills=1000,
        while_training=300,
        after_a_resume=100,
        while_saving=10,
    )

    print(dict(hits))


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        "lora: null, learning_rate: 1e-3, max_steps: 8, optim: adafactor",
        "lora: null, learning_rate: 1e-3, max_steps: 8, optim: adamw_bnb_8bit, bf16: true",
        "max_steps: 8, neftune_noise_alpha: 5, packing: true, max_seq_length: 256, bf16: true",
        "max_steps: 8, quantization: {load_in_4bit: true}, optim: paged_lion_8bit",
        "max_steps: 20, learning_rate: 0.5, early_stopping_patience: 1",
        "max_steps: 8, swa_start: 0.3",
    ],
    ids=[
        "adafactor",
        "8-bit moments",
        "packed with noise",
        "4-bit base",
        "early stopping",
        "weights averaged",
    ],
)
def test_killed_with_other_settings(
    attempts: Attempts, tmp_path: Path, tiny_model_dir: Path, settings: str
) -> None:
    line = f"train: {{{settings}, eval_steps: 3, save_steps: 2}}"
    undisturbed = train_undisturbed(attempts, tmp_path, tiny_model_dir, line)

    folder = tmp_path / "killed"
    kill_often(attempts, undisturbed, folder, seed=3, kills=30, while_training=5, after_a_resume=1)


@pytest.mark.slow
@pytest.mark.network
def test_killed_while_the_packaged_model_is_trained(attempts: Attempts, tmp_path: Path) -> None:
    settings = (
        "train: {max_steps: 10, per_device_train_batch_size: 2, eval_steps: 4, save_steps: 1, "
        "lora: {r: 8, lora_dropout: 0.1}}"
    )
    undisturbed = train_undisturbed(attempts, tmp_path, Path(packaged.NAME), settings)

    folder = tmp_path / "killed"
    hits = kill_often(
        attempts, undisturbed, folder, seed=4, kills=10, while_training=2, after_a_resume=1
    )

    print(dict(hits))


def kill_often(
    attempts: Attempts,
    undisturbed: Undisturbed,
    folder: Path,
    *,
    seed: int,
    kills: int,
    **aims: int,
) -> Counter[str]:
    """Kill attempts at training until enough kills hit what they should.

    Every run is brought to its end. Where a kill lands depends on how busy the machine is, so
    killing goes on until all aims are met; that four times the kills do not meet them is a failure.

    Args:
        attempts: Starts and kills.
        undisturbed: The run to compare with.
        folder: Where to run.
        seed: Of the instants.
        kills: How many kills there must be.
        aims: How many of them must hit what `where` tells, with underscores for blanks.

    Returns:
        How often a kill hit what, as the run folder tells.
    """
    wanted = {"kills": kills, **{name.replace("_", " "): n for name, n in aims.items()}}
    chance, hits = random.Random(seed), Counter[str]()
    while any(hits[name] < n for name, n in wanted.items()):
        assert hits["kills"] < 4 * kills, hits
        most = kills if hits["kills"] < kills else 4 * kills
        # Every fifth run starts with nothing, the others where data and plan are done.
        runs, kept = folder / "runs", folder / "kept"
        args = undisturbed.begin(runs, planned=hits["runs"] % 5 > 0)
        run = Run(runs / "tiny")
        code = KILLED
        while code == KILLED:
            done = "planned" if (run.path / "plan/plan.json").is_file() else "whole"
            instant = chance.uniform(0, undisturbed.seconds[done])
            limit = {"kill_after": instant} if hits["kills"] < most else {}
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
