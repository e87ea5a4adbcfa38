"""Rejects rows that ask about a page, file or picture which the row does not contain."""

from __future__ import annotations

import re

from luthier.data.candidate import Candidate, Filter
from luthier.data.linting.lint_report import Severity
from luthier.data.linting.passages import questions

SEVERITY: Severity = "warning"
FIX = "Put the text itself into the row, or delete it; such answers are made up."
_LEAST_GIVEN = 25
"""Words beside a link, or on the lines below it, that are taken for the text it leads to."""
_URL = re.compile(r"(?:https?://|www\.)\w[^\s<>\"')\]]+", re.IGNORECASE)
_READS = re.compile(
    r"\b(?:summari[sz]e|summary|read|review|visit|open|browse|look at|check out|watch|analy[sz]e"
    r"|describe|translate|according to|based on|contents? of|article|page|post|website|site|video"
    r"|blog|paper|explain|what (?:does|is|are|do)|tell me)\b",
    re.IGNORECASE,
)
# Rows about the address itself have all they need.
_ABOUT_URLS = re.compile(
    r"\b(?:urls?|uris?|domains?|hostnames?|protocols?|pars\w+|valid\w*|regex\w*"
    r"|regular expressions?"
    r"|html|href|anchors?|shorten\w*|markdown|curl|wget|requests?|fetch|code|python|javascript"
    r"|php|java|query strings?|parameters?|hyperlinks?|extract|citations?|cite|references?"
    r"|bibliograph\w*|redirect\w*|phishing|api|endpoint|scrap\w+|crawl\w*|function|program)\b",
    re.IGNORECASE,
)
_THING = (
    r"(?:files?|documents?|images?|pictures?|photos?|photographs?|screenshots?|spreadsheets?|pdfs?"
    r"|videos?|audio|recordings?|attachments?|diagrams?|charts?|graphs?|paintings?|drawings?)"
)
_SEEN = (
    r"(?:images?|pictures?|photos?|photographs?|screenshots?|videos?|audio|recordings?|diagrams?"
    r"|charts?|graphs?|paintings?|drawings?|cartoons?)"
)
_PAPER = (
    r"(?:r[eé]sum[eé]s?|cvs?|reports?|essays?|contracts?|invoices?|slides?|presentations?|csvs?"
    r"|datasets?|data|papers?|articles?|letters?|manuscripts?|scripts?|tables?|logs?|notes?|files?)"
)
_SENT = (
    r"(?:(?:that |which )?(?:i|we)(?:'ve| have)? (?:just )?"
    r"(?:uploaded|attached|sent|shared|linked))"
)
_ATTACHED = re.compile(
    rf"\b(?:the |an? |my )?(?:attached|enclosed|uploaded) (?:\w+ ){{0,2}}?(?:{_THING}|{_PAPER})\b"
    rf"|\b(?:{_THING}|{_PAPER}) {_SENT}\b|\bsee (?:the )?attach(?:ed|ment)\b"
    rf"|\bin the attachment\b|\b{_SEEN} (?:below|above|attached|provided|shown here|i (?:sent"
    rf"|uploaded))\b"
    rf"|\b(?:this|these|the following|the given|the provided) {_SEEN}\b"
    r"|\b(?:in|from|on) the (?:image|picture|photo|screenshot)\b(?! of\b)"
    rf"|\bwhat (?:does|do|is|are) (?:the|this|that|these) {_SEEN} (?:show|depict|represent"
    r"|illustrate|display|tell us|about)\w*\b",
    re.IGNORECASE,
)
# What somebody is told to watch, open or click is somewhere else.
_TOLD = re.compile(
    r"(?:^|[.!?\n]\s*|\bplease )(?:"
    r"(?:watch|listen to|transcribe|play) (?:the|this|these|my) (?:following |short )?"
    r"(?:videos?|audio|recordings?|clips?|podcasts?|films?|interview|speech|song|lecture)\b"
    r"|(?:open|read|analy[sz]e|review|check|inspect|examine|look (?:at|through)|use"
    r"|refer to|consult)"
    r" (?:the|this|my) (?:following |provided |given )?(?:pdf|spreadsheet|attachment|screenshot"
    r"|photo|picture|image|video|recording|excel (?:file|sheet)|word document|csv(?: file)?)\b"
    r"|(?:click|follow|open|visit|check(?: out)?|go to|use)(?: on)? (?:the|this|that|my)"
    r" (?:following |provided |given )?(?:hyper)?(?:links?|urls?)\b)"
    r"(?! of\b| (?-i:[A-Z]))",
    re.IGNORECASE,
)
_NAMED_FILE = re.compile(
    r"(?:^|[.!?\n]\s*|\bplease )(?:read|open|summari[sz]e|analy[sz]e|review|check|look at|translate"
    r"|proofread|transcribe|describe)\b[^.!?\n]{0,30}?"
    r"\b[\w-]{1,40}\.(?:docx?|pdf|xlsx?|pptx?|csv|txt|png|jpe?g|mp3|mp4|wav|mov)\b",
    re.IGNORECASE,
)
_OF_CODE = re.compile(
    r"\b(?:python|code|scripts?|bash|commands?|functions?|pandas|programs?|sql|shell|terminal|linux"
    r"|how (?:do|to|can|would)|convert|rename|regex|java\w*|formula|import|html|css)\b",
    re.IGNORECASE,
)
# Who writes a mail mentions an attachment; who quotes one asks about the words.
_WRITES = re.compile(
    r"\b(?:write|draft|compose|reply|respond|e-?mails?|letters?|phrases?|means?|meaning"
    r"|captions? for"
    r"|code|python|html|css|latex|function|script|alt text|describ\w+ of|story|poem|dialogue"
    r"|novel|translate|sentence|grammar|correct|rewrite|quote)\b",
    re.IGNORECASE,
)
_DECLINES = re.compile(
    r"\b(?:can(?:no|')?t|can not|unable to|not able to|don't|do not|isn't|is not|no) "
    r"(?:\w+ ){0,3}?(?:see|view|open|access|browse|attach\w*|image|picture|file|link|have)\b",
    re.IGNORECASE,
)


