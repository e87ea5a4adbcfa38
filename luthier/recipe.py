"""The recipe: one YAML file -> `Recipe`, with every mistake found at once and its line.

YAML 1.2 through ruamel.yaml: it keeps line numbers, leaves labels such as `no` alone (YAML 1.1
makes them booleans) and reads `3e-4` as a number.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, ValidationError
from pydantic import model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from luthier.aliases import rename_legacy_keys
from luthier.data.config import DataConfig
from luthier.errors import Problem, RecipeError, nearest
from luthier.evaluation.config import EvaluateConfig
from luthier.section import Section
from luthier.shipping.config import ShipConfig
from luthier.training.config import TrainConfig

SCHEMA_FILE = "luthier.schema.json"
MAX_RECIPE_BYTES = 1_000_000
NAME_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._-]*"


def _label_text(value: Any) -> Any:
    """Labels are strings; an unquoted True, False or 3 in YAML is taken as written."""
    return str(value) if isinstance(value, (bool, int)) else value


def _distinct(labels: list[str]) -> list[str]:
    if len(set(labels)) != len(labels):
        raise ValueError("labels must be distinct")
    if any(not label.strip() for label in labels):
        raise ValueError("a label must not be empty")
    return labels


Label = Annotated[str, BeforeValidator(_label_text)]


class ModelSection(Section):
    """Which model, and how its files are opened."""

    name: str
    """An alias (`luthier ls models`), a hub id, a local folder, or `run:NAME` for the model that
    another run trained."""
    revision: str | None = None
    """Hub revision (branch, tag or commit)."""
    trust_remote_code: bool = False
    """Runs code from the model's repository; needs a pinned 40-digit `revision`."""

    @model_validator(mode="after")
    def _remote_code_is_pinned(self) -> ModelSection:
        if self.trust_remote_code and not re.fullmatch(r"[0-9a-f]{40}", self.revision or ""):
            raise ValueError("trust_remote_code needs 'revision' to be a full commit hash")
        return self


class TaskSection(Section):
    """What the model is to do."""

    kind: Literal["classification", "generation", "chat", "text"]
    labels: Annotated[list[Label], AfterValidator(_distinct)] | None = None
    """The closed set of answers (classification)."""
    positive: Label | None = None
    """The label AUROC and precision are about, with two labels; null: the first."""

    @model_validator(mode="after")
    def _labels_fit_the_kind(self) -> TaskSection:
        if self.kind == "classification":
            if not self.labels or len(self.labels) < 2:
                raise ValueError("classification needs 'labels', a list of at least two")
            if self.positive is not None and self.positive not in self.labels:
                raise ValueError(f"'positive' must be one of the labels, not {self.positive!r}")
        elif self.labels is not None:
            raise ValueError(f"'labels' goes with kind: classification, not {self.kind}")
        return self


class Recipe(Section):
    """A whole recipe. Anything unset is decided by `luthier plan`, which says what and why."""

    name: Annotated[str, Field(pattern=f"^{NAME_PATTERN}$", max_length=100)]
    """Name of the run folder."""
    model: Annotated[
        ModelSection, BeforeValidator(lambda v: {"name": v} if isinstance(v, str) else v)
    ]
    task: TaskSection
    data: DataConfig
    train: TrainConfig = TrainConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    ship: ShipConfig = ShipConfig()
    seed: int = Field(default=42, ge=0, lt=2**31)
    """Fixes the splits, the order of the batches, the adapter's first values and all noise."""

    @property
    def labels(self) -> list[str]:
        """The closed label set; empty for other tasks."""
        return list(self.task.labels or [])

    @property
    def positive(self) -> str:
        """The label that counts as positive (classification only)."""
        return self.task.positive or self.labels[0]

    def resolved(self) -> dict[str, Any]:
        """The recipe with all defaults filled in, as plain JSON values."""
        return self.model_dump(mode="json")


class Loaded(BaseModel):
    """A recipe as read from a file, with what the user should know about the reading."""

    recipe: Recipe
    path: Path
    """The file; relative data paths start from its folder."""
    text: str
    """The file's text, kept byte for byte in the run folder."""
    overrides: list[str]
    notes: list[str]
    """Older names that were understood and what they are called now; reported once."""


