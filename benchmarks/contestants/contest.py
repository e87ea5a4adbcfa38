"""Contests: the contestants of a job one after the other, again and again, each in its process."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contestants.jobs import WARMUP, Contestant, Job, Recipe
from contestants.process import Finished, Setting, run_worker
from luthier.console import say, size

NEVER = 1_000_000


@dataclass(frozen=True)
class Place:
    """Where a contest is held."""

    folder: Path
    setting: Setting
    interpreters: dict[str, Path]
    """Trainer -> Python; trainers that are not here are left out."""

    def fresh(self, name: str) -> Path:
        """An empty folder for one process."""
        folder = self.folder / name
        shutil.rmtree(folder, ignore_errors=True)
        return folder


class ContestError(Exception):
    """luthier itself failed, so there is nothing to compare with."""


def contest(
    job: Job,
    recipe: Recipe,
    place: Place,
    *,
    contestants: Sequence[Contestant],
    steps: int,
    repeats: int,
) -> dict[str, Any]:
    """Measure a job: A B C A B C ..., all in one run.

    Returns:
        `contestants` (key -> label, precision, versions, runs), `floor`, `rates` and `notes`.

    Raises:
        ContestError: luthier failed.
    """
    total = steps + WARMUP
    overrides = [
        *recipe.overrides,
        f"train.max_steps={total}",
        "train.load_best_model_at_end=false",
        # Without validation rows the last step is the end.
        "data.split.validation=0",
    ]
    replay = place.folder / "replay.json"
    found: dict[str, Any] = {
        c.key: {"label": c.label, "precision": c.precision, "runs": []} for c in contestants
    }
    notes: list[str] = []
    for each in contestants:
        if each.trainer == "luthier":
            _luthier(place, recipe, [*overrides, *each.overrides], each.key, last="plan")
    for repeat in range(1, repeats + 1):
        for each in contestants:
            if any(note.startswith(each.label) for note in notes):
                continue
            if each.trainer == "luthier":
                done = _luthier(
                    place,
                    recipe,
                    [*overrides, *each.overrides],
                    each.key,
                    replay=None if replay.exists() else replay,
                )
            else:
                done = _peer(place, each, replay, total)
            if done.failure:
                notes.append(f"{each.label}: {done.failure}")
                say(f"({job.key}) {notes[-1]}", "yellow")
                continue
            run = _record(done, replay)
            found[each.key]["runs"].append(run)
            found[each.key]["versions"] = done.events("start")[0]["versions"]
            _tell(job.key, repeat, each, run)
    floor = run_worker(
        "floor_worker",
        {"replay": str(replay), "from_step": WARMUP, "steps": total},
        place.fresh("floor"),
        place.setting,
    )
    if floor.failure:
        notes.append(f"floor: {floor.failure}")
    told = {line["kind"]: line for line in floor.events("floor")}
    rates = floor.events("rates")
    return {
        "contestants": {key: value for key, value in found.items() if value["runs"]},
        "floor": {k: {n: v[n] for n in v if n not in ("event", "kind")} for k, v in told.items()},
        "rates": {n: v for n, v in rates[0].items() if n != "event"} if rates else {},
        "notes": notes,
    }


def race(
    job: Job,
    recipe: Recipe,
    place: Place,
    *,
    contestants: Sequence[Contestant],
    steps: int,
    seed: int,
    keep: Callable[[str, dict[str, Any]], None],
) -> None:
    """Train every contestant on the same data to the end, and judge what came out.

    Args:
        job: what is trained.
        recipe: luthier's.
        place: where.
        contestants: luthier first.
        steps: optimizer steps.
        seed: of splits, order and adapter.
        keep: called with a contestant's key and its result as soon as there is one.
    """
    every = max(1, steps // 8)
    overrides = [
        *recipe.overrides,
        f"seed={seed}",
        f"train.max_steps={steps}",
        f"train.eval_steps={every}",
        f"train.save_steps={NEVER}",
        "train.load_best_model_at_end=false",
    ]
    replay = place.folder / f"replay-{seed}.json"
    data_of = ""
    for each in contestants:
        if each.trainer == "luthier":
            first = None if replay.exists() else replay
            done = _luthier(place, recipe, [*overrides, *each.overrides], each.key, replay=first)
            run = done.events("end")[0]["run"] if not done.failure else ""
            data_of = data_of or run
            weights = done.events("trained")[0]["weights"] if run else ""
            adapter = Path(run) / weights
        else:
            adapter = place.fresh(f"adapter-{each.key}")
            done = _peer(place, each, replay, steps, eval_steps=every, adapter=adapter)
        if done.failure:
            say(f"({job.key}) {each.label}: {done.failure}", "yellow")
            continue
        judged = _judge(place, data_of, adapter, replay)
        result = {
            "label": each.label,
            "validations": [
                {k: line[k] for k in ("step", "train_seconds", "loss")}
                for line in done.events("validation")
            ],
            "losses": [line["loss"] for line in done.events("step")],
            **judged,
        }
        keep(each.key, result)
        last = result["validations"][-1]
        say(
            f"({job.key}) seed {seed}, {each.label}: validation loss {last['loss']:.4f} "
            f"after {last['train_seconds']:.0f} s"
        )


def _luthier(
    place: Place,
    recipe: Recipe,
    overrides: list[str],
    key: str,
    *,
    last: str = "train",
    replay: Path | None = None,
) -> Finished:
    job = {
        "recipe": str(recipe.path),
        "overrides": overrides,
        "runs": str(place.folder / "runs"),
        "last": last,
        "replay": str(replay) if replay else None,
    }
    done = run_worker("luthier_worker", job, place.fresh(f"{key}-{last}"), place.setting)
    if done.failure and (last == "plan" or replay):
        raise ContestError(f"{key}: {done.failure}")
    return done


def _peer(
    place: Place,
    who: Contestant,
    replay: Path,
    steps: int,
    *,
    eval_steps: int | None = None,
    adapter: Path | None = None,
) -> Finished:
    folder = place.fresh(who.key)
    job = {
        "replay": str(replay),
        "precision": who.precision,
        "steps": steps,
        "liger": who.liger,
        "scratch": str(folder / "scratch"),
        "eval_steps": eval_steps,
        "adapter": str(adapter) if adapter else None,
    }
    python = place.interpreters[who.trainer]
    return run_worker(f"{who.trainer}_worker", job, folder, place.setting, python=python)


def _judge(place: Place, run: str, adapter: Path, replay: Path) -> dict[str, Any]:
    model = json.loads(replay.read_text(encoding="utf-8"))["model"]
    job = {"run": run, "model": model, "adapter": str(adapter)}
    done = run_worker("judge_worker", job, place.fresh("judge"), place.setting)
    if done.failure:
        return {"judge": done.failure}
    found = {name: done.events(name) for name in ("judged", "tested")}
    return {
        name: {k: v for k, v in lines[0].items() if k != "event"}
        for name, lines in found.items()
        if lines
    }


def _record(done: Finished, replay: Path) -> dict[str, Any]:
    """A run as it is kept: per step what happened, with the tokens that all are given."""
    batches = json.loads(replay.read_text(encoding="utf-8"))["batches"]
    steps = []
    for line, batch in zip(done.events("step"), batches, strict=True):
        tokens = sum(len(row["ids"]) for row in batch)
        if line.get("tokens", tokens) != tokens:
            raise ContestError(f"luthier counts {line['tokens']} tokens in a batch of {tokens}")
        step = {k: line[k] for k in ("seconds", "loss")} | {"tokens": tokens}
        steps.append(step | {"examples": len(batch)})
    gpu = done.events("end")[0]["gpu_peak_bytes"]
    return {
        "steps": steps,
        "peak_bytes": gpu or done.peak_bytes,
        "main_memory_peak_bytes": done.peak_bytes,
        "process_seconds": done.seconds,
    }


def rate(run: dict[str, Any], what: str) -> float:
    """`examples` or `tokens` per second of a run, warm-up left out."""
    steps = run["steps"][WARMUP:]
    return float(sum(s[what] for s in steps) / sum(s["seconds"] for s in steps))


def _tell(key: str, repeat: int, who: Contestant, run: dict[str, Any]) -> None:
    say(
        f"({key}) round {repeat}, {who.label}: {rate(run, 'examples'):.2f} examples/s, "
        f"{size(run['peak_bytes'])}, first loss {run['steps'][0]['loss']:.4f} "
        f"({run['process_seconds']:.0f} s in all)"
    )
