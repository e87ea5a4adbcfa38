"""The order of Self-Instruct: ask for instructions, take in what is novel, ask for their instances.

The authors run three programs one after another: all instructions, which of them are
classification, all instances. Here an instruction's instances are asked for as soon as it is taken
in, so that a budget that ends early ends with rows; what is decided about each is the same, since
instructions do not depend on instances.
"""

from __future__ import annotations

import math
import re
from collections import deque
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

from luthier.data.generating.self_instruct.instances import Instance, read_instances
from luthier.data.generating.self_instruct.instructions import read_instructions
from luthier.data.generating.self_instruct.pool import TaskPool
from luthier.data.generating.self_instruct.prompts import (
    instances_prompt,
    instructions_prompt,
    kind_prompt,
)
from luthier.data.generating.self_instruct.seeds import Task
from luthier.data.generating.self_instruct.settings import YES_TOKENS, Settings
from luthier.data.generating.writing import Writing
from luthier.example import Message
from luthier.inference.request import Completion, Request
from luthier.inference.window import each_in_order


@dataclass(frozen=True, slots=True)
class _Asked:
    """A bootstrapping request that was answered."""

    number: int
    shown: tuple[str, ...]
    """Ids of the tasks that its prompt shows."""
    closed: bool
    completion: Completion


@dataclass(frozen=True, slots=True)
class _Answered:
    """A task with what the model said of its kind, and its instances."""

    task: Task
    kind: Completion
    closed: bool
    completion: Completion


Found = _Asked | list[_Answered]


async def write(writing: Writing, settings: Settings, seeds: Sequence[Task]) -> None:
    """Write rows by Self-Instruct.

    Args:
        writing: the model, and the place for rows.
        settings: how it is done.
        seeds: the tasks that people wrote.

    Raises:
        DataError: too few seeds for a prompt.
    """
    steps = Steps(writing, settings, TaskPool(settings, seeds))
    writing.wanted = settings.rows or 0
    try:
        await writing.in_order(steps.propose, steps.take, finished=steps.finished)
    finally:
        steps.sum_up()


