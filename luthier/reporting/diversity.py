"""How varied the instructions of a dataset are: verbs and their nouns, words, openings.

Self-Instruct shows its instructions by root verb and direct object (Y. Wang et al., arXiv
2212.10560, section 3.1, figure 3), found by a parser. Here a rule finds them, which knows English
only and needs no model; `verb_and_noun` says what it is.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np
from numpy.typing import NDArray

from luthier.reporting.instruction_words import DETERMINERS, ENDS, FILLERS, VERBS

MOST_CHARACTERS = 1000
"""Of a text, from its start, that are looked at."""
OPENING_WORDS = 3

# Scripts that put no spaces between words: each of their characters counts as a word.
_ALONE = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
)
# Vowel signs and accents that `\w` does not take for a part of the word they stand in.
_MARKS = (
    "\u0300-\u036f\u0591-\u05bd\u05bf\u064b-\u065f\u0670\u06d6-\u06dc\u0900-\u0963\u0966-\u0dff"
)
_WORD = re.compile(f"[{_ALONE}]|(?:[^\\W{_ALONE}]|[{_MARKS}])(?:[^\\W{_ALONE}]|['\u2019{_MARKS}])*")
_ASCII_WORD = re.compile(r"\w[\w']*", re.ASCII)
_CLAUSE_END = re.compile(r"[.!?;:,()\"\n\[\]{}]")
_NEXT = re.compile(rf"{_CLAUSE_END.pattern}|[\w'\u2019-]+")
_LETTERS = re.compile(r"[^\W\d_]+(?:['\u2019-][^\W\d_]+)*")
_RULE_CHARACTERS = 300


def words(text: str) -> list[str]:
    """The words of a text's first 1,000 characters in lower case, whatever its script."""
    said = text[:MOST_CHARACTERS].lower()
    return (_ASCII_WORD if said.isascii() else _WORD).findall(said)


# --- verb and noun -------------------------------------------------------------------------------


def verb_and_noun(instruction: str) -> tuple[str, str | None] | None:
    """What an English instruction asks for, by a rule: `("write", "story")`.

    The verb is the first known verb of instructions that does not follow an article, a possessive
    or the like ("the list" is no request to list); or else the first word after fillers
    ("please", "can you"), known or not, where an article or the like follows it ("sketch a cat").
    The noun is the last word of the first run of words after it that holds no preposition,
    conjunction or punctuation ("write a short story about": story), in the singular.

    Args:
        instruction: its first 300 characters are looked at.

    Returns:
        Verb and noun; the noun is None where none follows in the sentence; None without a verb.
    """
    tokens = _NEXT.findall(instruction[:_RULE_CHARACTERS].lower())
    at = _verb_at(tokens)
    return None if at is None else (tokens[at], _noun_after(tokens[at + 1 :]))


def _verb_at(tokens: Sequence[str]) -> int | None:
    first = next((i for i, t in enumerate(tokens) if t not in FILLERS and _is_word(t)), None)
    if first is None:
        return None
    follows = tokens[first + 1] if first + 1 < len(tokens) else ""
    head = tokens[first]
    if head in VERBS or (follows in DETERMINERS and head not in DETERMINERS and head not in ENDS):
        return first
    for i in range(first + 1, len(tokens)):
        before = tokens[i - 1]
        asks = not _is_word(before) or before in FILLERS or before in ("and", "then")
        if tokens[i] in VERBS and asks and before not in DETERMINERS:
            return i
    return None


def _noun_after(tokens: Sequence[str]) -> str | None:
    run: list[str] = []
    for token in tokens:
        if token in (".", "!", "?", "\n", "it"):
            break
        if token in DETERMINERS and not run:
            continue
        if not _is_word(token) or token in ENDS or token in DETERMINERS:
            if run:
                break
            continue
        if not token.endswith("ly") or token in ("family", "reply"):
            run.append(token)
    return _singular(run[-1]) if run else None


_NO_PLURALS = (
    "series", "species", "news", "bias", "atlas", "canvas", "alias", "gas", "texas", "christmas",
    "pancreas", "lens", "chaos",
)  # fmt: skip
"""Nouns in -s; behind `a` the letter alone does not tell them from `ideas` and `areas`."""


def _is_word(token: str) -> bool:
    return _LETTERS.fullmatch(token) is not None


def _singular(noun: str) -> str:
    noun = noun.removesuffix("'s").removesuffix("\u2019s")
    if noun in _NO_PLURALS:
        return noun
    if len(noun) > 4 and noun.endswith("ies"):
        return noun[:-3] + "y"
    if noun.endswith(("sses", "shes", "ches", "xes")):
        return noun[:-2]
    plural = len(noun) > 3 and noun.endswith("s") and not noun.endswith(("ss", "us", "is"))
    return noun[:-1] if plural else noun


