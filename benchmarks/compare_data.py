"""`luthier compare-data` on the packaged model: do wrong labels harm, do more rows help?

    python benchmarks/compare_data.py                  two comparisons, two seeds; half an hour
    python benchmarks/compare_data.py --work FOLDER    can be stopped and repeated; goes on there

Rows are those of the authored promises that recipes/promises.yaml trains on. In the first
comparison a fifth of the labels of B is flipped; in the second B is a quarter of the rows of A.
Both are judged on the test split of the recipe. Results go to benchmarks/results/compare_data.md.
"""

from __future__ import annotations

import argparse
import csv
import json
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from contestants import results

from luthier import pipeline
from luthier.artifacts import load_examples
from luthier.console import duration, say
from luthier.evidence.comparison import figure
from luthier.evidence.pools import drawn
from luthier.example import Example
from luthier.recipe import load

RECIPE = Path(__file__).resolve().parents[1] / "recipes" / "promises.yaml"
SEEDS, STEPS = 2, 80
ROWS, FEWER, FLIPPED = 1000, 250, 0.2
COMPARISONS = {
    "labels": ("as-written.csv", "flipped.csv", "A fifth of the labels flipped"),
    "rows": ("as-written.csv", "fewer.csv", "1,000 rows against 250"),
}


def main() -> None:
    options = _options()
    with tempfile.TemporaryDirectory(prefix="luthier-compare-data-") as scratch:
        work = (options.work or Path(scratch)).resolve()
        work.mkdir(parents=True, exist_ok=True)
        _write_rows(work)
        file = options.out / "compare_data.json"
        for key in options.comparisons:
            a, b, _ = COMPARISONS[key]
            arguments = [
                a, b, "--recipe", str(RECIPE), "--seeds", str(options.seeds),
                "--name", key, "--runs", "runs",
                f"train.max_steps={options.steps}", "evaluate.metrics=[auroc, accuracy]",
            ]  # fmt: skip
            compared = {
                "command": shlex.join(["luthier", "compare-data", *arguments]),
                "circumstances": results.circumstances(results.default_threads()),
                "comparison": _compare(arguments, work),
            }
            text = json.dumps(compared).replace(str(RECIPE), "recipes/promises.yaml")
            found = results.load(file)
            found[key] = json.loads(text)
            results.save(file, found)
            page = _page(found)
            file.with_suffix(".md").write_text(page, encoding="utf-8")
    print(page)


def _page(found: dict[str, Any]) -> str:
    parts = [
        "# Two datasets, compared by training on them",
        "`python benchmarks/compare_data.py`: the packaged SmolLM2-135M and the settings of "
        f"recipes/promises.yaml with fewer steps, on {ROWS:,} rows drawn from its training split, "
        "judged on its test split. Figures are means over the seeds with 95 % intervals over seeds "
        "and rows; with two seeds intervals are wide where the two differ.",
    ]
    return "\n\n".join([*parts, *(_part(key, found[key]) for key in found)]) + "\n"


def _write_rows(work: Path) -> None:
    """The files of the datasets, drawn from the training rows of the recipe."""
    run, _ = pipeline.bring_up_to(load(RECIPE), "data", runs=work / "runs", quiet=True)
    rows = drawn(load_examples(run, "train"), ROWS, ["benchmark"])
    wrong = {row.id for row in drawn(rows, round(FLIPPED * ROWS), ["flipped"])}
    other = {"True": "False", "False": "True"}
    _write(work / "as-written.csv", rows, [str(row.label) for row in rows])
    labels = [other[str(row.label)] if row.id in wrong else str(row.label) for row in rows]
    _write(work / "flipped.csv", rows, labels)
    fewer = drawn(rows, FEWER, ["fewer"])
    _write(work / "fewer.csv", fewer, [str(row.label) for row in fewer])


def _write(path: Path, rows: Sequence[Example], labels: Sequence[str]) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["sentence", "label"])
        writer.writerows(
            (row.fields["input"], label) for row, label in zip(rows, labels, strict=True)
        )


def _compare(arguments: Sequence[str], work: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "luthier", "compare-data", *arguments, "--json"]
    say(" ".join(command), style="bold")
    done = subprocess.run(command, cwd=work, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)["comparison"]
    return found


def _part(key: str, compared: dict[str, Any]) -> str:
    found, here = compared["comparison"], compared["circumstances"]
    metrics = list(found["arms"][0]["metrics"])
    arms = [
        [arm["name"], f"{arm['rows'][0]:,}", str(arm["steps"][0]),
         *[_figure(arm["metrics"][name]) for name in metrics]]
        for arm in found["arms"]
    ]  # fmt: skip
    pairs = [
        [f"{pair['first']} - {pair['second']}",
         *[_figure(pair["metrics"][name], sign=True) for name in metrics],
         ", ".join(f"{value:+.3f}" for value in pair["by_seed"][metrics[0]])]
        for pair in found["pairs"]
    ]  # fmt: skip
    removed = [
        f"{key.upper()}: {count} ({reason})"
        for key, side in found["sides"].items()
        for reason, count in side["removed"].items()
    ]
    took = sum(sum(arm["seconds"]) for arm in found["arms"])
    planned = found["estimated_seconds"]
    return "\n\n".join(
        [
            f"## {COMPARISONS[key][2]}",
            f"`{compared['command']}`",
            f"{here['machine']}, {here['threads']} threads; commit {here['commit']}, "
            f"{here['day']}.",
            f"Judged on {found['held_out']['rows']} rows, {found['held_out']['what']}. Taken out "
            f"because they resemble those: {'; '.join(removed) or 'none'}. All trainings together "
            f"took {duration(took)}; their plans said "
            f"{'nothing' if planned is None else duration(planned)}.",
            results.table(["trained on", "rows", "steps", *metrics], arms),
            results.table(["difference", *metrics, f"{metrics[0]} by seed"], pairs),
            "\n".join(f"- {pair['question']} {pair['said']}" for pair in found["pairs"]),
            "\n".join(f"Note: {note}" for note in found["notes"]),
        ]
    ).rstrip()


def _figure(estimate: dict[str, Any], *, sign: bool = False) -> str:
    from luthier.artifacts import Estimate

    return figure(Estimate.model_validate(estimate), sign=sign)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=SEEDS, help=f"trainings of each ({SEEDS})")
    parser.add_argument("--steps", type=int, default=STEPS, help=f"optimizer steps ({STEPS})")
    parser.add_argument("--comparisons", nargs="+", choices=COMPARISONS, default=list(COMPARISONS))
    parser.add_argument("--work", type=Path, help="folder to go on in; default: a temporary one")
    parser.add_argument("--out", type=Path, default=results.FOLDER, help="folder of the results")
    return parser.parse_args()


if __name__ == "__main__":
    main()
