"""`compat: original` decides as the published rules, row for row; the default without warts."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import reference_self_instruct as reference
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.data.generating.self_instruct.instances import read_instances
from luthier.data.generating.self_instruct.instructions import read_instructions
from luthier.data.generating.self_instruct.pool import TaskPool
from luthier.data.generating.self_instruct.prompts import instructions_prompt
from luthier.data.generating.self_instruct.seeds import Task
from luthier.data.generating.self_instruct.settings import Settings, checked
from luthier.data.generating.self_instruct.steps import says_yes, unnamed

ORIGINAL = checked(compat="original")
USUAL = checked()

NUMBERS = ("\n9. ", "\n10. ", "\n11 . ", "\n12.", "\n 13. ", "\n14) ", "\n15.  ", "\n", "\n\n3. ")
TASKS = (
    "Describe the smell of rain on a warm road.",
    "describe THE smell of rain on a warm road",
    "Translate the greeting into Welsh and Breton.",
    "Tell who wrote the NASA report in Paris.",
    "Draw a house with a red roof.",
    "Withdraw money from the account safely.",
    "Map the words to their plurals.",
    "Explain how maps are made.",
    "Go to the shop and buy milk.",
    "Let us go tomorrow to the lake.",
    "Open the file and count lines.",
    "Profile the engineer well.",
    "Write a program that sorts names.",
    "write A Program that sorts names.",
    "Write programs now.",
    "Sort.",
    "Sort the list",
    "Sort the short list",
    '"Quote" a line from a poem.',
    "- item of a list here",
    "(a) choose one of the letters",
    "École means what in plain English?",
    "écrire une lettre à sa tante",
    "Übersetze den Satz ins Englische bitte.",
    "これは 何 です か ?",
    "请 把 句子 翻译 成 英文",
    "ßtrange words to be found here",
    "9. Number an item twice in a row",
    "Plot the points in order.",
    "Name one graphic novel you like.",
    "word " * 150,
    "word " * 151,
    "Find\tthe  odd\nword out please",
    "",
    "   ",
    "…and then what happened next?",
    "a b c d e f g",
    "a b c d e f h",
    "one two three four five six seven eight nine ten",
    "one two three four five six seven x y z",
    "\ud83d half a pair of signs here",
    "İstanbul is a city of two parts",
    "\x1cControl characters are at the front",
    "Name 5 rivers: long ones first",
    "* bold start of a task here",
)


def rule_of(reason: str | None) -> str | None:
    return None if reason is None else reason.partition(":")[0]


def completion(chance: random.Random) -> tuple[str, str]:
    """A completion with warts."""
    parts = []
    for _ in range(chance.randrange(9)):
        task = chance.choice(TASKS)
        if chance.random() < 0.4:  # some variation, or nothing is novel for long
            words = task.split(" ")
            chance.shuffle(words)
            task = " ".join([*words, f"{chance.choice('abcdef')}{chance.randrange(40)}"])
        parts += [task, chance.choice(NUMBERS)]
    return "".join(parts[: None if chance.random() < 0.5 else -1]), chance.choice(
        ("stop", "stop", "stop", "length")
    )


def decided(
    completions: list[tuple[str, str]], seeds: list[str], options: Settings
) -> list[dict[str, Any]]:
    """What luthier decides, in the form of the reference."""
    tasks = [Task(str(n), seed, False) for n, seed in enumerate(seeds)]
    pool, found = TaskPool(options, tasks), []
    for text, finish_reason in completions:
        for instruction, reason in read_instructions(text, finish_reason, options):
            about: dict[str, Any] = {}
            if reason is None:
                reason, about = pool.like(instruction)
            found.append({"instruction": instruction, "rule": rule_of(reason), **about})
    return found


SEEDS = [
    "Explain why the sea is salty.",
    "Name a colour that fits the mood.",
    "a b c d e f g h i j",
    "Write the shopping list as a table.",
    "one two three four five six seven eight nine ten",
    "Count the syllables of the word.",
    "Tell a story that ends well.",
    "Give the plural of the noun.",
]


@pytest.mark.parametrize("seed", range(2))
def test_instructions_as_the_original_decides(seed: int) -> None:
    chance = random.Random(seed)
    completions = [completion(chance) for _ in range(100)]
    wanted = reference.bootstrap(completions, SEEDS)
    found = [one for one in decided(completions, SEEDS, ORIGINAL) if one["rule"] != "truncated"]
    assert found == wanted
    assert len({one["rule"] for one in wanted}) >= 8, "every rule was put to the test"


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.lists(
                st.one_of(st.sampled_from(TASKS), st.sampled_from(NUMBERS), st.text(max_size=30)),
                max_size=8,
            ).map("".join),
            st.sampled_from(("stop", "length", "content_filter")),
        ),
        max_size=4,
    )
)
def test_any_completion_is_decided_as_the_original_decides(
    completions: list[tuple[str, str]],
) -> None:
    wanted = reference.bootstrap(completions, SEEDS)
    found = [one for one in decided(completions, SEEDS, ORIGINAL) if one["rule"] != "truncated"]
    assert found == wanted
    for text, finish_reason in completions:  # by default it may decide what it likes, but decides
        for instruction, _ in read_instructions(text, finish_reason, USUAL):
            assert instruction.strip() == instruction != ""


def test_ties_at_the_threshold_are_the_originals() -> None:
    """F1 is 7/10 for both; one is 0.7000000000000001 in floating point."""
    pairs = []
    for common, one, other in ((7, 10, 10), (7, 8, 12), (14, 20, 20), (14, 15, 25), (21, 29, 31)):
        shared = [f"w{n}" for n in range(common)]
        seed = " ".join([*shared, *(f"s{n}" for n in range(other - common))])
        new = " ".join([*shared, *(f"n{n}" for n in range(one - common))])
        found = decided([(new, "stop")], [seed] * 8, ORIGINAL)
        assert found == reference.bootstrap([(new, "stop")], [seed] * 8)
        pairs.append(found[0]["rule"])
    assert set(pairs) == {None, "not novel"}


def test_by_default_words_keep_their_case_and_scripts_count() -> None:
    text = (
        " Tell a friend from Paris what NASA does\n10.Write a Program in Python to sort names\n"
        "11) écris une lettre à ta tante\n12. 请把这个句子翻译成英文\n13. Sort.\n"
        "14. «Alt» oder neu, was meinst du"
    )
    found = {one: rule_of(reason) for one, reason in read_instructions(text, "stop", USUAL)}
    assert found == {
        "Tell a friend from Paris what NASA does": None,
        "Write a Program in Python to sort names": "program",
        "Écris une lettre à ta tante": None,
        "请把这个句子翻译成英文": None,
        "Sort.": "too short",
        "«Alt» oder neu, was meinst du": "punctuation",
    }
    assert not [one for one, reason in read_instructions(text, "stop", ORIGINAL) if "Paris" in one]


def test_only_what_was_cut_off_is_lost() -> None:
    text = " Name a bird that sings at night.\n10. Explain how a clock is wou"
    found = list(read_instructions(text, "length", USUAL))
    assert [rule_of(reason) for _, reason in found] == [None, "truncated"]
    assert [rule_of(r) for _, r in read_instructions(text, "length", ORIGINAL)] == ["truncated"]


def test_non_latin_instructions_are_compared_by_default() -> None:
    twice = [("请 把 这个 句子 翻译 成 英文", "stop")] * 2
    assert [one["rule"] for one in decided(twice, SEEDS, USUAL)] == [None, "not novel"]
    arabic = [("اكتب رسالة قصيرة إلى صديق قديم", "stop")] * 2
    assert [one["rule"] for one in decided(arabic, SEEDS, USUAL)] == [None, "not novel"]


def test_a_prompt_lists_tasks_and_breaks_off() -> None:
    prompt = instructions_prompt(["Say  it\n twice:", "Sing."], classification=False)
    assert prompt.endswith("\n1. Say it twice\n2. Sing.\n3.")


# --- instances ---------------------------------------------------------------------------------

PIECES = (
    "Example 1\n",
    "Example 2.\n",
    "\nExample\n",
    "Example3",
    "For Example, this",
    "Input: ",
    "Input 2 - List: ",
    "\nOutput: ",
    "Output 1:",
    "Output:\n",
    "the Output: of it",
    "Text: a cat sat\n",
    "List: 1, 2\n",
    "a cat sat",
    "ends with:",
    "\nClass label: ",
    "Class label: yes\n",
    "Class label: no\nText: a cat sat\n",
    "class label: x\n",
    "\n",
    "\n\n",
    " ",
    "yes",
    "no",
    "Task: other",
    "Sentence: é ü 句子\n",
    ":",
    "Output",
    "Example",
)


def kept(text: str, finish: str, closed: bool, *, original: bool) -> list[tuple[str, str]]:
    found = read_instances(text, finish, classification=closed, original=original)
    return [(one.input, one.output) for one in found if one.reason is None]


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=8)), max_size=14).map("".join),
    st.sampled_from(("stop", "length")),
    st.booleans(),
)
def test_instances_as_the_original_decides(text: str, finish: str, closed: bool) -> None:
    wanted = reference.instances_of(text, finish, closed)
    assert kept(text, finish, closed, original=True) == wanted
    for given_, output in kept(text, finish, closed, original=False):
        assert output and given_ != output


@pytest.mark.parametrize("seed", range(3))
def test_hundreds_of_instances_as_the_original_decides(seed: int) -> None:
    chance, some, several = random.Random(seed), 0, 0
    for _ in range(400):
        text = "".join(chance.choice(PIECES) for _ in range(chance.randrange(12)))
        finish, closed = chance.choice(("stop", "stop", "length")), chance.random() < 0.5
        wanted = reference.instances_of(text, finish, closed)
        assert kept(text, finish, closed, original=True) == wanted
        some, several = some + bool(wanted), several + (len(wanted) > 1)
    assert some > 60 and several > 10, "not only rejections were compared"


def test_kinds_as_the_original_reads_them() -> None:
    for text in (" Yes", "yes", "YES", "Yes.", "No", "yep", "", "Yes, it", " yEs"):
        assert says_yes(text, original=True) == reference.is_classification(text)
    assert [says_yes(t, original=False) for t in (" Yes.", "yes, it", "No", "yesterday")] == [
        True, True, False, False,
    ]  # fmt: skip


CONFLICT = (
    "Example 1\nText: a\nOutput: x\nExample 2\nText: a\nOutput: y\nExample 3\nText: b\nOutput: z"
)


def test_a_contradiction_costs_only_what_contradicts() -> None:
    assert kept(CONFLICT, "stop", False, original=True) == []
    assert kept(CONFLICT, "stop", False, original=False) == [("Text: b", "z")]


def test_words_of_a_text_are_no_marks() -> None:
    text = "Example 1\nText: For Example, call it.\nOutput: The Output: field is for results."
    assert kept(text, "stop", False, original=False) == [
        ("Text: For Example, call it.", "The Output: field is for results.")
    ]
    assert kept(text, "stop", False, original=True) != kept(text, "stop", False, original=False)


@pytest.mark.parametrize(
    "mark", ["Example 1", "**Example 1:**", "## Example 1.", "Example", "Example 1 -"]
)
def test_marks_as_models_write_them(mark: str) -> None:
    again = mark.replace("1", "2")
    text = f"{mark}\nText: a\n**Output:** b\nExample 3 shows it.\n{again}\nText: c\nOutput: d"
    assert kept(text, "stop", False, original=False) == [
        ("Text: a", "b\nExample 3 shows it."), ("Text: c", "d"),
    ]  # fmt: skip


def test_an_example_without_output_is_none() -> None:
    text = "Sure, here they are:\nExample 1\nText: just words\nExample 2\nText: more\nOutput: yes"
    assert kept(text, "stop", False, original=False) == [("Text: more", "yes")]
    # The original takes all of the first for an output that needs no input.
    assert ("", "Text: just words") in kept(text, "stop", False, original=True)


def test_the_name_of_the_only_field_goes() -> None:
    assert unnamed("Text: a b\n\nc", original=False) == "a b\nc"
    assert unnamed("Text: a\nTopic: b", original=False) == "Text: a\nTopic: b"
    assert unnamed("We met at 10:30.", original=False) == "We met at 10:30."
    assert unnamed("We met at 10:30.", original=True) == "30."


def test_the_reference_imports_nothing_of_luthier() -> None:
    text = Path(reference.__file__).read_text()
    assert "import luthier" not in text and "from luthier" not in text
