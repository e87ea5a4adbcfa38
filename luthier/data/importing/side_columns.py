"""Columns that a format would leave unread though something is said in them.

A format is certain only of rows that it reads whole. An id, a date or a score beside the texts says
nothing that could be learned; another text, a list of answers or a label may be the very answer.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from luthier.data.importing.sample import Sample
from luthier.data.linting.guess_columns import OUTPUTS

CROWDED = 0.3
"""Confidence of a format that leaves such columns unread; below that of a guess at columns."""
_ABOUT_ROWS = frozenset((
    "id", "uid", "uuid", "idx", "index", "key", "hash", "sha", "md5", "title", "name", "author",
    "authors", "user", "username", "date", "time", "timestamp", "year", "created", "added", "dump",
    "crawl", "url", "uri", "link", "links", "domain", "host", "site", "path", "file", "filename",
    "repo", "source", "sources", "origin", "dataset", "corpus", "subset", "config", "split",
    "lang", "language", "languages", "licence", "license", "version", "revision", "template",
    "model", "generator", "score", "quality", "tokens", "length", "rank", "warc", "mime",
    "created_at", "updated_at", "crawled_at",
))  # fmt: skip
"""Names, or last words of names, of columns that say where a row comes from."""
_WORDS = re.compile(r"[a-z0-9]+")
_NO_WORDS = re.compile(r"\s*(?:[-+]?[\d.,:/%TZ\s-]+|\w+://\S*|nan|none|null)?\s*", re.IGNORECASE)
"""Numbers, dates and addresses; in CSV all of them are texts."""


def unread(sample: Sample, read: Collection[str]) -> list[str]:
    """Columns beside those that are read in which texts, or answers of any kind, stand.

    Args:
        sample: the beginning of a file.
        read: columns that the format reads, or knows to be beside the point.
    """
    names = dict.fromkeys(name for record in sample.records for name in record)
    return [
        name for name in names
        if name not in read and any(_tells(name, record.get(name)) for record in sample.records)
    ]  # fmt: skip


def said_of(names: list[str], format: str) -> str:
    """What `unread` found, for the line that says why a format was not taken for sure."""
    if not names:
        return ""
    shown = ", ".join(name[:40] for name in names[:8]) + (", ..." if len(names) > 8 else "")
    return f", and as {format} nothing reads what {shown} says"


def _tells(name: str, value: Any) -> bool:
    """Whether a cell may hold something to be learned."""
    folded = name.strip().casefold()
    if value is None or value == "":
        return False
    if folded in OUTPUTS:
        return True
    words = _WORDS.findall(folded)
    if folded in _ABOUT_ROWS or (words and words[-1] in _ABOUT_ROWS) or "meta" in folded:
        return False
    return _has_words(value)


def _has_words(value: Any) -> bool:
    if isinstance(value, str):
        return _NO_WORDS.fullmatch(value) is None
    if isinstance(value, dict):
        return any(_has_words(each) for each in value.values())
    return isinstance(value, (list, tuple)) and any(_has_words(each) for each in value)
