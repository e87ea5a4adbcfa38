"""Whether a reworded template can take the place of the original; each rule says why not."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence

from luthier.data.templating.template import Template
from luthier.data.templating.template_fields import placeholders, stray_brace

_QUOTED = re.compile(r"[\"“]([^\"“”{}\n]{1,60})[\"”]")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_NEGATION = re.compile(r"\b(?:no|not|never|neither|nor|without|none|nothing)\b|n['’]t\b", re.I)
_PROMPT_WORDS = re.compile(
    r"\breword|\bparaphras|\brephras|\bplaceholders?\b"
    r"|\bprompt template|\b(?:new|original) template",
    re.IGNORECASE,
)
_LONGEST = 3.0
"""A rewording that is so many times longer than the original adds something."""
_ADDED_WORDS = 15
"""Which short ones may have."""


def same_placeholders(original: Template, text: str) -> str | None:
    """Every placeholder is there as often as in the original, the OPTIONS clause among them."""
    if stray := stray_brace(text):
        return f"placeholders: a stray {stray!r}"
    wanted, found = Counter(placeholders(original.prompt_text)), Counter(placeholders(text))
    for name in wanted | found:
        if wanted[name] != found[name]:
            return f"placeholders: {{{name}}} {found[name]} times, {wanted[name]} in the original"
    return None


def same_answers(original: Template, text: str) -> str | None:
    """The words of the answers are untouched: those quoted, and those that the target names."""
    before = original.prompt_text
    literal = re.sub(r"\{[^{}]*\}", "", original.completion_text).strip()
    wanted = set(_QUOTED.findall(before))
    if literal and re.search(rf"(?<!\w){re.escape(literal)}(?!\w)", before):
        wanted.add(literal)
    for answer in sorted(wanted):
        if not re.search(rf"(?<!\w){re.escape(answer)}(?!\w)", text):
            return f"answers: '{answer}' is gone"
    if added := sorted(set(_QUOTED.findall(text)) - wanted):
        return f"answers: '{added[0]}' is new"
    return None


def same_numbers(original: Template, text: str) -> str | None:
    """Numbers are those of the original: how many sentences, how many words."""
    wanted, found = (Counter(_NUMBER.findall(t)) for t in (original.prompt_text, text))
    if wanted != found:
        return f"numbers: {sorted(found.elements())} for {sorted(wanted.elements())}"
    return None


def same_negation(original: Template, text: str) -> str | None:
    """What is negated stays negated."""
    # An answer in quotation marks, such as "no", negates nothing.
    said = (_QUOTED.sub("", t) for t in (original.prompt_text, text))
    before, after = (bool(_NEGATION.search(t)) for t in said)
    return None if before == after else "negation: one is negated, the other not"


def no_prompt_words(original: Template, text: str) -> str | None:
    """The model did not talk about its task."""
    found = _PROMPT_WORDS.search(text)
    if found and not _PROMPT_WORDS.search(original.prompt_text):
        return f"leaked prompt words: '{found.group()}'"
    return None


def not_much_longer(original: Template, text: str) -> str | None:
    """Nothing was added."""
    words, before = len(text.split()), len(original.prompt_text.split())
    if words > max(_LONGEST * before, before + _ADDED_WORDS):
        return f"longer: {words} words for {before}"
    return None


RULES: Sequence[Callable[[Template, str], str | None]] = (
    same_placeholders, same_answers, same_numbers, same_negation, no_prompt_words, not_much_longer,
)  # fmt: skip


def difference(original: Template, text: str) -> str | None:
    """The first reason why a rewording is not the same template; None: none was found."""
    return next(filter(None, (rule(original, text) for rule in RULES)), None)
