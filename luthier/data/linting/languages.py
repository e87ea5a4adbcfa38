"""Which language a text is in: by its script, and by its commonest words where that is Latin.

No model: what is told apart is what instruction data mostly is, and `None` is an answer. A text of
fewer than six words, of code or of names is not judged.
"""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import islice

# The commonest function words of each language, chosen to differ from its neighbours'.
_WORDS = {
    "en": "the of and to in is that it for was with as his on be at by this have from or had not"
    " are but what were we when your can said there an which their if will how about them"
    " would these you i a my do does did he she they has been our please should could than"
    " then some any no",
    "fr": "le la les de des du et en un une est que qui dans pour pas sur au aux avec ce cette il"
    " elle sont par plus ne se nous vous je tu mais ou où être été fait comme son sa ses"
    " leur si quel quelle c'est d'un d'une l'on même très aussi donc",
    "de": "der die das und ist nicht ein eine einen einem den dem des zu von mit auf für im sich"
    " auch es an als wie wir ich sie er war werden wird sind hat haben dass oder aber nach"
    " bei aus um über kann noch was wenn nur zum zur durch ihre seine",
    "es": "el la los las de y en un una que es por con para del se al lo como más pero sus le ya"
    " o este esta sí porque entre cuando muy sin sobre también me hasta hay donde quien"
    " desde todo nos son está cómo qué cuál",
    "it": "il lo la gli le di e che è un una per non con del della dei delle in sono da al come"
    " ma si più questo questa anche nel nella alla dal su ha o se mi ci cosa perché quando"
    " molto loro essere hanno tutti",
    "pt": "o a os as de e que em um uma do da dos das não para com por se na no nas nos mais como"
    " mas foi ao ele ela seu sua ou quando muito já também pelo pela até isso entre depois"
    " sem mesmo aos são está você qual",
    "nl": "de het een en van in is dat op te niet zijn met voor die er aan ook als bij maar om"
    " hij ze wordt door naar dan wat nog uit over heeft hebben deze geen kan meer worden"
    " mijn je ik wij hoe veel onder",
    "sv": "och att det som en på är av för med den till inte om ett han men var jag sig från vi"
    " så kan man när nu skulle eller hade efter vid mot också upp bara detta vad hur",
    "da": "og at det som en på er af til med den for ikke der et han men var jeg sig fra vi så"
    " kan man når nu ville eller havde efter ved mod også op kun dette hvad hvordan",
    "no": "og at det som en på er av til med den for ikke et han men var jeg seg fra vi så kan"
    " man når nå ville eller hadde etter ved mot også opp bare dette hva hvordan",
    "fi": "ja on ei se että hän oli mutta kun niin kuin joka ovat myös sen mitä tämä olen minä"
    " voi ole jos tai mukaan sekä kanssa hänen",
    "pl": "i w na z się nie do to że jest o jak za od po co ale przez dla czy są tym być już"
    " tylko jego który która może oraz ich tak gdy bardzo",
    "cs": "a v na se je že to s z do o i ale jako za by jsem jsou pro tak po co když jeho není"
    " byl nebo které který jak aby při také",
    "tr": "ve bir bu da de için ile çok ne daha olarak gibi o en var olan kadar ama değil mi ben"
    " sonra ya her nasıl şey olduğu veya",
    "ro": "și de la în a cu nu o este pe un că care pentru se din sunt mai ce dar ca fi prin sau"
    " au această acest lui după foarte fost",
    "hu": "a az és hogy nem is egy van ez meg de csak már volt mint ha el én azt mi vagy kell"
    " nagyon hogyan ki minden lehet",
    "id": "yang dan di dari untuk dengan ini itu pada tidak adalah dalam akan juga ke oleh"
    " sebagai atau bisa ada kami anda mereka karena lebih dapat",
    "vi": "và của là có không được cho một trong các người những với này để khi đã như từ về"
    " nhiều hoặc tôi bạn thì",
}  # fmt: skip
STOP_WORDS = {code: frozenset(words.split()) for code, words in _WORDS.items()}
"""Per ISO 639-1 code."""
_BY_SCRIPT = {
    "el": "\u0370-\u03ff\u1f00-\u1fff", "ru": "\u0400-\u04ff", "he": "\u0590-\u05ff",
    "ar": "\u0600-\u06ff\u0750-\u077f", "hi": "\u0900-\u097f", "bn": "\u0980-\u09ff",
    "ta": "\u0b80-\u0bff", "te": "\u0c00-\u0c7f", "th": "\u0e00-\u0e7f", "ka": "\u10a0-\u10ff",
    "ko": "\u1100-\u11ff\uac00-\ud7af", "ja": "\u3040-\u30ff", "zh": "\u3400-\u9fff",
}  # fmt: skip
_SCRIPTS = {code: re.compile(f"[{span}]") for code, span in _BY_SCRIPT.items()}
KNOWN = tuple(sorted([*STOP_WORDS, *_BY_SCRIPT, "uk", "bg", "fa"]))
"""Codes that can be told."""
# Single letters are also names of variables and points of a list.
_WORD = re.compile(r"[^\W\d_]{2,}(?:'[^\W\d_]+)?")
_FEWEST_WORDS, _MOST_WORDS = 6, 120
_FEWEST_HITS, _LEAST_SHARE, _MARGIN = 3, 0.2, 1.5
_LEAST_SCRIPT = 0.6
"""Share of the letters in a script from which the text is in its language."""
_FEWEST_LETTERS = 6


@lru_cache(maxsize=1)
def _languages_of() -> dict[str, tuple[str, ...]]:
    """The languages each function word belongs to."""
    found: dict[str, list[str]] = {}
    for code, words in STOP_WORDS.items():
        for word in words:
            found.setdefault(word, []).append(code)
    return {word: tuple(codes) for word, codes in found.items()}


def language_of(text: str) -> str | None:
    """The language of a text as an ISO 639-1 code; None where it cannot be told.

    A Latin text needs six words, of which every fifth is a function word of the language, half as
    many again as of any other. Only the first 120 words are read.
    """
    if not text.isascii() and (code := _by_script(text)):
        return code
    languages = _languages_of()
    words = [m.group().casefold() for m in islice(_WORD.finditer(text), _MOST_WORDS)]
    if len(words) < _FEWEST_WORDS:
        return None
    hits = dict.fromkeys(STOP_WORDS, 0)
    for word in words:
        for code in languages.get(word, ()):
            hits[code] += 1
    best = max(hits, key=lambda code: hits[code])
    most = hits.pop(best)
    if most < max(_FEWEST_HITS, _LEAST_SHARE * len(words), _MARGIN * max(hits.values())):
        return None
    return best


def _by_script(text: str) -> str | None:
    """The language of a text that is not in Latin letters."""
    head = text[:2000]
    letters = sum(c.isalpha() for c in head)
    counts = {code: len(pattern.findall(head)) for code, pattern in _SCRIPTS.items()}
    code = max(counts, key=lambda k: counts[k])
    # Japanese mixes kana with Han, Chinese has none.
    east = counts["ja"] + counts["zh"]
    found = east if code in ("ja", "zh") else counts[code]
    if letters < _FEWEST_LETTERS or found < _LEAST_SCRIPT * letters:
        return None
    if code in ("ja", "zh"):
        return "ja" if counts["ja"] > 0.05 * east else "zh"
    if code == "ru":
        if re.search("[іїєґІЇЄҐ]", head):
            return "uk"
        return "ru" if re.search("[ыэёЫЭЁ]", head) or "ъ" not in head else "bg"
    return "fa" if code == "ar" and re.search("[پچژگ]", head) else code
