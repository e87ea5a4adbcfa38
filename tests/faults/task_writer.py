"""A strong model's answers to the `task` method, as a function of the request."""

from __future__ import annotations

import hashlib
import random
import re
from typing import Any


def answer(asked: dict[str, Any]) -> str:
    """An input with the label that is asked for, or the label of one; now and then useless."""
    system, last = asked["messages"][0]["content"], asked["messages"][-1]["content"]
    chance = random.Random(hashlib.sha256(f"{asked.get('seed')}{last}".encode()).digest())
    if "Answer with one of" in system:
        return "True" if "will" in last else "False"
    if chance.random() < 0.1:
        return "I'm sorry, but I can't help with that."
    words = " ".join("".join(chance.choices("aeioubdfgklmnprst", k=6)) for _ in range(7))
    wanted = re.search(r"Label: (\w+)", last)
    is_promise = wanted is not None and wanted.group(1) == "True"
    return f"We will {words}." if is_promise else f"Nobody ever {words}."
