"""Personal data that can be told by its form: mail, phone, IBAN, card, IP address, national ids.

Every function returns the first one in a text, or an empty string. What is reserved for examples is
none: example domains (RFC 2606), 555-0100 to 555-0199 (NANPA), documentation addresses (RFC 5737,
3849, 9637). What manuals print without a right to it (john.doe@, card 4111 1111 1111 1111, other
555 numbers) is passed over with `printed=True`, for rows that say that it is an example.
"""

from __future__ import annotations

import ipaddress
import re
from itertools import chain

_EMAIL = re.compile(
    r"(?<![\w.+/-])[^\W_](?:[\w.%+-]{0,62}\w)?@"
    r"(?P<domain>(?:[A-Za-z0-9À-ɏ](?:[A-Za-z0-9À-ɏ-]{0,61}[A-Za-z0-9À-ɏ])?\.)+[A-Za-z]{2,24})"
    r"(?![A-Za-z0-9_@-])"
)
_EXAMPLE_DOMAIN = re.compile(
    r"(?:^|\.)(?:examples?|test|invalid|localhost|local)$|(?:^|\.)examples?\.\w{2,3}$",
    re.IGNORECASE,
)
_NO_DOMAIN = re.compile(r"\d+\.\d+|\dx\.")
"""`left-pad@1.3.0.dev` and `icon@2x.png` are versions and files."""
# Nobody has these either, though they are not reserved.
_STAND_IN_DOMAIN = re.compile(
    r"^(?:your|my|some|the|a|any|xyz|abc|foo|bar|acme|company|business|domain|email|mail|site"
    r"|website"
    r"|host|server|fake|sample|dummy|test)(?:-?(?:domain|company|email|mail|site|website"
    r"|business))?\.\w+$",
    re.IGNORECASE,
)
_STAND_IN = re.compile(r"(?:john\.?(?:doe|smith)?|jane\.?(?:doe|smith)?)@", re.IGNORECASE)
# Mail to a role, to a blank to be filled in or to a git server reaches no particular person.
_ROLE = re.compile(
    r"(?:info|contact|support|help|sales|admin|office|hello|press|media|jobs|careers|noreply"
    r"|no-reply"
    r"|webmaster|postmaster|abuse|privacy|billing|service|customer\w*|enquiries|inquiries|feedback"
    r"|team|git"
    r"|user(?:name)?\d*|name|your[._]?\w*|someone|somebody|email"
    r"|foo|bar|test\d*|example\w*|(\w)\1+|abc\d*|me|you)@",
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
# Nine digits or more, whatever stands between them: what every phone number has.
_DIGITS = re.compile(r"\d(?:[ .()/-]{0,2}\d){8}")
# National numbers have no form of their own; somebody must say that one is meant.
_NATIONAL = re.compile(
    r"(?<![\w.,/$€£+-])\(?\d(?:\)? ?[ ./-]?\(?\d){8,11}(?![\w/-]|[.,]\d)", re.IGNORECASE
)
_PHONE_WORD = re.compile(
    r"\b(?:tel(?:ephone)?|phones?|(?:tele)?fax|mobiles?|cell(?:phone)?|whats ?app|call(?:s|ed|ing)?"
    r"|reach(?:ed)?|contact|dial|ring|sms|text (?:me|him|her|us|them)|landline|hotline|telefon\w*"
    r"|handy(?:nummer)?|mobil\w*|rufnummer|ruf|appele[rz]|téléphone|portable|tél|teléfono|móvil"
    r"|celular|cellulare|llam\w+|telefone|telefono)\b|电话|手机|電話",
    re.IGNORECASE,
)
_OTHER_NUMBER = re.compile(
    r"\b(?:account|card|policy|member|passport|routing|customer|social|ssn|vat|tax|iban|id)\b"
    r"[^\n]{0,20}$",
    re.IGNORECASE,
)
_NEAR = 40
"""Characters before a number in which it is said what it is."""
_FEW_WORDS = 12
# Addresses, years and social security numbers.
_NO_PHONE = re.compile(
    r"(?:\d{1,3}\.){3}\d{1,3}|(?:(?:19|20)\d\d[ /-]){1,2}(?:19|20)\d\d|\d{3}-\d{2}-\d{4}"
)
_FICTIONAL = "555"
_RESERVED_LINE = "01"
_SERVICE = ("0800", "0808", "0900", "0180")
_COUNTED = ("1234567890", "0123456789")
_IBAN = re.compile(r"(?<!\w)[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?(?!\w)")
_IBAN_START = re.compile(r"[A-Z][A-Z]\d\d")
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
_IPV4 = re.compile(r"\d{1,3}(?:\.\d{1,3}){3}(?![\w-]|\.\d)")
_GOES_BEFORE = re.compile(r"(?:[^\w.:/-]|://|\A)\Z")
# Addresses that are given out begin with 2 or 3 (2000::/3, IANA).
_IPV6_START = re.compile(r"[23][0-9A-Fa-f]{3}:")
_IPV6 = re.compile(r"(?<![\w:.])[23][0-9A-Fa-f]{3}:[0-9A-Fa-f:]{2,34}(?![\w:])")
_PUBLIC_RESOLVERS = {
    "8.8.8.8", "8.8.4.4", "1.1.1.1", "1.0.0.1", "9.9.9.9", "4.2.2.2", "2001:4860:4860::8888",
    "2001:4860:4860::8844", "2606:4700:4700::1111", "2606:4700:4700::1001", "2620:fe::fe",
}  # fmt: skip
_DOCUMENTATION = ipaddress.IPv6Network("3fff::/20")
"""RFC 9637."""
_OF_A_VERSION = re.compile(
    r"(?:\bv|version|release|firmware|build|section|chapter|driver)\W*$", re.IGNORECASE
)
_SSN = re.compile(r"\d{3}-\d{2}-\d{4}(?![\w-])")
_SSN_NAMED = re.compile(
    r"\b(?:ssn|social security(?: number| no\.?)?)\b\W{0,3}(?:is )?\W{0,2}(\d{3} ?\d{2} ?\d{4})"
    r"(?![\w-])",
    re.IGNORECASE,
)
_NEVER_VALID = {"078051120", "219099999"}
"""Printed in advertisements; the authority took them back."""
_PRINTED_SSNS = {"123456789"}
_CPF_PLAIN = re.compile(r"\bcpf\b\D{0,12}(\d{11})(?!\d)", re.IGNORECASE)
_CPF = re.compile(r"(?<![\w.-])\d{3}\.\d{3}\.\d{3}-\d{2}(?![\w-])")
_DNI = re.compile(r"(?<![\w-])(?P<digits>\d{8})-?(?P<letter>[A-HJ-NP-TV-Z])(?![\w-])")
_DNI_LETTERS = "TRWAGMYFPDXBNJZSQVHLCKE"


def masked(found: str) -> str:
    """The first two and the last signs of what was found: a report must not spread it."""
    return f"'{found[:2]}...{found[-1:]}'"


def email(text: str, *, printed: bool = False) -> str:
    """A mail address of a person."""
    if "@" not in text:
        return ""
    for match in _EMAIL.finditer(text):
        address, domain = match.group(), match["domain"]
        if _EXAMPLE_DOMAIN.search(domain) or _NO_DOMAIN.match(domain) or _ROLE.match(address):
            continue
        if printed and (_STAND_IN.match(address) or _STAND_IN_DOMAIN.search(domain)):
            continue
        return address
    return ""


def phone(text: str, *, around: str = "", printed: bool = False) -> str:
    """A phone number: international with its plus sign, or North American with its separators.

    Other national numbers, and those without separators, only where a word such as `call` stands
    before them, or where `around`, the question, asks for one.
    """
    if not _DIGITS.search(text):
        return ""
    for match in _PHONE.finditer(text):
        digits = re.sub(r"\D", "", match.group())
        before = text[max(0, match.start() - _NEAR) : match.start()]
        if match["america"] and _TOLL_FREE.match(match.group()):
            continue
        if match["world"] and (not 8 <= len(digits) <= 15 or len(set(digits)) < 4):
            continue
        american = bool(match["america"]) or (digits[0] == "1" and len(digits) == 11)
        if american and _is_reserved(digits[-10:], printed):
            continue
        if digits[-10:] in _COUNTED or _OF_A_PRODUCT.search(before):
            continue
        return match.group()
    for match in _NATIONAL.finditer(text):
        digits = re.sub(r"\D", "", match.group())
        before = text[max(0, match.start() - _NEAR) : match.start()]
        if _OF_A_PRODUCT.search(before) or _OTHER_NUMBER.search(before) or len(set(digits)) < 4:
            continue
        if digits.startswith(_SERVICE) or _TOLL_FREE.match(match.group()):
            continue
        if (len(digits) == 10 or digits[0] == "1") and _is_reserved(digits[-10:], printed):
            continue
        if (digits[-10:] in _COUNTED and printed) or _NO_PHONE.fullmatch(match.group()):
            continue
        # A question about a phone is answered by little else than its number.
        alone = len(text.split()) <= _FEW_WORDS and _PHONE_WORD.search(around)
        if alone or _PHONE_WORD.search(before):
            return match.group().strip()
    return ""


def _is_reserved(digits: str, printed: bool) -> bool:
    """Whether ten digits are a number for films (555-0100 to 0199), or as books print them."""
    area, exchange, line = digits[:3], digits[3:6], digits[6:]
    if exchange == _FICTIONAL and line.startswith(_RESERVED_LINE):
        return True
    return printed and _FICTIONAL in (area, exchange)


def iban(text: str, *, printed: bool = False) -> str:
    """An international bank account number of the right length for its country, modulo 97 = 1."""
    if not _IBAN_START.search(text):
        return ""
    for match in _IBAN.finditer(text):
        plain = match.group().replace(" ", "")
        length = _IBAN_LENGTHS.get(plain[:2], 0)
        # A word in capitals behind the number may look like one more group.
        plain = plain[:length]
        if length and len(plain) == length and not (printed and plain in _PRINTED_IBANS):
            turned = "".join(str(int(c, 36)) for c in plain[4:] + plain[:4])
            if int(turned) % 97 == 1:
                return plain
    return ""


def card(text: str, *, printed: bool = False) -> str:
    """A payment card: an issuer's range, its length and the check digit of Luhn (ISO/IEC 7812)."""
    if not _DIGITS.search(text):
        return ""
    for match in _CARD.finditer(text):
        digits = re.sub(r"\D", "", match.group())
        if not _ISSUER.fullmatch(digits) or not _luhn(digits):
            continue
        if _OF_A_PRODUCT.search(text[max(0, match.start() - _NEAR) : match.start()]):
            continue
        known = digits in _TEST_CARDS
        if not (known and printed) and (known or len(set(digits)) > 2):
            return match.group()
    return ""


def _luhn(digits: str) -> bool:
    doubled = [int(d) * (2 if i % 2 else 1) for i, d in enumerate(reversed(digits))]
    return sum(d - 9 if d > 9 else d for d in doubled) % 10 == 0


def ip(text: str, *, printed: bool = False) -> str:
    """A public IPv4 or IPv6 address; versions, private networks and public resolvers are none."""
    if text.count(".") >= 3:
        for match in _IPV4.finditer(text):
            before = text[max(0, match.start() - 20) : match.start()]
            if not _GOES_BEFORE.search(before):
                continue
            parts = [int(part) for part in match.group().split(".")]
            # `1.2.3.4` may number a section; an address mostly has larger parts, or says so.
            large = min(parts) >= 10 or max(parts) >= 100
            named = large or re.search(
                r"\b(?:ip|address|host|server|ping)\b", before, re.IGNORECASE
            )
            if named and not _OF_A_VERSION.search(before) and _is_public(match.group()):
                return match.group()
    if text.count(":") >= 2 and _IPV6_START.search(text):
        for match in _IPV6.finditer(text):
            if _is_public(match.group()):
                return match.group()
    return ""


def _is_public(said: str) -> bool:
    try:
        address = ipaddress.ip_address(said)
    except ValueError:
        return False
    documented = address.version == 6 and address in _DOCUMENTATION
    return address.is_global and not documented and str(address) not in _PUBLIC_RESOLVERS


def national_id(text: str, *, printed: bool = False) -> str:
    """A US social security number in the valid ranges, a Brazilian CPF or a Spanish DNI."""
    low = text.lower() if (long := _DIGITS.search(text)) else ""
    named = [_SSN_NAMED] if "ssn" in low or "social security" in low else []
    for match in chain.from_iterable(p.finditer(text) for p in [_SSN, *named] if long):
        said, start = match[match.lastindex or 0], match.start(match.lastindex or 0)
        digits = re.sub(r"\D", "", said)
        area, group, serial = digits[:3], digits[3:5], digits[5:]
        valid = area not in ("000", "666") and area < "900" and group != "00" and serial != "0000"
        before = text[max(0, start - _NEAR) : start]
        if digits in _NEVER_VALID or (printed and digits in _PRINTED_SSNS):
            continue
        if valid and not re.search(r"[\w-]\Z", before) and not _OF_A_PRODUCT.search(before):
            return said
    for pattern in (_CPF, *([_CPF_PLAIN] if "cpf" in low else [])) if long else ():
        for match in pattern.finditer(text):
            if _is_cpf([int(c) for c in match.group() if c.isdigit()]):
                return match[match.lastindex or 0]
    for match in _DNI.finditer(text):
        digits = match["digits"]
        invented = len(set(digits)) < 4 or (printed and digits == "12345678")
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
