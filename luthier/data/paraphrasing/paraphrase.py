"""The job of `luthier paraphrase`: a set of templates -> a larger set, with lineage.

Varied wordings of the same instruction make a model that follows other wordings too (FLAN, arXiv
2301.13688, section 3.2). A rewording is kept if every rule of `same_template.py` holds, no other is
nearly the same, and the model, asked twice with the two in either order, says that both ask for the
same thing.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, Field
from ruamel.yaml import YAML

from luthier.atomic import atomic_write
from luthier.console import progress, say, table
from luthier.data.novelty import NoveltyPool
from luthier.data.paraphrasing.same_template import difference
from luthier.data.templating.template import Template
from luthier.data.templating.template_sets import load_templates
from luthier.errors import CheckFailed, DataError
from luthier.example import Message
from luthier.inference.call_log import CallLog
from luthier.inference.config import LlmSection
from luthier.inference.request import Completion, Request
from luthier.inference.session import Session, asking
from luthier.inference.structured import ask_for
from luthier.run import RUNS

STYLES = (
    "as a short, plain request", "as a question", "politely, in two sentences",
    "in a matter-of-fact tone, the data first and the request last",
    "with the request first and the data last", "with a heading for each part",
    "as somebody would say it to a colleague", "formally",
)  # fmt: skip
"""Ways to word a template, asked for in turn, so that the rewordings differ."""
TRIES = 3
"""Requests per rewording that is wanted, at most."""
TOO_SIMILAR = 0.9
"""ROUGE-L with another wording from which it adds nothing."""
_MAX_TOKENS = 400


class Same(BaseModel):
    """What the model says of two templates."""

    reason: str = Field(max_length=400)
    same: bool


class _Reworded(NamedTuple):
    original: Template
    text: str
    reason: str | None
    calls: list[Completion]


class Paraphrased(BaseModel):
    """What came of it."""

    out: str
    templates: int
    """Originals that could be reworded."""
    kept: int
    left_out: dict[str, int]
    """Rewordings per reason."""
    skipped: list[str]
    """Originals that cannot be reworded, with the reason."""
    short_of: list[str]
    """Originals with fewer rewordings than were asked for."""


def paraphrase(
    name: str,
    section: LlmSection,
    *,
    per_template: int = 3,
    out: Path | None = None,
    check_meaning: bool = True,
    seed: int = 42,
    runs: Path = RUNS,
) -> Paraphrased:
    """Reword templates, and write them with their originals as a set.

    Args:
        name: a template or set as in a recipe: packaged, or a file of one's own.
        section: the model that rewords.
        per_template: rewordings wanted of each template.
        out: the file; None: `NAME.paraphrased.yaml` here.
        check_meaning: ask the model whether the meaning stayed.
        seed: of the sampling.
        runs: where trained runs are found.

    Raises:
        DataError: no such templates, or none that can be reworded.
        CheckFailed: no rewording could be kept.
    """
    templates = load_templates(name, Path())
    fit = [t for t in templates if t.dialect == "fields" and t.super_ni is None]
    skipped = [f"{t.name}: written in Jinja" if t.dialect == "jinja" else
               f"{t.name}: laid out by super_ni" for t in templates if t not in fit]  # fmt: skip
    if not fit:
        raise DataError(
            f"template '{name}': none of it can be reworded ({skipped[0]}); texts with {{field}} "
            "can."
        )
    out = out or Path(f"{Path(name.partition('#')[0]).stem}.paraphrased.yaml")
    with CallLog(out.with_suffix(".calls.jsonl")) as log:
        session = Session(section, log, runs=runs)
        kept, reasons = asyncio.run(_all(session, fit, per_template, check_meaning, seed))
    if not kept:
        told = ", ".join(f"{what} ({n})" for what, n in reasons.most_common())
        raise CheckFailed(f"template '{name}': no rewording could be kept: {told}.")
    _save(out, fit, kept, str(session.model["model"]))
    counts = Counter(one.original.name for one in kept)
    return Paraphrased(
        out=str(out), templates=len(fit), kept=len(kept), left_out=dict(reasons.most_common()),
        skipped=skipped,
        short_of=[f"{t.name}: {counts[t.name]} of {per_template}" for t in fit
                  if counts[t.name] < per_template],
    )  # fmt: skip


def print_paraphrased(found: Paraphrased) -> None:
    """Show what came of it."""
    lines = [["kept", f"{found.kept:,}"]]
    lines += [[f"left out: {what}", f"{n:,}"] for what, n in found.left_out.items()]
    table(f"rewordings of {found.templates} templates", ["what", "templates"], lines)
    for line in (*found.skipped, *found.short_of):
        say(line, style="yellow")
    say(f"written: {found.out}; use it as data.template")


async def _all(
    session: Session, templates: Sequence[Template], wanted: int, check: bool, seed: int
) -> tuple[list[_Reworded], Counter[str]]:
    """Ask for as many rewordings as are lacking, until none is, or no more is to be tried."""
    sieve = _Sieve(templates)
    asked: Counter[str] = Counter()
    with progress("Rewording", None, "requests") as advance:

        async def one(template: Template, number: int) -> _Reworded:
            found = await _reworded(session, template, number, check, seed)
            note = f"kept {len(sieve.kept)} of {len(templates) * wanted}"
            advance(1, note, asked.total(), True)
            return found

        async with asking(session):
            while True:
                jobs = []
                for template in templates:
                    before = asked[template.name]
                    lacking = wanted - sieve.counts[template.name]
                    numbers = range(before, min(before + lacking, wanted * TRIES))
                    asked[template.name] += len(numbers)
                    jobs += [one(template, number) for number in numbers]
                if not jobs:
                    return sieve.kept, sieve.reasons
                for found in await asyncio.gather(*jobs):
                    sieve.take(found)


async def _reworded(
    session: Session, template: Template, number: int, check: bool, seed: int
) -> _Reworded:
    # By its words, so that a file that was moved is reworded as before.
    digest = hashlib.sha256(f"{seed}/{template.prompt_text}/{number}".encode()).digest()
    request = Request(
        messages=_to_reword(template.prompt_text, STYLES[number % len(STYLES)]),
        max_tokens=_MAX_TOKENS, temperature=1.0, top_p=0.95,
        seed=int.from_bytes(digest[:4], "big") // 2,
    )  # fmt: skip
    completion = await session.ask(request)
    text, calls = _unwrapped(completion.text), [completion]
    reason = difference(template, text)
    if completion.unfit is not None:
        reason = f"unfit: {completion.unfit}"
    elif completion.finish_reason == "length":
        reason = f"cut off: longer than {_MAX_TOKENS} tokens"
    elif not text:
        reason = "empty: nothing was written"
    elif _folded(text) == _folded(template.prompt_text):
        reason = "unchanged: word for word the original"
    if reason is None and check:
        for first, second in ((template.prompt_text, text), (text, template.prompt_text)):
            said, asked = await ask_for(session, _to_compare(first, second), Same)
            calls += asked
            if said is None or not said.same:
                why = said.reason if said else "no answer could be read"
                reason = f"meaning: {why}"
                break
    return _Reworded(template, text, reason, calls)


class _Sieve:
    """Keeps rewordings that are good, and not nearly another's."""

    def __init__(self, templates: Sequence[Template]) -> None:
        self.kept: list[_Reworded] = []
        self.counts: Counter[str] = Counter()
        """Kept, by the name of the original."""
        self.reasons: Counter[str] = Counter()
        self._pool = NoveltyPool(threshold=TOO_SIMILAR, unicode=True)
        for template in templates:
            self._pool.add(self._pool.read(template.prompt_text))

    def take(self, one: _Reworded) -> None:
        if one.reason is not None:
            self.reasons[one.reason.partition(":")[0]] += 1
        elif self._pool.closest(words := self._pool.read(one.text)) is not None:
            self.reasons["too similar"] += 1
        else:
            self._pool.add(words)
            self.counts[one.original.name] += 1
            self.kept.append(one)


