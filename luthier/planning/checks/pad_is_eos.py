"""A padding token that also means stop."""

from __future__ import annotations

from luthier.artifacts import Finding
from luthier.planning.facts import Facts


def check(facts: Facts) -> Finding | None:
    """Find a tokenizer whose padding token is its end-of-text token.

    What: pad_token_id == eos_token_id in the tokenizer's own files.
    Why: scripts that mask the loss by the padding token then never train the stop token, and the
    model does not stop. luthier masks by position and pads with another token.
    Fix: none is needed here; mind it in other programs.
    """
    if facts.pad_id is None or facts.pad_id != facts.eos_id:
        return None
    return Finding(
        check="pad_is_eos",
        severity="note",
        what="the tokenizer pads with its end-of-text token.",
        why="Programs that mask the loss by the padding token then never teach the model to stop. "
        "luthier masks by position and pads with another token.",
        fix="",
    )
