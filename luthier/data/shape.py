"""What a row becomes: messages through a template, a conversation, or plain text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from luthier.chat import Rendered
from luthier.data.candidate import Candidate
from luthier.data.config import DataConfig, SourceConfig
from luthier.data.rows import Reject, Row
from luthier.data.templating.draws import Draw, pick
from luthier.data.templating.inversion import inverted
from luthier.data.templating.template import MissingField, Skipped, Template, as_text
from luthier.data.templating.template_sets import load_templates
from luthier.errors import DataError
from luthier.example import Example, content_id
from luthier.recipe import Recipe

Render = Callable[[Example], Rendered]
PLAIN = "plain"
"""The template of columns where the recipe names none."""
_PASSAGE = 20
"""Characters from which a field that stands in the prompt is part of the question, not a name."""


@dataclass
class Shape:
    """How rows of one task look."""

    kind: str
    labels: list[str]
    data: DataConfig
    seed: int
    sets: Mapping[str, Sequence[Template]]
    """Per name in the recipe: one template, or those of a set."""
    _lacking: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(template, placeholder): rows of the current source that lacked the field."""
    _filled: Counter[tuple[str, str]] = field(default_factory=Counter)
    """The same for rows that had it."""
    _fields: dict[str, None] = field(default_factory=dict)

    @property
    def templates(self) -> list[Template]:
        """All of them, each once."""
        return [t for templates in self.sets.values() for t in templates]

    @property
    def format(self) -> str:
        """The importer this task needs unless its sources name another."""
        return {"chat": "messages", "text": "text"}.get(self.kind, "columns")

    def columns(self, source: SourceConfig, name: str) -> list[str]:
        """Columns that a source is asked for, when read with the importer of that name."""
        asked = {
            "messages": [source.messages],
            "text": [source.text],
            "columns": [source.input, source.output, *source.fields.values()],
        }
        return asked.get(name, [])

    def apply(self, row: Row, source: SourceConfig, render: Render) -> Candidate | Reject:
        """Turn a row into an example, with what it asks and answers."""
        if row.text is not None:
            return self._text(row, render)
        if self.kind == "text":
            return Reject(row.origin, "no plain text: task.kind is text", row.fields)
        if row.built is not None:
            return as_built(row.built, self.labels, render)
        # A conversation has words of its own; only its own source can ask for others.
        if row.messages and source.template is None:
            return self._conversation(row, render)
        names = self.data.templates_of(source) or [PLAIN]
        return self._templated(row, [t for name in names for t in self.sets[name]], render)

    def _text(self, row: Row, render: Render) -> Candidate | Reject:
        if self.kind not in ("text", "chat", "generation"):
            return Reject(row.origin, f"plain text: it has no label for {self.kind}", row.fields)
        text = row.text or ""
        example = Example(content_id([text]), row.origin, fields=row.fields, text=text)
        return Candidate(example, text, "", [], render)

    def _conversation(self, row: Row, render: Render) -> Candidate | Reject:
        turns = [m for m in row.messages[:-1] if m.role != "system"]
        question = "\n".join(m.content for m in turns if m.role == "user")
        answer, fields, label = row.messages[-1].content, row.fields, None
        if self.labels:
            label, fields = answer, {**fields, "input": question, "output": answer}
        said: list[Any] = [part for m in row.messages for part in (m.role, m.content)]
        said += [m.tool_calls for m in row.messages if m.tool_calls]
        example = Example(
            content_id(said), row.origin, fields=fields, messages=row.messages, tools=row.tools,
            label=label,
        )  # fmt: skip
        return Candidate(example, question, answer, self.labels, render)

    def _templated(
        self, row: Row, templates: Sequence[Template], render: Render
    ) -> Candidate | Reject:
        fields = dict(row.fields)
        if "output" in fields:
            fields["output"] = self._answer(fields["output"])
        if "input" in fields:
            fields["input"] = as_text(fields["input"])
        given: dict[str, Any] = fields
        if self.labels:
            given = {**fields, "labels": ", ".join(self.labels)}
        # What a row asks is the same whichever template it gets, and so is its id.
        asked = [as_text(fields.get(name)) for name in _question_fields(templates)]
        mark = content_id([*asked, as_text(fields.get("output"))])
        draw = Draw(self.seed, mark)
        template = pick(self._offered(templates, draw, given), draw, given)
        self._note(template, given)
        try:
            messages = template.messages(
                given, labels=self.labels, draw=draw, options=self.data.options
            )
        except MissingField as error:
            listed = ", ".join(map(str, given))
            reason = f"missing field: no '{error}' for template '{template.name}'; it has {listed}"
            return Reject(row.origin, reason, fields)
        except Skipped as error:
            return Reject(row.origin, f"{error} (template '{template.name}')", fields)
        answer = messages[-1].content
        example = Example(
            mark, row.origin, fields=fields, messages=messages, template=template.name,
            label=answer if self.labels else None,
        )  # fmt: skip
        return Candidate(example, "\n".join(asked), answer, self.labels, render)

    def _offered(
        self, templates: Sequence[Template], draw: Draw, given: Mapping[str, Any]
    ) -> Sequence[Template]:
        """The templates among which a row's is chosen: those of its direction."""
        share = self.data.inverted
        if share is None or self.kind == "classification":
            return templates
        turned = draw.number("inverted") < share
        found = [t for t in templates if t.inverted == turned and t.suits(given)]
        return found or [t for t in templates if not t.inverted] or templates

    def _answer(self, value: Any) -> str:
        text = as_text(value)
        # A typed boolean has no spelling of its own: `true` and `True` are both it.
        if isinstance(value, bool) and text not in self.labels and str(value) in self.labels:
            return str(value)
        return text

    def _note(self, template: Template, given: dict[str, Any]) -> None:
        self._fields.update(dict.fromkeys(given))
        for name in template.fields:
            (self._filled if name in given else self._lacking)[template.name, name] += 1

    def require_fields_seen(self, source: str) -> None:
        """Raise a DataError if a placeholder had no field in any row of the source just read."""
        fields = list(self._fields)
        for name, placeholder in self._lacking:
            if not self._filled[name, placeholder]:
                template = next(t for t in self.templates if t.name == name)
                raise template.unknown_placeholder(placeholder, fields, source)
        self._lacking.clear()
        self._filled.clear()
        self._fields.clear()


