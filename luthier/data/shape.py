"""What a row becomes: messages through a template, a conversation, or plain text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from luthier.chat import Rendered
from luthier.data.candidate import Candidate
from luthier.data.config import SourceConfig
from luthier.data.rows import Reject, Row
from luthier.data.template import MissingField, Template, as_text
from luthier.errors import DataError
from luthier.example import Example, content_id
from luthier.recipe import Recipe

Render = Callable[[Example], Rendered]


@dataclass
class Shape:
    """How rows of one task look."""

    kind: str
    labels: list[str]
    templates: list[Template]
    """Empty for chat and text."""
    _lacking: Counter[str] = field(default_factory=Counter)
    """Rows of the current source that lacked a placeholder's field."""
    _filled: Counter[str] = field(default_factory=Counter)
    """Rows of the current source that had it."""
    _fields: dict[str, None] = field(default_factory=dict)

    @property
    def format(self) -> str:
        """The importer this task needs unless its sources name another."""
        return {"chat": "messages", "text": "text"}.get(self.kind, "columns")

    def columns(self, source: SourceConfig) -> list[str]:
        """Columns that are read from a source."""
        if self.kind == "chat":
            return [source.messages]
        return [source.text] if self.kind == "text" else [source.input, source.output]

    def apply(self, row: Row, render: Render) -> Candidate | Reject:
        """Turn a row into an example, with what it asks and answers."""
        if self.kind == "chat":
            turns = [m for m in row.messages[:-1] if m.role != "system"]
            question = "\n".join(m.content for m in turns if m.role == "user")
            said = [part for m in row.messages for part in (m.role, m.content)]
            example = Example(
                content_id(said), row.origin, fields=row.fields, messages=row.messages
            )
            return Candidate(example, question, row.messages[-1].content, [], render)
        if self.kind == "text":
            text = row.fields["text"]
            example = Example(content_id([text]), row.origin, fields=row.fields, text=text)
            return Candidate(example, text, "", [], render)
        return self._templated(row, render)

    def _templated(self, row: Row, render: Render) -> Candidate | Reject:
        answer = self._answer(row.fields["output"])
        fields = {**row.fields, "output": answer}
        fields["input"] = as_text(fields["input"])
        given: dict[str, Any] = {**fields, "labels": ", ".join(self.labels)}
        if not self.labels:
            given = fields
        texts = [as_text(fields.get(name)) for name in self._question_fields()]
        mark = content_id([*texts, answer])
        template = self.templates[int(mark, 16) % len(self.templates)]
        self._note(template, given)
        try:
            messages = template.messages(given)
        except MissingField as error:
            listed = ", ".join(map(str, given))
            reason = f"missing field: no '{error}' for template '{template.name}'; it has {listed}"
            return Reject(row.origin, reason, fields)
        example = Example(
            mark, row.origin, fields=fields, messages=messages, template=template.name,
            label=answer if self.labels else None,
        )  # fmt: skip
        return Candidate(example, "\n".join(texts), answer, self.labels, render)

    def _question_fields(self) -> list[str]:
        """Fields that make up what a row asks, whichever template it gets."""
        names = [name for t in self.templates for name in t.question_fields]
        return [n for n in dict.fromkeys(names) if n not in ("labels", "output")] or ["input"]

    def _answer(self, value: Any) -> str:
        text = as_text(value)
        # A typed boolean has no spelling of its own: `true` and `True` are both it.
        if isinstance(value, bool) and text not in self.labels and str(value) in self.labels:
            return str(value)
        return text

    def _note(self, template: Template, given: dict[str, Any]) -> None:
        self._fields.update(dict.fromkeys(given))
        for name in template.fields:
            (self._filled if name in given else self._lacking)[f"{template.name}\0{name}"] += 1

    def require_fields_seen(self, source: str) -> None:
        """Raise a DataError if a placeholder had no field in any row of the source just read."""
        fields = list(self._fields)
        for key in self._lacking:
            if not self._filled[key]:
                name, _, placeholder = key.partition("\0")
                template = next(t for t in self.templates if t.name == name)
                raise template.unknown_placeholder(placeholder, fields, source)
        self._lacking.clear()
        self._filled.clear()
        self._fields.clear()


def shape_of(recipe: Recipe, templates: Sequence[Template]) -> Shape:
    """The shape of a recipe's rows.

    Args:
        recipe: says the task.
        templates: those of the recipe; none for chat and text.

    Raises:
        DataError: a template that cannot be used for the task.
    """
    kind = recipe.task.kind
    for template in templates:
        if kind == "classification" and template.completion_text != "{output}":
            raise DataError(
                f"template '{template.name}': in classification the completion is the label, "
                f"'{{output}}', not {template.completion_text!r}; labels are scored as they are."
            )
    return Shape(kind, recipe.labels, list(templates))
