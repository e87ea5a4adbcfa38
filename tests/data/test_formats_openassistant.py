"""OpenAssistant: trees, threads and flat messages; the best path, all paths, ranked pairs."""

from __future__ import annotations

import random
from typing import Any

import pytest
from format_rows import read

from luthier.data.formats import openassistant
from luthier.data.rows import Reject, Row
from luthier.errors import DataError


def node(id: str, role: str, *replies: dict[str, Any], **more: Any) -> dict[str, Any]:
    said = {"message_id": id, "role": role, "text": f"text {id}", "lang": "en", **more}
    return {**said, "replies": list(replies)} if replies else said


def tree(prompt: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"message_tree_id": prompt["message_id"], "tree_state": "ready_for_export",
            "prompt": prompt, **more}  # fmt: skip


def ids(row: Row | Reject) -> str:
    assert isinstance(row, Row), row
    return "".join(message.content.removeprefix("text ") for message in row.messages)


# a - b (rank 1) - c - d
#   - e (rank 0) - f (prompter)
#   - g (rank 2)
TREE = tree(
    node("a", "prompter",
         node("b", "assistant", node("c", "prompter", node("d", "assistant", rank=0)), rank=1),
         node("e", "assistant", node("f", "prompter"), rank=0, labels={"quality": {"value": 0.7}}),
         node("g", "assistant", rank=2)),
)  # fmt: skip


def flat(nested: dict[str, Any], parent: str | None = None) -> list[dict[str, Any]]:
    """The messages of a tree, one by one."""
    said = {k: v for k, v in nested.items() if k != "replies"} | {"parent_id": parent}
    found = [said]
    for reply in nested.get("replies", []):
        found += flat(reply, nested["message_id"])
    return found


def test_the_best_path_follows_the_ranks() -> None:
    (row,) = read(openassistant, TREE)
    assert ids(row) == "ae", "the question after the last answer is cut off"
    assert row.fields["message_tree_id"] == "a" and row.fields["tree_state"] == "ready_for_export"
    assert [n["message_id"] for n in row.fields["nodes"]] == ["a", "e"]
    assert row.fields["nodes"][1]["labels"] == {"quality": {"value": 0.7}}


def test_all_paths_lead_to_answers_without_others_below() -> None:
    *rows, reject = read(openassistant, TREE, paths="all")
    assert sorted(map(ids, rows)) == ["abcd", "ae", "ag"]
    assert isinstance(reject, Reject) and reject.reason == "no answer: nobody answered message f"
    assert {row.fields["message_tree_id"] for row in rows} == {"a"}


def test_ranked_answers_come_in_pairs() -> None:
    rows = read(openassistant, TREE, paths="pairs")
    found = [(ids(r), r.fields["rejected"], r.fields["chosen_rank"], r.fields["rejected_rank"])
             for r in rows]  # fmt: skip
    assert found == [("ae", "text b", 0, 1), ("ae", "text g", 0, 2), ("ab", "text g", 1, 2)]
    (row,) = read(openassistant, tree(node("a", "prompter", node("b", "assistant"))), paths="pairs")
    assert isinstance(row, Reject) and row.what == "no ranked answers"


@pytest.mark.parametrize("seed", range(5))
def test_flat_messages_may_come_in_any_order(seed: int) -> None:
    messages = flat(TREE["prompt"])
    random.Random(seed).shuffle(messages)
    found = read(openassistant, *messages, paths="all")
    assert sorted(ids(row) for row in found if isinstance(row, Row)) == ["abcd", "ae", "ag"]
    (row,) = read(openassistant, *messages)
    assert ids(row) == "ae" and row.fields["message_tree_id"] == "a"
    assert row.origin.row == 1 + [m["message_id"] for m in messages].index("e")


def test_flat_messages_go_by_other_names_too() -> None:
    said = [
        {"user_message_id": "a", "parent_message_id": None, "text": "q", "role": "prompter"},
        {"user_message_id": "b", "parent_message_id": "a", "text": "r", "role": "assistant"},
    ]
    (row,) = read(openassistant, *said)
    assert isinstance(row, Row) and [m.content for m in row.messages] == ["q", "r"]


