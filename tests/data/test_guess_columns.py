"""Columns of tables nobody described."""

from __future__ import annotations

from typing import Any

import pytest

from luthier.data.linting.guess_columns import guess, labels_of


def rows(count: int = 30, **columns: Any) -> list[dict[str, Any]]:
    """Rows of which each column is a list of values to go round in."""
    return [
        {name: values[i % len(values)] for name, values in columns.items()} for i in range(count)
    ]


LONG = [f"a sentence of some words, number {i}" for i in range(30)]


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"text": LONG, "label": ["NUM", "LOC"]}, ("text", "label", ("LOC", "NUM"))),
        (
            {"sentence": LONG, "label": ["True", "False"], "year": ["1964"]},
            ("sentence", "label", ("False", "True")),
        ),
        ({"Question": LONG, "Answer": LONG}, ("Question", "Answer", ())),
        ({"review": LONG, "stars": [1, 2, 3]}, ("review", "stars", ("1", "2", "3"))),
        ({"body": LONG, "ok": [True, False]}, ("body", "ok", ("false", "true"))),
        ({"text": LONG}, ("text", None, ())),
        (
            {"id": list(range(30)), "note": LONG, "intent": ["a", "b"]},
            ("note", "intent", ("a", "b")),
        ),
        (
            {"input": LONG, "output": ["Paris", "Rome", *map(str, range(28))]},
            ("input", "output", ()),
        ),
        ({"n": [1, 2]}, (None, "n", ("1", "2"))),
        ({"past": LONG, "future": LONG[::-1]}, ("past", "future", ())),
        ({"note": LONG, "source": ["a", "b"], "lang": ["en", "de"]}, ("note", None, ())),
        ({"note": LONG, "made": ["here"]}, ("note", None, ())),
        (
            {
                "url": [f"https://a.example/{i}/a/very/long/path" for i in range(30)],
                "vow": LONG,
                "party": ["one that has a very long name of many words that never changes"],
                "kept": ["yes", "no"],
            },
            ("vow", "kept", ("no", "yes")),
        ),
    ],
)
def test_columns(columns: dict[str, Any], expected: tuple[Any, ...]) -> None:
    found = guess(rows(**columns))
    assert (found.input, found.output, found.labels) == expected


def test_a_split_column_says_only_splits() -> None:
    assert guess(rows(text=LONG, label=["a", "b"], split=["Train", "dev"])).split == "split"
    assert guess(rows(text=LONG, label=["a", "b"], split=["left", "right"])).split is None


def test_few_rows_with_few_answers_are_no_labels() -> None:
    assert labels_of([{"answer": w} for w in ("Paris", "Rome", "Oslo")], "answer") == ()
    assert labels_of([{"label": w} for w in ("Paris", "Rome", "Oslo")], "label") == (
        "Oslo",
        "Paris",
        "Rome",
    )
    assert labels_of([{"label": "word " * 20}] * 9, "label") == ()
    assert labels_of([{"label": [1]}] * 9, "label") == ()
    assert labels_of([], "label") == ()


def test_an_id_beside_lists_is_no_text() -> None:
    found = guess([{"id": f"row {i}", "source": "web", "data": ["a", "b"]} for i in range(30)])
    assert found.input is None and found.output is None
