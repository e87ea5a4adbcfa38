"""Mixtures: rates, whole numbers, which rows, and streams."""

from __future__ import annotations

from collections import Counter
from itertools import count, islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luthier.data.config import MixConfig
from luthier.data.mix import Bounds, Weighed, counts, interleaved, mixture, rates, rows_to_read
from luthier.errors import DataError

SIZES = {"big": 100_000, "middle": 3_000, "small": 500}
FREE = dict.fromkeys(SIZES, Bounds())


def test_proportional_rates_count_a_source_up_to_the_cap() -> None:
    """min(e, K) / sum of min(e, K), K = 3,000."""
    found = rates(SIZES, MixConfig(), FREE)
    assert found == pytest.approx({"big": 3000 / 6500, "middle": 3000 / 6500, "small": 500 / 6500})


def test_temperature_makes_shares_more_equal() -> None:
    config = MixConfig(strategy="temperature", temperature=2, maximum=None)
    found = rates({"a": 900, "b": 100}, config, {"a": Bounds(), "b": Bounds()})
    assert found == pytest.approx({"a": 0.75, "b": 0.25})  # sqrt(.9) : sqrt(.1) = 3 : 1


def test_the_largest_mixture_takes_no_row_twice_and_misses_none_by_rounding() -> None:
    assert counts(SIZES, MixConfig(), FREE) == {"big": 3000, "middle": 3000, "small": 500}
    assert counts(SIZES, MixConfig(maximum=None), FREE) == SIZES


def test_a_source_that_runs_out_leaves_its_share_to_the_others() -> None:
    config = MixConfig(strategy="weights", rows=1000)
    bounds = {"a": Bounds(1), "b": Bounds(1), "c": Bounds(2)}
    assert counts({"a": 50, "b": 10_000, "c": 10_000}, config, bounds) == {
        "a": 50, "b": 317, "c": 633,
    }  # fmt: skip
    repeated = counts(
        {"a": 50, "b": 10_000, "c": 10_000}, config.model_copy(update={"repeat": True}), bounds
    )
    assert repeated == {"a": 250, "b": 250, "c": 500}


def test_the_maximum_of_a_source_holds() -> None:
    bounds = {**FREE, "middle": Bounds(max_rows=7)}
    assert counts(SIZES, MixConfig(rows=1000), bounds)["middle"] == 7


def test_the_maximum_of_a_source_takes_nothing_from_the_others() -> None:
    sizes, bounds = {"a": 10_000, "b": 10_000, "c": 50}, {"a": Bounds(max_rows=100)}
    bounds |= {"b": Bounds(), "c": Bounds()}
    assert counts(sizes, MixConfig(), bounds) == {"a": 100, "b": 3000, "c": 50}
    weighed = {"a": Bounds(1, max_rows=10), "b": Bounds(3)}
    config = MixConfig(strategy="weights", rows=100, repeat=True)
    assert counts({"a": 50, "b": 20}, config, weighed) == {"a": 10, "b": 90}


def test_weights_must_be_given_for_every_source() -> None:
    with pytest.raises(DataError, match=r"needs a weight for every source; b has none"):
        counts({"a": 1, "b": 1}, MixConfig(strategy="weights"), {"a": Bounds(1.0), "b": Bounds()})


@given(
    st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 5000), min_size=1),
    st.integers(1, 6000),
    st.booleans(),
)
def test_counts_add_up(sizes: dict[str, int], rows: int, repeat: bool) -> None:
    if not any(sizes.values()):
        return
    config = MixConfig(rows=rows, repeat=repeat, maximum=None)
    found = counts(sizes, config, dict.fromkeys(sizes, Bounds()))
    assert sum(found.values()) == (rows if repeat else min(rows, sum(sizes.values())))
    if not repeat:
        assert all(found[name] <= sizes[name] for name in found)


def rows(name: str, number: int) -> list[Weighed]:
    return [Weighed(name, f"{name}{i}") for i in range(number)]


def mixed(weighed: list[Weighed], config: MixConfig | None, **bounds: Bounds) -> Counter[str]:
    """How often each row is taken."""
    known = {row.source: Bounds() for row in weighed} | bounds
    times, available = mixture(weighed, config=config, bounds=known, seed=7)
    assert available == Counter(row.source for row in weighed)
    return Counter({r.id: taken for r, taken in zip(weighed, times, strict=True) if taken})


def test_the_same_rows_whatever_their_order_and_a_larger_mixture_holds_a_smaller() -> None:
    weighed = rows("a", 40) + rows("b", 40)
    small = mixed(weighed, MixConfig(rows=10))
    assert mixed(weighed[::-1], MixConfig(rows=10)) == small
    assert small < mixed(weighed, MixConfig(rows=30))


def test_rows_are_repeated_evenly() -> None:
    found = mixed(rows("a", 4), MixConfig(rows=11, repeat=True))
    assert sorted(found.values()) == [2, 3, 3, 3]


def test_without_a_mixture_only_the_maximum_of_a_source_counts() -> None:
    weighed = rows("a", 5) + rows("b", 5)
    assert mixed(weighed, None, a=Bounds(max_rows=2)).total() == 7
    assert mixed(weighed, None) == Counter(row.id for row in weighed)


@pytest.mark.parametrize(("wanted", "share"), [(1, 0.5), (50, 0.7), (1000, 0.9), (7, 0.05)])
def test_enough_rows_are_read_for_those_that_splits_take(wanted: int, share: float) -> None:
    rows = rows_to_read(wanted, share)
    few = rows * share - 3 * (rows * share * (1 - share)) ** 0.5
    assert few >= wanted - 1e-6, "three standard deviations below what is expected"
    assert (rows - 1) * share - 3 * ((rows - 1) * share * (1 - share)) ** 0.5 < wanted
    assert rows_to_read(wanted, 1.0) == wanted


def test_streams_keep_their_shares_at_every_moment_and_are_read_no_further() -> None:
    read: Counter[str] = Counter()

    def endless(name: str):  # type: ignore[no-untyped-def]
        for i in count():
            read[name] += 1
            yield i

    shares = {"a": 5.0, "b": 3.0, "c": 2.0}
    taken: Counter[str] = Counter()
    stream = interleaved({name: endless(name) for name in shares}, shares)
    for number, (name, _) in enumerate(islice(stream, 1000), 1):
        taken[name] += 1
        assert all(abs(taken[n] - number * s / 10) <= 1 for n, s in shares.items())
    assert read == taken == {"a": 500, "b": 300, "c": 200}


def test_a_stream_that_ends_leaves_its_share_to_the_others() -> None:
    found = list(interleaved({"a": iter(range(2)), "b": iter(range(10))}, {"a": 1, "b": 1}))
    assert Counter(name for name, _ in found) == {"a": 2, "b": 10}
    assert [item for name, item in found if name == "b"] == list(range(10))
