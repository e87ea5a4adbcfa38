"""The rounds of Evol-Instruct: evolve, compare, answer; what fails goes on unevolved.

The paper takes all instructions through a round before the next begins. Here each is taken through
all its rounds, many at once: they do not depend on each other, so rows are the same, and a budget
that ends early leaves whole chains of all depths.
"""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from luthier.data.generating.evol_instruct import elimination, prompts
from luthier.data.generating.evol_instruct.data_formats import DATA_FORMATS
from luthier.data.generating.evol_instruct.elimination import Evolution
from luthier.data.generating.evol_instruct.seeds import Seed
from luthier.data.generating.evol_instruct.settings import JUDGEMENT_TOKENS, Settings
from luthier.data.generating.writing import Writing
from luthier.example import Message, content_id
from luthier.inference.request import Completion, Request


@dataclass(frozen=True, slots=True)
class Attempt:
    """One evolution."""

    round: int
    operation: str
    data_format: str | None
    evolution: Evolution
    reason: str | None
    """Why it failed."""
    calls: tuple[Completion, ...]


@dataclass(frozen=True, slots=True)
class Chain:
    """An instruction and what came of its rounds."""

    seed: Seed
    attempts: tuple[Attempt, ...]


async def write(writing: Writing, settings: Settings, seeds: Sequence[Seed]) -> None:
    """Write rows by Evol-Instruct.

    Args:
        writing: the model, and the place for rows.
        settings: how it is done.
        seeds: what evolution begins with.
    """
    method = _EvolInstruct(writing, settings, seeds)
    each = settings.rounds if settings.keep == "all" else 1
    writing.wanted = min(settings.rows or 0, each * len(seeds))
    await writing.in_order(method.propose, method.take, finished=method.finished)
    method.sum_up()