def _save(out: Path, originals: Sequence[Template], kept: Sequence[_Reworded], model: str) -> None:
    members: dict[str, Any] = {}
    taken: set[str] = set()
    # All of the originals before the first rewording, which may be called as one of them.
    names = [_free(t.name.replace("/", "_").replace("#", "_"), taken) for t in originals]
    for own, template in zip(names, originals, strict=True):
        members[own] = _member(template, template.prompt_text)
        for one in (one for one in kept if one.original is template):
            lineage = {
                "reworded_from": template.name, "generator": one.calls[0].model or model,
                "calls": [c.key for c in one.calls],
            }  # fmt: skip
            members[_free(f"{own}_1", taken)] = _member(template, one.text) | {"lineage": lineage}
    tree = {"description": originals[0].description, "templates": members}
    with atomic_write(out) as file:
        yaml = YAML(typ="safe", pure=True)
        yaml.default_flow_style, yaml.width, yaml.allow_unicode = False, 10_000, True
        yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
        yaml.dump(tree, file)


def _free(name: str, taken: set[str]) -> str:
    """A name that is not taken yet: this one, or with the next number that is free behind it."""
    stem, _, number = name.rpartition("_")
    if not stem or not number.isdigit():
        stem, number = name, "0"
    found, count = name, int(number)
    while found in taken:
        count += 1
        found = f"{stem}_{count}"
    taken.add(found)
    return found


def _member(template: Template, text: str) -> dict[str, Any]:
    member: dict[str, Any] = {}
    constants = template.constants
    if template.system is not None:
        member["system"] = _inserted(template.system, constants)
    if template.inverted:
        member["inverted"] = True
    return member | {
        "input": _inserted(text, constants),
        "target": _inserted(template.completion_text, constants),
    }


def _inserted(text: str, constants: Any) -> str:
    """A text with the constants of its template put in, since sets have none of their own."""
    for name, value in constants.items():
        text = text.replace(f"{{{name}}}", value)
    return text


def _to_reword(text: str, style: str) -> tuple[Message, ...]:
    system = (
        "You reword prompt templates. Words in braces, such as {text}, are filled in later: keep "
        "every one of them, spelt the same and as often as it is there. Ask for exactly the same "
        "thing, add nothing, and leave words in quotation marks and numbers as they are. Reply "
        "with the reworded template and nothing else."
    )
    return (Message("system", system), Message("user", f"Reword it {style}:\n\n{text}"))


def _to_compare(first: str, second: str) -> Request:
    system = (
        "You compare two prompt templates. They are the same if whoever follows one would give "
        'just the answer that the other asks for. Reply with JSON: {"reason": "one sentence", '
        '"same": true or false}'
    )
    said = f"### First\n{first}\n\n### Second\n{second}"
    messages = (Message("system", system), Message("user", said))
    return Request(messages=messages, max_tokens=150, temperature=0.0, seed=0)


def _unwrapped(text: str) -> str:
    """A template without the fence or quotes that a model puts around it."""
    text = text.strip()
    if text.startswith("```") and text.endswith("```") and "\n" in text:
        text = text.partition("\n")[2][:-3].strip()
    if len(text) > 1 and text[0] == text[-1] == '"' and '"' not in text[1:-1]:
        text = text[1:-1].strip()
    return text


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())
