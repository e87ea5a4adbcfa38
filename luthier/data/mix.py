"""Mixtures: how many training rows each source gives, and which.

Rates are examples-proportional with a cap, tempered, or the recipe's own weights (T5, arXiv
1910.10683, 3.5.2). Which rows a source gives is decided by a hash of the seed and their ids: the
same rows in any order give the same mixture, and a larger one contains a smaller one.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from typing import NamedTuple, TypeVar

from luthier.data.config import MixConfig, SourceConfig
from luthier.errors import DataError
from luthier.example import content_id

Item = TypeVar("Item")


class Bounds(NamedTuple):
    """What the recipe says of one source."""

    weight: float | None = None
    max_rows: int | None = None


def bounds_of(sources: Iterable[tuple[str, SourceConfig]]) -> dict[str, Bounds]:
    """Weights and largest numbers of rows by the name of the source.

    Args:
        sources: (name of its own, section of the recipe), in order.
    """
    return {name: Bounds(source.weight, source.max_rows) for name, source in sources}


def rates(
    sizes: Mapping[str, int], config: MixConfig, bounds: Mapping[str, Bounds]
) -> dict[str, float]:
    """The share of each source in a mixture; they add up to 1.

    Args:
        sizes: rows that each source has; those without rows get no share.
        config: the recipe's `data.mix`.
        bounds: weights, where the strategy asks for them.

    Raises:
        DataError: `weights` without a weight for some source.
    """
    sizes = {name: size for name, size in sizes.items() if size}
    if config.strategy == "weights":
        lacking = [name for name in sizes if bounds[name].weight is None]
        if lacking:
            names = ", ".join(lacking)
            raise DataError(
                f"data.mix: strategy: weights needs a weight for every source; {names} has none. "
                "Write it as data.sources: [{path: ..., weight: 2}]."
            )
        raw = {name: float(bounds[name].weight or 0) for name in sizes}
    else:
        raw = {name: float(min(size, config.maximum or size)) for name, size in sizes.items()}
        if config.strategy == "temperature":
            whole = sum(raw.values())
            raw = {name: (value / whole) ** (1 / config.temperature) for name, value in raw.items()}
    whole = sum(raw.values())
    return {name: value / whole for name, value in raw.items()}


def counts(
    sizes: Mapping[str, int], config: MixConfig, bounds: Mapping[str, Bounds]
) -> dict[str, int]:
    """How many rows each source gives.

    Without `rows` the mixture is the largest that takes no row twice. With `rows` a source that has
    too few gives them all, or several times (`repeat`); the others then make up the number.

    Args:
        sizes: rows that each source has.
        config: the recipe's `data.mix`.
        bounds: weights and largest numbers of rows.
    """
    limits = {
        name: min(size, bounds[name].max_rows or size) for name, size in sizes.items() if size
    }
    share = rates(sizes, config, bounds)
    if config.rows is None:
        # The recipe's own weights hold whatever happens; else a source that may give few rows
        # must not take them from the others.
        most = limits if config.strategy == "weights" else sizes
        total = min(most[name] / share[name] for name in limits)
        wanted = {name: min(share[name] * total, limits[name]) for name in limits}
        # A hair of floating point must not cost a row.
        return _rounded(wanted, round(sum(wanted.values())), limits)
    if config.repeat:
        limits = {name: bounds[name].max_rows or config.rows for name in limits}
    wanted = {}
    left, open_ = float(config.rows), dict(share)
    while open_:
        whole = sum(open_.values())
        full = [n for n, s in open_.items() if left * s / whole >= limits[n]]
        if not full:
            wanted |= {n: left * s / whole for n, s in open_.items()}
            break
        for name in full:
            wanted[name] = float(limits[name])
            left -= limits[name]
            del open_[name]
    return _rounded(wanted, min(config.rows, sum(limits.values())), limits)


def _rounded(wanted: Mapping[str, float], total: int, limits: Mapping[str, int]) -> dict[str, int]:
    """Whole numbers that add up to `total`, by largest remainder; none above its limit."""
    found = {name: min(math.floor(value + 1e-9), limits[name]) for name, value in wanted.items()}
    by_rest = sorted(wanted, key=lambda name: (found[name] - wanted[name], name))
    for name in by_rest * 2:
        if sum(found.values()) >= total:
            break
        if found[name] < limits[name]:
            found[name] += 1
    return found


def rows_to_read(wanted: float, share: float) -> int:
    """Rows of a stream of which `wanted` are left to train on, all but certainly.

    Splits are drawn row by row, so of x rows x * share are trained on, give or take three standard
    deviations of a binomial; x is solved for.

    Args:
        wanted: training rows.
        share: the part of the rows that is trained on, above 0.
    """
    spread = 3 * math.sqrt(share * (1 - share))
    root = (spread + math.sqrt(spread**2 + 4 * share * wanted)) / (2 * share)
    return math.ceil(root**2 - 1e-9)


class Weighed(NamedTuple):
    """What a mixture must know of a training row."""

    source: str
    id: str


def mixture(
    rows: Sequence[Weighed],
    *,
    config: MixConfig | None,
    bounds: Mapping[str, Bounds],
    seed: int,
) -> tuple[list[int], dict[str, int]]:
    """Choose the training rows of a mixture.

    Args:
        rows: all training rows.
        config: the recipe's `data.mix`; None: only `max_rows` counts.
        bounds: weights and largest numbers of rows by source.
        seed: chooses among a source's rows.

    Returns:
        How often each row is taken, and how many rows each source has.
    """
    by_source = {name: array("i") for name in bounds}
    for number, row in enumerate(rows):
        by_source[row.source].append(number)
    sizes = {name: len(found) for name, found in by_source.items()}
    if config is None:
        taken = {n: min(size, bounds[n].max_rows or size) for n, size in sizes.items()}
    else:
        taken = counts(sizes, config, bounds)
    times = [0] * len(rows)
    for name, found in by_source.items():
        whole, rest = divmod(taken.get(name, 0), max(1, len(found)))
        for number in found:
            times[number] = whole
        if rest:
            for number in sorted(found, key=lambda n: content_id([seed, rows[n].id]))[:rest]:
                times[number] += 1
    return times, sizes


def interleaved(
    streams: Mapping[str, Iterator[Item]], shares: Mapping[str, float]
) -> Iterator[tuple[str, Item]]:
    """Take from streams in fixed shares, reading no further than needed.

    After n items every stream has given its share of n within one item per stream; nothing is
    drawn at random. A stream that ends leaves its share to the others.

    Args:
        streams: iterators by name.
        shares: positive numbers by name; only their ratios count.
    """
    # Exact arithmetic: after a million steps of float credits the order would depend on rounding.
    weight = {name: Fraction(shares[name]).limit_denominator(10**6) for name in streams}
    credit = {name: Fraction(0) for name in streams}
    alive = dict(streams)
    while alive:
        whole = sum(weight[name] for name in alive)
        for name in alive:
            credit[name] += weight[name] / whole
        name = max(alive, key=lambda n: (credit[n], n))
        try:
            item = next(alive[name])
        except StopIteration:
            del alive[name]
            credit[name] = Fraction(0)
            continue
        credit[name] -= 1
        yield name, item
