"""Rejects rows with chat markup or a tokenizer's own signs in their text, such as <|im_end|>."""

from __future__ import annotations

import re
from collections import Counter

from luthier.data.candidate import Candidate, Filter
from luthier.data.linting.lint_report import Severity
from luthier.data.linting.passages import passages

SEVERITY: Severity = "warning"
FIX = "Take the markup out of the text; the chat template puts in its own."
_MARKUP = re.compile(
    r"<\|[A-Za-z0-9_]{1,40}\|>|<｜[^｜\n]{1,40}｜>|</?s>|\[/?INST\]|<</?SYS>>|<(?:start|end)_of_turn>"
    r"|<(?:bos|eos|pad|unk|sep|cls)>|<extra_id_\d{1,3}>|<0x[0-9A-F]{2}>|\[(?:CLS|SEP|PAD"
    r"|UNK|BOS|EOS)\]"
)
# A sentence to be completed has the first on purpose, data of reasoning and of tools the others,
# in pairs.
_MASK = re.compile(r"\[MASK\]|<mask>")
_FILL = re.compile(
    r"\b(?:fill|masked|replace|missing|blanks?|predict|gap|complete)\b", re.IGNORECASE
)
_PAIRED = re.compile(r"<(/?)(think|thinking|tool_call|tool_response|tools|scratchpad)>")
_ABOUT = re.compile(
    r"\b(?:tokens?|tokeni[sz]\w+|chat templates?|prompt formats?|nlp|bert|llama|vocabular\w+"
    r"|special symbols?|markers?|notation)\b|\bwhat (?:does|is|are) \S*[<\[]",
    re.IGNORECASE,
)
# Words as byte-level and sentencepiece vocabularies spell them: `Ġthe`, `▁the`.
_PIECES = re.compile(r"(?:[ĠĊ][A-Za-z]*){2}|(?:▁\w+){2}")
# `<s>` strikes text through in HTML.
_HTML = re.compile(r"<(?:p|b|i|a|li|ul|del|ins|span|div|br)\b|\bhtml\b", re.IGNORECASE)


def build() -> Filter:
    """No options.

    The renderer never lets such text act as a token; it is still a sign of rows that were scraped
    together with somebody's template. Unnatural Instructions has `<sep>` in its texts. Rows about
    tokens pass, and so do thoughts and tool calls between their two marks.
    """

    def special_tokens(row: Candidate) -> str | None:
        for _, text in passages(row):
            found = _marked(text, row.question) if "<" in text or "[" in text else ""
            if not found and not text.isascii() and (piece := _PIECES.search(text)):
                found = piece.group()
            if found and not _ABOUT.search(row.question):
                return f"chat markup: {found} in the text"
        return None

    return special_tokens


def _marked(text: str, question: str) -> str:
    """The first mark that does not belong in a text."""
    found = _MARKUP.search(text)
    if found and not (found.group() in ("<s>", "</s>") and _HTML.search(text)):
        return found.group()
    if (mask := _MASK.search(text)) and not _FILL.search(question):
        return mask.group()
    opened: Counter[str] = Counter()
    for mark in _PAIRED.finditer(text):
        opened[mark[2]] += -1 if mark[1] else 1
    alone = next((name for name, count in opened.items() if count), "")
    return f"<{'/' if opened[alone] < 0 else ''}{alone}> without its other" if alone else ""
