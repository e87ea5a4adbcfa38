"""What the model wrote: an example with its three fields, an output, a reformulation, or why not.

Models put markup around the names of fields, say a word before, and go on with further examples;
none of that is a reason to lose what they wrote.
"""

from __future__ import annotations

import re

from luthier.data.generating.unnatural.demonstrations import Demonstration, as_one_line
from luthier.data.generating.unnatural.prompts import PLACEHOLDER
from luthier.inference.request import Completion

# Bounded, or a line of thousands of asterisks would take minutes.
_MARKS = r"[ \t]{0,8}(?:[-*#>]{1,6}[ \t]{0,8})?[*_]{0,3}"
_LABEL = re.compile(
    rf"^{_MARKS}(instructions?|inputs?|constraints?|outputs?)[*_]*[ \t]*:[*_]*[ \t]*",
    re.IGNORECASE | re.MULTILINE,
)
_HEADING = re.compile(rf"^{_MARKS}Example[ \t]+\d+\b[^\n]*", re.IGNORECASE | re.MULTILINE)
_FORMULATION = re.compile(
    rf"^{_MARKS}alternative formulation[*_]*[ \t]*:[*_]*[ \t]*", re.IGNORECASE
)
_QUOTES = (('"', '"'), ("“", "”"), ("`", "`"))


def read_example(completion: Completion) -> Demonstration | str:
    """The example of an answer, or the reason why there is none (section 2.1, first filter)."""
    if completion.unfit is not None:
        return f"unfit: {completion.unfit}"
    if not completion.text.strip():
        return "empty: nothing was written"
    text, is_whole = _first_example(completion.text)
    found: dict[str, str] = {}
    place, last = 0, ""
    for name in ("instruction", "input", "constraints"):
        label = _label(text, name, place)
        if label is None:
            break
        if last:
            found[last] = text[place : label.start()]
        place, last = label.end(), name
    if last:
        after = _LABEL.search(text, place) if last == "constraints" else None
        is_whole = is_whole or after is not None
        found[last] = text[place : after.start() if after else len(text)]
    if completion.finish_reason == "length" and not is_whole:
        return "cut off: longer than max_tokens"
    for name in ("instruction", "input", "constraints"):
        if name not in found:
            return f"field missing: there is no {name}"
        if not found[name].strip():
            return f"field missing: the {name} is empty"
    return Demonstration(**{name: text.strip() for name, text in found.items()})


def read_output(completion: Completion) -> tuple[str, str | None]:
    """The output of an answer, and the reason why it cannot be used."""
    text = completion.text.strip()
    if completion.unfit is not None:
        return "", f"output unfit: {completion.unfit}"
    if completion.finish_reason == "length":
        return text, "output cut off: it is longer than output_max_tokens"
    if not text:
        return "", "output empty: nothing was written"  # section 2.1
    return text, None


def read_reformulation(completion: Completion) -> tuple[str, str | None]:
    """The alternative formulation of an answer, and what is wrong with it by itself.

    It is good if the placeholder stands in it exactly once, with something beside it (section 2.2).
    """
    if completion.unfit is not None:
        return "", f"reformulation unfit: {completion.unfit}"
    text = _FORMULATION.sub("", completion.text.strip(), count=1)
    follows = _LABEL.search(text, 1)
    text = (text[: follows.start()] if follows else text).strip()
    for left, right in _QUOTES:
        if len(text) > 1 and text[0] == left and text[-1] == right and left not in text[1:-1]:
            text = text[1:-1].strip()
    if not text:
        return "", "reformulation empty: nothing was written"
    if completion.finish_reason == "length" and not follows:
        return text, "reformulation cut off: it is longer than reformulation_max_tokens"
    count = text.count(PLACEHOLDER)
    if count == 0:
        return text, f"no placeholder: {PLACEHOLDER} is not in the reformulation"
    if count > 1:
        return text, f"placeholder repeated: {PLACEHOLDER} stands {count} times"
    if not re.search(r"\w", text.replace(PLACEHOLDER, "")):
        return text, "reformulation empty: nothing but the placeholder"
    return text, None


def same_formulation(text: str) -> str:
    """A formulation as it is compared with others: without its placeholder and white space."""
    return as_one_line(text.replace(PLACEHOLDER, " ")).rstrip(" :").casefold()


def _first_example(text: str) -> tuple[str, bool]:
    """The first example of a text, and whether another one follows."""
    heading = _HEADING.search(text)
    start = _LABEL.search(text)
    if heading and (start is None or heading.start() < start.start()):
        text = text[heading.end() :]
        heading = _HEADING.search(text)
    return (text[: heading.start()], True) if heading else (text, False)


def _label(text: str, name: str, place: int) -> re.Match[str] | None:
    """The next heading of a field."""
    for found in _LABEL.finditer(text, place):
        if found.group(1).casefold().rstrip("s") == name.rstrip("s"):
            return found
    return None
