"""What the model is shown: three examples and the heading of a fourth, a task, or an instruction.

Section 2 and figures 1 and 2 of the paper have the structure; the words are ours.
"""

from __future__ import annotations

from collections.abc import Sequence

from luthier.data.generating.unnatural.demonstrations import Demonstration

PLACEHOLDER = "{INPUT}"
"""Where an input goes into a reformulation (section 2.2)."""
STOP_EXAMPLE = "\nExample {}"
STOP_OUTPUT = ("\nInstruction:", "\nExample ")
STOP_REFORMULATION = ("\nInstruction:", "\n\n")
_FOURTH = (
    "Here are {count} examples of tasks, each with an instruction, an input and constraints of the "
    "output. Write one more, of another task, in the same form and with nothing else."
)
_REPHRASE = (
    "Say an instruction in other words, as somebody would who writes informally. Write {INPUT} "
    "exactly once, at the place of the input. Answer with the alternative formulation alone."
)
_DO = "Do the task. Answer with the output alone."
# Two, as in the paper (section 2.2), without inputs, constraints and outputs.
_REPHRASED = (
    (
        "You are given the opening hours of a shop and a time. Determine whether the shop is open "
        "at that time.",
        "Could I go shopping now? {INPUT}",
    ),
    (
        "The task is to find a shorter word that means the same as the word in the input.",
        "What is a shorter way to say {INPUT}?",
    ),
)

SHOWN = tuple(other for _, other in _REPHRASED)
"""Formulations that the model is shown, and that weak models repeat."""


def example_prompt(shown: Sequence[Demonstration], *, chat: bool) -> str:
    """Ask for one more example after those that are shown.

    Args:
        shown: the demonstrations.
        chat: say what is wanted, to a model that answers rather than goes on.
    """
    examples = [
        f"Example {number}\nInstruction: {one.instruction}\nInput: {one.input}\n"
        f"Constraints: {one.constraints}\n\n"
        for number, one in enumerate(shown, 1)
    ]
    asked = _FOURTH.format(count=len(shown)) + "\n\n" if chat else ""
    return f"{asked}{''.join(examples)}Example {len(shown) + 1}\n"


def output_prompt(example: Demonstration, *, chat: bool) -> str:
    """Ask for the output of an example; constraints are said where there are some."""
    limits = f"Constraints: {example.constraints}\n" if example.has_constraints else ""
    asked = f"{_DO}\n\n" if chat else ""
    return f"{asked}Instruction: {example.instruction}\nInput: {example.input}\n{limits}Output:"


def reformulation_prompt(instruction: str, *, chat: bool) -> str:
    """Ask for an alternative formulation of an instruction."""
    pairs = [*_REPHRASED, (instruction, "")]
    asked = f"{_REPHRASE}\n\n" if chat else ""
    return asked + "\n\n".join(
        f"Instruction: {said}\nAlternative formulation: {other}".rstrip() for said, other in pairs
    )
