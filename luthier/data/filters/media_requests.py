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
# These can be described as well: it takes an answer that does not to tell.
_SOFT = re.compile(
    r"(?:^|[.!?\n:]\s*|\bplease\s+|\b(?:can|could|would) you\s+)"
    r"(?:draw|paint|sketch|generate|create|make|produce|design|render|compose|plot|build)"
    r"(?: me| us)?\s+(?:an?|the|some)\s+(?:[\w-]+\s+){0,3}?(?:logos?|posters?|infographics?|charts?"
    r"|graphs?|flow ?charts?|diagrams?|maps?|plots?|icons?|wallpapers?|memes?|floor plans?"
    r"|blueprints?|melod(?:y|ies)|tunes?|pieces? of music|symphon(?:y|ies)"
    r"|3d models?|comic strips?|banners?|mock-?ups?|t-shirt)\b"
    r"|(?:^|[.!?\n:]\s*|\bplease\s+)(?:plot|graph|draw|sketch) (?:the |an? )?(?:\w+ )?(?:functions?"
    r"|curves?|equations?|graph|data|parabola|y\s*=)",
    re.IGNORECASE,
)
_PERFORMS = re.compile(
    r"(?:\A|\bplease\s+|\b(?:can|could|would) you\s+)"
    r"(?:take (?:an?|some|two|three) (?:\w+ )?(?:photos?|pictures?|selfies?|photographs?"
    r"|screenshots?)"
    r"|(?:play|hum|whistle|sing)(?: me| us)? (?:an?|the|some"
    r"|your) (?:\w+ ){0,2}?(?:songs?|melod(?:y"
    r"|ies)|tunes?|music|pieces?|lullab(?:y|ies)|anthem|notes?)"
    r"|(?:compose|record|write)\b[^.!?\n]{0,60}\band (?:play|perform|sing|hum|record) it)\b",
    re.IGNORECASE,
)
_CLAIMS = re.compile(
    r"\b(?:here (?:is|are|you go|it is)|here's|i(?:'ve| have)? (?:drawn|created|made"
    r"|designed|painted"
    r"|attached|generated|composed)|see (?:the )?(?:sketch|image|picture|attach\w+)|done|playing)\b"
    r"|\[\W*(?:image|photo|picture|logo|chart|graph|map|drawing|diagram)",
    re.IGNORECASE,
)
_FEW_WORDS = 25
_NOT_SOFT = re.compile(
    r"\b(?:code|scripts?|python|svg|html|css|ascii|latex|tikz|matplotlib|javascript|mermaid|graphviz"
    r"|markdown|text|describ\w*|descriptions?|captions?|ideas?|words?|names?|slogans?|taglines?"
    r"|titles?|prompts?|how to|excel|tables?|story|poem|essay|marketing|road ?map|site ?map"
    r"|mind ?map|concept map|outline|r)\b|\b(?:logo|poster|map|chart|graph"
    r"|meme)s? (?!(?:of|for|with"
    r"|in|on|that|which|about|showing|from|and|or|using|by|to|as|at|please|illustrating|comparing)\b)[a-z]",
    re.IGNORECASE,
)
# `Paint a picture of village life` asks for words, and gets them.
_FIGURATIVE = re.compile(
    r"\b(?:paint|draw|sketch)\s+(?:me\s+)?an?\s+(?:\w+\s+){0,2}?(?:picture|portrait) (?:of|in)\b"
    r"|\bsketch (?:the|an?|out)\s+(?:\w+\s+){0,2}?(?:plots?|stor(?:y|ies)|outlines?|scenes?"
    r"|scenarios?|characters?|plans?|arguments?|biograph\w+|histor\w+|proofs?)\b",
    re.IGNORECASE,
)
_TELLS = 8
"""Words of an answer that has painted its picture with them."""
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


# One of them stands in whatever the patterns above find, and seldom elsewhere.
_WORDS = (
    "draw", "paint", "sketch", " image", " picture", " photo", " illustration", " portrait",
    " cartoon", " collage", " audio", "soundtrack", "sound track", " recording", " video",
    " gif", " animation", " logo", " poster", " infographic", " graph", " chart", " flow",
    " diagram", " map", " plot", " icon", " wallpaper", " meme", " floor plan", " blueprint",
    " melod", " tune", " piece", " symphon", " 3d model", " comic", " banner", " mock",
    " t-shirt", "plot ", " selfie", " screenshot", " song", " lullab", " anthem", " music",
    "play it", "perform it", "sing it", "hum it", "record it", "illustrat", "photograph",
)  # fmt: skip


def build() -> Filter:
    """No options.

    One of the ten defects of Alpaca that AlpacaDataCleaned lists; Self-Instruct drops every
    instruction with the words image, picture, graph, map, draw, plot or file (arXiv 2212.10560,
    section 2.2 and its code). Here the picture must be asked for, and not in words or code. Logos,
    charts, maps and melodies, which may be described as well, count where the answer is short or
    only claims that it was made.
    """

    def media_requests(row: Candidate) -> str | None:
        # A tool may well play music.
        if row.labels or any(m.tool_calls for m in row.example.messages):
            return None
        for where, text in questions(row):
            low = text.lower()
            if not any(word in low for word in _WORDS):
                continue
            found = _asked(text, row.answer)
            if not found or has_code(row.answer):
                continue
            if not _DECLINES.search(row.answer[:400].replace("’", "'")):
                said = " ".join(found.group().split()).lstrip(".!?: ")
                return f"asks for media: '{said[:60]}' in the {where}"
        return None

    return media_requests


def _asked(text: str, answer: str) -> re.Match[str] | None:
    """What is asked for that no text can be."""
    words = len(answer.split())
    if found := _PERFORMS.search(text):
        return found
    found = _ASKS.search(text) or _DRAWS.search(text)
    if found and not _IN_WORDS.search(text):
        figurative = words >= _TELLS and _FIGURATIVE.search(text) and not _CLAIMS.search(answer)
        return None if figurative else found
    found = _SOFT.search(text)
    if not found or _NOT_SOFT.search(text):
        return None
    return found if words < _FEW_WORDS and (_CLAIMS.search(answer) or words < _TELLS) else None
