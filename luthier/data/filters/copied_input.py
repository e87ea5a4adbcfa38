"""Rejects rows whose answer repeats what is asked instead of answering it."""

from __future__ import annotations

import re

from luthier.data.candidate import Candidate, Filter
from luthier.data.linting.lint_report import Severity

SEVERITY: Severity = "warning"
FIX = "Write the answer, or delete the row; a model trained on such rows learns to echo."
_LEAST_WORDS = 4
"""Of a repeated input that is not the whole question: names and numbers survive many tasks."""
_ECHO_WORDS = 8
"""Of a question that an answer begins with."""
# Tasks in which the text may come back as it was, or the answer goes on from the question.
_ASKED_FOR = re.compile(
    r"\b(?:repeat\w*|copy|echo\w*|quote|correct\w*|proofread\w*|grammar\w*|grammatical\w*|spell\w*"
    r"|punctuat\w*|fix|edit\w*|rewrite|rephrase|paraphras\w*|re-?word|revise|improve|polish|format"
    r"|reformat|capitali[sz]e|lower-?case|upper-?case|unchanged|as it is|if necessary|if needed"
    r"|translat\w*|extract\w*|identify|find|select|choose|pick|which|classify|continue|complete"
    r"|finish|expand|add|insert|fill|append|remove|delete|sort|order|convert|normali[sz]e|clean"
    r"|detect|simplify|shorten|summari[sz]e|transcribe|recite|write out|restate)\b",
    re.IGNORECASE,
)


def build() -> Filter:
    """No options.

    An answer equal to the input is dropped by Self-Instruct too (arXiv 2212.10560, section 2.2);
    there without exception, here not where the task may well leave a text as it is. Case does not
    count; line breaks do, since some tasks ask for no more than those.
    """

    def copied_input(row: Candidate) -> str | None:
        if row.labels or not row.example.messages:
            return None
        what = _copied(row)
        return f"copied input: {what}" if what and not _ASKED_FOR.search(row.question) else None

    return copied_input


def _copied(row: Candidate) -> str:
    answer, asked = row.answer.strip().casefold(), row.question.strip().casefold()
    if not answer:
        return ""
    if answer == asked:
        return "the answer is the question"
    given = row.example.fields.get("input")
    if isinstance(given, str) and given.strip().casefold() == answer:
        return "the answer is the input" if len(answer.split()) >= _LEAST_WORDS else ""
    if answer.startswith(asked) and len(asked.split()) >= _ECHO_WORDS:
        return "the answer begins with the whole question"
    return ""
