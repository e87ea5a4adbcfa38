"""Answers that are data: asked for by a schema, validated, and asked again where they do not fit.

A backend that can be held to a schema is; any other is only asked for JSON, and what it writes is
looked through for the first object that fits.
"""

from __future__ import annotations

import json
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from luthier.inference.request import Completion, Request
from luthier.inference.session import Session

TRIES = 3
_NEXT_SEED = 1_000_003
"""Added to the seed for another try, so that a model that can do otherwise does."""
Form = TypeVar("Form", bound=BaseModel)


async def ask_for(
    session: Session, request: Request, form: type[Form], *, tries: int = TRIES
) -> tuple[Form | None, list[Completion]]:
    """Ask for an answer of a certain form.

    Args:
        session: whom to ask.
        request: the question; its words must ask for JSON.
        form: the fields of the answer.
        tries: how often, with another seed each time.

    Returns:
        The answer, or None where none fitted, and the completions it took.
    """
    asked: list[Completion] = []
    wanted = request.but(json_schema=closed(form.model_json_schema()))
    for attempt in range(tries):
        if attempt:
            wanted = wanted.but(seed=(request.seed or 0) + attempt * _NEXT_SEED)
        completion = await session.ask(wanted)
        asked.append(completion)
        if completion.unfit is not None:
            break
        if (found := read_as(completion.text, form)) is not None:
            return found, asked
    return None, asked


def closed(schema: Any) -> Any:
    """A schema whose objects have all their fields and no others.

    So OpenAI's strict mode wants it (it takes no others), and so a model that is held to a schema
    cannot leave a field out or add its own.
    """
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: closed(part) for name, part in schema.items() if name != "default"}
    if isinstance(fields := schema.get("properties"), dict):
        # A field may be called as a keyword is.
        found["properties"] = {name: closed(part) for name, part in fields.items()}
        found |= {"required": list(fields), "additionalProperties": False}
    return found


def read_as(text: str, form: type[Form]) -> Form | None:
    """The first JSON object in a text that has the fields of a form; None where there is none.

    Words beyond the length of a field are cut off: not every server can be held to it.
    """
    for found in _objects(text):
        for _ in range(2):
            try:
                return form.model_validate(found)
            except ValidationError as error:
                if not _is_cut(found, error):
                    break
    return None


def _is_cut(found: Any, error: ValidationError) -> bool:
    """Cut texts that are too long; whether that was all that is wrong."""
    wrong = error.errors()
    if any(one["type"] != "string_too_long" for one in wrong):
        return False
    for one in wrong:
        inner, (*steps, last) = found, one["loc"]
        try:
            for step in steps:
                inner = inner[step]
            inner[last] = inner[last][: one["ctx"]["max_length"]]
        except (KeyError, IndexError, TypeError):  # where it may be one of several forms
            return False
    return True


def _objects(text: str) -> list[Any]:
    decoder, found, start = json.JSONDecoder(), [], text.find("{")
    while start >= 0:
        try:
            value, end = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            end = start + 1
        else:
            found.append(value)
        start = text.find("{", end)
    return found
