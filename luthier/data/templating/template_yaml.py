"""Reads YAML files of templates: what they say, and on which line; nothing in them is executed.

Files of promptsource mark their objects `!Template` and `!TemplateMetadata`. Both are read as plain
objects here; any other tag is refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.constructor import SafeConstructor
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode

from luthier.errors import DataError

PROMPTSOURCE_TAG = "!Template"


class Block(dict[Any, Any]):
    """An object of a file that knows the line of each of its keys."""

    def __init__(self, tag: str, line: int) -> None:
        super().__init__()
        self.tag = tag
        """`!Template` and the like; for plain objects YAML's own name."""
        self.line = line
        """On which it begins."""
        self.lines: dict[Any, int] = {}

    def line_of(self, key: str) -> int:
        """The line of a key; of one that is not there, that of the object."""
        return self.lines.get(key, self.line)


class _Constructor(SafeConstructor):
    """Knows the tags of promptsource."""


def _block(constructor: SafeConstructor, node: MappingNode) -> Iterator[Block]:
    found = Block(str(node.tag or node.ctag), node.start_mark.line + 1)
    yield found  # first, so that YAML's aliases can point at it
    found.update(constructor.construct_mapping(node, deep=True))
    found.lines = {key.value: key.start_mark.line + 1 for key, _ in node.value}


for _tag in ("tag:yaml.org,2002:map", PROMPTSOURCE_TAG, "!TemplateMetadata"):
    _Constructor.add_constructor(_tag, _block)


def read_yaml(path: Path) -> Any:
    """What a YAML file says; objects are `Block`s.

    Raises:
        DataError: it cannot be read, is not YAML, or has a tag that is not promptsource's.
    """
    yaml = YAML(typ="safe", pure=True)
    yaml.Constructor = _Constructor
    try:
        return yaml.load(path.read_text(encoding="utf-8"))
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark else ""
        raise DataError(f"{path}{line}: not valid YAML: {error.problem}") from None
    except (YAMLError, UnicodeDecodeError, ValueError, OSError) as error:
        raise DataError(f"{path}: cannot be read: {str(error).splitlines()[0]}") from None
