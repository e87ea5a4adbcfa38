"""The base model with a few training rows in its prompt, contextually calibrated.

Classification answers are corrected for the model's liking for some label in this very context
(Zhao et al. 2021, arXiv:2102.09690, section 5): what it answers to inputs without content is
divided out. Without that, few-shot numbers are mostly noise, and too easy to beat.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np
from scipy.special import log_softmax, logsumexp

from luthier.errors import DataError
from luthier.evaluation.asking import Asked, Interviewer, Setting, choices, input_text
from luthier.evaluation.outcome import Floats
from luthier.example import Example, Message

FITS = ("classification", "generation", "chat")
CONTENT_FREE = ("N/A", "", "[MASK]")
"""As in section 5 of the paper."""

Ask = Callable[[Sequence[Message]], list[Message]]


def measure(setting: Setting) -> Asked:
    """Ask the base model every test row behind the same shots.

    Raises:
        DataError: there are no training rows to show, or none fits the model's context.
    """
    base = setting.base
    shots = choose_shots(
        setting.train, setting.recipe.evaluate.few_shot_examples, setting.recipe.seed
    )
    shots = _that_fit(shots, setting, base)
    prompts = [with_shots(shots, row.prompt, turns=base.renderer.has_template)
               for row in setting.test]  # fmt: skip
    title = f"Asking the base model ({len(shots)}-shot)"
    rows = "1 training row" if len(shots) == 1 else f"{len(shots)} training rows"
    describe = f"the base model with {rows} in the prompt"
    if setting.recipe.task.kind != "classification":
        return Asked(base.ask(setting.test, title, prompts), describe)
    scores = log_softmax(base.score(prompts, title), axis=1)
    bias = _bias(setting, shots, base)
    if bias is None:
        return Asked(
            choices(setting.recipe, setting.test, scores),
            f"{describe}, not calibrated: the rows' input is not found in their prompts",
        )
    return Asked(
        choices(setting.recipe, setting.test, scores - bias),
        f"{describe}, contextually calibrated (Zhao et al. 2021)",
    )


def choose_shots(rows: Sequence[Example], count: int, seed: int) -> list[Example]:
    """Choose rows at random, as many of each label as the count allows, in random order."""
    if not rows:
        raise DataError("there are no training rows to show")
    by_label: dict[str | None, list[Example]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: row.id):
        by_label[row.label].append(row)
    rng = random.Random(seed)
    piles = [by_label[label] for label in sorted(by_label, key=str)]
    for pile in piles:
        rng.shuffle(pile)
    rng.shuffle(piles)
    shots: list[Example] = []
    while len(shots) < count and any(piles):
        shots += [pile.pop() for pile in piles if pile][: count - len(shots)]
    rng.shuffle(shots)
    return shots


def with_shots(
    shots: Sequence[Example], prompt: Sequence[Message], *, turns: bool
) -> list[Message]:
    """Put shots before a prompt.

    Args:
        shots: training rows.
        prompt: the messages of the row to ask about.
        turns: show shots as earlier turns (models with a chat template); else as plain text.
    """
    system = [m for m in prompt[:1] if m.role == "system"]
    shown: list[Message] = []
    for shot in shots:
        said = [m for m in shot.turns if m.role != "system"]
        if turns:
            shown += said
        else:
            asked = "\n\n".join(m.content for m in said[:-1])
            shown.append(Message("user", f"{asked} {said[-1].content}"))
    return [*system, *shown, *prompt[len(system) :]]


def _that_fit(shots: list[Example], setting: Setting, base: Interviewer) -> list[Example]:
    """Leave out shots, the last first, until the longest prompt fits the model's context."""
    room = getattr(base.model.config, "max_position_embeddings", None)
    if room is None:
        return shots
    room -= _answer_tokens(setting, base)
    turns = base.renderer.has_template
    longest = max(
        (row.prompt for row in setting.test), key=lambda p: sum(len(m.content) for m in p)
    )
    while shots and len(base.renderer.prompt(with_shots(shots, longest, turns=turns))) > room:
        shots = shots[:-1]
    if not shots:
        raise DataError(f"no training row fits the model's context of {room} tokens")
    return shots


def _answer_tokens(setting: Setting, base: Interviewer) -> int:
    if setting.recipe.task.kind != "classification":
        return setting.recipe.evaluate.generation.max_new_tokens
    prompt = setting.test[0].prompt
    return 1 + max(len(base.renderer.completion(prompt, x)) for x in setting.recipe.labels)


def _bias(setting: Setting, shots: Sequence[Example], base: Interviewer) -> Floats | None:
    """(rows, labels) log of the mean probability of each label for inputs without content.

    Prompts of several templates have a bias each. None where the input cannot be found in a
    prompt, and so cannot be replaced.
    """
    turns = base.renderer.has_template
    bias = np.zeros((len(setting.test), len(setting.recipe.labels)))
    for template in dict.fromkeys(row.template for row in setting.test):
        rows = [i for i, row in enumerate(setting.test) if row.template == template]
        emptied = [_without_content(setting.test[rows[0]], text) for text in CONTENT_FREE]
        prompts = [with_shots(shots, prompt, turns=turns) for prompt in emptied if prompt]
        if len(prompts) < len(CONTENT_FREE):
            return None
        log_p = log_softmax(base.score(prompts, "Asking without content"), axis=1)
        bias[rows] = log_softmax(logsumexp(log_p, axis=0))
    return bias


def _without_content(row: Example, instead: str) -> list[Message] | None:
    """The row's prompt with its input, where it last occurs, replaced."""
    text = input_text(row)
    for at in reversed(range(len(row.prompt))):
        message = row.prompt[at]
        for piece in (text, text.strip()):
            before, found, after = message.content.rpartition(piece)
            if found:
                new = Message(message.role, f"{before}{instead}{after}")
                return [*row.prompt[:at], new, *row.prompt[at + 1 :]]
    return None
