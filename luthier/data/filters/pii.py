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
_KINDS: dict[str, tuple[str, Callable[[str], str]]] = {
    "email": ("mail address", personal.email),
    "phone": ("phone number", personal.phone),
    "iban": ("bank account", personal.iban),
    "card": ("card number", personal.card),
    "ip": ("IP address", personal.ip),
    "national_id": ("national id", personal.national_id),
}

_SIGNS = re.compile("[0-9@]")
"""Without any of them there is nothing to find."""


def build(*, kinds: Sequence[str] = tuple(_KINDS)) -> Filter:
    """What can be recognised by its form and checked by its checksum or valid ranges.

    Addresses and numbers that were set aside for examples, and those of institutions (`info@`,
    toll-free numbers), pass. Names of people and postal addresses are not looked for. A report
    shows what was found only in part.

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
                if found := search(text):
                    return f"personal data: {name} {personal.masked(found)} in the {where}"
        return None

    return pii
