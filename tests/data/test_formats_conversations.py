"""Importers of conversations: messages with tools, ShareGPT, LIMA, OIG, Guanaco, pairs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from format_rows import one, read, reason

from luthier.data.formats import (
    guanaco,
    lima,
    messages,
    oig,
    preference,
    prompt_completion,
    sharegpt,
)
from luthier.data.importing.recognise import CERTAIN, recognise
from luthier.data.rows import Reject, Row
from luthier.errors import DataError
from luthier.example import Message

USER, ANSWER = Message("user", "hi"), Message("assistant", "ho")


def turns(*pairs: tuple[str, Any]) -> list[dict[str, Any]]:
    return [{"from": speaker, "value": text} for speaker, text in pairs]


# --- messages ----------------------------------------------------------------------------------

CALL = {"id": "c7", "type": "function", "function": {"name": "add", "arguments": '{"a": 1.50}'}}


def test_tools_calls_and_answers_are_kept() -> None:
    tools = [{"type": "function", "function": {"name": "add", "parameters": {}}}]
    record = {
        "messages": [
            {"role": "user", "content": "1.5 and 1?"},
            {"role": "assistant", "content": None, "tool_calls": [CALL]},
            {"role": "tool", "tool_call_id": "c7", "content": "2.5"},
            {"role": "assistant", "content": "2.5"},
        ],
        "tools": tools,
        "id": "x",
    }
    row = one(messages, record)
    assert row.messages == (
        Message("user", "1.5 and 1?"),
        Message("assistant", "", tool_calls='[{"name": "add", "arguments": {"a": 1.50}}]'),
        Message("tool", "2.5", name="add"),
        Message("assistant", "2.5"),
    )
    assert row.tools is not None and json.loads(row.tools) == tools
    assert row.fields == record, "what the file says stays as it was"


def answered(*answers: dict[str, Any], calls: Any = None) -> list[tuple[str | None, str]]:
    """What tools answer to calls c1 of f, c2 of f and c3 of g, and the names that they get."""
    named = (("c1", "f"), ("c2", "f"), ("c3", "g"))
    calls = calls or [{"id": i, "function": {"name": n, "arguments": "{}"}} for i, n in named]
    record = [
        {"role": "user", "content": "?"},
        {"role": "assistant", "content": None, "tool_calls": calls},
        *({"role": "tool", **answer} for answer in answers),
        {"role": "assistant", "content": "!"},
    ]
    row = one(messages, {"messages": record})
    return [(m.name, m.content) for m in row.messages if m.role == "tool"]


def test_answers_of_tools_come_in_the_order_of_the_calls() -> None:
    first, two, three = ({"tool_call_id": f"c{n}", "content": str(n)} for n in (1, 2, 3))
    assert answered(three, two, first) == [("f", "1"), ("f", "2"), ("g", "3")]
    assert answered(three, {"content": "x"}) == [("g", "3"), (None, "x")]
    bare = [{"name": "f", "arguments": {}}, {"name": "g", "arguments": {}}]
    assert answered({"content": "x"}, {"content": "y"}, calls=bare) == [("f", "x"), ("g", "y")]


def test_an_answer_is_to_a_call_and_a_call_has_its_answer() -> None:
    """By place alone the answer of one call would be taken for that of another."""
    one_, two, three, four = ({"tool_call_id": f"c{n}", "content": str(n)} for n in (1, 2, 3, 4))
    with pytest.raises(AssertionError, match="message 2 calls tools, but 'c1' is never answered"):
        answered(three, two)
    with pytest.raises(AssertionError, match="but 'c1' is never answered"):
        answered(two, two, three)
    with pytest.raises(AssertionError, match=r"tool_call_id 'c4' after message 2 is no call of it"):
        answered(one_, two, three, four)


def test_ids_of_calls_may_be_used_again_in_later_turns() -> None:
    record: list[dict[str, Any]] = [{"role": "user", "content": "?"}]
    for name in ("f", "g"):
        call = {"id": "c1", "function": {"name": name, "arguments": "{}"}}
        calls = [call, {**call, "id": "x"}]
        record += [
            {"role": "assistant", "content": None, "tool_calls": calls},
            {"role": "tool", "tool_call_id": "c1", "content": "1"},
            {"role": "tool", "tool_call_id": "x", "content": "1"},
        ]
    row = one(messages, {"messages": [*record, {"role": "assistant", "content": "!"}]})
    assert [m.name for m in row.messages if m.role == "tool"] == ["f", "f", "g", "g"]


def test_functions_are_the_older_name_of_tools() -> None:
    record = {
        "messages": [
            {"role": "user", "content": "1 and 1?"},
            {"role": "assistant", "function_call": {"name": "add", "arguments": "{}"}},
            {"role": "function", "name": "add", "content": "2"},
            {"role": "assistant", "content": "2"},
        ],
        "functions": [{"name": "add"}],
    }
    row = one(messages, record)
    assert row.messages[1].tool_calls == '[{"name": "add", "arguments": {}}]'
    assert row.messages[2] == Message("tool", "2", name="add")
    assert row.tools == '[{"type": "function", "function": {"name": "add"}}]'


@pytest.mark.parametrize(
    ("key", "value", "weight"),
    [("loss_weight", 0.5, 0.5), ("weight", 0, 0.0), ("train", False, 0.0), ("train", True, 1.0),
     ("weight", None, None)],
)  # fmt: skip
def test_weights_of_turns_are_kept(key: str, value: Any, weight: float | None) -> None:
    said = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", key: value}]
    assert one(messages, {"messages": said}).messages[-1].weight == weight


@pytest.mark.parametrize(
    ("turn", "why"),
    [
        ({"tool_calls": [{"function": {"name": "f", "arguments": "{"}}]}, "are not JSON"),
        ({"tool_calls": [{"function": {"arguments": "{}"}}]}, "call 1 has no name"),
        ({"tool_calls": [{"name": "f", "arguments": [1]}]}, "has a list for arguments"),
        ({"tool_calls": "nonsense"}, "calls tools, but its text is not JSON"),
        ({"content": "b", "weight": "much"}, "message 2: weight is a text, expected a number"),
        ({"content": "b", "name": 3}, "message 2: name is a number"),
    ],
)
def test_turns_that_do_not_hold_together_are_rejected(turn: dict[str, Any], why: str) -> None:
    said = [{"role": "user", "content": "a"}, {"role": "assistant", **turn}]
    assert why in reason(messages, {"messages": said})


def test_tools_that_are_no_list_are_rejected() -> None:
    said = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    assert reason(messages, {"messages": said, "tools": {"a": 1}}).startswith("not tools: 'tools'")
    assert reason(messages, {"messages": said, "tools": "[oh"}).startswith("not tools: 'tools'")
    assert one(messages, {"messages": said, "tools": "[]"}).tools is None


def test_what_stands_outside_questions_and_answers_can_be_cut_off() -> None:
    said = [{"role": "assistant", "content": "x"}, {"role": "user", "content": "hi"},
            {"role": "assistant", "content": "ho"}, {"role": "user", "content": "y"}]  # fmt: skip
    assert "the last message is from user" in reason(messages, {"messages": said})
    row = one(messages, {"messages": said}, trim=True)
    assert row.messages == (USER, ANSWER)
    assert row.fields["trimmed"] == ["message 1 (assistant)", "message 4 (user)"]
    with pytest.raises(DataError, match="trim is 'yes', expected true or false"):
        read(messages, {"messages": said}, trim="yes")


# --- ShareGPT ----------------------------------------------------------------------------------


def test_sharegpt_speakers_become_roles() -> None:
    said = turns(("system", "S"), ("human", "hi"), ("gpt", "ho"), ("user", "a"), ("chatgpt", "b"))
    row = one(sharegpt, {"id": "q_0", "conversations": said})
    assert [m.role for m in row.messages] == ["system", "user", "assistant", "user", "assistant"]
    assert row.fields["id"] == "q_0"


@pytest.mark.parametrize(
    ("column", "said"),
    [
        ("items", turns(("human", "hi"), ("gpt4", "ho"))),
        ("conversation", [{"speaker": "Human", "text": "hi"}, {"speaker": "AI", "text": "ho"}]),
        ("conversation", [{"input": "hi", "output": "ho"}]),
        ("conversation", [{"human": "hi", "assistant": "ho"}]),
    ],
)
def test_relatives_of_sharegpt(column: str, said: list[dict[str, Any]], tmp_path: Path) -> None:
    record = {"id": "1", "source": "s", column: said}
    assert one(sharegpt, record).messages == (USER, ANSWER)
    file = tmp_path / "talks.jsonl"
    file.write_text("".join(json.dumps({**record, "id": str(i)}) + "\n" for i in range(6)))
    found = recognise(file, "talks.jsonl")
    assert found.format == "sharegpt" and found.confidence >= CERTAIN


def test_pairs_written_as_a_text_and_lists_that_are_no_talk(tmp_path: Path) -> None:
    said = json.dumps([{"input": "hi", "output": "ho"}])
    assert one(sharegpt, {"conversation": said}).messages == (USER, ANSWER)
    others = [{"data": ["The", "cat", "sat", "down"]}, {"items": [{"role": "admin", "level": 3}]}]
    for number, record in enumerate(others):
        file = tmp_path / f"{number}.jsonl"
        file.write_text("".join(json.dumps({**record, "n": i}) + "\n" for i in range(6)))
        found = recognise(file, file.name)
        assert found.format not in ("lima", "sharegpt") or found.confidence < CERTAIN


def test_a_turn_that_is_no_pair_among_pairs_is_told() -> None:
    said = [{"input": "hi", "output": "ho"}, {"input": "a"}]
    assert "message 3" in reason(sharegpt, {"conversation": said})


def test_sharegpt_calls_tools_in_turns_of_their_own() -> None:
    said = turns(("human", "hi"), ("function_call", '{"name": "f", "arguments": {"x": [1]}}'),
                 ("observation", "{}"), ("gpt", "ho"))  # fmt: skip
    row = one(sharegpt, {"conversations": said, "tools": '[{"name": "f"}]', "system": "S"})
    assert row.messages == (
        Message("system", "S"), USER,
        Message("assistant", "", tool_calls='[{"name": "f", "arguments": {"x": [1]}}]'),
        Message("tool", "{}", name="f"), ANSWER,
    )  # fmt: skip
    assert row.tools == '[{"name": "f"}]'


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (turns(("human", "a"), ("human", "b"), ("gpt", "c")), "message 2 is from user after user"),
        (turns(("human", "a"), ("gpt", "b"), ("gpt", "c")), "message 3 is from assistant after"),
        (
            turns(("gpt", "a"), ("human", "b"), ("gpt", "c")),
            "message 1 is from assistant, expected",
        ),
        (turns(("human", "a"), ("gpt", " ")), "message 2 (assistant) is empty"),
        (turns(("human", "a"), ("gpt", "b"), ("human", "c")), "the last message is from user"),
        (turns(("human", "a"), ("alien", "b")), "message 2: role 'alien' is none of system, user"),
        (turns(("human", "a"), ("gpt", None)), "message 2: content is null"),
        (turns(("observation", "a"), ("gpt", "b")), "message 1: role 'tool'"),
        (turns(("human", "a"), ("function_call", "f()")), "message 2 calls tools, but its text"),
        ([], "found an empty list"),
        ([{"from": "human"}], "message 1 has no 'value' (it has from)"),
    ],
)
def test_sharegpt_defects_are_rejected_with_the_message(said: Any, why: str) -> None:
    found = reason(sharegpt, {"conversations": said})
    assert found.startswith("not a conversation: ") and why in found


def test_sharegpt_conversations_can_be_trimmed() -> None:
    said = turns(("gpt", "x"), ("human", "hi"), ("gpt", "ho"), ("human", "y"))
    row = one(sharegpt, {"conversations": said}, trim=True)
    assert row.messages == (USER, ANSWER) and len(row.fields["trimmed"]) == 2
    said = turns(("gpt", "x"), ("human", "hi"))
    assert "nobody says anything" in reason(sharegpt, {"conversations": said}, trim=True)


@pytest.mark.parametrize(
    ("importer", "record"),
    [
        (sharegpt, {"conversations": turns(("human", "hi"), ("gpt", "ho"), ("human", "a"))}),
        (sharegpt, {"conversations": turns(("gpt", "x"), ("human", "hi"), ("gpt", "ho"))}),
        (messages, {"messages": [{"role": "user", "content": "hi"},
                                 {"role": "assistant", "content": "ho"},
                                 {"role": "user", "content": "a"}]}),
        (oig, {"text": "<human>: hi\n<bot>: ho\n<human>: a"}),
        (guanaco, {"text": "### Human: hi### Assistant: ho### Human: a"}),
    ],
)  # fmt: skip
def test_rejects_name_the_option_that_mends_them(importer: Any, record: dict[str, Any]) -> None:
    assert reason(importer, record).endswith("(format option trim: true cuts that off)")
    assert one(importer, record, trim=True).messages == (USER, ANSWER)


def test_rejects_name_no_option_that_would_not_help() -> None:
    for said in (
        (("human", "hi"),),
        (("human", "hi"), ("human", "a"), ("gpt", "b"), ("human", "c")),
    ):
        assert "trim" not in reason(sharegpt, {"conversations": turns(*said)})
    assert "trim" not in reason(preference, {"prompt": "a", "chosen": turns(("human", "b"))})


def test_prompts_and_completions_may_be_turns() -> None:
    prompt = [{"role": "user", "content": "hi"}]
    record = {"prompt": prompt, "completion": [{"role": "assistant", "content": "ho"}], "id": 7}
    row = one(prompt_completion, record)
    assert row.messages == (USER, ANSWER) and row.fields == record
    named = one(prompt_completion, {**record, "system": "S", "tools": [{"name": "f"}]})
    assert named.messages == (Message("system", "S"), USER, ANSWER) and named.tools
    texts = {key: json.dumps(record[key]) for key in ("prompt", "completion")}
    assert one(prompt_completion, texts).messages == (USER, ANSWER)
    open_end = record | {"completion": [*record["completion"], *prompt]}  # type: ignore[misc]
    assert reason(prompt_completion, open_end).endswith("(format option trim: true cuts that off)")
    assert one(prompt_completion, open_end, trim=True).fields["trimmed"] == ["message 3 (user)"]
    assert "no 'completion'" in reason(prompt_completion, {"prompt": prompt})
    assert "message 2: role 'x'" in reason(
        prompt_completion, {"prompt": prompt, "completion": [{"role": "x", "content": "a"}]}
    )


def test_cohere_calls_the_assistant_chatbot() -> None:
    said = [{"role": "User", "content": "hi"}, {"role": "Chatbot", "content": "ho"}]
    assert one(messages, {"messages": said}).messages == (USER, ANSWER)


def test_sharegpt_rows_without_turns_say_what_they_have() -> None:
    found = reason(sharegpt, {"conversation_s": []})
    assert found.startswith("missing field: no 'conversations' in this row. Did you mean")


# --- LIMA, OIG, Guanaco ------------------------------------------------------------------------


def test_lima_texts_take_turns() -> None:
    row = one(lima, {"conversations": ["hi", "ho", "a", "b"], "source": "x"})
    assert row.messages == (USER, ANSWER, Message("user", "a"), Message("assistant", "b"))
    assert row.fields["source"] == "x"
    assert one(lima, {"id": "0", "data": ["hi", "ho"]}).messages == (USER, ANSWER)


def test_lima_questions_without_an_answer_are_rejected_or_kept() -> None:
    for texts in (["hi"], ["hi", "ho", "a"]):
        assert reason(lima, {"conversations": texts}).startswith("no answer: instruction only")
        row = one(lima, {"conversations": texts}, answers="optional")
        assert [m.content for m in row.messages] == texts
    assert "message 2 (assistant) is empty" in reason(lima, {"conversations": ["hi", " "]})


def test_lima_in_alpaca_columns_keeps_earlier_turns() -> None:
    row = one(lima, {"instruction": "a", "input": "", "output": "b", "history": [["hi", "ho"]]})
    assert row.messages == (USER, ANSWER, Message("user", "a"), Message("assistant", "b"))


def test_oig_lines_begin_turns() -> None:
    text = "Background: It rains.\n\n<human>: hi\nthere\n<bot>: ho <bot>: ho\n<human>: a\n<bot>: b"
    row = one(oig, {"text": text, "metadata": {"source": "x"}})
    assert row.messages == (
        Message("system", "Background: It rains."), Message("user", "hi\nthere"),
        Message("assistant", "ho <bot>: ho"), Message("user", "a"), Message("assistant", "b"),
    )  # fmt: skip
    assert row.fields["metadata"] == {"source": "x"}


def test_lima_takes_the_marks_of_questions_and_answers_away() -> None:
    row = one(lima, {"data": ["问：你好吗", "答：问：是标记"]})
    assert [m.content for m in row.messages] == ["你好吗", "问：是标记"]
    kept = one(lima, {"data": ["问：你好吗", "我很好"]})
    assert [m.content for m in kept.messages] == ["问：你好吗", "我很好"]


def test_oig_has_a_set_of_two_columns() -> None:
    assert one(oig, {"user": "hi\n", "chip2": " ho"}).messages == (USER, ANSWER)
    assert reason(oig, {"user": "hi", "chip2": ""}).startswith("no answer")


def test_oig_texts_without_turns_are_rejected() -> None:
    assert reason(oig, {"text": "It rains."}).startswith("no turns: ")
    assert "the last message is from user" in reason(
        oig, {"text": "<human>: a\n<bot>: b\n<human>: c"}
    )
    assert reason(oig, {"tekst": "x"}).startswith("missing field: no 'text' in this row. Did you")


def test_guanaco_texts_have_marks() -> None:
    row = one(guanaco, {"text": "### Human: hi### Assistant: ho### Human: a ### Assistant: b"})
    assert row.messages == (USER, ANSWER, Message("user", "a"), Message("assistant", "b"))
    cut = {"text": "### Human: hi### Assistant: ho### Human: a"}
    assert "the last message is from user" in reason(guanaco, cut)
    assert one(guanaco, cut, trim=True).messages == (USER, ANSWER)
    assert reason(guanaco, {"text": "hi"}).startswith("no turns: ")


@pytest.mark.parametrize("colon", [":", "："])
def test_chats_of_belle_keep_their_turns(colon: str) -> None:
    asked = f"Human{colon}hi\nAssistant{colon}ho\nHuman{colon} a\nAssistant{colon}"
    row = one(guanaco, {"instruction": asked, "input": "", "output": "b"})
    assert row.messages == (USER, ANSWER, Message("user", "a"), Message("assistant", "b"))
    kept = one(guanaco, {"instruction": asked, "input": "", "output": ""}, answers="optional")
    assert kept.messages == (USER, ANSWER, Message("user", "a"))


def test_guanaco_columns_may_hold_a_chat() -> None:
    chat = {"instruction": "User: hi\nAssistant: ho", "input": "System: S\nUser: a", "output": "b"}
    row = one(guanaco, chat)
    assert row.messages == (
        Message("system", "S"), USER, ANSWER, Message("user", "a"), Message("assistant", "b")
    )  # fmt: skip
    plain = one(guanaco, {"instruction": "Say User: x", "input": "", "output": "b"})
    assert plain.messages == (Message("user", "Say User: x"), Message("assistant", "b"))


# --- preference pairs --------------------------------------------------------------------------

ASKED = [{"from": "human", "value": "hi"}]


@pytest.mark.parametrize(
    "record",
    [
        {"prompt": "hi", "chosen": "ho", "rejected": "no"},
        {"question": "hi", "chosen": "ho", "rejected": "no"},
        {"conversations": ASKED, "chosen": {"from": "gpt", "value": "ho"},
         "rejected": {"from": "gpt", "value": "no"}},
        {"prompt": [{"role": "user", "content": "hi"}],
         "chosen": [{"role": "assistant", "content": "ho"}],
         "rejected": [{"role": "assistant", "content": "no"}]},
        {"prompt": "hi", "chosen": [{"role": "user", "content": "hi"},
                                    {"role": "assistant", "content": "ho"}],
         "rejected": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "no"}]},
        {"chosen": "\n\nHuman: hi\n\nAssistant: ho", "rejected": "\n\nHuman: hi\n\nAssistant: no"},
        {"input": {"messages": [{"role": "user", "content": "hi"}]},
         "preferred_output": [{"role": "assistant", "content": "ho"}],
         "non_preferred_output": [{"role": "assistant", "content": "no"}]},
        {"instruction": "hi", "input": "", "chosen": "ho", "rejected": "no"},
        {"prompt": "\n\nHuman: hi\n\nAssistant:", "chosen": "ho", "rejected": "no"},
    ],
)  # fmt: skip
def test_pairs_give_the_side_that_is_asked_for(record: dict[str, Any]) -> None:
    worse = Message("assistant", "no")
    assert one(preference, record).messages == (USER, ANSWER)
    assert one(preference, record, side="rejected").messages == (USER, worse)
    both = read(preference, record, side="both")
    assert [row.messages[-1] for row in both if isinstance(row, Row)] == [ANSWER, worse]
    assert [row.fields["side"] for row in both] == ["chosen", "rejected"]
    assert record.items() <= both[0].fields.items(), "the other side stays a field"


def test_a_conversation_that_ends_with_one_of_the_sides_is_asked_without_it() -> None:
    record = {"messages": turns(("human", "hi"), ("gpt", "ho")), "chosen": "ho", "rejected": "no"}
    assert one(preference, record).messages == (USER, ANSWER)
    assert one(preference, record, side="rejected").messages == (USER, Message("assistant", "no"))


def test_pairs_may_be_asked_with_a_trajectory() -> None:
    before = turns(("user", "a"), ("assistant", "b"), ("user", "hi"))
    row = one(preference, {"trajectory": before, "chosen": "ho", "rejected": "no"})
    assert row.messages == (Message("user", "a"), Message("assistant", "b"), USER, ANSWER)


def test_a_system_message_of_a_pair_is_kept() -> None:
    row = one(preference, {"system": "S", "question": "hi", "chosen": "ho", "rejected": "no"})
    assert row.messages[0] == Message("system", "S")


@pytest.mark.parametrize(
    ("record", "why"),
    [
        ({"prompt": "hi", "chosen": "", "rejected": "no"}, "no answer: 'chosen' is empty"),
        ({"chosen": "ho", "rejected": "no"}, "missing field: no 'prompt'"),
        ({"prompt": "hi", "rejected": "no"}, "missing field: no 'chosen'"),
        ({"prompt": "hi", "chosen": 3.5, "rejected": "no"}, ""),
        ({"prompt": [], "chosen": "ho", "rejected": "no"}, "not a conversation: "),
        ({"conversations": turns(("human", "a"), ("gpt", "b")), "chosen": "ho", "rejected": "no"},
         "message 3 is from assistant after assistant"),
    ],
)  # fmt: skip
def test_pairs_that_lack_something_are_rejected(record: dict[str, Any], why: str) -> None:
    (row,) = read(preference, record)
    assert isinstance(row, Row) if not why else isinstance(row, Reject) and why in row.reason


def test_labelled_answers_are_taken_by_their_label() -> None:
    good = {"messages": turns(("human", "hi"), ("gpt", "ho")), "label": True}
    bad = {"prompt": "hi", "completion": "ho", "label": False}
    assert one(preference, good).messages == (USER, ANSWER)
    assert reason(preference, bad).startswith("not preferred: label is false (format option side")
    assert reason(preference, good, side="rejected").startswith("preferred: label is true")
    assert one(preference, bad, side="rejected").fields["side"] == "rejected"
    assert len([r for r in read(preference, good, bad, side="both") if isinstance(r, Row)]) == 2
    with pytest.raises(DataError, match=r"side is 'choosen', expected one of .* Did you mean"):
        read(preference, good, side="choosen")
