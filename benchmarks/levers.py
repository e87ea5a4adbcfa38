"""What each lever of a recipe costs and saves: one change at a time from the plain recipe.

    python benchmarks/levers.py                       all, about 15 minutes on two cores
    python benchmarks/levers.py plain packing         some, the plain recipe among them
    python benchmarks/levers.py --list

Writes benchmarks/results/levers.md, and the same table into docs/training.md between its marks.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from contestants import results
from contestants.contest import NEVER
from contestants.jobs import BATCH, RECIPES, WARMUP
from contestants.process import HERE, Finished, Setting, run_worker

from luthier.console import say, size

DOCUMENT = HERE.parent / "docs" / "training.md"
BEGIN, END = "<!-- levers: begin -->", "<!-- levers: end -->"
STEPS = 24


@dataclass(frozen=True)
class Lever:
    """One change to the plain recipe."""

    name: str
    overrides: tuple[str, ...]
    batch: int = BATCH
    """Lines of a micro-batch."""

    @property
    def change(self) -> str:
        """What a user would write."""
        shown = [o.removeprefix("train.").replace("=", ": ", 1) for o in self.overrides]
        return ", ".join(shown) or f"LoRA r: 16, frozen bf16, batch {BATCH}"


def _train(*settings: str) -> tuple[str, ...]:
    return tuple(f"train.{setting}" for setting in settings)


PLAIN = Lever("plain", ())
LEVERS = (
    PLAIN,
    Lever("fp32", _train("bf16=false")),
    Lever("bf16 autocast", _train("bf16=true", "autocast=true")),
    Lever("nothing shared", ("data.template=promise",)),
    Lever("group_by_length", _train("group_by_length=true")),
    # Two rows of about 110 tokens fit into a line, so half as many lines are as many rows.
    Lever("packing", _train("packing=true"), batch=BATCH // 2),
    Lever("batch of 2", (), batch=2),
    Lever("batch of 32", (), batch=32),
    Lever("accumulation", _train("gradient_accumulation_steps=4"), batch=BATCH // 4),
    Lever("gradient_checkpointing", _train("gradient_checkpointing=true")),
    Lever("4-bit base", _train("quantization={load_in_4bit: true}")),
    Lever(
        "4-bit base, fp32",
        _train("quantization={load_in_4bit: true, bnb_4bit_compute_dtype: float32}"),
    ),
    Lever("8-bit base", _train("quantization={load_in_8bit: true}")),
    Lever("8-bit optimizer", _train("optim=adamw_bnb_8bit")),
    Lever("r of 4", _train("lora.r=4", "lora.lora_alpha=8")),
    Lever("r of 64", _train("lora.r=64", "lora.lora_alpha=128")),
    Lever("attention only", _train("lora.target_modules=[q_proj, v_proj]")),
    Lever("LoRA dropout", _train("lora.lora_dropout=0.1")),
    Lever("DoRA", _train("lora.use_dora=true")),
    Lever("NEFTune", _train("neftune_noise_alpha=5")),
    Lever("label smoothing", _train("label_smoothing_factor=0.1")),
    Lever("class smoothing", _train("label_smoothing_factor=0.1", "label_smoothing_over=classes")),
    Lever("mean of the weights", _train("swa_start=0.7")),
    Lever("full fine-tuning", _train("lora=null", "learning_rate=3e-5")),
)


def main() -> None:
    options = _options()
    setting = Setting(options.threads, gpu=True, timeout=options.timeout)
    rows: list[list[str]] = []
    plain: float | None = None
    with tempfile.TemporaryDirectory(prefix="luthier-levers-") as scratch:
        for lever in LEVERS:
            if options.levers and lever.name not in options.levers:
                continue
            runs = [
                _run(lever, Path(scratch), setting, options.steps, n)
                for n in range(options.repeats)
            ]
            measured = [_figures(done) for done in runs if not done.failure]
            if not measured:
                say(f"{lever.name}: {runs[0].failure}", "yellow")
                rows.append([lever.name, f"`{lever.change}`", "failed", "", "", "", ""])
                continue
            figures = {name: median(run[name] for run in measured) for name in measured[0]}
            plain = figures["examples"] if lever is PLAIN else plain
            rows.append(_row(lever, figures, plain))
            say(f"{lever.name}: " + ", ".join(rows[-1][2:]))
    text = _text(rows, options.steps, setting)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "levers.md").write_text(f"# Levers\n\n{text}\n", encoding="utf-8")
    if not options.no_document:
        _into_document(text, DOCUMENT)
    print(text)


def _run(lever: Lever, scratch: Path, setting: Setting, steps: int, number: int) -> Finished:
    """Plan in one process and train in the next, so that training's memory is its own."""
    name = f"{lever.name.replace(' ', '-')}-{number}"
    job: dict[str, Any] = {
        "recipe": str(RECIPES / "promises.yaml"),
        "runs": str(scratch / name / "runs"),
        "overrides": [
            "train.group_by_length=false",
            f"train.per_device_train_batch_size={lever.batch}",
            f"train.max_steps={steps + WARMUP}",
            f"train.save_steps={NEVER}",
            f"train.eval_steps={NEVER}",
            "train.load_best_model_at_end=false",
            "train.swa_start=null",
            "data.split.validation=0.02",
            *lever.overrides,
        ],
    }
    planned = run_worker(
        "luthier_worker", {**job, "last": "plan"}, scratch / name / "plan", setting
    )
    if planned.failure:
        return planned
    return run_worker("luthier_worker", {**job, "last": "train"}, scratch / name / "train", setting)


