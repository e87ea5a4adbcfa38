"""Words of many texts at once, as 64-bit hashes: what near-duplicates and novelty compare.

A word is a run of letters, digits and underscores of any script, with the marks that follow them
(vowel signs, accents). In scripts that put no spaces between words, every character with its marks
is one. Case does not count, and neither does how an accented letter is composed.

The hash of a word is a polynomial in a fixed odd number modulo 2^64 (R. Karp and M. Rabin, 1987),
read off running sums over the whole block of texts, so that no Python runs per word.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]
MOST_CHARACTERS = 1 << 18
"""Of a block: its arrays stay in the processor's cache. Longer texts are read in pieces."""
_OTHER, _LETTER, _ALONE, _MARK = range(4)
# Thai, Lao, Burmese, Khmer, kana, Han, Hangul: no spaces between words, or not between all.
_NO_SPACES = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
_LAST_MARK = 0xE01F0
_BASE = 0x9E3779B97F4A7C15
_SPREAD = np.uint64(0xD6E8FEB86659FD93)


def word_count(text: str) -> int:
    """The words of a text, for limits of its length.

    In ASCII what white space sets apart, so that "don't" is one. In other letters as `hashed_words`
    has them: in scripts without spaces, where `split` sees one word, every character.
    """
    return len(text.split()) if text.isascii() else len(hashed_words([text])[0])


def hashed_words(texts: Sequence[str]) -> tuple[Hashes, NDArray[np.int64]]:
    """Hashes of the words of every text, in order.

    Returns:
        The words of all texts behind each other, and where each text begins: text i has the words
        from place i to place i + 1. The second array is one longer than there are texts.
    """
    pieces = [_pieces(_folded(text)) for text in texts]
    flat = [piece for some in pieces for piece in some]
    blocks = [_block(flat[start:stop]) for start, stop in _spans([len(p) for p in flat])]
    words = np.concatenate([words for words, _ in blocks] or [np.zeros(0, np.uint64)])
    counts = np.concatenate([counts for _, counts in blocks] or [np.zeros(0, np.int64)])
    ends = np.concatenate([[0], np.cumsum(counts)])
    last = np.fromiter(accumulate(map(len, pieces), initial=0), np.int64, len(texts) + 1)
    return words, ends[last]


def _folded(text: str) -> str:
    if text.isascii():
        return text.lower()
    return unicodedata.normalize("NFC", text.casefold())


def _pieces(text: str) -> list[str]:
    """A long text cut between words; where there is no space for that long, anywhere."""
    if len(text) <= MOST_CHARACTERS:
        return [text]
    found = []
    start = 0
    while len(text) - start > MOST_CHARACTERS:
        stop = start + MOST_CHARACTERS
        space = max(text.rfind(" ", start, stop), text.rfind("\n", start, stop))
        stop = space if space > start else stop
        found.append(text[start:stop])
        start = stop
    return [*found, text[start:]]


def _spans(sizes: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Cut a list of texts into blocks of few enough characters."""
    start = total = 0
    for place, size in enumerate(sizes):
        total += size
        if total > MOST_CHARACTERS and place > start:
            yield start, place
            start, total = place, size
    if start < len(sizes):
        yield start, len(sizes)


def _block(texts: Sequence[str]) -> tuple[Hashes, NDArray[np.int64]]:
    """Word hashes of some texts, and the number of words of each."""
    joined = "\n".join(texts)
    if joined.isascii():
        codes = np.frombuffer(joined.encode(), np.uint8)
        kinds = _ascii_kinds()[codes]
        starts = np.flatnonzero(kinds[1:] > kinds[:-1]) + 1
        if len(kinds) and kinds[0]:
            starts = np.concatenate([[0], starts])
        values = _ascii_values()[codes]
    else:
        wide = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), np.uint32)
        kinds = _kinds()[wide]
        starts = _starts(kinds)
        values = wide * _SPREAD * (kinds != _OTHER)
    powers, inverses = _powers(len(joined))
    sums = np.zeros(len(joined) + 1, np.uint64)
    np.cumsum(values * powers, out=sums[1:])
    # What stands between two words adds nothing to the sums.
    words = np.diff(sums[starts], append=sums[-1]) * inverses[starts]
    words ^= words >> np.uint64(32)
    words *= _SPREAD
    words ^= words >> np.uint64(29)
    begins = np.fromiter(accumulate((len(t) + 1 for t in texts), initial=0), np.int64)
    return words, np.diff(np.searchsorted(starts, begins))


def _starts(kinds: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Where words begin. Marks are given the kind of what they stand on; stray ones go."""
    marks = kinds == _MARK
    carriers = kinds
    if marks.any():
        carriers = kinds[np.maximum.accumulate(np.where(marks, 0, np.arange(len(kinds))))]
        carriers = np.where(carriers == _MARK, np.uint8(_OTHER), carriers)
        kinds[marks & (carriers == _OTHER)] = _OTHER
    before = np.concatenate([[np.uint8(_OTHER)], carriers[:-1]])
    return np.flatnonzero((kinds == _ALONE) | ((kinds == _LETTER) & (before != _LETTER)))


@lru_cache(maxsize=1)
def _ascii_kinds() -> NDArray[np.uint8]:
    kinds = [_LETTER if re.match(r"\w", chr(code)) else _OTHER for code in range(128)]
    return np.array(kinds, np.uint8)


@lru_cache(maxsize=1)
def _ascii_values() -> Hashes:
    values: Hashes = np.arange(128, dtype=np.uint64) * _SPREAD * (_ascii_kinds() != _OTHER)
    return values


@lru_cache(maxsize=1)
def _kinds() -> NDArray[np.uint8]:
    """What every code point is."""
    every = "".join(map(chr, range(0x110000)))
    kinds = np.full(len(every), _OTHER, np.uint8)
    for code in range(0x300, _LAST_MARK):
        if unicodedata.category(every[code]) in ("Mn", "Mc"):
            kinds[code] = _MARK
    for kind, pattern in ((_LETTER, r"\w+"), (_ALONE, f"[{_NO_SPACES}]+")):
        for run in re.finditer(pattern, every):
            part = kinds[run.start() : run.end()]
            part[(part != _MARK) & ((part == _LETTER) | (kind == _LETTER))] = kind
    return kinds


@lru_cache(maxsize=2)
def _tables(size: int) -> tuple[Hashes, Hashes]:
    powers = np.full(size, _BASE, np.uint64)
    inverses = np.full(size, pow(_BASE, -1, 1 << 64), np.uint64)
    powers[0] = inverses[0] = 1
    return np.multiply.accumulate(powers), np.multiply.accumulate(inverses)


def _powers(size: int) -> tuple[Hashes, Hashes]:
    """The first powers of the base and of its inverse modulo 2^64."""
    powers, inverses = _tables(2 * MOST_CHARACTERS if size > 1 << 12 else 1 << 12)
    return powers[:size], inverses[:size]