def load(path: str | Path, overrides: Sequence[str] = ()) -> Loaded:
    """Read a recipe file and apply `key=value` overrides.

    Args:
        path: a YAML file.
        overrides: such as `train.learning_rate=1e-4`; values are read as YAML.

    Raises:
        RecipeError: with every problem of the file and the overrides, each with its line.
    """
    path = Path(path)
    text = _read_text(path)
    tree = _parse(text, str(path))
    lines = _Lines(str(path), tree)
    notes, conflicts = rename_legacy_keys(tree, lines.note_move)
    problems = [Problem(lines.where(loc), message) for loc, message in conflicts]
    problems += _apply_overrides(tree, overrides, lines)
    notes += rename_legacy_keys(tree, lines.note_move, replace=True)[0]
    recipe = None
    try:
        recipe = Recipe.model_validate(_plain(tree))
    except ValidationError as error:
        problems += [_explain(e, lines) for e in error.errors()]
    if problems or recipe is None:
        raise RecipeError(sorted(problems, key=_line_order))
    return Loaded(recipe=recipe, path=path, text=text, overrides=list(overrides), notes=notes)


def schema() -> dict[str, Any]:
    """The JSON schema of a recipe, for editors."""
    schema = Recipe.model_json_schema()
    # `model: NAME` is short for `model: {name: NAME}`; the validator is invisible to pydantic.
    model = schema["properties"]["model"]
    schema["properties"]["model"] = {"anyOf": [{"type": "string"}, model]}
    schema["title"] = "luthier recipe"
    return schema


# --- reading -----------------------------------------------------------------------------------


def _read_text(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_RECIPE_BYTES:
            raise RecipeError([Problem(str(path), "is larger than 1 MB; is it a recipe?")])
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        siblings = [str(p) for p in path.parent.glob("*.yaml")] if path.parent.is_dir() else []
        hint = nearest(str(path), siblings) or " Write one with `luthier new`."
        raise RecipeError([Problem(str(path), "no such recipe file.", hint.strip())]) from None
    except IsADirectoryError:
        raise RecipeError([Problem(str(path), "is a folder, not a recipe file.")]) from None
    except UnicodeDecodeError as error:
        message = f"is not UTF-8 text (byte {error.start})."
        raise RecipeError([Problem(str(path), message, "Save it as UTF-8.")]) from None
    except OSError as error:
        raise RecipeError([Problem(str(path), f"cannot be read: {error.strerror}.")]) from None


def _yaml() -> YAML:
    yaml = YAML(typ="rt", pure=True)
    yaml.version = (1, 2)  # type: ignore[assignment]
    return yaml


def _parse(text: str, file: str) -> dict[str, Any]:
    try:
        tree = _yaml().load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{file}:{mark.line + 1}" if mark else file
        message = (error.problem or "is not YAML").split("\n")[0]
        raise RecipeError([Problem(where, f"not valid YAML: {message}.")]) from None
    except (YAMLError, ValueError, RecursionError) as error:
        first = str(error).split("\n")[0]
        raise RecipeError([Problem(file, f"not valid YAML: {first}.")]) from None
    if not isinstance(tree, dict):
        found = "nothing" if tree is None else f"a {type(tree).__name__}"
        raise RecipeError(
            [Problem(file, f"found {found}, expected keys such as name, model, task, data.")]
        )
    return tree


def _apply_overrides(tree: dict[str, Any], overrides: Sequence[str], lines: _Lines) -> list[Problem]:
    problems = []
    for text in overrides:
        key, equals, value = text.partition("=")
        parts = key.strip().split(".")
        if not equals or not all(parts):
            problem = f"'{text}' is not of the form key=value, e.g. train.learning_rate=1e-4."
            problems.append(Problem("command line", problem))
            continue
        try:
            parsed = _yaml().load(io.StringIO(value))
        except (YAMLError, ValueError) as error:
            problems.append(Problem("command line", f"{key}: not a YAML value: {error}."))
            continue
        problems += _set(tree, parts, parsed)
        lines.overridden[_path(parts)] = text
    return problems


def _set(tree: Any, parts: list[str], value: Any) -> list[Problem]:
    node = tree
    for depth, part in enumerate(parts):
        last = depth == len(parts) - 1
        if isinstance(node, list):
            if not part.isdigit() or int(part) >= len(node):
                size = len(node)
                message = f"{'.'.join(parts)}: expected an index below {size}, found '{part}'."
                return [Problem("command line", message)]
            key: Any = int(part)
        else:
            key = part
            if not last and not isinstance(node.get(key), (dict, list)):
                # `model=x` is short for `model.name=x`, and sections may be absent or null.
                short = node.get(key)
                node[key] = {"name": short} if isinstance(short, str) and key == "model" else {}
        if last:
            node[key] = value
        else:
            node = node[key]
    return []


def _path(parts: Sequence[str]) -> tuple[str | int, ...]:
    return tuple(int(p) if p.isdigit() else p for p in parts)


def _plain(node: Any) -> Any:
    """Turn ruamel's round-trip containers and scalars into plain Python values."""
    if isinstance(node, dict):
        return {str(key): _plain(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_plain(value) for value in node]
    for kind in (bool, int, float, str):
        if isinstance(node, kind):
            return kind(node)
    return node


# --- explaining --------------------------------------------------------------------------------


class _Lines:
    """Where each key of a parsed file stands."""

    def __init__(self, file: str, tree: Any) -> None:
        self.file = file
        self.lines = dict(_key_lines(tree, ()))
        self.overridden: dict[tuple[str | int, ...], str] = {}

    def note_move(self, old: tuple[str | int, ...], new: tuple[str | int, ...]) -> None:
        """An older key was moved: messages about the new one point at the old one's line."""
        if old in self.overridden:
            self.overridden[new] = self.overridden[old]
        elif old in self.lines:
            self.lines[new] = self.lines[old]

    def where(self, loc: tuple[str | int, ...]) -> str:
        while loc:
            if loc in self.overridden:
                return "command line"
            if loc in self.lines:
                return f"{self.file}:{self.lines[loc]}"
            loc = loc[:-1]
        return f"{self.file}:1"


def _key_lines(node: Any, at: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], int]]:
    if isinstance(node, dict):
        for key, value in node.items():
            yield (*at, key), node.lc.key(key)[0] + 1  # type: ignore[attr-defined]
            yield from _key_lines(value, (*at, key))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield (*at, index), node.lc.item(index)[0] + 1  # type: ignore[attr-defined]
            yield from _key_lines(value, (*at, index))


