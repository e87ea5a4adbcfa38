"""Rejects rows that ask for a picture, a sound or a film, which a language model cannot give."""

from __future__ import annotations

import re

from luthier.data.candidate import Candidate, Filter
from luthier.data.linting.lint_report import Severity
from luthier.data.linting.passages import has_code, questions

SEVERITY: Severity = "warning"
FIX = "Ask for a description or for code instead, or delete the row."
_ASKS = re.compile(
    r"(?:^|[.!?\n:]\s*|\bplease\s+|\b(?:can|could|would) you\s+)"
    r"(?:draw|paint|sketch|illustrate|photograph|(?:generate|create|make|produce|design|render"
    r"|record"
    r"|show|give|send)(?: me| us)?)\s+(?:an?|the|some|two|three|\d+|me an?)\s+(?:[\w-]+\s+){0,3}?"
    r"(?:images?|pictures?|photos?|photographs?|drawings?|paintings?|illustrations?|sketch(?:es)?"
    r"|portraits?|cartoons?|collages?|audio|sound ?tracks?|recordings?|videos?|gifs?"
    r"|animations?)\b(?!(?:'s)?\s+(?!(?:of|for|with|in|on|that|which|about|showing|from|and|or|using|by"
    r"|to|as|at|please|where|when|so|based|inspired|featuring|depicting|containing"
    r"|explaining|illustrating)\b)[a-z])",
    re.IGNORECASE,
)
_DRAWS = re.compile(
    r"(?:^|[.!?\n]\s*|\bplease\s+)(?:draw|paint|sketch)\s+(?:me\s+)?(?:an?|the)\s+(?!conclusion"
    r"|lesson"
    r"|parallel|comparison|distinction|line between|analogy|connection|inference|contrast|card)\w+",
    re.IGNORECASE,
)
# What can be drawn in words and signs, and words that only look like asking for a picture.
_IN_WORDS = re.compile(
    r"\b(?:code|scripts?|python|svg|html|css|ascii|latex|tikz|matplotlib|program|function"
    r"|describ\w*"
    r"|descriptions?|captions?|alt text|javascript|turtle|canvas|mermaid|graphviz|prompts?|emoji\w*"
    r"|in words|words?|verbal\w*|imagine|story|poem|text|ideas?|plan|concept|titles?|names?|lists?"
    r"|steps|how to|tutorial|instructions?|outline|scenario|mental|picture of (?:health|success)"
    r"|markdown|table|tree|number line|diagram)\b",
    re.IGNORECASE,
)
_DECLINES = re.compile(
    r"\b(?:can(?:no|')?t|can not|unable to|not able to|don't have|do not have)\b", re.IGNORECASE
)


def build() -> Filter:
    """No options.

    One of the ten defects of Alpaca that AlpacaDataCleaned lists; Self-Instruct drops every
    instruction with the words image, picture, graph, map, draw, plot or file (arXiv 2212.10560,
    section 2.2 and its code). Here the picture must be asked for, and not in words or code.
    """

    def media_requests(row: Candidate) -> str | None:
        if row.labels:
            return None
        for where, text in questions(row):
            found = _ASKS.search(text) or _DRAWS.search(text)
            if not found or _IN_WORDS.search(text) or has_code(row.answer):
                continue
            if not _DECLINES.search(row.answer[:400].replace("’", "'")):
                said = " ".join(found.group().split()).lstrip(".!?: ")
                return f"asks for media: '{said[:60]}' in the {where}"
        return None

    return media_requests
