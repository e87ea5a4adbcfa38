r"""Rejects rows in which escapes such as \n or \u00e9 stand written out, as two or more signs."""

from __future__ import annotations

import re

from luthier.data.candidate import Candidate, Filter
from luthier.data.linting.lint_report import Severity
from luthier.data.linting.passages import has_code, passages, prose

SEVERITY: Severity = "warning"
FIX = "Decode the text once more: it was written as JSON or Python inside JSON or CSV."
# `\nabla`, `\theta` and `C:\new` go on in small letters.
_BREAK = re.compile(r"\\[nrt](?![a-z])")
_CODED = re.compile(r"\\u[0-9a-fA-F]{4}|\\x[0-9a-fA-F]{2}")
# Behind the end of a sentence one is enough: nothing else is written so.
_BEHIND_A_SENTENCE = re.compile(r"(?<=\w[.!?:])[\"')]?\\[nr](?=[^\W_a-z]|\s|\\|[-*#\"(]|\Z)")
_QUOTED = re.compile(r"(?<![\w\\])\\\"[^\"\\\n]{1,200}\\\"(?!\w)")
_LEAST = 2
_ABOUT = re.compile(
    r"\b(?:escap\w*|regex\w*|regular expressions?|code|python|javascript|java|json|strings?|latex"
    r"|unicode"
    r"|utf-?8|newlines?|backslash\w*|program\w*|function|bash|shell|terminal|csv|c\+\+|equation"
    r"|formula|printf?|path)\b|\$",
    re.IGNORECASE,
)


def build() -> Filter:
    """No options. One of the ten defects of Alpaca that AlpacaDataCleaned lists.

    Rows about code, mathematics or paths pass, and so does a single escape that does not stand
    behind the end of a sentence.
    """

    def stray_escapes(row: Candidate) -> str | None:
        for where, text in passages(row):
            if "\\" not in text:
                continue
            plain = prose(text)
            found = _CODED.findall(plain)
            if "\n" not in text.strip():
                found += _BREAK.findall(plain)
            sure = _BEHIND_A_SENTENCE.search(plain) or _QUOTED.search(plain)
            if not sure and len(found) < _LEAST:
                continue
            about = _ABOUT.search(row.question) or _ABOUT.search(plain) or has_code(text)
            if not about:
                first = found[0] if found else '\\"' if _QUOTED.search(plain) else "\\n"
                return f"stray escapes: {max(1, len(found))} such as '{first}' in the {where}"
        return None

    return stray_escapes
