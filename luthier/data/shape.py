"""What a row becomes: messages through a template, a conversation, or plain text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from luthier.chat import Rendered
from luthier.data.asked import Asked, Seen, asked_of, other_names, wanted_columns, with_other_names
from luthier.data.candidate import Candidate
from luthier.data.config import DataConfig, SourceConfig
from luthier.data.decisions import Edits, Reviewed
from luthier.data.files import sources
from luthier.data.label_sets import outside
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
    """Of the task; empty unless it is classification."""
    data: DataConfig
    seed: int
    sets: Mapping[str, Sequence[Template]]
    """Per name in the recipe: one template, or those of a set."""
    reviewed: Reviewed | None = None
    """What people decided about the rows."""
    _seen: dict[int, Seen] = field(default_factory=dict)
    """Per source that is being read, by its identity."""
    _notes: dict[str, str] = field(default_factory=dict)
    """Per source, what is worth a word to the user."""
    _told: int = 0
    """How many of them were asked for."""

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
            "columns": wanted_columns(source, self.templates_of(source)),
        }
        return asked.get(name, [])

    def templates_of(self, source: SourceConfig) -> list[Template]:
        """The templates of the rows of a source; that of plain columns where it names none."""
        names = self.data.templates_of(source) or [PLAIN]
        return [t for name in names for t in self.sets.get(name, ())]

    def asked_of(self, source: SourceConfig) -> Asked:
        """What the templates of a source ask of its columns."""
        return asked_of(source, self.templates_of(source))

    def labels_of(self, source: SourceConfig) -> list[str]:
        """The closed set of a source's answers: the task's, else its own; empty: it has none."""
        return self.labels or list(source.labels or ())

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
            if self.labels and row.built.label is None:
                return Reject(row.origin, outside("", self.labels) or "", row.fields)
            return as_built(row.built, self.labels, render)
        templates = self.templates_of(source)
        if row.messages and source.template is None:
            # A conversation has words of its own; only its own source can ask for others. But a
            # definition and an input are no words yet for templates that put them together.
            templates = [t for t in templates if t.super_ni is not None and _is_defined(row)]
            if not templates:
                self._tell_of_own_words(row, source)
                return self._conversation(row, source, render)
        return self._templated(row, templates, source, render)

    def _tell_of_own_words(self, row: Row, source: SourceConfig) -> None:
        names, name = self.data.templates_of(source), row.origin.source
        if not names or name in self._notes:
            return
        listed = names[0] if len(names) == 1 else f"[{', '.join(names)}]"
        self._notes[name] = (
            f"{name}: its rows are conversations and keep their own words; data.template does not "
            "re-word them. If it is to, write it on the source: "
            f"`data.sources: [{{..., template: {listed}}}]`."
        )

    def new_notes(self) -> list[str]:
        """What is worth a word to the user, and was not asked for yet."""
        found = list(self._notes.values())[self._told :]
        self._told += len(found)
        return found

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

    def _conversation(self, row: Row, source: SourceConfig, render: Render) -> Candidate | Reject:
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
        labels = self.labels_of(source)
        if not self.labels and labels and (reason := outside(answer, labels)):
            return Reject(row.origin, reason, fields, example)
        return Candidate(example, question, answer, labels, render, decision, edited)

    def _templated(
        self, row: Row, templates: Sequence[Template], source: SourceConfig, render: Render
    ) -> Candidate | Reject:
        labels = self.labels_of(source)
        fields = dict(row.fields)
        # Lists and objects stay what they are, for templates that take them apart.
        if "output" in fields and not isinstance(fields["output"], (list, dict)):
            fields["output"] = _answer(fields["output"], labels)
        if "input" in fields and not isinstance(fields["input"], (list, dict)):
            fields["input"] = as_text(fields["input"])
        # What a row asks is the same whichever template it gets, and so is its id.
        names = self._names(fields, source)
        asked, answers = _asked(fields, templates, names)
        mark = content_id([*asked, *answers])
        decision = self.reviewed.decisions.of(mark) if self.reviewed else None
        edits = decision.edits if decision is not None else Edits()
        edited = None
        if edits:
            # The id stays, and with it the template and all that is drawn: the words around what
            # was edited are those that were seen.
            fields = _with_fields(fields, edits)
            asked, answers = _asked(fields, templates, names)
            edited = content_id([*asked, *answers])
        given = {**fields, **{other: fields[name] for other, name in names.items()}}
        if labels:
            given["labels"] = ", ".join(labels)
        draw = Draw(self.seed, mark)
        template = pick(self._offered(templates, draw, given), draw, given)
        if template.dialect == "jinja":  # it finds in a column what the file has there: 0, not "0"
            given |= {o: row.fields[n] for o, n in names.items() if not _is_edited(n, edits)}
        self._seen.setdefault(id(source), Seen()).note(
            template, given, labels, listing=self.data.options.mode != "off"
        )
        try:
            messages = template.messages(given, labels=labels, draw=draw, options=self.data.options)
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
        closed = _closed_answer(template, given, answer)
        if not self.labels and labels and closed is not None and (said := outside(closed, labels)):
            return Reject(row.origin, said, fields, example)
        # Layouts with several names for a field ask with it once.
        parts = list(dict.fromkeys(part for part in asked if part.strip()))
        question = "\n".join(parts)
        # Of a row that asks for something else than its label, the answer is any text.
        closed_set = labels if self.labels or answer in labels else ()
        return Candidate(example, question, answer, closed_set, render, decision, edited, parts)

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
            given = fields
            for source in (found := self._sources_of(example)):
                given = with_other_names(given, source)
            labels = self.labels_of(found[0])
            try:
                messages = template.messages(
                    given, labels=labels, draw=Draw(self.seed, example.id),
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

    def _names(self, fields: Mapping[str, Any], source: SourceConfig) -> dict[str, str]:
        """Other names of a row's fields; of another file's rows also those of the recipe's own."""
        found = other_names(fields, source)
        first = self.data.sources[0]
        if first is not source and not any(s is source for s in self.data.sources):
            found = {**other_names(fields, first), **found}
        return found

    def _sources_of(self, example: Example) -> list[SourceConfig]:
        """The sources that a row may be of; all where none has the name of its origin.

        A file may be several sources, which its template tells apart.
        """
        named = [s for s in self.data.sources if sources.name_of(s) == example.origin.source]
        named = named or list(self.data.sources)
        fitting = (
            s for s in named if any(t.name == example.template for t in self.templates_of(s))
        )
        return list(fitting) or named

    def stored_name(self, example: Example, name: str) -> str:
        """The field of a row in which is stored what its templates find under a name."""
        found = (other_names(example.fields, s).get(name) for s in self._sources_of(example))
        return next(filter(None, found), name)

    def require_fields_seen(self, source: SourceConfig, name: str) -> None:
        """Check a source that was just read.

        Args:
            source: the source.
            name: what it is called in messages.

        Raises:
            DataError: a placeholder has no field in any of its rows, or none says its options.
        """
        if (seen := self._seen.pop(id(source), None)) is not None:
            seen.require(name)


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


