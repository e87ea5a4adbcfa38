"""Whether a reworded template can take the place of the original; each rule says why not."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence

from luthier.data.templating.template import Template
from luthier.data.templating.template_fields import placeholders, stray_brace
from luthier.data.words import word_count

_QUOTED = re.compile(r"[\"“]([^\"“”{}\n]{1,60})[\"”]")
_ITEM = re.compile(r"(?:[-*•]|\(?[A-Za-z0-9]{1,2}[.):])\s+\S")
_HEADING = re.compile(r"(?:\W*options\b[^:]{0,20}:)\s*", re.IGNORECASE)
_WORD = r"(?:(?:an?|the) )?[^\W_][\w'-]*"
_WORDS = rf"{_WORD}(?:, {_WORD})*,? or {_WORD}"
_ASKED_FOR = re.compile(
    r"\b(?:answer|repl(?:y|ies)|respond|choose|pick|select|say|write)\b(?: \w+){0,4}?:? "
    rf"({_WORDS})\b",
    re.IGNORECASE,
)
_QUESTION = re.compile(rf"\b({_WORDS})\?")
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


def same_options(original: Template, text: str) -> str | None:
    """Options that the template itself lists are untouched: heading, items and their order."""
    wanted, found = _lists(original.prompt_text), _lists(text)
    for lines in wanted:
        if lines not in found:
            return f"options: '{' / '.join(lines)}' is not there as it was"
    if added := [lines for lines in found if lines not in wanted and _is_options(lines)]:
        return f"options: '{' / '.join(added[0])}' is new"
    return None


def _lists(text: str) -> list[tuple[str, ...]]:
    """The lists of a text, each with its heading where that says OPTIONS."""
    found: list[tuple[str, ...]] = []
    lines: list[str] = []
    for line in [*text.splitlines(), ""]:
        line = line.strip()
        if _ITEM.match(line) and not placeholders(line):
            lines.append(line)
            continue
        if len(lines) > 1 or _is_options(lines):
            found.append(tuple(lines))
        lines = [line] if _HEADING.match(line) and not placeholders(line) else []
    return found


def _is_options(lines: Sequence[str]) -> bool:
    """Whether they are a heading and what it announces, below it or in its line."""
    heading = _HEADING.match(lines[0]) if lines else None
    return heading is not None and (len(lines) > 1 or heading.end() < len(lines[0]))


def _alternatives(text: str) -> set[str]:
    """The answers of "answer yes, no or maybe" and of "is it good or bad?", a word each."""
    return {
        re.sub(r"^(?:an?|the) ", "", word)
        for pattern in (_ASKED_FOR, _QUESTION)
        for found in pattern.findall(_QUOTED.sub('""', text))
        for word in re.split(r", (?:or )?| or ", found)
    }


def _says(text: str, answer: str) -> bool:
    """Whether a text has an answer as it is, or with a capital where a sentence begins."""
    capital = answer[:1].upper() + answer[1:]
    said = rf"(?<!\w){re.escape(answer)}|(?m:^|[.!?]\s)\W*{re.escape(capital)}"
    return re.search(rf"(?:{said})(?!\w)", text) is not None


def same_answers(original: Template, text: str) -> str | None:
    """The words of the answers are untouched: quoted, named by the target, or "yes or no"."""
    before = original.prompt_text
    literal = re.sub(r"\{[^{}]*\}", "", original.completion_text).strip()
    wanted = set(_QUOTED.findall(before))
    if literal and re.search(rf"(?<!\w){re.escape(literal)}(?!\w)", before):
        wanted.add(literal)
    for answer in sorted(wanted):
        if not re.search(rf"(?<!\w){re.escape(answer)}(?!\w)", text):
            return f"answers: '{answer}' is gone"
    added = sorted(set(_QUOTED.findall(text)) - wanted)
    for one, other in ((before, text), (text, before)):
        for word in sorted(_alternatives(one)):
            if _says(other, word) or (other is before and _says(other, word.lower())):
                continue
            if other is text:
                return f"answers: '{word}' is gone"
            added.append(word)
    if added:
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
    words, before = word_count(text), word_count(original.prompt_text)
    if words > max(_LONGEST * before, before + _ADDED_WORDS):
        return f"longer: {words} words for {before}"
    return None


RULES: Sequence[Callable[[Template, str], str | None]] = (
    same_placeholders, same_options, same_answers, same_numbers, same_negation, no_prompt_words,
    not_much_longer,
)  # fmt: skip


def difference(original: Template, text: str) -> str | None:
    """The first reason why a rewording is not the same template; None: none was found."""
    return next(filter(None, (rule(original, text) for rule in RULES)), None)
