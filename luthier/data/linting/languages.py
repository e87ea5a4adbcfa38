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
_ASKING = {
    "de": "mir bitte warum schreibe schreib erkläre nenne gib beschreibe fasse übersetze"
    " zwei drei vier kurz kurze kurzes welche welcher wo wer diese dieser unter"
    " zwischen ins vom beim mein dein uns euch mich dich weil damit etwas jeden jede"
    " alle mehr viele unterschied satz sätzen zusammen",
    "es": "escribe explica dame describe resume traduce cuáles dos tres cuatro breve"
    " corto corta unos unas mi tu te puede pueden porqué ser fue era han he hacer"
    " sea frases palabras niño ejemplo",
    "fr": "écris écrivez explique expliquez donne donnez décris décrivez rédige résume"
    " traduis deux trois quatre quelles quels pourquoi comment court courte mon ton"
    " notre votre mes tes nos vos lui leurs peut peux faire avoir avait étaient"
    " était sous entre après avant phrases mots enfant exemple vers",
    "it": "scrivi spiega descrivi elenca dammi traduci riassumi breve due tre quattro"
    " quale quali sul sulla sui sulle dai dalla dallo agli allo alle nei negli mio"
    " tuo suo ti vi lui lei noi voi prima dopo sotto sopra senza fare può bambino"
    " frasi parole esempio dell'",
    "pt": "escreva explique liste descreva traduza resuma dois três quatro curto curta"
    " breve meu minha teu tua seus suas lhe nós vocês eles elas pode podem fazer ser"
    " era foram sobre frases palavras criança exemplo num numa dê",
    "nl": "schrijf leg beschrijf noem geef vertaal samen twee drie vier kort korte waarom"
    " wie waar welke mij jouw ons onze hun haar hem dit zonder tegen tussen kunnen"
    " zinnen woorden mens voorbeeld",
    "sv": "skriv förklara beskriv nämn ge översätt två tre fyra kort korta varför vilken"
    " vilka mig dig oss er min din sin dem deras denna dessa utan mellan blir"
    " meningar ord exempel huvudstaden",
    "da": "skriv forklar beskriv nævn giv oversæt to tre fire kort korte hvorfor hvilken"
    " hvilke mig dig os jer min din sin dem deres denne disse uden mellem bliver"
    " sætninger ord eksempel noget nogle",
    "no": "skriv forklar beskriv nevn gi oversett to tre fire kort korte hvorfor hvilken"
    " hvilke meg deg oss dere min din sin dem deres denne disse uten mellom blir"
    " setninger ord eksempel noe noen",
    "fi": "kirjoita selitä kerro luettele kuvaile käännä anna kaksi kolme neljä lyhyt"
    " miksi missä kuka mikä mitkä minulle sinun hyvin vain siitä tässä tämän ne he"
    " te me lauseessa esimerkki",
    "pl": "napisz wyjaśnij opisz podaj wymień przetłumacz dwa trzy cztery dwóch trzech"
    " krótki krótką krótko dlaczego jaka jaki jakie kto gdzie kiedy mnie mi ci mój"
    " twój nas was jej ten ta te tego tej przed pod nad między bez zdaniach zdania"
    " przykład",
    "cs": "napiš vysvětli popiš vyjmenuj přelož uveď dva dvě tři čtyři krátký krátkou"
    " krátce proč jaký jaká jaké kdo kde kdy mi můj tvůj nás vás jich její ten ta"
    " této před pod nad mezi bez ve ze věty věta větách příklad",
    "tr": "yaz açıkla anlat listele çevir özetle ver iki üç dört kısa neden niçin kim"
    " nerede hangi bana sana bize onun benim senin bizim hakkında arasında göre önce"
    " cümle cümleyle örnek nedir",
    "ro": "scrie explică descrie enumeră traduce rezumă dă două trei patru scurt scurtă"
    " scurte cum unde cine când mele tale meu său sa sale noi voi ei ele despre"
    " între fără într-un propoziții cuvinte exemplu să",
    "hu": "írj magyarázd írd sorold fordítsd adj kettő két három négy rövid miért hol"
    " kinek melyik milyen nekem neked nekünk ők ti ami amely alatt között nélkül"
    " után előtt ról ről mondat mondatban példa",
    "id": "tulis tuliskan jelaskan sebutkan buatlah buat berikan terjemahkan dua tiga"
    " empat pendek singkat mengapa kenapa bagaimana siapa dimana apa apakah saya"
    " kita dia tentang antara seperti sudah harus kalimat contoh",
    "vi": "viết giải thích mô tả liệt kê dịch hãy hai ba bốn ngắn tại sao ai đâu gì nào"
    " chúng ta câu ví dụ",
}  # fmt: skip
"""Words of questions and instructions, which are short, and few of the others stand in them."""
STOP_WORDS = {code: frozenset(words.split()) for code, words in _WORDS.items()}
"""Per ISO 639-1 code."""
_BY_SCRIPT = {
    "el": "\u0370-\u03ff\u1f00-\u1fff", "ru": "\u0400-\u04ff", "he": "\u0590-\u05ff",
    "ar": "\u0600-\u06ff\u0750-\u077f", "hi": "\u0900-\u097f", "bn": "\u0980-\u09ff",
    "ta": "\u0b80-\u0bff", "te": "\u0c00-\u0c7f", "th": "\u0e00-\u0e7f", "ka": "\u10a0-\u10ff",
    "ko": "\u1100-\u11ff\uac00-\ud7af", "ja": "\u3040-\u30ff", "zh": "\u3400-\u9fff",
}  # fmt: skip
# Latin letters that few of the languages have; a word with one says as much as a function word.
_LETTERS = {
    "ß": ("de",), "ä": ("de", "sv", "fi"), "ö": ("de", "sv", "fi", "hu", "tr"),
    "ü": ("de", "hu", "tr"), "ñ": ("es",), "ã": ("pt",), "õ": ("pt",), "œ": ("fr",),
    "ê": ("fr", "pt", "vi"), "è": ("fr", "it"), "ò": ("it",), "ù": ("fr", "it"),
    "å": ("sv", "da", "no"), "ø": ("da", "no"), "æ": ("da", "no"), "ł": ("pl",), "ś": ("pl",),
    "ź": ("pl",), "ż": ("pl",), "ą": ("pl",), "ę": ("pl",), "ć": ("pl",), "ř": ("cs",),
    "ě": ("cs",), "ů": ("cs",), "ő": ("hu",), "ű": ("hu",), "ş": ("tr",), "ğ": ("tr",),
    "ı": ("tr",), "ș": ("ro",), "ț": ("ro",), "ă": ("ro", "vi"), "đ": ("vi",), "ơ": ("vi",),
    "ư": ("vi",),
}  # fmt: skip
_HAS_LETTER = re.compile(f"[{''.join(_LETTERS)}]")
# Bulgarian has its hard sign before consonants, Russian only before these; the letters of Serbian,
# Macedonian, Belarusian, Kazakh and others are none of theirs.
_UKRAINIAN, _OTHER_CYRILLIC = re.compile("[іїєґ]"), re.compile("[јљњђћџѓќѕўәғқңөұүһҳҷӣӯ]")
_BULGARIAN = re.compile(
    r"ъ(?![еёюя])|\b(?:е|са|да|се|от|това|този|тази|които|която|който|какво|защо|кой|ще|във|със"
    r"|към|през|като|няколко)\b"
)
_RUSSIAN = re.compile(
    r"[ыэё]|ь(?!о)|\w{3,}(?:ая|ого|ому|ться|ет|ют|ешь)\b|\w{4,}(?<!няк)ое\b|\b(?:что|это|как|для|почему|или"
    r"|из|об|они|она|чтобы|если|когда|где|его|их|по|и|не)\b"
)
_NOT_SERBIAN = re.compile("[йщюяьъыэё]")
_PERSIAN, _ARABIC = re.compile("[پچژگیک]"), re.compile("[يكةىإأ]")
_URDU_AND_OTHERS = re.compile("[ٹڈڑںےہھەێۆڵړټډښڼ]")
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
_TRANSLATES = re.compile(
    r"\b(?:translat\w+|(?:in|into|to|from) (?:english|french|german|spanish|italian"
    r"|portuguese|chinese"
    r"|japanese|russian|arabic)|languages?|mean(?:s|ing))\b",
    re.IGNORECASE,
)
_UNKNOWN = "?"
"""Of a script that was told, a language that was not."""


