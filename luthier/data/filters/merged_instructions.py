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
_NUMBERED = re.compile(r"(?:^|\n)\s*#{2,3}\s*\n+\s*\d{1,3}\.\s*(?:Instruction|Input|Output)\s*:")
_NUMBERED_TASK = re.compile(r"(?:^|\n)\s*(?:#{2,3}\s*)?\d{1,3}\.\s*Instruction\s*:")
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
        for where, text in answers(row):
            # Both words are rare; looking for them first saves two searches a row.
            if "nstruction" not in text and "Task" not in text:
                continue
            plain = prose(text)
            asked = _ASKED_FOR.search(row.question)
            if not asked and _NUMBERED_TASK.search(plain):
                return f"merged instructions: another numbered task in the {where}"
            if not asked and _HEADED_TASK.search(plain) and _HEADED_OUTPUT.search(plain):
                return f"merged instructions: another task with its output in the {where}"
        return None

    return merged_instructions
