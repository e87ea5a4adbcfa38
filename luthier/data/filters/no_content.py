"""Rejects rows whose answer is nothing but punctuation (or, on request, stop words)."""

from __future__ import annotations

import re
import unicodedata

from luthier.data.candidate import Candidate, Filter
from luthier.data.linting.languages import STOP_WORDS
from luthier.data.linting.lint_report import Severity
from luthier.data.linting.passages import answers
from luthier.errors import DataError

SEVERITY: Severity = "warning"
FIX = "Write the answer, or delete the row."
_ABOUT_SIGNS = re.compile(
    r"\b(?:symbols?|signs?|operators?|punctuat\w*|characters?|marks?|brackets?|wildcards?|regex\w*"
    r"|delimiters?|separators?|morse|keys?|notation|glyphs?|letters?)\b",
    re.IGNORECASE,
)


def build(*, stop_words: bool = False) -> Filter:
    """The third elimination rule of Evol-Instruct (WizardLM, arXiv 2304.12244, section 3.2).

    Args:
        stop_words: also reject answers of English stop words only, as the paper does. Off, since
            `to` fills a gap and `A` picks an option. `yes` and `no` always pass.
    """
    if not isinstance(stop_words, bool):
        raise DataError(
            f"filter 'no_content': stop_words is {stop_words!r}, expected true or false."
        )

    def no_content(row: Candidate) -> str | None:
        if row.labels:
            return None
        for where, text in answers(row):
            said = text.strip()
            if said and len(said) <= 200 and not _ABOUT_SIGNS.search(row.question):
                if _is_punctuation(said):
                    return f"no content: the {where} is only punctuation ('{said[:20]}')"
                if stop_words and _is_stop_words(said):
                    return f"no content: the {where} is only stop words ('{said[:40]}')"
        return None

    return no_content


def _is_punctuation(text: str) -> bool:
    return all(c.isspace() or unicodedata.category(c).startswith("P") for c in text)


def _is_stop_words(text: str) -> bool:
    words = re.findall(r"\w+", text.casefold())
    return bool(words) and all(w in STOP_WORDS["en"] and w not in ("no", "not") for w in words)
