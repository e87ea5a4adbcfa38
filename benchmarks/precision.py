"""What precision costs in quality: the same job in fp32, bf16 autocast and frozen bf16.

    python benchmarks/precision.py                      three seeds, both bases; about two hours
    python benchmarks/precision.py --seeds 42 --bases plain --steps 60

Validation loss and AUROC over the steps of the promises recipe, on a plain base and on one in 4
bits. Results go to benchmarks/results/precision.json and precision.md; what is not run again
stays as it is.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

from contestants import results
from contestants.contest import NEVER
from contestants.jobs import BATCH, RECIPES, WARMUP
from contestants.process import Setting, run_worker

from luthier.console import say

SEEDS = (42, 43, 44)
STEPS = 120
POINTS = 6
"""Validations over a run."""
PRECISIONS = {
    "fp32": ("train.bf16=false",),
    "bf16 autocast": ("train.bf16=true", "train.autocast=true"),
    "frozen bf16": ("train.bf16=true",),
}
BASES = ("plain", "4-bit")


def main() -> None:
    options = _options()
    file = options.out / "precision.json"
    found = results.load(file)
    every = max(1, options.steps // POINTS)
    heading = {"steps": options.steps, "batch": BATCH, "every": every}
    if {name: found.get(name) for name in heading} != heading:
        found = {**heading, "bases": {}}
    here = found.setdefault("circumstances", {})
    here |= dict.fromkeys(options.bases, results.circumstances(options.threads))
    setting = Setting(options.threads, gpu=True, timeout=options.timeout)
    with tempfile.TemporaryDirectory(prefix="luthier-precision-") as scratch:
        for seed in options.seeds:
            for base in options.bases:
                for precision in PRECISIONS:
                    done = _run(base, precision, seed, Path(scratch), setting, heading)
                    if done is None:
                        continue
                    kept = found["bases"].setdefault(base, {}).setdefault(precision, {})
                    kept[str(seed)] = done
                    results.save(file, found)
    results.save(file, found)
    text = _page(found)
    file.with_suffix(".md").write_text(text, encoding="utf-8")
    print(text)


def _run(
    base: str, precision: str, seed: int, scratch: Path, setting: Setting, heading: dict[str, int]
) -> dict[str, Any] | None:
    name = f"{base}-{precision.replace(' ', '-')}-{seed}"
    job = {
        "recipe": str(RECIPES / "promises.yaml"),
        "runs": str(scratch / name / "runs"),
        "last": "train",
        "auroc": True,
        "overrides": [
            f"seed={seed}",
            f"train.per_device_train_batch_size={BATCH}",
            f"train.max_steps={heading['steps']}",
            f"train.eval_steps={heading['every']}",
            f"train.save_steps={NEVER}",
            "train.load_best_model_at_end=false",
            "train.lr_scheduler_type=warmup_stable_decay",
            "train.swa_start=null",  # what is compared are the steps
            *PRECISIONS[precision],
            *_quantization(base, precision),
        ],
    }
    done = run_worker("luthier_worker", job, scratch / name / "train", setting)
    if done.failure:
        say(f"{base}, {precision}, seed {seed}: {done.failure}", "yellow")
        return None
    points = [
        {k: line[k] for k in ("step", "loss", "auroc", "accuracy")}
        for line in done.events("validation")
    ]
    seconds = [line["seconds"] for line in done.events("step")[WARMUP:]]
    last = points[-1]
    say(
        f"{base}, {precision}, seed {seed}: {median(seconds):.3g} s/step, validation loss "
        f"{last['loss']:.4f}, AUROC {last['auroc']:.4f}"
    )
    return {"validations": points, "step_seconds": median(seconds)}


def _quantization(base: str, precision: str) -> list[str]:
    """Of a base in 4 bits: its products are computed in what they are de-quantized to."""
    if base == "plain":
        return []
    dtype = "float32" if precision == "fp32" else "bfloat16"
    return [f"train.quantization={{load_in_4bit: true, bnb_4bit_compute_dtype: {dtype}}}"]


def _page(found: dict[str, Any]) -> str:
    parts = [
        "# Precision and quality",
        f"`python benchmarks/precision.py`: recipes/promises.yaml, batch {found['batch']}, "
        f"{found['steps']} steps; validation rows of the authored promises. Means over the seeds "
        "± their standard deviation. `frozen bf16` computes the products with frozen weights in "
        "bfloat16 and all else in fp32; `bf16 autocast` is what Hugging Face's `bf16` means.",
    ]
    for base, precisions in found["bases"].items():
        here = found["circumstances"][base]
        parts.append(f"## {base} base")
        parts.append(
            f"{here['machine']}, {here['threads']} threads; commit {here['commit']}, {here['day']}."
        )
        for name, what in (("loss", "validation loss"), ("auroc", "AUROC")):
            parts.append(_over_steps(precisions, name, what))
    return "\n\n".join(parts) + "\n"


def _over_steps(precisions: dict[str, Any], name: str, what: str) -> str:
    some = next(iter(next(iter(precisions.values())).values()))
    steps = [point["step"] for point in some["validations"]]
    rows = []
    for precision, seeds in precisions.items():
        seconds = median(run["step_seconds"] for run in seeds.values())
        columns = zip(*(run["validations"] for run in seeds.values()), strict=True)
        cells = [_mean([point[name] for point in points]) for points in columns]
        rows.append([precision, str(len(seeds)), f"{seconds:.3g}", *cells])
    return results.table([what, "seeds", "s/step", *[f"step {step}" for step in steps]], rows)


def _mean(values: list[float]) -> str:
    return f"{mean(values):.4f}" + (f" ± {stdev(values):.4f}" if len(values) > 1 else "")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--bases", nargs="+", choices=BASES, default=BASES)
    parser.add_argument("--steps", type=int, default=STEPS, help=f"optimizer steps ({STEPS})")
    parser.add_argument(
        "--threads", type=int, default=results.default_threads(), help="default: all cores"
    )
    parser.add_argument("--timeout", type=float, default=3600, help="seconds for one run")
    parser.add_argument("--out", type=Path, default=results.FOLDER, help="folder of the results")
    options = parser.parse_args()
    if options.steps <= WARMUP:
        parser.error(f"--steps: more than {WARMUP}, which are warm-up and not timed")
    return options


if __name__ == "__main__":
    main()
