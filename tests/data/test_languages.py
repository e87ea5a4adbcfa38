"""Languages are told by their letters and words; what could be several is none."""

from __future__ import annotations

import pytest
from filter_rows import passes, row, said

from luthier.data.linting.languages import language_of


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("de", "Beschreibe mir bitte in zwei Sätzen, warum der See im Winter friert."),
        ("fr", "Explique en deux phrases pourquoi le lac gèle en hiver."),
        ("es", "Explique en dos frases por qué el lago se hiela en invierno."),
        ("it", "Spiega in due frasi perché il lago gela in inverno."),
        ("pt", "Explique em duas frases por que o lago congela no inverno."),
        ("nl", "Leg in twee zinnen uit waarom het meer in de winter bevriest."),
        ("sv", "Förklara i två meningar varför sjön fryser på vintern."),
        ("pl", "Wyjaśnij w dwóch zdaniach, dlaczego jezioro zamarza w zimie."),
        ("cs", "Vysvětli ve dvou větách, proč jezero v zimě zamrzá."),
        ("tr", "Gölün kışın neden donduğunu iki cümleyle açıkla."),
        ("hu", "Magyarázd el két mondatban, miért fagy be a tó télen."),
        ("ro", "Explică în două propoziții de ce lacul îngheață iarna."),
        ("fi", "Selitä kahdella lauseella, miksi järvi jäätyy talvella."),
        ("id", "Jelaskan dalam dua kalimat mengapa danau membeku pada musim dingin."),
        ("en", "Describe the difference between a café and a pub in Zürich and in Łódź."),
        ("fa", "توضیح بده چرا دریاچه یخ می‌زند"),
        ("ar", "اشرح لماذا تتجمد البحيرة في الشتاء"),
        ("bg", "Обясни защо езерото замръзва през зимата."),
        ("ru", "Объясни, почему озеро замерзает зимой."),
        ("uk", "Поясни, чому озеро взимку замерзає і коли."),
    ],
)
def test_short_instructions(code: str, text: str) -> None:
    assert language_of(text) == code


@pytest.mark.parametrize(
    "text",
    [
        "Објасни зашто језеро зими мрзне.",
        "Напиши кратку песму о мору.",
        "Напиши кратко за морето.",
        "وضاحت کریں کہ جھیل کیوں جم جاتی ہے",
        "Romeo, Hamlet, Macbeth, Othello, Lear, Ariel",
    ],
)
def test_what_is_not_sure_or_not_known_is_none(text: str) -> None:
    assert language_of(text) is None


def test_rows_of_the_asked_language_are_kept() -> None:
    passes("language", row("شعری کوتاه درباره دریاچه بنویس"), languages=["fa"])
    passes("language", row("Напиши кратко стихотворение за морето."), languages=["bg"])
    passes(
        "language", row("Translate into English: Der See ist im Winter kalt und die Luft ist klar.")
    )
    [reason] = said("language", [row("Обясни защо езерото замръзва през зимата.")])
    assert reason == "other language: bg, not en"
