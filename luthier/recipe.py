"""The recipe: one YAML file -> `Recipe`, with every mistake found at once and its line.

YAML 1.2 through ruamel.yaml: it keeps line numbers, leaves labels such as `no` alone (YAML 1.1
makes them booleans) and reads `3e-4` as a number.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.reader import ReaderError
from ruamel.yaml.scalarbool import ScalarBoolean

from luthier.aliases import rename_legacy_keys
from luthier.data.config import DataConfig, Label, Labels, SplitConfig
from luthier.errors import Problem, RecipeError, nearest
from luthier.evaluation.config import EvaluateConfig
from luthier.explain import Lines, explained, line_order, shown
from luthier.names import misnamed, without_decisions
from luthier.section import Section
from luthier.shipping.config import ShipConfig
from luthier.training.config import TrainConfig

SCHEMA_FILE = "luthier.schema.json"
MAX_RECIPE_BYTES = 1_000_000
MAX_VALUES = 100_000
"""Keys and values of a recipe once its aliases are written out."""
NAME_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._-]*"
MAX_NAME = 100
_PLAIN_SCALAR = re.compile(r"[^\s,\[\]{}#&*!][^,\[\]{}#]*")


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
    """An answer out of `labels`; an answer in free text; the answers of a conversation; or plain
    text without a question."""
    labels: Labels | None = None
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

    name: Annotated[str, Field(pattern=f"^{NAME_PATTERN}$", max_length=MAX_NAME)]
    """Name of the run folder."""
    model: Annotated[
        ModelSection, BeforeValidator(lambda v: {"name": v} if isinstance(v, str) else v)
    ]
    """The model to start from: its name alone, or a section."""
    task: TaskSection
    """What is learned."""
    data: DataConfig
    """The rows, and what becomes of them."""
    train: TrainConfig = TrainConfig()
    """How the weights are changed; the names are Hugging Face's."""
    evaluate: EvaluateConfig = EvaluateConfig()
    """What the result is held against, and by which measures."""
    ship: ShipConfig = ShipConfig()
    """In which forms the result leaves."""
    seed: int = Field(default=42, ge=0, lt=2**31)
    """Fixes the splits, the order of the batches, the adapter's first values and all noise."""

    @field_validator("data")
    @classmethod
    def _leaves_training_rows(cls, data: DataConfig, info: ValidationInfo) -> DataConfig:
        """The shares were added up as given; what the task decides comes on top."""
        if isinstance(task := info.data.get("task"), TaskSection):
            shares = data.split.decided(calibrated=task.kind == "classification")
            if shares.validation + (shares.calibration or 0) + shares.test >= 1:
                raise ValueError(
                    "split: validation + calibration (0.1 unless given) + test must leave rows to "
                    "train on (< 1)"
                )
        return data

    @field_validator("data")
    @classmethod
    def _has_one_label_set(cls, data: DataConfig, info: ValidationInfo) -> DataConfig:
        """In classification every source has the labels of the task; plain text has none."""
        if not isinstance(task := info.data.get("task"), TaskSection):
            return data
        for place, source in enumerate(data.sources):
            if source.labels is None:
                continue
            if task.kind == "text":
                raise ValueError(f"sources.{place}: 'labels' says nothing about plain text")
            if task.kind == "classification" and set(source.labels) != set(task.labels or ()):
                raise ValueError(
                    f"sources.{place}: 'labels' ({', '.join(source.labels)}) are not task.labels "
                    f"({', '.join(task.labels or ())}). In classification those are the labels of "
                    "all sources; leave them out here"
                )
        return data

    @property
    def split(self) -> SplitConfig:
        """The shares of `data.split`, with those that the task decides."""
        return self.data.split.decided(calibrated=self.task.kind == "classification")

    @property
    def exporters(self) -> list[str]:
        """The exporters of `ship`; unset, the form in which the weights are trained."""
        if self.ship.exporters is not None:
            return list(self.ship.exporters)
        return ["merged"] if self.train.lora is None else ["adapter"]

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
    parsed = _parse(text, str(path))
    lines = Lines(str(path), parsed)
    tree = _plain(parsed)
    notes, conflicts = rename_legacy_keys(tree, lines.note_move)
    problems = _apply_overrides(tree, overrides, lines)
    more_notes, more_conflicts = rename_legacy_keys(tree, lines.note_move, replace=True)
    problems += [Problem(lines.where(loc), said) for loc, said in conflicts + more_conflicts]
    problems += misnamed(tree, lines)
    problems += without_decisions(tree, lines, path.parent)
    recipe = None
    try:
        recipe = Recipe.model_validate(tree)
    except ValidationError as error:
        problems += explained(error.errors(), Recipe, lines)
    if problems or recipe is None:
        raise RecipeError(sorted(problems, key=line_order))
    notes = list(dict.fromkeys(notes + more_notes))
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
    data = b""
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_RECIPE_BYTES + 1)
        if len(data) > MAX_RECIPE_BYTES:
            raise RecipeError([Problem(str(path), "is larger than 1 MB; is it a recipe?")])
        return data.decode("utf-8")
    except FileNotFoundError:
        siblings = [str(p) for p in path.parent.glob("*.y*ml")] if path.parent.is_dir() else []
        hint = nearest(str(path), siblings) or " Write one with `luthier new`."
        raise RecipeError([Problem(str(path), "no such recipe file.", hint.strip())]) from None
    except IsADirectoryError:
        raise RecipeError([Problem(str(path), "is a folder, not a recipe file.")]) from None
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        message = f"is not UTF-8 text (byte {error.start})."
        raise RecipeError([Problem(f"{path}:{line}", message, "Save it as UTF-8.")]) from None
    except OSError as error:
        raise RecipeError([Problem(str(path), f"cannot be read: {error.strerror}.")]) from None


