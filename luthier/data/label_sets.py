"""The closed set of answers of a task or a source."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator

from luthier.errors import nearest


def _label_text(value: Any) -> Any:
    """Labels are strings, also where Python code gives True or 3 (`recipe.py`: in YAML)."""
    return str(value) if isinstance(value, (bool, int)) else value


def _distinct(labels: list[str]) -> list[str]:
    if len(set(labels)) != len(labels):
        raise ValueError("labels must be distinct")
    if any(not label.strip() for label in labels):
        raise ValueError("a label must not be empty")
    return labels


def _two(labels: list[str]) -> list[str]:
    if len(labels) < 2:
        raise ValueError("expected a list of at least two labels")
    return labels


Label = Annotated[str, BeforeValidator(_label_text)]
Labels = Annotated[list[Label], AfterValidator(_distinct)]
LabelSet = Annotated[list[Label], AfterValidator(_distinct), AfterValidator(_two)]


def outside(found: str, labels: Sequence[str]) -> str | None:
    """Why an answer is none of a label set; None where it is one.

    Args:
        found: the answer.
        labels: all of them.
    """
    if found in labels:
        return None
    folded = {known.strip().casefold(): known for known in labels}
    same = folded.get(found.strip().casefold())
    hint = f" Did you mean '{same}'?" if same else nearest(found, labels)
    return f"label outside the set: '{found}' is none of {', '.join(labels)}.{hint}"
