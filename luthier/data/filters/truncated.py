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
# And these end none, not even the first one of an answer.
_NO_END = re.compile(
    r"(?:the|an?|and|because|although|whereas|whose|their|your|our|every|than)", re.IGNORECASE
)
# These do, but not behind several sentences of which each has its full stop.
_SELDOM_LAST = re.compile(
    r"(?:is|are|was|were|has|have|had|to|in|on|at|by|as|also|will|would|can|could|should|may|might"
    r"|that|when|where|while|since|which|between|through|about)"
)
_LEAST_IN_LINE = 8
"""Words of a line that breaks off in a comma; letters close with `Yours,`, poems have commas."""
_SENTENCE = re.compile(r"[.!?][\"')\]]*\s+[\"'(]*[A-ZÀ-Þ]")
_ENDED = re.compile(r"[.!?][\"')\]]*(?=\s)")
_ITEM = re.compile(r"[ \t]*(?:\d{1,3}[.)]|[-*•+])(?=\s|\Z)")
_BEFORE_BARE = frozenset("0123456789 \t\n")
_VERSE = re.compile(
    r"\b(?:poems?|poetry|verses?|haikus?|lyrics|songs?|rhymes?|stanzas?|sonnets?|limericks?"
    r"|punctuation|words?|prepositions?|conjunctions?|articles?)\b",
    re.IGNORECASE,
)
# `i++`, `*/` and tables end in such signs too.
_OPEN_CODE = re.compile(r"(?:[(\[{,]|\w\s(?:[-+*/%=]=?|==|&&|\|\|))\Z")
_OPEN_TAG = re.compile(r"</\w+>.*<\w[^<>]*\Z", re.DOTALL)
_MARK = re.compile(r"(?:\[|<|\()?(?:output |text )?truncated(?:\]|>|\))\s*\Z", re.IGNORECASE)
_GOES_ON = re.compile(
    r"\b(?:complete|continue|finish|next word|fill in|beginning|opening|first (?:half|part|line)"
    r"|fragment|autocomplete|prefix|unfinished|incomplete|cliffhanger|truncat\w*|untermin\w*"
    r"|unclosed|syntax error)\b",
    re.IGNORECASE,
)


def build(*, min_words: int = 8) -> Filter:
    """What says for sure that an answer was cut off, and what nearly does.

    A field `finish_reason` (or `stop_reason`) that says so; a block of code that is never closed,
    code that ends in an operator or an open bracket; JSON whose brackets are not closed; a list
    whose last item has only its number; prose that ends in a word such as `the` or `because`, or of
    several sentences in a comma or in a word such as `of`. A missing full stop alone says nothing:
    poems, lists, titles and code have none (`luthier ls lints`: `unfinished_answers` looks at the
    whole set). The rules are luthier's own.

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
        why = _cut(answer, row.question, min_words)
        return f"truncated: {why} ('...{excerpt(answer[-40:], 40)}')" if why else None

    return truncated


def _cut(answer: str, question: str, min_words: int) -> str:
    if answer.count("```") % 2 and not answer.endswith("```"):
        return "a block of code is not closed"
    if answer[0] in "[{" and _is_open_json(answer):
        return "brackets are not closed"
    last = answer[-1]
    if last in ")]>" and _MARK.search(answer[-24:]):
        return "it says so"
    if last in ".)-*•+" and answer[-2:-1] in _BEFORE_BARE and _is_bare_item(answer):
        return "the last item of its list is empty"
    if last in "([{,+-*/%=&|" and _OPEN_CODE.search(answer[-8:]) and has_code(answer):
        return "the code breaks off"
    if "</" in answer and last not in ">." and _OPEN_TAG.search(answer[-2000:]):
        return "a tag is not closed"
    if last == "," or last.isalpha():
        return _open_prose(answer, question, min_words)
    return ""


def _is_bare_item(answer: str) -> bool:
    before, _, line = answer.rpartition("\n")
    if not _ITEM.fullmatch(line.rstrip()):
        return False
    items = [given for given in before.split("\n") if given.strip()]
    marked = [_ITEM.match(given) for given in items]
    return bool(marked) and marked[-1] is not None and len(items[-1].split()) > 1


def _open_prose(answer: str, question: str, min_words: int) -> str:
    tail = answer[-40:].split()
    word = tail[-1].strip("*_")
    if tail[-2:] == [word, word]:
        return ""  # a loop, which is another filter's
    last = word.casefold()
    seldom = _SELDOM_LAST.fullmatch(last)
    if not (answer[-1] == "," or seldom or _OPEN_WORDS.fullmatch(last) or _NO_END.fullmatch(last)):
        return ""
    if has_code(answer):
        return ""
    line = answer.rpartition("\n")[2]
    if answer[-1] == "," and len(line.split()) < _LEAST_IN_LINE:
        return ""
    text = prose(answer)
    if len(text.split()) < min_words:
        return ""
    if answer[-1] == ",":
        return "it ends in a comma" if _SENTENCE.search(text) else ""
    if seldom and len(_ENDED.findall(text)) < 2:
        return ""
    # `A` is a mark, a vitamin and a note; in verse a line ends anywhere.
    alone = _NO_END.fullmatch(last) and word.islower() and not _VERSE.search(question)
    return f"it ends in '{last}'" if alone or _SENTENCE.search(text) else ""


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