def _yaml() -> YAML:
    yaml = YAML(typ="rt", pure=True)
    yaml.version = (1, 2)
    return yaml


def _parse(text: str, file: str) -> dict[str, Any]:
    try:
        tree = _yaml().load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{file}:{mark.line + 1}" if mark else file
        message = (error.problem or "is not YAML").split("\n")[0]
        raise RecipeError([Problem(where, f"not valid YAML: {message}.")]) from None
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        message = f"not valid YAML: the character U+{error.character:04X} must not stand in it."
        raise RecipeError([Problem(f"{file}:{line}", message)]) from None
    except RecursionError:
        raise RecipeError([Problem(file, "not valid YAML: it is nested too deeply.")]) from None
    except (YAMLError, ValueError) as error:
        first = str(error).split("\n")[0]
        raise RecipeError([Problem(file, f"not valid YAML: {first}.")]) from None
    if not isinstance(tree, dict):
        found = "nothing" if tree is None else "a list" if isinstance(tree, list) else shown(tree)
        raise RecipeError(
            [Problem(file, f"found {found}, expected keys such as name, model, task, data.")]
        )
    if _size(tree, {}) > MAX_VALUES:
        message = f"its aliases (*name) stand for more than {MAX_VALUES:,} values."
        raise RecipeError([Problem(file, message)])
    _keep_all_labels(tree, text.removeprefix("\ufeff"))
    return tree


def _size(node: Any, known: dict[int, int]) -> int:
    """How many values a tree has once its aliases are written out."""
    if not isinstance(node, (dict, list)):
        return 1
    if id(node) not in known:
        known[id(node)] = MAX_VALUES + 1  # stays while it is counted: it may hold itself
        inner = node.values() if isinstance(node, dict) else node
        known[id(node)] = 1 + sum(_size(child, known) for child in inner)
    return known[id(node)]


def _keep_all_labels(tree: Any, text: str) -> None:
    """Those of the task and of all sources of a recipe, or of a part of one."""
    if not isinstance(tree, dict):
        return
    _keep_labels(tree.get("task"), text)
    data = tree.get("data")
    sources = data.get("sources") if isinstance(data, dict) else None
    for source in sources if isinstance(sources, list) else ():
        _keep_labels(source, text)


