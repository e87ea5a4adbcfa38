"""The prompt of Super-NaturalInstructions: definition, examples good and bad, the input.

    Definition: ...

    Positive Example 1 -
    Input: ...
    Output: ...
    Explanation: ...

    Negative Example 1 -
    Input: ...
    Output: ...

    Now complete the following example -
    Input: ...
    Output:

Layout and wording are those of Tk-Instruct (arXiv 2204.07705; the encoding in its repository,
yizhongw/Tk-Instruct, src/ni_collator.py); its standard setting is the definition with two positive
examples. Two things differ: texts stand as the task file has them, where Tk-Instruct puts a full
stop behind those that end without one (an answer in an example would then look different from the
answers to be learned), and examples are never left out to meet a length.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from luthier.data.templating.draws import Draw
from luthier.data.templating.template_fields import MissingField, as_text

# Names in task files (v2, and the files of 2021), and in rows made from them.
DEFINITION = ("definition", "Definition", "instruction")
POSITIVE = ("positive_examples", "Positive Examples")
NEGATIVE = ("negative_examples", "Negative Examples")


@dataclass(frozen=True)
class SuperNI:
    """How many of a task's examples its prompts show."""

    k_positive: int = 2
    """Positive examples, the first ones; fewer where the task has fewer."""
    k_negative: int = 0
    """Negative examples."""
    explanations: bool = False
    """Whether an example is followed by its explanation."""


def prompt(
    definition: str,
    positive: Sequence[Mapping[str, Any]],
    negative: Sequence[Mapping[str, Any]],
    input: str,
    *,
    k_positive: int = 2,
    k_negative: int = 0,
    explanations: bool = False,
) -> str:
    """The prompt of one instance of a task.

    Args:
        definition: of the task.
        positive: its positive examples, with `input`, `output` and maybe `explanation`.
        negative: its negative examples.
        input: that of the instance.
        k_positive: how many positive examples are shown, from the first on.
        k_negative: how many negative ones.
        explanations: whether examples that have an explanation show it.
    """
    parts = [f"Definition: {definition.strip()}"]
    for kind, examples, count in (
        ("Positive", positive, k_positive),
        ("Negative", negative, k_negative),
    ):
        for number, example in enumerate(examples[:count], 1):
            parts.append(f"{kind} Example {number} -\n{_example(example, explanations)}")
    parts.append(f"Now complete the following example -\nInput: {input.strip()}\nOutput:")
    return "\n\n".join(parts)


def _example(example: Mapping[str, Any], explanations: bool) -> str:
    lines = [f"Input: {_text(example.get('input'))}", f"Output: {_text(example.get('output'))}"]
    # Tasks of 2021 call it the reason, and have "-" where there is none.
    explanation = _text(example.get("explanation") or example.get("reason"))
    if explanations and explanation.strip() not in ("", "-"):
        lines.append(f"Explanation: {explanation}")
    return "\n".join(lines)


def row_prompt(fields: Mapping[str, Any], settings: SuperNI) -> str:
    """The prompt of a row that carries its task's definition and examples.

    Args:
        fields: `input`, `definition` (or `Definition`, `instruction`), and `positive_examples` and
            `negative_examples` (or as the task file names them) where examples are asked for.
        settings: which of them are shown.

    Raises:
        MissingField: one of them is not there.
    """
    definition = _first(fields, DEFINITION)
    if "input" not in fields:
        raise MissingField("input")
    return prompt(
        _text(definition),
        _examples(fields, POSITIVE, settings.k_positive),
        _examples(fields, NEGATIVE, settings.k_negative),
        as_text(fields["input"]),
        k_positive=settings.k_positive,
        k_negative=settings.k_negative,
        explanations=settings.explanations,
    )


def row_answer(fields: Mapping[str, Any], draw: Draw | None) -> str:
    """The answer of a row; of several right ones (v2 lists them) one that is drawn, else the first.

    Raises:
        MissingField: there is no `output`, or an empty list of them.
    """
    output = fields.get("output")
    if isinstance(output, (list, tuple)) and output:
        place = draw.index("answer", len(output)) if draw is not None else 0
        return as_text(output[place]).strip()
    if output is None or isinstance(output, (list, tuple)):
        raise MissingField("output")
    return as_text(output).strip()


def _first(fields: Mapping[str, Any], names: Sequence[str]) -> Any:
    for name in names:
        if fields.get(name):
            return fields[name]
    raise MissingField(names[0])


def _examples(
    fields: Mapping[str, Any], names: Sequence[str], count: int
) -> Sequence[Mapping[str, Any]]:
    if not count:
        return []
    name = next((n for n in names if n in fields), None)
    if name is None:
        raise MissingField(names[0])
    found = fields[name]
    return [e for e in found if isinstance(e, Mapping)] if isinstance(found, (list, tuple)) else []


def _text(value: Any) -> str:
    """A text of a task file; v2 wraps definitions in a list, and outputs of some examples too."""
    if isinstance(value, (list, tuple)):
        return "\n".join(as_text(part).strip() for part in value)
    return as_text(value).strip()
