"""Rejects rows whose answer refuses, or apologises for being a language model."""

from __future__ import annotations

import re

from luthier.data.candidate import Candidate, Filter
from luthier.data.linting.lint_report import Severity
from luthier.data.linting.passages import answers
from luthier.errors import DataError

SEVERITY: Severity = "warning"
FIX = "Write the answer, or delete the row, unless the model is meant to refuse this."
_HEAD = 300
"""Characters of an answer in which it says that it is one of a model."""
_LETTERS_A_WORD = 2
"""Of scripts without spaces."""

# --- English -----------------------------------------------------------------------------------

_CANNOT = (
    r"(?:(?:can(?:no|')t|cannot|can not)(?: and (?:will not|won't)| in good conscience)?"
    r"|could(?:n't| not)|(?:wo|would)n't(?: be able to)?"
    r"|(?:would|'d) (?:rather not|prefer not to)"
    r"|will not(?: be able to)?|refuse to"
    r"|(?:am|'m)(?: just| simply)? (?:unable|not (?:able|allowed|permitted|authori[sz]ed|going"
    r"|willing|equipped|programmed|designed|trained|in a position))(?: to)?"
    r"|(?:must|have to|need to|will have to|'ll have to|am going to have to)(?: \w+ly)?"
    r" (?:decline|refuse)(?: to)?)"
)
_DECLINES = (
    r"(?:(?:must|have to|need to|will have to|'ll have to"
    r"|(?:am|'m) going to have to)(?: \w+ly)?"
    r" (?:decline|refuse)\b|(?:politely|respectfully) decline\b"
    r"|(?:am|'m) not (?:programmed|designed|trained) (?:to|for)\b"
    r"|(?:(?:am|'m) not|do(?:n't| not) feel) comfortable (?:writing|providing|creating|answering"
    r"|discussing|helping|generating|assisting|sharing|giving|doing|with (?:this|that|your))\b)"
)
# Behind an apology any of these is enough.
_DO = (
    r"(?:fulfil\w*|assist|help|comply|provide|generate|create|produce|answer|complete|access|browse"
    r"|view|see|open|do (?:that|this|so)|process (?:that|this|your|such|images?)|support|engage"
    r"|discuss|give|offer|write|respond|share|perform|participate|fetch|retrieve|display|draw|play"
    r"|hear|watch|translate|summari[sz]e|recommend|advise|tell you|continue|proceed|disclose"
    r"|reveal|endorse|promote|encourage|condone|facilitate|accommodate|satisfy|carry out)"
)
_HAVE_NO = (
    r"do(?:n't| not) (?:have (?:access|the (?:ability|capability|capacity)|enough|any information"
    r"|personal)|understand|feel comfortable)"
)
_A_MODEL = (
    r"an? (?:ai|a\.i\.|artificial intelligence|(?:large |ai )?language model|llm|chat ?bot"
    r"|virtual assistant|(?:text|machine)[- ]based (?:ai|model|assistant))\b"
)
_LEAD = (
    r"\W*(?:(?:unfortunately|regrettably|sadly|alas|no|sorry|hi|hello|hmm|well"
    r"|thank you[^.!?\n]{0,50}"
    r"|(?:while |although |though )?i (?:understand|appreciate|know|respect|can see)[^.!?\n]{0,80})"
    r"[,.!;:]?\s+)?(?:(?:but|however),?\s+)?"
)
_SORRY = re.compile(
    rf"{_LEAD}(?:(?:i'?m|i am|we are|we're|my)?\s*"
    r"(?:so |very |really |truly |terribly |deeply |sincere |sincerest |deepest )*"
    r"(?:sorry|afraid|apologies)|i (?:sincerely |do |must )?apologi[sz]e|i regret)\b"
    r"[^.!?\n]{0,80}?(?:[.!]\s+)?(?:(?:but|however|unfortunately),?\s*)?"
    rf"\b(?:i|we)\s*(?:{_CANNOT}(?:\s+(?:to )?{_DO}\b|[.!]*\s*\Z)|{_HAVE_NO}\b|{_DECLINES}"
    rf"|(?:am|'m) (?:just |only )?{_A_MODEL})",
    re.IGNORECASE,
)
# Without one it must be plain that it is the request which is refused: people in stories `cannot
# help but laugh`, `cannot give up`, and do not `answer the phone`.
_SUCH = r"(?:that|this|these|those|such|your)\b"
_KIND = (
    r"(?:content|instructions?|information|advice|guidance|details|opinions?|material|medical"
    r"|legal|financial|diagnos[ei]s|illegal|harmful|offensive|explicit|hateful|violent|sexual"
    r"|personal|private|malware|real-time)\b"
)
_MADE = (
    r"(?:an?|the|any) (?:\w+ ){0,2}?(?:essay|story|poem|article|speech|letter|script|joke|text"
    r"|list|guide|response|answer|image|picture|summary|report|review|code|plan|song|dialogue"
    r"|tutorial|recipe|message|email|post|blog)\b"
)
_REFUSED = (
    rf"(?:fulfil\w*|assist|comply|help(?=[.!]*\s*\Z)|help (?:you with|with"
    rf"|you (?:to )?(?:do|create|write|make)"
    r"|create|write|facilitate|anyone)"
    rf"|(?:provide|offer|give|share|supply)(?: you)?(?: with)?"
    rf" (?:any (?:\w+ )?|specific |detailed |the |an? )?(?:{_SUCH}|{_KIND}|{_MADE})"
    rf"|(?:write|create|generate|produce|compose|draft)(?: you)? (?:any |an? )?"
    rf"(?:{_SUCH}|{_KIND}|{_MADE}|images?\b|it\b)"
    rf"|(?:answer|complete|process|support|endorse|respond to|discuss|translate|summari[sz]e"
    rf"|access|recommend|continue with|proceed with|make|produce|perform) {_SUCH}"
    r"|(?:support|endorse|discuss|promote|condone|encourage) (?:or \w+ )?(?:illegal|harmful|hate"
    r"|violen\w+|discriminat\w+|political|unethical|offensive)"
    r"|answer (?:the question|questions)|complete the task|engage in|participate in (?:that|this"
    r"|such)|do (?:that|this|so)(?=\s*(?:[.,;!]|because|as|since|for you|\Z))|browse"
    r"|access (?:the (?:internet|web|link|url|file|page|website)|external|url|real-time|current)"
    r"|(?:see|view|open|read|watch|hear|listen to) (?:the |any )?(?:images?|pictures?|photos?"
    r"|videos?|attachments?|attached|files?|links?|urls?|audio))"
)
_UNABLE = re.compile(
    rf"{_LEAD}(?:as {_A_MODEL}[^.!?\n]{{0,60}}?\s)?i ?(?:{_CANNOT}\s+(?:to )?{_REFUSED}"
    rf"|{_DECLINES}|do(?:n't| not) have (?:the (?:ability|capability|capacity) to (?:access|browse"
    r"|see|view|open|generate|create|perform|provide|feel)|access to (?:real|current|the internet"
    r"|external|live|your|personal)))",
    re.IGNORECASE,
)
_IMPROPER = re.compile(
    rf"{_LEAD}(?:(?:it|that|this)(?:'s| is| would be| wouldn't be| isn't) (?:not )?(?:appropriate"
    r"|inappropriate|ethical|unethical|possible|impossible|irresponsible|right|acceptable|safe)"
    r"(?: (?:and|or) \w+)? for me to\b"
    r"|(?:(?:this|that|your|the|such an?) (?:request|prompt|question|topic|task|content)"
    r"|this|that|it|\w+ing [^.!?\n]{1,50})"
    r" (?:violates|goes against|is against|conflicts with|would violate|would go against)"
    r" (?:my|openai'?s?|the model's)\b"
    r"|(?:that|this)(?:'s| is) (?:not something|something) (?:that )?i(?: am|'m)? (?:can(?:no|')t"
    r"|cannot|can (?:do|help|assist|provide|write|create|answer|discuss)|not|unable|able to"
    r"|won't|will not)\b)",
    re.IGNORECASE,
)
_NOT = (
    r"(?:do(?:n't| not)|cannot|can(?:no|')t|can not|am (?:not|unable)|'m (?:not|unable)|lack"
    r"|have no|never|(?:must|have to|will) (?:\w+ly )?(?:decline|refuse|not)|won't)"
)
_MODEL = re.compile(
    rf"\bas {_A_MODEL}[^.!?\n]{{0,80}}?\bi\s?{_NOT}"
    rf"|\bi(?:'m| am) (?:just |only |merely |simply )?{_A_MODEL}[^.!?\n]{{0,60}}?"
    rf"\b(?:and|so|which|that|,)[^.!?\n]{{0,20}}?\b{_NOT}",
    re.IGNORECASE,
)
# One of them stands in whatever the last one finds.
_MODEL_WORDS = (
    "an ai", "a.i.", "artificial", "language model", "llm", "chatbot", "chat bot",
    "assistant", "based",
)  # fmt: skip

