"""Rejects rows whose question or answer is empty or only white space."""

from __future__ import annotations

import unicodedata

from luthier.data.candidate import Candidate, Filter
from luthier.data.linting.lint_report import Severity

SEVERITY: Severity = "error"
FIX = "Write what is missing, or delete the row; `use: empty` leaves it out of a build."


# Letters by their category, which nobody sees: Hangul fillers and the empty Braille pattern.
_UNSEEN = "\u115f\u1160\u2800\u3164\uffa0"


def build() -> Filter:
    """No options.

    A turn that calls tools need not say anything beside. Signs that nobody sees, such as a
    zero-width space, say nothing.
    """

    def empty(row: Candidate) -> str | None:
        turns = row.example.messages
        if turns and turns[-1].role == "user":
            return "empty: no answer to the last message"
        if _is_blank(row.question):
            return "empty: nothing is asked" if turns else "empty: no text"
        if turns and _is_blank(row.answer) and not turns[-1].tool_calls:
            return "empty: no answer"
        for number, message in enumerate(turns, 1):
            if _is_blank(message.content) and not message.tool_calls:
                return f"empty: message {number} ({message.role})"
        return None

    return empty


def _is_blank(text: str) -> bool:
    """Whether a text has nothing that can be seen."""
    said = text.strip()
    if not said or said[0].isascii():
        # Control characters are others' business.
        return not said
    return all(c.isspace() or c in _UNSEEN or unicodedata.category(c) == "Cf" for c in said)
