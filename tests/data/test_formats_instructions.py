"""Importers of instructions with answers: Alpaca and its relatives, FLAN, P3, chains of thought."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from format_rows import one, read, reason

from luthier.data.config import SourceConfig
from luthier.data.formats import (
    alpaca,
    chain_of_thought,
    evol_instruct,
    flan,
    instructwild,
    p3,
    self_instruct,
    unnatural_instructions,
)
from luthier.data.rows import Reject, Row, Table
from luthier.errors import DataError
from luthier.example import Message

SOURCE = SourceConfig(path="rows")


def said(row: Row) -> list[tuple[str, str]]:
    return [(m.role, m.content) for m in row.messages]


# --- Alpaca ------------------------------------------------------------------------------------


def test_alpaca_asks_with_instruction_and_input() -> None:
    row = one(alpaca, {"instruction": "Add.", "input": "1, 2", "output": "3", "id": 7})
    assert said(row) == [("user", "Add.\n\n1, 2"), ("assistant", "3")]
    assert row.fields == {"instruction": "Add.", "input": "1, 2", "output": "3", "id": 7}
    assert said(one(alpaca, {"instruction": "Say x.", "output": "x"}))[0] == ("user", "Say x.")


def test_alpaca_answers_go_by_several_names() -> None:
    row = one(alpaca, {"instruction": "Add.", "context": "1, 2", "response": 3})
    assert said(row) == [("user", "Add.\n\n1, 2"), ("assistant", "3")]
    assert row.fields["output"] == "3" and row.fields["input"] == "1, 2"
    assert row.fields["response"] == 3, "the file's own value stays"


def test_alpaca_columns_may_be_capitalised() -> None:
    for importer in (alpaca, evol_instruct):
        row = one(importer, {"Instruction": "Add.", "Input": "1, 2", "Output": "3"})
        assert said(row) == [("user", "Add.\n\n1, 2"), ("assistant", "3")]
        assert row.fields["output"] == "3" and row.fields["input"] == "1, 2"


def test_alpaca_keeps_earlier_turns_and_the_system_message() -> None:
    row = one(alpaca, {"instruction": "c", "input": "", "output": "d", "system": "S",
                       "history": [["a", "b"]]})  # fmt: skip
    assert said(row) == [("system", "S"), ("user", "a"), ("assistant", "b"), ("user", "c"),
                         ("assistant", "d")]  # fmt: skip


def test_alpaca_reads_earlier_turns_by_role_too() -> None:
    history = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    row = one(alpaca, {"instruction": "c", "output": "d", "history": history})
    assert said(row) == [("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d")]
    assert "the last message is from user" in reason(
        alpaca, {"instruction": "c", "output": "d", "history": history[:1]}
    )


@pytest.mark.parametrize(
    ("record", "why"),
    [
        ({"instruction": "a", "output": ""}, "no answer: instruction only (format option answers"),
        ({"instruction": "a"}, "no answer: instruction only"),
        ({"instruction": " ", "input": "", "output": "b"}, "nothing asked: "),
        ({"instruction": ["a"], "output": "b"}, "wrong type: 'instruction' holds a list"),
        ({"instruction": "a", "output": {}}, "wrong type: 'output' holds an object"),
        ({"instruktion": "a", "output": "b"}, "Did you mean 'instruktion'?"),
        ({"instruction": "a", "output": "b", "history": "x"}, "wrong type: 'history' holds a text"),
        ({"instruction": "a", "output": "b", "history": [["x"]]}, "pair 1 of 'history' is no pair"),
        ({"instruction": "a", "output": "b", "history": [["x", ""]]}, "message 2 (assistant) is"),
    ],
)
def test_alpaca_rows_that_lack_something_are_rejected(record: dict[str, Any], why: str) -> None:
    assert why in reason(alpaca, record)


def test_questions_alone_can_be_kept() -> None:
    row = one(alpaca, {"instruction": "a"}, answers="optional")
    assert said(row) == [("user", "a")] and "output" not in row.fields
    with pytest.raises(DataError, match=r"answers is 'maybe', expected one of required, optional"):
        read(alpaca, {"instruction": "a"}, answers="maybe")


def test_evol_instruct_comes_in_several_forms() -> None:
    talk = [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]
    for record in ({"instruction": "a", "output": "b"}, {"input": "a", "output": "b"},
                   {"conversations": talk}):  # fmt: skip
        row = one(evol_instruct, record)
        assert said(row) == [("user", "a"), ("assistant", "b")]
    test_set = {"idx": 1, "Skill": "Math", "Difficulty": 1, "Instruction": "a"}
    assert reason(evol_instruct, test_set).startswith("no answer: ")
    row = one(evol_instruct, test_set, answers="optional")
    assert row.fields["instruction"] == "a" and row.fields["Skill"] == "Math"


# --- InstructWild ------------------------------------------------------------------------------


def wild(path: Path, text: str) -> list[Row | Reject]:
    path.write_bytes(text.encode())
    table = instructwild.open_file(path, path.name)
    return list(instructwild.rows(table, SOURCE, answers="optional"))


def test_records_broken_over_lines_are_joined(tmp_path: Path) -> None:
    text = (
        '{"instruction": "one"}\r\n'
        '{"instruction": "two\r\n'
        'and its rest"}\r\n'
        "\r\n"
        '{"instruction": "three\n\nfour"}\n'
        '{"instruction": "five"}'
    )
    rows = wild(tmp_path / "user.jsonl", text)
    assert [str(row.origin) for row in rows] == [f"user.jsonl:{n}" for n in (1, 2, 5, 8)]
    asked = [row.fields["instruction"] for row in rows]
    assert asked == ["one", "two\nand its rest", "three\n\nfour", "five"]


def test_lines_that_cannot_be_mended_are_rejects(tmp_path: Path) -> None:
    text = (
        '{"instruction": "a \\8 b"}\n'  # an escape that JSON does not have
        '{"instruction": "open\n'
        '{"instruction": "whole"}\n'
        "[1]\n"
        'open"}\n'
    )
    rows = wild(tmp_path / "user.jsonl", text)
    found = [(row.origin.row, row.reason if isinstance(row, Reject) else "") for row in rows]
    assert found == [
        (1, r"not JSON: Invalid \escape at column 20"),
        (2, "not JSON: a text that begins in this line ends neither in it nor after it"),
        (3, ""),
        (4, "not an object: found a list"),
        (5, "not JSON: Expecting value at column 1"),
    ]


def test_a_record_is_looked_for_in_a_few_lines_only(tmp_path: Path) -> None:
    lines = ['{"instruction": "x', *["y"] * 40, '"}']
    rows = wild(tmp_path / "user.jsonl", "\n".join(lines))
    assert len(rows) == len(lines) and all(isinstance(row, Reject) for row in rows)


def test_instructions_without_answers_are_rejected_by_default(tmp_path: Path) -> None:
    found = reason(instructwild, {"instruction": "a", "instruction_type": "Other"})
    assert found == "no answer: instruction only (format option answers: optional keeps it)"


# --- Self-Instruct and Unnatural Instructions --------------------------------------------------


def test_every_instance_of_a_task_is_a_row() -> None:
    task = {"id": "t1", "name": "n", "instruction": "Add.", "is_classification": False,
            "instances": [{"input": "1", "output": "1"}, {"input": "", "output": "0", "id": 2},
                          {"input": "2", "output": ""}]}  # fmt: skip
    first, second, third = read(self_instruct, task)
    assert isinstance(first, Row) and isinstance(second, Row) and isinstance(third, Reject)
    assert said(first) == [("user", "Add.\n\n1"), ("assistant", "1")]
    assert said(second)[0] == ("user", "Add.")
    assert first.fields == {"id": "t1", "name": "n", "instruction": "Add.", "instance": 1,
                            "is_classification": False, "input": "1", "output": "1"}  # fmt: skip
    assert second.fields["id"] == "t1" and second.fields["instance_id"] == 2
    assert third.reason.startswith("no answer") and third.fields["instance"] == 3


@pytest.mark.parametrize(
    ("task", "why"),
    [
        ({"instruction": "a", "instances": []}, "no answer: "),
        ({"instruction": "a", "instances": None}, "no answer: "),
        ({"instruction": "a", "instances": "x"}, "wrong type: 'instances' holds a text"),
        ({"instruction": "a", "instances": ["x"]}, "wrong type: item 1 of 'instances' is a text"),
        ({"instruction": "a"}, "missing field: no 'instances'"),
    ],
)
def test_tasks_without_instances_are_rejected(task: dict[str, Any], why: str) -> None:
    assert why in reason(self_instruct, task)


def test_a_task_without_instances_can_be_kept() -> None:
    task = {"instruction": "a", "instances": []}
    assert said(one(self_instruct, task, answers="optional")) == [("user", "a")]


UNNATURAL = {
    "instruction": "Add.",
    "instances": [
        {"instruction_with_input": "Add.\n1, 2", "input": "1, 2", "constraints": "A number.",
         "output": "3"},
        {"instruction_with_input": "Add.\n3", "input": "3", "constraints": "None.", "output": "3"},
    ],
    "reformulations": [
        {"instruction": "Sum up {INPUT}", "instruction_with_input": "Sum up 1, 2", "input": "1, 2",
         "output": "3"}
    ],
}  # fmt: skip


def test_unnatural_instances_ask_with_their_constraints() -> None:
    first, second, again = read(unnatural_instructions, UNNATURAL)
    assert isinstance(first, Row) and isinstance(second, Row) and isinstance(again, Row)
    assert said(first) == [("user", "Add.\n1, 2\nA number."), ("assistant", "3")]
    assert said(second)[0] == ("user", "Add.\n3"), "'None.' is no constraint"
    assert said(again)[0] == ("user", "Sum up 1, 2")
    assert again.fields["original_instruction"] == "Add." and again.fields["reformulation"] == 1
    assert first.fields["constraints"] == "A number." and first.fields["instance"] == 1


def test_constraints_and_reformulations_can_be_left_out() -> None:
    rows = read(unnatural_instructions, UNNATURAL, constraints="drop", reformulations=False)
    assert [said(r)[0][1] for r in rows if isinstance(r, Row)] == ["Add.\n1, 2", "Add.\n3"]
    with pytest.raises(DataError, match="constraints is 'no'"):
        read(unnatural_instructions, UNNATURAL, constraints="no")


def test_placeholders_are_filled_where_nobody_did() -> None:
    record = {"instruction": "Sum up {INPUT}.", "instances": [{"input": "1", "output": "1"}]}
    assert said(one(unnatural_instructions, record))[0] == ("user", "Sum up 1.")
    assert reason(unnatural_instructions, {"instruction": "a", "instances": []}).startswith(
        "no inst"
    )


# --- FLAN, P3, chain of thought ----------------------------------------------------------------


def test_flan_rows_are_taken_as_rendered() -> None:
    row = one(flan, {"inputs": " a\n", "targets": "\nb", "_task_name": "t", "_template_idx": 3})
    assert said(row) == [("user", " a\n"), ("assistant", "\nb")]
    assert row.fields["_template_idx"] == 3 and row.fields["input"] == " a\n"
    tokens = {"inputs": [1, 2], "targets": [3], "inputs_pretokenized": "a",
              "targets_pretokenized": "b"}  # fmt: skip
    assert said(one(flan, tokens)) == [("user", "a"), ("assistant", "b")]
    assert reason(flan, {"inputs": "a", "targets": ""}).startswith("no answer")


def test_p3_marks_at_the_end_are_left_out() -> None:
    row = one(p3, {"prompt": "a\n", "completion": "b <|endoftext|> c<|endoftext|>"})
    assert said(row) == [("user", "a\n"), ("assistant", "b <|endoftext|> c")]
    assert row.fields["completion"].endswith("c<|endoftext|>")
    assert reason(p3, {"prompt": "a", "completion": "<|endoftext|>"}).startswith("no answer")


def test_p3_texts_stand_beside_token_ids() -> None:
    record = {"inputs": [1], "inputs_pretokenized": "a", "targets": [2],
              "targets_pretokenized": "b", "answer_choices": ["b", "c"]}  # fmt: skip
    row = one(p3, record)
    assert said(row) == [("user", "a"), ("assistant", "b")]
    assert row.fields["answer_choices"] == ["b", "c"]
    assert said(one(p3, {"inputs": "a", "targets": "b"})) == [("user", "a"), ("assistant", "b")]
    assert "wrong type: 'prompt' holds a list" in reason(p3, {"prompt": ["a"], "completion": "b"})


def test_p3_answers_that_are_wrong_are_taken_only_when_asked_for() -> None:
    def record(right: Any) -> dict[str, Any]:
        return {"inputs_pretokenized": "a", "targets_pretokenized": "b", "is_correct": right}

    for right in (True, "True", 1, None):
        assert said(one(p3, record(right))) == [("user", "a"), ("assistant", "b")]
    for wrong in (False, "false", 0):
        assert reason(p3, record(wrong)) == (
            "not preferred: is_correct is false (format option side: rejected or both takes it)"
        )
    found = {
        side: [isinstance(r, Row) for r in read(p3, record(True), record(False), side=side)]
        for side in ("chosen", "rejected", "both")
    }
    assert found == {"chosen": [True, False], "rejected": [False, True], "both": [True, True]}
    with pytest.raises(DataError, match=r"format 'p3': side is 'all', expected one of chosen"):
        read(p3, record(True), side="all")


def thoughts(path: Path, text: str, **options: Any) -> list[Row | Reject]:
    path.write_text(text, encoding="utf-8")
    table = chain_of_thought.open_file(path, path.name)
    return list(chain_of_thought.rows(table, SOURCE, **options))


def test_explanations_come_before_answers(tmp_path: Path) -> None:
    text = 'Is "x\\ny\tyes\tIt is.\\nSo $a \\neq b$.\nHow?\t(C)\t\n'
    first, second = thoughts(tmp_path / "cot.tsv", text)
    assert isinstance(first, Row) and isinstance(second, Row)
    assert said(first) == [
        ("user", 'Is "x\ny'), ("assistant", "It is.\nSo $a \\neq b$.\nThe answer is yes.")
    ]  # fmt: skip
    assert said(second)[1] == ("assistant", "The answer is (C).")
    assert first.fields["explanation"] == "It is.\nSo $a \\neq b$." and first.origin.row == 1
    (bare, _) = thoughts(tmp_path / "cot.tsv", text, reasoning=False)
    assert isinstance(bare, Row) and bare.messages[-1] == Message("assistant", "yes")


@pytest.mark.parametrize(
    "text",
    [
        r"$x \ne y$", r"$x\ne 0$", r"$a \ne\alpha$", r"$x \ne -1$", r"$\nu$ is 3",
        r"\nu = c/\lambda",
        r"$a \nleq b$", r"$a \ngeq b$", r"$A \nsubseteq B$", r"\sum\nolimits", r"\noindent So",
        r"$x \not= y$", r"$x \not\in A$", r"$A \ni x$", r"$A \ni \alpha$", r"\nabla", r"\norm{x}",
    ],
)  # fmt: skip
def test_words_of_latex_are_no_line_breaks(tmp_path: Path, text: str) -> None:
    (row,) = thoughts(tmp_path / "cot.tsv", f"{text}\tyes\tIt is.\n")
    assert isinstance(row, Row) and row.messages[0].content == text


@pytest.mark.parametrize(
    "line",
    [
        "next", "nit", "it is", "i think so", "i am", "i) one", "ii) two", "i = 2", "even", "e) 12",
        "e. 12", "e.g. 12", "e = 2.7", "e^x = 1", "e-mail", "until", "under", "less than 5",
        "others",
        "equal", "not so", "nearly", "x = 1", "7", "",
    ],
)  # fmt: skip
def test_lines_may_begin_with_most_words(tmp_path: Path, line: str) -> None:
    (row,) = thoughts(tmp_path / "cot.tsv", f"So.\\n{line}\tyes\tIt is.\n")
    assert isinstance(row, Row) and row.messages[0].content == f"So.\n{line}"


def test_lines_of_other_widths_are_rejects(tmp_path: Path) -> None:
    text = "Question\tAnswer\tExplanation\na\tb\tc\na\tb\n\na\t\tc\n"
    rows = thoughts(tmp_path / "cot.tsv", text)
    assert [row.origin.row for row in rows] == [2, 3, 5]
    good, short, empty = rows
    assert isinstance(good, Row) and isinstance(short, Reject) and isinstance(empty, Reject)
    assert short.reason == (
        "wrong number of fields: found 2, expected 3 (question, answer, explanation)"
    )
    assert empty.what == "no answer"


def test_thoughts_in_json_are_read_too(tmp_path: Path) -> None:
    text = '{"question": "a", "answer": "b.", "rationale": "c"}\n'
    (row,) = thoughts(tmp_path / "cot.jsonl", text)
    assert isinstance(row, Row) and said(row)[1] == ("assistant", "c\nThe answer is b.")


def test_rows_that_were_rejects_already_stay_so() -> None:
    broken = Reject(one(alpaca, alpaca.EXAMPLE).origin, "not JSON: x", {})
    for importer in (alpaca, flan, p3, self_instruct, unnatural_instructions, chain_of_thought):
        assert list(importer.rows(Table("rows", iter([broken])), SOURCE)) == [broken]