# --- other languages ---------------------------------------------------------------------------

_FOREIGN = re.compile(
    # German
    r"\W*(?:(?:(?:es )?tut mir (?:sehr |wirklich |furchtbar )?leid|entschuldig\w+|verzeihung|leider"
    r"|ich bedaure|als (?:ki|künstliche intelligenz|(?:großes )?sprachmodell)\b)[^.!?\n]{0,80}?"
    r"(?:[.!]\s+)?)?"
    r"(?:\b(?:ich (?:kann|darf|werde|könnte)|(?:kann|darf|werde) ich)\b[^.!?\n]{0,60}?"
    r"\b(?:nichts?|keine?n?)\b[^.!?\n]{0,50}?(?:helfen|behilflich|unterstützen|erfüllen|beantworten"
    r"|nachkommen|bereitstellen|schreiben|erstellen|liefern|ausführen|generieren|entsprechen)\b"
    r"|\b(?:bin ich|ich bin) (?:leider )?nicht in der lage\b)"
    # Spanish
    r"|\W*(?:(?:lo (?:siento|lamento)|lamento|disculp[ae]|perdón|lamentablemente|desafortunadamente"
    r"|me temo que|mis disculpas|como (?:modelo|una? (?:ia|modelo|inteligencia)))\b"
    r"[^.!?\n]{0,80}?(?:[.!]\s+)?)?\bno (?:puedo|podré|poder|me es posible|soy capaz de"
    r"|estoy (?:autorizad|programad|capacitad)[oa] para|tengo permitido)\b[^.!?\n]{0,30}?"
    r"\b(?:ayudar|asistir|cumplir|proporcionar|responder|generar|crear|escribir|hacerlo"
    r"|hacer (?:eso|esto)|completar|ofrecer|brindar|atender|participar|proveer|dar consejos)"
    # French
    r"|\W*(?:(?:(?:je suis )?(?:vraiment |sincèrement )?(?:désolée?|navrée?)|malheureusement"
    r"|je regrette|mes excuses|je m'excuse|en tant qu(?:e modèle|'(?:ia|intelligence)))\b"
    r"[^.!?\n]{0,80}?(?:[.!]\s+)?)?\bje ne (?:peux|puis|pourrai|suis)\b[^.!?\n]{0,20}?"
    r"(?:\bpas\b)?[^.!?\n]{0,30}?\b(?:aider|répondre|fournir|accéder|satisfaire|écrire|créer"
    r"|générer|effectuer|assister|produire|traiter|réaliser|faire (?:cela|ça)|vous donner)\b",
    re.IGNORECASE,
)
_CHINESE = re.compile(
    r"\W*(?:(?:我)?(?:很|非常|真的|十分)?(?:抱歉|对不起|對不起|不好意思|遗憾)[^。！？\n]{0,40}?"
    r"(?:无法|不能|没有?办法|没法|無法|沒辦法)"
    r"|作为(?:一[个名款])?[^。！？\n]{0,12}?(?:人工智能|AI|语言模型|大模型|助手)[^。！？\n]{0,40}?"
    r"(?:无法|不能|没有|不会)"
    r"|我(?:无法|不能|無法)(?:帮助|提供|回答|满足|完成|协助|生成|创建|写|处理|執行|执行|讨论))"
)

