"""Rejects rows whose answer stands for no answer, such as N/A, TBD or <nooutput>."""

from __future__ import annotations

import re

from luthier.data.candidate import Candidate, Filter
from luthier.data.linting.lint_report import Severity
from luthier.data.linting.passages import answers

SEVERITY: Severity = "warning"
FIX = "Write the answer, or delete the row; `use: placeholders` leaves such rows out of a build."

# One of the ten defects of Alpaca that AlpacaDataCleaned lists (gururise/AlpacaDataCleaned).
# Not among them: `none`, `nil`, `no` and `Na`, which answer questions.
_STANDS_FOR_NOTHING = frozenset(
    [
        "n/a",
        "n.a.",
        "n\\a",
        "null",
        "nan",
        "undefined",
        "tbd",
        "tba",
        "todo",
        "nooutput",
        "noinput",
        "...",
        "…",
        "<nooutput>",
        "<noinput>",
        "<none>",
        "<null>",
        "<empty>",
        "[blank]",
        "[empty]",
        "[none]",
    ]
) | {"no output", "<no output>", "no input", "<no input>", "<no answer>", "not provided"}
_FILL_IN = re.compile(
    r"[\[<({]\s*(?:your|insert|put|add|enter|write|type)\b[^\])>}]{0,60}[\])>}]\.?", re.IGNORECASE
)
# A task that says what to write where nothing is found is answered by it.
_EXPECTS = re.compile(
    r"\b(?:n/a|not (?:applicable|available)|missing|unknown|abbreviat\w*|stands? for|null|nan"
    r"|undefined|tbd|placeholder\w*|ellipsis|blank)\b",
    re.IGNORECASE,
)


def build() -> Filter:
    """No options. An answer that the question names, or that is a label, passes."""

    def placeholders(row: Candidate) -> str | None:
        for where, text in answers(row):
            said = text.strip()
            if len(said) > 80 or said in row.labels:
                continue
            known = " ".join(said.casefold().rstrip("!").split()) in _STANDS_FOR_NOTHING
            if (known or _FILL_IN.fullmatch(said)) and not _EXPECTS.search(row.question):
                return f"placeholder: the {where} is '{said}'"
        return None

    return placeholders
