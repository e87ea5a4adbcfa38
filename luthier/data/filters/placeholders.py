"""Rejects rows whose answer stands for no answer, such as N/A, TBD or <nooutput>."""

from __future__ import annotations

import re

from luthier.data.candidate import Candidate, Filter
from luthier.data.linting.lint_report import Severity
from luthier.data.linting.passages import answers
from luthier.data.linting.stand_ins import OF_PROGRAMS, stand_in

SEVERITY: Severity = "warning"
FIX = "Write the answer, or delete the row; `use: placeholders` leaves such rows out of a build."

_FILL_IN = re.compile(
    r"[\[<({]\s*(?:your|insert|put|add|enter|write|type)\b[^\])>}]{0,60}[\])>}]\.?", re.IGNORECASE
)
# A task that says what to write where nothing is found is answered by it.
_EXPECTS = re.compile(
    r"\b(?:n/a|not (?:applicable|available)|missing|unknown|abbreviat\w*|stands? for|null|nan"
    r"|undefined|tbd|placeholder\w*|ellipsis|blank)\b",
    re.IGNORECASE,
)

_OF_CODE = re.compile(
    r"\b(?:javascript|js|typescript|java|python|pandas|numpy|sql|ruby|php|perl|c\+\+|code|programs?"
    r"|programming|functions?|pointers?|floats?|floating|ieee|variables?|prints?|returns?"
    r"|evaluates?|typeof|propert(?:y|ies)|console|values?|divi\w+|commands?|shell|terminal)\b"
    r"|\b0\s*/\s*0\b|```",
    re.IGNORECASE,
)


def build() -> Filter:
    """No options. An answer that the question names, or that is a declared label, passes.

    So do `null`, `NaN` and `undefined` where a program is asked about.
    """

    def placeholders(row: Candidate) -> str | None:
        for where, text in answers(row):
            said = text.strip()
            if len(said) > 80 or said in row.labels:
                continue
            known = stand_in(said)
            if not known and not _FILL_IN.fullmatch(said):
                continue
            of_code = known in OF_PROGRAMS and _OF_CODE.search(row.question)
            if not of_code and not _EXPECTS.search(row.question):
                return f"placeholder: the {where} is '{said}'"
        return None

    return placeholders