def as_built(example: Example, labels: Sequence[str], render: Render) -> Candidate:
    """A row that was built before, for filters to look at; its words stay what they are.

    What it asks, apart from its template's words, is its input and whatever else of its fields
    stands in its prompt. A conversation asks with its users' turns.

    Args:
        example: the row.
        labels: the task's label set.
        render: the renderer of its model.
    """
    if not example.messages:
        return Candidate(example, example.text or "", "", labels, render)
    shown = "\n".join(message.content for message in example.prompt)
    asked = [m.content for m in example.prompt if m.role == "user"]
    if example.template is not None:
        named = [
            value
            for name, value in example.fields.items()
            if isinstance(value, str) and value.strip() and value in shown
            and (name == "input" or (name != "output" and len(value) >= _PASSAGE))
        ]  # fmt: skip
        asked = named or asked
    return Candidate(example, "\n".join(asked), example.completion, labels, render)


def _question_fields(templates: Sequence[Template]) -> list[str]:
    """Fields that make up what a row asks, whichever template it gets."""
    names = [name for t in templates for name in t.question_fields]
    answers = {"labels", "output", *(t.answer_field for t in templates)}
    return [n for n in dict.fromkeys(names) if n not in answers] or ["input"]


def shape_of(recipe: Recipe, sets: Mapping[str, Sequence[Template]]) -> Shape:
    """The shape of a recipe's rows.

    Args:
        recipe: says the task.
        sets: templates by the name under which the recipe asks for them.

    Raises:
        DataError: a template that cannot be used for the task.
    """
    kind = recipe.task.kind
    if kind == "classification":
        sets = {name: _closed(name, found, recipe.labels) for name, found in sets.items()}
    elif recipe.data.inverted:
        sets = {
            name: [*found, *(t for each in found if (t := inverted(each)))]
            for name, found in sets.items()
        }
    return Shape(kind, recipe.labels, recipe.data, recipe.seed, sets)


def _closed(name: str, found: Sequence[Template], labels: Sequence[str]) -> list[Template]:
    """The templates whose completion is a label; labels are scored as they are.

    Raises:
        DataError: there is none.
    """
    closed = [t for t in found if t.closed and (t.choices is None or set(t.choices) == set(labels))]
    if closed:
        return closed
    first = found[0]
    if first.choices is not None:
        said = f"answers with {', '.join(first.choices)}, and task.labels is {', '.join(labels)}"
    else:
        said = f"has {first.completion_text!r}" if first.completion_text else "has another"
    raise DataError(
        f"template '{name}': in classification the completion is the label, '{{output}}'; this one "
        f"{said}. Labels are scored as they are."
    )


def template_sets(recipe: Recipe, root: Path) -> dict[str, list[Template]]:
    """The templates a recipe asks for, by the name it asks with.

    Args:
        recipe: the recipe.
        root: its folder, where relative paths start from.

    Raises:
        DataError: no such template, or a file that is none.
    """
    if recipe.task.kind == "text":
        return {}
    names = recipe.data.templates
    bare = any(not recipe.data.templates_of(source) for source in recipe.data.sources)
    return {name: load_templates(name, root) for name in [*names, *([PLAIN] if bare else [])]}
