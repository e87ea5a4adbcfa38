"""Labels that nobody declared: answers of a task that are few, short, and come again and again.

A file of instructions may hold one task or hundreds, of which some are classification. Whether the
answers to an instruction are labels is known only at the end, so the checks of labels run on every
task as long as it may be one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import chain
from typing import NamedTuple

from luthier.data.candidate import Candidate
from luthier.data.linting.dataset_check import DatasetCheck
from luthier.data.linting.guess_columns import LONGEST_LABEL, MOST_LABELS, ROWS_PER_LABEL
from luthier.data.linting.label_spelling import folded
from luthier.data.linting.lint_report import PLACES, LintFinding, Place
from luthier.data.linting.passages import excerpt
from luthier.data.rows import Row
from luthier.example import Origin

WHY_NOT = "no answers that are few, short and repeated, as labels are"
_FEWEST_ROWS = 20
"""Rows from which answers that come again are no accident; `label_imbalance` asks as many."""
_MOST_ANSWERS = 64
"""Different answers of a task that may still have labels, slips and strays included."""
_MOST_NUMBERS = 11
"""Different numbers that are labels, such as points from 0 to 10; more are results."""
_STRAYS, _STRAY_SHARE = 3, 0.1
"""Answers that may be no labels: as many as this, and that share of a larger task."""
_WAITING, _LONGEST_WAITING = 5, 4000
"""Rows of a task, and characters of each, before checks are made for it: most have one row."""
_LONGEST_NAME = 200
_MOST_TASKS = 2000
"""Tasks that are followed at once; Super-NaturalInstructions has 1,616."""


class _Asked(NamedTuple):
    """What a row asks, taken apart."""

    instruction: str
    """Empty where nothing tells it from the input."""
    task: str
    """The name of its task, where the file gives one."""
    ends: int | None
    """Where in the question the instruction ends; None: it has a field of its own."""


class _Seen(NamedTuple):
    """A row, and how it was read."""

    row: Candidate
    raw: Row
    single: bool
    """Whether one question is answered, and nothing called."""


class _Task:
    """The rows of an instruction, or of a whole file."""

    __slots__ = ("answers", "checks", "first", "name", "named", "rows", "strays", "waiting")

    def __init__(self, name: str, named: bool, first: Origin) -> None:
        self.name, self.named, self.first = name, named, first
        self.rows = self.strays = 0
        self.answers: Counter[str] | None = Counter()
        """None once they are known to be no labels."""
        self.waiting: list[tuple[Candidate, Row]] = []
        self.checks: list[DatasetCheck] = []

    def count(self, answer: str, said: bool) -> bool:
        """Take notice of an answer; whether the answers may still be labels."""
        self.rows += 1
        if self.answers is None:
            return False
        short = said and len(answer) <= LONGEST_LABEL and "\n" not in answer.strip()
        self.strays += not short
        self.answers[answer if short else f"{answer[:60]}..."] += 1
        if len(self.answers) > _MOST_ANSWERS or not _are_few(self.strays, self.rows):
            self.answers, self.waiting, self.checks = None, [], []
        return self.answers is not None

    def see(self, row: Candidate, raw: Row, build: Callable[[], list[DatasetCheck]]) -> None:
        """Show a row to the checks."""
        if not self.checks:
            if len(row.question) <= _LONGEST_WAITING:
                self.waiting.append((row, raw))
            if self.rows < _WAITING:
                return
            self.checks = build()
            waiting, self.waiting = self.waiting, []
            for early in waiting:
                for check in self.checks:
                    check.see(*early)
            return
        for check in self.checks:
            check.see(row, raw)

    @property
    def labels(self) -> list[str]:
        """The labels, the commonest first; empty where the answers are none."""
        if self.answers is None or self.rows < _FEWEST_ROWS or not self.checks:
            return []
        common = [
            (a, n) for a, n in self.answers.most_common() if n >= ROWS_PER_LABEL and a.strip()
        ]
        numbers = sum(a.strip().lstrip("-+").replace(".", "", 1).isdigit() for a in self.answers)
        others = self.rows - sum(n for _, n in common)
        if len(common) > MOST_LABELS or numbers > _MOST_NUMBERS or not _are_few(others, self.rows):
            return []
        if any(len(a) > LONGEST_LABEL for a, _ in common):
            return []
        return [a for a, _ in common]


def _are_few(strays: int, rows: int) -> bool:
    return strays <= max(_STRAYS, _STRAY_SHARE * rows)


class AnswerLabels:
    """The checks of labels, on rows whose answers nobody called labels."""

    def __init__(self, build: Callable[[], list[DatasetCheck]]) -> None:
        """Start empty.

        Args:
            build: makes the checks of labels for one task.
        """
        self._build = build
        self._files: dict[str, _Task] = {}
        self._tasks: dict[tuple[str, int], _Task | _Seen | None] = {}
        """Of an instruction that was there once its row; None where that says too much."""
        self._full = False
        self._found: list[_Task] | None = None

    def see(self, row: Candidate, raw: Row) -> None:
        """Take notice of a row."""
        messages = row.example.messages
        if not messages:
            return
        origin = row.example.origin
        file = self._files.get(origin.source)
        if file is None:
            file = self._files[origin.source] = _Task("", False, origin)
        single = len(messages) <= 3 and not messages[-1].tool_calls
        asked = _asked(row)
        known = asked.instruction != "" and self._is_known(asked, row, raw, single)
        if file.count(row.answer, single):
            # An instruction is one only when it comes again; before, it may be any paragraph.
            file.see(_labelled(row, asked if known else None), raw, self._build)

    def _is_known(self, asked: _Asked, row: Candidate, raw: Row, single: bool) -> bool:
        """Show a row to its task; whether earlier rows have the same one."""
        key = row.example.origin.source, hash(asked.task or asked.instruction)
        if key not in self._tasks:
            if len(self._tasks) >= _MOST_TASKS:
                self._make_room()
            if not self._full:
                # Most instructions have one row: it is only laid aside.
                kept = single and len(row.answer) <= LONGEST_LABEL
                kept = kept and len(row.question) <= _LONGEST_WAITING
                self._tasks[key] = _Seen(row, raw, single) if kept else None
            return False
        found = self._tasks[key]
        if not isinstance(found, _Task):
            name = (asked.task or asked.instruction)[:_LONGEST_NAME]
            task = self._tasks[key] = _Task(name, bool(asked.task), row.example.origin)
            if found is None:
                task.rows = task.strays = 1
            else:
                task.first = found.row.example.origin
                self._show(task, asked, found)
            found = task
        self._show(found, asked, _Seen(row, raw, single))
        return True

    def _show(self, task: _Task, asked: _Asked, seen: _Seen) -> None:
        if task.count(seen.row.answer, seen.single):
            task.see(_labelled(seen.row, asked), seen.raw, self._build)

    def _make_room(self) -> None:
        self._tasks = {
            key: task
            for key, task in self._tasks.items()
            if isinstance(task, _Task) and task.rows >= _FEWEST_ROWS
        }
        self._full = len(self._tasks) > 0.9 * _MOST_TASKS

    def _labelled(self) -> list[_Task]:
        """The tasks with labels: a file where its rows are one task, else its instructions."""
        if self._found is None:
            self._found = []
            for source, file in self._files.items():
                tasks = [
                    task
                    for (name, _), task in self._tasks.items()
                    if name == source and isinstance(task, _Task) and task.labels
                ]
                if file.labels and not _are_several(tasks):
                    self._found.append(file)
                else:
                    self._found += tasks
        return self._found

    def findings(self) -> list[LintFinding]:
        """What is wrong with the labels, of all tasks together."""
        found: dict[tuple[str, str, str], list[tuple[_Task, LintFinding]]] = {}
        for task in self._labelled():
            for check in task.checks:
                for finding in check.findings():
                    # One answer in a whole file is found without labels too.
                    if task.name or finding.check != "constant_labels":
                        key = (finding.check, finding.what, finding.severity)
                        found.setdefault(key, []).append((task, finding))
        return list(chain.from_iterable(_together(each) for each in found.values()))

    @property
    def note(self) -> str:
        """What was taken for labels; empty where nothing was."""
        tasks = self._labelled()
        if not tasks:
            return ""
        labels = tasks[0].labels
        shown = ", ".join(f"'{excerpt(a, 30)}'" for a in labels[:6])
        more = ", ..." if len(labels) > 6 else ""
        whose = f" to '{excerpt(tasks[0].name)}'" if tasks[0].name else ""
        others = f", and those of {len(tasks) - 1:,} more tasks" if len(tasks) > 1 else ""
        full = "; further tasks were not looked at" if self._full else ""
        return f"the answers{whose} were taken for labels ({shown}{more}){others}{full}"


def _asked(row: Candidate) -> _Asked:
    if shared := row.shared:
        fields = row.example.fields
        task = fields.get("task") if "definition" in fields else None
        return _Asked(shared, task if isinstance(task, str) else "", None)
    messages = row.example.messages
    if row.example.template is not None or row.parts or len(messages) > 3:
        return _Asked("", "", None)
    end = row.question.find("\n\n")
    head = row.question[:end].strip() if end > 0 else ""
    if messages[0].role == "system":
        head = f"{messages[0].content}\n{head}".strip()
    return _Asked(head, "", end if end > 0 else 0)


def _labelled(row: Candidate, asked: _Asked | None) -> Candidate:
    """A row as it would be if somebody had said that its answer is a label."""
    given, instruction = row.question, ""
    if asked is not None:
        given = row.subject if asked.ends is None else row.question[asked.ends :].strip()
        instruction = asked.instruction
    example = row.example.but(fields={"instruction": instruction, "input": given}, label=row.answer)
    return Candidate(example, given, row.answer, (), row.render)


def _are_several(tasks: Sequence[_Task]) -> bool:
    """Whether instructions ask for different things, rather than for one in several ways."""
    if len(tasks) > 1 and all(task.named for task in tasks):
        return True
    seen: list[set[str]] = []
    for task in tasks:
        labels = {folded(label) for label in task.labels}
        if len(labels) > 1:
            if any(labels.isdisjoint(other) for other in seen):
                return True
            seen.append(labels)
    return False


def _together(found: Sequence[tuple[_Task, LintFinding]]) -> list[LintFinding]:
    """What one check found, as one finding where several tasks have it."""
    told = [(task, _told_of(task, finding)) for task, finding in found]
    tasks = {id(task) for task, _ in found}
    if len(tasks) == 1:
        return [finding for _, finding in told]
    first = told[0][1]
    places = [Place(where=str(t.first), said=finding.message) for t, finding in told[:PLACES]]
    message = f"{first.what} in {len(tasks):,} tasks. {first.message}"
    update = {"count": len(tasks), "places": places, "message": message}
    return [first.model_copy(update=update)]


def _told_of(task: _Task, finding: LintFinding) -> LintFinding:
    if not task.name:
        return finding
    said = f"Among the rows of '{excerpt(task.name)}': {finding.message}"
    return finding.model_copy(update={"message": said})