# --- what it is about --------------------------------------------------------------------------

# Who asks how to say no, or shows somebody saying it, gets what was asked for.
_ABOUT_NO = re.compile(
    r"\b(?:sorry|apolog\w*|refus\w*|declin\w*|as an ai|reject\w*|pretend|role ?play\w*"
    r"|(?:can(?:no|')t|can not|cannot|unable to|not able to|won't) (?:help|assist|do|provide"
    r"|answer)|tut mir leid|lo siento|désolée?|ne (?:peux|puis) pas|no puedo)\b|抱歉|对不起",
    re.IGNORECASE,
)
_ABOUT_MODELS = re.compile(
    r"\b(?:(?:are|who|what) (?:are )?you|yourself|language models?"
    r"|chat ?bots?|chatgpt|artificial intelligence|a\.?i\.?|llms?|assistants?"
    r"|your (?:opinion|feelings?|favou?rite|name)|(?:can|do) you (?:see|hear|feel|browse|access"
    r"|remember|dream|sleep|eat|think|believe|have))\b",
    re.IGNORECASE,
)
_PEOPLE = re.compile(
    r"\b(?:repl(?:y|ies)|respond to|e-?mails?|letters?|customers?|dialogues?|conversations?|scenes?"
    r"|messages?|notes?|says?|line|quotes?)\b",
    re.IGNORECASE,
)
_LANGUAGES = re.compile(
    r"translat|german|spanish|french|chinese|mandarin|übersetz|tradu|翻译|翻譯", re.IGNORECASE
)
# What only an assistant says.
_OF_ASSISTANTS = re.compile(
    r"\b(?:(?:help|assist)(?: you)? with (?:that|this|your)\b|fulfil|comply|decline to answer"
    r"|(?:provide|answer|complete|generate|create|write|do) (?:that|this|such|your request)\b"
    r"|language model|\ban ai\b|programmed|guidelines)",
    re.IGNORECASE,
)


