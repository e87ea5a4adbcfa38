"""Filters: every one answers with a reason or None, and asserts its own reasons."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest
from needed_options import needed_options

from luthier.chat import Rendered
from luthier.data.candidate import Candidate
from luthier.data.intake import FILTERS
from luthier.errors import DataError, LuthierError
from luthier.example import Example, Message, Origin, content_id


def row(question: str, answer: str = "True", *, line: int = 1, labels: Any = ("True", "False")
        ) -> Candidate:  # fmt: skip
    example = Example(
        content_id([question, answer]), Origin("rows.csv", line), {"input": question},
        messages=(Message("user", question), Message("assistant", answer)),
        label=answer if labels else None,
    )  # fmt: skip
    return Candidate(
        example, question, answer, list(labels), lambda e: Rendered([1] * 30, [True] * 30)
    )


def judge(name: str, rows: list[Candidate], **options: Any) -> list[str | None]:
    """Reasons of a filter over a stream of rows; passed rows are remembered."""
    built = FILTERS.build(name, **options)
    reasons = []
    for each in rows:
        reasons.append(built(each))
        if reasons[-1] is None and hasattr(built, "remember"):
            built.remember(each)
    return reasons


@pytest.mark.parametrize("name", FILTERS.names())
def test_every_filter_is_described_documented_and_lets_a_good_row_pass(
    name: str, tmp_path: Path, tiny_model_dir: Path
) -> None:
    assert FILTERS.describe(name).endswith(".")
    build = FILTERS.load(name).build
    options = inspect.signature(build).parameters.values()
    assert build.__doc__ and all(p.kind is p.KEYWORD_ONLY for p in options)
    good = [row("We will build ten clinics."), row("Nobody knows why it rained.", "False")]
    needed = needed_options(name, tmp_path, tiny_model_dir)
    assert {p.name for p in options if p.default is p.empty} <= needed.keys()
    assert judge(name, good, **needed) == [None, None]
    if needed:
        with pytest.raises((DataError, LuthierError, TypeError)):
            FILTERS.build(name)


def test_empty() -> None:
    assert judge("empty", [row(" \n"), row("a", " "), row("a")]) == [
        "empty: nothing is asked", "empty: no answer", None,
    ]  # fmt: skip
    chat = row("a")
    chat.example = chat.example.but(
        messages=(Message("user", "a"), Message("assistant", ""), *chat.example.messages)
    )
    assert judge("empty", [chat]) == ["empty: message 2 (assistant)"]
    asked = row("")
    asked.example = asked.example.but(messages=(Message("user", "a"),))
    assert judge("empty", [asked]) == ["empty: no answer to the last message"]
    text = row("")
    text.example = text.example.but(messages=(), text="")
    assert judge("empty", [text]) == ["empty: no text"]


def test_exact_duplicates() -> None:
    rows = [row("a", line=2), row("a", "False", line=3), row("a", line=4), row("a ", line=5)]
    assert judge("exact_duplicates", rows) == [None, None, "exact duplicate: of rows.csv:2", None]


def test_near_duplicates_compare_within_a_label() -> None:
    text = "We will build four hundred new clinics before the next election in May"
    rows = [
        row(text, line=2), row(text.upper() + "!", line=3), row(text, "False", line=4),
        row(text.replace("May", "June"), line=5), row("Something else altogether", line=6),
    ]  # fmt: skip
    assert judge("near_duplicates", rows) == [
        None, "near-duplicate: 1.00 similar to rows.csv:2", None,
        "near-duplicate: 0.83 similar to rows.csv:2", None,
    ]  # fmt: skip
    assert judge("near_duplicates", rows, similarity=0.9)[3] is None
    free = [row("Name a colour that people like", a, labels=()) for a in ("red", "blue", "red")]
    assert [bool(r) for r in judge("near_duplicates", free)] == [False, False, True]


def test_a_row_another_filter_rejected_makes_nothing_a_duplicate() -> None:
    near = FILTERS.build("near_duplicates")
    text = "one two three four five six seven eight nine ten"
    assert near(row(text)) is None  # rejected elsewhere: never remembered
    assert near(row(text + ".")) is None


@pytest.mark.parametrize("value", [0, 1.5, "high", True])
def test_near_duplicates_refuse_an_impossible_similarity(value: Any) -> None:
    with pytest.raises(DataError, match=r"near_duplicates.*similarity is"):
        FILTERS.build("near_duplicates", similarity=value)


def test_length() -> None:
    rows = [row(""), row("one two three"), row("one")]
    assert judge("length", rows, max_words=2) == [
        "too short: 0 words, the least is 1 (length.min_words)",
        "too long: 3 words, the limit is 2 (length.max_words)", None,
    ]  # fmt: skip
    assert judge("length", rows[1:2], max_tokens=29) == [
        "too long: 30 tokens, the limit is 29 (length.max_tokens)"
    ]
    assert judge("length", rows[1:2], max_tokens=30, max_words=3, min_words=3) == [None]
    with pytest.raises(DataError, match=r"max_words is 'many', expected a whole number"):
        FILTERS.build("length", max_words="many")
    with pytest.raises(LuthierError, match=r"unknown option 'max_word'. Did you mean 'max_words'"):
        FILTERS.build("length", max_word=3)
    for wrong in ({"max_words": 0}, {"max_tokens": -1}, {"min_words": -1}):
        with pytest.raises(DataError, match="which leaves no row"):
            FILTERS.build("length", **wrong)
    with pytest.raises(DataError, match=r"max_words is 3, below min_words \(5\)"):
        FILTERS.build("length", min_words=5, max_words=3)


def test_labels_name_the_nearest_and_relabel_nothing() -> None:
    rows = [row("a", "TRUE"), row("b", "Flase"), row("c", "xyz"), row("d", " True"), row("e", "")]
    reasons = judge("labels", rows)
    start = "label outside the set: "
    assert reasons[:4] == [
        f"{start}'TRUE' is none of True, False. Did you mean 'True'?",
        f"{start}'Flase' is none of True, False. Did you mean 'False'?",
        f"{start}'xyz' is none of True, False.",
        f"{start}' True' is none of True, False. Did you mean 'True'?",
    ]
    assert reasons[4] is not None
    assert rows[0].example.label == "TRUE"
    assert judge("labels", [row("a", "anything", labels=())]) == [None]


def test_contradictions_keep_the_first() -> None:
    rows = [
        row("Is it so?", line=2), row("is it  so?", "False", line=3), row("Is it so?", line=4),
        row("Is it not so?", "False", line=5),
    ]  # fmt: skip
    assert judge("contradiction", rows) == [
        None, "contradiction: rows.csv:2 answers 'True' to the same input", None, None,
    ]  # fmt: skip


@pytest.mark.parametrize("markup", ["<|im_end|>", "[INST]", "</s>", "<<SYS>>", "<end_of_turn>"])
def test_special_tokens(markup: str) -> None:
    rows = [row(f"a {markup} b"), row("a < b > c | d [1]")]
    assert judge("special_tokens", rows) == [f"chat markup: {markup} in the text", None]
