"""Evol-Instruct's rules one by one, its prompts, and how often each operation is drawn."""

from __future__ import annotations

import re

import pytest
from scipy.stats import chisquare

from luthier.data.generating.evol_instruct import elimination, prompts
from luthier.data.generating.evol_instruct.data_formats import DATA_FORMATS
from luthier.data.generating.evol_instruct.elimination import Evolution

GOOD = Evolution(
    given="Name three rivers.",
    evolved="Name three rivers of Asia that cross more than two borders, longest first.",
    judgement="Not Equal",
    response="The Mekong, the Brahmaputra and the Syr Darya.",
)
ALL = {**elimination.EVOLVED, **elimination.JUDGED, **elimination.ANSWERED}
PLANTED = {
    "unchanged": {"evolved": " name three  rivers."},
    "leaked_prompt": {"evolved": "#Rewritten Prompt#: Name three long rivers of Asia."},
    "newlines": {"evolved": "Name\n\n\nthree\n\n\nrivers\n\n\nof Asia"},
    "bare_list": {"evolved": "Name rivers:" + "\n- one of them" * 11},
    "assistant_talk": {"evolved": "How can I assist you with rivers?"},
    "apology": {"evolved": "I'm sorry, rivers cannot be made harder."},
    "no_information_gain": {"judgement": "Equal."},
    "refusal": {"response": "Sorry, I do not know any rivers."},
    "no_content": {"response": "It is... the!"},
}


def fired(it: Evolution) -> list[str]:
    return [name for name, rule in ALL.items() if rule(it)]


def test_what_is_good_passes_every_rule() -> None:
    assert fired(GOOD) == []


def test_every_rule_is_planted() -> None:
    assert set(PLANTED) == set(elimination.RULES) and set(elimination.PAPER) < set(PLANTED)


@pytest.mark.parametrize("name", PLANTED)
def test_a_rule_fires_on_its_case_and_no_other_does(name: str) -> None:
    it = Evolution(**{f: getattr(GOOD, f) for f in Evolution.__slots__} | PLANTED[name])
    assert fired(it) == [name]
    reason = ALL[name](it)
    assert reason and ":" in reason


@pytest.mark.parametrize(
    ("words", "is_refusal"),
    [(79, True), (80, False), (81, False)],
)
def test_a_long_answer_may_say_sorry(words: int, is_refusal: bool) -> None:
    response = " ".join(["Sorry", *["word"] * (words - 1)])
    found = elimination.refusal(Evolution("a", "b", "", response))
    assert (found is not None) == is_refusal


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("Not Equal", None),
        ("not equal.", None),
        ("They are not the same", None),
        ("**Not equal**", None),
        ("Different", None),
        ("The first prompt is not entirely equal to the second.", None),
        ("They aren't equal", None),
        ("Unequal", None),
        ("Not Equal, though both are equal in length", None),
        ("Equal, they are not different", "no information gain"),
        ("They aren't really different", "no information gain"),
        ("No different from each other", "no information gain"),
        ("No they are different", None),
        ("No they are equal", "no information gain"),
        ("Equal. Not different, not unequal.", "no information gain"),
        ("Equal", "no information gain"),
        ("The two prompts are equal", "no information gain"),
        ("Equality of rivers", "no judgement"),
        ("", "no judgement"),
        ("Yes", "no judgement"),
    ],
)
def test_judgements(said: str, reason: str | None) -> None:
    found = elimination.no_information_gain(Evolution("a", "b", said))
    assert (found or "").partition(":")[0] == (reason or "")


@pytest.mark.parametrize(
    ("response", "is_empty"),
    [
        ("...", True), ("—?!", True), ("the of and", True), ("It's not.", True), ("42", False),
        ("→", False), ("Paris", False), ("北京", False), ("== ~ |", True), ("no", True),
    ],
)  # fmt: skip
def test_responses_without_content(response: str, is_empty: bool) -> None:
    found = elimination.no_content(Evolution("a", "b", "", response))
    assert (found is not None) == is_empty


@pytest.mark.parametrize(
    ("given", "evolved", "leak"),
    [
        ("Sort it.", "Sort it as the given prompt says.", "given prompt"),
        ("Sort it.", "#Created Prompt#: sort them.", "#Created Prompt#"),
        ("Sort it.", "#The Given Prompt# sort it, twice", "#The Given Prompt#"),
        ("Sort it.", "I am a Prompt Rewriter.", "Prompt Rewriter"),
        ("Write a story after the given prompt.", "Write two after the given prompt.", None),
        ("Sort it.", "Sort what you are given promptly.", None),
        ("Sort it.", "Sort it; a command prompt is given.", None),
    ],
)
def test_words_of_the_prompt(given: str, evolved: str, leak: str | None) -> None:
    found = elimination.leaked_prompt(Evolution(given, evolved))
    assert (f"'{leak}'" in found) if leak and found else found == leak


@pytest.mark.parametrize("operation", prompts.OPERATIONS)
def test_a_model_that_repeats_the_prompt(operation: str) -> None:
    asked = prompts.evolve(operation, "Sort it.", "json")
    assert elimination.leaked_prompt(Evolution("Sort it.", asked))


def test_prompts_have_their_parts() -> None:
    given = "Sort these:\n| b | a |"
    for operation in prompts.OPERATIONS:
        asked = prompts.evolve(operation, given, "xml")
        assert given in asked
        marks = (
            (prompts.SOURCE, prompts.CREATED)
            if operation == "breadth"
            else (prompts.GIVEN, prompts.REWRITTEN)
        )
        assert asked.endswith(f"{marks[0]}:\n{given}\n{marks[1]}:\n")
        for mark in marks:
            assert f"'{mark}'" in asked, "it is said that marks must not appear"
        assert ("10 to 20 words" in asked) == (operation != "breadth")
    assert len({prompts.evolve(o, given, "xml") for o in prompts.OPERATIONS}) == 6


@pytest.mark.parametrize("name", DATA_FORMATS)
def test_complicated_inputs_are_shown(name: str) -> None:
    wanted = DATA_FORMATS[name]
    asked = prompts.evolve("complicate_input", "Name a river.", name)
    assert wanted.name in asked
    assert asked.count(prompts.REWRITTEN + ":\n") == len(wanted.shown) + 1
    for shown in wanted.shown:
        assert shown.rewritten in asked
        # What is shown is good, except that it is shown.
        it = Evolution(shown.given, shown.rewritten)
        found = [reason for rule in elimination.EVOLVED.values() if (reason := rule(it))]
        assert len(found) == 1 and found[0].endswith("which the prompt shows")
        assert re.search(r"[<{(\[|]|find|ls", shown.rewritten), "there is data in it"


def test_the_forms_are_the_six_of_the_paper() -> None:
    assert set(DATA_FORMATS) == {"xml", "sql", "python", "html", "shell", "json"}


def test_evenly_drawn_counts_pass_and_lopsided_ones_do_not() -> None:
    """The measure that `test_evol_instruct.py` uses can fail."""
    assert chisquare([100, 104, 98, 97, 101, 100]).pvalue > 0.01
    assert chisquare([150, 90, 90, 90, 90, 90]).pvalue < 0.01
