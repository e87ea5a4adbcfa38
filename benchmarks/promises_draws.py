"""How much of the promises detector is the draw: the recipe trained again with other seeds.

    python benchmarks/promises_draws.py --real real.csv --runs draws      about 20 minutes
    python benchmarks/promises_draws.py --set "no mean" train.swa_start=null --set "as it is"

A draw is a seed: it decides on the first weights, the order of rows and the split. The first seed
is also drawn with character references in the rows resolved ("&amp;" -> "&"), where there are any:
as good as the same rows, and another training. Draws are compared on sentences none of them was
trained on (`--real`: a file with the columns of the recipe, e.g. real sentences; else nothing is
compared): how far their probabilities are apart, and how often they decide otherwise. That needs
no label. Where the file has labels, they are only used for accuracy and AUROC. Runs that are in
`--runs` already are not trained again.
"""

from __future__ import annotations

import argparse
import csv
import html
import itertools
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
from contestants.jobs import RECIPES
from contestants.results import table
from sklearn.metrics import roc_auc_score

from luthier import pipeline, predict, recipe
from luthier.artifacts import load_examples
from luthier.console import say
from luthier.run import Run

ROWS = "luthier:promises.csv"


@dataclass(frozen=True)
class Draw:
    """One training of a setting."""

    name: str
    real: np.ndarray
    """Probability of True for the sentences of `--real`."""
    scores: dict[str, float]
    """What is known of it: authored test accuracy and AUROC, validation loss, ..."""


def main() -> None:
    options = _options()
    texts, gold = _real(options.real, options.input, options.output)
    settings = {name: overrides for name, *overrides in options.set or [["as it is"]]}
    with tempfile.TemporaryDirectory(prefix="luthier-draws-") as scratch:
        runs = options.runs or Path(scratch)
        for name, overrides in settings.items():
            draws = []
            for draw, path, seed in _draws(options.seeds, runs):
                given = [f"seed={seed}", *overrides]
                run, _ = pipeline.bring_up_to(recipe.load(path, given), "train", runs=runs)
                draws.append(_measure(draw, run, texts, gold))
                say(f"{name}, {draw}: {draws[-1].scores}")
            print(f"\n**{name}** {' '.join(f'`{o}`' for o in overrides)}\n")
            print(_page(draws), flush=True)


def _draws(seeds: Sequence[int], runs: Path) -> Iterator[tuple[str, Path, int]]:
    """(name, recipe, seed) of each."""
    path = RECIPES / "promises.yaml"
    for seed in seeds:
        yield f"seed {seed}", path, seed
    source = resources.files("luthier") / "datasets" / "promises.csv"
    rows = source.read_text(encoding="utf-8")
    if (resolved := _resolved(rows)) != rows:
        runs.mkdir(parents=True, exist_ok=True)
        there, recipe_there = runs / "resolved.csv", runs / "promises-resolved.yaml"
        there.write_text(resolved, encoding="utf-8")
        text = path.read_text(encoding="utf-8").replace(ROWS, str(there.resolve()))
        text = text.replace("name: promises\n", "name: promises-resolved\n")  # a run of its own
        recipe_there.write_text(text, encoding="utf-8")
        yield f"seed {seeds[0]}, references resolved", recipe_there, seeds[0]


def _resolved(rows: str) -> str:
    """Nothing resolves to a quotation mark, so the rows stay CSV.

    Raises:
        ValueError: one does.
    """
    resolved = html.unescape(rows)
    if resolved.count('"') != rows.count('"'):
        raise ValueError("a character reference stands for a quotation mark")
    return resolved


def _measure(name: str, run: Run, texts: list[str], gold: list[bool]) -> Draw:
    predictor = predict.load(run)
    test = load_examples(run, "test")
    p_test = _probabilities(predictor, [str(row.fields["input"]) for row in test])
    scores = {"validation loss": run.events("validation")[-1]["metrics"]["loss"]}
    scores |= _scores("authored test", p_test, [row.label == "True" for row in test])
    real = _probabilities(predictor, texts)
    if gold:
        scores |= _scores("real", real, gold)
    return Draw(name, real, scores)


def _probabilities(predictor: predict.Predictor, texts: list[str]) -> np.ndarray:
    return np.array([p.probabilities["True"] for p in predictor.predict(texts)])


def _scores(what: str, p: np.ndarray, gold: list[bool]) -> dict[str, float]:
    hits = np.asarray(p > 0.5) == np.asarray(gold)
    return {f"{what}: accuracy": float(hits.mean()), f"{what}: AUROC": roc_auc_score(gold, p)}


def _page(draws: list[Draw]) -> str:
    """A table of the draws, and one of how far they agree."""
    names = list(draws[0].scores)
    rows = [[d.name, *(f"{d.scores[name]:.3f}" for name in names)] for d in draws]
    rows.append(["mean", *(f"{mean(d.scores[name] for d in draws):.3f}" for name in names)])
    worst = [(max if "loss" in name else min)(d.scores[name] for d in draws) for name in names]
    rows.append(["worst", *(f"{value:.3f}" for value in worst)])
    text = table(["draw", *names], rows)
    if len(draws) > 1 and len(draws[0].real):
        apart, flipped = disagreement([d.real for d in draws])
        text += f"\n\nReal sentences, over pairs of draws: probabilities {apart:.3f} apart, "
        text += f"{flipped:.1%} decided otherwise."
    return text


def disagreement(probabilities: Sequence[np.ndarray]) -> tuple[float, float]:
    """(mean |p - q|, share of decisions that differ), means over all pairs of draws."""
    pairs = list(itertools.combinations(probabilities, 2))
    apart = mean(float(np.abs(p - q).mean()) for p, q in pairs)
    return apart, mean(float(((p > 0.5) != (q > 0.5)).mean()) for p, q in pairs)


def _real(path: Path | None, text: str, label: str) -> tuple[list[str], list[bool]]:
    if path is None:
        return [], []
    with path.open(encoding="utf-8", newline="") as file:
        rows: list[dict[str, Any]] = list(csv.DictReader(file))
    labelled = all(row.get(label) in ("True", "False") for row in rows)
    return [row[text] for row in rows], [row[label] == "True" for row in rows if labelled]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[42, 43, 44])
    parser.add_argument("--real", type=Path, help="CSV of sentences to compare draws on")
    parser.add_argument("--input", default="sentence", help="its column of sentences")
    parser.add_argument("--output", default="label", help="its column of labels, if it has one")
    parser.add_argument("--runs", type=Path, help="folder to keep the runs in")
    parser.add_argument(
        "--set", nargs="+", action="append", metavar=("NAME", "key=value"), help="another setting"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