def _explain(error: Any, lines: _Lines) -> Problem:
    """One pydantic error as a sentence with a place, what was found, what was expected."""
    loc = tuple(part for part in error["loc"] if not _is_union_tag(part))
    key = ".".join(str(part) for part in loc) or "recipe"
    found = _show(error.get("input"))
    kind = error["type"]
    if kind == "extra_forbidden":
        known = _known_keys(loc[:-1])
        hint = nearest(str(loc[-1]), known).strip() or f"Known here: {', '.join(sorted(known))}."
        return Problem(lines.where(loc), f"unknown key '{key}'.", hint)
    if kind == "missing":
        return Problem(lines.where(loc), f"'{key}' is missing.", _missing_hint(str(loc[-1])))
    if kind == "literal_error":
        choices = [c for c in re.findall(r"'([^']*)'", str(error["ctx"]["expected"]))]
        hint = nearest(str(error["input"]), choices).strip()
        message = f"'{key}' is {found}, expected one of {', '.join(choices)}."
        return Problem(lines.where(loc), message, hint)
    message = error["msg"].removeprefix("Value error, ").removeprefix("Input ")
    if kind == "value_error":
        return Problem(lines.where(loc), f"'{key}': {message}.")
    return Problem(lines.where(loc), f"'{key}' is {found}: {message}.")


def _is_union_tag(part: Any) -> bool:
    """pydantic puts the name of the union's branch into the location; keys never look so."""
    return isinstance(part, str) and bool(
        re.search(r"[\[\]\(\)]|^(str|int|float|bool)$|Section$|^literal", part)
    )


def _show(value: Any) -> str:
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


def _missing_hint(key: str) -> str:
    return _MISSING_HINTS.get(key, "")


def _known_keys(loc: tuple[str | int, ...]) -> list[str]:
    """Field names of the section at a location of the recipe."""
    section: Any = Recipe
    for part in loc:
        section = _section_of(
            section if isinstance(part, int) else section.model_fields[part].annotation
        )
        if section is None:
            return []
    return list(section.model_fields)


def _section_of(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in (Union, UnionType, list, Annotated):
        return next(filter(None, map(_section_of, get_args(annotation))), None)
    return None


def _line_order(problem: Problem) -> tuple[str, int]:
    file, _, line = problem.where.rpartition(":")
    return (file, int(line)) if line.isdigit() else (problem.where, 0)
