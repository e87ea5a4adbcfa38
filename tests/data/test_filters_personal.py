"""Personal data: what a checksum or a valid range confirms is found, look-alikes pass."""

from __future__ import annotations

import pytest
from filter_rows import passes, row, said

from luthier.errors import DataError
from luthier.names import FILTERS


def iban(country: str, account: str) -> str:
    """A number with the right check digits, made here so that it is nobody's on purpose."""
    turned = "".join(str(int(c, 36)) for c in f"{account}{country}00")
    return f"{country}{98 - int(turned) % 97:02d}{account}"


def card(start: str) -> str:
    """A 16-digit number with the right last digit."""
    for last in "0123456789":
        digits = [int(c) * (2 if i % 2 else 1) for i, c in enumerate(reversed(start + last))]
        if sum(d - 9 if d > 9 else d for d in digits) % 10 == 0:
            return start + last
    raise AssertionError


GERMAN = iban("DE", "500105175407324931")
CARD = card("453914820361725")
SPACED = " ".join(CARD[i : i + 4] for i in range(0, 16, 4))


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("Write to greta.lindqvist@fjordpost.no today", "mail address 'gr...o'"),
        ("My number is (212) 736-4815, call me", "phone number '(2...5'"),
        ("212-736-4815", "phone number '21...5'"),
        ("Ring +44 20 7946 1234 after six", "phone number '+4...4'"),
        (f"Pay to {GERMAN}", "bank account 'DE...1'"),
        (
            f"Pay to {' '.join(GERMAN[i : i + 4] for i in range(0, 22, 4))} now",
            "bank account 'DE...1'",
        ),
        (f"Card {SPACED}", f"card number '45...{CARD[-1]}'"),
        ("It came from 85.214.132.117 at noon", "IP address '85...7'"),
        ("Her social security number is 536-22-8147.", "national id '53...7'"),
        ("CPF 529.982.247-25", "national id '52...5'"),
        ("DNI 48261937Z is his", "national id '48...Z'"),
    ],
)
def test_personal_data(text: str, what: str) -> None:
    if what.endswith("Z'"):
        letter = "TRWAGMYFPDXBNJZSQVHLCKE"[48261937 % 23]
        text, what = text.replace("Z", letter), what.replace("Z", letter)
    [reason] = said("pii", [row("Who is it?", text)])
    assert reason == f"personal data: {what} in the answer"
    assert text not in (reason or ""), "a report must not spread it"


def test_look_alikes_pass() -> None:
    wrong_card = CARD[:-1] + str((int(CARD[-1]) + 1) % 10)
    wrong_iban = GERMAN[:-1] + str((int(GERMAN[-1]) + 1) % 10)
    passes(
        "pii",
        row("Mail ann@example.com, bob@mail.example.org or x@y.test"),
        row("Write to info@fjordpost.no or support@fjordpost.no; user@host is a form"),
        row("Say, for example, john.doe@company.com or 555-123-4567; yyy@gmail.com is a blank"),
        row("git clone git@github.com:storks/nests.git, pip install nests@1.0.0.dev, nest@2x.png"),
        row("https://greta@fjordpost.no/ and https://nests.example/@greta.l/x"),
        row("It counts 1428627663 people, in 2001 2002 2003; the year 0049 saw 299792458 of them"),
        row("The documented ones: 2001:db8::7, 3fff::1, fe80::1, ::1; std::map::find at 12:30:45"),
        row("@greta on the net, and a decorator @dataclass.field"),
        row("Model 212-736-4815 of the drill, order no. 736-481-5522"),
        row("part number: 212.736.4815"),
        row("ISBN 978-0-306-40615-7 and 1-2345-6789-0"),
        row("Call (212) 555-0142 or 1-800-736-4815."),
        row("From 1914-1918, 2001-2005; pages 212-736; 10,000-20,000"),
        row("+1 234 567 890 is a sum? 3 + 4 + 5 = 12, x+12345678901234"),
        row(f"Not a card: {wrong_card}; a test card: 4242 4242 4242 4242"),
        row(f"Not an account: {wrong_iban}; the printed one: GB82 WEST 1234 5698 7654 32"),
        row("Timestamp 1700000000000, id 1234567890123456, pi 3.14159265358979"),
        row("Version 10.20.30.40 and v85.214.132.117, section 1.2.3.4"),
        row("Private: 192.168.17.25, 10.11.12.13; documented: 203.0.113.77; resolver 8.8.8.8"),
        row("The printed number 123-45-6789, and 000-12-3456, 900-12-3456, 666-12-3456"),
        row("CPF 529.982.247-26 is wrong, 111.111.111-11 too; DNI 12345678Z is printed everywhere"),
        row("Temperatures: -12.5 to 31.7; ratio 4:3; 24/7; 3.11.7"),
    )


PLACES = [
    "Write to john.doe@gmail.com or to jane.smith@company.com",
    "Ring 555-212-4815",
    "Ring +1 (555) 212-4815",
    "Ring +49 30 5554815",
    "Ring 212 736 4815",
    "Tel. 2127364815",
    "Call me at 0171 2736481 after six",
    "Mon portable : 06 12 73 64 81",
    "Phone 020 7946 1234",
    "Mein Telefon: 030/7364815",
    "手机 13800736481",
    "邮箱是zhang88@mailer.cn，谢谢",
    "jürgen@müller-bäcker.de",
    "http://85.214.132.117/nests",
    "Its address is 2a02:8106:1:3c00::1d2f",
    "SSN: 123-45-6789",
    "My social security number is 536 22 8147",
    "CPF 52998224725",
    "Card 4111 1111 1111 1111",
    "IBAN DE89 3704 0044 0532 0130 00",
]


@pytest.mark.parametrize("text", PLACES)
def test_every_usual_form_is_found(text: str) -> None:
    assert said("pii", [row("Who is it?", text)]) != [None]


@pytest.mark.parametrize("number", ["0171 2736481", "06 12 73 64 81", "212 736 4815"])
def test_a_number_alone_is_a_phone_where_one_was_asked_for(number: str) -> None:
    assert said("pii", [row("What is the phone number of Greta?", number)]) != [None]
    passes("pii", row("What is the sum?", number))


@pytest.mark.parametrize(
    "text",
    ["john.doe@gmail.com", "555-212-4815", "SSN 123-45-6789", "4111 1111 1111 1111",
     "DE89 3704 0044 0532 0130 00"],
)  # fmt: skip
def test_what_manuals_print_passes_where_an_example_is_spoken_of(text: str) -> None:
    passes("pii", row("Show the format of a sample entry.", text))
    assert said("pii", [row("How can she be reached?", text)]) != [None]


@pytest.mark.parametrize("text", ["(212) 555-0142", "+1 212-555-0199", "call 212 555 0123"])
def test_numbers_reserved_for_films_pass(text: str) -> None:
    passes("pii", row("How can she be reached by phone?", text))


def test_kinds() -> None:
    rows = [row("Mail greta.lindqvist@fjordpost.no or call (212) 736-4815")]
    assert said("pii", rows, kinds=["phone"]) == [
        "personal data: phone number '(2...5' in the input"
    ]
    assert said("pii", rows, kinds=["ip"]) == [None]
    with pytest.raises(DataError, match=r"unknown kind 'mail'. Did you mean 'email'"):
        FILTERS.build("pii", kinds=["mail"])
    with pytest.raises(DataError, match=r"kinds is 'email', expected a list"):
        FILTERS.build("pii", kinds="email")