@dataclass(frozen=True)
class VerbNouns:
    """Instructions by what they ask for."""

    instructions: int
    found: int
    """Instructions that the rule found a verb in."""
    verbs: list[tuple[str, int, list[tuple[str, int]]]]
    """(verb, instructions, its commonest nouns), commonest first; nouns may be fewer in sum."""
    pairs: int
    """Different pairs of verb and noun."""


def verb_nouns(
    instructions: Iterable[str], *, most_verbs: int = 20, most_nouns: int = 4
) -> VerbNouns:
    """Count verbs and their nouns; 20 verbs with 4 nouns each are those of Self-Instruct's figure.

    Args:
        instructions: in English, or hardly any verb is found.
        most_verbs: how many verbs are listed.
        most_nouns: how many nouns are listed of each.
    """
    verbs: Counter[str] = Counter()
    nouns: dict[str, Counter[str]] = {}
    every = 0
    for instruction in instructions:
        every += 1
        found = verb_and_noun(instruction)
        if found is None:
            continue
        verb, noun = found
        verbs[verb] += 1
        if noun is not None:
            nouns.setdefault(verb, Counter())[noun] += 1
    return VerbNouns(
        instructions=every,
        found=verbs.total(),
        verbs=[
            (verb, n, _commonest(nouns.get(verb, Counter()), most_nouns))
            for verb, n in _commonest(verbs, most_verbs)
        ],
        pairs=sum(map(len, nouns.values())),
    )


def _commonest(counts: Counter[str], most: int) -> list[tuple[str, int]]:
    """The commonest, ties by name, so that the order of the rows does not matter."""
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:most]


# --- words ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Lexical:
    """Measures of the words of some texts."""

    texts: int
    words: int
    vocabulary: int
    """Different words."""
    distinct_1: float
    """Different words over words (distinct-n: J. Li et al., arXiv 1510.03055, section 5.3)."""
    distinct_2: float
    """Different pairs of neighbouring words over such pairs."""
    repeated_openings: float
    """Share of the texts whose first three words are those of another one, too."""
    openings: list[tuple[str, int]]
    """The commonest first three words."""


def lexical(texts: Iterable[str], *, most_openings: int = 10) -> Lexical:
    """Measure some texts.

    distinct-n falls with the number of words, so only sets of similar size can be compared.
    """
    numbers: defaultdict[str, int] = defaultdict(count().__next__)
    openings: Counter[str] = Counter()
    pairs: list[NDArray[np.int64]] = []
    total = read = 0
    for text in texts:
        found = words(text)
        read += 1
        total += len(found)
        openings[opening(found)] += 1
        ids = np.array([numbers[word] for word in found], np.int64)
        pairs.append(ids[:-1] << 32 | ids[1:])
    every = np.sort(np.concatenate(pairs)) if pairs else np.zeros(0, np.int64)
    distinct = np.count_nonzero(np.diff(every)) + bool(len(every))
    repeated = sum(n for n in openings.values() if n > 1)
    return Lexical(
        texts=read,
        words=total,
        vocabulary=len(numbers),
        distinct_1=len(numbers) / total if total else 0.0,
        distinct_2=distinct / len(every) if len(every) else 0.0,
        repeated_openings=repeated / read if read else 0.0,
        openings=_commonest(Counter({o: n for o, n in openings.items() if o}), most_openings),
    )


def opening(found: Sequence[str], size: int = OPENING_WORDS) -> str:
    """The first words of a text, written with spaces between them."""
    return " ".join(found[:size])


def openings_by_label(
    rows: Iterable[tuple[str, str]], *, size: int = 2, most: int = 5
) -> Mapping[str, tuple[int, list[tuple[str, int]]]]:
    """How the inputs of each label begin: an opening that goes with one label gives it away.

    Args:
        rows: (label, input).
        size: words of an opening.
        most: openings that are listed per label.

    Returns:
        Per label, commonest first: rows, and (opening, rows) of its commonest openings.
    """
    counts: dict[str, Counter[str]] = {}
    for label, text in rows:
        counts.setdefault(label, Counter())[opening(words(text[:200]), size)] += 1
    ordered = sorted(counts.items(), key=lambda item: (-item[1].total(), item[0]))
    return {
        label: (
            found.total(),
            _commonest(Counter({o: n for o, n in found.items() if o}), most),
        )
        for label, found in ordered
    }
