"""A learning rate far from what the method needs."""

from __future__ import annotations

from luthier.artifacts import Finding
from luthier.planning.facts import Facts

# (lowest, highest) plausible peak rates of AdamW. LoRA: QLoRA (arXiv:2305.14314, table 9) uses 1e-4
# and 2e-4, Biderman et al. (arXiv:2405.09673, section 3) 2e-4 to 5e-4. Full: 1e-6 to 5e-5 is usual.
_PLAUSIBLE = {"lora": (2e-5, 5e-3), "full": (1e-6, 3e-4)}
# Lion wants 3 to 10 times less (arXiv:2302.06675, section 5); plain SGD far more.
_FACTOR = {"lion": 0.2, "sgd": 100.0}


def check(facts: Facts) -> Finding | None:
    """Find a learning rate outside of what has been seen to work, by a wide margin.

    What: the peak of the schedule.
    Why: adapters start at zero and need 1e-4 to 1e-3; all weights at once break above 1e-4.
    Fix: the usual value for the method and the optimizer.
    """
    train = facts.train
    method = "full" if train.lora is None else "lora"
    factor = next((f for name, f in _FACTOR.items() if name in train.optim), 1.0)
    low, high = (bound * factor for bound in _PLAUSIBLE[method])
    # Models of a few million parameters train well at rates that would break larger ones.
    if facts.total_parameters < 10_000_000:
        high *= 30
    if low <= train.learning_rate <= high:
        return None
    usual = (2e-4 if method == "lora" else 2e-5) * factor
    named = "LoRA" if method == "lora" else "full fine-tuning"
    effect = "hardly anything will be learned" if train.learning_rate < low else "it may diverge"
    return Finding(
        check="learning_rate",
        severity="warning",
        what=f"a learning rate of {train.learning_rate:g} for {named} with {train.optim}.",
        why=f"{low:g} to {high:g} is what works: {effect}.",
        fix=f"Set train.learning_rate: {usual:g}.",
    )
