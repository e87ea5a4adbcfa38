"""Rejects rows with control characters, and with invisible ones that change what is read."""

from __future__ import annotations

import re
import unicodedata

from luthier.data.candidate import Candidate, Filter
from luthier.data.linting.lint_report import Severity
from luthier.data.linting.passages import passages

SEVERITY: Severity = "warning"
FIX = "Delete the characters; they come from terminals, PDF files and copied web pages."
# C0 and C1 controls but tab, line feed and carriage return (Unicode 16, section 23.1); zero-width
# space, word joiner and byte-order mark; overrides of the writing direction; private-use signs
# (icon fonts); non-characters. Zero-width joiners and direction marks belong to emoji and to
# Persian, Hindi, Hebrew and others, and pass. Soft hyphens are left of web pages and typesetting;
# tags (Unicode 16, section 23.9) spell out the flags of regions, and hide text everywhere else.
_CONTROLS = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\xad\u200b\u2060\u2061-\u2064\ufeff\u202a-\u202e\ue000-\uf8ff\ufff9-\ufffb"
    "\ufffe\uffff]"
)
_TAG = re.compile("(?<![\U0001f3f4\U000e0020-\U000e007e])[\U000e0001\U000e0020-\U000e007f]")
_NAMES = {
    0x00: "NUL", 0x07: "bell", 0x08: "backspace", 0x0B: "vertical tab", 0x0C: "form feed",
    0x1B: "escape", 0x7F: "delete",
}  # fmt: skip


def build() -> Filter:
    """No options."""

    def control_characters(row: Candidate) -> str | None:
        for where, text in passages(row):
            # Printable text is nearly all of it, and quickly told.
            if text.isascii() and text.isprintable():
                continue
            found = _CONTROLS.search(text)
            if not found and not text.isascii() and max(text) > "\U000e0000":
                found = _TAG.search(text)
            if found:
                code = ord(found.group())
                name = _NAMES.get(code) or unicodedata.name(found.group(), "") or _kind(code)
                return f"control character: U+{code:04X} ({name.lower()}) in the {where}"
        return None

    return control_characters


def _kind(code: int) -> str:
    return "private use" if 0xE000 <= code <= 0xF8FF else "control"
