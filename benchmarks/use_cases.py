"""The recipes that ship beside the promises detector, run to their end and measured.

    python benchmarks/use_cases.py                            every recipe, some minutes each
    python benchmarks/use_cases.py tense --tense pairs.csv    one, and its model on other pairs
    python benchmarks/use_cases.py --work FOLDER              keep the runs, and go on in them

Written to results/use_cases.md; recipes that are not run keep what they have.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from contestants import results

from luthier.artifacts import Evaluation
from luthier.console import say
from luthier.recipe import load
from luthier.run import STAGES, Run

RECIPES = Path(__file__).parent.parent / "recipes"
CASES = {
    "tense": "Past tense to future tense",
    "finance": "Questions about financial passages",
    "two_stage_instructions": "Two stages, the first: a mixture of instructions",
    "two_stage": "Two stages, the second: promises, from the first one's model",
}
NEEDS = {"two_stage": "two_stage_instructions"}
"""A recipe that another one's run is the model of."""
ELSEWHERE = ("tense", "past", "future")
"""The recipe that `--tense` measures, and the columns of that file."""
Part = dict[str, Any]


def main() -> None:
    options = _options()
    file = options.out / "use_cases.json"
    found = results.load(file)
    with tempfile.TemporaryDirectory(prefix="luthier-bench-") as scratch:
        work = options.work or Path(scratch)
        for case in options.cases:
            say(case, "bold")
            for recipe in filter(None, (NEEDS.get(case), case)):
                _luthier("run", str(RECIPES / f"{recipe}.yaml"), "--runs", str(work))
            run = Run.of(load(RECIPES / f"{case}.yaml", []), work)
            found[case] = _measured(run) | {
                "circumstances": results.circumstances(results.default_threads()),
                "load": os.getloadavg()[0],
            }
            recipe, past, future = ELSEWHERE
            if case == recipe and options.tense:
                found[case]["elsewhere"] = _luthier(
                    "evaluate", str(run.path), "--on", str(options.tense), "--input", past,
                    "--output", future,
                )["evaluation"]  # fmt: skip
            results.save(file, found)
    page = _page(found)
    file.with_suffix(".md").write_text(page, encoding="utf-8")
    print(page)


def _luthier(*arguments: str) -> Part:
    done = subprocess.run(
        [sys.executable, "-m", "luthier", *arguments, "--json"], check=True, stdout=subprocess.PIPE
    )
    said: Part = json.loads(done.stdout)
    return said


def _measured(run: Run) -> Part:
    evaluation = Evaluation.load(run)
    return {
        "rows": evaluation.rows,
        "systems": [system.model_dump() for system in evaluation.systems],
        "main_metric": evaluation.main_metric,
        "notes": evaluation.notes,
        "seconds": {stage: run.seconds(stage) for stage in STAGES},
    }


def _page(found: Part) -> str:
    parts = [
        "# The other recipes",
        "`python benchmarks/use_cases.py` writes this page: recipes/NAME.yaml from the rows to "
        "what is shipped, with the packaged SmolLM2-135M. Figures are those of the recipe's own "
        "test rows, with 95 % intervals; the difference is that of the tuned model to the "
        "baseline, row by row.",
    ]
    for case in (c for c in CASES if c in found):
        parts += _case(case, found[case])
    return "\n\n".join(parts) + "\n"


def _case(case: str, part: Part) -> list[str]:
    took = ", ".join(f"{stage} {seconds:.0f} s" for stage, seconds in part["seconds"].items())
    busy = f" Other work shared the machine (load {part['load']:.0f})." if part["load"] > 3 else ""
    found = [
        f"## {CASES[case]}: recipes/{case}.yaml",
        f"{part['rows']} test rows. {took}. {results.where(part['circumstances'])}.{busy}",
        _systems(part["systems"], part["main_metric"]),
    ]
    if elsewhere := part.get("elsewhere"):
        found += [
            f"The tuned model on {elsewhere['rows']} pairs of another source:",
            _systems(elsewhere["systems"], elsewhere["main_metric"]),
        ]
    return found + [f"- {note}" for note in part["notes"]]


def _systems(systems: list[Part], main: str) -> str:
    names = list(systems[0]["metrics"])
    rows = [
        [
            system["name"],
            *(_said(system["metrics"].get(name)) for name in names),
            _said(system["difference"], sign="+"),
        ]
        for system in systems
    ]
    return results.table(["system", *names, f"tuned - it ({main})"], rows)


def _said(estimate: Part | None, sign: str = "") -> str:
    if estimate is None:
        return ""
    value = f"{estimate['value']:{sign}.3f}"
    if estimate["low"] is None:
        return value
    return f"{value} [{estimate['low']:{sign}.3f}, {estimate['high']:{sign}.3f}]"


def _options() -> argparse.Namespace:
    assert __doc__
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cases", nargs="*", metavar=" ".join(CASES), help="default: all")
    parser.add_argument("--tense", type=Path, help="CSV of pairs to measure the tense model on")
    parser.add_argument("--work", type=Path, help="folder of the runs; default: a temporary one")
    parser.add_argument("--out", type=Path, default=results.FOLDER, help="folder of the results")
    options = parser.parse_args()
    options.cases = options.cases or list(CASES)
    if unknown := set(options.cases) - set(CASES):
        parser.error(f"no such recipe: {', '.join(sorted(unknown))} (of {', '.join(CASES)})")
    return options


if __name__ == "__main__":
    main()
