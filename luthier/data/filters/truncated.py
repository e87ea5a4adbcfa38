"""Rejects rows whose answer breaks off in the middle."""

from __future__ import annotations

import json
import re

from luthier.data.candidate import Candidate, Filter
from luthier.data.linting.lint_report import Severity
from luthier.data.linting.passages import excerpt, has_code, prose
from luthier.errors import DataError

SEVERITY: Severity = "warning"
FIX = "Complete the answer, generate it again with more tokens, or delete the row."
_REASONS = ("finish_reason", "stop_reason", "finishReason")
_CUT = ("length", "max_tokens", "max_length", "token_limit")
# No sentence ends with these; `to`, `in`, `is` and the like do end some.
_OPEN_WORDS = re.compile(
    r"(?:the|an?|and|or|but|nor|of|from|with|into|because|although|whereas|which|whose|their|its|your"
    r"|our|my|his|this|these|those|such|than|very|whether|if)"
)
_LEAST_IN_LINE = 8
"""Words of a line that breaks off in a comma; letters close with `Yours,`, poems have commas."""
_SENTENCE = re.compile(r"[.!?][\"')\]]*\s+[\"'(]*[A-ZÀ-Þ]")
_MARK = re.compile(r"(?:\[|<|\()?(?:output |text )?truncated(?:\]|>|\))\s*\Z", re.IGNORECASE)
_GOES_ON = re.compile(
    r"\b(?:complete|continue|finish|next word|fill in|beginning|opening|first (?:half|part|line)"
    r"|fragment|autocomplete|prefix|unfinished|incomplete|cliffhanger|truncat\w*)\b",
    re.IGNORECASE,
)


def build(*, min_words: int = 12) -> Filter:
    """What says for sure that an answer was cut off, and what nearly does.

    A field `finish_reason` (or `stop_reason`) that says so; a block of code that is never closed;
    JSON whose brackets are not; prose of several sentences that ends in a comma or in a word such
    as `the` or `because`. A missing full stop alone says nothing: poems, lists, titles and code
    have none. The rules are luthier's own.

    Args:
        min_words: shorter answers are not judged by how their prose ends.
    """
    if isinstance(min_words, bool) or not isinstance(min_words, int) or min_words < 1:
        raise DataError(f"filter 'truncated': min_words is {min_words!r}, expected a whole number.")

    def truncated(row: Candidate) -> str | None:
        if row.labels or not row.example.messages:
            return None
        for name in _REASONS:
            if (said := row.example.fields.get(name)) in _CUT:
                return f"truncated: {name} is '{said}'"
        answer = row.answer.strip()
        if not answer or _GOES_ON.search(row.question):
            return None
        why = _cut(answer, min_words)
        return f"truncated: {why} ('...{excerpt(answer[-40:], 40)}')" if why else None

    return truncated


def _cut(answer: str, min_words: int) -> str:
    if answer.count("```") % 2 and not answer.endswith("```"):
        return "a block of code is not closed"
    if answer[0] in "[{" and _is_open_json(answer):
        return "brackets are not closed"
    if answer[-1] in ")]>" and _MARK.search(answer[-24:]):
        return "it says so"
    if answer[-1] != "," and not answer[-1].isalpha():
        return ""
    last = answer[-20:].split()[-1].strip("*_").casefold()
    if not (answer[-1] == "," or _OPEN_WORDS.fullmatch(last)) or has_code(answer):
        return ""
    line = answer.rpartition("\n")[2]
    if answer[-1] == "," and len(line.split()) < _LEAST_IN_LINE:
        return ""
    text = prose(answer)
    if len(text.split()) < min_words or not _SENTENCE.search(text):
        return ""
    return "it ends in a comma" if answer[-1] == "," else f"it ends in '{last}'"


def _is_open_json(text: str) -> bool:
    """Whether the text begins as JSON and ends before its brackets do."""
    if not re.match(r"[\[{]\s*(?:\"|\{|\[|-?\d)", text):
        return False
    try:
        json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError) as error:
        at_end = isinstance(error, json.JSONDecodeError) and error.pos >= len(text) - 2
        unclosed = isinstance(error, json.JSONDecodeError) and error.msg.startswith("Unterminated")
        return at_end or (unclosed and text.count('"') % 2 == 1)
    return False
