"""What is wrong with a recipe, in sentences: pydantic's errors, with places in the file."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel

from luthier.errors import Problem, nearest

Place = tuple[str | int, ...]
"""Keys and indices from the top of the recipe downwards."""


class Lines:
    """Where each key of a parsed file stands.

    Args:
        file: as it is called in messages.
        tree: what ruamel.yaml read in round-trip mode.
    """

    def __init__(self, file: str, tree: Any) -> None:
        self.file = file
        self.lines = dict(_key_lines(tree, ()))
        self.overridden: dict[Place, str] = {}

    def note_move(self, old: Place, new: Place) -> None:
        """An older key was moved: messages about the new one point at the old one's line."""
        if old in self.overridden:
            self.overridden[new] = self.overridden[old]
        elif old in self.lines:
            self.lines[new] = self.lines[old]

    def where(self, loc: Place) -> str:
        """`file:line` of a key or of the nearest one around it, or `command line`."""
        if any(path[: len(loc)] == loc[: len(path)] for path in self.overridden if loc):
            return "command line"
        while loc:
            if loc in self.lines:
                return f"{self.file}:{self.lines[loc]}"
            # A section that older names made has no line, but they have.
            inside = [line for path, line in self.lines.items() if path[: len(loc)] == loc]
            if inside:
                return f"{self.file}:{min(inside)}"
            loc = loc[:-1]
        return f"{self.file}:1"


def _key_lines(node: Any, at: Place) -> Iterator[tuple[Place, int]]:
    if not isinstance(node, (dict, list)):
        return
    places = node.lc.data or {}  # type: ignore[union-attr]
    for key, value in node.items() if isinstance(node, dict) else enumerate(node):
        here = (*at, key if isinstance(node, list) else str(key))
        if key in places:  # keys that a merge (<<) brought in stand elsewhere
            yield here, places[key][0] + 1
        yield from _key_lines(value, here)


def explained(errors: Sequence[Any], model: type[BaseModel], lines: Lines) -> list[Problem]:
    """Every mistake that pydantic found, once, as a sentence with a place.

    pydantic reports a value that fits no branch of a union once per branch, and a misspelt key
    both as unknown and, under its right name, as missing.
    """
    located = [(_loc(error), error) for error in errors]
    meant = {
        (*loc[:-1], near)
        for loc, error in located
        if error["type"] == "extra_forbidden"
        for near in _nearest_keys(model, loc)
    }
    branches = [(loc, error) for loc, error in located if loc != error["loc"]]
    problems = [
        _explain(loc, error, model, lines)
        for loc, error in located
        if loc == error["loc"] and not (error["type"] == "missing" and loc in meant)
    ]
    for loc in dict.fromkeys(loc for loc, _ in branches):
        if any(len(other) > len(loc) and other[: len(loc)] == loc for other, _ in branches):
            continue  # the value is of the right kind, and something inside it is wrong
        mine = [error for other, error in branches if other == loc]
        expected = " or ".join(dict.fromkeys(map(_expected, mine)))
        said = f"'{_key(loc)}' is {shown(mine[0].get('input'))}, expected {expected}."
        problems.append(Problem(lines.where(loc), said))
    return problems


def _loc(error: Any) -> Place:
    """Where a key is; pydantic puts the names of union branches between and behind the keys."""
    if error["type"] in ("extra_forbidden", "missing"):
        return tuple(error["loc"])
    return tuple(part for part in error["loc"] if not _is_union_tag(part))


def _explain(loc: Place, error: Any, model: type[BaseModel], lines: Lines) -> Problem:
    """One pydantic error as a sentence with a place, what was found, what was expected."""
    key, found = _key(loc), shown(error.get("input"))
    kind = error["type"]
    if kind == "extra_forbidden":
        known = _known_keys(model, loc[:-1])
        hint = nearest(str(loc[-1]), known).strip() or f"Known here: {', '.join(sorted(known))}."
        return Problem(lines.where(loc), f"unknown key '{key}'.", hint)
    if kind == "missing":
        return Problem(lines.where(loc), f"'{key}' is missing.", _missing_hint(loc))
    if kind == "literal_error":
        hint = nearest(str(error["input"]), _choices(error)).strip()
        return Problem(lines.where(loc), f"'{key}' is {found}, expected {_expected(error)}.", hint)
    if kind == "value_error":
        return Problem(lines.where(loc), f"'{key}': {_expected(error)}.")
    unquoted = kind == "string_type" and not isinstance(error["input"], (dict, list, NoneType))
    hint = "Write it in quotes." if unquoted else ""
    expected = _expected(error)
    if kind == "model_type" and loc == ("model",):
        expected = "a model's name or folder"
    if kind == "model_type" and loc[:2] == ("data", "filters") and isinstance(error["input"], str):
        hint = f"Write {{use: {error['input']}}}."
    return Problem(lines.where(loc), f"'{key}' is {found}, expected {expected}.", hint)


