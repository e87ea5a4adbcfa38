"""Verbs and nouns of instructions, measures of words, and the most similar pairs."""

from __future__ import annotations

import random

import pytest

from luthier.reporting.diversity import (
    lexical,
    openings_by_label,
    verb_and_noun,
    verb_nouns,
    words,
)
from luthier.reporting.similar_pairs import most_similar_pairs


@pytest.mark.parametrize(
    ("instruction", "found"),
    [
        ("Write a short funny story about a cat.", ("write", "story")),
        ("Give three tips for staying healthy.", ("give", "tip")),
        ("Please rewrite the following sentence in passive voice.", ("rewrite", "sentence")),
        ("Can you give me a list of cities?", ("give", "list")),
        ("Given a news article, classify each of the topics it names.", ("classify", "topic")),
        ("You are given a recipe. Shorten it to three steps.", ("shorten", None)),
        ("Your task is to summarize the text below.", ("summarize", "text")),
        ("Sketch a lighthouse at night.", ("sketch", "lighthouse")),
        ("Yodel the anthem of the valley.", ("yodel", "anthem")),
        ("Explain photosynthesis in simple words.", ("explain", "photosynthesis")),
        ("Translate into French: good morning", ("translate", "french")),
        ("Describe briefly the series you like.", ("describe", "series")),
        ("Identify the bias.", ("identify", "bias")),
        ("Stretch the canvas.", ("stretch", "canvas")),
        ("List the areas.", ("list", "area")),
        ("Explain!", ("explain", None)),
    ],
)
def test_what_an_instruction_asks_for(instruction: str, found: tuple[str, str | None]) -> None:
    assert verb_and_noun(instruction) == found


@pytest.mark.parametrize(
    "instruction",
    [
        "",
        "?!",
        "What is the capital of France?",
        "The list of names is long.",
        "Schreibe eine Geschichte \u00fcber eine Katze.",
        "\u05db\u05ea\u05d5\u05d1 \u05e1\u05d9\u05e4\u05d5\u05e8",
        "\u5199\u4e00\u4e2a\u6545\u4e8b",
    ],
)
def test_what_is_no_request_in_english_has_no_verb(instruction: str) -> None:
    assert verb_and_noun(instruction) is None


def test_verbs_are_counted_with_their_nouns() -> None:
    found = verb_nouns(
        ["Write a story.", "Write a story!", "Write a poem.", "List names.", "Hm."], most_nouns=1
    )
    assert (found.instructions, found.found, found.pairs) == (5, 4, 3)
    assert found.verbs == [("write", 3, [("story", 2)]), ("list", 1, [("name", 1)])]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("We'll build, 3 times.", ["we'll", "build", "3", "times"]),
        ("\u0928\u092e\u0938\u094d\u0924\u0947 \u092d\u093e\u0930\u0924",
         ["\u0928\u092e\u0938\u094d\u0924\u0947", "\u092d\u093e\u0930\u0924"]),
        ("\u4f60\u597dabc", ["\u4f60", "\u597d", "abc"]),
        ("\u05e9\u05dc\u05d5\u05dd \u05e2\u05d5\u05dc\u05dd",
         ["\u05e9\u05dc\u05d5\u05dd", "\u05e2\u05d5\u05dc\u05dd"]),
        ("?! \u2014 ...", []),
    ],
)  # fmt: skip
def test_words_of_any_script(text: str, expected: list[str]) -> None:
    assert words(text) == expected


def test_measures_of_words() -> None:
    found = lexical(["a b c d", "a b c e", "x"])
    assert (found.texts, found.words, found.vocabulary) == (3, 9, 6)
    assert found.distinct_1 == 6 / 9
    assert found.distinct_2 == 4 / 6, "ab, bc, cd, ce of six"
    assert found.repeated_openings == 2 / 3
    assert found.openings == [("a b c", 2), ("x", 1)]


def test_no_texts_and_no_words_have_measures_too() -> None:
    for texts in ([], ["", "?!"]):
        found = lexical(texts)
        assert (found.vocabulary, found.distinct_1, found.distinct_2) == (0, 0.0, 0.0)
        assert found.openings == []


def test_openings_give_labels_away() -> None:
    found = openings_by_label(
        [("True", "We will build."), ("True", "We will go."), ("False", "It may.")], most=1
    )
    assert found == {"True": (2, [("we will", 2)]), "False": (1, [("it may", 1)])}


# --- pairs ---------------------------------------------------------------------------------------


def shingles(text: str) -> set[tuple[str, ...]]:
    found = words(text)
    if len(found) < 3:
        return {tuple(found)} if found else set()
    return set(zip(found, found[1:], found[2:], strict=False))


def every_similarity(texts: list[str]) -> list[float]:
    """Of all pairs, compared one by one."""
    sets = [shingles(text) for text in texts]
    found = [
        len(one & other) / len(one | other)
        for i, one in enumerate(sets)
        for other in sets[:i]
        if one & other
    ]
    return sorted(found, reverse=True)


@pytest.mark.parametrize("seed", range(60))
def test_pairs_are_those_of_comparing_all(seed: int) -> None:
    draw = random.Random(seed)
    vocabulary = [f"w{i}" for i in range(draw.choice([2, 3, 6, 30]))]
    texts = [
        " ".join(draw.choices(vocabulary, k=draw.randint(0, 9))) for _ in range(draw.randint(0, 40))
    ]
    found = most_similar_pairs(texts, most=7)
    assert found.compared == len(texts)
    assert [pair.similarity for pair in found.pairs] == every_similarity(texts)[:7]
    for first, second, similarity in found.pairs:
        assert first < second
        one, other = shingles(texts[first]), shingles(texts[second])
        assert similarity == len(one & other) / len(one | other)


def test_the_pair_that_is_alike_is_found_among_thousands() -> None:
    draw = random.Random(1)
    texts = [" ".join(f"w{draw.randrange(5000)}" for _ in range(20)) for _ in range(4000)]
    texts[17] = "a tax on sugar will be raised next year in spring"
    texts[3999] = "a tax on sugar will be raised next year in autumn"
    assert most_similar_pairs(texts, most=1).pairs == [(17, 3999, 8 / 10)]


def test_very_uniform_texts_end_in_time() -> None:
    draw = random.Random(1)
    texts = [
        " ".join(f"w{min(999, int(draw.paretovariate(0.8)))}" for _ in range(60))
        for _ in range(3000)
    ]
    found = most_similar_pairs(texts)
    assert len(found.pairs) == 10 and found.compared in (750, 188)


def test_thousands_of_equal_texts_end_at_once() -> None:
    found = most_similar_pairs(["all the same words here"] * 4000)
    assert len(found.pairs) == 10 and {pair.similarity for pair in found.pairs} == {1.0}
