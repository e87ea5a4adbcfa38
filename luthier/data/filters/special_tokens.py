"""Rejects rows with chat markup or a tokenizer's own signs in their text, such as <|im_end|>."""

from __future__ import annotations

import re

from luthier.data.candidate import Candidate, Filter
from luthier.data.linting.lint_report import Severity
from luthier.data.linting.passages import passages

SEVERITY: Severity = "warning"
FIX = "Take the markup out of the text; the chat template puts in its own."
_MARKUP = re.compile(
    r"<\|[A-Za-z0-9_]{1,40}\|>|<｜[^｜\n]{1,40}｜>|</?s>|\[/?INST\]|<</?SYS>>|<(?:start|end)_of_turn>"
    r"|<(?:bos|eos|pad|unk|sep)>|<extra_id_\d{1,3}>|<0x[0-9A-F]{2}>|\[(?:CLS|SEP|PAD"
    r"|UNK)\]"
)
# Words as byte-level and sentencepiece vocabularies spell them: `Ġthe`, `▁the`.
_PIECES = re.compile(r"(?:[ĠĊ][A-Za-z]*){2}|(?:▁\w+){2}")
# `<s>` strikes text through in HTML.
_HTML = re.compile(r"<(?:p|b|i|a|li|ul|del|ins|span|div|br)\b|\bhtml\b", re.IGNORECASE)


def build() -> Filter:
    """No options.

    The renderer never lets such text act as a token; it is still a sign of rows that were scraped
    together with somebody's template. Unnatural Instructions has `<sep>` in its texts.
    """

    def special_tokens(row: Candidate) -> str | None:
        for _, text in passages(row):
            found = _MARKUP.search(text) if "<" in text or "[" in text else None
            if found and found.group() in ("<s>", "</s>") and _HTML.search(text):
                found = None
            if found is None and not text.isascii():
                found = _PIECES.search(text)
            if found:
                return f"chat markup: {found.group()} in the text"
        return None

    return special_tokens
