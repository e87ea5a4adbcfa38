"""luthier, TRL and LLaMA-Factory side by side on the same rows: speed, memory, loss, quality.

    python benchmarks/training.py                     all jobs, about 25 minutes on two cores
    python benchmarks/training.py a c --repeats 5     some of them
    python benchmarks/training.py --quality           time to quality on (a) and (d); hours

Jobs: (a) promises, plain LoRA; (b) the whole reference recipe; (c) long shared instructions; (d)
free generation of mixed lengths; (e) all of them on a GPU, where there is one; (f) as (b), with the
sentence first. Results go to benchmarks/results/training.json and training.md; jobs that are not
measured keep what they have.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

from contestants import peers, results
from contestants.contest import ContestError, Place, contest, race
from contestants.jobs import (
    JOBS,
    LLAMAFACTORY,
    LUTHIER_BF16,
    LUTHIER_FP32,
    TRL_BF16,
    TRL_FP32,
    TRL_LIGER,
    Contestant,
    Job,
    recipe,
)
from contestants.process import Setting

from luthier.console import say

GPU_STEPS = 20
"""Measured by default on a GPU, where a step is short."""
SEEDS = (42, 43, 44)
RACING = (LUTHIER_BF16, LUTHIER_FP32, TRL_BF16, TRL_FP32)


def main() -> None:
    options = _options()
    file = options.out / "training.json"
    found = results.load(file)
    interpreters, notes = _peers(options)
    for note in notes:
        say(note, "yellow")
    with tempfile.TemporaryDirectory(prefix="luthier-bench-") as scratch:
        for key in options.jobs:
            if key == "e" and not _gpu():
                say("(e) left out: there is no GPU here")
                continue
            for part in _parts(key, options.quality):
                folder = Path(scratch) / part
                place = Place(folder, _setting(options, gpu=key == "e"), interpreters)
                try:
                    if options.quality:
                        _race(part, place, options, found, file)
                    else:
                        found[part] = _measure(part, place, options, notes)
                except ContestError as error:
                    say(f"({part}) {error}", "red")
                    continue
                results.save(file, found)
    results.save(file, found)
    page = results.page(found)
    file.with_suffix(".md").write_text(page, encoding="utf-8")
    print(page)


def _parts(key: str, quality: bool) -> list[str]:
    """`e` is all jobs on the GPU: `e-a`, `e-b`, ..."""
    if quality:
        return [key] if key in JOBS and JOBS[key].quality_steps else []
    return [f"e-{job}" for job in JOBS] if key == "e" else [key]


def _measure(
    part: str, place: Place, options: argparse.Namespace, notes: list[str]
) -> dict[str, Any]:
    job = JOBS[part[-1]]
    on_gpu = part.startswith("e-")
    say(f"({part}) {job.title}", "bold")
    asked = recipe(job.key, place.folder, options.public_data)
    steps = options.steps or (GPU_STEPS if on_gpu else job.steps)
    measured = contest(
        job,
        asked,
        place,
        contestants=_contestants(job, place, options, liger=on_gpu and peers.has_liger()),
        steps=steps,
        repeats=options.repeats,
    )
    return {
        "title": job.title,
        "data": asked.data,
        "steps": steps,
        "repeats": options.repeats,
        "circumstances": results.circumstances(place.setting.threads),
        **measured,
        "notes": [*notes, *_same_job(job, measured["contestants"]), *measured["notes"]],
    }


def _race(
    key: str, place: Place, options: argparse.Namespace, found: dict[str, Any], file: Path
) -> None:
    """Time to quality; every finished run is kept at once, since all of them take hours."""
    job = JOBS[key]
    asked = recipe(key, place.folder, options.public_data, quality=True)
    steps = options.steps or job.quality_steps
    heading = {"title": job.title, "data": asked.data, "steps": steps}
    quality = found.setdefault("quality", {}).get(key, {})
    if {k: quality.get(k) for k in heading} != heading:
        quality = {**heading, "seeds": {}}
    quality["circumstances"] = results.circumstances(place.setting.threads)
    found["quality"][key] = quality
    here = [c for c in RACING if c.trainer in (*place.interpreters, "luthier")]
    # luthier goes first: the others are given the batches it trained on.
    taking = [c for c in here if c is LUTHIER_BF16 or c.key in options.racing]
    for seed in options.seeds:
        seen = quality["seeds"].setdefault(str(seed), {})

        def keep(who: str, result: dict[str, Any], seen: dict[str, Any] = seen) -> None:
            seen[who] = result
            results.save(file, found)

        race(job, asked, place, contestants=taking, steps=steps, seed=seed, keep=keep)


def _contestants(
    job: Job, place: Place, options: argparse.Namespace, *, liger: bool
) -> list[Contestant]:
    here = {"luthier", *place.interpreters}
    asked = set(options.only or here) | {"luthier"}
    some = [*job.contestants, *([TRL_LIGER] if liger else [])]
    return [c for c in some if c.trainer in here & asked]


def _same_job(job: Job, contestants: dict[str, Any]) -> list[str]:
    """Say so where a first loss, before anything was learned, is not that of the others."""
    first = {key: who["runs"][0]["steps"][0]["loss"] for key, who in contestants.items()}
    if not first:
        return []
    expected = next(iter(first.values()))
    limit = 0.15 if job.noisy else 0.03
    return [
        f"{contestants[key]['label']} starts from loss {loss:.4f}, not {expected:.4f}: is it the "
        "same job?"
        for key, loss in first.items()
        if abs(loss - expected) > limit * expected
    ]


def _peers(options: argparse.Namespace) -> tuple[dict[str, Path], list[str]]:
    """The interpreters of the peers that are here, and why others are not."""
    found, notes = {}, []
    if missing := peers.missing_trl():
        notes.append(missing)
    else:
        found[TRL_FP32.trainer] = found[TRL_BF16.trainer] = Path(sys.executable)
    wanted = not options.quality and (not options.only or LLAMAFACTORY.trainer in options.only)
    if wanted:
        try:
            found[LLAMAFACTORY.trainer] = peers.llamafactory(install=not options.no_install)
        except peers.NotInstallable as reason:
            notes.append(f"LLaMA-Factory: {reason}")
    return found, notes


def _setting(options: argparse.Namespace, *, gpu: bool) -> Setting:
    return Setting(threads=options.threads, gpu=gpu, timeout=options.timeout)


def _gpu() -> bool:
    import torch

    return bool(torch.cuda.is_available())


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("jobs", nargs="*", metavar="a b c d e f", help="default: all")
    parser.add_argument("--steps", type=int, help="measured steps (by default few)")
    parser.add_argument("--repeats", type=int, default=2, help="rounds (2)")
    parser.add_argument("--quality", action="store_true", help="time to quality instead of rates")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS, help="with --quality")
    racing = [contestant.key for contestant in RACING]
    parser.add_argument(
        "--racing", nargs="+", choices=racing, default=racing, help="with --quality; default: all"
    )
    parser.add_argument("--only", nargs="+", choices=("luthier", "trl", "llamafactory"))
    parser.add_argument("--public-data", type=Path, help="folder with lima/, natural_instructions/")
    parser.add_argument(
        "--threads", type=int, default=results.default_threads(), help="default: all cores"
    )
    parser.add_argument("--timeout", type=float, default=3600, help="seconds for one process")
    parser.add_argument("--no-install", action="store_true", help="install no peer")
    parser.add_argument("--out", type=Path, default=results.FOLDER, help="folder of the results")
    options = parser.parse_args()
    options.jobs = options.jobs or [*JOBS, "e"]
    for key in options.jobs:
        if key not in (*JOBS, "e"):
            parser.error(f"there is no job {key!r}; jobs: {' '.join([*JOBS, 'e'])}")
    return options


if __name__ == "__main__":
    main()
