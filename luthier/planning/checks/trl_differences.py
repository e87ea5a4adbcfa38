"""What TRL's trainer does in another way."""

from __future__ import annotations

from luthier import sft
from luthier.artifacts import Finding
from luthier.planning.facts import Facts


def check(facts: Facts) -> Finding | None:
    """Say what `engine: trl` does in another way than luthier's own.

    What: no checkpoints; settings that Hugging Face reads in another way.
    Why: a run that is cut short starts again, and results may differ a little.
    Fix: `engine: luthier` where that matters.
    """
    if facts.train.engine != "trl":
        return None
    other = [
        "Hugging Face's checkpoints hold pickles, so none are written (train.save_steps has no "
        "effect): a run that is cut short starts again from its first step.",
        "A step whose loss is not finite stops the run.",
        "Every row is run whole: what prompts share is not run once, so steps take longer than "
        "the plan says.",
        *sft.differences(facts.train),
    ]
    return Finding(
        check="trl_differences",
        severity="note",
        what="engine: trl takes the steps; it cannot resume.",
        why=" ".join(other),
        fix="",
    )
