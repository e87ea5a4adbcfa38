"""Asking a model about rows: the tuned one, and the base model of the prompting baselines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from luthier.console import progress
from luthier.errors import DataError, nearest
from luthier.evaluation.outcome import Answers, Choices, Floats, Outcome, groups_of
from luthier.example import Example, Message
from luthier.recipe import Recipe
from luthier.run import RUNS, Run

Conversation = Sequence[Message]


class Asked(NamedTuple):
    """What a system said, and what the system is."""

    outcome: Outcome
    describe: str
    """How it came to its answers; one line for people."""


@dataclass(frozen=True)
class Setting:
    """What a baseline is given."""

    run: Run
    recipe: Recipe
    train: list[Example]
    test: list[Example]
    runs: Path = RUNS

    @cached_property
    def base(self) -> Interviewer:
        """The model the run started from, opened when first asked for."""
        return Interviewer.of(self.run, self.recipe, base=True, runs=self.runs)


@dataclass(frozen=True)
class Interviewer:
    """A model, and how this recipe asks it."""

    model: Any
    renderer: Any
    recipe: Recipe

    @classmethod
    def of(cls, run: Run, recipe: Recipe, *, base: bool = False, runs: Path = RUNS) -> Interviewer:
        """Open the model a run trained, or (`base`) the one it started from."""
        from luthier.chat import Renderer
        from luthier.model import trained_model

        model, tokenizer = trained_model(run, base=base, runs=runs)
        return cls(model, Renderer(tokenizer, recipe.train.train_on), recipe)

    def ask(
        self, examples: Sequence[Example], title: str, prompts: Sequence[Conversation] | None = None
    ) -> Outcome:
        """Ask about every example.

        Args:
            examples: the rows.
            title: what the progress bar says.
            prompts: conversations to ask instead of the examples' own prompts.
        """
        asked = [example.prompt for example in examples] if prompts is None else prompts
        if self.recipe.task.kind == "classification":
            scores = self.score(asked, title)
            return choices(self.recipe, examples, scores)
        answers = None
        if self.recipe.task.kind != "text":
            answers = self._generate(asked, title)
        turned = [
            # `prompt` has tools written out already.
            example.but(messages=(*prompt, example.turns[-1]), tools=None)
            if example.messages
            else example
            for example, prompt in zip(examples, asked, strict=True)
        ]
        return self._judge_references(turned, answers, title)

    def score(self, prompts: Sequence[Conversation], title: str) -> Floats:
        """(prompts, labels) log-likelihoods of the recipe's labels."""
        from luthier.scoring import label_scores

        with progress(title, len(prompts)) as advance:
            return label_scores(
                self.model, self.renderer, prompts, self.recipe.labels, self._batch_size,
                progress=advance,
            )  # fmt: skip

    def _generate(self, prompts: Sequence[Conversation], title: str) -> list[str]:
        from luthier.generate import answer

        ids = [self.renderer.prompt(prompt) for prompt in prompts]
        with progress(f"{title}: answering", len(ids)) as advance:
            return answer(
                self.model, self.renderer, ids, self.recipe.evaluate.generation, self.recipe.seed,
                batch_size=self._batch_size, progress=advance,
            )  # fmt: skip

    def _judge_references(
        self, examples: Sequence[Example], answers: list[str] | None, title: str
    ) -> Answers:
        from luthier.chat import Renderer
        from luthier.scoring import answer_scores

        # Whatever was trained, what is judged is the answer (of text rows: the text).
        renderer = Renderer(self.renderer.tokenizer, "completion")
        rendered = [renderer.render(example) for example in examples]
        with progress(f"{title}: references", len(rendered)) as advance:
            scores = answer_scores(
                self.model, renderer, rendered, self._batch_size, progress=advance
            )
        references = [example.completion for example in examples]
        groups = groups_of([example.group for example in examples])
        return Answers(references, answers, scores.log_likelihood, scores.tokens, groups)

    @property
    def _batch_size(self) -> int:
        return self.recipe.train.per_device_eval_batch_size


def choices(recipe: Recipe, examples: Sequence[Example], scores: Floats) -> Choices:
    """Put label scores beside the gold labels.

    Raises:
        DataError: a row's label is not one of the recipe's.
    """
    index = {label: i for i, label in enumerate(recipe.labels)}
    for example in examples:
        if example.label not in index:
            raise DataError(
                f"{example.origin}: the label is '{example.label}', expected one of "
                f"{', '.join(recipe.labels)}.{nearest(str(example.label), recipe.labels)}"
            )
    gold = np.array([index[str(example.label)] for example in examples], dtype=np.int64)
    groups = groups_of([example.group for example in examples])
    return Choices(recipe.labels, recipe.positive, gold, scores, groups)


def input_text(example: Example) -> str:
    """What the row is about: its input column, else the last message before the answer."""
    found = example.fields.get("input")
    if isinstance(found, str) and found.strip():
        return found
    if example.prompt:
        return example.prompt[-1].content
    return example.text or ""
