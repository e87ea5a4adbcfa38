"""Templates turn the fields of a row into messages: the one record of all dialects, and its YAML.

    description: Sentiment of a review.
    system: You are a careful reader.          # optional
    let: {question: "Good or bad?"}            # optional constants
    prompt: |-
      {question}
      Review: {input}
    completion: "{output}"

`{name}` inserts a field, a constant, `{labels}` (the task's labels, separated by commas) or
`{options_}` (the OPTIONS clause, see `options.py`); `{{` and `}}` stand for braces. Text is
inserted once: braces inside a field stay what they are.

Files with several templates, promptsource's Jinja and FLAN's pairs: see `template_sets.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, Literal, Self

from luthier.artifacts import Artifact
from luthier.data.config import OptionsConfig
from luthier.data.templating import jinja_text
from luthier.data.templating.draws import Draw
from luthier.data.templating.jinja_sandbox import CHOICES
from luthier.data.templating.options import PLACEHOLDERS, clause, has_options, is_shown, options_of
from luthier.data.templating.super_ni_prompt import DEFINITION, SuperNI, row_answer, row_prompt
from luthier.data.templating.template_fields import (
    MissingField,
    Skipped,
    as_text,
    filled,
    only_placeholder,
    placeholders,
    stray_brace,
    without,
)
from luthier.data.templating.template_yaml import Block, read_yaml
from luthier.errors import DataError, nearest, unknown
from luthier.example import Message
from luthier.made_with import MadeWith
from luthier.recipe import Recipe

__all__ = [
    "BuiltTemplates", "MissingField", "Skipped", "Template", "as_text", "load_template",
    "template_file", "template_names",
]  # fmt: skip

FOLDER = Path(str(resources.files("luthier.data.templates")))
_KEYS = ("description", "system", "let", "prompt", "completion")
_SUPER_NI_KEYS = ("description", "super_ni")
_SHORTEST = 20
"""Characters below which a text cannot be told from what was answered to it: a label, a name."""
_CLAUSE = OptionsConfig()


@dataclass(frozen=True)
class Template:
    """A template that has been read and checked, whatever dialect it was written in."""

    name: str
    """As a recipe may name it: `plain`, `nli/follows_from_text`, `own.yaml#first`."""
    description: str
    prompt_text: str
    """With `{field}`; in Jinja the whole template. Empty where `super_ni` says it all."""
    completion_text: str
    """With `{field}`; empty in Jinja, whose text has both parts."""
    system: str | None = None
    constants: Mapping[str, str] = field(default_factory=dict)
    dialect: Literal["fields", "jinja"] = "fields"
    answer_choices: str | None = None
    """Jinja that renders to the possible answers, separated by `|||`."""
    inverted: bool = False
    """Whether it asks for what the task's other templates give."""
    made_from: str | None = None
    """Name of the template it was turned round from automatically."""
    answer_field: str = "output"
    """The field that holds the row's answer or label."""
    super_ni: SuperNI | None = None
    """Of the layout of Super-NaturalInstructions."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """What its file says about it."""
    only_with: str | None = None
    """A field without which, or with an empty one, the template makes no sense for a row."""
    only_without: str | None = None
    """A field with which it makes none, unless it is empty."""

    @property
    def question_fields(self) -> list[str]:
        """Fields that a row is asked with, in order of appearance."""
        if self.super_ni is not None:
            return [*DEFINITION, "input"]
        if self.dialect == "jinja":
            found = jinja_text.compiled(self.prompt_text)
            asked = [n for n in found.asks if n != CHOICES]
            if CHOICES in found.asks and self.answer_choices:
                asked += jinja_text.compiled(self.answer_choices).needs
            return list(dict.fromkeys(asked)) or self.fields
        return self._own_fields(self.prompt_text, self.system or "")

    @property
    def fields(self) -> list[str]:
        """All fields the template cannot do without."""
        if self.super_ni is not None:
            return ["input", "output"]
        if self.dialect == "jinja":
            needs = list(jinja_text.compiled(self.prompt_text).needs)
            if CHOICES in needs and self.answer_choices:
                needs += jinja_text.compiled(self.answer_choices).needs
            return [n for n in dict.fromkeys(needs) if n != CHOICES]
        return self._own_fields(self.prompt_text, self.system or "", self.completion_text)

    @property
    def printed_fields(self) -> list[str]:
        """Fields that come out as they are, and so are to be text; Jinja works with any value."""
        if self.super_ni is not None:
            return ["input"]
        return self.fields if self.dialect == "fields" else []

    def _own_fields(self, *texts: str) -> list[str]:
        names = dict.fromkeys(name for text in texts for name in placeholders(text))
        return [n for n in names if n not in self.constants and n not in PLACEHOLDERS]

    @property
    def closed(self) -> bool:
        """Whether the completion is the label as it is, or one of the template's own choices."""
        if self.dialect == "jinja":
            return self.choices is not None and jinja_text.ends_with_a_choice(self.prompt_text)
        answer = only_placeholder(self.completion_text)
        return answer == self.answer_field and not self.inverted

    @property
    def choices(self) -> list[str] | None:
        """The template's own answers, where they are the same for every row; else None."""
        if self.answer_choices is None or "{" in self.answer_choices:
            return None
        return [choice.strip() for choice in self.answer_choices.split("|||")]

    def suits(self, fields: Mapping[str, Any]) -> bool:
        """Whether the template makes sense for a row.

        One that was turned round automatically asks for a text, which must be long enough to be
        determined by the answer: never for a label, a name or a number.
        """
        if self.lacks(fields) or self.has_too_much(fields):
            return False
        if self.made_from is None:
            return True
        wanted = only_placeholder(self.completion_text) or ""
        return wanted not in fields or len(as_text(fields[wanted]).strip()) >= _SHORTEST

    def lacks(self, fields: Mapping[str, Any]) -> bool:
        """Whether a row has nothing in the field of `only_with`."""
        name = self.only_with
        return name is not None and not as_text(fields.get(name)).strip()

    def has_too_much(self, fields: Mapping[str, Any]) -> bool:
        """Whether a row has something in the field of `only_without`."""
        name = self.only_without
        return name is not None and bool(as_text(fields.get(name)).strip())

    def prompt(
        self,
        fields: Mapping[str, Any],
        *,
        labels: Sequence[str] = (),
        draw: Draw | None = None,
        options: OptionsConfig = _CLAUSE,
    ) -> list[Message]:
        """Messages up to the answer; arguments and errors as in `messages`."""
        if self.super_ni is not None:
            return [Message("user", row_prompt(fields, self.super_ni))]
        if self.dialect == "jinja":
            text = self._rendered(fields, draw, first_only=True)[0]
            if not text:
                raise Skipped("empty prompt: the template asks this row nothing")
            return [Message("user", text)]
        given = self._given(fields, labels)
        asked = self.prompt_text
        if has_options(asked):
            if is_shown(options, draw):
                listed = options_of(fields, labels)
                if not listed:
                    raise MissingField("options")
                given |= dict.fromkeys(PLACEHOLDERS, clause(listed, options, draw))
            else:
                asked = without(asked, PLACEHOLDERS)
        system = [] if self.system is None else [Message("system", filled(self.system, given))]
        return [*system, Message("user", filled(asked, given))]

    def messages(
        self,
        fields: Mapping[str, Any],
        *,
        labels: Sequence[str] = (),
        draw: Draw | None = None,
        options: OptionsConfig = _CLAUSE,
    ) -> tuple[Message, ...]:
        """All messages of a row, the answer last.

        Args:
            fields: of the row; nothing in them is understood as a template.
            labels: of the task, all of them; empty where it has none.
            draw: decides what is random about the row; None: nothing is drawn, options stand in
                their order and `choice` takes the first.
            options: whether and how the OPTIONS clause is shown; Jinja templates write their own.

        Raises:
            MissingField: the row lacks a field; `options` where a template lists them and neither
                the task has labels nor the row a list.
            Skipped: the template gives this row nothing to learn, or takes too much.
            DataError: the row has a field with a name that promptsource keeps for itself.
        """
        if self.super_ni is not None:
            answer = row_answer(fields, draw)
        elif self.dialect == "jinja":
            return self._two_parts(self._rendered(fields, draw, first_only=False))
        else:
            if self.lacks(fields):
                raise Skipped(f"no {self.only_with}: the template is for rows that have one")
            if self.has_too_much(fields):
                raise Skipped(f"has {self.only_without}: the template is for rows without")
            if not self.suits(fields):
                raise Skipped(
                    f"too short to be asked for: '{only_placeholder(self.completion_text)}' has "
                    f"fewer than {_SHORTEST} characters"
                )
            answer = filled(self.completion_text, self._given(fields, labels))
        asked = self.prompt(fields, labels=labels, draw=draw, options=options)
        return (*asked, Message("assistant", answer))

    def _given(self, fields: Mapping[str, Any], labels: Sequence[str]) -> dict[str, Any]:
        listed = {"labels": ", ".join(labels)} if labels else {}
        return {**listed, **fields, **self.constants}

    def _rendered(
        self, fields: Mapping[str, Any], draw: Draw | None, *, first_only: bool
    ) -> list[str]:
        if CHOICES in fields:
            raise DataError(
                f"template '{self.name}': rows have a field '{CHOICES}', a name that "
                "promptsource keeps for the template's own answer choices. Rename the column, or "
                "give it another name with data.sources: fields."
            )
        return jinja_text.parts(
            self.prompt_text, self.answer_choices, fields, draw, first_only=first_only
        )

    def _two_parts(self, parts: Sequence[str]) -> tuple[Message, ...]:
        if not any(parts):
            raise Skipped("template renders nothing: it is not meant for this row")
        if len(parts) == 1:
            raise Skipped("no target: the template gives this row no ||| with an answer behind it")
        if len(parts) > 2:
            raise Skipped(f"several targets: the template gives {len(parts)} parts, expected 2")
        if not parts[0]:
            raise Skipped("empty prompt: the template asks this row nothing")
        if not parts[1]:
            raise Skipped("empty target: the template has no answer for this row")
        return (Message("user", parts[0]), Message("assistant", parts[1]))

    def require(self, available: Sequence[str], where: str) -> None:
        """Raise a DataError unless every placeholder is among the available fields."""
        for name in self.fields:
            if name not in available:
                raise self.unknown_placeholder(name, available, where)

    def unknown_placeholder(self, name: str, available: Sequence[str], where: str) -> DataError:
        """The error for a placeholder that no row has a field for."""
        listed = ", ".join(sorted(available)) or "none"
        return DataError(
            f"template '{self.name}': no field for the placeholder {{{name}}} in {where}."
            f"{nearest(name, available)} Fields there: {listed}."
        )


