"""OpenAssistant: message trees, threads, or flat messages with parents; one path or all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from luthier.data.config import SourceConfig
from luthier.data.importing.conversation import Unfit
from luthier.data.importing.instructions import require_choice
from luthier.data.importing.message_tree import (
    Forest,
    Node,
    pairs_of,
    path_ends,
    path_row,
    tree_nodes,
    unanswered,
)
from luthier.data.importing.sample import Sample
from luthier.data.rows import Reject, Row, Table
from luthier.errors import DataError

_PATHS = ("best", "all", "pairs")
EXAMPLE: dict[str, Any] = {
    "message_tree_id": "a", "tree_state": "ready_for_export",
    "prompt": {
        "message_id": "a", "role": "prompter", "text": "Is grass green?", "lang": "en",
        "replies": [
            {"message_id": "b", "parent_id": "a", "role": "assistant", "text": "Yes.", "rank": 0}
        ],
    },
}  # fmt: skip
"""A record of this format."""


def rows(
    table: Table, source: SourceConfig, *, paths: str = "best", lang: str | None = None
) -> Iterator[Row | Reject]:
    """Rows that are paths from the first question of a tree to an answer.

    Deleted messages, those that reviewers refused (`review_result: false`, which is how the export
    marks spam), empty ones and answers to a message of the same role are rejects, with what hangs
    on them; paths lead around them. An answer that a model wrote
    (`synthetic`) is kept; the model is the row's generator. All that is known of each message on
    the path, its rank among it, stands in the field `nodes`; `message_tree_id` tells which rows
    must stay together (`data.split.group_by`).

    Flat messages may come in any order: they are all read before the first row, into memory.

    Args:
        table: the opened file.
        source: what the recipe says of it.
        paths: `best` follows the best-ranked (else the first) reply down to the last answer; `all`
            gives every path to an answer after which there is no other, and a reject for each
            question without one; `pairs` gives a row for
            every two ranked answers to the same question: the better one, with the worse in the
            field `rejected`.
        lang: only trees in this language, as in `en`; others are rejects.
    """
    require_choice("openassistant", "paths", paths, _PATHS)
    if lang is not None and not isinstance(lang, str):
        raise DataError(f"format 'openassistant': lang is {lang!r}, expected a code such as en.")
    flat = Forest()
    for row in table.records:
        if isinstance(row, Reject):
            yield row
        elif "prompt" in row.fields or "thread" in row.fields:
            yield from _tree(row, paths, lang)
        else:
            reject = flat.add(row)
            if reject is not None:
                yield reject
    yield from flat.link()
    for root in flat.roots:
        yield from _rows(root, {}, paths, lang)


def _tree(row: Row, paths: str, lang: str | None) -> Iterator[Row | Reject]:
    try:
        root, rejects = tree_nodes(row)
    except Unfit as error:
        yield Reject(row.origin, str(error), row.fields)
        return
    yield from rejects
    kept = {k: v for k, v in row.fields.items() if k not in ("prompt", "thread")}
    yield from _rows(root, kept, paths, lang)


def _rows(root: Node, kept: dict[str, Any], paths: str, lang: str | None) -> Iterator[Row | Reject]:
    """The rows of one tree, and rejects for what is left out of it."""
    known = {"message_tree_id": root.tree, "lang": root.meta.get("lang"), **kept}
    if lang is not None and root.meta.get("lang") != lang:
        said = root.meta.get("lang") or "unknown"
        yield Reject(root.origin, f"other language: {said}, asked for is {lang}", known)
        return
    yield from root.refused()
    if root.refusal:
        return
    found: Iterable[Row | Reject]
    if paths == "pairs":
        found = (path_row(end, known, worse) for end, worse in pairs_of(root))
    else:
        found = (path_row(end, known) for end in path_ends(root, every=paths == "all"))
    empty = True
    for each in found:
        empty = False
        yield each
    if empty:
        what = "no ranked answers" if paths == "pairs" else "no answer"
        missing = "two ranked replies to one question" if paths == "pairs" else "assistant's reply"
        yield Reject(root.origin, f"{what}: no {missing} in the tree", known)
    elif paths == "all":
        for node in unanswered(root):
            fields = {**known, **node.meta, "text": node.text}
            yield Reject(node.origin, f"no answer: nobody answered message {node.id}", fields)


def fits(sample: Sample) -> float:
    """How sure it is that a file is of this format."""
    trees = sample.share(
        lambda r: (
            (isinstance(r.get("prompt"), dict) and "replies" in r["prompt"])
            or ("thread_id" in r and isinstance(r.get("thread"), list))
        )
    )
    flat = sample.share(
        lambda r: "text" in r and r.get("role") in ("prompter", "assistant")
        and any(n in r for n in ("parent_id", "parent_message_id", "message_id"))
    )  # fmt: skip
    return max(0.99 * trees, 0.98 * flat)
