"""Questions to which only one answer is right, and answers to them that cannot both be."""

from __future__ import annotations

import re
from typing import Literal

Clash = Literal["contradiction", "unlike answers"]
MOST_CHARACTERS = 160
"""Of an answer that is compared; longer ones say many things."""
_MOST_ASKED = 2000
"""Characters of a question that are looked at."""
_LETTERS_PER_WORD = 8
"""Of a short answer in a script without spaces between words."""
_ALIKE = 0.05
"""Numbers that differ by less are one, rounded in two ways."""

# Tasks with many right answers, and talk.
_OPEN = re.compile(
    r"\b(?:name (?:an?|some|one|two|three|four|five|\d+)|suggest|generate|create|write|list|pick"
    r"|(?:give|tell|show)(?: me| us)? (?:an?|some|your|two|three|four|five|\d+)|think of|come up"
    r"|invent|recommend|random\w*|compose|brainstorm|make|an? (?:possible |good )?(?:example|way)"
    r"|any|rewrite|rephrase|paraphrase|translate|summari[sz]e|describe|choose|imagine|favou?rite"
    r"|ideas?|synonyms?|antonyms?|flip|toss|roll|throw|say|guess|predict|hi|hello|hey|thanks?|joke)\b",
    re.IGNORECASE,
)
# What is asked of whoever answers, or answered by the day.
_PERSONAL = re.compile(
    r"\b(?:should|would|could|might|may|best|you|your|my|i|we|today|tomorrow|tonight|now)\b",
    re.IGNORECASE,
)
_SENTENCES = re.compile(r"(?<=[.?!])\s+|\n+")
_START = r"(?:^|[.?!:;\n]\s*|, )(?:and |so |then )?"
_YES_NO = re.compile(
    _START + r"(?:is|are|was|were|does|do|did|has|have|had|can|will)\s[^?\n]*\?"
    r"|\btrue or false\b|\byes or no\b",
    re.IGNORECASE,
)
_NUMBER = re.compile(
    r"\bhow (?:many|much|old|long|far|tall|high|deep|wide|heavy|fast|big|large)\b"
    r"|\b(?:what|which|in what|in which) year\b|\bwhat (?:is|was) the (?:number|sum|product|total"
    r"|difference|population|square root|value|area|length|height|year|temperature)\b"
    r"|\d\s*[-+*/x\u00d7\u00f7]\s*\d|\b(?:calculate|compute|solve|evaluate)\b"
    r"|\bwhen (?:did|was|were)\b",
    re.IGNORECASE,
)
_NAMED = re.compile(
    _START + r"(?:in |on |at |to |from |of |by |with )?"
    r"(?:who|whose|whom|when|where|which|what)\s[^?\n]*\?"
    r"|"
    + _START
    + r"(?:please )?(?:give|tell|name|state|identify)(?: me| us)? (?:the|which|whether)\s",
    re.IGNORECASE,
)
_CHOICE = re.compile(
    r"\b(?:classify|categori[sz]e|label|determine|decide|detect|identify|tell whether|convert)\b"
    r"|\brate\b|\brating\b|\bscale (?:of|from)\b|\boptions?:",
    re.IGNORECASE,
)
# One of these is in every closed question; looking for them is quick.
_SIGNS = re.compile(
    r"\?|\d\s*[-+*/x\u00d7\u00f7]|\b(?:true or|yes or|how|year|what|when|calculate|compute|solve"
    r"|evaluate|give|tell|name|state|identify|classify|categori[sz]e|label|determine|decide|detect"
    r"|convert|rate|rating|scale|options?)\b",
    re.IGNORECASE,
)
_POLARITY = re.compile(
    r"\W*(yes|no|true|false|yeah|nope)\b(?!\s+(?:one|longer|more|matter)\b)", re.I
)
_ABOUT = re.compile(
    r"\b(?:about|around|approximately|roughly|nearly|almost|over|under|more|less|at least|up to"
    r"|between|or so|circa|ca|depends?|varies|some)\b|~|\u2248",
    re.IGNORECASE,
)
_FIGURE = re.compile(r"-?\d+(?:[.,]\d+)*")
_WORDS = {w: n for n, w in enumerate(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen twenty".split()
)}  # fmt: skip
_SMALL = frozenset(
    "the and was were are has had its his her their this that with from for not but who "
    "which where when what is in on at of to by a an it he she they as be been "
    "after before during near".split()
)


