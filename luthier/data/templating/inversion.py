"""Turns templates round: given the answer, ask for what it answered (input inversion).

FLAN does so with templates written by hand, up to three of a task's ten (arXiv 2109.01652, 2.1);
its second edition inverts whole sets (arXiv 2301.13688).
"""

from __future__ import annotations

from dataclasses import replace

from luthier.data.templating.options import PLACEHOLDERS
from luthier.data.templating.template import Template
from luthier.data.templating.template_fields import (
    only_placeholder,
    placeholders,
    replaced,
    without,
)

_QUESTIONS = ("question", "query")


def inverted(template: Template) -> Template | None:
    """The template turned round, where it is plain how; else None.

    The rule: the target is one field, the answer. The field to ask for is the only one of the
    input; where the input has several, it is the one called `question` (or `query`), which follows
    from a text and an answer in a way that a premise does not follow from a hypothesis. It must
    stand in the input once. Templates that are turned round already, Jinja templates and those of
    Super-NaturalInstructions are left as they are.

    The new input shows the old one with a gap where the field stood (without the OPTIONS clause,
    for the answer is given) and asks for what is missing. Rows whose field is too short to follow
    from anything, such as a label, do not suit it (`Template.suits`).

    Args:
        template: any.

    Returns:
        A template named `NAME_inverted`, with `inverted` and `made_from` set.
    """
    if template.inverted or template.dialect != "fields" or template.super_ni is not None:
        return None
    answer = only_placeholder(template.completion_text)
    wanted = _wanted(template)
    if answer is None or wanted is None or answer in (wanted, *placeholders(template.prompt_text)):
        return None
    return replace(
        template,
        name=f"{template.name}_inverted",
        prompt_text=_asking(template.prompt_text, wanted, answer),
        completion_text=f"{{{wanted}}}",
        inverted=True,
        made_from=template.name,
    )


def _wanted(template: Template) -> str | None:
    """The field to ask for; None where there is none, or no telling which."""
    given = {*template.constants, *PLACEHOLDERS, "labels"}
    names = [name for name in placeholders(template.prompt_text) if name not in given]
    if template.system is not None and set(placeholders(template.system)) & set(names):
        return None
    found = set(names)
    if len(found) > 1:
        found &= set(_QUESTIONS)
    return found.pop() if len(found) == 1 and names.count(next(iter(found))) == 1 else None


def _asking(text: str, wanted: str, answer: str) -> str:
    words = wanted.replace("_", " ")
    shown = replaced(without(text, PLACEHOLDERS), wanted, f"[{words}]").strip()
    if shown == f"[{words}]":
        return f"Here is an answer:\n\n{{{answer}}}\n\nWrite the {words} that it answers."
    gap = " " if shown.endswith(":") else "\n\nAnswer: "
    return (
        f"Below is a task with its answer. Something is missing where [{words}] stands.\n\n"
        f"{shown}{gap}{{{answer}}}\n\nWrite the missing {words}."
    )
