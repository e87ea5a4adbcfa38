"""Every number of Evol-Instruct (arXiv 2304.12244), with its source."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from luthier.data.generating.evol_instruct.elimination import PAPER, RULES
from luthier.data.generating.evol_instruct.prompts import OPERATIONS
from luthier.data.generating.options import SAMPLING, problems
from luthier.errors import unknown

ROUNDS = 4
"""Evolutions of each instruction (section 4.1: M = 4 over the 52,000 of Alpaca)."""
TEMPERATURE, TOP_P, MAX_TOKENS = 1.0, 0.95, 2048
"""Of evolutions and responses (nlpxucan/WizardLM, Evol_Instruct/main.py and openai_access.py)."""
JUDGEMENT_TOKENS = 16
"""Ours: room for `Not Equal` and a word before it. The likeliest judgement is taken."""
SEEDS = "luthier:seed_tasks.jsonl"
KEEP = ("all", "last")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How Evol-Instruct is run; see `generators/evol_instruct.py: build`."""

    rows: int | None = None
    rounds: int = ROUNDS
    weights: Mapping[str, float] = field(default_factory=lambda: dict.fromkeys(OPERATIONS, 1.0))
    rules: Sequence[str] = PAPER
    keep: str = "all"
    temperature: float = TEMPERATURE
    top_p: float = TOP_P
    max_tokens: int = MAX_TOKENS
    response_max_tokens: int = MAX_TOKENS


_COUNTS = {"rows": 1, "rounds": 1, "max_tokens": 1, "response_max_tokens": 1}


def wrong(given: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with the options of a recipe, one sentence each."""
    yield from problems(given, counts=_COUNTS, numbers=SAMPLING, optional=("rows",))
    yield from _wrong_weights(given["weights"])
    rules = given["rules"]
    if not isinstance(rules, (list, tuple)):
        yield f"rules is {rules!r}, expected a list of {', '.join(RULES)}."
    else:
        yield from (unknown("rule", str(r), RULES) for r in rules if r not in RULES)
    if given["keep"] not in KEEP:
        yield unknown("value of keep", str(given["keep"]), KEEP)


def _wrong_weights(weights: Any) -> Iterator[str]:
    if weights is None:
        return
    if not isinstance(weights, Mapping):
        yield f"weights is {weights!r}, expected numbers for {', '.join(OPERATIONS)}."
        return
    for name, weight in weights.items():
        if name not in OPERATIONS:
            yield f"weights: {unknown('operation', str(name), OPERATIONS)}"
        elif isinstance(weight, bool) or not isinstance(weight, (int, float)) or weight < 0:
            yield f"weights.{name} is {weight!r}, expected a number of at least 0."
    numbers = [w for w in weights.values() if isinstance(w, (int, float))]
    if not sum(numbers) > 0:
        yield "weights: no operation has a weight above 0."


def weights_of(given: Mapping[str, float] | None) -> dict[str, float]:
    """The weight of every operation; those that are not named have none, without any all have 1."""
    if given is None:
        return dict.fromkeys(OPERATIONS, 1.0)
    return {name: float(given.get(name, 0.0)) for name in OPERATIONS}
