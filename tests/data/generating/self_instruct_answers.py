"""A strong model's answers to the prompts of Self-Instruct, as a function of the request.

`answer` is what `tests/scripted_server.py` asks for; `strong` the same for a model in the test's
own process.
"""

from __future__ import annotations

import hashlib
import random
from typing import Any

SUBJECTS = (
    "a lighthouse keeper", "the school choir", "two rival bakers", "a retired postman",
    "the night train", "a stray goat", "your first bicycle", "an old orchard", "the village pond",
    "a broken piano", "the last ferry", "a chess club", "the tax office", "a desert garden",
    "the moon landing", "a lost umbrella", "an honest thief", "the harvest fair", "a quiet library",
    "the mountain hut", "a noisy printer", "the corner shop", "a travelling circus",
    "the weather station", "an empty stadium", "a spice market", "the river dam",
)  # fmt: skip
OPEN = (
    "Write a limerick about {}", "Explain what matters about {}", "Invent three questions on {}",
    "Describe {}", "Draft an invitation that praises {}", "Compare your home with {}",
    "List what goes wrong with {}", "Summarize the history of {}", "Advise somebody who has {}",
    "Turn these notes on {} into prose", "Compose an apology that mentions {}",
    "Name five adjectives for {}",
)  # fmt: skip
CLOSED = (
    "Classify the remark on {} as kind, rude or neutral",
    "Decide whether the claim on {} is true or false",
    "Tell if the headline on {} is satire, yes or no",
)
HOW = (
    "as a child would see it", "for readers who are in a hurry", "without using the letter e",
    "in the style of an old newspaper", "so that nobody feels offended", "before the sun goes down",
    "and end with a joke on taxes", "while you pretend to be tired", "with numbers to prove it",
    "using words of one syllable", "from memory and in plain English", "to win over an uncle",
    "although the facts are disputed", "on half a page at most", "like a sailor telling stories",
    "for an audience of robots", "given that winter comes early", "in exactly four lines",
    "mentioning at least two colours", "and say how sure you are",
)  # fmt: skip


def answer(asked: dict[str, Any]) -> Any:
    """What the model says to the JSON body of a request."""
    words = asked.get("prompt") or asked["messages"][-1]["content"]
    return said(str(words), asked.get("seed"))


def strong(request: Any) -> str:
    """What it says to a `Request`."""
    return said(request.text, request.seed)


def said(prompt: str, seed: int | None) -> str:
    """The completion of a prompt."""
    chance = random.Random(hashlib.sha256(f"{seed} {prompt}".encode()).digest())
    if "Is it classification?" in prompt.rpartition("Task:")[2]:
        return " Yes" if _task(prompt).startswith(("Classify", "Decide", "Tell if")) else " No"
    if prompt.startswith("Here is a list"):
        return _instructions(prompt, chance)
    return _instances(_task(prompt), chance)


def _task(prompt: str) -> str:
    last = prompt.rpartition("Task:")[2].strip()
    return last.partition("\n")[0]


def _instructions(prompt: str, chance: random.Random) -> str:
    kinds = CLOSED if "classification tasks" in prompt.partition("\n")[0] else OPEN + CLOSED
    subjects = chance.sample(SUBJECTS, 7)
    tasks = [f"{chance.choice(kinds).format(s)}, {chance.choice(HOW)}." for s in subjects]
    return " " + "\n".join(
        task if number == 9 else f"{number}. {task}" for number, task in enumerate(tasks, 9)
    )


def _instances(task: str, chance: random.Random) -> str:
    topic = chance.choice(SUBJECTS)
    if task.startswith(("Classify", "Decide", "Tell if")):
        labels = {"C": ("kind", "rude", "neutral"), "D": ("true", "false"), "T": ("yes", "no")}
        return "".join(
            f"Class label: {label}\nText: What was said of {topic} on day {chance.randrange(99)}.\n"
            for label in labels[task[0]]
        )
    if task.startswith(("Turn", "Summarize", "Compare")):
        return "\n".join(
            f"Example {n}\nNotes: {topic}, seen {chance.randrange(9, 99)} times\n"
            f"Output: In short, {topic} was seen often, as note {n} of {chance.randrange(99)} says."
            for n in (1, 2)
        )
    return f"Output: Gladly. {topic.capitalize()} comes to mind, on page {chance.randrange(999)}."
