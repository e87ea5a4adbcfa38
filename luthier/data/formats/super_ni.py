"""Natural Instructions, v1 to Super-NI: tasks with a definition, examples and instances."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

from luthier.as_written import json_text
from luthier.data.config import SourceConfig
from luthier.data.files import sources
from luthier.data.files.json_object import open_object
from luthier.data.files.textfile import suffix_of
from luthier.data.formats.self_instruct import instances_of, no_object
from luthier.data.importing import outgoing
from luthier.data.importing.conversation import Unfit, attempt
from luthier.data.importing.instructions import (
    ANSWERS,
    as_answer,
    exchange,
    free_name,
    joined,
    lacking,
    named,
    over,
    require_choice,
    text_of,
)
from luthier.data.importing.sample import Sample
from luthier.data.rows import Reject, Row, Table
from luthier.example import Terms, content_id

INSTANCES = "Instances"
_DEFINITION = ("Definition", "definition")
_EXAMPLES = {"positive_examples": "Positive Examples", "negative_examples": "Negative Examples"}
_LICENCE = "Instance License"
_OUTPUTS = ("first", "all")
_TASK = ("task_name", "Task", "task")
"""What the name of a task is called, where a record has it."""
_TASK_KEYS = (
    "Contributors", "Source", "URL", "Categories", "Reasoning", "Input_language",
    "Output_language", "Instruction_language", "Domains",
)  # fmt: skip
"""What Super-NI says of a task, beside its definition and examples."""
_OF_TASKS = frozenset((
    *outgoing.TASK_LEVEL, *_TASK_KEYS, _LICENCE, "Task", "task", "outputs",
))  # fmt: skip
"""What an instance cannot have: fields of its task, and that of all its right answers."""
_OF_INSTANCES = ("id", "input", "inputs", "output", "outputs", "targets")
EXAMPLE: dict[str, Any] = {
    "Definition": ["Name the colour."],
    "Positive Examples": [{"input": "sky", "output": "Blue", "explanation": "It looks so."}],
    "Negative Examples": [],
    "Instances": [{"id": "task1-1", "input": "grass", "output": ["Green"]}],
}
"""A record of this format."""


def rows(
    table: Table, source: SourceConfig, *, outputs: str = "first", answers: str = "required"
) -> Iterator[Row | Reject]:
    """One row for each instance of a task.

    The question is the definition and, under it, the input; worked examples are for templates,
    which find them in the fields `positive_examples` and `negative_examples`, beside `definition`
    and `task` (what the file says, or its name). All rows of a task share these values. All right
    answers stand in `outputs`, the one that is to be learned in `output`. What the task says of the
    licence of its instances becomes the row's terms.

    A record is a task with `Instances` (files of v1, 2021 and v2), or one instance with what is
    said of its task (`Instance`; or definition, inputs and targets, as in copies on the hub).

    Args:
        table: the opened file.
        source: what the recipe says of it.
        outputs: `all` gives a row for every right answer of an instance.
        answers: `required` rejects instances without an output; `optional` keeps them without it.
    """
    require_choice("super_ni", "outputs", outputs, _OUTPUTS)
    require_choice("super_ni", "answers", answers, ANSWERS)
    task = _Task(Path(table.name).stem)
    for row in table.records:
        if isinstance(row, Reject):
            yield row
            continue
        try:
            said = task.of(row.fields)
            found = _instances(row)
        except Unfit as error:
            yield Reject(row.origin, str(error), row.fields)
            continue
        for number, instance in enumerate(found, 1):
            if not isinstance(instance, dict):
                yield no_object(row, number, INSTANCES, instance)
                continue
            fields = {
                **said,
                **{f"instance_{k}" if k in said else k: v for k, v in instance.items()},
            }
            for place in _places(fields, outputs):
                yield attempt(replace(row, fields=fields), lambda r, p=place: _row(r, p, answers))  # type: ignore[misc]


class _Task:
    """What rows of one task have in common; the last task is remembered, so that they share it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._known: tuple[list[Any], dict[str, Any]] | None = None

    def of(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """The task of a record.

        Raises:
            Unfit: it has no definition.
        """
        marks = [fields.get(name) for name in (*_DEFINITION, *_EXAMPLES.values())]
        if self._known is not None:
            known, said = self._known
            if all(a is b for a, b in zip(marks, known, strict=True)) and any(
                isinstance(mark, list) for mark in marks
            ):
                return said
        said = _said_of_task(fields, self.name)
        self._known = marks, said
        return said


def _said_of_task(fields: Mapping[str, Any], name: str) -> dict[str, Any]:
    column = named(fields, _DEFINITION)
    if column is None:
        raise lacking("Definition", fields)
    given = fields[column]
    texts = [as_answer(t, column) or "" for t in given] if isinstance(given, list) else None
    definition = "\n".join(texts) if texts is not None else as_answer(given, column) or ""
    examples = fields.get("Examples")  # v1
    inner = examples if isinstance(examples, dict) else {}
    said: dict[str, Any] = {
        "task": next((fields[n] for n in _TASK if n in fields), name),
        "instruction": definition, "definition": definition,
    }  # fmt: skip
    for plain, written in _EXAMPLES.items():
        found = fields.get(written, inner.get(written, fields.get(plain)))
        said[plain] = found if isinstance(found, list) else []
    taken = {*_DEFINITION, *_EXAMPLES, *_EXAMPLES.values(), INSTANCES, "Instance", "Examples",
             *_OF_INSTANCES, *(n for n in _TASK[1:] if fields.get(n) == said["task"])}  # fmt: skip
    if isinstance(given, list) and len(given) != 1:
        taken -= {"Definition"}  # how it was divided
    others = {k: v for k, v in fields.items() if k not in taken}
    if INSTANCES in fields or "Instance" in fields:
        one = fields.get("Instance")
        own: dict[str, Any] = one if isinstance(one, dict) else {}
        unread = {k: fields[k] for k in _OF_INSTANCES if k in fields and fields[k] != own.get(k)}
        others |= {free_name(k, fields): v for k, v in unread.items()}
    return {**said, **over(others, said)}


def _instances(row: Row) -> Sequence[Any]:
    fields = row.fields
    if INSTANCES in fields:
        found = instances_of(row, INSTANCES)
        if not found:
            raise Unfit("no instances: the task has none")
        return found
    if isinstance(fields.get("Instance"), dict):
        return [fields["Instance"]]
    asked = named(fields, ("input", "inputs"))
    if asked is None:
        raise lacking(INSTANCES, fields)
    answer = named(fields, ("output", "outputs", "targets"))
    # Of `inputs` beside `input` and the like, one is read and the others stay.
    instance = {k: fields[k] for k in _OF_INSTANCES if k in fields and k not in (asked, answer)}
    return [{**instance, "input": fields[asked], **({"output": fields[answer]} if answer else {})}]


def _places(fields: Mapping[str, Any], outputs: str) -> range:
    answers = fields.get("output")
    return range(len(answers) if outputs == "all" and isinstance(answers, list) and answers else 1)


def _row(row: Row, place: int, answers: str) -> Row:
    fields = row.fields
    given = fields.get("output")
    listed = given if isinstance(given, list) else [given]
    found = [as_answer(answer, "output") for answer in listed]
    answer = found[place] if found else None
    question = text_of(fields, ("input",))
    fields = over(fields, {"outputs": listed if given is not None else []})
    fields["input"] = question or ""
    fields.pop("output", None)
    if answer is not None:
        fields["output"] = answer
    row = replace(row, terms=_terms(fields.get(_LICENCE)))
    return exchange(row, fields, joined(fields["definition"], question), answer, answers)


def _terms(licence: Any) -> Terms | None:
    listed = licence if isinstance(licence, list) else [licence]
    said = [text for text in listed if isinstance(text, str) and text.strip()]
    known = any(text.strip().casefold() != "unknown" for text in said)
    return Terms(licence=", ".join(said)) if known else None


def fits(sample: Sample) -> float:
    """How sure it is that a file is of this format."""
    tasks = sample.share(
        lambda r: (
            "Definition" in r
            and any(name in r for name in (INSTANCES, "Instance", "Positive Examples", "Examples"))
        )
    )
    flat = sample.share(
        lambda r: named(r, _DEFINITION) is not None and "instances" not in r
        and ({"inputs", "targets"} <= r.keys() or {"input", "output"} <= r.keys())
    )  # fmt: skip
    return max(0.99 * tasks, 0.95 * flat)


def open_file(path: Path, name: str) -> Table:
    """Open a task file, which is one JSON object; its instances are read one by one.

    Lists of tasks, JSON lines and tables are opened as always.

    Raises:
        DataError: no such file, empty, of another kind or encoding, or damaged.
    """
    sources.require_readable(path, name)
    table = None
    if suffix_of(path) == ".json":
        table = open_object(path, name, streamed=INSTANCES, one="Instance")
    return table or sources.open_file(path, name=name)


# --- writing -----------------------------------------------------------------------------------


def write(rows: Iterable[Row], file: IO[str]) -> Iterator[Reject]:
    """Write rows as a task file; yields those that it cannot hold.

    Rows with the same task, definition and examples that follow each other are one task. Several
    tasks are a JSON list of such objects; an instruction of another format is the definition of its
    task. `Task` is its name, lest it be that of the new file.
    """
    file.write(" ")
    tasks = 0
    before: dict[str, Any] | None = None
    for row in rows:
        try:
            head, instance = _record(row)
        except Unfit as error:
            yield Reject(row.origin, str(error), row.fields)
            continue
        if head == before:
            file.write(",\n" + json_text(instance))
            continue
        if before is not None:
            file.write("\n]},\n")
        before = head
        tasks += 1
        file.write(json_text(head)[:-1] + f', "{INSTANCES}": [\n' + json_text(instance))
    file.write("\n]}\n" if tasks else "")
    if tasks != 1:
        file.write("]\n")
        file.seek(0)
        file.write("[")


def _record(row: Row) -> tuple[dict[str, Any], dict[str, Any]]:
    """The head of a row's task, and its instance."""
    asked, answer = outgoing.single_turn(row, "super_ni")
    fields = dict(row.fields)
    definition, given = outgoing.parts(row, asked)
    if joined(definition, given) != asked or not definition.strip():
        raise Unfit("question: its instruction and its input are no question of super_ni")
    written = fields.get("Definition")
    divided = isinstance(written, list) and all(isinstance(one, str) for one in written)
    head: dict[str, Any] = {"Task": fields["task"]} if "task" in fields else {}
    head |= {name: fields[name] for name in _TASK_KEYS if name in fields}
    whole = divided and "\n".join(written) == definition  # type: ignore[arg-type]
    head["Definition"] = written if whole else [definition]
    for plain, name in _EXAMPLES.items():
        found = fields.get(plain)
        head[name] = found if isinstance(found, list) else []
    if _LICENCE in fields:
        head[_LICENCE] = fields[_LICENCE]
    listed = fields.get("outputs")
    right = listed if isinstance(listed, list) and answer in listed[:1] else [answer]
    named_so = fields.get("id") not in (None, "")
    instance: dict[str, Any] = {
        "id": fields["id"] if named_so else f"luthier-{content_id([asked, answer])}",
        "input": given, "output": right,
    }  # fmt: skip
    for name in ("task", "id", *(("outputs",) if right is listed else ())):
        fields.pop(name, None)
    for name in (*_EXAMPLES, *head):
        stands = head.get(_EXAMPLES.get(name, name))
        if fields.get(name) in (stands, definition, [], None):
            fields.pop(name, None)
    # A task has these names for what it says of all its instances.
    others = {free_name(name, _OF_TASKS): value for name, value in fields.items()}
    return head, outgoing.with_others(instance, replace(row, fields=others))