def build(*, max_words: int = 80) -> Filter:
    """Refusals and disclaimers.

    Evol-Instruct drops answers of fewer than 80 words with `sorry` in them (arXiv 2304.12244,
    section 3.2, rule 2). A dialogue says sorry too, so here the answer must begin by saying what it
    cannot or will not do for the one who asks, in English or in the usual words of German, Spanish,
    French or Chinese, or say that it is a model's; and the question must not be about that.

    Args:
        max_words: answers with at least as many words as this have said something beside.
    """
    if isinstance(max_words, bool) or not isinstance(max_words, int) or max_words < 1:
        raise DataError(f"filter 'refusals': max_words is {max_words!r}, expected a whole number.")

    def refusals(row: Candidate) -> str | None:
        if row.labels:
            return None
        for where, text in answers(row):
            kind, said = _found(text[:_HEAD].replace("’", "'"), row.question)
            if said and _words(text) < max_words:
                return f"{kind}: the {where} says '{' '.join(said.split())[:60]}'"
        return None

    return refusals


def _found(head: str, question: str) -> tuple[str, str]:
    """The kind and the words of a refusal, or empty."""
    if found := _SORRY.match(head) or _UNABLE.match(head) or _IMPROPER.match(head):
        # `help` may go on with `you with that`.
        of_assistants = _OF_ASSISTANTS.search(head[: found.end() + 30])
        hidden = _ABOUT_NO.search(question) or (
            not of_assistants and (_PEOPLE.search(question) or _ABOUT_MODELS.search(question))
        )
        return ("", "") if hidden else ("refusal", found.group())
    low = head.lower()
    if any(word in low for word in _MODEL_WORDS) and (found := _MODEL.search(head)):
        hidden = _ABOUT_NO.search(question) or _ABOUT_MODELS.search(question)
        return ("", "") if hidden else ("disclaimer", found.group())
    found = _FOREIGN.match(head) or (None if head.isascii() else _CHINESE.match(head))
    if found and not (_ABOUT_NO.search(question) or _LANGUAGES.search(question)):
        return "refusal", found.group()
    return "", ""


def _words(text: str) -> int:
    """Words of a text; of Chinese about as many."""
    count = len(text.split())
    return count if text.isascii() else max(count, _han(text) // _LETTERS_A_WORD)


def _han(text: str) -> int:
    return sum("\u4e00" <= c <= "\u9fff" for c in text)
