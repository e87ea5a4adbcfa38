"""What the model is asked: for a harder instruction, for a rarer one, whether two are equal.

Structure, numbers and the marks around prompts are those of the authors' code (nlpxucan/WizardLM,
Evol_Instruct/depth.py and breadth.py; the paper's appendix for complicated inputs and the
comparison); the words are ours. The marks are part of the method: that they show up in an evolved
instruction is how copied prompts are found (`elimination.py`).
"""

from __future__ import annotations

from luthier.data.generating.evol_instruct.data_formats import DATA_FORMATS, Shown

FEWEST_WORDS, MOST_WORDS = 10, 20
"""That a rewritten prompt may add (depth.py)."""
GIVEN, REWRITTEN = "#The Given Prompt#", "#Rewritten Prompt#"
"""Marks of in-depth evolution (depth.py)."""
SOURCE, CREATED = "#Given Prompt#", "#Created Prompt#"
"""Marks of in-breadth evolution (breadth.py)."""
DEPTH = {
    "constraints": "Add one more constraint or requirement to it.",
    "deepening": "If it inquires about something, make the inquiry deeper and broader.",
    "concretizing": "Put more specific concepts in the place of general ones.",
    "reasoning": (
        "If it can be solved in a few simple steps of thought, rewrite it so that it explicitly "
        "asks for reasoning in several steps."
    ),
}
"""What each in-depth operation does, in a line of the prompt."""
OPERATIONS = (*DEPTH, "complicate_input", "breadth")
"""All six, equally likely (section 3.2 of the paper)."""

_REWRITER = f"""\
You are a Prompt Rewriter. You turn a prompt into a version that is somewhat harder to answer for \
well-known AI systems such as ChatGPT and GPT-4, and that is still reasonable, so that people can \
understand and answer it.
Keep whatever is no plain text, such as tables and code, and keep the input of {GIVEN}.
Make it harder in this way: {{how}}
Do not let {REWRITTEN} become long-winded: it may add only {FEWEST_WORDS} to {MOST_WORDS} words to \
{GIVEN}.
The words '{GIVEN}', '{REWRITTEN}', 'given prompt' and 'rewritten prompt' must not appear in \
{REWRITTEN}.
"""
_CREATOR = f"""\
You are a Prompt Creator. Let {SOURCE} inspire you to a brand new prompt.
It is of the same domain, but even rarer. Length and difficulty of {CREATED} are like those of \
{SOURCE}. It must be reasonable, so that people can understand and answer it.
The words '{SOURCE}', '{CREATED}', 'given prompt' and 'created prompt' must not appear in \
{CREATED}.
"""
_COMPLICATED = (
    "Add data in the form of {name} as its input, and let the prompt ask about that data."
)
_COMPARE = """\
Are these two instructions to an AI system equal? They are if both hold:
1. They have the same constraints and requirements.
2. They inquire equally deep and equally broadly.
The First Prompt: {first}
The Second Prompt: {second}
Your judgement (answer Equal or Not Equal, without a reason):"""


def evolve(operation: str, given: str, data_format: str | None = None) -> str:
    """Ask for an evolved instruction.

    Args:
        operation: one of `OPERATIONS`.
        given: the instruction, with its input.
        data_format: of the data that `complicate_input` adds.
    """
    if operation == "breadth":
        return f"{_CREATOR}{SOURCE}:\n{given}\n{CREATED}:\n"
    if operation == "complicate_input":
        assert data_format is not None, "a form is chosen for it"
        wanted = DATA_FORMATS[data_format]
        asked = _REWRITER.format(how=_COMPLICATED.format(name=wanted.name))
        return asked + "".join(map(_solved, wanted.shown)) + _open(given)
    return _REWRITER.format(how=DEPTH[operation]) + _open(given)


def compare(first: str, second: str) -> str:
    """Ask whether two instructions are equal: whether evolving one brought anything."""
    return _COMPARE.format(first=first, second=second)


def _open(given: str) -> str:
    return f"{GIVEN}:\n{given}\n{REWRITTEN}:\n"


def _solved(shown: Shown) -> str:
    return f"{_open(shown.given)}{shown.rewritten}\n\n"