def _figures(done: Finished) -> dict[str, float]:
    steps = done.events("step")[WARMUP:]
    seconds = sum(step["seconds"] for step in steps)
    gpu = done.events("end")[0]["gpu_peak_bytes"]
    return {
        "seconds": seconds / len(steps),
        "examples": sum(step["examples"] for step in steps) / seconds,
        "peak": gpu or done.peak_bytes,
        "loss": done.events("validation")[-1]["loss"],
    }


def _row(lever: Lever, figures: dict[str, float], plain: float | None) -> list[str]:
    batch = f", batch {lever.batch}" if lever.batch != BATCH else ""
    change = f"`{lever.change}`{batch}" if lever.overrides else f"{lever.change}"
    if lever is not PLAIN and not lever.overrides:
        change = f"`per_device_train_batch_size: {lever.batch}`"
    return [
        lever.name,
        change,
        f"{figures['seconds']:.3g}",
        f"{figures['examples']:.2f}",
        f"{figures['examples'] / plain:.2f}" if plain else "",
        size(figures["peak"]),
        f"{figures['loss']:.4f}",
    ]


def _text(rows: list[list[str]], steps: int, setting: Setting) -> str:
    here = results.circumstances(setting.threads)
    columns = ["lever", "change", "s/step", "examples/s", "× plain", "peak memory",
               "validation loss"]  # fmt: skip
    return (
        f"`python benchmarks/levers.py`: recipes/promises.yaml, batch {BATCH}, {steps} steps after "
        f"{WARMUP} of warm-up, one change at a time. {here['machine']}, {here['threads']} threads; "
        f"commit {here['commit']}, {here['day']}.\n\n" + results.table(columns, rows)
    )


def _into_document(text: str, document: Path) -> None:
    """Put the table between its marks."""
    old = document.read_text(encoding="utf-8")
    before, begin, rest = old.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise SystemExit(f"{document}: the marks {BEGIN} and {END} are missing.")
    document.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", encoding="utf-8")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("levers", nargs="*", help="default: all")
    parser.add_argument("--list", action="store_true", help="print the levers and stop")
    parser.add_argument("--steps", type=int, default=STEPS, help=f"measured ({STEPS})")
    parser.add_argument("--repeats", type=int, default=1, help="processes per lever (1)")
    parser.add_argument(
        "--threads", type=int, default=results.default_threads(), help="default: all cores"
    )
    parser.add_argument("--timeout", type=float, default=1800, help="seconds for one process")
    parser.add_argument("--out", type=Path, default=results.FOLDER, help="folder of levers.md")
    parser.add_argument("--no-document", action="store_true", help="leave docs/training.md alone")
    options = parser.parse_args()
    names = [lever.name for lever in LEVERS]
    if options.list:
        for lever in LEVERS:
            print(f"{lever.name}: {lever.change}")
        raise SystemExit(0)
    for name in options.levers:
        if name not in names:
            parser.error(f"there is no lever {name!r}; levers: {', '.join(names)}")
    return options


if __name__ == "__main__":
    main()
