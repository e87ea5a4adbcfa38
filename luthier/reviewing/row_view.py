"""One row as the page shows it: what it says, what of it can be edited, what is known of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from luthier.data.decisions import Edits
from luthier.data.templating.template import Template
from luthier.errors import DataError
from luthier.example import Example
from luthier.reviewing.dataset import Dataset
from luthier.reviewing.rows import UnderReview, number_in

_LINEAGE = ("method", "calls", "generator", "parents")
"""Columns that say how a model wrote a row (`data/generating/`); the first two are always there."""
_COLUMN = 2000
"""Characters of a column that are shown besides what the row says."""


def shown(row: UnderReview, current: Edits, known: Edits, dataset: Dataset) -> dict[str, Any]:
    """A row as JSON.

    Args:
        row: as the data has it.
        current: what it is to say instead.
        known: what it said before anybody edited it, from the file of decisions.
        dataset: whose it is.
    """
    example = row.example
    now, shots = _as_built(example, current, dataset)
    parts = editable(example, dataset) if row.known else []
    values = _values(now, dataset)
    original = original_of(example, known, dataset)
    for part in parts:
        part["value"] = values.get(part["key"], "")
        part["original"] = original.get(part["key"], part["value"])
    said = {part["key"].removeprefix("field:") for part in parts}
    if dataset.labels and now.messages:
        said.add("output")
    columns = {
        name: _shortened(value) for name, value in example.fields.items()
        if name not in said and value not in (None, "")
        and not (example.template is None and example.messages and _is_turns(value))
    }  # fmt: skip
    made = _LINEAGE if set(_LINEAGE[:2]) <= example.fields.keys() else ()
    return {
        "id": example.id,
        "where": str(example.origin),
        "split": example.split,
        "reason": row.reason,
        "known": row.known,
        "copies": row.copies,
        "label": now.label if dataset.labels else None,
        "template": example.template,
        "group": example.group,
        "parents": list(example.parents),
        "terms": {
            "licence": example.terms.licence, "commercial": example.terms.commercial,
            "generator": example.terms.generator,
            "generator_terms": example.terms.generator_terms,
        },
        "text": now.text,
        "turns": [
            {"role": m.role, "name": m.name, "content": m.content, "calls": m.tool_calls,
             "weight": m.weight} for m in now.messages
        ],
        "shots": [{"role": m.role, "content": m.content} for m in shots],
        "tools": example.tools,
        "editable": parts,
        "scores": {
            name: number for name, value in example.fields.items()
            if (number := number_in(name, value)) is not None
        },
        "lineage": {name: columns.pop(name) for name in made if name in columns},
        "columns": columns,
    }  # fmt: skip


def _is_turns(value: Any) -> bool:
    """Whether a column is the conversation that is shown already."""
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)


def _shortened(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _COLUMN else text[: _COLUMN - 1] + "…"


def _template(example: Example, dataset: Dataset) -> Template | None:
    return next((t for t in dataset.shape.templates if t.name == example.template), None)


def _as_built(example: Example, current: Edits, dataset: Dataset) -> tuple[Example, list[Any]]:
    """The row with its edits, and the solved examples that are shown before it."""
    if not current and example.messages and not dataset.shape.data.shots:
        return example, []
    try:
        now = dataset.shape.with_edits(example, current)
    except DataError:  # a row that was left out for that
        return example, []
    if example.template is None or len(example.messages) <= len(now.messages):
        return now, []
    # Solved examples stand between the system's message and the row's own turns.
    own = [m for m in now.messages if m.role != "system"]
    before = [m for m in example.messages if m.role != "system"]
    return now, before[: len(before) - len(own)]


def editable(example: Example, dataset: Dataset) -> list[dict[str, Any]]:
    """What of a row can be edited: {key, name, turn}, `turn` being where it is shown.

    The words of a template are the recipe's; of a row that has one, its columns can be edited.
    """
    if example.text is not None:
        return [{"key": "text", "name": "text", "turn": None}]
    if example.template is None:
        last = len(example.messages) - 1
        return [
            {"key": "label", "name": "label", "turn": last}
            if dataset.labels and place == last
            else {"key": f"turn:{place}", "name": m.role, "turn": place}
            for place, m in enumerate(example.messages)
        ]
    template = _template(example, dataset)
    if template is None:
        return []
    asked = [*template.question_fields, *template.fields, template.answer_field]
    names = dict.fromkeys(dataset.shape.stored_name(example, name) for name in asked)
    answer = dataset.shape.stored_name(example, template.answer_field)
    parts = [
        {"key": f"field:{name}", "name": name, "turn": -1 if name == answer else -2}
        for name in names
        if isinstance(example.fields.get(name), str)
        and not (dataset.labels and name in (answer, "labels"))
    ]  # fmt: skip
    if dataset.labels:
        parts.append({"key": "label", "name": "label", "turn": -1})
    return parts


def _values(example: Example, dataset: Dataset) -> dict[str, str]:
    """Everything that could be edited, as the row says it."""
    found: dict[str, str] = {
        f"field:{name}": value for name, value in example.fields.items() if isinstance(value, str)
    }
    found |= {f"turn:{place}": m.content for place, m in enumerate(example.messages)}
    if example.text is not None:
        found["text"] = example.text
    if dataset.labels:
        label = example.label
        if label is None and example.messages:
            label = example.messages[-1].content
        found["label"] = label if label is not None else str(example.fields.get("output", ""))
    return found


def original_of(example: Example, known: Edits, dataset: Dataset) -> dict[str, str]:
    """What the row said before anybody edited it.

    Args:
        example: as the data has it, which a build may have edited.
        known: what stood in the place of edits, from the file of decisions.
        dataset: whose it is.
    """
    return _values(example, dataset) | _keyed(known)


def _keyed(edits: Edits) -> dict[str, str]:
    found = {f"field:{name}": text for name, text in edits.fields.items()}
    found |= {f"turn:{place}": text for place, text in edits.turns.items()}
    if edits.text is not None:
        found["text"] = edits.text
    if edits.label is not None:
        found["label"] = edits.label
    return found


def changed(original: Mapping[str, str], values: Mapping[str, str]) -> Edits:
    """The edits that lead from what a row said to new values."""
    new = {key: text for key, text in values.items() if text != original.get(key)}
    return Edits(
        {k.removeprefix("field:"): v for k, v in new.items() if k.startswith("field:")},
        {int(k.removeprefix("turn:")): v for k, v in new.items() if k.startswith("turn:")},
        new.get("text"),
        new.get("label"),
    )
