"""Every number of Unnatural Instructions (arXiv 2212.09689), with its source."""

from __future__ import annotations

from dataclasses import dataclass

TEMPERATURE, TOP_P = 1.0, 0.99
"""Of new examples (section 2.1: nucleus sampling with p = 0.99; a temperature is not named, so it
is 1). Of reformulations too, of which the paper says that they are sampled."""
DEMONSTRATIONS = "luthier:unnatural_demonstrations.jsonl"
PER_PROMPT = 3
"""Demonstrations of a prompt; 5 prompts of 3 make the paper's 15 (section 2.1)."""
REFORMULATIONS = 2
"""Wanted of each example (section 2.2)."""
TRIES = 5
"""Unsuccessful attempts after which no more reformulations are asked for (section 2.2)."""
MAX_TOKENS, OUTPUT_TOKENS, REFORMULATION_TOKENS = 512, 512, 128
"""Of an example, an output and a reformulation: ours, the paper names none."""
ROWS = 100
"""Ours; the paper has 68,478 examples, 240,670 rows with the reformulations."""
PATIENCE = 50
"""Ours: requests in a row without a new example after which it is given up."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How Unnatural Instructions is run; see `generators/unnatural.py: build`."""

    rows: int = ROWS
    temperature: float = TEMPERATURE
    top_p: float = TOP_P
    max_tokens: int = MAX_TOKENS
    output_max_tokens: int = OUTPUT_TOKENS
    reformulations: int = REFORMULATIONS
    reformulation_tries: int = TRIES
    reformulation_max_tokens: int = REFORMULATION_TOKENS
    cross_reference: bool = True
    chat: bool = False
    patience: int = PATIENCE


COUNTS = {
    "rows": 1, "max_tokens": 1, "output_max_tokens": 1, "reformulations": 0,
    "reformulation_tries": 1, "reformulation_max_tokens": 1, "patience": 1,
}  # fmt: skip
"""Whole numbers among them, with the least that they may be."""
SWITCHES = ("cross_reference", "chat")
