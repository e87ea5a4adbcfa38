"""Rejects rows with words of the prompt they were made with, or with unfilled placeholders."""

from __future__ import annotations

import re
from collections.abc import Sequence

from luthier.data.candidate import Candidate, Filter
from luthier.data.linting.lint_report import Severity
from luthier.data.linting.passages import answers, excerpt, has_code, passages, prose
from luthier.errors import DataError

SEVERITY: Severity = "warning"
FIX = "Cut the words out, or delete the row; a prompt belongs in a template, not in the rows."
# What Evol-Instruct's prompts call the texts (arXiv 2304.12244, section 3.2, rule 4, and appendix
# A to E). Without the signs around them, `the given prompt` is what many writing tasks say.
_EVOL = re.compile(
    r"#\s?(?:The )?(?:Given|Rewritten|New|Created|Original) Prompts?\s?#", re.IGNORECASE
)
# The prompt of Alpaca (tatsu-lab/stanford_alpaca): such rows would be put into a template twice.
_ALPACA = re.compile(
    r"Below is an instruction that describes a task|(?:^|\n)### ?(?:Instruction|Response|Input):"
)
_ROLE = re.compile(
    r"(?:\A|\n\s*\n?)\s*(?:<human>|<bot>|### ?(?:Human|Assistant)|Human|Assistant)\s*:"
)
_UNFILLED = re.compile(
    r"\{\{\s*\w+\s*\}\}"
    r"|\{(?:input|output|instruction|question|answer|context|text|sentence|labels?|options_"
    r"|prompt|response|passage|topic|name)\}"
)
_ABOUT = re.compile(
    r"\b(?:prompts?|templates?|placeholders?|f-?strings?|format\w*|jinja\w*|mustache|handlebars"
    r"|python"
    r"|code|javascript|variables?|alpaca|fine-?tun\w*|chats?|dialog\w*|conversations?|transcripts?"
    r"|scripts?|scenes?|skits?|sketch(?:es)?|interview\w*|messages?|screenplay|robots?|markdown|latex)\b",
    re.IGNORECASE,
)
_META = re.compile(r"\b(?:prompts?|templates?|placeholders?|alpaca|fine-?tun\w*)\b", re.IGNORECASE)
_LEAST_WORDS = 8
"""Of a system message that an answer repeats."""


def build(*, words: Sequence[str] = ()) -> Filter:
    """Words of Evol-Instruct's and Alpaca's prompts, role names, placeholders, system messages.

    Args:
        words: further texts that a row must not contain, such as the headings of your own prompt;
            case does not count.
    """
    if isinstance(words, str) or not all(isinstance(w, str) and w.strip() for w in words):
        raise DataError(f"filter 'prompt_leaks': words is {words!r}, expected a list of texts.")
    own = re.compile("|".join(map(re.escape, words)) or r"(?!)", re.IGNORECASE)

    def prompt_leaks(row: Candidate) -> str | None:
        for where, text in passages(row):
            found = (_EVOL.search(text) if "#" in text else None) or (
                own.search(text) if words else None
            )
            if found:
                return f"prompt words: '{found.group().strip()}' in the {where}"
            leak = _template(text)
            if leak and not (_ABOUT if where == "answer" else _META).search(row.question):
                return f"prompt words: '{leak}' in the {where}"
        return _in_answers(row)

    return prompt_leaks


def _template(text: str) -> str:
    """Words of a template in a text; empty where there are none."""
    if "###" in text or "Below is" in text:
        found = _ALPACA.search(prose(text))
        if found:
            return found.group().strip()
    if "{" in text:
        found = _UNFILLED.search(prose(text))
        if found and not _ABOUT.search(text) and not has_code(text):
            return found.group()
    return ""


def _in_answers(row: Candidate) -> str | None:
    for where, text in answers(row):
        if ":" in text and (found := _ROLE.search(text)) and not _ABOUT.search(row.question):
            return f"role name: '{found.group().strip()}' in the {where}"
    system = next((m.content for m in row.example.messages if m.role == "system"), "").strip()
    if len(system) < 400 and len(system.split()) >= _LEAST_WORDS and system in row.answer:
        return f"prompt words: the answer repeats the system message '{excerpt(system, 40)}'"
    return None
