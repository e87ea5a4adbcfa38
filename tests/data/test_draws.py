"""Draws and the choice of templates: stable under reordering and filtering, and even."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from random import Random
from typing import Any

from scipy.stats import chisquare

from luthier.data.templating.draws import Draw, pick
from luthier.example import content_id

IDS = [content_id(["row", n]) for n in range(10_000)]


@dataclass
class Named:
    name: str
    shortest: int = 0

    def suits(self, fields: Any) -> bool:
        return len(fields["text"]) >= self.shortest


TEN = [Named(f"set/{n}") for n in range(10)]


def test_draws_follow_from_seed_row_and_purpose_alone() -> None:
    draw = Draw(1, "a")
    assert draw.bits("x") == Draw(1, "a").bits("x")
    others = [Draw(2, "a").bits("x"), Draw(1, "b").bits("x"), draw.bits("y")]
    assert len({draw.bits("x"), *others}) == 4
    assert all(0 <= Draw(0, i).number("x") < 1 for i in IDS[:1000])
    assert sorted(draw.shuffled("x", range(50))) == list(range(50))
    assert draw.shuffled("x", range(50)) != draw.shuffled("y", range(50))


def test_every_order_and_place_comes_out_equally_often() -> None:
    orders = Counter(tuple(Draw(3, i).shuffled("order", "abc")) for i in IDS)
    assert len(orders) == 6 and chisquare(list(orders.values())).pvalue > 0.001
    places = Counter(Draw(3, i).index("place", 7) for i in IDS)
    assert sorted(places) == list(range(7)) and chisquare(list(places.values())).pvalue > 0.001


def test_templates_are_used_evenly_and_no_row_is_lost() -> None:
    for seed in range(3):
        counts = Counter(pick(TEN, Draw(seed, i)).name for i in IDS)
        assert sum(counts.values()) == len(IDS) and len(counts) == 10
        assert chisquare(list(counts.values())).pvalue > 0.001, counts
        assert max(abs(n - 1000) for n in counts.values()) < 120  # 4 standard deviations


def test_a_template_is_the_same_in_any_order_of_rows_and_templates() -> None:
    chosen = {i: pick(TEN, Draw(0, i)).name for i in IDS[:2000]}
    shuffled, rows = list(TEN), list(chosen)
    Random(0).shuffle(shuffled)
    Random(1).shuffle(rows)
    assert {i: pick(shuffled, Draw(0, i)).name for i in rows[:700]}.items() <= chosen.items()


def test_a_template_less_changes_its_own_rows_only() -> None:
    for i in IDS[:2000]:
        before, after = pick(TEN, Draw(0, i)).name, pick(TEN[:-1], Draw(0, i)).name
        assert after == before or before == "set/9"


def test_templates_that_do_not_suit_a_row_are_passed_over() -> None:
    two = [Named("any"), Named("long", shortest=10)]
    draws = [Draw(0, i) for i in IDS[:200]]
    assert {pick(two, d, {"text": "short"}).name for d in draws} == {"any"}
    assert {pick(two, d, {"text": "long enough"}).name for d in draws} == {"any", "long"}
    assert pick(two[1:], draws[0], {"text": "short"}).name == "long"  # there is no other
