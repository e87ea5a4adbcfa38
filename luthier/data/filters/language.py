"""Rejects rows that are clearly in another language than those asked for."""

from __future__ import annotations

from collections.abc import Sequence

from luthier.data.candidate import Candidate, Filter
from luthier.data.linting.languages import KNOWN, language_asked_in
from luthier.data.linting.lint_report import Severity
from luthier.data.linting.passages import prose
from luthier.errors import DataError, unknown

SEVERITY: Severity = "warning"
FIX = "Translate the row, delete it, or add its language: {use: language, languages: [en, fr]}."


def build(*, languages: Sequence[str] = ("en",)) -> Filter:
    """The language of what is asked, by script and function words (see `linting/languages.py`).

    Short texts, code and what cannot be told for sure pass. Answers are not looked at: in
    translation they are in another language.

    Args:
        languages: ISO 639-1 codes that may stay.
    """
    if isinstance(languages, str) or not languages:
        raise DataError(
            f"filter 'language': languages is {languages!r}, expected a list: [en, fr]."
        )
    for code in languages:
        if code not in KNOWN:
            raise DataError(f"filter 'language': {unknown('language', str(code), KNOWN)}")
    wanted = frozenset(languages)

    def language(row: Candidate) -> str | None:
        found = language_asked_in(prose(row.question))
        if found is None or found in wanted:
            return None
        return f"other language: {found}, not {', '.join(languages)}"

    return language
