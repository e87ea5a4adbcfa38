"""Words of free text, for the metrics that compare answers."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

_UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"  # kana and Chinese characters
_WORD = re.compile(f"[{_UNSPACED}]|[^\\W{_UNSPACED}]+")


def words(text: str) -> list[str]:
    """Words in lower case, without punctuation; one per character in scripts without spaces."""
    return _WORD.findall(unicodedata.normalize("NFC", text).casefold())


def plain(text: str) -> str:
    """The text in NFC with runs of white space as single spaces."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def distinct(answers: Sequence[str], n: int) -> float:
    """Distinct n-grams over all n-grams of all answers; NaN where there is none.

    Li et al. 2016, arXiv:1510.03055, section 5.2.
    """
    grams = []
    for answer in answers:
        tokens = words(answer)
        grams += [tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1)]
    return len(set(grams)) / len(grams) if grams else float("nan")
