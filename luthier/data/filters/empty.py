"""Rejects rows whose question or answer is empty or only white space."""

from __future__ import annotations

from luthier.data.candidate import Candidate, Filter
from luthier.data.lint_report import Severity

SEVERITY: Severity = "error"
FIX = "Write what is missing, or delete the row; `use: empty` leaves it out of a build."


def build() -> Filter:
    """No options."""

    def empty(row: Candidate) -> str | None:
        if not row.question.strip():
            return "empty: nothing is asked" if row.example.messages else "empty: no text"
        if row.example.messages and not row.answer.strip():
            return "empty: no answer"
        for number, message in enumerate(row.example.messages, 1):
            if not message.content.strip():
                return f"empty: message {number} ({message.role})"
        return None

    return empty
