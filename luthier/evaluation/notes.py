"""What a reader must not miss, in plain words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from luthier.artifacts import Calibration, Estimate, SystemResult
from luthier.evaluation.calibration import COLDEST, HOTTEST
from luthier.evaluation.compare import rows_for_reach
from luthier.evaluation.outcome import Metric
from luthier.example import Example

WIDE = 0.08
"""Half an interval of a share beyond which it says little."""
WANTED = 0.05
"""Half an interval worth having."""
FEW_TRAINING_ROWS = 100
FEW_OF_A_LABEL = 10
LOPSIDED = 0.8
"""Share of the commonest label from which accuracy flatters."""
FEW_CALIBRATION_ROWS = 50

_PROMPTED = ("zero_shot", "few_shot")
_NAMES = {
    "majority": "always answering the commonest label",
    "tfidf": "TF-IDF with logistic regression",
    "zero_shot": "the base model without training (zero-shot)",
    "few_shot": "the base model with examples in its prompt (few-shot)",
}


def on_baselines(metric: Metric, systems: Sequence[SystemResult]) -> list[str]:
    """One note for each baseline that the tuned model is not measurably better than.

    Args:
        metric: the main metric.
        systems: the tuned model first.
    """
    tuned = systems[0].metrics.get(metric.name)
    values = [system.metrics.get(metric.name) for system in systems]
    if len(systems) > 1 and all(value is not None and value.value == 0 for value in values):
        return [
            f"Every system scores 0 in {metric.name}, so it does not tell them apart. Look at the "
            "other metrics and at the answers."
        ]
    notes = []
    for system in systems[1:]:
        theirs = system.metrics.get(metric.name)
        if tuned is None or theirs is None or system.difference is None:
            continue
        verdict = _verdict(system.difference, metric)
        if verdict == "better":
            continue
        figures = (
            f"{metric.name} {tuned.value:.3f} against {theirs.value:.3f}, "
            f"difference {_signed(system.difference)}"
        )
        name = _NAMES.get(system.name, system.name)
        if verdict == "worse":
            notes.append(f"The tuned model is worse than {name}: {figures}.{_advice(system.name)}")
        else:
            notes.append(
                f"The tuned model is not measurably better than {name}: {figures}."
                f"{_advice(system.name)}"
            )
    return notes


def on_intervals(
    metrics: Sequence[Metric], systems: Sequence[SystemResult], sliced: Sequence[Estimate] = ()
) -> list[str]:
    """One note for each metric that has values without an interval where one is expected.

    Args:
        metrics: all of them, the main one first.
        systems: the tuned model first.
        sliced: the main metric's values in the slices.
    """
    notes = []
    for metric in metrics:
        if not metric.resampled:
            continue  # it never has one, and its description says why
        bare = [
            system.name
            for system in systems
            if (found := system.metrics.get(metric.name)) is not None and found.low is None
        ]
        if metric is metrics[0]:
            bare += [
                f"the difference to {system.name}"
                for system in systems
                if system.difference is not None and system.difference.low is None
            ]
            slices = sum(value.low is None for value in sliced)
            bare += [f"{slices} {'slice' if slices == 1 else 'slices'}"] if slices else []
        if bare:
            notes.append(
                f"No interval for {metric.name} of {', '.join(bare)}: drawn again and again, "
                "these rows give one value, or none, so how far it may be off cannot be told "
                "from them."
            )
    return notes


def on_rows(
    metric: Metric, tuned: Estimate | None, train: Sequence[Example], test: Sequence[Example]
) -> list[str]:
    """Notes on data too small or too lopsided for the figures to say much.

    Args:
        metric: the main metric.
        tuned: its value for the tuned model.
        train: the training rows; none where they are not at hand.
        test: the rows measured on.
    """
    notes = []
    if tuned and metric.proportion is not None and tuned.low is not None and tuned.high is not None:
        reach = (tuned.high - tuned.low) / 2
        if reach > WIDE:
            wanted = rows_for_reach(min(max(tuned.value, 0.1), 0.9), WANTED)
            notes.append(
                f"{len(test)} test rows are too few: {metric.name} is only known to be between "
                f"{tuned.low:.2f} and {tuned.high:.2f}. Plus or minus {WANTED:g} needs about "
                f"{wanted} rows."
            )
    if train and len(train) < FEW_TRAINING_ROWS:
        notes.append(
            f"Only {len(train)} training rows: figures will vary much from seed to seed and "
            "from split to split."
        )
    trained, tested = Counter(e.label for e in train), Counter(e.label for e in test)
    for label in sorted({*trained, *tested} - {None}, key=str):
        if train and trained[label] < FEW_OF_A_LABEL:
            notes.append(f"Only {trained[label]} training rows have the label '{label}'.")
        if tested[label] < FEW_OF_A_LABEL:
            notes.append(
                f"Only {tested[label]} test rows have the label '{label}'; "
                "its precision and recall say little."
            )
    label, count = tested.most_common(1)[0]
    if label is not None and count / len(test) >= LOPSIDED:
        notes.append(
            f"{count / len(test):.0%} of the test rows have the label '{label}', so accuracy "
            "flatters every system. Look at macro_f1."
        )
    return notes


def on_calibration(calibration: Calibration) -> list[str]:
    """Notes on a temperature that is poorly known or did no good."""
    notes = []
    if calibration.rows < FEW_CALIBRATION_ROWS:
        notes.append(f"The temperature was fitted on {calibration.rows} rows only and is rough.")
    if not 1.01 * COLDEST < calibration.temperature < HOTTEST / 1.01:
        notes.append(
            f"The temperature came out at its bound ({calibration.temperature:.3g}): "
            + (
                "the scores of the calibration rows say next to nothing about their labels."
                if calibration.temperature > 1
                else "the calibration rows have no errors to learn from."
            )
        )
    if calibration.after["nll"] > calibration.before["nll"]:
        notes.append(
            f"The temperature ({calibration.temperature:.2f}) made the test rows' "
            f"log-likelihood worse ({calibration.before['nll']:.3f} to "
            f"{calibration.after['nll']:.3f} nats): the calibration split differs from the test "
            "split, or is too small."
        )
    return notes


def _verdict(difference: Estimate, metric: Metric) -> str:
    low, high = difference.low, difference.high
    if low is None or high is None:  # nothing is claimed without an interval
        return "unclear"
    if metric.better == "lower":
        low, high = -high, -low
    return "better" if low > 0 else "worse" if high < 0 else "unclear"


def _advice(name: str) -> str:
    if name == "tfidf":
        return " TF-IDF is far cheaper to train and to run."
    if name in _PROMPTED:
        return " Prompting may be enough for this task."
    if name == "majority":
        return " It has learned next to nothing."
    return ""


def _signed(difference: Estimate) -> str:
    if difference.low is None or difference.high is None:
        return f"{difference.value:+.3f}"
    return f"{difference.value:+.3f} [{difference.low:+.3f}, {difference.high:+.3f}]"
