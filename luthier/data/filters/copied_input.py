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
# Tasks in which an unchanged text can be the right answer. A translation, a summary or a paraphrase
# that changes nothing is none.
_MAY_STAY = re.compile(
    r"\b(?:repeat\w*|copy|echo\w*|quote|correct\w*|proofread\w*|grammar\w*|grammatical\w*|spell\w*"
    r"|punctuat\w*|fix|edit\w*|revise|improve|polish|format|reformat|capitali[sz]e|lower-?case"
    r"|upper-?case|unchanged|as it is|if|where (?:possible|needed|necessary)|whether|extract\w*"
    r"|identify|find|select|choose|pick|which|remove|delete|sort|order|convert|normali[sz]e|clean"
    r"|detect|transcribe|recite|write out|say|type|print|output|add|insert|fill|append|split|join"
    r"|highlight|underline|cite|read|arrange|rearrange|replace|mask|censor|anonymi[sz]e|redact)\b",
    re.IGNORECASE,
)
# Tasks in which the answer goes on from the question.
_GOES_ON = re.compile(
    r"\b(?:continue|complete|finish|expand|rewrite|rephrase|paraphras\w*|re-?word|translat\w*"
    r"|simplify|shorten|summari[sz]e|restate|classify)\b",
    re.IGNORECASE,
)


def build() -> Filter:
    """No options.

    An answer equal to the input is dropped by Self-Instruct too (arXiv 2212.10560, section 2.2);
    there without exception, here not where the task may well leave a text as it is. In a turn of
    several paragraphs the last one is the input. Case does not count; line breaks do, since some
    tasks ask for no more than those.
    """

    def copied_input(row: Candidate) -> str | None:
        if row.labels or not row.example.messages:
            return None
        what = _copied(row)
        return f"copied input: {what}" if what else None

    return copied_input


def _copied(row: Candidate) -> str:
    answer, asked = row.answer.strip().casefold(), row.question.strip().casefold()
    if not answer or not asked:
        return ""
    if answer == asked:
        return "" if _MAY_STAY.search(asked) else "the answer is the question"
    task, given = _parts(row, asked)
    if given and given == answer:
        enough = len(answer.split()) >= _LEAST_WORDS and not _MAY_STAY.search(task)
        return "the answer is the input" if enough else ""
    if answer.startswith(asked) and len(asked.split()) >= _ECHO_WORDS:
        excused = _MAY_STAY.search(asked) or _GOES_ON.search(asked)
        return "" if excused else "the answer begins with the whole question"
    return ""


def _parts(row: Candidate, asked: str) -> tuple[str, str]:
    """What is to be done, and with what; the second is empty where they stand in one paragraph."""
    given = row.example.fields.get("input")
    if isinstance(given, str) and given.strip():
        text = given.strip().casefold()
        # Where the words of the task are a template's, they are in no field.
        told = row.shared or "\n".join(m.content for m in row.example.messages[:-1])
        return told.casefold().replace(text, " "), text
    if len(row.example.messages) > 3:
        return asked, ""
    head, _, last = asked.rpartition("\n\n")
    return head, last.strip() if head else ""
