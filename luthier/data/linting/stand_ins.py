"""Words that stand where an answer should be: N/A, TBD, <nooutput>."""

from __future__ import annotations

import re

# One of the ten defects of Alpaca that AlpacaDataCleaned lists (gururise/AlpacaDataCleaned).
# Not among them: `none`, `nil`, `no` and `Na`, which answer questions.
_WORDS = frozenset(
    ["n/a", "n.a", "n\\a", "#n/a", "null", "nan", "undefined", "tbd", "tba", "tbc", "todo", "to do",
     "nooutput", "noinput", "...", "…", "no output", "no input", "no answer", "no response",
     "not provided", "not applicable", "not available", "to be determined", "to be added"]
)  # fmt: skip
# Only between brackets; alone they are answers.
_IN_BRACKETS = frozenset(
    ["none", "empty", "blank", "missing", "answer", "output", "response", "text", "placeholder",
     "na", "nil", "insert"]
)  # fmt: skip
_BRACKETED = re.compile(r"[\[<({]+([^\])>}]*)[\])>}]+")
_HEADED = re.compile(r"(?:the )?(?:output|answer|response|result)\s*(?::|is)\s*")
OF_PROGRAMS = frozenset(["null", "nan", "undefined", "no output", "todo"])
"""Those that are values in programs, and so may be the answer there."""
_LONGEST = 40


def stand_in(text: str) -> str:
    """The word a text consists of, if it stands for no answer: `n/a` of `[N/A]`; else empty.

    Case, brackets, a full stop and a heading such as `Output:` make no difference.
    """
    said = text.strip()
    if not said or len(said) > _LONGEST:
        return ""
    if said.rstrip(".") in ("NA", "N.A"):
        return "n/a"
    folded = _plain(_HEADED.sub("", said.casefold(), count=1) or said)
    if folded in _WORDS:
        return folded
    if found := _BRACKETED.fullmatch(folded):
        inner = _plain(found[1])
        return inner if inner in _WORDS or inner in _IN_BRACKETS else ""
    return ""


def _plain(said: str) -> str:
    folded = " ".join(said.replace("_", " ").split())
    return folded if folded in _WORDS else folded.rstrip("!.")