def test_messages_that_hang_on_nothing_are_rejects() -> None:
    messages = flat(TREE["prompt"])
    lost = [m for m in messages if m["message_id"] != "b"]
    row, *rejects = sorted(read(openassistant, *lost), key=lambda r: isinstance(r, Reject))
    assert ids(row) == "ae"
    assert [r.reason for r in rejects if isinstance(r, Reject)] == [
        "orphan: its parent 'b' is not in this file",
        "orphan: it hangs on a message without its beginning",
    ]
    circle = [node("x", "prompter", parent_id="y"), node("y", "assistant", parent_id="x")]
    assert {r.what for r in read(openassistant, *circle) if isinstance(r, Reject)} == {"orphan"}


def test_what_is_no_message_is_a_reject() -> None:
    good = flat(TREE["prompt"])[:2]
    bad = [{"text": "x", "role": "prompter"}, node("z", "alien"), node("y", "assistant", text=None),
           good[0]]  # fmt: skip
    reasons = [r.reason for r in read(openassistant, *good, *bad) if isinstance(r, Reject)]
    assert reasons == [
        "not a message: no 'message_id' (it has text, role)",
        "not a message: role 'alien' is none of prompter, assistant",
        "not a message: text is null, expected text",
        "repeated id: 'a' is that of rows:1",
    ]
    (row,) = read(openassistant, {"message_tree_id": "a", "prompt": None})
    assert isinstance(row, Reject) and row.reason.startswith("not a message: found null")


def test_deleted_and_refused_messages_are_gone_around() -> None:
    prompt = node(
        "a", "prompter",
        node("b", "assistant", node("c", "prompter"), rank=0, deleted=True),
        node("d", "assistant", rank=1, review_result=False),
        node("e", "assistant", rank=2),
        node("f", "prompter"),
        node("g", "assistant", text=" "),
    )  # fmt: skip
    *rejects, row = read(openassistant, tree(prompt))
    assert ids(row) == "ae"
    assert [r.reason for r in rejects if isinstance(r, Reject)] == [
        "deleted: message b, with 1 under it",
        "refused in review: message d",
        "not a conversation: message f from user answers one of its own",
        "empty: message g says nothing",
    ]
    assert all("text" not in r.fields for r in rejects), "what was deleted is not repeated"


def test_trees_without_answers_are_rejects() -> None:
    (row,) = read(openassistant, tree(node("a", "prompter")))
    assert isinstance(row, Reject) and row.what == "no answer"
    (row,) = read(openassistant, tree(node("a", "prompter", node("b", "assistant"), deleted=True)))
    assert isinstance(row, Reject) and row.reason == "deleted: message a, with 1 under it"
    (row,) = read(openassistant, tree(node("a", "assistant", node("b", "prompter"))))
    assert isinstance(row, Reject) and row.what == "not a conversation"


def test_only_one_language_can_be_taken() -> None:
    other = tree(node("x", "prompter", node("y", "assistant"), lang="es"))
    row, reject = read(openassistant, TREE, other, lang="en")
    assert ids(row) == "ae"
    assert isinstance(reject, Reject) and reject.reason == "other language: es, asked for is en"
    with pytest.raises(DataError, match="lang is 3, expected a code"):
        read(openassistant, TREE, lang=3)
    with pytest.raises(DataError, match="paths is 'worst', expected one of best, all, pairs"):
        read(openassistant, TREE, paths="worst")


def test_synthetic_answers_name_their_model() -> None:
    prompt = node("a", "prompter", node("b", "assistant", synthetic=True, model_name="m-20b"))
    (row,) = read(openassistant, tree(prompt))
    assert isinstance(row, Row) and row.terms is not None and row.terms.generator == "m-20b"
    (row,) = read(openassistant, TREE)
    assert isinstance(row, Row) and row.terms is None


def test_threads_are_paths() -> None:
    thread = [node("a", "prompter"), node("b", "assistant")]
    (row,) = read(openassistant, {"thread_id": "b", "thread": thread})
    assert ids(row) == "ab" and row.fields["thread_id"] == "b"


def test_long_chains_are_walked() -> None:
    messages = [
        node(str(n), ("prompter", "assistant")[n % 2], parent_id=str(n - 1) if n else None)
        for n in range(3000)
    ]
    (row,) = read(openassistant, *messages)
    assert isinstance(row, Row) and len(row.messages) == 3000
