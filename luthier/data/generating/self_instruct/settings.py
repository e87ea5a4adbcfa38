"""Every number of Self-Instruct, with its source, and whether those of a recipe make sense."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from luthier.data.generating.options import SAMPLING, problems, require_none
from luthier.data.novelty import THRESHOLD
from luthier.errors import unknown

# Where nothing else is said, a default is that of the authors' code, in the file named.
NUM_HUMAN, NUM_MACHINE = 6, 2
"""Demonstrations of a prompt that people and the model wrote (paper, section 2.2;
bootstrap_instructions.py: num_prompt_instructions 8, of them n=2 of the model's)."""
REQUEST_BATCH_SIZE = 5
"""Prompts made from the same pool (bootstrap_instructions.py: request_batch_size)."""
NUM_INSTRUCTIONS = 100
"""bootstrap_instructions.py: num_instructions_to_generate."""
TEMPERATURE, TOP_P, PRESENCE_PENALTY, MAX_TOKENS = 0.7, 0.5, 2.0, 1024
"""Of bootstrapping (bootstrap_instructions.py; paper, appendix A)."""
MIN_WORDS, MAX_WORDS = 4, 150
"""Of an instruction (bootstrap_instructions.py: <= 3 or > 150 is filtered out)."""
BLACKLIST = (
    "image", "images", "graph", "graphs", "picture", "pictures", "file", "files", "map", "maps",
    "draw", "plot", "go to",
)  # fmt: skip
"""What a language model cannot see or do (bootstrap_instructions.py)."""
BEGINNING = "Write a program"
"""The model puts it before tasks that it has seen; instructions that begin so are left out
(bootstrap_instructions.py)."""
YES_TOKENS = 3
"""Longest answer to whether a task is classification (identify_clf_or_not.py)."""
MAX_INSTANCES = 5
"""Of a task (generate_instances.py: max_instances_to_generate; prepare_for_finetuning.py)."""
INSTANCE_TOKENS, CLASSIFICATION_TOKENS = 350, 300
"""Longest answers with instances; the prompt for classification is longer
(generate_instances.py)."""
INSTANCE_PRESENCE_PENALTY = 1.5
"""generate_instances.py."""
UNNAMED_SHARE = 0.5
"""Share of the inputs that lose the name of their only field, and blank lines
(prepare_for_finetuning.py)."""
PATIENCE = 50
"""Ours: the authors' code goes on for ever with a model that writes nothing new."""
SEEDS = "luthier:seed_tasks.jsonl"
COMPAT = ("none", "original")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How Self-Instruct is run; see `generators/self_instruct.py: build`."""

    rows: int | None = None
    num_instructions: int | None = None
    compat: str = "none"
    num_human: int = NUM_HUMAN
    num_machine: int = NUM_MACHINE
    request_batch_size: int = REQUEST_BATCH_SIZE
    classification_share: float = 0.0
    temperature: float = TEMPERATURE
    top_p: float = TOP_P
    presence_penalty: float = PRESENCE_PENALTY
    max_tokens: int = MAX_TOKENS
    threshold: float = THRESHOLD
    min_words: int = MIN_WORDS
    max_words: int = MAX_WORDS
    blacklist: Sequence[str] = BLACKLIST
    max_instances: int = MAX_INSTANCES
    instance_max_tokens: int = INSTANCE_TOKENS
    classification_max_tokens: int = CLASSIFICATION_TOKENS
    instance_presence_penalty: float = INSTANCE_PRESENCE_PENALTY
    unnamed_share: float = UNNAMED_SHARE
    chat: bool = False
    patience: int = PATIENCE

    @property
    def original(self) -> bool:
        """Whether what is decided is what the authors' code decides."""
        return self.compat == "original"

    @property
    def wanted_instructions(self) -> int | float:
        """New instructions after which no more are asked for."""
        if self.num_instructions is not None:
            return self.num_instructions
        return NUM_INSTRUCTIONS if self.rows is None else math.inf

    @property
    def stop(self) -> tuple[str, ...]:
        """Where an answer with instructions ends: after the 16th, with 8 in the prompt.

        The authors also end it at "16." and "16 .", wherever they stand: "Convert 16.5 km to
        miles" becomes "Convert". A chat model puts blank lines between what it says.
        """
        last = 2 * (self.num_human + self.num_machine)
        if self.original:
            return ("\n\n", f"\n{last}", f"{last}.", f"{last} .")
        return (f"\n{last}",) if self.chat else ("\n\n", f"\n{last}")

    @property
    def instance_stop(self) -> tuple[str, ...]:
        """Where an answer with instances ends (generate_instances.py)."""
        return (f"Example {self.max_instances + 1}", "Task:")


def checked(**given: Any) -> Settings:
    """The settings that a recipe asks for.

    Raises:
        DataError: values that make no sense, all of them at once.
    """
    found = [
        *problems(
            given, counts=_COUNTS, numbers=_NUMBERS, switches=("chat",),
            optional=("rows", "num_instructions"),
        ),
        *_of_words(given),
    ]  # fmt: skip
    require_none("self_instruct", found)
    settings = Settings(**given)
    require_none("self_instruct", _combined(settings))
    return settings


_COUNTS = {
    "rows": 1, "num_instructions": 1, "num_human": 1, "num_machine": 0, "request_batch_size": 1,
    "max_tokens": 1, "min_words": 0, "max_words": 1, "max_instances": 1, "instance_max_tokens": 1,
    "classification_max_tokens": 1, "patience": 1,
}  # fmt: skip
_NUMBERS = {
    **SAMPLING, "classification_share": (0.0, 1.0), "presence_penalty": (-2.0, 2.0),
    "threshold": (0.0, 1.0), "instance_presence_penalty": (-2.0, 2.0), "unnamed_share": (0.0, 1.0),
}  # fmt: skip


def _of_words(given: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with the options that are words."""
    compat = given.get("compat", COMPAT[0])
    if compat not in COMPAT:
        yield unknown("value of compat", str(compat), COMPAT)
    words = given.get("blacklist", BLACKLIST)
    if not isinstance(words, (list, tuple)) or not all(
        isinstance(word, str) and word.strip() for word in words
    ):
        yield f"blacklist is {words!r}, expected a list of words."


def _combined(settings: Settings) -> list[str]:
    found = []
    if settings.min_words > settings.max_words:
        found.append(
            f"min_words is {settings.min_words}, above max_words ({settings.max_words}): no "
            "instruction is both."
        )
    if settings.original and settings.rows is not None:
        found.append(
            "rows goes with compat: none. The original counts instructions: say num_instructions."
        )
    if settings.original and 0 < settings.classification_share < 1:
        found.append(
            f"classification_share is {settings.classification_share}; with compat: original it is "
            "0 or 1 (--use_clf_seed_tasks_only)."
        )
    return found
