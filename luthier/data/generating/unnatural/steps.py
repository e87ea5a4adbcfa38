"""The order of Unnatural Instructions: a new example, its output, other words for its instruction.

An example is taken in before its output is asked for, so that nothing is paid for one that is
known. Outputs and reformulations of an example depend on that example alone; they are asked for
while further examples are.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from luthier.data.generating.unnatural import prompts, reading
from luthier.data.generating.unnatural.demonstrations import Demonstration
from luthier.data.generating.unnatural.settings import Settings
from luthier.data.generating.writing import Writing
from luthier.example import Message, content_id
from luthier.inference.request import Completion, Request


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request for an example that was answered."""

    number: int
    group: int
    completion: Completion


@dataclass(frozen=True, slots=True)
class _Task:
    """An example that was taken in."""

    number: int
    group: int
    example: Demonstration
    call: Completion


@dataclass(frozen=True, slots=True)
class _Attempt:
    """A reformulation, and the reason why it is none."""

    text: str
    reason: str | None
    call: Completion


@dataclass(frozen=True, slots=True)
class _Done:
    """An example with its output and its reformulations."""

    task: _Task
    output: str
    reason: str | None
    """Why there is no output."""
    call: Completion
    """That of the output."""
    attempts: list[_Attempt] = field(default_factory=list)


async def write(
    writing: Writing, settings: Settings, groups: Sequence[Sequence[Demonstration]]
) -> None:
    """Write rows by Unnatural Instructions.

    Args:
        writing: the model, and the place for rows.
        settings: how it is done.
        groups: demonstrations of each prompt.
    """
    method = _Unnatural(writing, settings, groups)
    writing.wanted = settings.rows
    await writing.in_order(method.propose, method.take, finished=method.finished)
    method.sum_up()


