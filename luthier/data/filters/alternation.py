"""Rejects conversations whose turns do not alternate between user and assistant."""

from __future__ import annotations

from luthier.data.candidate import Candidate, Filter
from luthier.data.linting.lint_report import Severity

SEVERITY: Severity = "warning"
FIX = "Join the turns, or put back the one that is missing; many chat templates refuse such rows."


def build() -> Filter:
    """No options. Tools, and speakers with names of their own, may take several turns in a row."""

    def alternation(row: Candidate) -> str | None:
        turns = row.example.messages
        if len(turns) < 2 or row.example.template is not None:
            return None
        first = next((n for n, m in enumerate(turns) if m.role != "system"), 0)
        if turns[first].role == "assistant" and len(turns) > first + 1:
            return f"alternation: message {first + 1}, the first, is from the assistant"
        for number in range(first + 1, len(turns)):
            one, other = turns[number - 1], turns[number]
            if one.role == other.role and one.role != "tool":
                named = one.name or other.name or one.tool_calls or other.tool_calls
                if not named:
                    return (
                        f"alternation: messages {number} and {number + 1} are both from {one.role}"
                    )
        return None

    return alternation
