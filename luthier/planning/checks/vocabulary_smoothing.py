"""Label smoothing over the vocabulary does not smooth the confidence in labels."""

from __future__ import annotations

from luthier.artifacts import Finding
from luthier.planning.facts import Facts


def check(facts: Facts) -> Finding | None:
    """Find vocabulary smoothing on a classification task.

    What: at the optimum the right token has 1 - eps + eps/V, every other eps/V. Renormalised over
    K labels the right one has (1 - eps + eps/V) / (1 - eps + K eps/V), which is almost 1.
    Why: confidence is read over the label set, so nothing is smoothed there; as a raw token
    probability it is capped at 1 - eps instead.
    Fix: `label_smoothing_over: classes`, or none, and the temperature that `evaluate` fits.
    """
    train, labels = facts.train, facts.recipe.labels
    epsilon = train.label_smoothing_factor
    if not (labels and epsilon and train.label_smoothing_over == "vocabulary"):
        return None
    share = epsilon / facts.vocabulary
    confidence = (1 - epsilon + share) / (1 - epsilon + len(labels) * share)
    classes = 1 - epsilon + epsilon / len(labels)
    return Finding(
        check="vocabulary_smoothing",
        severity="warning",
        what=f"label smoothing of {epsilon:g} over a vocabulary of {facts.vocabulary:,}.",
        why=f"The confidence among the {len(labels)} labels can still reach {confidence:.7f}; only "
        f"the raw token probability is capped, at {1 - epsilon:.2f}. Smoothing over the classes "
        f"caps the confidence at {classes:.2f}.",
        fix="Set train.label_smoothing_over: classes, or drop the smoothing: `evaluate` fits a "
        "temperature anyway.",
    )
