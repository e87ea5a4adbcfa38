"""What a model is shown to write rows of a task: a conversation in which it has done so before.

Examples stand as turns, each a request and a row, so that small models see a pattern to go on with
and strong ones a specification; every chat server takes it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from luthier.data.generating.seeds import Seed
from luthier.data.generating.targets import Cell
from luthier.example import Message

_LEAD = re.compile(
    r"^(?:input|text|sentence|row|example|answer|output|label)\s*:\s*", re.IGNORECASE
)
_TASK, _ANSWER = "The task of the dataset:", "answer is the text of one input"
_KINDS, _HAS = "Kinds of inputs:", "This input has the label"
_CHANGE = "Change as few words as possible"
_NUMBERED = re.compile(r"^\d{1,3}[.)]\s+")
_QUOTES = (('"', '"'), ("“", "”"), ("'", "'"), ("`", "`"))


def introduction(description: str, cells: Sequence[Cell]) -> str:
    """What every request begins with, and a server runs once: the task and its kinds of rows.

    Args:
        description: what the task is.
        cells: what is to be written.
    """
    kinds = "".join(f"\n- {_kind(cell)}: {cell.about}" for cell in cells if cell.about)
    return (
        f"You write rows of a dataset, one at a time. {_TASK} {description} Each {_ANSWER} and "
        "nothing else, and differs from all before." + (f"\n{_KINDS}{kinds}" if kinds else "")
    )


def write_input(
    introduced: str, shown: Sequence[tuple[Seed, str]], wanted: str
) -> tuple[Message, ...]:
    """Ask for a new input.

    Args:
        introduced: the introduction.
        shown: examples, each with the request that it answers.
        wanted: the request for the new one.
    """
    return (*_so_far(introduced, shown), Message("user", wanted))


def request_for(cell: Cell | None, levels: Mapping[str, str]) -> str:
    """The words that ask for an input.

    Args:
        cell: what it is to be; None: anything.
        levels: what it is to be like on each axis.
    """
    kind = _kind(cell) if cell is not None and (cell.label or cell.about) else ""
    return "\n".join(
        filter(None, ["A new input.", kind, *(f"{a}: {v}" for a, v in levels.items())])
    )


def contrast(
    introduced: str, shown: Sequence[tuple[Seed, str]], original: Seed, cell: Cell
) -> tuple[Message, ...]:
    """Ask for a hard negative: nearly the same input, with another label.

    Args:
        introduced: the introduction.
        shown: examples, each with the request that it answers.
        original: what to change.
        cell: what it is to become.
    """
    asked = (
        f"{_HAS} {original.output}:\n{original.input}\n{_CHANGE}, so that it becomes this. "
        f"{_kind(cell)}"
    )
    return (*_so_far(introduced, shown), Message("user", asked))


def _so_far(introduced: str, shown: Sequence[tuple[Seed, str]]) -> list[Message]:
    turns = [Message("system", introduced)]
    for seed, request in shown:
        turns += [Message("user", request), Message("assistant", seed.input)]
    return turns


def _kind(cell: Cell) -> str:
    label = f"Label: {cell.label}" if cell.label else ""
    kind = f"Kind: {cell.name}" if cell.name != cell.label else ""
    return ", ".join(filter(None, (label, kind)))


def answer_input(
    description: str, shown: Sequence[Seed], text: str, choices: Sequence[str]
) -> tuple[Message, ...]:
    """Ask for the label or the output of an input.

    Args:
        description: what the task is.
        shown: solved examples.
        text: the input.
        choices: the labels or categories to choose from; empty for free text.
    """
    said = f" Answer with one of: {', '.join(choices)}." if choices else ""
    turns = [Message("system", f"{description}{said}")]
    for seed in shown:
        answer = seed.output if not choices or seed.output in choices else seed.category
        turns += [Message("user", seed.input), Message("assistant", answer or seed.output)]
    return (*turns, Message("user", text))


def own_lines(cells: Sequence[Cell], axes: Mapping[str, Sequence[str]]) -> list[re.Pattern[str]]:
    """Patterns of what the prompts say themselves, by which a copy of them is known.

    "Label: joy" is the prompt's wherever it stands if `joy` is a label; "two of a kind: ..." is
    not. Levels of axes are, and the request, where a line begins with them.

    Args:
        cells: what is to be written.
        axes: levels of each way to differ.
    """
    labels = {cell.label for cell in cells} - {""}
    kinds = {cell.name for cell in cells if cell.name != cell.label}
    found = [r"(?im)^\W*a new input[.:]", r"(?i)\brows? of (?:a|the) dataset\s*[:,]"]
    found += [rf"(?i){re.escape(said)}" for said in (_CHANGE, _HAS, _TASK, _ANSWER, _KINDS)]
    for head, names in (("label", labels), ("kind", kinds)):
        if names:
            found.append(rf"(?<!\w)(?i:{head})\s*:\s*(?:{_any(names)})(?!\w)")
    for axis, levels in axes.items():
        found.append(rf"(?m)^\W*{re.escape(axis)}\s*:\s*(?:{_any(levels)})(?!\w)")
    return [re.compile(pattern) for pattern in found]


def _any(names: Iterable[str]) -> str:
    return "|".join(map(re.escape, sorted(names)))


def leaked(text: str, lines: Sequence[re.Pattern[str]]) -> str | None:
    """What a text has of the prompt's own lines; None: nothing."""
    return next((found.group().strip() for line in lines if (found := line.search(text))), None)


def as_input(text: str) -> str:
    """What a model wrote, without what it put around it: numbers, `Input:`, quotation marks."""
    text = text.strip()
    before = ""
    while text != before:
        before = text
        text = _LEAD.sub("", _NUMBERED.sub("", text)).strip()
        for left, right in _QUOTES:
            inner, quoted = text[1:-1], text.startswith(left) and text.endswith(right)
            if len(text) > 1 and quoted and left not in inner and right not in inner:
                text = inner.strip()
    return text


def as_choice(text: str, choices: Sequence[str]) -> str | None:
    """The label or category that an answer names; None where it names none, or several."""
    said = as_input(text).strip(" .!*").casefold()
    for choice in choices:
        if said == choice.casefold():
            return choice
    pattern = {c: re.search(rf"(?<!\w){re.escape(c.casefold())}(?!\w)", said) for c in choices}
    named = [choice for choice, found in pattern.items() if found]
    return named[0] if len(named) == 1 else None