@dataclass
class Steps:
    """What has been asked, what is being asked, and what is to be asked next."""

    writing: Writing
    settings: Settings
    pool: TaskPool
    asked: int = 0
    """Bootstrapping requests that were begun."""
    open_requests: int = 0
    """Of those, not taken in yet."""
    waiting: deque[Task] = field(default_factory=deque)
    """Taken in; their instances are not asked for yet."""
    open_tasks: int = 0
    """Their instances are being asked for."""
    fruitless: int = 0
    """Bootstrapping requests in a row that brought no instruction."""
    barren: int = 0
    """Tasks in a row that brought no row."""
    _batch: list[Task] = field(default_factory=list)
    """The model's tasks that prompts of the current batch may show (`compat: original`)."""
    _rows: set[tuple[str, str, str]] = field(default_factory=set)

    # --- what is next -------------------------------------------------------------------------

    def propose(self) -> Coroutine[Any, Any, Found] | None:
        """The next job: instances of tasks that wait for them, else more instructions."""
        if tasks := self._next_tasks():
            self.open_tasks += len(tasks)
            return self._instances(tasks)
        return self._bootstrap() if self._wants_instructions() else None

    def finished(self) -> bool:
        """Whether there are rows enough, or no use in going on."""
        rows = self.settings.rows
        if rows is not None and len(self.writing.rows) >= rows:
            return True
        return not self.settings.original and self.barren >= self.settings.patience

    def _next_tasks(self) -> list[Task]:
        """Tasks whose instances are asked for together: as in the original, or one by one."""
        size = 1
        if self.settings.original:
            more = self.open_requests > 0 or self._wants_instructions()
            size = self.settings.request_batch_size
            if len(self.waiting) < size and more:
                return []
        return [self.waiting.popleft() for _ in range(min(size, len(self.waiting)))]

    def _wants_instructions(self) -> bool:
        settings, size = self.settings, self.settings.request_batch_size
        if settings.original and self.asked % size:
            return True  # a batch is asked as a whole
        taken = len(self.pool.taken)
        if self.fruitless >= settings.patience or taken >= settings.wanted_instructions:
            return False
        if settings.original:
            return self.open_requests == 0
        if taken + self.open_requests >= settings.wanted_instructions:
            return False
        if settings.rows is not None:
            # Each task is expected to give a row; if it does not, more are asked for later.
            coming = len(self.waiting) + self.open_tasks + self.open_requests
            if len(self.writing.rows) + coming >= settings.rows and coming:
                return False
        return self.open_requests < size

    # --- asking -------------------------------------------------------------------------------

    def _bootstrap(self) -> Coroutine[Any, Any, Found]:
        settings, number = self.settings, self.asked
        share = settings.classification_share
        # Spread evenly: of requests 0 to n, floor(share * (n + 1)) ask for classification.
        closed = int(share * (number + 1)) > int(share * number)
        if number % settings.request_batch_size == 0:
            self._batch = list(self.pool.taken)
        machine = self._batch if settings.original else self.pool.taken
        if closed and not settings.original:
            machine = [task for task in machine if task.is_classification]
        shown = self.pool.shown(self.writing.random("demonstrations", number), machine, closed)
        self.asked += 1
        self.open_requests += 1
        prompt = instructions_prompt(
            [task.instruction for task in shown], classification=closed, chat=settings.chat
        )
        request = Request(
            **self._as_asked(prompt),
            max_tokens=settings.max_tokens,
            temperature=settings.temperature,
            top_p=settings.top_p,
            presence_penalty=settings.presence_penalty,
            stop=settings.stop,
            seed=self.writing.number("instructions", number),
        )
        ids = tuple(task.id for task in shown)

        async def ask() -> Found:
            return _Asked(number, ids, closed, await self.writing.ask(request))

        return ask()

    async def _instances(self, tasks: Sequence[Task]) -> Found:
        """Whether tasks are classification, and then their instances."""
        together = len(tasks)
        kinds = [kind async for _, kind in each_in_order(tasks, self._kind, window=together)]
        closed = [says_yes(kind.text, original=self.settings.original) for kind in kinds]
        tokens = [
            # The original has one limit for all prompts of a request.
            self.settings.classification_max_tokens
            if (any(closed) if self.settings.original else one)
            else self.settings.instance_max_tokens
            for one in closed
        ]

        async def ask(place: int) -> Completion:
            prompt = instances_prompt(
                tasks[place].instruction, classification=closed[place], chat=self.settings.chat
            )
            request = Request(
                **self._as_asked(prompt),
                max_tokens=tokens[place],
                temperature=0.0,
                presence_penalty=self.settings.instance_presence_penalty,
                stop=self.settings.instance_stop,
            )
            return await self.writing.ask(request)

        places = range(together)
        answers = [answer async for _, answer in each_in_order(places, ask, window=together)]
        return [_Answered(*one) for one in zip(tasks, kinds, closed, answers, strict=True)]

    async def _kind(self, task: Task) -> Completion:
        prompt = kind_prompt(task.instruction, chat=self.settings.chat)
        request = Request(
            **self._as_asked(prompt),
            max_tokens=YES_TOKENS,
            temperature=0.0,
            stop=("\n", "Task"),
        )
        return await self.writing.ask(request)

    def _as_asked(self, prompt: str) -> dict[str, Any]:
        # Half a surrogate pair, which models do write, is no text that can be sent.
        prompt = prompt.encode("utf-8", "replace").decode("utf-8")
        if self.settings.chat:
            return {"messages": (Message("user", prompt),)}
        return {"prompt": prompt}

    # --- taking in ----------------------------------------------------------------------------

    def take(self, found: Found) -> None:
        """Take in what came of a job."""
        if isinstance(found, _Asked):
            self._take_instructions(found)
        else:
            for one in found:
                self._take_instances(one)
        self._show_how_far()

    def _show_how_far(self) -> None:
        writing, taken = self.writing, len(self.pool.taken)
        most = self.settings.wanted_instructions
        writing.live = f"instructions:{taken}" + (f"/{most}" if most != math.inf else "")
        if asked := taken - len(self.waiting) - self.open_tasks:
            writing.expected = 0.0 if most == math.inf else len(writing.rows) / asked * most

    def _take_instructions(self, asked: _Asked) -> None:
        self.open_requests -= 1
        before = len(self.pool.taken)
        completion = asked.completion
        if completion.unfit is not None:
            self._leave_out(f"unfit: {completion.unfit}", "", asked)
        else:
            found = read_instructions(completion.text, completion.finish_reason, self.settings)
            for instruction, reason in found:
                self._take_instruction(instruction, reason, asked)
        self.fruitless = 0 if len(self.pool.taken) > before else self.fruitless + 1

    def _take_instruction(self, instruction: str, reason: str | None, asked: _Asked) -> None:
        settings, taken = self.settings, self.pool.taken
        # The original looks at the count between requests only, and takes what it has.
        if reason is None and not settings.original and len(taken) >= settings.wanted_instructions:
            reason = f"not needed: there are {len(taken)} instructions"
        about: dict[str, Any] = {}
        if reason is None:
            reason, about = self.pool.like(instruction)
        if reason is not None:
            self._leave_out(reason, instruction, asked)
            return
        size = settings.request_batch_size
        about["request_idx"] = asked.number // size if settings.original else asked.number
        task = Task(
            f"task_{len(taken)}", instruction, asked.closed, (asked.completion,), asked.shown, about
        )
        taken.append(task)
        self.waiting.append(task)

    def _leave_out(self, reason: str, instruction: str, asked: _Asked) -> None:
        fields = {"instruction": instruction, "request_idx": asked.number}
        self.writing.leave_out(reason, fields, [asked.completion], parents=asked.shown)

    def _take_instances(self, answered: _Answered) -> None:
        self.open_tasks -= 1
        task, completion = answered.task, answered.completion
        before = len(self.writing.rows)
        calls = [*task.calls, answered.kind, completion]
        unfit = completion.unfit if self.settings.original else (
            answered.kind.unfit or completion.unfit
        )  # fmt: skip
        if unfit is not None:
            found = [Instance("", "", f"unfit: {unfit}")]
        else:
            found = read_instances(
                completion.text, completion.finish_reason,
                classification=answered.closed, original=self.settings.original,
            )  # fmt: skip
        for place, one in enumerate(self._at_most(task, found)):
            self._take_instance(answered, place, one, calls)
        self.barren = 0 if len(self.writing.rows) > before else self.barren + 1

    def _at_most(self, task: Task, found: list[Instance]) -> list[Instance]:
        """Instances of which no more than the most are without a reason; chosen at random."""
        good = [place for place, one in enumerate(found) if one.reason is None]
        most = self.settings.max_instances
        if len(good) <= most:
            return found
        chosen = set(self.writing.random("instances", task.id).sample(good, most))
        said = f"not needed: the task has {len(good)} instances, the most are {most}"
        return [
            Instance(one.input, one.output, said) if place in good and place not in chosen else one
            for place, one in enumerate(found)
        ]

    def _take_instance(
        self, answered: _Answered, place: int, one: Instance, calls: Sequence[Completion]
    ) -> None:
        task, reason, given = answered.task, one.reason, one.input
        original = self.settings.original
        chance = self.writing.random("field name", task.id, place).random()
        if reason is None and chance < self.settings.unnamed_share:
            given = unnamed(given, original=original)
        if reason is None and not original and unnamed(one.input, original=False) == one.output:
            reason = "copied input: the output is the input without its name"
        row = (task.instruction, given, one.output)
        if reason is None and row in self._rows:
            reason = "duplicate: the same row again"
        fields = {
            "instruction": task.instruction,
            "input": given,
            "output": one.output,
            "is_classification": answered.closed,
            "task": task.id,
            **task.about,
        }
        if reason is not None:
            self.writing.leave_out(reason, fields, calls, parents=task.parents)
            return
        self._rows.add(row)
        self.writing.keep(fields, calls, parents=task.parents)

    # --- the end ------------------------------------------------------------------------------

    def sum_up(self) -> None:
        """Say what was reached, and why it went no further."""
        notes, taken = self.writing.notes, len(self.pool.taken)
        notes.append(
            f"{self.asked - self.open_requests:,} requests for instructions brought {taken:,} "
            f"novel ones; {taken - len(self.waiting) - self.open_tasks:,} of them were asked for "
            "instances"
        )
        patience = self.settings.patience
        if self.fruitless >= patience:
            notes.append(
                f"{patience} requests in a row brought no new instruction, so it was given up "
                "(patience): the model repeats itself, or writes no list of tasks"
            )
        if not self.settings.original and self.barren >= patience:
            notes.append(
                f"{patience} instructions in a row brought no row, so it was given up (patience)"
            )
        if warning := self.pool.novelty.warning:
            notes.append(warning)


def says_yes(text: str, *, original: bool) -> bool:
    """Whether a task is classification, by the model's answer.

    The authors take "Yes", "yes" and "YES" and nothing else: "Yes." and "Yes, it" are a no.
    """
    if original:
        return text.strip() in ("Yes", "yes", "YES")
    return re.match(r"\W*yes\b", text, re.IGNORECASE) is not None


def unnamed(text: str, *, original: bool) -> str:
    """An input without the name of its only field, and without blank lines.

    The authors take whatever stands before the only word with a colon for its name: "We met at
    10:30" becomes "30". By default it must stand at the beginning and be followed by a space.
    """
    if original:
        if len(set(re.findall(r"(\w+):", text))) == 1:
            text = text.split(":", 1)[1].strip()
        return text.strip().replace("\n\n", "\n")
    name = re.match(r"[^\W\d][\w ]{0,30}:\s+", text)
    if name and len(re.findall(r"^[^\W\d][\w ]{0,30}:\s", text, re.MULTILINE)) == 1:
        text = text[name.end() :]
    return re.sub(r"\n{2,}", "\n", text.strip())
