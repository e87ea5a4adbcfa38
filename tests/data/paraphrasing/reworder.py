"""A model that rewords templates well, but for the warts that the test plants."""

from __future__ import annotations

import json
from typing import Any

WARTS = {
    0: "Say it again: {text}",  # no {options_}
    1: "{text}\n{options_}\n{label}",  # a new placeholder
    2: 'Is it "good" or "bad"?\n{text}\n{options_}',  # new answers
    3: "Name the mood of this in 7 words.\n{text}\n{options_}",  # a number
    4: "Do not name the mood.\n{text}\n{options_}",  # negated
    5: "Here is the reworded prompt template:\n{text}\n{options_}",
    6: "",
    7: "Which mood is in it? {text} {options_",  # a stray brace
}


def answer(asked: dict[str, Any]) -> str:
    """Rewords, or says whether two templates are the same."""
    system, said = (m["content"] for m in asked["messages"])
    if "compare two prompt templates" in system:
        return json.dumps({"reason": "the colour is asked for", "same": "colour" not in said})
    number = asked["seed"] % 20
    if number in WARTS:
        return WARTS[number]
    if number == 8:
        return "Name the colour of this text.\n{text}\n{options_}"  # another meaning
    words = ("mood", "feeling", "attitude", "tone", "sentiment", "spirit")
    ways = ("Tell me the {w} here", "Which {w} has it", "Label the {w} of what follows",
            "Give its {w}", "Find the writer's {w}", "Pick the {w} that fits best")  # fmt: skip
    way = ways[asked["seed"] % len(ways)].replace("{w}", words[asked["seed"] // 7 % len(words)])
    return f"```\n{way}.\n\n{{text}}\n\n{{options_}}\n```"
