"""Results: one JSON file that measured parts are put into, and the page that is made of it."""

from __future__ import annotations

import json
import math
import os
import subprocess
from datetime import date
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

import scipy.stats

from contestants.contest import rate
from contestants.jobs import JOBS, WARMUP, Target
from contestants.process import HERE
from luthier import hardware
from luthier.console import size

FOLDER = HERE / "results"
Part = dict[str, Any]

FASTER = 5.0
"""Times TRL's time to a validation loss that is asked for."""
SURE = 0.05
"""Probability below which being worse is no accident."""
ENDS = {"loss": "validation loss", "accuracy": "test accuracy", "auroc": "test AUROC"}
"""What a run ends with."""


def circumstances(threads: int) -> Part:
    """Machine, commit and day of a measurement."""
    here = hardware.describe()
    memory = size(here.memory_total)
    amx = " with AMX" if here.amx and here.device == "cpu" else ""
    commit = _git("rev-parse", "--short", "HEAD") or "no git"
    changed = _git("status", "--porcelain", "--", "luthier", "recipes", "benchmarks/contestants")
    return {
        "machine": f"{here.device_name}{amx}, {here.cores} cores, {memory}",
        "threads": threads,
        "commit": commit + (" and uncommitted changes" if changed else ""),
        "day": date.today().isoformat(),
    }


def default_threads() -> int:
    """Threads for every contestant: OMP_NUM_THREADS, else all cores of this process."""
    return int(os.environ.get("OMP_NUM_THREADS") or hardware.cores())


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(HERE), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def load(path: Path) -> Part:
    """What has been measured so far."""
    if not path.is_file():
        return {}
    found: Part = json.loads(path.read_text(encoding="utf-8"))
    return found


