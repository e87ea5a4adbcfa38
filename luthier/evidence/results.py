"""What came out of a comparison: a score for every arm, and every pair that says something."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from luthier.artifacts import TrainSummary, load_examples
from luthier.evaluation.compare_seeds import OverSeeds, compare_seeds, over_seeds
from luthier.evaluation.outcome import Metric, Outcome
from luthier.evidence.comparison import ArmResult, Pair, digits_of, verdict
from luthier.evidence.pools import Arm, ArmKey
from luthier.recipe import Recipe
from luthier.run import Run

Outcomes = Mapping[ArmKey, Sequence[Outcome]]


def arm_results(
    arms: Sequence[Arm],
    made: Mapping[ArmKey, Sequence[Run]],
    outcomes: Outcomes,
    metrics: Sequence[Metric],
    recipe: Recipe,
) -> list[ArmResult]:
    """Rows, steps and scores of every arm.

    Args:
        arms: the draws.
        made: the runs of each, one per seed.
        outcomes: what those said about the held-out rows.
        metrics: the main one first.
        recipe: says how often is resampled.
    """
    return [_arm(arm, made[arm.key], _scores(outcomes[arm.key], metrics, recipe)) for arm in arms]


def _arm(arm: Arm, made: Sequence[Run], scores: Mapping[str, OverSeeds]) -> ArmResult:
    summaries = [TrainSummary.load(run) for run in made]
    return ArmResult(
        key=arm.key,
        name=arm.name,
        rows=[len(load_examples(run, "train")) for run in made],
        steps=[summary.steps for summary in summaries],
        runs=[str(run.path) for run in made],
        seconds=[summary.seconds for summary in summaries],
        metrics={name: score.estimate for name, score in scores.items()},
        by_seed={name: score.by_seed for name, score in scores.items()},
    )


def _scores(
    outcomes: Sequence[Outcome], metrics: Sequence[Metric], recipe: Recipe
) -> dict[str, OverSeeds]:
    samples = recipe.evaluate.bootstrap_samples
    found = {m.name: over_seeds(m, outcomes, samples=samples, seed=recipe.seed) for m in metrics}
    return {name: score for name, score in found.items() if score is not None}


def pair_results(
    arms: Sequence[Arm], outcomes: Outcomes, metrics: Sequence[Metric], recipe: Recipe
) -> list[Pair]:
    """Every pair of arms that answers a question, the datasets themselves first.

    Args: as those of `arm_results`.
    """
    by_key = {arm.key: arm for arm in arms}
    return [
        _pair(by_key[first], by_key[second], question, outcomes, metrics, recipe)
        for first, second, question in _questions(by_key)
    ]


def _questions(arms: Mapping[ArmKey, Arm]) -> list[tuple[ArmKey, ArmKey, str]]:
    found: list[tuple[ArmKey, ArmKey, str]] = [("a", "b", "Which dataset makes the better model?")]
    if (control := arms.get("control")) is None:
        return found
    larger: ArmKey = "a" if control.pool is arms["a"].pool else "b"
    smaller: ArmKey = "b" if larger == "a" else "a"
    better = (
        f"Are the rows of {smaller.upper()} better, row for row, than as many random rows of "
        f"{larger.upper()}?"
    )
    if arms[larger].size == control.size:
        more = f"How much does another random draw from {larger.upper()} change?"
    else:
        more = f"Do more rows of {larger.upper()} help?"
    return [*found, (smaller, "control", better), (larger, "control", more)]


def _pair(
    first: Arm,
    second: Arm,
    question: str,
    outcomes: Outcomes,
    metrics: Sequence[Metric],
    recipe: Recipe,
) -> Pair:
    ones, others = outcomes[first.key], outcomes[second.key]
    samples = recipe.evaluate.bootstrap_samples
    compared = {
        metric.name: found
        for metric in metrics
        if (found := compare_seeds(metric, ones, others, samples=samples, seed=recipe.seed))
    }
    main = compared.get(metrics[0].name)
    both = [_scores(each, metrics[:1], recipe) for each in (ones, others)]
    which, said = verdict(
        main.estimate if main else None,
        (first.name, second.name),
        lower_is_better=metrics[0].better == "lower",
        rows=len(ones[0]),
        seeds=len(ones),
        reach=main.reach if main else None,
        digits=digits_of([score.estimate.value for scores in both for score in scores.values()]),
    )
    return Pair(
        first=first.key,
        second=second.key,
        question=question,
        metrics={name: found.estimate for name, found in compared.items()},
        by_seed={name: found.by_seed for name, found in compared.items()},
        verdict=which,
        said=said,
    )
