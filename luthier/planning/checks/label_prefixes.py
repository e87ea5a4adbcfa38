"""Labels whose tokens are the beginning of another label's."""

from __future__ import annotations

from luthier.artifacts import Finding
from luthier.planning.facts import Facts


def check(facts: Facts) -> Finding | None:
    """Find labels that are prefixes of each other as tokens.

    What: the tokens of one label start with all tokens of another (`green`, `green card`).
    Why: the shorter one is told apart only by the stop token after it; luthier scores the stop
    token too, other servers may not.
    Fix: none is needed here; rename a label where another server will be used.
    """
    ids = facts.label_ids
    pairs = [
        (short, long)
        for short in ids
        for long in ids
        if short != long and ids[long][: len(ids[short])] == ids[short]
    ]
    if not pairs:
        return None
    short, long = pairs[0]
    same = ids[short] == ids[long]
    more = f", and {len(pairs) - 1} more" if len(pairs) > 1 else ""
    return Finding(
        check="label_prefixes",
        severity="error" if same else "note",
        what=f"label '{short}' is the beginning of '{long}' as tokens{more}."
        if not same
        else f"labels '{short}' and '{long}' are the same tokens.",
        why="The model cannot tell them apart."
        if same
        else "Only the stop token tells them apart; it is scored here, elsewhere it may not be.",
        fix="Rename one of them." if same else "",
    )
