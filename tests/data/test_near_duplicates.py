"""The filter `near_duplicates`: what is left of rows without what they share word for word."""

from __future__ import annotations

import random
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


def apart(instruction: str, given: str, answer: str, line: int = 1) -> Candidate:
    """A row as Alpaca has them."""
    ask = f"{instruction}\n\n{given}"
    return row(ask, answer, line=line, instruction=instruction, input=given)


def test_an_instruction_that_differs_by_a_word_makes_no_other_row() -> None:
    answer = "The ferry sails from early morning until late, when market and fishermen are done."
    first = apart("Summarise the following passage in one clear sentence.", PASSAGE, answer)
    for changed in (
        "Summarise the following passage in one short sentence.",
        "summarise the following passage in one clear sentence",
    ):
        [_, near] = said("near_duplicates", [first, apart(changed, PASSAGE, answer)])
        assert near is not None, changed
    passes = [
        first,
        apart("Ask who mends nets.", PASSAGE, "Who mends the nets?"),
        apart("Ask when it leaves.", PASSAGE, "When does the ferry leave?"),
        apart("Is there a market on the quay?", PASSAGE, "Yes"),
        apart("Does the ferry come back?", PASSAGE, "Yes"),
    ]
    assert said("near_duplicates", passes) == [None] * len(passes)


def test_a_long_instruction_makes_no_copies_of_short_rows() -> None:
    definition = PASSAGE * 3
    inputs = ["a red boat", "two old nets", "the quay at noon", "bees and a bell"]
    rows = [apart(definition, given, f"Word{i}") for i, given in enumerate(inputs)]
    again = [apart(definition[:-3], given, f"Word{i} here") for i, given in enumerate(inputs[::-1])]
    assert said("near_duplicates", [*rows, *again]) == [None] * 8


def test_planted_copies_of_rows_with_an_instruction_are_found() -> None:
    draw = random.Random(7)
    words = ["".join(draw.choices("bcdfglmnprst", k=3)) + draw.choice("aeiou") for _ in range(3000)]

    def grams(texts: tuple[str, ...]) -> set[tuple[str, ...]]:
        split = " ".join(texts).split()
        return set(zip(split, split[1:], split[2:], strict=False))

    def text(count: int) -> str:
        return " ".join(draw.choices(words, k=count))

    asked = [text(8) for _ in range(6)]
    rows = [(draw.choice(asked), text(draw.randint(12, 50)), text(draw.randint(15, 60)))
            for _ in range(400)]  # fmt: skip
    copies = []
    while len(copies) < 300:
        original = draw.choice(rows)
        changed = [part.split() for part in original]
        for _ in range(draw.randint(1, 4)):
            part = draw.choices(changed, weights=[len(p) for p in changed])[0]
            part[draw.randrange(len(part))] = draw.choice(words)
        copy = (" ".join(changed[0]), " ".join(changed[1]), " ".join(changed[2]))
        one, other = grams(original), grams(copy)
        if 0.8 <= len(one & other) / len(one | other) < 1:
            copies.append(copy)
    found = said("near_duplicates", [apart(*each) for each in [*rows, *copies]])
    assert found[:400] == [None] * 400
    assert sum(reason is not None for reason in found[400:]) >= 0.99 * 300