class _EvolInstruct:
    def __init__(self, writing: Writing, settings: Settings, seeds: Sequence[Seed]) -> None:
        self.writing, self.settings = writing, settings
        self.seeds = list(seeds)
        # Where fewer are needed than there are, they are not those at the top of the file.
        writing.random("order").shuffle(self.seeds)
        self.begun = self.done = self.evolved = 0

    def finished(self) -> bool:
        """Whether there are as many rows as are wanted."""
        return self.settings.rows is not None and len(self.writing.rows) >= self.settings.rows

    def propose(self) -> Coroutine[Any, Any, Chain] | None:
        """The next instruction's rounds; None where enough are under way, or all are."""
        if self.begun == len(self.seeds):
            return None
        if self.settings.rows is not None:
            # Each is taken to bring what it can, until it is known what they do bring.
            most = self.settings.rounds if self.settings.keep == "all" else 1
            rows = (len(self.writing.rows) + most) / (self.done + 1)
            if self.settings.rows - len(self.writing.rows) <= (self.begun - self.done) * rows:
                return None
        self.begun += 1
        return self._chain(self.seeds[self.begun - 1])

    async def _chain(self, seed: Seed) -> Chain:
        attempts: list[Attempt] = []
        given = seed.text
        for number in range(1, self.settings.rounds + 1):
            attempts.append(await self._attempt(seed, given, number))
            if attempts[-1].reason is None:
                given = attempts[-1].evolution.evolved
        return Chain(seed, tuple(attempts))

    async def _attempt(self, seed: Seed, given: str, number: int) -> Attempt:
        """Evolve an instruction once, up to the first reason why that failed."""
        chance = self.writing.random("operation", seed.id, number)
        weights = self.settings.weights
        [operation] = chance.choices(list(weights), list(weights.values()))
        data_format = None
        if operation == "complicate_input":
            data_format = chance.choice(list(DATA_FORMATS))
        calls: list[Completion] = []

        def ended(reason: str | None, **known: str) -> Attempt:
            it = Evolution(**{"given": given, "evolved": "", **known})
            return Attempt(number, operation, data_format, it, reason, tuple(calls))

        rules = self.settings.rules
        evolved, reason = await self._ask(
            prompts.evolve(operation, given, data_format), self.settings.max_tokens,
            ("evolve", seed.id, number), calls, what="",
        )  # fmt: skip
        it = Evolution(given, evolved)
        reason = reason or elimination.first_reason(elimination.EVOLVED, rules, it)
        if reason is None and set(rules) & set(elimination.JUDGED):
            said = await self._judgement(it, calls)
            it = Evolution(given, evolved, said.text.strip())
            reason = f"judge unfit: {said.unfit}" if said.unfit is not None else None
            reason = reason or elimination.first_reason(elimination.JUDGED, rules, it)
        if reason is not None:
            return ended(reason, evolved=evolved, judgement=it.judgement)
        response, reason = await self._ask(
            evolved, self.settings.response_max_tokens, ("respond", seed.id, number), calls,
            what="response ",
        )  # fmt: skip
        it = Evolution(given, evolved, it.judgement, response)
        reason = reason or elimination.first_reason(elimination.ANSWERED, rules, it)
        return ended(reason, evolved=evolved, judgement=it.judgement, response=response)

    async def _ask(
        self, prompt: str, max_tokens: int, purpose: Sequence[Any], calls: list[Completion],
        *, what: str,
    ) -> tuple[str, str | None]:  # fmt: skip
        """What the model says, and the reason why that cannot be used."""
        completion = await self.writing.ask(
            Request(
                messages=_said(prompt),
                max_tokens=max_tokens,
                temperature=self.settings.temperature,
                top_p=self.settings.top_p,
                seed=self.writing.number(*purpose),
            )
        )
        calls.append(completion)
        text = completion.text.strip()
        if completion.unfit is not None:
            return text, f"{what}unfit: {completion.unfit}"
        if completion.finish_reason == "length":
            return text, f"{what}cut off: longer than {max_tokens} tokens"
        if not text:
            return text, f"{what}empty: nothing was written"
        return text, None

    async def _judgement(self, it: Evolution, calls: list[Completion]) -> Completion:
        asked = prompts.compare(it.given, it.evolved)
        completion = await self.writing.ask(
            Request(messages=_said(asked), max_tokens=JUDGEMENT_TOKENS, temperature=0.0)
        )
        calls.append(completion)
        return completion

    # --- taking in ----------------------------------------------------------------------------

    def take(self, chain: Chain) -> None:
        """Keep what was evolved, each made from the one before; leave out what failed."""
        self.done += 1
        self.writing.live = f"seeds:{self.done}/{len(self.seeds)}"
        good = [a for a in chain.attempts if a.reason is None]
        parent, evolutions = chain.seed.id, 0
        for attempt in chain.attempts:
            reason = attempt.reason
            evolutions += reason is None
            fields = self._fields(chain.seed, attempt, evolutions)
            if reason is None:
                self.evolved += 1
                if self.settings.keep == "last" and attempt is not good[-1]:
                    reason = "evolved further: a later one of the same original is kept"
                elif self.finished():
                    reason = f"not needed: there are {self.settings.rows} rows"
            if reason is None:
                self.writing.keep(fields, attempt.calls, parents=[parent])
            else:
                self.writing.leave_out(reason, fields, attempt.calls, parents=[parent])
            if attempt.reason is None:
                parent = fields["id"]
        self.writing.expected = len(self.writing.rows) / self.done * len(self.seeds)

    def _fields(self, seed: Seed, attempt: Attempt, evolutions: int) -> dict[str, Any]:
        it = attempt.evolution
        fields: dict[str, Any] = {
            "instruction": it.evolved, "input": "", "output": it.response,
            "original": seed.id, "original_origin": seed.origin, "round": attempt.round,
            "operation": attempt.operation, "evolutions": evolutions,
        }  # fmt: skip
        if attempt.data_format:
            fields["data_format"] = attempt.data_format
        if attempt.reason is not None:
            fields["given"] = it.given
        return {"id": content_id(fields.values()), **fields}

    def sum_up(self) -> None:
        """Say what was reached."""
        attempts = self.done * self.settings.rounds
        if not attempts:
            return
        self.writing.notes.append(
            f"{self.done:,} instructions were taken through {self.settings.rounds} rounds; "
            f"{self.evolved:,} of {attempts:,} evolutions succeeded"
        )
        rows = self.settings.rows
        if rows is not None and not self.finished():
            self.writing.notes.append(
                f"all {len(self.seeds):,} seeds were used up at {len(self.writing.rows):,} of "
                f"{rows:,} rows; more rounds or more seeds bring more"
            )


def _said(prompt: str) -> tuple[Message, ...]:
    # Half a surrogate pair, which models do write, is no text that can be sent.
    return (Message("user", prompt.encode("utf-8", "replace").decode("utf-8")),)
