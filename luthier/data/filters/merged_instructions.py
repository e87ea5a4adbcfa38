"""Rejects rows in which a second task has been swallowed by the first."""

from __future__ import annotations

import re

from luthier.data.candidate import Candidate, Filter
from luthier.data.linting.lint_report import Severity
from luthier.data.linting.passages import answers, passages, prose

SEVERITY: Severity = "error"
FIX = "Cut the text before the second task, or delete the row."
# `\n##\n18. Instruction:` is what the prompt of Alpaca leaves where a completion was split wrongly
# (one of the ten defects that AlpacaDataCleaned lists). Cooking recipes have `Instructions:`.
_NUMBERED = re.compile(
    r"(?:^|\n)\s*#{2,3}\s*\n+\s*(?:\d{1,3}\.\s*)?(?:Instruction|Input|Output)\s*:"
)
_NUMBERED_TASK = re.compile(r"(?:^|\n)\s*(?:#{2,3}\s*)?(?P<number>\d{1,3})\.\s*Instruction\s*:")
# What the prompt of Self-Instruct leaves: `20. Name a tree.`, its input, its output.
_NEXT_TASK = re.compile(
    r"\n\s*\d{1,3}\.\s[^\n]+\n+\s*Input\s*:[^\n]*\n+\s*Output\s*:", re.IGNORECASE
)
_NEXT_QUESTION = re.compile(
    r"\n\s*(?:Question|Q)(?: \d+)?\s*:\s[^\n]+\n+\s*(?:Answer|A)(?: \d+)?\s*:"
)
_QUIZ = re.compile(
    r"\b(?:quiz\w*|questions?|q ?& ?a|faqs?|interviews?|flash ?cards?|trivia|dialogues?"
    r"|conversations?|riddles?|tests?|exams?|surveys?|worksheets?|jokes?|format)\b",
    re.IGNORECASE,
)
_A_LIST = re.compile(r"\W*(?:1\.\s*Instruction|Task 1)\b")
# `Task:` alone heads a line of minutes, reports and plans too.
_HEADED_TASK = re.compile(
    r"(?:^|\n)[ \t]*(?:[#*]+[ \t]*Task|Task \d+|[ \t#*]*Instruction(?: \d+)?)[ *]*:"
)
_HEADED_OUTPUT = re.compile(r"(?:^|\n)[ \t#*]*(?:Output|Response)(?: \d+)?[ *]*:")
_ASKED_FOR = re.compile(
    r"\b(?:instructions?|prompts?|tasks?|examples?|data ?sets?|fine-?tun\w*|few-shot|assignments?"
    r"|exercises?|templates?)\b",
    re.IGNORECASE,
)


def build() -> Filter:
    """No options. Tasks that are asked for, or stand in a block of code, pass."""

    def merged_instructions(row: Candidate) -> str | None:
        for where, text in passages(row):
            if "##" in text and _NUMBERED.search(prose(text)):
                return f"merged instructions: another numbered task in the {where}"
            # Of the questions; answers come below.
            asks = where == "input" or where.endswith("(user)")
            if asks and "nstruction" in text and _is_second_task(text):
                return f"merged instructions: another numbered task in the {where}"
        for where, text in answers(row):
            if kind := _second_in_answer(text, row.question):
                return f"merged instructions: another {kind} in the {where}"
        return None

    return merged_instructions


def _is_second_task(text: str) -> bool:
    """Whether a numbered task stands behind what is asked first."""
    found = _NUMBERED_TASK.search(prose(text))
    if found is None or found["number"] == "1":
        return False
    before = prose(text)[: found.start()]
    return bool(before.strip()) and not _ASKED_FOR.search(before)


def _second_in_answer(text: str, question: str) -> str:
    """What of another task stands in an answer; empty where nothing does."""
    # All these words are rare; looking for them first saves the searches.
    tasks = "nstruction" in text or "Task" in text
    outputs, asks = "utput" in text, "Question" in text or "\nQ" in text
    if not (tasks or outputs or asks):
        return ""
    plain = prose(text)
    if asks and _NEXT_QUESTION.search(plain) and not _QUIZ.search(question):
        return "question with its answer"
    if _ASKED_FOR.search(question):
        return ""
    if outputs and _NEXT_TASK.search(plain):
        return "numbered task"
    # A list of instructions or tasks begins with the first.
    if not tasks or _A_LIST.match(plain):
        return ""
    if _NUMBERED_TASK.search(plain):
        return "numbered task"
    return (
        "task with its output"
        if _HEADED_TASK.search(plain) and _HEADED_OUTPUT.search(plain)
        else ""
    )
