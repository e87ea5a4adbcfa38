"""What templates ask of a source: under which names they find its columns, and which they need."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from luthier.data.config import SourceConfig
from luthier.data.templating.options import has_options, options_of
from luthier.data.templating.template import Template
from luthier.errors import DataError

_FIXED = ("input", "output")


def mapped_columns(source: SourceConfig) -> dict[str, str]:
    """The column of every field that a source's rows of columns have by another name."""
    return {**source.fields, "input": source.input, "output": source.output}


def other_names(fields: Mapping[str, Any], source: SourceConfig) -> dict[str, str]:
    """Names under which templates find fields as well, each with the field.

    A column that was mapped to a field keeps its own name for templates, which somebody may have
    written for the file as it is. Of a row that was not renamed, it is the other way round.

    Args:
        fields: of a row, as they are stored.
        source: where the row comes from.
    """
    found: dict[str, str] = {}
    for name, column in mapped_columns(source).items():
        for other, known in ((column, name), (name, column)):
            if other not in fields and known in fields:
                found.setdefault(other, known)
    # Under this name promptsource's templates find their own answers.
    found.pop("answer_choices", None)
    return found


def with_other_names(fields: Mapping[str, Any], source: SourceConfig) -> dict[str, Any]:
    """The fields of a row, those with two names under both; nothing of it is stored."""
    return {**fields, **{o: fields[n] for o, n in other_names(fields, source).items()}}


@dataclass(frozen=True)
class Asked:
    """What is asked of the columns of a source."""

    required: dict[str, str]
    """Fields that every row must have, with their columns."""
    printed: frozenset[str]
    """Those of them that stand in a text as they are, and so must be text."""


def asked_of(source: SourceConfig, templates: Sequence[Template]) -> Asked:
    """What a source's templates ask of its columns.

    `input` and `output` need not be there where no template asks for them and the recipe names no
    column for them.

    Args:
        source: the source.
        templates: those of its rows.
    """
    needs = {name for template in templates for name in template.fields}
    shown = {name for template in templates for name in template.printed_fields}
    columns = mapped_columns(source)
    required = {
        name: column for name, column in columns.items()
        if name not in _FIXED or column != name or name in needs
    }  # fmt: skip
    printed = {n for n, c in required.items() if n in shown or (c in shown and c not in columns)}
    return Asked(required, frozenset(printed))


def wanted_columns(source: SourceConfig, templates: Sequence[Template]) -> list[str]:
    """Columns by which a CSV file's delimiter is told."""
    required = list(asked_of(source, templates).required.values())
    return required or [name for template in templates[:1] for name in template.fields]


@dataclass
class Seen:
    """What the rows of one source had of what their templates need."""

    lacking: dict[tuple[str, str], Template] = field(default_factory=dict)
    """(template, placeholder) that some row lacked."""
    fields: dict[str, None] = field(default_factory=dict)
    """All fields of all rows."""
    unlisted: Template | None = None
    """A template whose OPTIONS clause could not be filled for some row."""
    listed: bool = False
    """Whether any row said what its options are."""

    def note(
        self, template: Template, given: Mapping[str, Any], labels: Sequence[str], *, listing: bool
    ) -> None:
        """Take notice of a row.

        Args:
            template: that of the row.
            given: what it is filled with.
            labels: the label set of the row.
            listing: whether options are listed at all.
        """
        self.fields.update(dict.fromkeys(given))
        for name in template.fields:
            if name not in given:
                self.lacking.setdefault((template.name, name), template)
        if options_of(given, labels):
            self.listed = True
        elif listing and template.dialect == "fields" and has_options(template.prompt_text):
            self.unlisted = self.unlisted or template

    def require(self, source: str) -> None:
        """Raise a DataError for what a template needs and no row of the source had."""
        for (_, placeholder), template in self.lacking.items():
            if placeholder not in self.fields:
                raise template.unknown_placeholder(placeholder, list(self.fields), source)
        if self.unlisted is not None and not self.listed:
            listed = ", ".join(sorted(self.fields)) or "none"
            raise DataError(
                f"template '{self.unlisted.name}': lists the possible answers ({{options_}}), and "
                f"nothing says what they are in {source}. Write them on the source, "
                "`data.sources: [{..., labels: [yes, no]}]`; or give rows of their own a field "
                "`options` with a list; or leave them out, `data.options: {mode: off}`. Fields "
                f"there: {listed}."
            )
