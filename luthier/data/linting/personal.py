"""Personal data that can be told by its form: mail, phone, IBAN, card, IP address, national ids.

Every function returns the first one in a text, or an empty string. What is set aside for examples
is none: example domains (RFC 2606), 555 numbers (NANPA), documentation addresses (RFC 5737, 3849),
the card and account numbers that manuals print.
"""

from __future__ import annotations

import ipaddress
import re

_EMAIL = re.compile(
    r"(?<![\w.+-])[A-Za-z0-9](?:[A-Za-z0-9._%+-]{0,62}[A-Za-z0-9_])?@"
    r"(?P<domain>(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z]{2,24})(?![\w@-])"
)
_EXAMPLE_DOMAIN = re.compile(
    r"(?:^|\.)(?:examples?|test|invalid|localhost|local)$|(?:^|\.)examples?\.\w{2,3}$"
    r"|^(?:your|my|some|the|a|any|xyz|abc|foo|bar|acme|company|business|domain|email|mail|site"
    r"|website"
    r"|host|server|fake|sample|dummy|test)(?:-?(?:domain|company|email|mail|site|website"
    r"|business))?\.\w+$",
    re.IGNORECASE,
)
# Mail to a role reaches no particular person.
_ROLE = re.compile(
    r"(?:info|contact|support|help|sales|admin|office|hello|press|media|jobs|careers|noreply"
    r"|no-reply"
    r"|webmaster|postmaster|abuse|privacy|billing|service|customer\w*|enquiries|inquiries|feedback"
    r"|team"
    r"|user(?:name)?\d*|name|your\.?\w*|someone|somebody|email|john\.?(?:doe|smith)?|jane\.?(?:doe"
    r"|smith)?"
    r"|foo|bar|test\w*|example\w*|(\w)\1+|abc\d*|me|you)@",
    re.IGNORECASE,
)
# +CC and national number with separators (E.164: 8 to 15 digits), or a North American number.
_PHONE = re.compile(
    r"(?<![\w+.,/$€£-])(?:(?P<world>\+[1-9]\d{0,2}[ .()-]{0,2}\d(?:[ .()-]{0,2}\d){6,13})"
    r"|(?P<america>(?:1[ .-])?(?:\([2-9]\d{2}\) ?"
    r"|[2-9]\d{2}[.-])(?P<exchange>[2-9]\d{2})[.-]\d{4}))(?![\w-])"
)
_TOLL_FREE = re.compile(r"\D*1?\D*8(?:00|33|44|55|66|77|88)\D")
_OF_A_PRODUCT = re.compile(
    r"(?:model|part|sku|serial|order|invoice|item|product|isbn|issn|ref|reference|case|ticket"
    r"|catalog(?:ue)?"
    r"|tracking|article|patent|version|lot|batch|doi)\b[^\n]{0,20}$",
    re.IGNORECASE,
)
_FICTIONAL = "555"
_IBAN = re.compile(r"(?<!\w)[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?(?!\w)")
# Lengths by country (ISO 13616, SWIFT IBAN registry).
_IBAN_LENGTHS = {
    "AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22,
    "BR": 29, "CH": 21, "CR": 22, "CY": 28, "CZ": 24, "DE": 22, "DK": 18, "DO": 28, "EE": 20,
    "ES": 24, "FI": 18, "FO": 18, "FR": 27, "GB": 22, "GE": 22, "GI": 23, "GL": 18, "GR": 27,
    "GT": 28, "HR": 21, "HU": 28, "IE": 22, "IL": 23, "IS": 26, "IT": 27, "JO": 30, "KW": 30,
    "KZ": 20, "LB": 28, "LI": 21, "LT": 20, "LU": 20, "LV": 21, "MC": 27, "MD": 24, "ME": 22,
    "MK": 19, "MR": 27, "MT": 31, "MU": 30, "NL": 18, "NO": 15, "PK": 24, "PL": 28, "PS": 29,
    "PT": 25, "QA": 29, "RO": 24, "RS": 22, "SA": 24, "SE": 24, "SI": 19, "SK": 24, "SM": 27,
    "TN": 24, "TR": 26, "UA": 29, "VG": 24, "XK": 20,
}  # fmt: skip
_PRINTED_IBANS = {"GB82WEST12345698765432", "DE89370400440532013000", "FR1420041010050500013M02606"}
_CARD = re.compile(r"(?<![\w.,-])\d(?:[ -]?\d){12,18}(?![\w-])")
# Ranges of issuers with their lengths (ISO/IEC 7812; published by the schemes).
_ISSUER = re.compile(
    r"4(?:\d{12}|\d{15}|\d{18})|(?:5[1-5]\d{2}|222[1-9]|22[3-9]\d|2[3-6]\d{2}|27[01]\d|2720)\d{12}"
    r"|3[47]\d{13}|3(?:0[0-5]|[68]\d)\d{11}|6(?:011|5\d{2}|4[4-9]\d)\d{12}|35(?:2[89]"
    r"|[3-8]\d)\d{12}"
)
_TEST_CARDS = {
    "4111111111111111", "4242424242424242", "4012888888881881", "4000056655665556",
    "5555555555554444", "5105105105105100", "5200828282828210", "2223003122003222",
    "378282246310005", "371449635398431", "378734493671000", "6011111111111117",
    "6011000990139424", "30569309025904", "38520000023237", "3530111333300000",
    "3566002020360505", "4000000000000002",
}  # fmt: skip
_IPV4 = re.compile(r"(?<![\w.:/-])(?:\d{1,3}\.){3}\d{1,3}(?![\w-]|\.\d)")
_PUBLIC_RESOLVERS = {"8.8.8.8", "8.8.4.4", "1.1.1.1", "1.0.0.1", "9.9.9.9", "4.2.2.2"}
_OF_A_VERSION = re.compile(
    r"(?:\bv|version|release|firmware|build|section|chapter|driver)\W*$", re.IGNORECASE
)
_SSN = re.compile(r"(?<![\w-])(?P<area>\d{3})-(?P<group>\d{2})-(?P<serial>\d{4})(?![\w-])")
_PRINTED_SSNS = {"078-05-1120", "219-09-9999", "123-45-6789", "987-65-4321"}
_CPF = re.compile(r"(?<![\w.-])\d{3}\.\d{3}\.\d{3}-\d{2}(?![\w-])")
_DNI = re.compile(r"(?<![\w-])(?P<digits>\d{8})-?(?P<letter>[A-HJ-NP-TV-Z])(?![\w-])")
_DNI_LETTERS = "TRWAGMYFPDXBNJZSQVHLCKE"