# One of them stands in whatever the patterns above find, and seldom elsewhere.
_WORDS = (
    "attach", "enclosed", "upload", "image", "picture", "photo", "screenshot", "video",
    "audio", "record", "diagram", "chart", "graph", "painting", "drawing", "cartoon", " sent",
    "shared", "linked", " link", "url", "pdf", "spreadsheet", "csv", "excel ",
    "word document", "podcast", "clip", "film", "interview", "speech", "song", "lecture",
    ".doc", ".xls", ".ppt", ".txt", ".png", ".jp", ".mp", ".wav", ".mov",
)  # fmt: skip


def build() -> Filter:
    """No options.

    One of the ten defects of Alpaca that AlpacaDataCleaned lists: a link or a picture is asked
    about, and the answer is invented. Rows that give the text beside the link, ask about the link
    itself, or answer that they cannot see it, pass.
    """

    def missing_attachments(row: Candidate) -> str | None:
        if row.labels:
            return None
        for where, text in questions(row):
            if found := _missing_page(text) or _missing_thing(text, _given(row)):
                answer = row.answer[:400].replace("’", "'")
                if not _DECLINES.search(answer):
                    return f"nothing to look at: the {where} asks about '{found[:60]}'"
        return None

    return missing_attachments


def _missing_page(text: str) -> str:
    if "://" not in text and "www." not in text.lower():
        return ""
    found = _URL.search(text)
    rest = _URL.sub(" ", text)
    if not found or len(rest.split()) >= _LEAST_GIVEN or _ABOUT_URLS.search(rest):
        return ""
    return found.group() if _READS.search(rest) else ""


def _missing_thing(text: str, given: bool) -> str:
    low = text.lower()
    if given or not any(word in low for word in _WORDS):
        return ""
    found = _ATTACHED.search(text) or _elsewhere(text)
    if not found or _WRITES.search(text) or text.count('"') >= 2:
        return ""
    after = text[found.end() :]
    # `this chart:` or a new line goes on with the chart itself.
    below = re.split(r"[:\n]", after, maxsplit=1)
    if len(below) == 2 and len(below[1].split()) >= 4:
        return ""
    return found.group()


def _elsewhere(text: str) -> re.Match[str] | None:
    """A thing or a file that is to be looked at; longer texts bring along what they speak of."""
    if len(text.split()) >= _LEAST_GIVEN or _OF_CODE.search(text) or "://" in text:
        return None
    return _TOLD.search(text) or _NAMED_FILE.search(text)


def _given(row: Candidate) -> bool:
    """Whether the row has an input of its own beside the instruction."""
    fields = row.example.fields
    given = fields.get("input")
    return "instruction" in fields and isinstance(given, str) and len(given.split()) >= 4
