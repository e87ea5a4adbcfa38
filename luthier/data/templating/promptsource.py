"""Template files of promptsource (bigscience-workshop/promptsource, arXiv 2202.01279).

    dataset: rte
    templates:
      ID: !Template
        name: can we infer
        answer_choices: Yes ||| No
        jinja: |-
          Suppose {{premise}} Can we infer that "{{hypothesis}}"? Yes or no?
          |||
          {{ answer_choices[label] }}
        metadata: !TemplateMetadata {choices_in_prompt: true, original_task: true}

The files run as they are; how Jinja is rendered, and within which limits, `jinja_text.py` says.
What stands before `|||` is asked, what stands behind it is the answer; a row for which one of them
comes out empty is skipped with a reason. Fields are never shortened.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import TemplateSyntaxError

from luthier.data.templating import jinja_text
from luthier.data.templating.template import Template
from luthier.data.templating.template_yaml import PROMPTSOURCE_TAG, Block
from luthier.errors import DataError

_METADATA = ("choices_in_prompt", "languages", "metrics", "original_task")


def is_promptsource(members: Mapping[Any, Any]) -> bool:
    """Whether the templates of a YAML file are promptsource's."""
    return any(isinstance(m, Block) and m.tag == PROMPTSOURCE_TAG for m in members.values())


def templates(members: Block, path: Path, name: str) -> list[Template]:
    """The templates of a file, named `NAME#TEMPLATE`; of a name's second bearer, `TEMPLATE (ID)`.

    Args:
        members: what the file has under `templates`.
        path: of the file.
        name: of the file, as the recipe gives it.

    Raises:
        DataError: something in it is no template, or not valid Jinja.
    """
    found: dict[str, Template] = {}
    for key, member in members.items():
        line = members.line_of(key)
        if not isinstance(member, Block) or member.tag != PROMPTSOURCE_TAG:
            raise DataError(f"{path}:{line}: '{key}' is not marked {PROMPTSOURCE_TAG}.")
        template = _template(str(key), member, path, name, set(found))
        found[template.name] = template
    return list(found.values())


def _template(key: str, member: Block, path: Path, name: str, taken: set[str]) -> Template:
    source = _text(member, "jinja", path)
    if source is None:
        raise DataError(f"{path}:{member.line}: template '{key}' has no 'jinja'.")
    choices = _text(member, "answer_choices", path)
    for part, text in (("jinja", source), ("answer_choices", choices or "")):
        try:
            jinja_text.compiled(text)
        except TemplateSyntaxError as error:
            raise DataError(
                f"{path}:{member.line_of(part)}: '{part}' is not valid Jinja (its line "
                f"{error.lineno}): {error.message}"
            ) from None
    given = member.get("name") or key
    full = f"{name}#{given}"
    return Template(
        name=full if full not in taken else f"{full} ({key})",
        description=_description(member, path),
        prompt_text=source,
        completion_text="",
        dialect="jinja",
        answer_choices=choices,
        metadata=_metadata(member),
    )


def _text(member: Block, key: str, path: Path) -> str | None:
    value = member.get(key)
    if value is not None and not isinstance(value, str):
        raise DataError(f"{path}:{member.line_of(key)}: '{key}' is {value!r}, expected a text.")
    return value


def _description(member: Block, path: Path) -> str:
    said = _text(member, "reference", path)
    return said.strip() if said and said.strip() else "A template of promptsource."


def _metadata(member: Block) -> dict[str, Any]:
    found = member.get("metadata")
    if not isinstance(found, dict):
        return {}
    return {key: found[key] for key in _METADATA if found.get(key) is not None}
