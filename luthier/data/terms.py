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
    r"(apache|mit|bsd|isc|cc0|cc-by-[1-4]|cc-by-sa|odc-by|odbl|pddl|unlicense|gpl|lgpl|agpl|mpl"
    r"|cdla-permissive|public domain)",
    re.IGNORECASE,
)
_CLOSED = re.compile(r"(-nc\b|-nc-|non-?commercial|no commercial|research only)", re.IGNORECASE)


class _Generator(NamedTuple):
    """What the terms of a family of models say of training on their outputs."""

    name: re.Pattern[str]
    terms: str
    forbids: bool


_GENERATORS = [
    _Generator(
        re.compile(r"openai|gpt-|gpt3|gpt4|chatgpt|davinci", re.IGNORECASE),
        "OpenAI terms of use: outputs must not be used to develop models that compete with OpenAI",
        True,
    ),
    _Generator(
        re.compile(r"anthropic|claude", re.IGNORECASE),
        "Anthropic commercial terms: outputs must not be used to build competing models",
        True,
    ),
    _Generator(
        re.compile(r"gemini|palm|\bbard\b", re.IGNORECASE),
        "Google Gemini API terms: outputs must not be used to develop competing models",
        True,
    ),
    _Generator(
        re.compile(r"llama[- ]?2|llama2", re.IGNORECASE),
        "Llama 2 licence: outputs must not be used to improve other language models",
        True,
    ),
    _Generator(
        re.compile(r"smollm|qwen|mistral|mixtral|olmo|pythia|gpt2|t5|phi-", re.IGNORECASE),
        "open licence of the model: outputs may be used",
        False,
    ),
]


def commercial_by_licence(licence: str | None) -> Commercial:
    """What a licence says of commercial use.

    Args:
        licence: an SPDX identifier, or words.
    """
    if licence is None:
        return "unclear"
    if _CLOSED.search(licence):
        return "no"
    return "yes" if _OPEN.match(licence.strip()) else "unclear"


def generator_terms(generator: str | None) -> tuple[str | None, Commercial]:
    """What the terms of a model say of training on its outputs.

    Args:
        generator: its name; None: people wrote the rows, or nobody said.
    """
    if generator is None:
        return None, "yes"
    for family in _GENERATORS:
        if family.name.search(generator):
            return family.terms, "no" if family.forbids else "yes"
    return None, "unclear"


def terms_of(source: SourceConfig | None, entry: Entry | None) -> Terms:
    """The terms of a source's rows.

    Args:
        source: what the recipe says; it has the last word. None: only the catalogue is asked.
        entry: its entry in the catalogue, where it names one.
    """
    source = source or SourceConfig(path="unsaid")
    licence = source.licence or (entry.licence if entry else None)
    generator = source.generator or (entry.generator if entry else None)
    said, by_generator = generator_terms(generator)
    if source.outputs is not None:
        by_generator = "yes" if source.outputs == "free" else "no"
    elif by_generator == "unclear" and source.commercial is not None:
        by_generator = source.commercial  # whoever says that of the rows knows who wrote them
    if entry is not None and source.generator is None:
        said = entry.generator_terms or said
    by_licence = source.commercial or commercial_by_licence(licence)
    if entry is not None and source.licence is None and source.commercial is None:
        by_licence = {"mixed": "unclear"}.get(entry.commercial, entry.commercial)  # type: ignore[assignment]
    return Terms(licence, _both(by_licence, by_generator), generator, said)


def own_terms(row: Terms, source: Terms) -> Terms:
    """The terms of a row that says something itself, the rest as its source."""
    said, by_generator = generator_terms(row.generator or source.generator)
    by_licence = commercial_by_licence(row.licence) if row.licence else source.commercial
    return replace(
        source,
        licence=row.licence or source.licence,
        generator=row.generator or source.generator,
        generator_terms=row.generator_terms or (said if row.generator else source.generator_terms),
        commercial=_both(by_licence, by_generator),
    )


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
