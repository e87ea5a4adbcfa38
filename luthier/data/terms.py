"""On what terms rows may be used: the licence of the data, and the terms of the model behind it.

Two different things: a file under MIT may hold text whose model's terms forbid training a
competitor on it. A row may go into a commercial model when its licence allows it and its generator,
if it has one, does not forbid it. This is bookkeeping, not legal advice.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Literal, NamedTuple

from luthier.data.catalog import Entry
from luthier.data.config import SourceConfig
from luthier.example import Terms

Commercial = Literal["yes", "no", "unclear"]

# SPDX identifiers (https://spdx.org/licenses), by what their texts say of commercial use.
_OPEN = re.compile(
    r"(apache|mit|bsd|isc|cc0|cc[- ]by([- ][1-4]|[- ]sa|$)|odc-by|odbl|pddl|unlicense|gpl|lgpl|agpl"
    r"|mpl|cdla-permissive|public domain)(?![a-z])",
    re.IGNORECASE,
)
_CLOSED = re.compile(
    r"([- ]nc\b|non-?commercial|no commercial|research only|for research)", re.IGNORECASE
)
_SEVERAL = re.compile(r"\s*[,;|]\s*|\s+(?:and|\+|&)\s+", re.IGNORECASE)
"""Between the licences of one row."""

OF_OUTPUTS = "of the generator's outputs"
"""Licence of rows that a model wrote: none but what the terms of the model say."""
_OPEN_MODEL = "open licence of the model: outputs may be used"
_OPEN_GPT = re.compile(
    r"((openai(-community)?/)?(?<![a-z])(distil)?gpt-?(oss|2|neox?|j)|cerebras-gpt)(?![a-z0-9])",
    re.IGNORECASE,
)
"""Models called GPT whose weights are open, two of OpenAI among them."""
_LONGEST_NAME = 80
"""Characters; what is longer talks about models."""


class _Generator(NamedTuple):
    """What the terms of a family of models say of training on their outputs."""

    name: re.Pattern[str]
    terms: str
    forbids: bool


_GENERATORS = [
    _Generator(
        re.compile(r"openai|chatgpt|davinci|(?<![a-z])gpt([-_]| ?\d)", re.IGNORECASE),
        "OpenAI terms of use: outputs must not be used to develop models that compete with OpenAI",
        True,
    ),
    _Generator(
        re.compile(r"anthropic|claude", re.IGNORECASE),
        "Anthropic commercial terms: outputs must not be used to build competing models",
        True,
    ),
    _Generator(
        re.compile(r"(?<![a-z])(gemini|palm|bard)(?![a-z])", re.IGNORECASE),
        "Google Gemini API terms: outputs must not be used to develop competing models",
        True,
    ),
    _Generator(
        re.compile(r"llama[-_ ]?2(?!\d)", re.IGNORECASE),
        "Llama 2 licence: outputs must not be used to improve other language models",
        True,
    ),
    _Generator(
        # Not the Qwen and Mistral models without open weights, nor those for research only, nor
        # those of Qwen under its own agreement (all up to 1.5, and 3B and 72B of 2 and 2.5).
        re.compile(
            r"(?<![a-z])(smollm|mixtral|olmo|pythia|phi[-\d]|(flan-|m|by)?t5(?![a-z0-9])"
            r"|qwen[-_ ]?(2|2\.5|3)(?!\.?\d)(?![\w.-]*-(max|plus|turbo|flash|long|3b|72b))"
            r"|mistral(?![a-z/.])(?![-_ ](large|medium|small(?!-(3|24b))|tiny|embed)))",
            re.IGNORECASE,
        ),
        _OPEN_MODEL,
        False,
    ),
]


def commercial_by_licence(licence: str | None) -> Commercial:
    """What a licence says of commercial use.

    Args:
        licence: an SPDX identifier, or words; of several, with commas between them, what forbids
            most counts.
    """
    if licence is None:
        return "unclear"
    if licence == OF_OUTPUTS:
        return "yes"
    if _CLOSED.search(licence):
        return "no"
    return "yes" if all(map(_OPEN.match, _SEVERAL.split(licence.strip()))) else "unclear"


def generator_terms(generator: str | None) -> tuple[str | None, Commercial]:
    """What the terms of a model say of training on its outputs.

    Args:
        generator: its name, or several with ` + ` between them; None: people wrote the rows, or
            nobody said.
    """
    if generator is None:
        return None, "yes"
    found = [_terms_by_name(name) for name in generator.split(" + ")]
    # What forbids most comes first.
    return min(found, key=lambda one: ("no", "unclear", "yes").index(one[1]))


def _terms_by_name(name: str) -> tuple[str | None, Commercial]:
    closed = _OPEN_GPT.sub("", name)
    for family in _GENERATORS:
        if family.name.search(closed):
            return family.terms, "no" if family.forbids else "yes"
    return (_OPEN_MODEL, "yes") if closed != name else (None, "unclear")


def names_a_model(text: str) -> bool:
    """Whether a text is the name of a model whose terms are known."""
    return len(text) < _LONGEST_NAME and generator_terms(text)[1] != "unclear"


def terms_of(source: SourceConfig | None, entry: Entry | None) -> Terms:
    """The terms of a source's rows.

    Args:
        source: what the recipe says; it has the last word. None: only the catalogue is asked.
        entry: its entry in the catalogue, where it names one.
    """
    source = source or SourceConfig(path="unsaid")
    licence = source.licence or (entry.licence if entry else None)
    generator = source.generator or (entry.generator if entry else None)
    said, by_generator = _generator_terms(generator, source)
    if entry is not None and source.generator is None:
        said = entry.generator_terms or said
    by_licence = source.commercial or commercial_by_licence(licence)
    if entry is not None and source.licence is None and source.commercial is None:
        by_licence = {"mixed": "unclear"}.get(entry.commercial, entry.commercial)  # type: ignore[assignment]
    return Terms(licence, _both(by_licence, by_generator), generator, said)


def own_terms(row: Terms, terms: Terms, source: SourceConfig | None = None) -> Terms:
    """The terms of a row that says something itself, the rest as its source.

    Args:
        row: what the row says.
        terms: those of its source. A licence there that forbids commercial use holds for all rows.
        source: what the recipe says of that; it has the last word on the generator's terms, and on
            a licence of which nobody can say what it allows.
    """
    said, by_generator = _generator_terms(row.generator or terms.generator, source)
    by_licence = terms.commercial
    if row.licence:
        by_licence = commercial_by_licence(row.licence)
        by_source = source.commercial if source is not None else None
        if by_licence == "unclear":
            by_licence = by_source or by_licence
        if "no" in (by_source, commercial_by_licence(terms.licence)):
            by_licence = "no"
    return replace(
        terms,
        licence=row.licence or terms.licence,
        generator=row.generator or terms.generator,
        generator_terms=row.generator_terms or (said if row.generator else terms.generator_terms),
        commercial=_both(by_licence, by_generator),
    )


def _generator_terms(
    generator: str | None, source: SourceConfig | None
) -> tuple[str | None, Commercial]:
    """The terms of a model, unless the recipe knows better."""
    said, allowed = generator_terms(generator)
    if source is not None and source.outputs is not None:
        allowed = "yes" if source.outputs == "free" else "no"
    elif source is not None and allowed == "unclear" and source.commercial is not None:
        allowed = source.commercial  # whoever says that of the rows knows who wrote them
    return said, allowed


def refusal(terms: Terms, use: str | None) -> str | None:
    """Why a row must not go into a dataset; None when it may.

    Args:
        terms: those of the row.
        use: the recipe's `data.use`.
    """
    if use != "commercial" or terms.commercial == "yes":
        return None
    parts = [f"licence {terms.licence or 'unknown'}"]
    if terms.generator:
        parts.append(f"written by {terms.generator}")
    if terms.commercial == "no":
        said = f" ({terms.generator_terms})" if terms.generator_terms else ""
        return f"terms: {', '.join(parts)}: not for commercial use{said}"
    return (
        f"terms: {', '.join(parts)}: nobody says that commercial use is allowed; if you know that "
        "it is, say so with `commercial: yes` at the source"
    )


def _both(first: Commercial, second: Commercial) -> Commercial:
    if "no" in (first, second):
        return "no"
    return "unclear" if "unclear" in (first, second) else "yes"