def masked(found: str) -> str:
    """The first two and the last signs of what was found: a report must not spread it."""
    return f"'{found[:2]}...{found[-1:]}'"


def email(text: str) -> str:
    """A mail address of a person."""
    if "@" not in text:
        return ""
    for match in _EMAIL.finditer(text):
        if not _EXAMPLE_DOMAIN.search(match["domain"]) and not _ROLE.match(match.group()):
            return match.group()
    return ""


def phone(text: str) -> str:
    """A phone number: international with its plus sign, or North American with its separators."""
    for match in _PHONE.finditer(text):
        digits = re.sub(r"\D", "", match.group())
        if match["america"]:
            fictional = match["exchange"] == _FICTIONAL or digits[-10:-7] == _FICTIONAL
            if fictional or _TOLL_FREE.match(match.group()):
                continue
        elif not 8 <= len(digits) <= 15 or len(set(digits)) < 4 or _FICTIONAL in digits:
            continue
        if digits[-10:] not in ("1234567890", "0123456789") and not _OF_A_PRODUCT.search(
            text[max(0, match.start() - 40) : match.start()]
        ):
            return match.group()
    return ""


def iban(text: str) -> str:
    """An international bank account number of the right length for its country, modulo 97 = 1."""
    for match in _IBAN.finditer(text):
        plain = match.group().replace(" ", "")
        length = _IBAN_LENGTHS.get(plain[:2], 0)
        # A word in capitals behind the number may look like one more group.
        plain = plain[:length]
        if length and len(plain) == length and plain not in _PRINTED_IBANS:
            turned = "".join(str(int(c, 36)) for c in plain[4:] + plain[:4])
            if int(turned) % 97 == 1:
                return plain
    return ""


def card(text: str) -> str:
    """A payment card: an issuer's range, its length and the check digit of Luhn (ISO/IEC 7812)."""
    for match in _CARD.finditer(text):
        digits = re.sub(r"\D", "", match.group())
        issued = _ISSUER.fullmatch(digits) and digits not in _TEST_CARDS and len(set(digits)) > 3
        if issued and _luhn(digits):
            return match.group()
    return ""


def _luhn(digits: str) -> bool:
    doubled = [int(d) * (2 if i % 2 else 1) for i, d in enumerate(reversed(digits))]
    return sum(d - 9 if d > 9 else d for d in doubled) % 10 == 0


def ip(text: str) -> str:
    """A public IPv4 address; versions, private networks and public resolvers are none."""
    if text.count(".") < 3:
        return ""
    for match in _IPV4.finditer(text):
        try:
            address = ipaddress.IPv4Address(match.group())
        except ValueError:
            continue
        before = text[max(0, match.start() - 20) : match.start()]
        whole = all(int(part) >= 10 for part in match.group().split("."))
        # `1.2.3.4` may number a section; an address mostly has larger parts, or says what it is.
        named = whole or re.search(r"\b(?:ip|address|host|server|ping)\b", before, re.IGNORECASE)
        known = match.group() in _PUBLIC_RESOLVERS or _OF_A_VERSION.search(before)
        if address.is_global and named and not known:
            return match.group()
    return ""


def national_id(text: str) -> str:
    """A US social security number in the valid ranges, a Brazilian CPF or a Spanish DNI."""
    for match in _SSN.finditer(text):
        area, group, serial = match["area"], match["group"], match["serial"]
        valid = area not in ("000", "666") and area < "900" and group != "00" and serial != "0000"
        before = text[max(0, match.start() - 40) : match.start()]
        if valid and match.group() not in _PRINTED_SSNS and not _OF_A_PRODUCT.search(before):
            return match.group()
    for match in _CPF.finditer(text):
        if _is_cpf([int(c) for c in match.group() if c.isdigit()]):
            return match.group()
    for match in _DNI.finditer(text):
        digits = match["digits"]
        invented = digits == "12345678" or len(set(digits)) < 4
        if not invented and _DNI_LETTERS[int(digits) % 23] == match["letter"]:
            return match.group()
    return ""


def _is_cpf(digits: list[int]) -> bool:
    """Both check digits, modulo 11 (Receita Federal)."""
    if len(set(digits)) < 4:
        return False
    for place in (9, 10):
        total = sum(d * w for d, w in zip(digits, range(place + 1, 1, -1), strict=False))
        if total * 10 % 11 % 10 != digits[place]:
            return False
    return True