class _Unnatural:
    def __init__(
        self, writing: Writing, settings: Settings, groups: Sequence[Sequence[Demonstration]]
    ) -> None:
        self.writing, self.settings, self.groups = writing, settings, groups
        self.shown = {one.key for group in groups for one in group}
        self.known: set[tuple[str, str]] = set()
        self.waiting: deque[_Task] = deque()
        """Taken in, their outputs not asked for yet."""
        self.asked = self.answered = self.accepted = 0
        self.begun = self.done = 0
        """Examples whose output was asked for, and those that have come back."""
        self.fruitless = 0
        """Requests for examples in a row that brought none."""
        self.formulations: dict[str | int, list[tuple[str, Completion]]] = {}
        """Of each instruction; of each example where they are not shared."""
        self.examples: dict[str | int, list[tuple[_Done, str]]] = {}
        """Likewise, those with an output, and the ids of their rows."""

    # --- asking -------------------------------------------------------------------------------

    def propose(self) -> Coroutine[Any, Any, _Asked | _Done] | None:
        """The next job; None where enough is under way."""
        settings = self.settings
        lacking = settings.rows - len(self.writing.rows)
        # Each example is taken to bring what it can, until it is known what they do bring.
        rows = (len(self.writing.rows) + 1 + settings.reformulations) / (self.done + 1)
        under_way = (self.begun - self.done) * rows
        if lacking <= under_way:
            return None
        if self.waiting:
            self.begun += 1
            return self._finish(self.waiting.popleft())
        if self.fruitless >= settings.patience:
            return None
        share = (self.accepted + 1) / (self.answered + 1)
        if lacking <= under_way + (self.asked - self.answered) * share * rows:
            return None
        self.asked += 1
        return self._example(self.asked - 1)

    async def _example(self, number: int) -> _Asked:
        group = number % len(self.groups)
        shown = self.groups[group]
        request = self._request(
            prompts.example_prompt(shown, chat=self.settings.chat),
            self.settings.max_tokens,
            stop=(prompts.STOP_EXAMPLE.format(len(shown) + 2),),
            **self._sampled("example", number),
        )
        return _Asked(number, group, await self.writing.ask(request))

    async def _finish(self, task: _Task) -> _Done:
        """The output of an example, and its reformulations one after another."""
        settings = self.settings
        request = self._request(
            prompts.output_prompt(task.example, chat=settings.chat),
            settings.output_max_tokens, stop=prompts.STOP_OUTPUT, temperature=0.0,
        )  # fmt: skip
        call = await self.writing.ask(request)
        output, reason = reading.read_output(call)
        done = _Done(task, output, reason, call)
        if reason is not None:
            return done
        known = {reading.same_formulation(said): "that the prompt shows" for said in prompts.SHOWN}
        known[reading.same_formulation(task.example.instruction)] = "that is the instruction itself"
        good = bad = 0
        while good < settings.reformulations and bad < settings.reformulation_tries:
            attempt = await self._reformulation(task, good + bad)
            if attempt.reason is None:
                same = reading.same_formulation(attempt.text)
                if same in known:
                    reason = f"known formulation: one {known[same]}"
                    attempt = _Attempt(attempt.text, reason, attempt.call)
                known.setdefault(same, "that was written before")
            good, bad = good + (attempt.reason is None), bad + (attempt.reason is not None)
            done.attempts.append(attempt)
        return done

    async def _reformulation(self, task: _Task, attempt: int) -> _Attempt:
        request = self._request(
            prompts.reformulation_prompt(task.example.instruction, chat=self.settings.chat),
            self.settings.reformulation_max_tokens,
            stop=() if self.settings.chat else prompts.STOP_REFORMULATION,
            **self._sampled("reformulation", task.number, attempt),
        )
        call = await self.writing.ask(request)
        return _Attempt(*reading.read_reformulation(call), call)

    def _sampled(self, *purpose: Any) -> dict[str, Any]:
        return {
            "temperature": self.settings.temperature, "top_p": self.settings.top_p,
            "seed": self.writing.number(*purpose),
        }  # fmt: skip

    def _request(self, prompt: str, max_tokens: int, **how: Any) -> Request:
        # Half a surrogate pair, which models do write, is no text that can be sent.
        prompt = prompt.encode("utf-8", "replace").decode("utf-8")
        if self.settings.chat:
            how["messages"] = (Message("user", prompt),)
        else:
            how["prompt"] = prompt
        return Request(max_tokens=max_tokens, **how)

    # --- taking in ----------------------------------------------------------------------------

    def finished(self) -> bool:
        """Whether there are as many rows as are wanted."""
        return len(self.writing.rows) >= self.settings.rows

    def take(self, found: _Asked | _Done) -> None:
        """Take in what came of a job."""
        if isinstance(found, _Asked):
            self._take_example(found)
        else:
            self.done += 1
            self._take_done(found)

    def _take_example(self, asked: _Asked) -> None:
        """The three filters of section 2.1."""
        self.answered += 1
        example = reading.read_example(asked.completion)
        reason = example if isinstance(example, str) else None
        if isinstance(example, Demonstration):
            if example.key in self.shown:
                reason = "demonstration: instruction and input are those of one that was shown"
            elif example.key in self.known:
                reason = "duplicate: an example with this instruction and input is there"
        if reason is not None or isinstance(example, str):
            self.fruitless += 1
            fields: dict[str, Any] = {"text": asked.completion.text}
            if isinstance(example, Demonstration):
                fields = _instance(example, "")
            self._leave_out(str(reason), fields, asked.number, asked.group, [asked.completion])
            return
        self.fruitless = 0
        self.accepted += 1
        self.known.add(example.key)
        self.waiting.append(_Task(asked.number, asked.group, example, asked.completion))

    def _take_done(self, done: _Done) -> None:
        task = done.task
        calls = [task.call, done.call]
        fields = _instance(task.example, done.output)
        if done.reason is not None:
            self._leave_out(done.reason, fields, task.number, task.group, calls)
            return
        name = self._keep(fields, task, calls)
        # Those of other examples with this instruction; rows with them are written as it is.
        instruction = task.example.key[0] if self.settings.cross_reference else task.number
        others = self.examples.setdefault(instruction, [])
        before = self.formulations.setdefault(instruction, [])
        known = {reading.same_formulation(text) for text, _ in before}
        mine: list[tuple[str, Completion]] = []
        for attempt in done.attempts:
            reason = attempt.reason
            if reason is None and reading.same_formulation(attempt.text) in known:
                reason = "known formulation: another example with this instruction has it"
            if reason is None:
                mine.append((attempt.text, attempt.call))
                continue
            said = {"instruction": task.example.instruction, "reformulation": attempt.text}
            self._leave_out(reason, said, task.number, task.group, [attempt.call], [name])
        for text, call in [*mine, *before]:
            self._keep_reformulation(done, name, text, call)
        for other, parent in others:
            for text, call in mine:
                self._keep_reformulation(other, parent, text, call)
        before += mine
        others.append((done, name))

    def _keep_reformulation(self, done: _Done, parent: str, text: str, call: Completion) -> None:
        example = done.task.example
        asked = text.replace(prompts.PLACEHOLDER, example.input)
        # Constraints are not repeated (section 2.2).
        one = {
            "instruction": text, "instruction_with_input": asked, "input": example.input,
            "output": done.output,
        }  # fmt: skip
        fields = {"instruction": example.instruction, "instances": [], "reformulations": [one]}
        self._keep(fields, done.task, [done.task.call, done.call, call], [parent])

    def _keep(
        self, fields: Mapping[str, Any], task: _Task, calls: Sequence[Completion],
        parents: Sequence[str] = (),
    ) -> str:  # fmt: skip
        fields = {**fields, "example": task.number, "prompt": task.group + 1}
        name = content_id(fields.values())
        if self.finished():
            self.writing.leave_out(
                f"not needed: there are {self.settings.rows} rows", fields, calls, parents=parents
            )
            return name
        return self.writing.keep(fields, calls, parents=parents)

    def _leave_out(
        self, reason: str, fields: Mapping[str, Any], number: int, group: int,
        calls: Sequence[Completion], parents: Sequence[str] = (),
    ) -> None:  # fmt: skip
        named = {**fields, "example": number, "prompt": group + 1}
        self.writing.leave_out(reason, named, calls, parents=parents)

    # --- the end ------------------------------------------------------------------------------

    def sum_up(self) -> None:
        """Say what was reached, and why it went no further."""
        notes = self.writing.notes
        notes.append(
            f"{self.answered:,} requests for examples brought {self.accepted:,} new ones; "
            f"{sum(map(len, self.examples.values())):,} of them have an output, "
            f"{sum(map(len, self.formulations.values())):,} reformulations were kept"
        )
        if self.fruitless >= self.settings.patience and not self.finished():
            notes.append(
                f"{self.fruitless} requests in a row brought no new example, so it was given up "
                "(patience): the model repeats itself, or does not write in the form it is shown"
            )


def _instance(example: Demonstration, output: str) -> dict[str, Any]:
    """An example as the published files have it."""
    one = {
        "instruction_with_input": f"{example.instruction}\n{example.input}",
        "input": example.input, "constraints": example.constraints, "output": output,
    }  # fmt: skip
    return {"instruction": example.instruction, "instances": [one], "reformulations": []}