def _is_defined(row: Row) -> bool:
    """Whether a row is an input with its task's definition, as those of `super_ni` are."""
    return bool(row.fields.get("definition")) and "input" in row.fields


def _answer(value: Any, labels: Sequence[str]) -> str:
    text = as_text(value)
    # A typed boolean has no spelling of its own: `true` and `True` are both it.
    if isinstance(value, bool) and text not in labels and str(value) in labels:
        return str(value)
    return text


def _closed_answer(template: Template, given: Mapping[str, Any], completion: str) -> str | None:
    """What of a row must be one of its labels, also where a template asks for something else."""
    if template.dialect == "jinja" or template.answer_field not in given:
        return completion if template.closed else None
    return as_text(given[template.answer_field])


def _is_edited(name: str, edits: Edits) -> bool:
    return name in edits.fields or (name == "output" and edits.label is not None)


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


def _asked(
    fields: Mapping[str, Any], templates: Sequence[Template], names: Mapping[str, str]
) -> tuple[list[str], list[str]]:
    """What a row asks and what it answers, whichever template it gets.

    Args:
        fields: of the row.
        templates: those it may get.
        names: other names of fields.
    """
    asking = [names.get(n, n) for t in templates for n in t.question_fields]
    answering = {
        "labels",
        "output",
        *(names.get(t.answer_field, t.answer_field) for t in templates),
    }
    asked = [n for n in dict.fromkeys(asking) if n not in answering] or ["input"]
    answers = ["output"]
    if "output" not in fields:  # templates of a file as it is answer with whatever it has
        needed = [names.get(n, n) for t in templates for n in t.fields]
        answers = [n for n in dict.fromkeys(needed) if n not in asked] or answers
    return [as_text(fields.get(n)) for n in asked], [as_text(fields.get(n)) for n in answers]


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
