"""The base model, asked as the tuned model is, without any training."""

from __future__ import annotations

from luthier.evaluation.asking import Asked, Setting

FITS = ("classification", "generation", "chat", "text")


def measure(setting: Setting) -> Asked:
    """Ask the base model every test row."""
    outcome = setting.base.ask(setting.test, "Asking the base model (zero-shot)")
    if setting.recipe.task.kind == "text":
        return Asked(outcome, "the base model on the same text, before training")
    return Asked(outcome, "the base model, asked exactly as the tuned one is")
