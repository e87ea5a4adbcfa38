"""The OPTIONS clause: the possible answers, listed in a prompt where its template has `{options_}`.

    OPTIONS:          OPTIONS:          OPTIONS: yes, no or maybe
    - yes             (A) yes
    - no              (B) no
    - maybe           (C) maybe

The form with dashes is FLAN's (arXiv 2109.01652, 2.3); `{options_str}`, which its ReCoRD templates
use, is the same. All options are always listed. The answer to be learned is the option's text in
every style: what an answer is does not depend on how the options were shown, and labels are scored
as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from luthier.data.config import OptionsConfig
from luthier.data.templating.draws import Draw
from luthier.data.templating.template_fields import as_text, placeholders

PLACEHOLDERS = ("options_", "options_str")
_FIELDS = ("options", "choices", "answer_choices")


def has_options(text: str) -> bool:
    """Whether a template's text has a place for the clause."""
    return any(name in PLACEHOLDERS for name in placeholders(text))


def options_of(fields: Mapping[str, Any], labels: Sequence[str]) -> list[str]:
    """The possible answers of a row: the task's labels, else the row's own list of them.

    The list is the field `options`, `choices` or `answer_choices`; where that is an object with a
    list `text` beside the letters, as in ARC, it is that list. Empty: nobody says.

    Args:
        fields: those of the row.
        labels: of the task; empty where it has none.
    """
    if labels:
        return list(labels)
    for name in _FIELDS:
        value = fields.get(name)
        if isinstance(value, Mapping):
            value = value.get("text")
        if isinstance(value, (list, tuple)) and value:
            return [as_text(option) for option in value]
    return []


def is_shown(config: OptionsConfig, draw: Draw | None) -> bool:
    """Whether a row gets the clause.

    Args:
        config: `sampled` gives it to a share of the rows.
        draw: that of the row; None: nothing is drawn, and the clause is there unless it is off.
    """
    if config.mode == "sampled" and draw is not None:
        return draw.number("options shown") < config.share
    return config.mode != "off"


def clause(options: Sequence[str], config: OptionsConfig, draw: Draw | None) -> str:
    """The clause that lists the options.

    Args:
        options: at least one.
        config: style and whether the order is drawn.
        draw: that of the row; None: they stand in the order given.
    """
    if config.shuffle and draw is not None:
        options = draw.shuffled("options order", options)
    if config.style == "words":
        return f"OPTIONS: {_in_words(options)}"
    marks = [f"({_letter(i)}) " if config.style == "letters" else "- " for i in range(len(options))]
    lines = [mark + option for mark, option in zip(marks, options, strict=True)]
    return "\n".join(["OPTIONS:", *lines])


def _in_words(options: Sequence[str]) -> str:
    *others, last = options
    return f"{', '.join(others)} or {last}" if others else last


def _letter(place: int) -> str:
    """A to Z, then AA, AB and so on."""
    letters = ""
    place += 1
    while place:
        place, rest = divmod(place - 1, 26)
        letters = chr(ord("A") + rest) + letters
    return letters
