"""Rows for one task, from its description, its labels and a few seed rows, with labels in balance.

Input-first writes an input and then asks for its label, as Self-Instruct does for tasks that are no
classification; output-first names the label and asks for an input that has it, as it does for
classification (arXiv 2212.10560, section 2.2), since models left to themselves write mostly inputs
of the commonest label. A share of both is mixed. Targets are met to the row, or it is said which
were not, and why.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from luthier.data.generating import task_prompts as prompts
from luthier.data.generating.seeds import Seed, read_seeds
from luthier.data.generating.targets import Aim, Cell, Targets, Yield, cells_of
from luthier.data.generating.task_settings import Settings, checked
from luthier.data.generating.writing import Write, Writing
from luthier.data.held_out import HeldOut
from luthier.data.novelty import NoveltyPool
from luthier.data.words import word_count
from luthier.errors import DataError
from luthier.inference.request import Completion, Request

FORMAT = "columns"
FILES = ("seeds", "avoid")
FEWEST_SEEDS = 2
_SAME_SHOTS = 32
"""Requests in a row that are shown the same seeds, those for one label or category."""


def build(
    *,
    description: str,
    seeds: str,
    rows: int | dict[str, int] | None = None,
    input: str = "input",
    output: str = "output",
    categories: list[dict[str, Any]] | None = None,
    output_first: float = 1.0,
    axes: dict[str, list[str]] | None = None,
    hard_negatives: float = 0.0,
    votes: int = 1,
    votes_lora: str | None = None,
    shots: int = 4,
    novelty: float = 0.7,
    avoid: str | list[str] | None = None,
    min_words: int = 2,
    max_words: int = 150,
    max_tokens: int = 128,
    temperature: float = 1.0,
    top_p: float = 0.95,
    one_line: bool = True,
    patience: int = 200,
    min_yield: float = 0.02,
) -> Write:
    """Rows of the recipe's own task.

    Args:
        description: what the task is, and what its labels mean; the model reads it.
        seeds: a file of 5 to 50 solved rows.
        rows: how many, shared out evenly, or for each label or category; null: 100, or as many as
            the categories say. What categories of their own `rows` leave goes to the others.
        input: input column of the seeds.
        output: output or label column of the seeds.
        categories: kinds of rows: {name, label, about, rows}, each counted for itself.
        output_first: share of rows whose label is named first; the others are labelled afterwards.
        axes: ways in which rows are to differ, each with its levels, spread evenly over the rows.
        hard_negatives: share of rows made from another row by changing as little as possible.
        votes: how often the model, not told the label, is asked for it; the majority must agree. 0:
            never, so that labels are as good as the model is at writing them.
        votes_lora: name of the adapter that votes, one of `llm.lora`: a model that was trained to
            tell labels apart may check what another one writes. null: whoever writes.
        shots: seeds shown before each request.
        novelty: rows whose ROUGE-L with a seed or another row exceeds this are left out (0.7 in
            Self-Instruct).
        avoid: test files; what resembles a row of theirs is left out.
        min_words: shorter inputs are left out. In scripts that put no spaces between words, every
            character counts as one.
        max_words: longer ones too (150 in Self-Instruct).
        max_tokens: of one input.
        temperature: of the sampling; answers to `votes` are the likeliest, or sampled if several.
        top_p: of the sampling.
        one_line: inputs are single lines; what comes after the first is cut off.
        patience: requests in vain after which a label or category is given up.
        min_yield: rows per request, over the last `patience` requests, below which writing stops.

    Raises:
        DataError: values that make no sense.
    """
    settings = checked(
        description=description, seeds=seeds, rows=rows, input=input, output=output,
        categories=categories, output_first=output_first, axes=axes, hard_negatives=hard_negatives,
        votes=votes, votes_lora=votes_lora, shots=shots, novelty=novelty, avoid=avoid,
        min_words=min_words, max_words=max_words, max_tokens=max_tokens, temperature=temperature,
        top_p=top_p, one_line=one_line, patience=patience, min_yield=min_yield,
    )  # fmt: skip

    async def write(writing: Writing) -> None:
        await _Task(settings, writing).write()

    return write


class _Proposal(NamedTuple):
    """One row that the model wrote, and how it went."""

    aim: Aim
    text: str
    calls: list[Completion]
    label: str | None = None
    """Label or category that it was given afterwards, or that it was written for."""
    reason: str | None = None
    """Why it is left out, as far as the row alone tells."""
    original: Seed | None = None
    """What a hard negative was made from."""


@dataclass
class _Task:
    settings: Settings
    writing: Writing
    asked: int = 0
    """Requests for inputs so far."""
    made: list[tuple[Seed, str]] = field(default_factory=list)
    """Rows that were kept, with their ids, and their cells; hard negatives are made from them."""
    pool: NoveltyPool = field(default_factory=NoveltyPool)
    owners: list[str] = field(default_factory=list)
    """Ids of the texts in the pool."""

    def __post_init__(self) -> None:
        settings, writing = self.settings, self.writing
        self.labels = list(writing.labels)
        self.seeds = read_seeds(
            settings.seeds, input=settings.input, output=settings.output, labels=self.labels,
            axes=list(settings.axes),
        )  # fmt: skip
        self._require_seeds()
        cells = cells_of(settings.rows, self.labels, settings.categories)
        self.introduced = prompts.introduction(settings.description, cells)
        own = "\n".join(seed.input for seed in self.seeds)
        self.leaks = [p for p in prompts.own_lines(cells, settings.axes) if not p.search(own)]
        self.targets = Targets(cells, settings.axes, settings.patience)
        self.rate = Yield(settings.patience, settings.min_yield)
        self.pool = NoveltyPool(threshold=settings.novelty or 1.0, unicode=True)
        for seed in self.seeds:
            self._remember(seed.input, seed.id)
        self.tests = HeldOut(settings.avoid)
        writing.wanted, writing.live = self.targets.wanted, self.targets.balance

    def _require_seeds(self) -> None:
        labels = Counter(seed.output for seed in self.seeds)
        missing = [label for label in self.labels if not labels[label]]
        if missing:
            raise DataError(
                f"{self.settings.seeds}: no seed row has the label '{missing[0]}'; the model must "
                "be shown every label."
            )
        if len(self.seeds) < FEWEST_SEEDS:
            raise DataError(f"{self.settings.seeds}: one seed row; 5 to 50 are a good number.")

    async def write(self) -> None:
        """Ask until the targets are met, or nothing more comes of it."""
        await self.writing.in_order(self._propose, self._take, finished=self._finished)
        for name, vain in self.targets.stuck.items():
            cell = self.targets.cell(name)
            self.writing.notes.append(
                f"{name}: {self.targets.kept[name]} of {cell.rows} rows; given up after {vain} "
                f"requests in a row without one. {self._commonest()}"
            )
        if self.rate.has_collapsed and not self.targets.is_done:
            self.writing.notes.append(
                f"the yield collapsed: {self.rate.rate:.1%} of the last {self.rate.window} "
                f"requests brought a row (min_yield {self.settings.min_yield:.1%}). "
                f"{self._commonest()}"
            )

    def _finished(self) -> bool:
        return self.targets.is_done or self.rate.has_collapsed

    def _commonest(self) -> str:
        reasons = ", ".join(f"{what} {n}" for what, n in self.writing.reasons.most_common(3))
        return f"Left out so far: {reasons or 'nothing'}."

    # --- asking -------------------------------------------------------------------------------

    def _propose(self) -> Any:
        number, chance = self.asked, self.writing.random("proposal", self.asked)
        output_first = not self.labels or _is_of_share(number, self.settings.output_first)
        aim = self.targets.next(chance, any_cell=not output_first)
        if aim is None:
            return None
        self.asked += 1
        if aim.cell is not None and self.labels:
            hard = chance.random() < self.settings.hard_negatives
            others = [
                (seed, cell) for seed, cell in [*self._seed_cells(), *self.made]
                if seed.output != self.targets.cell(aim.cell).label
            ]  # fmt: skip
            if hard and others:
                return self._contrasted(number, aim, chance.choice(others)[0])
        return self._written(number, aim)

    def _seed_cells(self) -> list[tuple[Seed, str]]:
        return [(seed, seed.category or seed.output) for seed in self.seeds]

    async def _written(self, number: int, aim: Aim) -> _Proposal:
        cell = self.targets.cell(aim.cell) if aim.cell is not None else None
        shown = self._shown(number, cell)
        messages = prompts.write_input(
            self.introduced, shown, prompts.request_for(cell, aim.levels)
        )
        completion = await self.writing.ask(self._request(messages, number))
        return await self._labelled(number, self._read(aim, completion))

    async def _contrasted(self, number: int, aim: Aim, original: Seed) -> _Proposal:
        assert aim.cell is not None
        cell = self.targets.cell(aim.cell)
        messages = prompts.contrast(self.introduced, self._shown(number, cell), original, cell)
        completion = await self.writing.ask(self._request(messages, number))
        found = self._read(aim, completion)._replace(original=original)
        if found.reason is None and found.text == original.input:
            found = found._replace(reason="unchanged: the hard negative is its original")
        return await self._labelled(number, found)

    def _request(self, messages: Any, number: int) -> Request:
        settings = self.settings
        return Request(
            messages=messages, max_tokens=settings.max_tokens, temperature=settings.temperature,
            top_p=settings.top_p, seed=self.writing.number("input", number),
            stop=("\n",) if settings.one_line else (),
        )  # fmt: skip

    def _shown(self, number: int, cell: Cell | None) -> list[tuple[Seed, str]]:
        """Seeds to show: of the cell that is wanted first, then of the others in turn."""
        # The same for some requests of a cell: what they have in common is run once.
        chance = self.writing.random("shown", cell and cell.name, number // _SAME_SHOTS)
        seeds = list(self.seeds)
        chance.shuffle(seeds)
        if cell is not None and cell.label:
            mine = [s for s in seeds if s.category == cell.name or s.output == cell.name]
            mine = mine or [s for s in seeds if s.output == cell.label]
            others = [s for s in seeds if s.output != cell.label]
            half = (self.settings.shots + 1) // 2
            seeds = [*mine[:half], *others[: self.settings.shots - half]]
            chance.shuffle(seeds)
        return [(s, self._request_of(s, cell)) for s in seeds[: self.settings.shots]]

    def _request_of(self, seed: Seed, wanted: Cell | None) -> str:
        """The request that a seed would answer, said as the one for the new row is."""
        cell = None
        if wanted is not None:
            known = {cell.name: cell for cell in self.targets.cells}
            cell = known.get(seed.category or "") or known.get(seed.output)
            if cell is None or cell.label not in ("", seed.output):
                cell = Cell(seed.output, seed.output if self.labels else "", 0)
        return prompts.request_for(cell, dict(seed.levels))

    # --- reading ------------------------------------------------------------------------------

    def _read(self, aim: Aim, completion: Completion) -> _Proposal:
        found = _Proposal(aim, prompts.as_input(completion.text), [completion])
        settings, words = self.settings, word_count(found.text)
        reason = None
        if completion.unfit is not None:
            reason = f"unfit: {completion.unfit}"
        elif completion.finish_reason == "length":
            reason = f"cut off: longer than {settings.max_tokens} tokens"
        elif not found.text:
            reason = "empty: nothing was written"
        elif words < settings.min_words:
            reason = f"too short: {words} words"
        elif words > settings.max_words:
            reason = f"too long: {words} words"
        elif leak := prompts.leaked(found.text, self.leaks):
            reason = f"leaked prompt words: '{leak}'"
        return found._replace(reason=reason)

    async def _labelled(self, number: int, found: _Proposal) -> _Proposal:
        """Ask for the label, the category or the output of what was written."""
        if found.reason is not None:
            return found
        if not self.labels:
            return await self._answered(number, found)
        cell = self.targets.cell(found.aim.cell) if found.aim.cell is not None else None
        votes = self.settings.votes or (1 if cell is None else 0)
        choices = [c.name for c in self.targets.cells] if cell is None else self.labels
        said: Counter[str] = Counter()
        calls = list(found.calls)
        for vote in range(votes):
            completion = await self.writing.ask(self._vote(number, vote, votes, found, choices))
            calls.append(completion)
            said[prompts.as_choice(completion.text, choices) or "none of them"] += 1
        found = found._replace(calls=calls)
        if cell is None:
            [(label, times)] = said.most_common(1)
            if label not in choices or 2 * times <= votes:
                return found._replace(reason=f"no label: the model says {dict(said)}")
            return found._replace(label=label)
        if votes and 2 * said[cell.label] <= votes:
            return found._replace(
                reason=f"label disagreed: wanted {cell.label}, the model says {dict(said)}"
            )
        return found._replace(label=cell.name)

    def _vote(
        self, number: int, vote: int, votes: int, found: _Proposal, choices: Sequence[str]
    ) -> Request:
        chance = self.writing.random("vote", number, vote)
        shown = [s for s in self.seeds if {s.output, s.category} & set(choices)]
        chance.shuffle(shown)
        messages = prompts.answer_input(
            self.settings.description, _one_of_each(shown, choices, self.settings.shots),
            found.text, choices,
        )  # fmt: skip
        return Request(
            messages=messages, max_tokens=16, temperature=0.0 if votes == 1 else 0.7,
            seed=self.writing.number("vote", number, vote), stop=("\n",),
            lora=self.settings.votes_lora,
        )  # fmt: skip

    async def _answered(self, number: int, found: _Proposal) -> _Proposal:
        chance = self.writing.random("answer", number)
        shown = chance.sample(self.seeds, min(self.settings.shots, len(self.seeds)))
        messages = prompts.answer_input(self.settings.description, shown, found.text, [])
        completion = await self.writing.ask(
            Request(
                messages=messages,
                max_tokens=self.settings.max_tokens,
                temperature=0.0,
                seed=self.writing.number("answer", number),
                stop=("\n",) if self.settings.one_line else (),
            )
        )
        found = found._replace(calls=[*found.calls, completion], label=completion.text.strip())
        if completion.unfit is not None:
            return found._replace(reason=f"unfit: {completion.unfit}")
        if completion.finish_reason == "length":
            return found._replace(reason="cut off: the output is too long")
        if not found.label:
            return found._replace(reason="empty: no output was written")
        return found

    # --- taking in ----------------------------------------------------------------------------

    def _take(self, found: _Proposal) -> None:
        reason = found.reason or self._known(found)
        cell = self._cell_of(found) if reason is None else None
        if reason is None and cell is not None and self.targets.lacking(cell) <= 0:
            reason, cell = f"label full: there are enough rows of {cell.name}", None
        self.targets.came(found.aim, cell.name if cell else None)
        self.rate.came(reason is None)
        self.writing.wanted, self.writing.live = self.targets.wanted, self.targets.balance
        fields, parents = self._fields(found, cell), self._parents(found)
        if reason is not None:
            self.writing.leave_out(reason, fields, found.calls, parents=parents)
            return
        assert cell is not None
        name = self.writing.keep(fields, found.calls, parents=parents)
        self._remember(found.text, name)
        self.made.append((Seed(name, found.text, cell.label, cell.name), cell.name))

    def _cell_of(self, found: _Proposal) -> Cell:
        if not self.labels:
            return self.targets.cell(found.aim.cell or self.targets.cells[0].name)
        assert found.label is not None
        return self.targets.cell(found.label)

    def _fields(self, found: _Proposal, cell: Cell | None) -> dict[str, Any]:
        known = cell
        if known is None and found.aim.cell is not None:
            known = self.targets.cell(found.aim.cell)
        answer = known.label if known and self.labels else found.label or ""
        fields: dict[str, Any] = {"input": found.text, "output": answer}
        if known is not None and self.settings.categories:
            fields["category"] = known.name
        fields["order"] = "hard negative" if found.original else (
            "input first" if found.aim.cell is None or not self.labels else "output first"
        )  # fmt: skip
        return fields | {f"axis_{axis}": level for axis, level in found.aim.levels.items()}

    def _parents(self, found: _Proposal) -> list[str]:
        return [found.original.id] if found.original else []

    def _known(self, found: _Proposal) -> str | None:
        """What is wrong with a row beside others: it is known, or stands in a test file."""
        if (where := self.tests.like(found.text)) is not None:
            return f"test data: {where}"
        if not self.settings.novelty:
            return None
        words = self.pool.read(found.text)
        original = found.original.id if found.original else None
        if original is None:
            closest = self.pool.closest(words)
            near = [closest] if closest else []
        else:
            scores = self.pool.scores(words)
            near = [c for c in (scores.most_similar if scores else [])
                    if c.score > self.settings.novelty]  # fmt: skip
        for one in near:
            if self.owners[one.number] != original:
                return f"not novel: ROUGE-L {one.score:.2f} with row {self.owners[one.number]}"
        return None

    def _remember(self, text: str, name: str) -> None:
        self.pool.add(self.pool.read(text))
        self.owners.append(name)


def _is_of_share(number: int, share: float) -> bool:
    """Whether the so-manieth of a row of things is of a share of them, spread evenly."""
    return int((number + 1) * share) > int(number * share)


def _one_of_each(seeds: Sequence[Seed], choices: Sequence[str], most: int) -> list[Seed]:
    """Seeds of the different choices in turn, so that no answer is the commonest."""
    by_choice: dict[str, list[Seed]] = {choice: [] for choice in choices}
    for seed in seeds:
        name = seed.output if seed.output in by_choice else seed.category or ""
        by_choice.setdefault(name, []).append(seed)
    found: list[Seed] = []
    while len(found) < most and any(by_choice.values()):
        for waiting in by_choice.values():
            if waiting and len(found) < most:
                found.append(waiting.pop(0))
    return found
