"""The verdict in plain words: is the tuned model better, by how much, and can it be believed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from luthier.artifacts import Calibration, Estimate, Evaluation, SystemResult
from luthier.reporting.wording import (
    LOWER_IS_BETTER,
    count,
    difference_text,
    digits_for,
    estimate_text,
    metric_name,
    number,
    p_text,
    sentence_case,
    system_name,
)

Tone = Literal["better", "unclear", "worse", "pending"]
CHANCE = 1.5
"""An ECE up to this many times its noise floor is put down to chance. The floor is the mean ECE of
a perfectly calibrated model; over ten or more bins its spread is about a quarter of that."""


@dataclass(frozen=True)
class Figure:
    """One of the few numbers that stand under the headline."""

    label: str
    value: str
    detail: str


@dataclass(frozen=True)
class Verdict:
    """What stands at the top of the page."""

    tone: Tone
    headline: str
    lead: list[str]
    """Sentences."""
    figures: list[Figure]
    command: str = ""
    """What to run next, where something is missing."""


def best_baseline(evaluation: Evaluation) -> SystemResult | None:
    """The baseline with the best value of the main metric; None where none has it."""
    main = evaluation.main_metric
    rivals = [s for s in evaluation.systems[1:] if main in s.metrics]
    sign = -1 if main in LOWER_IS_BETTER else 1
    return max(rivals, key=lambda s: sign * s.metrics[main].value, default=None)


def judge(evaluation: Evaluation) -> Verdict:
    """Hold the tuned model against the best baseline on the main metric.

    It counts as better (worse) only when the whole 95 % interval of the paired difference lies on
    that side of zero; without an interval nothing is claimed.
    """
    tuned, main = evaluation.systems[0], evaluation.main_metric
    metric, rows = metric_name(main), count(evaluation.rows)
    score = tuned.metrics.get(main)
    best = best_baseline(evaluation)
    if score is None:
        headline = f"The tuned model was measured on {rows} test rows."
        return Verdict("unclear", headline, [f"It has no {metric}, the main metric."], [])
    digits = digits_for(s.metrics[main].value for s in evaluation.systems if main in s.metrics)
    figures = [Figure(f"{sentence_case(metric)}, tuned model", *_split(score, digits))]
    if best is None:
        lead = [
            f"{sentence_case(metric)} is {estimate_text(score, digits)} on {rows} test rows.",
            "No baseline was measured, so whether tuning helped is not known.",
        ]
        headline = "The tuned model was measured, but against nothing."
        return _with_calibration(Verdict("unclear", headline, lead, figures), evaluation)
    rival = best.metrics[main]
    among = len(evaluation.systems) - 1
    lead = [
        f"{sentence_case(metric)} is {estimate_text(score, digits)} on {rows} test rows, against "
        f"{estimate_text(rival, digits)} for {_called(best)}, "
        + (f"the best of {among} baselines." if among > 1 else "the only baseline.")
    ]
    if best.difference is not None:
        lead.append(_difference_sentence(best, best.difference, digits))
        detail = f"{difference_text(best.difference, digits).partition(' ')[2]}"
        if best.p_value is not None:
            detail += f"  p {_equals(best.p_value)}"
        figures.append(
            Figure(
                f"Difference to {system_name(best.name)}",
                difference_text(best.difference, digits).partition(" ")[0],
                detail.strip(),
            )
        )
    tone = _tone(best, lower=main in LOWER_IS_BETTER)
    headline = {
        "better": "Tuning helped: the model is better than every baseline measured."
        if among > 1
        else "Tuning helped: the model is better than the baseline.",
        "worse": f"Tuning did not pay: {system_name(best.name)} is better.",
        "unclear": f"Not shown to be better than {system_name(best.name)}.",
        "pending": "",
    }[tone]
    if tone == "better" and not _beats_all(evaluation):
        headline = "Tuning helped: the model is better than the best baseline."
    return _with_calibration(Verdict(tone, headline, lead, figures), evaluation)


def pending(done: list[str], run_name: str, *, training: bool) -> Verdict:
    """The verdict of a run that has not been evaluated yet.

    Args:
        done: stages that have finished, in order.
        run_name: for the command that comes next.
        training: a training has started and not finished.
    """
    words = {"data": "built", "plan": "planned", "train": "trained"}
    past = [words[s] for s in done if s in words]
    listed = " and ".join([", ".join(past[:-1]), past[-1]] if len(past) > 1 else past)
    missing = {"data": "build", "plan": "plan", "train": "train"}
    verb = next((missing[s] for s in missing if s not in done), "evaluate")
    if training:
        headline = "Training has started and not finished."
        lead = ["The curves below show how far it got."]
    elif past:
        headline = f"{sentence_case(listed)}; not evaluated yet."
        lead = ["There is no verdict before the tuned model has been held against baselines."]
    else:
        headline, lead = "Nothing has been done yet.", []
    target = run_name if verb == "evaluate" else "RECIPE"
    return Verdict("pending", headline, lead, [], f"luthier {verb} {target}")


def calibration_sentence(calibration: Calibration) -> tuple[str, bool]:
    """Say whether confidence can be believed.

    Returns:
        The sentence, and whether the error is within what chance alone would show.
    """
    ece, floor = calibration.after["ece"], calibration.after.get("ece_noise_floor")
    error = (
        f"after temperature scaling (T = {number(calibration.temperature)}, fitted on "
        f"{count(calibration.rows)} rows) it is off by {number(ece, 3)} on average"
    )
    if floor is None:
        return f"Confidence was calibrated: {error}.", False
    if ece <= CHANCE * floor:
        return (
            f"Confidence can be taken at face value: {error}, about what chance alone shows for "
            f"a perfectly calibrated model on as many rows ({number(floor, 3)}).",
            True,
        )
    return (
        f"Confidence is not fully calibrated: {error}, where chance alone shows "
        f"{number(floor, 3)}.",
        False,
    )


def _with_calibration(verdict: Verdict, evaluation: Evaluation) -> Verdict:
    calibration = evaluation.calibration
    lead, figures = list(verdict.lead), list(verdict.figures)
    if calibration is not None and "ece" in calibration.after:
        sentence, good = calibration_sentence(calibration)
        lead.append(sentence)
        floor = calibration.after.get("ece_noise_floor")
        detail = "about" if good else "more than"
        detail = "" if floor is None else f"{detail} chance alone ({number(floor, 3)})"
        figures.append(Figure("Calibration error", number(calibration.after["ece"], 3), detail))
    elif evaluation.task == "classification":
        lead.append("Confidence was not calibrated.")
    return Verdict(verdict.tone, verdict.headline, lead, figures)


def _difference_sentence(best: SystemResult, difference: Estimate, digits: int) -> str:
    text = f"The difference, paired over the same rows, is {difference_text(difference, digits)}"
    if difference.low is not None and difference.high is not None:
        zero = difference.low <= 0 <= difference.high
        text += "; this interval includes zero" if zero else "; this interval excludes zero"
    if best.p_value is None:
        return text + "."
    return f"{text}. Exact McNemar test on right and wrong answers: p {_equals(best.p_value)}."


def _equals(p_value: float) -> str:
    text = p_text(p_value)
    return text if text.startswith("<") else f"= {text}"


def _called(system: SystemResult) -> str:
    name = system_name(system.name)
    return f"{name} ({system.describe.rstrip('.')})" if system.describe else name


def _split(estimate: Estimate, digits: int) -> tuple[str, str]:
    value, _, rest = estimate_text(estimate, digits).partition(" ")
    return value, rest


def _tone(best: SystemResult, *, lower: bool) -> Tone:
    difference = best.difference
    if difference is None or difference.low is None or difference.high is None:
        return "unclear"
    if difference.low <= 0 <= difference.high:
        return "unclear"
    return "better" if (difference.low > 0) != lower else "worse"


def _beats_all(evaluation: Evaluation) -> bool:
    lower = evaluation.main_metric in LOWER_IS_BETTER
    return all(_tone(system, lower=lower) == "better" for system in evaluation.systems[1:])
