"""What a row becomes: messages through a template, a conversation, or plain text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from luthier.chat import Rendered
from luthier.data.candidate import Candidate
from luthier.data.config import DataConfig, SourceConfig
from luthier.data.decisions import Edits, Reviewed
from luthier.data.rows import Reject, Row
from luthier.data.templating.draws import Draw, pick
from luthier.data.templating.inversion import inverted
from luthier.data.templating.template import MissingField, Skipped, Template, as_text
from luthier.data.templating.template_sets import load_templates
from luthier.errors import DataError
from luthier.example import Example, Message, content_id
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
    reviewed: Reviewed | None = None
    """What people decided about the rows."""
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
        """Turn a row into an example, with what it asks and answers; as people edited it."""
        found = self._applied(row, source, render)
        if isinstance(found, Reject) or found.decision is None or found.decision.decision != "drop":
            return found
        return Reject(row.origin, found.decision.reason, dict(found.example.fields), found.example)

    def _applied(self, row: Row, source: SourceConfig, render: Render) -> Candidate | Reject:
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
        id = content_id([text])
        decision = self.reviewed.decisions.of(id) if self.reviewed else None
        edited = None
        if decision is not None and decision.edits.text is not None:
            text = decision.edits.text
            edited = content_id([text])
        example = Example(id, row.origin, fields=row.fields, text=text)
        return Candidate(example, text, "", [], render, decision, edited)

    def _conversation(self, row: Row, render: Render) -> Candidate | Reject:
        id, messages = _said(row.messages), row.messages
        decision = self.reviewed.decisions.of(id) if self.reviewed else None
        edited = None
        if decision is not None and decision.edits:
            messages = _with_turns(messages, decision.edits)
            edited = _said(messages)
        turns = [m for m in messages[:-1] if m.role != "system"]
        question = "\n".join(m.content for m in turns if m.role == "user")
        answer, fields, label = messages[-1].content, row.fields, None
        if self.labels:
            label, fields = answer, {**fields, "input": question, "output": answer}
        example = Example(
            id, row.origin, fields=fields, messages=messages, tools=row.tools, label=label
        )
        return Candidate(example, question, answer, self.labels, render, decision, edited)

    def _templated(
        self, row: Row, templates: Sequence[Template], render: Render
    ) -> Candidate | Reject:
        fields = dict(row.fields)
        if "output" in fields:
            fields["output"] = self._answer(fields["output"])
        if "input" in fields:
            fields["input"] = as_text(fields["input"])
        # What a row asks is the same whichever template it gets, and so is its id.
        asked = self._asked(fields, templates)
        mark = content_id([*asked, as_text(fields.get("output"))])
        decision = self.reviewed.decisions.of(mark) if self.reviewed else None
        edits = decision.edits if decision is not None else Edits()
        edited = None
        if edits:
            # The id stays, and with it the template and all that is drawn: the words around what
            # was edited are those that were seen.
            fields = _with_fields(fields, edits)
            asked = self._asked(fields, templates)
            edited = content_id([*asked, as_text(fields.get("output"))])
        given: dict[str, Any] = fields
        if self.labels:
            given = {**fields, "labels": ", ".join(self.labels)}
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
        messages = _with_label(messages, edits)
        answer = messages[-1].content
        example = Example(
            mark, row.origin, fields=fields, messages=messages, template=template.name,
            label=answer if self.labels else None,
        )  # fmt: skip
        # Layouts with several names for a field ask with it once.
        parts = list(dict.fromkeys(part for part in asked if part.strip()))
        question = "\n".join(parts)
        return Candidate(example, question, answer, self.labels, render, decision, edited, parts)

    def _asked(self, fields: Mapping[str, Any], templates: Sequence[Template]) -> list[str]:
        return [as_text(fields.get(name)) for name in _question_fields(templates)]

    def with_edits(self, example: Example, edits: Edits) -> Example:
        """A row as a build would make it with somebody's edits, without its solved examples.

        Args:
            example: a row of this shape; its id is that of what it said in its source.
            edits: what is to be said instead.

        Raises:
            DataError: its template can no longer be filled in.
        """
        if example.text is not None:
            return example if edits.text is None else example.but(text=edits.text)
        template = next((t for t in self.templates if t.name == example.template), None)
        if template is None:
            messages, fields = _with_turns(example.messages, edits), dict(example.fields)
            if self.labels and edits:
                fields = _with_fields(fields, Edits(label=messages[-1].content))
        else:
            fields = _with_fields(example.fields, edits)
            try:
                messages = template.messages(
                    fields, labels=self.labels, draw=Draw(self.seed, example.id),
                    options=self.data.options,
                )  # fmt: skip
            except (MissingField, Skipped) as error:
                raise DataError(f"{example.origin}: template '{template.name}': {error}") from None
            messages = _with_label(messages, edits)
        label = messages[-1].content if self.labels and messages else None
        return example.but(fields=fields, messages=messages, label=label)

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
    parts: list[str] = []
    if example.template is not None:
        parts = [
            value
            for name, value in example.fields.items()
            if isinstance(value, str) and value.strip() and value in shown
            and (name == "input" or (name != "output" and len(value) >= _PASSAGE))
        ]  # fmt: skip
    question = "\n".join(parts or asked)
    return Candidate(example, question, example.completion, labels, render, parts=parts)


def _said(messages: Sequence[Message]) -> str:
    """Id of a conversation."""
    said: list[Any] = [part for m in messages for part in (m.role, m.content)]
    return content_id([*said, *(m.tool_calls for m in messages if m.tool_calls)])


def _with_turns(messages: tuple[Message, ...], edits: Edits) -> tuple[Message, ...]:
    changed = (
        replace(m, content=edits.turns.get(place, m.content)) for place, m in enumerate(messages)
    )
    return _with_label(tuple(changed), edits)


def _with_label(messages: tuple[Message, ...], edits: Edits) -> tuple[Message, ...]:
    """The label is the completion (`_closed`), whatever column a template takes it from."""
    if edits.label is None or not messages:
        return messages
    return (*messages[:-1], replace(messages[-1], content=edits.label))


def _with_fields(fields: Mapping[str, Any], edits: Edits) -> dict[str, Any]:
    changed = {**fields, **edits.fields}
    if edits.label is not None and "output" in changed:
        changed["output"] = edits.label
    return changed


def _question_fields(templates: Sequence[Template]) -> list[str]:
    """Fields that make up what a row asks, whichever template it gets."""
    names = [name for t in templates for name in t.question_fields]
    answers = {"labels", "output", *(t.answer_field for t in templates)}
    return [n for n in dict.fromkeys(names) if n not in answers] or ["input"]


def shape_of(
    recipe: Recipe, sets: Mapping[str, Sequence[Template]], reviewed: Reviewed | None = None
) -> Shape:
    """The shape of a recipe's rows.

    Args:
        recipe: says the task.
        sets: templates by the name under which the recipe asks for them.
        reviewed: what people decided about the rows.

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
    return Shape(kind, recipe.labels, recipe.data, recipe.seed, sets, reviewed)


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