def is_closed(question: str) -> bool:
    """Whether a question, by its form, has one right answer.

    What it says beside, such as a text it is about, may be open or talk as it likes; the sentence
    that asks may not, nor the first one, which says what is to be done.
    """
    if not _SIGNS.search(question, 0, _MOST_ASKED):
        return False
    sentences = [s for s in _SENTENCES.split(question[:_MOST_ASKED].strip()) if s]
    if not sentences or _OPEN.search(sentences[0]):
        return False
    return any(_asks(sentence) for sentence in sentences)


def _asks(sentence: str) -> bool:
    if _OPEN.search(sentence):
        return False
    if _CHOICE.search(sentence):
        return True
    asked = any(form.search(sentence) for form in (_NAMED, _YES_NO, _NUMBER))
    return asked and not _PERSONAL.search(sentence)


def clash(question: str, one: str, other: str, max_words: int) -> Clash | None:
    """How two answers to a closed question exclude each other; None: they may not.

    Args:
        question: what is asked.
        one: an answer.
        other: another one.
        max_words: words of an answer that says one thing. One of two names must be as short; yes
            and no, or numbers, may stand in longer sentences.
    """
    if _folded(one) == _folded(other):
        return None
    yes = [_POLARITY.match(answer) for answer in (one, other)]
    if yes[0] and yes[1]:
        agree = [m.group(1).casefold() in ("yes", "true", "yeah") for m in yes if m]
        asked = _YES_NO.search(question) is not None or all(_is_short(a, 1) for a in (one, other))
        return "contradiction" if agree[0] != agree[1] and asked else None
    short, long = sorted((one, other), key=len)
    if _NUMBER.search(question) and (figures := _figures(short)):
        # One number in a sentence each is as clear as two numbers.
        return "contradiction" if _other_numbers(short, figures, long) else None
    if not _is_short(short, max_words):
        return None
    if _figures(short) or _figures(long) or yes[0] or yes[1]:
        both = _is_short(long, max_words)
        return "unlike answers" if both and _folded(short) not in _folded(long) else None
    return "unlike answers" if _other_names(question, short, long, max_words) else None


def _is_short(answer: str, words: int) -> bool:
    return len(answer) <= _LETTERS_PER_WORD * max(words, 1) * 1.5 and len(answer.split()) <= words


def _folded(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.casefold())) or text.strip()


def _figures(text: str) -> list[float]:
    found = []
    for word in re.findall(r"-?\d+(?:[.,]\d+)*|[a-z]+", text.casefold()):
        if word in _WORDS:
            found.append(float(_WORDS[word]))
        elif _FIGURE.fullmatch(word):
            plain = re.sub(r",(?=\d{3}\b)", "", word).replace(",", ".")
            found.append(float(plain) if plain.count(".") < 2 else 0.0)
    return found


def _other_numbers(short: str, figures: list[float], long: str) -> bool:
    """Whether two answers give numbers of the same thing, and not the same ones."""
    others = _figures(long)
    if len(figures) != 1 or len(others) != 1 or _ABOUT.search(short) or _ABOUT.search(long):
        return False
    one, other = figures[0], others[0]
    if abs(one - other) <= _ALIKE * max(abs(one), abs(other)) and one != int(one):
        return False
    units = [_unit(answer) for answer in (short, long)]
    return "" in units or units[0] == units[1]


def _unit(answer: str) -> str:
    """The word or sign behind the number."""
    found = re.search(
        r"(?:\d|\b(?:" + "|".join(_WORDS) + r")\b)\s*([^\W\d]+|[%\u00b0$\u20ac])",
        answer,
        re.IGNORECASE,
    )
    word = found.group(1).casefold() if found else ""
    return "" if word in _SMALL else word.rstrip("s")


def _other_names(question: str, short: str, long: str, max_words: int) -> bool:
    """Whether one answer names something that the other one does not."""
    named = {w for w in _folded(short).split() if len(w) > 2 and w not in _SMALL} or {
        _folded(short)
    }
    said = _folded(long)
    if any(word[:4] in said for word in named):
        return False
    if _is_short(long, max_words):
        return True
    # A sentence may say it in other words; another name says something else.
    asked = set(_folded(question).split())
    inside = re.findall(r"(?<![.?!]\s)(?<=\s)[A-Z]\w{2,}", long)
    return short[:1].isupper() and any(name.casefold() not in asked for name in inside)
