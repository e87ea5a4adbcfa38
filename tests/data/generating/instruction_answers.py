"""What the server of `test_instruction_recipes.py` answers: a model that follows a form."""

from __future__ import annotations

import hashlib
import random
import re
from typing import Any

WORDS = [f"{a}{b}" for a in "bdfgklmnprstv" for b in ("ana", "oki", "ulo", "este", "irra")]


def answer(asked: dict[str, Any]) -> Any:
    """An example, an output, a reformulation; an evolved instruction, a judgement, a response."""
    said = asked["messages"][-1]["content"] if "messages" in asked else asked["prompt"]
    digest = hashlib.sha256(f"{asked.get('seed')}{said}".encode()).hexdigest()
    chance = random.Random(digest)
    words = " ".join(chance.choices(WORDS, k=6))
    is_odd = chance.random() < 0.2
    end = said.rstrip().splitlines()[-1]
    if end.startswith("Example 4"):
        limits = "" if is_odd else "\nConstraints: One word."
        return f"Instruction: Do {words}.\nInput: {words[:9]}{limits}"
    if end.startswith("Output:"):
        return f" Done with {words}."
    if end.startswith("Alternative formulation:"):
        return f" Please {words}." if is_odd else f" Please {words} with {{INPUT}}."
    if end.startswith("Your judgement"):
        return "Equal" if is_odd else "Not Equal"
    if re.fullmatch(r"#\w+ Prompt#:", end):
        return f"#Rewritten Prompt#: {words}" if is_odd else f"Tell of {words}."
    return "Sorry, no." if is_odd else f"Of {words}: much could be said."