def save(path: Path, found: Part) -> None:
    """Write the results; a stopped benchmark leaves the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = path.with_suffix(".part")
    staged.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    staged.replace(path)


# --- the page ----------------------------------------------------------------------------------


def page(found: Part) -> str:
    """The results as Markdown."""
    parts = [
        "# Training side by side",
        "`python benchmarks/training.py` (`make bench`) writes this page. All contestants train "
        "the same rows, token for token, in the same batches and order, with the same model, "
        "adapter and threads, each in a process of its own, one after the other and again. "
        f"Loading and the first {WARMUP} steps are not counted. Rates and memory are medians over "
        "the rounds; memory is the most that was resident at once (on a GPU: what tensors took).",
    ]
    keys = [key for key in found if key != "quality"]
    if keys:
        parts += ["## What was asked for", _targets(found)]
    parts += [_part(key, found[key]) for key in sorted(keys)]
    for key, quality in sorted(found.get("quality", {}).items()):
        parts.append(_quality(key, quality))
    return "\n\n".join(parts) + "\n"


def table(columns: list[str], rows: list[list[str]]) -> str:
    """A Markdown table: the first column to the left, the others to the right."""
    lines = [columns, ["---", *["---:"] * (len(columns) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _targets(found: Part) -> str:
    rows = []
    for key in sorted(k for k in found if k in JOBS):
        for target in JOBS[key].targets:
            ratio = _ratio(found[key], target)
            at_least = target.measure == "examples/s"
            sign = "≥" if at_least else "≤"
            met = ratio is not None and (ratio >= target.ratio) == at_least
            label = f"({key}) {target.measure}: {target.ours} / {target.theirs}"
            rows.append([label, f"{sign} {target.ratio:g}",
                         "not measured" if ratio is None else f"{ratio:.2f}",
                         "yes" if met else "no"])  # fmt: skip
    for key, quality in sorted(found.get("quality", {}).items()):
        rows += _quality_targets(key, quality["seeds"])
    return table(["ratio", "target", "measured", "reached"], rows)


def _ratio(part: Part, target: Target) -> float | None:
    ours, theirs = (part["contestants"].get(key) for key in (target.ours, target.theirs))
    if not ours or not theirs:
        return None
    value = _examples if target.measure == "examples/s" else _peak
    return value(ours) / value(theirs)


def _examples(contestant: Part) -> float:
    return float(median(rate(run, "examples") for run in contestant["runs"]))


def _tokens(contestant: Part) -> float:
    return float(median(rate(run, "tokens") for run in contestant["runs"]))


def _peak(contestant: Part) -> float:
    return float(median(run["peak_bytes"] for run in contestant["runs"]))


def _step_seconds(contestant: Part) -> float:
    runs = contestant["runs"]
    return float(median(mean(s["seconds"] for s in run["steps"][WARMUP:]) for run in runs))


def _part(key: str, part: Part) -> str:
    contestants = part["contestants"]
    rows = []
    for who in contestants.values():
        trl = contestants.get(f"trl-{who['precision']}")
        floors = [
            part["floor"].get(kind, {}).get(f"seconds_{who['precision']}")
            for kind in ("plain", "shared")
        ]
        seconds = _step_seconds(who)
        rows.append([
            who["label"], f"{_examples(who):.2f}", f"{_tokens(who):,.0f}", f"{seconds:.3g}",
            f"{_examples(who) / _examples(trl):.2f}" if trl else "",
            size(_peak(who)), f"{_peak(who) / _peak(trl):.0%}" if trl else "",
            *[f"{seconds / floor:.1f}" if floor else "" for floor in floors],
            f"{len(who['runs'])}",
        ])  # fmt: skip
    columns = ["contestant", "examples/s", "tokens/s", "s/step", "× TRL", "peak memory",
               "of TRL's", "× floor", "× shared floor", "rounds"]  # fmt: skip
    return "\n\n".join(
        [
            f"## ({key}) {part['title']}",
            f"{part['data']}. {where(part['circumstances'])}. {_versions(contestants)}",
            table(columns, rows),
            _floor(part),
            _losses(contestants),
            *[f"Note: {note}" for note in part["notes"]],
        ]
    )


def where(here: Part) -> str:
    """Machine, threads, commit and day, as a page says them."""
    return f"{here['machine']}, {here['threads']} threads; commit {here['commit']}, {here['day']}"


def _versions(contestants: Part) -> str:
    said: dict[str, list[str]] = {}
    for who in contestants.values():
        text = ", ".join(f"{name} {version}" for name, version in who["versions"].items())
        said.setdefault(text, []).append(who["label"].partition(",")[0])
    return " ".join(
        f"{' and '.join(dict.fromkeys(names))}: {text}." for text, names in said.items()
    )


def _floor(part: Part) -> str:
    if not part["floor"]:
        return ""
    plain, shared, rates = part["floor"]["plain"], part["floor"]["shared"], part["rates"]
    flops = {k: v["frozen"] + v["adapters"] + v["attention"] for k, v in part["floor"].items()}
    return (
        f"The floor is the step's least arithmetic ({flops['plain'] / 1e9:,.0f} GFLOP) at the "
        f"measured rate of a large product ({rates['fp32'] / 1e9:,.0f} GFLOP/s in fp32, "
        f"{rates['bf16'] / 1e9:,.0f} in bf16): {plain['seconds_fp32']:.3g} s in fp32, "
        f"{plain['seconds_bf16']:.3g} s with frozen products in bf16. With tokens whose past "
        f"another row of the batch has too computed once ({flops['shared'] / 1e9:,.0f} GFLOP): "
        f"{shared['seconds_fp32']:.3g} s and {shared['seconds_bf16']:.3g} s (`shared floor`)."
    )


def _losses(contestants: Part) -> str:
    """Loss of every step: equal first losses say that it is the same job."""
    rows = [
        [who["label"], *[f"{step['loss']:.4f}" for step in who["runs"][0]["steps"]]]
        for who in contestants.values()
    ]
    count = max(len(row) for row in rows) - 1
    if count > 10:
        rows = [[row[0], *[row[i] for i in _spread(count)]] for row in rows]
        heads = [f"step {i}" for i in _spread(count)]
    else:
        heads = [f"step {i}" for i in range(1, count + 1)]
    return table(["loss", *heads], rows)


def _spread(count: int) -> list[int]:
    return sorted({1, *[round(1 + i * (count - 1) / 9) for i in range(10)]})


# --- time to quality ---------------------------------------------------------------------------


def _quality(key: str, quality: Part) -> str:
    seeds: dict[str, Part] = quality["seeds"]
    parts = [
        f"## Time to quality: ({key}) {quality['title']}",
        f"{quality['data']}; {quality['steps']} steps. {where(quality['circumstances'])}. "
        "luthier is held against each of TRL's runs at the lowest validation loss that both came "
        "to; time is that of training, without loading and validation, read off between "
        "validations along a straight line.",
        _times(seeds),
        _ends(seeds),
    ]
    return "\n\n".join(parts)


def _quality_targets(key: str, seeds: dict[str, Part]) -> list[list[str]]:
    """Time to quality, and whether luthier ends no worse than TRL in fp32."""
    _, least = _compared(seeds)
    rows = []
    if least:
        middle, said = median(least), f"{min(least):.2f} to {max(least):.2f}"
        measured = (
            f"{middle:.2f} ({said}, {len(least)} seeds)" if len(least) > 1 else f"{middle:.2f}"
        )
        rows.append([f"({key}) time to quality: luthier-bf16 / TRL's best", f"≥ {FASTER:g}",
                     measured, "yes" if middle >= FASTER else "no"])  # fmt: skip
    for name, label in ENDS.items():
        pairs = _pairs(seeds, "luthier-bf16", name)
        whole = [(ours, theirs) for ours, theirs in pairs if theirs is not None]
        p = _worse(whole, lower=name == "loss")
        if p is None:
            continue
        ours, theirs = (mean(side) for side in zip(*whole, strict=True))
        rows.append([f"({key}) {label}: luthier-bf16 / trl-fp32", f"no worse, p ≥ {SURE:g}",
                     f"{ours:.4f} / {theirs:.4f}, p {p:.2f}",
                     "yes" if p >= SURE else "no"])  # fmt: skip
    return rows


def _times(seeds: dict[str, Part]) -> str:
    rows, least = _compared(seeds)
    if not rows:
        return "Not measured: there is no run of TRL."
    columns = ["seed", "against", "target loss", _labels(seeds)["luthier-bf16"], "TRL", "ratio"]
    said = (
        "Against TRL in its best precision, the smaller ratio of a seed: "
        f"{', '.join(f'{r:.2f}' for r in least)}; median {median(least):.2f} "
        f"(target: ≥ {FASTER:g})."
    )
    return table(columns, rows) + "\n\n" + said


def _compared(seeds: dict[str, Part]) -> tuple[list[list[str]], list[float]]:
    """Rows of luthier against each run of TRL, and the smallest ratio of each seed."""
    labels = _labels(seeds)
    rows: list[list[str]] = []
    least: list[float] = []
    for seed, found in seeds.items():
        ours = found.get("luthier-bf16")
        ratios = []
        for key in labels:
            if ours is None or not key.startswith("trl") or key not in found:
                continue
            both = (ours["validations"], found[key]["validations"])
            target = max(min(v["loss"] for v in seen) for seen in both)
            mine, theirs = (reached(seen, target) for seen in both)
            ratios.append(theirs / mine)
            rows.append([seed, labels[key], f"{target:.4f}", f"{mine:.0f} s", f"{theirs:.0f} s",
                         f"{theirs / mine:.2f}"])  # fmt: skip
        if ratios:
            least.append(min(ratios))
    return rows, least


def reached(validations: list[dict[str, float]], target: float) -> float:
    """Seconds of training after which the loss first was at the target; inf: never."""
    before: dict[str, float] | None = None
    for now in validations:
        if now["loss"] <= target:
            if before is None:
                return now["train_seconds"]
            share = (before["loss"] - target) / (before["loss"] - now["loss"])
            return before["train_seconds"] + share * (
                now["train_seconds"] - before["train_seconds"]
            )
        before = now
    return math.inf


def _ends(seeds: dict[str, Part]) -> str:
    """What each ends with, by one judge in fp32, and whether that is as good as TRL in fp32."""
    rows = []
    for key, label in _labels(seeds).items():
        cells = [label]
        for name in ENDS:
            pairs = _pairs(seeds, key, name)
            verdict = "" if key == "trl-fp32" else _verdict(pairs, lower=name == "loss")
            cells.append(_spread_of([ours for ours, _ in pairs]) + verdict)
        rows.append(cells)
    said = (
        "Mean over the seeds ± their standard deviation, all adapters judged in fp32 by the same "
        "code; p is that of being worse than TRL in fp32 (paired t-test over the seeds, "
        "one-sided). A seed fixes the split, the order and the adapter's first values for all."
    )
    return table(["at the end", *ENDS.values()], rows) + "\n\n" + said


def _pairs(seeds: dict[str, Part], key: str, name: str) -> list[tuple[float, float | None]]:
    """What a contestant and TRL in fp32 end with, seed by seed."""
    return [
        (ours, _end(found.get("trl-fp32"), name))
        for found in seeds.values()
        if (ours := _end(found.get(key), name)) is not None
    ]


def _labels(seeds: dict[str, Part]) -> dict[str, str]:
    return {key: who["label"] for found in seeds.values() for key, who in found.items()}


def _end(who: Part | None, name: str) -> float | None:
    if who is None:
        return None
    value = (
        who.get("judged", {}).get("validation_loss")
        if name == "loss"
        else who.get("tested", {}).get(name)
    )
    return None if value is None else float(value)


def _spread_of(values: list[float]) -> str:
    if not values:
        return ""
    return f"{mean(values):.4f}" + (f" ± {stdev(values):.4f}" if len(values) > 1 else "")


def _verdict(pairs: list[tuple[float, float | None]], *, lower: bool) -> str:
    """How sure it is that ours is worse than theirs, from pairs of one seed each."""
    p = _worse([(ours, theirs) for ours, theirs in pairs if theirs is not None], lower=lower)
    return "" if p is None else f" (p {p:.2f})"


def _worse(pairs: list[tuple[float, float]], *, lower: bool) -> float | None:
    if len(pairs) < 2:
        return None
    found = scipy.stats.ttest_rel(
        *zip(*pairs, strict=True), alternative="greater" if lower else "less"
    )
    return float(found.pvalue)
