"""Shots: from training rows, never the row or its relatives, balanced, stable, never trained on."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from luthier.chat import Rendered
from luthier.data.templating.draws import Draw
from luthier.data.templating.few_shot import ShotPool, choose_shots, with_shots
from luthier.example import Example, Message, Origin, content_id


def row(n: int, label: str | None = None, group: str | None = None, template: str = "t") -> Example:
    answer = label or f"A{n}"
    turns = (Message("system", "S"), Message("user", f"Q{n}"), Message("assistant", answer))
    return Example(content_id([n]), Origin("r.csv", n), messages=turns, label=label, group=group,
                   template=template)  # fmt: skip


def rendered(example: Example) -> Rendered:
    """A token a turn."""
    return Rendered([0] * len(example.messages), [True] * len(example.messages))


def shown_by(pool: ShotPool, example: Example) -> Example:
    return pool.shown_before(example, rendered)[0]


TRAIN = [row(n, "yes" if n % 10 else "no") for n in range(200)]


def test_shots_stand_between_system_and_question_and_carry_no_loss() -> None:
    shown = with_shots(row(1), [row(2), row(3)])
    assert [(m.role, m.content, m.weight) for m in shown.messages] == [
        ("system", "S", None), ("user", "Q2", None), ("assistant", "A2", 0.0),
        ("user", "Q3", None), ("assistant", "A3", 0.0), ("user", "Q1", None),
        ("assistant", "A1", None),
    ]  # fmt: skip
    assert shown.completion == "A1" and shown.id == row(1).id
    assert with_shots(row(1), []) == row(1)


def test_labels_are_balanced_and_orders_differ() -> None:
    orders = set()
    for n in range(100):
        shots = choose_shots(TRAIN, 4, Draw(0, str(n)), avoid=None)
        assert Counter(s.label for s in shots) == {"yes": 2, "no": 2}
        assert len({s.id for s in shots}) == 4
        orders.add(tuple(s.label for s in shots))
    assert len(orders) == 6
    odd = [Counter(s.label for s in choose_shots(TRAIN, 3, Draw(0, str(n)))) for n in range(100)]
    assert {c["no"] for c in odd} == {1, 2}


def test_a_scarce_label_leaves_its_places_to_the_others() -> None:
    rows = [row(0, "no"), *(row(n, "yes") for n in range(1, 9))]
    shots = choose_shots(rows, 6, Draw(0, "x"), avoid=rows[0])
    assert Counter(s.label for s in shots) == {"yes": 6}
    assert len(choose_shots(rows, 20, Draw(0, "x"))) == 9
    assert choose_shots([], 3, Draw(0, "x")) == []


def test_never_the_row_itself_nor_its_group_nor_two_of_one_group() -> None:
    rows = [row(n, group=f"g{n // 2}") for n in range(12)]
    for asked in rows:
        shots = choose_shots(rows, 5, Draw(0, asked.id), avoid=asked)
        groups = [s.group for s in shots]
        assert len(set(groups)) == 5 and asked.group not in groups
    alone = [row(n) for n in range(3)]
    for asked in alone:
        assert asked.id not in [s.id for s in choose_shots(alone, 2, Draw(0, "x"), avoid=asked)]


def test_the_same_shots_whatever_the_order_of_the_rows() -> None:
    mixed = list(TRAIN)
    Random(0).shuffle(mixed)
    for n in range(20):
        draw = Draw(1, str(n))
        assert choose_shots(TRAIN, 4, draw) == choose_shots(mixed, 4, draw)
    before = [choose_shots(TRAIN, 4, Draw(1, str(n))) for n in range(50)]
    after = [choose_shots(TRAIN[1:], 4, Draw(1, str(n))) for n in range(50)]
    for one, other in zip(before, after, strict=True):
        assert one == other or TRAIN[0] in one


def test_all_rows_are_shown_about_equally_often() -> None:
    rows = [row(n) for n in range(50)]
    counts = Counter(s.id for n in range(2000) for s in choose_shots(rows, 2, Draw(0, str(n))))
    assert len(counts) == 50 and max(counts.values()) < 2 * min(counts.values())


def test_a_pool_keeps_templates_apart_and_conversations_as_they_are() -> None:
    pool = ShotPool(2, 0, 99)
    talk = row(90).but(
        messages=(*row(90).messages, Message("user", "?"), Message("assistant", "!"))
    )
    for n in range(10):
        pool.offer(row(n, template="a" if n < 5 else "b"))
    pool.offer(talk)
    shown = shown_by(pool, row(3, template="a")).messages
    asked = [m.content for m in shown if m.role == "user"]
    assert len(asked) == 3 and asked[-1] == "Q3" and set(asked[:2]) <= {"Q0", "Q1", "Q2", "Q4"}
    assert shown_by(pool, talk) == talk
    assert shown_by(pool, row(1, template="c")) == row(1, template="c")


def test_a_row_is_shown_rows_of_its_own_source_where_there_are_some() -> None:
    """Two tasks may ask with the same template; a test file has no training rows."""
    pool = ShotPool(2, 0, 99)
    for n in range(20):
        pool.offer(row(n).but(origin=Origin("one.csv" if n < 10 else "two.csv", n + 1)))
    own = shown_by(pool, row(0).but(origin=Origin("one.csv", 1)))
    asked = [m.content for m in own.messages if m.role == "user"]
    assert len(asked) == 3 and all(int(q[1:]) < 10 for q in asked)
    assert len(shown_by(pool, row(99).but(origin=Origin("test.csv", 1))).messages) == 7


def test_a_row_without_room_for_its_shots_is_shown_fewer_and_never_lost(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for room, turns in ((9, 9), (8, 7), (6, 5), (4, 3)):
        pool = ShotPool(3, 0, room)
        for example in TRAIN:
            pool.offer(example)
        found, tokens = pool.shown_before(row(1000), rendered)
        assert len(found.messages) == len(tokens.input_ids) == turns
        assert pool.shortened == (turns < 9)
        pool.tell_shortened()
        said = capsys.readouterr().err
        assert ("1 rows are shown fewer than 3 shots" in said) == (turns < 9)


def test_a_large_pool_is_bounded_and_does_not_depend_on_the_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("luthier.data.templating.few_shot.MOST", 20)
    one, other = ShotPool(3, 0, 99), ShotPool(3, 0, 99)
    for example in TRAIN:
        one.offer(example)
    for example in reversed(TRAIN):
        other.offer(example)
    shown = [shown_by(pool, row(n + 1000)) for pool in (one, other) for n in range(30)]
    assert shown[:30] == shown[30:]
    assert len({m.content for e in shown for m in e.messages if m.role == "user"}) <= 40 + 30
