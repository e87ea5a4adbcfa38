"""Rejects rows whose answer refuses, or apologises for being a language model."""

from __future__ import annotations

import re

from luthier.data.candidate import Candidate, Filter
from luthier.data.linting.lint_report import Severity
from luthier.data.linting.passages import answers
from luthier.errors import DataError

SEVERITY: Severity = "warning"
FIX = "Write the answer, or delete the row, unless the model is meant to refuse this."
_HEAD = 300
"""Characters of an answer in which it says that it is one of a model."""
_CANNOT = (
    r"(?:can(?:no|')t|cannot|can not|could(?:n't| not)|(?:am|'m) (?:unable|not able)(?: to)?|won't)"
)
_DO = (
    r"(?:fulfil\w*|assist|help|comply|provide|generate|create|produce|answer|complete|access|browse"
    r"|view|see|open|do that|process|support|engage|discuss|give|offer|write|respond|share|perform"
    r"|participate|fetch|retrieve|display|draw|play|hear|watch)"
)
_SORRY = re.compile(
    rf"\W*(?:i'?m|i am|we are|my)?\s*(?:so |very |really |terribly |deepest )?(?:sorry|apologies"
    rf"|i apologi[sz]e)\b[^.!?\n]{{0,60}}?\b(?:but|,|as|because)?\s*(?:i"
    rf"|we)\s*(?:{_CANNOT}\s+(?:to )?{_DO}"
    r"|do(?:n't| not) (?:have (?:access|the ability|enough|any information|personal)|understand"
    r"|feel comfortable))\b",
    re.IGNORECASE,
)
_UNABLE = re.compile(
    rf"\W*(?:unfortunately,? |regrettably,? )?i(?:'m| am)? ?{_CANNOT}\s+(?:to )?"
    r"(?:fulfil\w*|assist|comply|help you with|help with|provide (?:that|this|you with)|do that"
    r"|answer (?:that|this)|complete (?:that|this)|engage in|generate (?:that|this|images)"
    r"|browse|access (?:the (?:internet|web|link|url|file)|external|url))",
    re.IGNORECASE,
)
_NOT = (
    r"(?:do(?:n't| not)|cannot|can(?:no|')t|can not|am (?:not|unable)|'m (?:not|unable)|lack"
    r"|have no|never)"
)
_MODEL = re.compile(
    r"\bas an? (?:ai|a\.i\.|artificial intelligence|(?:large |ai )?language model|llm|chat ?bot"
    r"|virtual assistant|(?:text|machine)[- ]based (?:ai|model|assistant))\b"
    rf"[^.!?\n]{{0,80}}?\bi\s?{_NOT}",
    re.IGNORECASE,
)
_ABOUT = re.compile(
    r"\b(?:sorry|apolog\w*|refus\w*|declin\w*|as an ai|(?:are|who|what) (?:are )?you|yourself"
    r"|language models?"
    r"|chat ?bots?|chatgpt|artificial intelligence|a\.?i\.?|llms?|assistants?|reject\w*|pretend"
    r"|role ?play\w*|your (?:opinion|feelings?|favou?rite|name))\b",
    re.IGNORECASE,
)


def build(*, max_words: int = 80) -> Filter:
    """Refusals and disclaimers.

    Evol-Instruct drops answers of fewer than 80 words with `sorry` in them (arXiv 2304.12244,
    section 3.2, rule 2). A dialogue says sorry too, so here the answer must begin with an apology
    and go on to what it cannot do, or say that it is a model's; and the question must not be about
    that.

    Args:
        max_words: answers with at least as many words as this have said something beside.
    """
    if isinstance(max_words, bool) or not isinstance(max_words, int) or max_words < 1:
        raise DataError(f"filter 'refusals': max_words is {max_words!r}, expected a whole number.")

    def refusals(row: Candidate) -> str | None:
        if row.labels:
            return None
        for where, text in answers(row):
            head = text[:_HEAD].replace("’", "'")
            found = _SORRY.match(head) or _UNABLE.match(head)
            kind = "refusal"
            if not found:
                found, kind = _MODEL.search(head), "disclaimer"
            if not found or len(text.split()) >= max_words or _ABOUT.search(row.question):
                continue
            return f"{kind}: the {where} says '{' '.join(found.group().split())[:60]}'"
        return None

    return refusals
