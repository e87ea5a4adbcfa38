"""Templates: YAML files that turn the fields of a row into messages.

    description: Sentiment of a review.
    system: You are a careful reader.          # optional
    let: {question: "Good or bad?"}            # optional constants
    prompt: |-
      {question}
      Review: {input}
    completion: "{output}"

`{name}` inserts a field, a constant, or `{labels}` (the task's labels, separated by commas);
`{{` and `}}` stand for braces. Text is inserted once: braces inside a field stay what they are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, Self

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from luthier.artifacts import Artifact
from luthier.as_written import json_text
from luthier.errors import DataError, nearest, unknown
from luthier.example import Message
from luthier.made_with import MadeWith

FOLDER = Path(str(resources.files("luthier.data.templates")))
_KEYS = ("description", "system", "let", "prompt", "completion")
_PIECE = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")


class MissingField(Exception):
    """A row has no field for a placeholder; its first argument is the placeholder."""


@dataclass(frozen=True)
class Template:
    """A template that has been read and checked."""

    name: str
    description: str
    prompt_text: str
    completion_text: str
    system: str | None = None
    constants: Mapping[str, str] = field(default_factory=dict)

    @property
    def question_fields(self) -> list[str]:
        """Fields the prompt needs from a row, in order of appearance."""
        names = _placeholders(self.prompt_text) + _placeholders(self.system or "")
        return [n for n in dict.fromkeys(names) if n not in self.constants]

    @property
    def fields(self) -> list[str]:
        """All fields the template needs from a row."""
        names = [*self.question_fields, *_placeholders(self.completion_text)]
        return [n for n in dict.fromkeys(names) if n not in self.constants]

    def prompt(self, fields: Mapping[str, Any]) -> list[Message]:
        """Messages up to the answer.

        Raises:
            MissingField: the row lacks a field.
        """
        system = [] if self.system is None else [Message("system", self._fill(self.system, fields))]
        return [*system, Message("user", self._fill(self.prompt_text, fields))]

    def messages(self, fields: Mapping[str, Any]) -> tuple[Message, ...]:
        """All messages of a row, the answer last."""
        answer = self._fill(self.completion_text, fields)
        return (*self.prompt(fields), Message("assistant", answer))

    def _fill(self, text: str, fields: Mapping[str, Any]) -> str:
        def insert(match: re.Match[str]) -> str:
            name = match.group(1)
            if name is None:
                return match.group()[0]
            if name in self.constants:
                return self.constants[name]
            if name not in fields:
                raise MissingField(name)
            return as_text(fields[name])

        return _PIECE.sub(insert, text)

    def require(self, available: Sequence[str], where: str) -> None:
        """Raise a DataError unless every placeholder is among the available fields."""
        for name in self.fields:
            if name not in available:
                raise self.unknown_placeholder(name, available, where)

    def unknown_placeholder(self, name: str, available: Sequence[str], where: str) -> DataError:
        """The error for a placeholder that no row has a field for."""
        listed = ", ".join(sorted(available)) or "none"
        return DataError(
            f"template '{self.name}': no field for the placeholder {{{name}}} in {where}."
            f"{nearest(name, available)} Fields there: {listed}."
        )


class BuiltTemplates(Artifact):
    """The templates a dataset was made with: the run goes on with them whatever becomes of a file.

    Kept in the order of `data.template`; empty for conversations and plain text.
    """

    FILE = "data/templates.json"
    templates: list[Template]

    @classmethod
    def of(cls, made: MadeWith) -> Self:
        """Those that a run's weights were trained with."""
        return cls.model_validate({"templates": made.templates})


def as_text(value: Any) -> str:
    """A field as it stands in a prompt: text as it is, null as nothing, the rest as JSON."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, (bool, list, dict)):
        return json_text(value)
    return str(value)


def template_names() -> list[str]:
    """Names of the templates that ship with luthier, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def template_file(name: str, root: Path) -> Path:
    """The file of a template: one that ships with luthier, or a `.yaml` file of one's own.

    Args:
        name: a name, or a path relative to `root`.
        root: folder of the recipe.
    """
    if not name.endswith((".yaml", ".yml")):
        if name not in template_names():
            raise DataError(
                unknown("template", name, template_names())
                + " A file of your own is given by its path, ending in .yaml."
            )
        return FOLDER / f"{name}.yaml"
    path = root / Path(name).expanduser()
    if not path.is_file():
        near = [p.name for p in path.parent.glob("*.y*ml")] if path.parent.is_dir() else []
        raise DataError(f"template '{name}': no such file ({path}).{nearest(path.name, near)}")
    return path


def load_template(name: str, root: Path) -> Template:
    """Read a template by name, or by the path of a YAML file.

    Raises:
        DataError: no such template, not YAML, an unknown or missing key, a stray brace.
    """
    path = template_file(name, root)
    where = f"template '{name}'"
    try:
        tree = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark else ""
        raise DataError(f"{path}{line}: not valid YAML: {error.problem}") from None
    except (YAMLError, UnicodeDecodeError, ValueError) as error:
        raise DataError(f"{path}: cannot be read: {str(error).splitlines()[0]}") from None
    if not isinstance(tree, dict):
        raise DataError(f"{path}: expected the keys {', '.join(_KEYS)}.")
    for key in tree:
        if key not in _KEYS:
            raise DataError(f"{where}: {unknown('key', str(key), _KEYS)}")
    constants = tree.get("let") or {}
    if not isinstance(constants, dict):
        raise DataError(f"{where}: 'let' is {constants!r}, expected names with their texts.")
    return Template(
        name=name,
        description=_text(tree, "description", where),
        prompt_text=_text(tree, "prompt", where),
        completion_text=_text(tree, "completion", where),
        system=_text(tree, "system", where) if tree.get("system") is not None else None,
        constants={str(key): as_text(value) for key, value in constants.items()},
    )


def _text(tree: Mapping[str, Any], key: str, where: str) -> str:
    value = tree.get(key)
    if not isinstance(value, str):
        found = "missing" if value is None else f"{value!r}, expected a text"
        quoted = " Quote texts that start with a brace." if isinstance(value, dict) else ""
        raise DataError(f"{where}: '{key}' is {found}.{quoted}")
    for match in _PIECE.finditer(value):
        if match.group() in ("{", "}") or match.group(1) == "":
            raise DataError(
                f"{where}: '{key}' has a stray {match.group()!r}; write {{{{ or }}}} for a brace."
            )
    return value


def _placeholders(text: str) -> list[str]:
    return [m.group(1) for m in _PIECE.finditer(text) if m.group(1)]