def _keep_labels(task: Any, text: str) -> None:
    """Labels are what stands in the file: `true`, `007` and `3e-4` stay these texts."""
    if not isinstance(task, dict):
        return
    if isinstance(labels := task.get("labels"), list):
        for index in range(len(labels)):
            labels[index] = _as_written(labels, index, text)
    if task.get("positive") is not None:
        task["positive"] = _as_written(task, "positive", text)


def _as_written(node: Any, key: int | str, text: str) -> Any:
    """The plain scalar at a place of the text; quoted ones and containers as they were read."""
    value = node[key]
    place = (node.lc.data or {}).get(key)
    if isinstance(value, (str, dict, list)) or place is None:
        return value
    line, column = place[-2:]
    found = _PLAIN_SCALAR.match(text.splitlines()[line], column)
    return found.group().strip() if found else value


def _apply_overrides(tree: dict[str, Any], overrides: Sequence[str], lines: Lines) -> list[Problem]:
    problems = []
    for text in overrides:
        key, equals, value = text.partition("=")
        parts = key.strip().split(".")
        if not equals or not all(parts):
            problem = f"'{text}' is not of the form key=value, e.g. train.learning_rate=1e-4."
            problems.append(Problem("command line", problem))
            continue
        try:
            parsed = _parse_value(parts, value)
        except (YAMLError, ValueError, RecursionError) as error:
            said = getattr(error, "problem", None) or str(error).split("\n")[0]
            problems.append(Problem("command line", f"{key}: not a YAML value: {said}."))
            continue
        problems += _set(tree, parts, parsed)
        lines.overridden[_path(parts)] = text
    return problems


def _parse_value(parts: list[str], text: str) -> Any:
    value = _yaml().load(io.StringIO(text))
    if _size(value, {}) > MAX_VALUES:
        raise ValueError("its aliases (*name) stand for too many values")
    in_source = parts[:2] == ["data", "sources"] and len(parts) > 2
    inner = parts[3:] if in_source else parts[1:] if parts[0] == "task" else []
    if parts == ["task"] or (in_source and not inner):
        _keep_labels(value, text)
    elif parts == ["data"]:
        _keep_all_labels({"data": value}, text)
    elif parts == ["data", "sources"]:
        _keep_all_labels({"data": {"sources": value}}, text)
    elif inner == ["labels"]:
        _keep_labels({"labels": value}, text)
    elif inner[:1] in (["labels"], ["positive"]) and isinstance(value, (bool, int, float)):
        value = text.strip()
    return _plain(value)


def _set(tree: Any, parts: list[str], value: Any) -> list[Problem]:
    node = tree
    for depth, (part, key) in enumerate(zip(parts, _path(parts), strict=True)):
        if isinstance(node, list):
            if not isinstance(key, int) or key >= len(node):
                size = len(node)
                message = f"{'.'.join(parts)}: expected an index below {size}, found '{part}'."
                return [Problem("command line", message)]
            inner = node[key]
        else:
            key = part
            inner = node.get(key)
        if depth == len(parts) - 1:
            node[key] = value
        elif not isinstance(inner, (dict, list)):
            # `model: x` is short for `model: {name: x}`, and sections may be absent or null.
            short = isinstance(inner, str) and parts[: depth + 1] == ["model"]
            node[key] = {"name": inner} if short else {}
        node = node[key]
    return []


def _path(parts: Sequence[str]) -> tuple[str | int, ...]:
    return tuple(int(p) if p.isascii() and p.isdigit() else p for p in parts)


def _plain(node: Any) -> Any:
    """Turn ruamel's round-trip containers and scalars into plain Python values."""
    if isinstance(node, dict):
        return {str(key): _plain(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_plain(value) for value in node]
    if isinstance(node, ScalarBoolean):
        return bool(node)
    for kind in (bool, int, float, str):
        if isinstance(node, kind):
            return kind(node)
    return node
