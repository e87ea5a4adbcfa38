"""Rejects rows whose question or answer is empty or only white space."""

from __future__ import annotations

from luthier.data.candidate import Candidate, Filter
from luthier.data.linting.lint_report import Severity

SEVERITY: Severity = "error"
FIX = "Write what is missing, or delete the row; `use: empty` leaves it out of a build."


def build() -> Filter:
    """No options. A turn that calls tools need not say anything beside."""

    def empty(row: Candidate) -> str | None:
        if not row.question.strip():
            return "empty: nothing is asked" if row.example.messages else "empty: no text"
        turns = row.example.messages
        if turns and not row.answer.strip() and not turns[-1].tool_calls:
            return "empty: no answer"
        for number, message in enumerate(turns, 1):
            if not message.content.strip() and not message.tool_calls:
                return f"empty: message {number} ({message.role})"
        return None

    return empty