def _expected(error: Any) -> str:
    """What pydantic expected, to stand behind `expected`."""
    if error["type"] == "literal_error":
        return f"one of {', '.join(_choices(error))}"
    if error["type"] in _EXPECTED:
        given = error.get("ctx", {}).items()
        # `:g` would round a bound of ten digits.
        plain = {k: int(v) if isinstance(v, float) and v.is_integer() else v for k, v in given}
        return _EXPECTED[error["type"]].format(**plain)
    message: str = error["msg"].partition(", unable to")[0]
    return message.removeprefix("Value error, ").removeprefix("Input should be ")


_EXPECTED = {
    "model_type": "keys with values",
    "dict_type": "keys with values",
    "string_type": "a text",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "float_type": "a number",
    "float_parsing": "a number",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_parsing_size": "a whole number of fewer digits",
    "int_from_float": "a whole number",
    "list_type": "a list",
    "greater_than": "a number greater than {gt}",
    "greater_than_equal": "a number of at least {ge}",
    "less_than": "a number less than {lt}",
    "less_than_equal": "a number of at most {le}",
    "too_short": "a list of at least {min_length}",
    "string_too_long": "at most {max_length} characters",
    "string_pattern_mismatch": "letters, digits, '.', '_' and '-', a letter or digit first",
}


def _choices(error: Any) -> list[str]:
    return re.findall(r"'([^']*)'", str(error["ctx"]["expected"]))


def _key(loc: Place) -> str:
    return ".".join(str(part) for part in loc) or "recipe"


def _is_union_tag(part: Any) -> bool:
    return isinstance(part, str) and bool(
        re.search(r"[\[\]\(\)]|^(str|int|float|bool)$|Section$|^literal", part)
    )


def shown(value: Any) -> str:
    """A value as it stands in a message: JSON, cut at 60 characters."""
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."


_MISSING_HINTS = {
    "name": "Add e.g. `name: my-run`.",
    "model": "Add e.g. `model: smollm2-135m-instruct`.",
    "task": "Add e.g. `task: {kind: classification, labels: [yes, no]}`.",
    "kind": "Add `kind: classification`, `generation`, `chat` or `text`.",
    "data": "Add e.g. `data: {sources: [{path: rows.csv, input: text, output: label}]}`.",
    "sources": "Add e.g. `sources: [{path: rows.csv, input: text, output: label}]`.",
    "use": "Add the filter's name, e.g. `use: length`.",
}


def _missing_hint(loc: Place) -> str:
    if loc == ("model", "name"):
        return "Add e.g. `name: smollm2-135m-instruct`."
    return _MISSING_HINTS.get(str(loc[-1]), "")


def _nearest_keys(model: type[BaseModel], loc: Place) -> list[str]:
    return get_close_matches(str(loc[-1]), _known_keys(model, loc[:-1]), n=1, cutoff=0.6)


def _known_keys(model: type[BaseModel], loc: Place) -> list[str]:
    """Field names of the section at a location of the recipe."""
    section: Any = model
    for part in loc:
        if isinstance(part, str):
            field = section.model_fields.get(part)
            section = _section_of(field.annotation) if field else None
        if section is None:
            return []
    return list(section.model_fields)


def _section_of(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in (Union, UnionType, list, Annotated):
        return next(filter(None, map(_section_of, get_args(annotation))), None)
    return None


def line_order(problem: Problem) -> tuple[str, int]:
    """Sort key: problems in the order of the file, those of the command line first."""
    file, _, line = problem.where.rpartition(":")
    return (file, int(line)) if line.isdigit() else (problem.where, 0)
