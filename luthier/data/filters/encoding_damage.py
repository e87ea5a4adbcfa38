"""Rejects rows whose text was decoded wrongly once: mojibake, lost characters, lost apostrophes."""

from __future__ import annotations

import re

from luthier.data.candidate import Candidate, Filter
from luthier.data.linting.lint_report import Severity
from luthier.data.linting.passages import passages

SEVERITY: Severity = "warning"
FIX = "Read the original file as UTF-8; what is already replaced by U+FFFD or '?' is lost there."
# What the bytes 0x80 to 0xBF look like in Windows-1252, or in Latin-1 where that has none.
_TAIL = "\u0080-\u00bf€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ"
# UTF-8 read as Windows-1252: an e with an acute is `Ã©`, an apostrophe `â€™`, an emoji begins
# with `ðŸ`. After a capital, `Ã` is Portuguese (`IRMÔ before a closing quote).
_MOJIBAKE = re.compile(
    f"(?<![A-ZÀ-Þ])[ÃÂ][{_TAIL}]|â€[{_TAIL}]|ðŸ[{_TAIL}]|ï»¿|ï¿½|(?:[ÐÑ][{_TAIL}]){{3,}}"
)
# Chinese, Japanese and Korean have three bytes a sign.
_EASTERN = re.compile(f"(?:[ã-é][{_TAIL}]{{2}}){{2}}")
_LOST_APOSTROPHE = re.compile(r"(?<![\w/=&?])[A-Za-z]+\?(?:t|s|re|ve|ll|d|m)(?![\w=])")
_LEAST_LOST = 2
_ABOUT = re.compile(
    r"\b(?:encod\w*|utf-?8|unicode|mojibake|latin-?1|decod\w*|charset|windows-1252|garbled"
    r"|replacement"
    r" characters?)\b",
    re.IGNORECASE,
)


def build() -> Filter:
    """No options. Rows about encodings pass."""

    def encoding_damage(row: Candidate) -> str | None:
        for where, text in passages(row):
            damage = _damage(text)
            if damage and not _ABOUT.search(row.question):
                return f"encoding damage: {damage} in the {where}"
        return None

    return encoding_damage


def _damage(text: str) -> str:
    if not text.isascii():
        if lost := text.count("\ufffd"):
            return f"{lost} replacement {'character' if lost == 1 else 'characters'} (U+FFFD)"
        if found := _MOJIBAKE.search(text) or _EASTERN.search(text):
            return f"'{text[max(0, found.start() - 12) : found.end() + 12].strip()}'"
    if "?" in text:
        lost_ones = _LOST_APOSTROPHE.findall(text)
        if len(lost_ones) >= _LEAST_LOST:
            return f"'?' in place of an apostrophe ('{lost_ones[0]}')"
    return ""
