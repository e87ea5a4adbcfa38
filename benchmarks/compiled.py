"""What `torch.compile` would bring: the promises job with its decoder layers compiled, and without.

    python benchmarks/compiled.py [--steps 24]

Both train the same rows for as many steps, in processes of their own, one after the other. Prints
a table; nothing is kept.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from statistics import median

from contestants import results
from contestants.jobs import RECIPES, WARMUP
from contestants.process import Finished, Setting, run_worker

KINDS = {"as it is": False, "layers compiled": True}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--threads", type=int, default=results.default_threads())
    options = parser.parse_args()
    setting = Setting(options.threads, gpu=True, timeout=1800)
    rows = []
    with tempfile.TemporaryDirectory(prefix="luthier-compiled-") as scratch:
        for kind, compiled in KINDS.items():
            job = {
                "recipe": str(RECIPES / "promises.yaml"),
                "runs": str(Path(scratch) / kind / "runs"),
                "last": "train",
                "compile": compiled,
                "overrides": [
                    f"train.max_steps={options.steps}",
                    "train.load_best_model_at_end=false",
                    "data.split.validation=0",
                ],
            }
            done = run_worker("luthier_worker", job, Path(scratch) / kind / "train", setting)
            rows.append([kind, *(_cells(done) if not done.failure else [done.failure, "", ""])])
    print(results.table(["", "s/step", f"first {WARMUP} steps, s", "last loss"], rows))


def _cells(done: Finished) -> list[str]:
    steps = done.events("step")
    seconds = [step["seconds"] for step in steps]
    return [
        f"{median(seconds[WARMUP:]):.3f}", f"{sum(seconds[:WARMUP]):.1f}",
        f"{steps[-1]['loss']:.4f}",
    ]  # fmt: skip


if __name__ == "__main__":
    main()