@lru_cache(maxsize=1)
def _languages_of() -> dict[str, tuple[str, ...]]:
    """The languages each function word belongs to."""
    found: dict[str, list[str]] = {}
    for code, words in STOP_WORDS.items():
        for word in words | frozenset(_ASKING.get(code, "").split()):
            found.setdefault(word, []).append(code)
    return {word: tuple(codes) for word, codes in found.items()}


def language_of(text: str) -> str | None:
    """The language of a text as an ISO 639-1 code; None where it cannot be told.

    A Latin text needs six words, of which every fifth is a function word of the language, or has a
    letter of its own, half as many again as of any other. Only the first 120 words are read.
    """
    ascii = text.isascii()
    if not ascii and (counted := _by_script(text)):
        return None if counted == _UNKNOWN else counted
    languages = _languages_of()
    words = [m.group().casefold() for m in islice(_WORD.finditer(text), _MOST_WORDS)]
    if len(words) < _FEWEST_WORDS:
        return None
    hits = dict.fromkeys(STOP_WORDS, 0)
    for word in words:
        for code in languages.get(word, ()):
            hits[code] += 1
        if not ascii and word not in languages and (letter := _HAS_LETTER.search(word)):
            for code in _LETTERS[letter.group()]:
                hits[code] += 1
    best = max(hits, key=lambda code: hits[code])
    most = hits.pop(best)
    if most < max(_FEWEST_HITS, _LEAST_SHARE * len(words), _MARGIN * max(hits.values())):
        return None
    return best


def language_asked_in(question: str) -> str | None:
    """The language of a question; None where it speaks of translating a text of another one."""
    code = language_of(question)
    return None if code not in (None, "en") and _TRANSLATES.search(question) else code


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
        return _cyrillic(head.casefold())
    if code == "ar":
        return _arabic(head)
    return code


def _cyrillic(text: str) -> str:
    """Ukrainian, Russian or Bulgarian; of other languages in these letters none is told."""
    if _OTHER_CYRILLIC.search(text):
        return _UNKNOWN
    if _UKRAINIAN.search(text):
        return "uk"
    if not _NOT_SERBIAN.search(text) and not _RUSSIAN.search(text):
        return _UNKNOWN
    russian, bulgarian = len(_RUSSIAN.findall(text)), len(_BULGARIAN.findall(text))
    return _UNKNOWN if russian == bulgarian else "ru" if russian > bulgarian else "bg"


def _arabic(text: str) -> str:
    """Arabic or Persian; Urdu, Kurdish and Pashto are not told."""
    if _URDU_AND_OTHERS.search(text):
        return _UNKNOWN
    return "fa" if len(_PERSIAN.findall(text)) > len(_ARABIC.findall(text)) else "ar"
