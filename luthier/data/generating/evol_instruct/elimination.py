"""Why an evolution has failed: each rule is a function of its own that says its reason or nothing.

The paper has four (arXiv 2304.12244, section 3.2, elimination evolving); the released code has
none. What h2o-wizardlm throws out besides (h2oai/h2o-wizardlm, wizardlm.py) can be asked for.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from luthier.data.generating.evol_instruct.data_formats import DATA_FORMATS
from luthier.data.generating.evol_instruct.prompts import CREATED, GIVEN, REWRITTEN, SOURCE
from luthier.data.linting.languages import STOP_WORDS

FEWEST_WORDS = 80
"""Of a response with `sorry` in it that counts as one nevertheless (second rule)."""
_MOST_ITEMS = 10
"""Lines of an instruction that is no list only because all of them are items (h2o-wizardlm)."""
_SHORT = 400
"""Characters of an instruction that apologizes instead of asking (h2o-wizardlm)."""


@dataclass(frozen=True, slots=True)
class Evolution:
    """What is judged; what was not asked for yet is empty."""

    given: str
    evolved: str
    judgement: str = ""
    """What the model says to whether both are equal."""
    response: str = ""
    """To the evolved instruction."""


Rule = Callable[[Evolution], str | None]


# --- the evolved instruction -------------------------------------------------------------------


def unchanged(it: Evolution) -> str | None:
    """The first rule where nobody need be asked: case and white space apart it is the given one."""
    if _plain(it.evolved) == _plain(it.given):
        return "unchanged: the evolved instruction is the given one"
    return None


def leaked_prompt(it: Evolution) -> str | None:
    """The fourth rule: it copies words or examples of the prompt by which it was evolved.

    Words that the given instruction has too are its own.
    """
    given = it.given.casefold()
    for found in _PROMPT_WORDS.finditer(it.evolved):
        if found.group().casefold() not in given:
            return f"leaked prompt: '{found.group()}' in the evolved instruction"
    evolved = _plain(it.evolved)
    for line in _SHOWN:
        if line in evolved and line not in given:
            return f"leaked prompt: '{line}', which the prompt shows"
    return None


def newlines(it: Evolution) -> str | None:
    """Of h2o-wizardlm: more than twice as many line breaks as spaces."""
    if it.evolved.count("\n") > 2 * it.evolved.count(" "):
        return "newlines: more than twice as many line breaks as spaces"
    return None


def bare_list(it: Evolution) -> str | None:
    """Of h2o-wizardlm: every line of more than ten begins an item."""
    lines = it.evolved.count("\n")
    if lines == it.evolved.count("- ") and lines > _MOST_ITEMS:
        return f"bare list: {lines} line breaks, and as many items"
    return None


def assistant_talk(it: Evolution) -> str | None:
    """Of h2o-wizardlm: it offers help instead of asking for it."""
    found = _ASSISTANT.search(it.evolved)
    return f"assistant talk: '{found.group()}'" if found else None


def apology(it: Evolution) -> str | None:
    """Of h2o-wizardlm: a short one that apologizes where the given one does not."""
    said = it.evolved.casefold().replace("’", "'")
    if "i'm sorry" in said and "sorry" not in it.given.casefold() and len(said) < _SHORT:
        return "apology: the evolved instruction says 'I'm sorry'"
    return None


# --- the judgement -----------------------------------------------------------------------------


def no_information_gain(it: Evolution) -> str | None:
    """The first rule: the model says that both are equal.

    The first verdict counts, and "not different" is none of a difference. Who says neither that
    they are equal nor that they are not has shown no gain either.
    """
    verdict = _VERDICT.search(it.judgement.casefold())
    if verdict and verdict["different"]:
        return None
    if verdict:
        return "no information gain: the model calls both equal"
    return f"no judgement: asked whether both are equal, the model says '{it.judgement[:40]}'"


# --- the response ------------------------------------------------------------------------------


def refusal(it: Evolution) -> str | None:
    """The second rule: the response says `sorry` and has fewer than 80 words."""
    words = len(it.response.split())
    if "sorry" in it.response.casefold() and words < FEWEST_WORDS:
        return f"refusal: the response says 'sorry' and has {words} words"
    return None


def no_content(it: Evolution) -> str | None:
    """The third rule: the response has nothing but punctuation and stop words."""
    words = re.findall(r"\w+", it.response.casefold())
    signs = re.sub(r"\w", "", it.response)
    if all(_is_punctuation(c) for c in signs) and all(w in _EMPTY_WORDS for w in words):
        return "no content: the response is only punctuation and stop words"
    return None


# --- all of them -------------------------------------------------------------------------------

EVOLVED: dict[str, Rule] = {
    rule.__name__: rule
    for rule in (unchanged, leaked_prompt, newlines, bare_list, assistant_talk, apology)
}
"""Rules that look at the evolved instruction: before anything else is paid."""
JUDGED: dict[str, Rule] = {"no_information_gain": no_information_gain}
"""Rules that need a judgement."""
ANSWERED: dict[str, Rule] = {rule.__name__: rule for rule in (refusal, no_content)}
"""Rules that look at the response."""
RULES = (*EVOLVED, *JUDGED, *ANSWERED)
PAPER = ("unchanged", "leaked_prompt", "no_information_gain", "refusal", "no_content")
"""The paper's four, the first of them in two steps."""


def first_reason(rules: dict[str, Rule], chosen: Sequence[str], it: Evolution) -> str | None:
    """The reason of the first rule that an evolution fails; None: it fails none."""
    found = (rule(it) for name, rule in rules.items() if name in chosen)
    return next((reason for reason in found if reason), None)


_SHOWN = [
    " ".join(shown.rewritten.partition("\n")[0].split()).casefold()
    for data_format in DATA_FORMATS.values()
    for shown in data_format.shown
]
"""What the examples of complicated inputs ask."""
_MARKS = "|".join(re.escape(mark) for mark in (GIVEN, SOURCE, REWRITTEN, CREATED))
_PROMPT_WORDS = re.compile(
    rf"{_MARKS}|#?\b(?:(?:given|rewritten|created) prompts?|prompt (?:rewriter|creator))\b#?",
    re.IGNORECASE,
)
_NOT = r"(?:\b(?:not|never)|n['’]t)\s+(?:\w+\s+){0,2}"
_VERDICT = re.compile(
    rf"{_NOT}(?:different|unequal)\b|\bno different\b"
    rf"|(?P<different>{_NOT}(?:equal|same)\b|\bunequal\b|\bdifferent\b)|\bequal\b"
)
"""That two are equal, or `different`: what stands first, the longer where one has the other."""
_ASSISTANT = re.compile(r"how can i assist|\bas an ai\b|\bai assistant\b", re.IGNORECASE)
_EMPTY_WORDS = STOP_WORDS["en"] | {"s", "t", "d", "m", "ll", "re", "ve"}
"""Those of English, and what an apostrophe leaves of them."""


def _plain(text: str) -> str:
    return " ".join(text.split()).casefold()


def _is_punctuation(sign: str) -> bool:
    return (
        sign.isspace() or sign in string.punctuation or unicodedata.category(sign).startswith("P")
    )