class BuiltTemplates(Artifact):
    """The templates a dataset was made with: the run goes on with them whatever becomes of a file.

    Kept in the order of `data.template`; empty for conversations and plain text.
    """

    FILE = "data/templates.json"
    templates: list[Template]

    @classmethod
    def of(cls, made: MadeWith) -> Self:
        """Those that a run's weights were trained with."""
        return cls.model_validate({"templates": made.templates})

    def sets(self, recipe: Recipe) -> dict[str, list[Template]]:
        """The templates by the name under which the recipe asks for them.

        Those that were turned round automatically are left out: they follow from the others.
        """
        found: dict[str, list[Template]] = {name: [] for name in recipe.data.templates}
        for template in self.templates:
            if template.made_from is not None:
                continue
            names = [name for name in found if belongs_to(template.name, name)]
            for name in names or [template.name]:
                members = found.setdefault(name, [])
                if template.name not in [t.name for t in members]:
                    members.append(template)
        return found


def belongs_to(template: str, name: str) -> bool:
    """Whether a name in a recipe stands for a template: its own name, or that of its set."""
    return template == name or template.startswith((f"{name}/", f"{name}#"))


def template_names() -> list[str]:
    """Names of the templates and sets of templates that ship with luthier, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def template_file(name: str, root: Path) -> Path:
    """The file of a template or a set: one that ships with luthier, or a file of one's own.

    Args:
        name: `plain`, `nli`, `nli/follows_from_text`, or the path of a `.yaml` or `.json` file
            relative to `root`, with a `#` before the name of one of its templates.
        root: folder of the recipe.
    """
    given, _, _ = name.partition("#")
    if not given.endswith((".yaml", ".yml", ".json")):
        packaged, _, _ = name.partition("/")
        if packaged not in template_names():
            raise DataError(
                unknown("template", packaged, template_names())
                + " A file of your own is given by its path, ending in .yaml or .json."
            )
        return FOLDER / f"{packaged}.yaml"
    path = root / Path(given).expanduser()
    if not path.is_file():
        beside = path.parent.iterdir() if path.parent.is_dir() else []
        near = [p.name for p in beside if p.suffix in (".yaml", ".yml", ".json")]
        raise DataError(f"template '{given}': no such file ({path}).{nearest(path.name, near)}")
    return path


def load_template(name: str, root: Path) -> Template:
    """Read a file of one template by its name, or by its path.

    Raises:
        DataError: no such template, not YAML, an unknown or missing key, a stray brace, or a file
            that holds a set of templates.
    """
    path = template_file(name, root)
    tree = read_yaml(path)
    if isinstance(tree, Block) and "templates" in tree:
        raise DataError(f"{path}: '{name}' is a set of templates, expected a single one.")
    return template_of(tree, name, path)


def template_of(tree: Any, name: str, path: Path) -> Template:
    """The template that a file of a single one says.

    Args:
        tree: what the file says.
        name: of the template.
        path: of the file.

    Raises:
        DataError: an unknown or missing key, a stray brace.
    """
    if not isinstance(tree, Block):
        raise DataError(f"{path}: expected the keys {', '.join(_KEYS)}.")
    if "super_ni" in tree:
        check_keys(tree, _SUPER_NI_KEYS, path)
        settings = super_ni_of(tree["super_ni"], tree.line_of("super_ni"), path)
        described = text_of(tree, "description", path)
        return Template(name, described, "", "{output}", super_ni=settings)
    check_keys(tree, _KEYS, path)
    constants = tree.get("let") or {}
    if not isinstance(constants, dict):
        raise DataError(
            f"{path}:{tree.line_of('let')}: 'let' is {constants!r}, expected names with texts."
        )
    return Template(
        name=name,
        description=text_of(tree, "description", path),
        prompt_text=text_of(tree, "prompt", path),
        completion_text=text_of(tree, "completion", path),
        system=text_of(tree, "system", path) if tree.get("system") is not None else None,
        constants={str(key): as_text(value) for key, value in constants.items()},
    )


def super_ni_of(settings: Any, line: int, path: Path) -> SuperNI:
    """The settings of a template in the layout of Super-NaturalInstructions.

    Args:
        settings: an object with some of `k_positive`, `k_negative`, `explanations`, or nothing.
        line: on which it stands.
        path: of the file.

    Raises:
        DataError: another key, or a value of the wrong kind.
    """
    usual = SuperNI()
    given = {} if settings is None else settings
    if not isinstance(given, dict):
        raise DataError(f"{path}:{line}: 'super_ni' is {given!r}, expected its settings by name.")
    for key, value in given.items():
        if key not in vars(usual):
            raise DataError(f"{path}:{line}: super_ni: {unknown('setting', str(key), vars(usual))}")
        is_count = isinstance(value, int) and not isinstance(value, bool) and value >= 0
        if not (isinstance(value, bool) if key == "explanations" else is_count):
            expected = "true or false" if key == "explanations" else "a number of examples"
            raise DataError(f"{path}:{line}: super_ni: '{key}' is {value!r}, expected {expected}.")
    return SuperNI(**given)


def check_keys(block: Block, known: Sequence[str], path: Path) -> None:
    """Raise a DataError, with line and nearest name, for a key that means nothing."""
    for key in block:
        if key not in known:
            line = block.line_of(key)
            raise DataError(f"{path}:{line}: {unknown('key', str(key), known)}")


def text_of(block: Block, key: str, path: Path) -> str:
    """A text with placeholders.

    Raises:
        DataError: it is missing, no text, or has a brace that belongs to no placeholder.
    """
    value, where = block.get(key), f"{path}:{block.line_of(key)}"
    if not isinstance(value, str):
        found = "missing" if value is None else f"{value!r}, expected a text"
        quoted = " Quote texts that start with a brace." if isinstance(value, dict) else ""
        raise DataError(f"{where}: '{key}' is {found}.{quoted}")
    if stray := stray_brace(value):
        raise DataError(f"{where}: '{key}' has a stray {stray!r}; write {{{{ or }}}} for a brace.")
    return value
