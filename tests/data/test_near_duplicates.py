"""The filter `near_duplicates`: what is left of rows without what they share word for word."""

from __future__ import annotations

from typing import Any

from filter_rows import row, said

from luthier.data.candidate import Candidate
from luthier.names import FILTERS

PASSAGE = (
    "The ferry leaves the harbour at six in the morning and comes back late in the evening, when "
    "the market on the quay has closed and the last fishermen are mending their nets. "
)
QUESTIONS = (
    "When does the ferry leave?", "Where are nets mended?", "What has closed by the evening?",
    "Who mends the nets?",
)  # fmt: skip


def about(passage: str, question: str, answer: str, *, definition: str = "") -> Candidate:
    """A row that a template asks with several fields."""
    parts = [part for part in (definition, passage, question) if part]
    found = row("\n".join(parts), answer)
    found.parts = parts
    return found


def test_questions_about_one_passage_are_no_duplicates() -> None:
    rows = [about(PASSAGE, question, f"Answer {i}.") for i, question in enumerate(QUESTIONS)]
    assert said("near_duplicates", rows) == [None] * len(rows)
    together: Any = FILTERS.build("near_duplicates")
    together.prepare(rows)  # as a build does, block by block
    for each in rows:
        assert together(each) is None
        together.remember(each)


def test_the_first_row_about_a_passage_is_found_too() -> None:
    first = about(
        PASSAGE, "When does the ferry leave the harbour in the morning?", "At six o'clock."
    )
    again = about(
        PASSAGE, "When does the ferry leave the harbour in the morning", "At six o'clock!"
    )
    other = about(PASSAGE, "Who mends the nets?", "The last fishermen on the quay.")
    copy = about(PASSAGE, "Who mends the nets", "The last fishermen on the quay.")
    [none, near, kept, late] = said("near_duplicates", [first, again, other, copy])
    assert none is None and kept is None
    assert near is not None and near.startswith("near-duplicate: 1.00 similar to")
    assert late is not None and late.startswith("near-duplicate: 1.00 similar to")


def test_what_is_left_of_a_row_decides() -> None:
    words = "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda"
    changed = words.replace("kappa lambda", "mu nu")  # 7 of 11 word 3-grams
    other = words.replace("beta", "xi").replace("zeta", "omicron").replace("kappa", "rho")
    first = about(PASSAGE, words, "one")
    [_, near] = said("near_duplicates", [first, about(PASSAGE, changed, "one")])
    assert near is not None, "a few words changed, wherever they stand"
    assert said("near_duplicates", [first, about(PASSAGE, other, "one")]) == [None, None]


def test_a_definition_and_a_passage_that_others_have_too() -> None:
    definition = (
        "You are given a passage and a question about it. Answer in one short sentence that "
        "stands for itself, with nothing that the passage does not say."
    )
    elsewhere = (
        "Nobody lives on the island any more, but two brothers row over every Sunday to look after "
        "the bees and to ring the bell of the chapel, which has no roof. "
    )
    rows = [
        about(passage, question, f"Answer {i} of {len(passage)}.", definition=definition)
        for passage in (PASSAGE, elsewhere)
        for i, question in enumerate(QUESTIONS)
    ]
    copy = about(PASSAGE, QUESTIONS[2], f"Answer 2 of {len(PASSAGE)}.", definition=definition)
    assert said("near_duplicates", rows) == [None] * len(rows)
    assert said("near_duplicates", [*rows, copy])[-1] is not None


def test_a_passage_with_one_word_changed_is_the_same_passage() -> None:
    changed = PASSAGE.replace("late", "early")
    rows = [about(PASSAGE, QUESTIONS[0], "At six."), about(changed, QUESTIONS[0], "At six.")]
    assert said("near_duplicates", rows)[1] is not None


def test_the_same_question_answered_anew_is_no_duplicate() -> None:
    ask = PASSAGE + "Write a question about this passage."
    rows = [row(ask, answer) for answer in QUESTIONS]
    assert said("near_duplicates", rows) == [None] * len(rows)
    assert said("near_duplicates", [*rows, row(ask, QUESTIONS[1])])[-1] is not None


def test_labels_keep_the_same_sentence_apart() -> None:
    rows = [row(PASSAGE, label, labels=["a", "b"]) for label in ("a", "b", "b", "a")]
    found = said("near_duplicates", rows)
    assert found[:2] == [None, None] and all(found[2:])
