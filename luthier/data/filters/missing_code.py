"""Rejects rows that ask for a program in a named language and are answered without code."""

from __future__ import annotations

import re

from luthier.data.candidate import Candidate, Filter
from luthier.data.linting.lint_report import Severity

SEVERITY: Severity = "warning"
FIX = "Write the program, or delete the row."
_LANGUAGE = (
    r"(?:python|java|javascript|typescript|c\+\+|c#|sql|mysql|html|css|bash|ruby|php|golang|rust"
    r"|kotlin"
    r"|swift|perl|matlab|haskell|scala)"
)
_ASKS = re.compile(
    r"(?:^|[.!?\n:]\s*|\bplease\s+|\b(?:can|could) you\s+)"
    r"(?:write|create|generate|implement|develop|construct|code|build|design)\b[^.!?\n]{0,40}?"
    rf"(?:\b{_LANGUAGE}(?!\w)[^.!?\n]{{0,20}}?\b(?:function|program|script|code|query|class"
    rf"|statement|snippet)\b(?!['’]s)"
    rf"|\b(?:function|program|script|code|query|class)\b(?!['’]s)[^.!?\n]{{0,40}}?\b(?:in"
    rf"|using) {_LANGUAGE}(?!\w))",
    re.IGNORECASE,
)
# Whatever a program has and prose has not.
_CODE = re.compile(
    r"[{};=<>`]|\w\(|^\s{2,}\S|\b(?:SELECT|INSERT|UPDATE|DELETE|CREATE|ALTER|DROP)\b|\b(?:def"
    r"|print|echo|return|lambda)\b|^\s*(?i:select\s+(?:distinct\s+)?(?:\*|[\w.]+(?:\s*,\s*[\w.]+)*)\s+from\s"
    r"|insert\s+into\s+[\w.]+\s*(?:\(|values\b|select\b)|delete\s+from\s+[\w.]+\s*(?:where\b|$))",
    re.MULTILINE,
)
_OTHER = re.compile(
    r"\b(?:describe|explain|essay|story|article|pseudo-?code|in words|job|course|syllabus|poem"
    r"|joke|plan"
    r"|about the)\b",
    re.IGNORECASE,
)


def build() -> Filter:
    """No options. One of the ten defects of Alpaca that AlpacaDataCleaned lists."""

    def missing_code(row: Candidate) -> str | None:
        if row.labels or not row.answer.strip():
            return None
        found = _ASKS.search(row.question)
        if not found or _CODE.search(row.answer) or _OTHER.search(row.question):
            return None
        said = " ".join(found.group().split()).lstrip(".!?: ")
        return f"no code: '{said[:60]}' is answered in prose"

    return missing_code
