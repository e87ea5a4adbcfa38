"""What the scripted server of `test_write.py` answers: a model that can write rows of its task."""

from __future__ import annotations

import hashlib
import random
import re
from typing import Any


def answer(asked: dict[str, Any]) -> str:
    """A sentence of the kind that is asked for, or the label of one."""
    last = asked["messages"][-1]["content"]
    if "Answer with one of" in asked["messages"][0]["content"]:
        return "True" if "will" in last else "False"
    digest = hashlib.sha256(f"{asked.get('seed')}{last}".encode()).digest()
    chance = random.Random(digest)
    words = " ".join("".join(chance.choices("aeioubdfgklmnprst", k=6)) for _ in range(7))
    wanted = re.findall(r"Label: (\w+)", last)
    is_promise = bool(wanted) and wanted[-1] == "True"
    return f"We will {words}." if is_promise else f"Nobody ever {words}."
