"""The answer to a bootstrapping prompt -> new instructions, each with the rule against it, if any.

`compat: original` decides as `post_process_gpt3_response` of the authors' code does, with its
warts; the rules by default are the same ones without them.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections.abc import Iterator

from luthier.data.generating.self_instruct.settings import BEGINNING, Settings
from luthier.data.words import word_count

_NUMBER_ORIGINAL = re.compile(r"\n\d+\s?\. ")
_NUMBER = re.compile(r"(?:\A|\n)[ \t]*\d{1,3}[ \t]?[.)](?:\s+|(?=[^\W\d]))")
_SPACE = re.compile(r"\s+")


def read_instructions(
    text: str, finish_reason: str, settings: Settings
) -> Iterator[tuple[str, str | None]]:
    """Instructions of an answer in their order, with `rule: details` or None.

    Args:
        text: the answer, which goes on after the number that ends the prompt.
        finish_reason: `length` where it was cut off.
        settings: limits and words, and whether to decide as the original does.
    """
    cut = finish_reason == "length"
    if settings.original:
        if cut:
            yield text, "truncated: the original drops the whole answer"
            return
        for part in _NUMBER_ORIGINAL.split(text):
            instruction = _SPACE.sub(" ", part).strip().capitalize()
            if instruction:
                yield instruction, _broken_original(instruction, settings)
        return
    parts = [found for part in _NUMBER.split(text) if (found := _SPACE.sub(" ", part).strip())]
    for place, part in enumerate(parts, 1):
        instruction = part[0].upper() + part[1:]
        if cut and place == len(parts):
            yield instruction, "truncated: the answer was cut off in it"
        else:
            yield instruction, _broken(instruction, settings)


def _broken_original(instruction: str, settings: Settings) -> str | None:
    """The first rule of the original that an instruction breaks."""
    if reason := _length(len(instruction.split()), settings) or _listed(instruction, settings):
        return reason
    if instruction.startswith(BEGINNING):
        return f"program: begins with '{BEGINNING}'"
    if instruction[0] in string.punctuation:
        return f"punctuation: begins with '{instruction[0]}'"
    if not instruction[0].isascii():
        return f"not English: begins with '{instruction[0]}'"
    return None


def _broken(instruction: str, settings: Settings) -> str | None:
    """The first rule that an instruction breaks."""
    if re.search("[\ud800-\udfff]", instruction):
        return "damaged: half a surrogate pair"
    if reason := _length(word_count(instruction), settings) or _listed(instruction, settings):
        return reason
    if instruction.casefold().startswith(BEGINNING.casefold()):
        return f"program: begins with '{BEGINNING}'"
    if unicodedata.category(instruction[0])[0] in "PSC":
        return f"punctuation: begins with '{instruction[0]}'"
    return None


def _length(words: int, settings: Settings) -> str | None:
    if words < settings.min_words:
        return f"too short: {words} words, the fewest are {settings.min_words}"
    if words > settings.max_words:
        return f"too long: {words} words, the most are {settings.max_words}"
    return None


def _listed(instruction: str, settings: Settings) -> str | None:
    for word in settings.blacklist:
        if re.search(rf"\b{re.escape(word)}\b", instruction, re.IGNORECASE):
            return f"blacklist: '{word}'"
    return None
