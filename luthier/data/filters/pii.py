"""Rejects rows with personal data: mail addresses, phones, bank accounts, cards, IPs, ids."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from luthier.data.candidate import Candidate, Filter
from luthier.data.linting import personal
from luthier.data.linting.lint_report import Severity
from luthier.data.linting.passages import passages
from luthier.errors import DataError, unknown

SEVERITY: Severity = "warning"
FIX = "Replace it by an invented one (example.com, 555-0100, 192.0.2.1), or delete the row."
_KINDS: dict[str, tuple[str, Callable[..., str]]] = {
    "email": ("mail address", personal.email),
    "phone": ("phone number", personal.phone),
    "iban": ("bank account", personal.iban),
    "card": ("card number", personal.card),
    "ip": ("IP address", personal.ip),
    "national_id": ("national id", personal.national_id),
}

_SIGNS = re.compile("[0-9@]")
"""Without any of them there is nothing to find."""
_OF_AN_EXAMPLE = re.compile(
    r"\b(?:examples?|samples?|tests?|testing|dummy|fake|formats?|placeholders?|templates?|mock"
    r"|made[- ]up|hypothetical|imaginary|random|invented|fictional|fictitious|printed"
    r"|e\.g\.|regex\w*|regular expressions?"
    r"|validat\w+)\b",
    re.IGNORECASE,
)


def build(*, kinds: Sequence[str] = tuple(_KINDS)) -> Filter:
    """What can be recognised by its form and checked by its checksum or valid ranges.

    Addresses and numbers that are reserved for examples, and those of institutions (`info@`,
    toll-free numbers), pass. Those that manuals print (john.doe@, 555-1234, test cards) pass only
    where the row speaks of an example, a test or a format. Names of people and postal addresses are
    not looked for. A report shows what was found only in part.

    Args:
        kinds: which of email, phone, iban, card, ip, national_id.
    """
    if isinstance(kinds, str) or not kinds:
        raise DataError(f"filter 'pii': kinds is {kinds!r}, expected a list: [email, phone].")
    for kind in kinds:
        if kind not in _KINDS:
            raise DataError(f"filter 'pii': {unknown('kind', str(kind), _KINDS)}")
    wanted = [_KINDS[kind] for kind in kinds]

    def pii(row: Candidate) -> str | None:
        for where, text in passages(row):
            if not _SIGNS.search(text):
                continue
            for name, search in wanted:
                more = {"around": row.question} if name == "phone number" else {}
                found = search(text, **more)
                if found and (_OF_AN_EXAMPLE.search(text) or _OF_AN_EXAMPLE.search(row.question)):
                    found = search(text, printed=True, **more)
                if found:
                    return f"personal data: {name} {personal.masked(found)} in the {where}"
        return None

    return pii
