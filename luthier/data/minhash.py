"""MinHash signatures: numbers that agree between two sets as often as the sets are alike.

The smallest value of a random function over two sets is the same with a probability that is their
Jaccard similarity (A. Broder, 1997). Signatures are cut into bands (J. Leskovec, A. Rajaraman,
J. Ullman, "Mining of Massive Datasets", section 3.4), and sets that agree in a band are looked at
closer; two bits of each of 64 smallest values then tell most of the unlike ones (P. Li, C. König,
"b-Bit Minwise Hashing", 2010).
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]
MISS = 1e-6
"""Probability at most of which no band agrees for a pair right at the threshold."""
MAX_HASHES = 172
"""Random functions, bands times rows: what a signature may cost."""
_LANES = 64
"""Functions of whose smallest value two bits are kept."""
_FEW = 4096
"""Hashes below which all functions are taken at once; above, one at a time stays in the cache."""
_EVEN = np.uint64(0x5555555555555555)
_SPREAD = np.uint64(0xC2B2AE3D27D4EB4F)


def banding(similarity: float) -> tuple[int, int]:
    """Bands and rows per band that find a pair of this similarity with probability 1 - MISS.

    A band of r rows agrees with probability s^r, so b bands all miss with (1 - s^r)^b. More rows
    propose fewer wrong pairs; they are bounded by MAX_HASHES = b r. Below a similarity of about
    0.08 no such banding exists and the one with the fewest misses (r = 1) is taken.
    """
    best = (MAX_HASHES, 1)
    for rows in range(1, 17):
        agree = min(similarity**rows, 1 - 1e-9)
        bands = math.ceil(math.log(MISS) / math.log1p(-agree))
        if bands * rows <= MAX_HASHES:
            best = (bands, rows)
    return best


class Signatures(NamedTuple):
    """What MinHash says of some sets."""

    keys: Hashes
    """(sets, bands): sets that agree in one of them are looked at closer."""
    sketches: Hashes
    """(sets, 2): two bits of each of up to 64 smallest values."""


class Signer:
    """Makes the signatures for one threshold."""

    def __init__(self, similarity: float) -> None:
        """Draw the functions: the same ones in every process."""
        self.bands, self.rows = banding(similarity)
        count = self.bands * self.rows
        random = np.random.default_rng(1997)
        self._factors = random.integers(0, 2**32, count, dtype=np.uint32) | np.uint32(1)
        self._offsets = random.integers(0, 2**32, count, dtype=np.uint32)
        self._join = random.integers(0, 2**64, self.rows, dtype=np.uint64) | np.uint64(1)
        self._band = random.integers(0, 2**64, self.bands, dtype=np.uint64)
        self._lanes = min(count, _LANES)
        self._tolerated = _tolerated(self._lanes, similarity)

    def sign(
        self, hashes: NDArray[np.uint32], begins: NDArray[np.signedinteger[Any]]
    ) -> Signatures:
        """Signatures of sets of 32-bit hashes.

        Args:
            hashes: the members of all sets behind each other.
            begins: where each set begins; none is empty.
        """
        smallest = self._smallest(hashes, begins)
        lanes = (smallest[:, : self._lanes] & np.uint32(3)).astype(np.uint64)
        lanes <<= np.arange(0, 2 * self._lanes, 2, dtype=np.uint64) % np.uint64(64)
        sketches = np.zeros((len(begins), 2), np.uint64)
        for word in range(2):
            sketches[:, word] = np.bitwise_or.reduce(lanes[:, 32 * word : 32 * word + 32], axis=1)
        rows = smallest.reshape(len(begins), self.bands, self.rows)
        keys = np.broadcast_to(self._band, (len(begins), self.bands)).copy()
        for row in range(self.rows):
            keys += rows[:, :, row] * self._join[row]
        keys ^= keys >> np.uint64(31)
        keys *= _SPREAD
        return Signatures(keys, sketches)

    def _smallest(
        self, hashes: NDArray[np.uint32], begins: NDArray[np.signedinteger[Any]]
    ) -> NDArray[np.uint32]:
        """(sets, functions) smallest value of each function over each set."""
        # Multiply-and-add modulo 2^32 stands in for a random permutation.
        if len(hashes) < _FEW:
            values = hashes[:, None] * self._factors + self._offsets
            return np.minimum.reduceat(values, begins, axis=0)
        smallest = np.empty((len(self._factors), len(begins)), np.uint32)
        values = np.empty_like(hashes)
        for number, out in enumerate(smallest):
            np.multiply(hashes, self._factors[number], out=values)
            values += self._offsets[number]
            np.minimum.reduceat(values, begins, out=out)
        return np.ascontiguousarray(smallest.T)

    def alike(self, one: Hashes, other: Hashes) -> NDArray[np.bool_]:
        """Whether sketches, row by row, differ as little as those of a pair at the threshold."""
        differ = one ^ other
        differ = (differ | (differ >> np.uint64(1))) & _EVEN
        found: NDArray[np.bool_] = np.bitwise_count(differ).sum(axis=-1) <= self._tolerated
        return found


def _tolerated(lanes: int, similarity: float) -> int:
    """Lanes in which a pair at the threshold differs at most, but for once in a billion.

    Two bits of unlike values agree by chance once in four times.
    """
    differ = 0.75 * (1 - similarity)
    rest = 1.0
    for count in range(lanes):
        rest -= math.comb(lanes, count) * differ**count * (1 - differ) ** (lanes - count)
        if rest < 1e-9:
            return count
    return lanes
