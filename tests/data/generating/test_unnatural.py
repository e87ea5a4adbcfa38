"""Unnatural Instructions: what is read of weak texts, the filters, reformulations, replay."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted import Scripted, write

from luthier.data.config import SourceConfig
from luthier.data.files.sources import open_file
from luthier.data.formats.unnatural_instructions import rows as imported
from luthier.data.generating.unnatural import prompts, reading
from luthier.data.generating.unnatural.demonstrations import Demonstration, read_demonstrations
from luthier.data.generating.unnatural.settings import DEMONSTRATIONS
from luthier.data.generators.unnatural import build
from luthier.data.rows import Reject
from luthier.errors import DataError
from luthier.inference.config import BudgetSection
from luthier.inference.request import Choice, Completion, Request

GROUPS = read_demonstrations(DEMONSTRATIONS)
WORDS = [f"{a}{b}" for a in "bdfgklmnprstv" for b in ("ana", "oki", "ulo", "este", "irra")]


def asked_of(request: Request) -> str:
    return request.prompt if request.prompt is not None else request.messages[-1].content


def kind_of(request: Request) -> str:
    """example, output or reformulation."""
    asked = asked_of(request).rstrip()
    if asked.endswith("Output:"):
        return "output"
    return "reformulation" if asked.endswith("Alternative formulation:") else "example"


def words(request: Request, count: int) -> str:
    return " ".join(random.Random(f"{request.seed}").choices(WORDS, k=count))


def strong(request: Request) -> str:
    """A model that goes on in the form that it is shown."""
    kind = kind_of(request)
    if kind == "example":
        said = words(request, 7)
        return f"Instruction: Do {said}.\nInput: Thing: {said[:9]}\nConstraints: One word."
    if kind == "output":
        return f" Done: {asked_of(request).splitlines()[0]}"
    return f" Could you {words(request, 5)} {{INPUT}} for me?"


def but(kind: str, *texts: str) -> Callable[[Request], str]:
    """The strong model, except that the first answers of a kind are others."""
    left = list(texts)
    return lambda r: left.pop(0) if kind_of(r) == kind and left else strong(r)


def said(text: str, finish: str = "stop") -> Completion:
    return Completion((Choice(text, finish),), "m", 5, 5)


# --- demonstrations and prompts ----------------------------------------------------------------


def test_five_prompts_of_three() -> None:
    assert [len(group) for group in GROUPS] == [3] * 5
    every = [one for group in GROUPS for one in group]
    assert len({one.key for one in every}) == len({one.instruction for one in every}) == 15
    assert 0 < sum(not one.has_constraints for one in every) < 8
    for one in every:
        text = f"Instruction: {one.instruction}\nInput: {one.input}\nConstraints: {one.constraints}"
        again = reading.read_example(said(text))
        assert again == one, "what is shown can be read"


def test_prompts_have_the_form_of_the_paper() -> None:
    asked = prompts.example_prompt(GROUPS[0], chat=False)
    assert asked.startswith("Example 1\nInstruction: ") and asked.endswith("\n\nExample 4\n")
    assert re.findall(r"^(\w+)[: ]", asked, re.MULTILINE)[:4] == [
        "Example", "Instruction", "Input", "Constraints"]  # fmt: skip
    bound = Demonstration("Do it.", "x", "One word.")
    free = Demonstration("Do it.", "x", "None.")
    assert prompts.output_prompt(bound, chat=False).endswith("Constraints: One word.\nOutput:")
    assert prompts.output_prompt(free, chat=False) == "Instruction: Do it.\nInput: x\nOutput:"
    asked = prompts.reformulation_prompt("Do it.", chat=False)
    assert asked.endswith("\n\nInstruction: Do it.\nAlternative formulation:")
    assert asked.count("Alternative formulation:") == 3 and asked.count("{INPUT}") == 2
    assert "Constraints" not in asked


# --- reading weak texts ------------------------------------------------------------------------

WHOLE = Demonstration("Do it.", "Thing: x", "One word.")


@pytest.mark.parametrize(
    "text",
    [
        "Instruction: Do it.\nInput: Thing: x\nConstraints: One word.",
        "Example 4\nInstruction: Do it.\nInput: Thing: x\nConstraints: One word.",
        "**Example 4**\n**Instruction:** Do it.\n**Input:** Thing: x\n**Constraints:** One word.",
        "Sure, here is one!\n\nInstruction : Do it.\n\nInput : Thing: x\n\nConstraints : One word.",
        "### Instruction: Do it.\n### Input: Thing: x\n### Constraints: One word.\n### Output: y",
        "- Instructions: Do it.\n- Inputs: Thing: x\n- Constraint: One word.",
        "INSTRUCTION: Do it.\nINPUT: Thing: x\nCONSTRAINTS: One word.\n\nExample 5\nInstruction: G",
        "Instruction: Do it.\nInput: Thing: x\nConstraints: One word.\nInstruction: Go.\nInput: z",
        "Input: z\nInstruction: Do it.\nInput: Thing: x\nConstraints: One word.",
    ],
)
def test_markup_around_an_example_is_no_reason_to_lose_it(text: str) -> None:
    assert reading.read_example(said(text)) == WHOLE


def test_fields_may_have_several_lines() -> None:
    text = "Instruction: Do\nit.\nInput: a\n\nb\nOutput: c\nConstraints: One\nword."
    found = reading.read_example(said(text))
    assert found == Demonstration("Do\nit.", "a\n\nb\nOutput: c", "One\nword.")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        (" \n", "empty"),
        ("nothing of the kind", "field missing: there is no instruction"),
        ("Instruction: Do it.\nConstraints: One word.", "field missing: there is no input"),
        ("Instruction: Do it.\nInput: x", "field missing: there is no constraints"),
        ("Instruction: Do it.\nConstraints: None.\nInput: x", "field missing: there is no constr"),
        ("Instruction:\nInput: x\nConstraints: None.", "field missing: the instruction is empty"),
        ("Instruction: a\nInput:  \nConstraints: None.", "field missing: the input is empty"),
        ("Instruction: a\nInput: x\nConstraints:", "field missing: the constraints is empty"),
    ],
)
def test_what_is_no_example(text: str, reason: str) -> None:
    found = reading.read_example(said(text))
    assert isinstance(found, str) and found.startswith(reason)


def test_a_text_that_was_cut_has_its_first_example_if_it_is_whole() -> None:
    text = "Instruction: Do it.\nInput: Thing: x\nConstraints: One word."
    for end in ("\nOutput: something lo", "\n\nExample 5\nInstr"):
        assert reading.read_example(said(text + end, "length")) == WHOLE
    for short in (text, text[:30], "Instruction: Do"):
        assert str(reading.read_example(said(short, "length"))).startswith("cut off")


@pytest.mark.parametrize(
    ("text", "finish", "read", "reason"),
    [
        (" What is {INPUT}? ", "stop", "What is {INPUT}?", None),
        ('"What is {INPUT}?"', "stop", "What is {INPUT}?", None),
        ('"{INPUT}" or "x"?', "stop", '"{INPUT}" or "x"?', None),
        ("**Alternative formulation:** What is {INPUT}?", "stop", "What is {INPUT}?", None),
        ("What is\n{INPUT}?", "stop", "What is\n{INPUT}?", None),
        ("What is {INPUT}?\nInstruction: more", "length", "What is {INPUT}?", None),
        ("What is {INPUT} and", "length", "What is {INPUT} and", "reformulation cut off"),
        ("What is it?", "stop", "What is it?", "no placeholder"),
        ("What is {input}?", "stop", "What is {input}?", "no placeholder"),
        ("{INPUT} or {INPUT}?", "stop", "{INPUT} or {INPUT}?", "placeholder repeated"),
        ("{INPUT}.", "stop", "{INPUT}.", "reformulation empty"),
        ("", "stop", "", "reformulation empty"),
    ],
)
def test_reformulations(text: str, finish: str, read: str, reason: str | None) -> None:
    found, why = reading.read_reformulation(said(text, finish))
    assert found == read and (why or "").partition(":")[0] == (reason or "")


# --- the method --------------------------------------------------------------------------------


def made(**options: Any) -> Any:
    return build(**{"rows": 30, **options})


def test_an_example_an_output_and_two_reformulations(tmp_path: Path) -> None:
    backend = Scripted(strong)
    writing, _ = write(made(), backend, tmp_path / "log")
    assert len(writing.rows) == 30
    core = [row for row in writing.rows if row["instances"]]
    other = [row for row in writing.rows if not row["instances"]]
    assert len(core) == 10 and len(other) == 20
    by_id = {row["id"]: row for row in core}
    assert len(by_id) == 10
    for row in core:
        [one] = row["instances"]
        assert one["instruction_with_input"] == f"{row['instruction']}\n{one['input']}"
        assert one["constraints"] == "One word." and one["output"].startswith("Done:")
        assert len(row["calls"]) == 2 and "parents" not in row
    for row in other:
        [one] = row["reformulations"]
        [parent] = row["parents"]
        [origin] = by_id[parent]["instances"]
        assert one["input"] == origin["input"] and one["output"] == origin["output"]
        assert one["instruction"].count("{INPUT}") == 1 and "constraints" not in one
        assert one["instruction_with_input"] == one["instruction"].replace("{INPUT}", one["input"])
        assert row["instruction"] == by_id[parent]["instruction"] and len(row["calls"]) == 3
    assert Counter(row["prompt"] for row in core) == dict.fromkeys(range(1, 6), 2)


def test_settings_of_each_call_are_those_of_the_paper(tmp_path: Path) -> None:
    backend = Scripted(strong)
    write(made(), backend, tmp_path / "log")
    for request in backend.asked:
        if kind_of(request) == "output":
            assert request.temperature == 0 and request.top_p == 1
        else:
            assert request.temperature == 1 and request.top_p == 0.99 and request.seed is not None
    assert len({asked_of(r) for r in backend.asked if kind_of(r) == "example"}) == 5
    assert all(r.messages for r in _asked(made(chat=True), tmp_path / "chat"))


def _asked(method: Any, log: Path) -> list[Request]:
    backend = Scripted(strong)
    write(method, backend, log)
    return backend.asked


def test_the_importer_reads_what_is_written_without_loss(tmp_path: Path) -> None:
    writing, _ = write(made(), Scripted(strong), tmp_path / "log")
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in writing.rows))
    found = list(imported(open_file(path), SourceConfig(path=str(path))))
    assert len(found) == 30 and not any(isinstance(row, Reject) for row in found)
    for row, written in zip(found, writing.rows, strict=True):
        assert not isinstance(row, Reject) and row.messages is not None
        [one] = written["instances"] or written["reformulations"]
        asked = one["instruction_with_input"]
        limits = f"\n{one['constraints']}" if written["instances"] else ""
        assert [m.content for m in row.messages] == [asked + limits, one["output"]]
        kept = {k for k in written if k not in ("instances", "reformulations")}
        assert kept | set(one) <= set(row.fields), "nothing of the row is lost"
        assert row.fields["calls"] == written["calls"]


SHOWN = GROUPS[0][0]
ECHO = prompts.example_prompt(GROUPS[0], chat=False)
FILTERED = {
    "field missing": "Instruction: Do it.\nConstraints: One word.",
    "demonstration": (
        f"Instruction: {SHOWN.instruction}\nInput: {SHOWN.input}\nConstraints: None."
    ),
    "empty": " ",
    "cut off": "CUT Instruction: Do it.\nInput: x",
    "unfit": "UNFIT too long",
}


def test_a_model_that_repeats_the_prompt(tmp_path: Path) -> None:
    writing, _ = write(made(), Scripted(but("example", ECHO)), tmp_path / "log")
    assert writing.reasons == {"demonstration": 1}


@pytest.mark.parametrize("reason", FILTERED)
def test_each_filter_fires_on_its_case_and_only_there(tmp_path: Path, reason: str) -> None:
    backend = Scripted(but("example", FILTERED[reason]))
    writing, _ = write(made(), backend, tmp_path / "log")
    assert writing.reasons == {reason: 1} and len(writing.rows) == 30
    assert len([r for r in backend.asked if kind_of(r) == "output"]) == 10


def test_duplicates_are_no_matter_of_constraints_or_output(tmp_path: Path) -> None:
    same = "Instruction: Do  it.\nInput: Thing: x\nConstraints: "
    backend = Scripted(but("example", f"{same}None.", f"{same.replace('  ', ' ')}One word."))
    writing, _ = write(made(), backend, tmp_path / "log")
    assert writing.reasons == {"duplicate": 1}
    assert len([r for r in backend.asked if kind_of(r) == "output"]) == 10, "it was not paid for"


OUTPUTS = {"output empty": "\n", "output cut off": "CUT on and on", "output unfit": "UNFIT no"}


@pytest.mark.parametrize("reason", OUTPUTS)
def test_examples_without_an_output_are_left_out(tmp_path: Path, reason: str) -> None:
    writing, _ = write(made(), Scripted(but("output", OUTPUTS[reason])), tmp_path / "log")
    assert writing.reasons == {reason: 1} and len(writing.rows) == 30


def test_reformulations_are_tried_again_until_there_are_two(tmp_path: Path) -> None:
    texts = [
        "no place",
        "{INPUT} and {INPUT}",
        "Is it {INPUT}?",
        "Is it {INPUT}?",
        "CUT is {INPUT}",
    ]
    writing, _ = write(
        made(rows=3), Scripted(but("reformulation", *texts)), tmp_path / "log", window=1
    )
    assert writing.reasons == {
        "no placeholder": 1, "placeholder repeated": 1, "known formulation": 1,
        "reformulation cut off": 1,
    }  # fmt: skip
    assert len(writing.rows) == 3, "the fourth failure is not yet the fifth"
    core = writing.rows[0]["id"]
    assert all(row["parents"] == [core] for row in writing.left_out)


def test_after_five_failures_no_more_are_asked_for(tmp_path: Path) -> None:
    def weak(request: Request) -> str:
        return "no place" if kind_of(request) == "reformulation" else strong(request)

    backend = Scripted(weak)
    writing, _ = write(made(rows=6), backend, tmp_path / "log")
    assert len(writing.rows) == 6 and all(row["instances"] for row in writing.rows)
    assert len([r for r in backend.asked if kind_of(r) == "reformulation"]) == 5 * 6


@pytest.mark.parametrize("shown", prompts.SHOWN)
def test_what_the_prompt_shows_is_no_reformulation(tmp_path: Path, shown: str) -> None:
    writing, _ = write(made(), Scripted(but("reformulation", shown)), tmp_path / "log")
    assert writing.reasons == {"known formulation": 1} and len(writing.rows) == 30
    assert writing.left_out[0]["reason"].endswith("one that the prompt shows")


def test_a_copy_of_the_instruction_is_no_reformulation(tmp_path: Path) -> None:
    def copies(request: Request) -> str:
        if kind_of(request) != "reformulation":
            return strong(request)
        return re.findall(r"Instruction: (.*)\n", asked_of(request))[-1] + "\n{INPUT}"

    writing, _ = write(made(rows=2), Scripted(copies), tmp_path / "log")
    assert set(writing.reasons) == {"known formulation"}


def same_instruction(request: Request) -> str:
    if kind_of(request) != "example":
        return strong(request)
    return f"Instruction: Do it.\nInput: {words(request, 3)}\nConstraints: None."


def test_reformulations_go_with_all_inputs_of_their_instruction(tmp_path: Path) -> None:
    """Section 2.2: so 68,478 examples became 240,670 rows."""
    writing, _ = write(made(rows=10), Scripted(same_instruction), tmp_path / "log", window=1)
    pairs = [
        (one["instruction"], one["input"]) for row in writing.rows for one in row["reformulations"]
    ]
    wordings, inputs = {said for said, _ in pairs}, {given for _, given in pairs}
    assert len(wordings) == 4 and len(inputs) == 2 and len(pairs) == 8
    assert set(pairs) == {(said, given) for said in wordings for given in inputs}
    for row in writing.rows:
        for one in row["reformulations"]:
            [parent] = row["parents"]
            origin = next(r for r in writing.rows if r["id"] == parent)
            assert origin["instances"][0]["output"] == one["output"]
    alone, _ = write(
        made(rows=12, cross_reference=False), Scripted(same_instruction), tmp_path / "alone"
    )
    assert sum(bool(row["instances"]) for row in alone.rows) == 4


def test_the_result_does_not_depend_on_who_answers_first(tmp_path: Path) -> None:
    def mixed(request: Request) -> str:
        chance = random.Random(f"{request.seed} {asked_of(request)}").random()
        if chance < 0.3:
            return ["nothing", "CUT x", "UNFIT y", ""][int(chance * 40) % 4]
        return same_instruction(request) if chance < 0.5 else strong(request)

    found = []
    for order in (None, 1, 2):
        writing, _ = write(made(rows=40), Scripted(mixed, order), tmp_path / str(order))
        found.append(json.dumps([writing.rows, writing.left_out]))
        assert len(writing.rows) == 40 and len(writing.reasons) >= 5
    assert len(set(found)) == 1


def test_made_again_from_the_log_without_a_model(tmp_path: Path) -> None:
    first, _ = write(made(), Scripted(strong), tmp_path / "log")

    def nobody(request: Request) -> str:
        raise AssertionError("asked again")

    again, _ = write(made(), Scripted(nobody), tmp_path / "log")
    assert (again.rows, again.left_out) == (first.rows, first.left_out)
    assert again.session.tally.calls == 0


def test_a_budget_stops_and_the_next_goes_on_from_there(tmp_path: Path) -> None:
    whole, _ = write(made(), Scripted(strong), tmp_path / "whole")
    budget = BudgetSection(calls=25)
    part, stopped = write(made(), Scripted(strong), tmp_path / "log", budget=budget)
    assert stopped and "25 calls" in stopped
    assert 0 < len(part.rows) < 30 and part.rows == whole.rows[: len(part.rows)]
    rest, _ = write(made(), Scripted(strong), tmp_path / "log")
    assert rest.rows == whole.rows


def test_little_more_is_asked_for_than_is_needed(tmp_path: Path) -> None:
    backend = Scripted(strong)
    write(made(rows=30), backend, tmp_path / "log", window=64)
    # Ten examples bring 30 rows, for 40 calls.
    assert len(backend.asked) <= 60


def test_a_model_that_repeats_itself_is_given_up(tmp_path: Path) -> None:
    backend = Scripted(lambda r: FILTERED["demonstration"] if kind_of(r) == "example" else "x")
    writing, stopped = write(made(patience=20), backend, tmp_path / "log")
    assert not writing.rows and stopped is None and 20 <= len(backend.asked) < 40
    assert set(writing.reasons) == {"demonstration"}
    assert "requests in a row brought no new example" in writing.notes[-1]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"rows": 0}, "rows is 0, expected a whole number of at least 1"),
        ({"top_p": 1.5}, "top_p is 1.5, expected a number from 0 to 1"),
        ({"chat": "yes"}, "chat is 'yes', expected true or false"),
        ({"reformulations": -1}, "reformulations is -1"),
        ({"demonstrations": 5}, "demonstrations is 5, expected a file"),
        ({"demonstrations": "nowhere.jsonl"}, "no such file"),
    ],
)
def test_mistakes_are_told(options: dict[str, Any], told: str) -> None:
    with pytest.raises(DataError, match=re.escape(told)):
        build(**options)


def test_demonstrations_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    lines = [f"Do {i}.,thing {i}," for i in range(5)]
    path.write_text("instruction,input,constraints\n" + "\n".join(lines) + "\n")
    groups = read_demonstrations(str(path))
    assert [len(group) for group in groups] == [3, 2]
    assert groups[0][0].constraints == "None."
    backend = Scripted(strong)
    write(made(demonstrations=str(path)), backend, tmp_path / "log")
    ends = {asked_of(r).splitlines()[-1] for r in backend.asked if kind_of(r) == "example"}
    assert ends == {"Example 4", "Example 3"}
    path.write_text("instruction,input,constraints\n,x,None\nDo.,,\n")
    with pytest.raises(DataError) as told:
        read_demonstrations(str(path))
    assert "mine.csv:2: the instruction is empty" in str(told.value)
    assert "mine.csv:3: the input is empty" in str(told.value)


PIECES = st.sampled_from(
    ["Instruction:", "Input:", "**Constraints:**", "Output:", "Example 5", "{INPUT}", '"', "\n",
     " ", "Alternative formulation:", "word", "None.", "\ud83d", "#", "*", "-", ":"]
)  # fmt: skip


@given(st.lists(PIECES, max_size=30), st.sampled_from(["stop", "length"]))
def test_whatever_a_model_writes_is_an_example_or_has_a_reason(
    pieces: list[str], finish: str
) -> None:
    text = "".join(pieces)
    found = reading.read_example(said(text, finish))
    if isinstance(found, str):
        assert re.match(r"(empty|cut off|field missing): \w", found)
    else:
        assert found.instruction.strip() and found.input.strip() and found.constraints.strip()
    read, why = reading.read_reformulation(said(text, finish))
    if why is None:
        assert read.count("{INPUT}") == 1 and re.search(r"\w", read.replace("{INPUT}", ""))


@pytest.mark.parametrize("text", ["*" * 10**5, " " * 10**5 + "*" * 10**5, "\n -" * 10**5])
def test_a_text_that_is_all_marks_is_read_at_once(text: str) -> None:
    """By time that grows with the square of the length this would take ten minutes."""
    assert isinstance(reading.read_example(said(text)), str)
    assert reading.read_reformulation(said(text))[1]
