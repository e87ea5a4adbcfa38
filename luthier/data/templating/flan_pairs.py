r"""FLAN's templates: a JSON file of tasks, each with pairs of an input and a target text.

    {"rte": [["{premise}\n\nDoes it follow that {hypothesis}?\n\n{options_}", "{answer}"], ...]}

`{field}` inserts a field, any other brace is a brace (FLAN replaces `{\w*}`; arXiv 2109.01652,
google-research/FLAN, flan/preprocessors.py). The fields that the targets of most templates of a
task share are the task's own; a template with others asks the other way round and is marked
`inverted`.

Templates are rendered as they stand. FLAN's first edition has a stray letter `n` behind
`{hypothesis}` in nine of them (tasks rte, anli and cb), which its second edition has not.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

from luthier.data.templating.template import Template
from luthier.data.templating.template_fields import escaped, only_placeholder
from luthier.errors import DataError

_FIELD = re.compile(r"\{(\w+)\}")


def read(path: Path, name: str) -> list[Template]:
    """All templates of a file, named `NAME#TASK/PLACE` with places from 0 on, as FLAN counts them.

    Args:
        path: of the file.
        name: of the file, as the recipe gives it.

    Raises:
        DataError: it is not JSON, or something in it is not a pair of texts.
    """
    try:
        tasks = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise DataError(f"{path}:{error.lineno}: not valid JSON: {error.msg}.") from None
    except (UnicodeDecodeError, OSError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from None
    if not isinstance(tasks, dict):
        raise DataError(
            f"{path}: expected an object of tasks, each a list of [input, target] pairs, found "
            f"{type(tasks).__name__}."
        )
    return [t for task, pairs in tasks.items() for t in _of_task(task, pairs, path, name)]


def _of_task(task: str, pairs: Any, path: Path, name: str) -> list[Template]:
    if not isinstance(pairs, list):
        raise DataError(f"{path}: task '{task}' is no list of [input, target] pairs.")
    for place, pair in enumerate(pairs):
        if not (
            isinstance(pair, list) and len(pair) == 2 and all(isinstance(t, str) for t in pair)
        ):
            raise DataError(
                f"{path}: template {place} of the task '{task}' is {str(pair)[:60]}, expected a "
                "pair [input, target] of texts."
            )
    counted = Counter(_asked_for(target) for _, target in pairs).most_common(1)
    usual = counted[0][0] if counted else frozenset()
    own = next((target for _, target in pairs if _asked_for(target) == usual), "")
    return [
        Template(
            name=f"{name}#{task}/{place}",
            description=f"FLAN's template {place} of the task {task}.",
            prompt_text=_as_luthier_has_it(asked),
            completion_text=_as_luthier_has_it(target),
            inverted=_asked_for(target) != usual,
            answer_field=only_placeholder(own.strip()) or "output",
        )
        for place, (asked, target) in enumerate(pairs)
    ]


def _asked_for(target: str) -> frozenset[str]:
    """What tells targets apart: their fields, however they are worded; without any, the text.

    FLAN's second edition says `The answer is {answer}` in several ways within a task, and starts
    some targets on a line of their own.
    """
    return frozenset(_FIELD.findall(target)) or frozenset([target.strip()])


def _as_luthier_has_it(text: str) -> str:
    """The text with braces that belong to no field written twice."""
    pieces = _FIELD.split(text)
    return "".join(f"{{{p}}}" if i % 2 else escaped(p) for i, p in enumerate(pieces))
