r"""Sets of templates: several ways of asking one kind of task, in one file.

    description: Does one text follow from another?
    fields: {premise: A text., hypothesis: A sentence., output: The label.}
    templates:
      follows_from_text:
        input: |-
          {premise}

          Does it follow that "{hypothesis}"?

          {options_}
        target: "{output}"
      write_a_hypothesis:
        inverted: true
        input: "{premise}\n\nWrite a sentence for which this is true: {output}"
        target: "{hypothesis}"

A member with `only_with: FIELD` is given to rows that have something in that field, one with
`only_without: FIELD` to the others.

A member is named `nli/follows_from_text`, or `own.yaml#follows_from_text` in a file of one's own.
Of the same kind are the files of promptsource (YAML with `!Template`) and FLAN's pairs (JSON);
which a file is, its content says.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from luthier.data.templating import flan_pairs, promptsource
from luthier.data.templating.options import PLACEHOLDERS
from luthier.data.templating.template import (
    Template,
    belongs_to,
    check_keys,
    super_ni_of,
    template_file,
    template_of,
    text_of,
)
from luthier.data.templating.template_fields import placeholders
from luthier.data.templating.template_yaml import Block, read_yaml
from luthier.errors import DataError, nearest, unknown

_KEYS = ("description", "fields", "templates")
_MEMBER_KEYS = (
    "system", "input", "target", "inverted", "super_ni", "lineage", "only_with", "only_without",
)  # fmt: skip


def load_templates(name: str, root: Path) -> list[Template]:
    """The templates that a name in a recipe stands for.

    Args:
        name: `plain` or `nli` (all templates of the set), `nli/follows_from_text` (one of them),
        or a
            file: `own.yaml`, `promptsource.yaml`, `flan.json`, or with a `#` before a part of it:
            `own.yaml#first`, `flan.json#rte`, `flan.json#rte/3`.
        root: folder of the recipe, where paths start from.

    Returns:
        At least one, in the order of the file.

    Raises:
        DataError: no such file or part of it, or something in it that is no template; with file and
            line, and the nearest name.
    """
    path = template_file(name, root)
    given, mark, _ = name.partition("#")
    if path.suffix == ".json":
        found = flan_pairs.read(path, given)
    else:
        own = path.parent != template_file("plain", root).parent
        set_name = given if own or mark else given.partition("/")[0]
        found = _of_yaml(path, set_name, joint="#" if own else "/")
    if not found:
        raise DataError(f"{path}: there are no templates in it.")
    chosen = [t for t in found if belongs_to(t.name, name)]
    if not chosen:
        raise _no_such_part(name, path, found)
    return chosen


def described(name: str) -> str:
    """What a template or set that ships with luthier is for, in a sentence.

    Raises:
        DataError: there is no such template.
    """
    tree = read_yaml(template_file(name, Path()))
    return str(tree["description"])


def _of_yaml(path: Path, name: str, joint: str) -> list[Template]:
    tree = read_yaml(path)
    if not isinstance(tree, Block) or "templates" not in tree:
        return [template_of(tree, name, path)]
    members = tree["templates"]
    if not isinstance(members, Block):
        raise DataError(
            f"{path}:{tree.line_of('templates')}: 'templates' is {members!r}, expected templates "
            "by their names."
        )
    if promptsource.is_promptsource(members):
        return promptsource.templates(members, path, name)
    check_keys(tree, _KEYS, path)
    described = text_of(tree, "description", path)
    known = _known_fields(tree, path)
    return [
        _member(member, f"{name}{joint}{key}", described, known, path, members.line_of(key))
        for key, member in members.items()
    ]


def _known_fields(tree: Block, path: Path) -> list[str] | None:
    """Fields that the set says it knows; None: it does not say."""
    fields = tree.get("fields")
    if fields is None:
        return None
    if not isinstance(fields, dict):
        raise DataError(
            f"{path}:{tree.line_of('fields')}: 'fields' is {fields!r}, expected the fields by "
            "name, each with what it is."
        )
    return [*map(str, fields), "labels", *PLACEHOLDERS]


def _member(
    member: Any, name: str, described: str, known: Sequence[str] | None, path: Path, line: int
) -> Template:
    if not isinstance(member, Block):
        raise DataError(f"{path}:{line}: '{name}' is {member!r}, expected input and target.")
    check_keys(member, _MEMBER_KEYS, path)
    if "super_ni" in member:
        settings = super_ni_of(member["super_ni"], member.line_of("super_ni"), path)
        return Template(name, described, "", "{output}", super_ni=settings)
    inverted = member.get("inverted", False)
    if not isinstance(inverted, bool):
        where = f"{path}:{member.line_of('inverted')}"
        raise DataError(f"{where}: 'inverted' is {inverted!r}, expected true or false.")
    template = Template(
        name=name,
        description=described,
        prompt_text=text_of(member, "input", path),
        completion_text=text_of(member, "target", path),
        system=text_of(member, "system", path) if member.get("system") is not None else None,
        inverted=inverted,
        only_with=_condition(member, "only_with", name, known, path),
        only_without=_condition(member, "only_without", name, known, path),
        metadata=dict(member.get("lineage") or {}),
    )
    for key in ("system", "input", "target"):
        for field in placeholders(str(member.get(key) or "")):
            if known is not None and field not in known:
                raise DataError(
                    f"{path}:{member.line_of(key)}: '{name}' has the placeholder {{{field}}}, "
                    f"which is not among the set's fields.{nearest(field, known)} They are: "
                    f"{', '.join(known)}."
                )
    return template


def _condition(
    member: Block, key: str, name: str, known: Sequence[str] | None, path: Path
) -> str | None:
    """The field that a template is only for rows with, or without."""
    if member.get(key) is None:
        return None
    found = text_of(member, key, path)
    if known is not None and found not in known:
        raise DataError(
            f"{path}:{member.line_of(key)}: '{name}' says {key}: {found}, which is not among the "
            f"set's fields.{nearest(found, known)} They are: {', '.join(known)}."
        )
    return found


def _no_such_part(name: str, path: Path, found: Sequence[Template]) -> DataError:
    joint = "#" if "#" in name else "/"
    file, _, part = name.partition(joint)
    if len(found) == 1 and found[0].name == file:
        return DataError(f"template '{name}': {path} is a single template; it is named '{file}'.")
    parts = [t.name.removeprefix(f"{file}{joint}") for t in found]
    if path.suffix == ".json" and "/" not in part:  # tasks rather than their templates
        parts = list(dict.fromkeys(p.rpartition("/")[0] for p in parts))
    return DataError(f"{path}: {unknown('template', part, parts)}")
