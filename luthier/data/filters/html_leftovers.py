"""Rejects rows with HTML tags or entities left in their prose."""

from __future__ import annotations

import re

from luthier.data.candidate import Candidate, Filter
from luthier.data.linting.lint_report import Severity
from luthier.data.linting.passages import passages, prose

SEVERITY: Severity = "warning"
FIX = "Convert the text to plain text or Markdown (html.unescape, then drop the tags)."
_ENTITY = re.compile(
    r"&(?:amp|nbsp|quot|lt|gt|apos|rsquo|lsquo|ldquo|rdquo|mdash|ndash|hellip|#x?\d{2,5});"
)
_TAG = re.compile(
    r"</?(?:p|br|div|span|a|b|i|u|em|strong|ul|ol|li|h[1-6]|table|tr|td|th|img|font|center"
    r"|blockquote"
    r"|pre|hr|sup|sub|tbody|thead|iframe)\b(?:\s[^<>]*)?/?>",
    re.IGNORECASE,
)
_LEAST_TAGS = 2
_ABOUT = re.compile(
    r"\b(?:html5?|xml|xhtml|tags?|css|javascript|js|web ?(?:pages?|sites?|apps?|forms?)|mark-?up"
    r"|svg|jsx|vue"
    r"|react|php|entit(?:y|ies)|escap\w*|code|elements?|buttons?|forms?|browser|markdown|editor"
    r"|format\w*|sparql|query|rss|python|snippet)\b|<!DOCTYPE|<html|<body|<script|<head",
    re.IGNORECASE,
)


def build() -> Filter:
    """No options. Rows about markup or code pass, and so does `<br>` in a Markdown table."""

    def html_leftovers(row: Candidate) -> str | None:
        for where, text in passages(row):
            if "&" not in text and "<" not in text:
                continue
            plain = prose(text)
            found = _ENTITY.search(plain)
            tags = _TAG.findall(plain) if "<" in plain else []
            if not found and (len(tags) < _LEAST_TAGS or _in_table(plain)):
                continue
            if not _ABOUT.search(row.question) and not _ABOUT.search(_TAG.sub(" ", plain)):
                return f"HTML: '{found.group() if found else tags[0]}' in the {where}"
        return None

    return html_leftovers


def _in_table(text: str) -> bool:
    return all("|" in line for line in text.split("\n") if _TAG.search(line))
