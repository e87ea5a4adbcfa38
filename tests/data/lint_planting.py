"""Files with one kind of defect and their clean twins: how the lint fixture is planted."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lint_rows import LABELLED, PAIRS

Files = dict[str, bytes]
"""Name and content of each file."""
MODEL = "MODEL"
"""Stands in a recipe for the folder of a model."""
LIMIT = 400
"""train.max_seq_length of the recipes."""


@dataclass(frozen=True)
class Kind:
    """One kind of defect."""

    name: str
    found: frozenset[tuple[str, str]]
    """(check, what) of every finding that there must be, and no other."""
    planted: Files
    clean: Files
    subject: str
    """The file that is linted."""
    places: tuple[str, ...] = ()
    """Where it must point: `name:line`."""
    arguments: Mapping[str, Any] = field(default_factory=dict)


# --- files -------------------------------------------------------------------------------------


def jsonl(rows: Sequence[Any]) -> bytes:
    """One object a line; what is bytes already stands as it is."""
    lines = [
        r
        if isinstance(r, bytes)
        else json.dumps(r, ensure_ascii=False).encode("utf-8", "surrogatepass")
        for r in rows
    ]
    return b"\n".join(lines) + b"\n"


def table(rows: Sequence[Sequence[str]], header: Sequence[str] = ("sentence", "label")) -> bytes:
    """A CSV file."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return out.getvalue().encode()


def pairs(count: int = len(PAIRS)) -> list[dict[str, Any]]:
    """Questions and answers as rows of a JSONL file."""
    return [{"question": q, "answer": a} for q, a in PAIRS[:count]]


def chats() -> list[dict[str, Any]]:
    """Conversations of two questions each."""
    return [
        {
            "messages": [
                turn("user", q1),
                turn("assistant", a1),
                turn("user", q2),
                turn("assistant", a2),
            ]
        }
        for (q1, a1), (q2, a2) in zip(PAIRS[::2], PAIRS[1::2], strict=True)
    ]


def turn(role: str, content: str) -> dict[str, str]:
    """One message."""
    return {"role": role, "content": content}


def recipe(
    sources: Sequence[Mapping[str, Any]], labels: Sequence[str] = ("True", "False"), **data: Any
) -> bytes:
    """A recipe of a classification task."""
    given = {"input": "sentence", "output": "label"}
    tree = {
        "name": "fixture",
        "model": MODEL,
        "task": {"kind": "classification", "labels": list(labels)},
        "data": {"sources": [{**given, **s} for s in sources], "template": "promise", **data},
        "train": {"max_seq_length": LIMIT},
    }
    return json.dumps(tree).encode()


# --- kinds of defects --------------------------------------------------------------------------


def in_pair(name: str, check: str, what: str, question: str, answer: str, **more: Any) -> Kind:
    """A row that is wrong alone, put among clean ones."""
    rows: list[Any] = pairs()
    rows.insert(20, {"question": question, "answer": answer, **more})
    return in_rows(name, check, what, rows, places=("rows.jsonl:21",))


def in_rows(
    name: str,
    check: str,
    what: str,
    rows: Sequence[Any],
    *,
    places: tuple[str, ...] = (),
    clean: Sequence[Any] | None = None,
) -> Kind:
    """Rows of a JSONL file that are wrong together."""
    twin = pairs() if clean is None else clean
    return Kind(
        name,
        frozenset({(check, what)}),
        {"rows.jsonl": jsonl(rows)},
        {"rows.jsonl": jsonl(twin)},
        "rows.jsonl",
        places,
    )


def in_chat(name: str, check: str, what: str, *messages: dict[str, str]) -> Kind:
    """A conversation that is wrong alone."""
    rows: list[Any] = chats()
    rows.insert(5, {"messages": list(messages)})
    return Kind(
        name,
        frozenset({(check, what)}),
        {"chat.jsonl": jsonl(rows)},
        {"chat.jsonl": jsonl(chats())},
        "chat.jsonl",
        ("chat.jsonl:6",),
    )


def in_table(
    name: str,
    check: str,
    what: str,
    rows: Sequence[Sequence[str]],
    *,
    places: tuple[str, ...] = (),
    clean: Sequence[Sequence[str]] = LABELLED,
    header: Sequence[str] = ("sentence", "label"),
) -> Kind:
    """Labelled sentences in a CSV file."""
    return Kind(
        name,
        frozenset({(check, what)}),
        {"rows.csv": table(rows, header)},
        {"rows.csv": table(clean, header)},
        "rows.csv",
        places,
    )


def in_recipe(
    name: str,
    check: str,
    what: str,
    planted: Sequence[Sequence[str]],
    clean: Sequence[Sequence[str]] = LABELLED,
    *,
    places: tuple[str, ...] = (),
    make: Callable[..., bytes] = recipe,
    also: Files | None = None,
    **options: Any,
) -> Kind:
    """Labelled sentences that a recipe reads."""
    sources = options.pop("sources", [{"path": "rows.csv"}])
    text = make(sources, **options)
    files = {"recipe.yaml": text, **(also or {})}
    return Kind(
        name,
        frozenset({(check, what)}),
        {**files, "rows.csv": table(planted)},
        {**files, "rows.csv": table(clean)},
        "recipe.yaml",
        places,
    )


def with_row(row: tuple[str, str], at: int = 10) -> list[tuple[str, str]]:
    """The labelled sentences with one more among them (line `at` + 2 of the file)."""
    return [*LABELLED[:at], row, *LABELLED[at:]]
