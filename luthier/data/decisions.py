"""What people decided about rows: a file of its own, one JSON object a line, the last word counts.

    {"id": "3f0c...", "decision": "drop", "note": "not a sentence", "where": "rows.csv:12",
     "when": "2026-01-31T10:00:00Z", "who": "ada"}

A row is named by its id, a hash of what it says in its source, so a decision holds wherever the row
stands and whatever is decided about others. Rows that say the same share a decision. `undo` takes
the last decision about a row back. Nothing is ever rewritten: a killed process can tear the last
line at most, and that was never acknowledged.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from luthier.artifacts import ReviewCounts
from luthier.errors import DataError, nearest
from luthier.example import content_id

FILE = "decisions.jsonl"
"""In a run folder, beside the stages' folders: a build replaces those."""
RUN = "run:"
"""`data.decisions: run:NAME` is the file of a run."""
Kind = Literal["keep", "edit", "drop", "skip"]
KINDS: tuple[Kind, ...] = get_args(Kind)
UNDO = "undo"
REVIEW = "review"
"""What rejects that a reviewer dropped are counted by."""
_NEVER_WAIVED = ("label outside the set",)
"""A label that is not scored cannot be kept; it can be edited."""
_ID = re.compile(r"[0-9a-f]{16}")
_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Edits:
    """New texts in place of a row's own; what is not named stays."""

    fields: Mapping[str, str] = field(default_factory=dict)
    """Columns of a row that a template puts into words."""
    turns: Mapping[int, str] = field(default_factory=dict)
    """Contents by place, of a row that is a conversation."""
    text: str | None = None
    """Of a row of plain text."""
    label: str | None = None
    """The gold label (classification)."""

    def __bool__(self) -> bool:
        return bool(self.fields or self.turns) or self.text is not None or self.label is not None

    def plain(self) -> dict[str, Any]:
        """As JSON."""
        found: dict[str, Any] = {}
        if self.fields:
            found["fields"] = dict(self.fields)
        if self.turns:
            found["turns"] = {str(place): text for place, text in self.turns.items()}
        if self.text is not None:
            found["text"] = self.text
        if self.label is not None:
            found["label"] = self.label
        return found

    @classmethod
    def of(cls, plain: Any) -> Edits:
        """From JSON.

        Raises:
            ValueError: it says something else.
        """
        if not isinstance(plain, dict):
            raise ValueError("'edits' must be an object")
        if extra := plain.keys() - {"fields", "turns", "text", "label"}:
            raise ValueError(f"'edits' has no key '{min(extra)}'")
        fields, turns = plain.get("fields", {}), plain.get("turns", {})
        for name, texts in (("fields", fields), ("turns", turns)):
            if not isinstance(texts, dict) or not all(isinstance(t, str) for t in texts.values()):
                raise ValueError(f"'{name}' must be an object of texts")
        if not all(place.isascii() and place.isdigit() for place in turns):
            raise ValueError("'turns' must have numbers as keys")
        for name in ("text", "label"):
            if not isinstance(plain.get(name), str | None):
                raise ValueError(f"'{name}' must be a text")
        numbered = {int(place): text for place, text in turns.items()}
        return cls(fields, numbered, plain.get("text"), plain.get("label"))

    def over(self, others: Edits) -> Edits:
        """Others with these on top."""
        return Edits(
            {**others.fields, **self.fields}, {**others.turns, **self.turns},
            others.text if self.text is None else self.text,
            others.label if self.label is None else self.label,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Decision:
    """What somebody decided about a row."""

    id: str
    decision: Kind
    edits: Edits = Edits()
    before: Edits = Edits()
    """What stood there, of everything that was edited."""
    note: str = ""
    in_spite_of: str | None = None
    """Of a row that a filter had left out: why. It is taken in although that filter says no."""
    where: str = ""
    """File and line as of then, for people."""
    when: str = ""
    """UTC, ISO 8601."""
    who: str = ""

    def plain(self) -> dict[str, Any]:
        """As JSON, without what it does not say."""
        found = {
            "id": self.id, "decision": self.decision, "edits": self.edits.plain(),
            "before": self.before.plain(), "note": self.note, "in_spite_of": self.in_spite_of,
            "where": self.where, "when": self.when, "who": self.who,
        }  # fmt: skip
        return {key: value for key, value in found.items() if value}

    @property
    def reason(self) -> str:
        """Why a dropped row is left out."""
        note = " ".join(self.note.split())
        return f"{REVIEW}: dropped" + (f" ({note})" if note else "")

    @property
    def rescues(self) -> bool:
        """Whether the row was left out by a filter, and is to be taken in all the same."""
        return self.in_spite_of is not None and self.decision in ("keep", "edit")

    def waives(self, reason: str) -> bool:
        """Whether a filter's reason does not count, because a person saw it and kept the row."""
        what = reason.partition(":")[0]
        return self.rescues and what == self.in_spite_of and what not in _NEVER_WAIVED


class Decisions:
    """All records of a file, taken in one by one."""

    def __init__(self, name: str = "") -> None:
        """Begin empty.

        Args:
            name: what the file is called in messages.
        """
        self.name = name
        self.records = 0
        """Lines of the file, undone ones and undos among them."""
        self.live: list[Decision] = []
        """Decisions that nobody took back, in order; more than one of a row where it changed."""
        self.originals: dict[str, Edits] = {}
        """What rows said before anybody edited them."""
        self.stated: dict[str, list[Decision]] = {}

    def of(self, id: str) -> Decision | None:
        """The last word about a row."""
        found = self.stated.get(id)
        return found[-1] if found else None

    def last_words(self) -> list[Decision]:
        """One decision a row."""
        return [found[-1] for found in self.stated.values() if found]

    def counts(self) -> dict[str, int]:
        """Rows per decision."""
        found = Counter(decision.decision for decision in self.last_words())
        return {kind: found[kind] for kind in KINDS}

    def add(self, decision: Decision) -> None:
        """Take a decision in."""
        self.records += 1
        self.live.append(decision)
        self.stated.setdefault(decision.id, []).append(decision)
        if decision.before:
            known = self.originals.get(decision.id, Edits())
            self.originals[decision.id] = known.over(decision.before)

    def undo(self, id: str) -> Decision:
        """Take the last decision about a row back; returns it.

        Raises:
            ValueError: there is none.
        """
        if not self.stated.get(id):
            raise ValueError(f"undoes a decision about {id}, and there is none")
        self.records += 1
        undone = self.stated[id].pop()
        # From the end: what is undone was said lately.
        place = next(n for n in reversed(range(len(self.live))) if self.live[n] is undone)
        del self.live[place]
        return undone

    def take(self, line: str) -> None:
        """Take a line of the file in.

        Raises:
            ValueError: it is no record.
        """
        plain = json.loads(line)
        if not isinstance(plain, dict):
            raise ValueError("expected an object")
        id, kind = plain.get("id"), plain.get("decision")
        if not isinstance(id, str) or not _ID.fullmatch(id):
            raise ValueError("'id' must be 16 hexadecimal digits")
        if kind == UNDO:
            self.undo(id)
            return
        if kind not in KINDS:
            known = [*KINDS, UNDO]
            raise ValueError(
                f"unknown decision {kind!r}.{nearest(str(kind), known)} Known: {', '.join(known)}"
            )
        said = {name: plain.get(name, "") for name in ("note", "where", "when", "who")}
        if not all(isinstance(text, str) for text in said.values()):
            raise ValueError("note, where, when and who must be texts")
        spite = plain.get("in_spite_of")
        if not isinstance(spite, str | None):
            raise ValueError("'in_spite_of' must be a text")
        edits, before = Edits.of(plain.get("edits", {})), Edits.of(plain.get("before", {}))
        if (kind == "edit") != bool(edits):
            raise ValueError("edits go with the decision 'edit', and it needs some")
        self.add(Decision(id, kind, edits, before, in_spite_of=spite, **said))


def read_decisions(path: Path, name: str | None = None) -> Decisions:
    """Read a file of decisions.

    A last line without an end that is no whole record was never acknowledged, and is passed over.

    Args:
        path: the file; DataError where it is not there.
        name: what it is called in messages; None: its path.

    Raises:
        DataError: lines that are no records, each with its number.
    """
    decisions = Decisions(name or str(path))
    problems = []
    try:
        with open(path, "rb") as file:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                try:
                    decisions.take(line.decode("utf-8"))
                except (ValueError, RecursionError) as error:
                    if line.endswith(b"\n"):
                        problems.append(f"  {decisions.name}:{number}: {_said(error)}")
    except FileNotFoundError:
        raise DataError(
            f"{decisions.name}: no such file of decisions. `luthier review` writes one."
        ) from None
    except OSError as error:
        raise DataError(f"{decisions.name}: cannot be read: {error.strerror}.") from None
    if problems:
        more = f"\n  and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        listed = "\n".join(problems[:_SHOWN])
        raise DataError(
            f"lines that are no decision:\n{listed}{more}\nCorrect them or leave them out; one is "
            'like {"id": "0123456789abcdef", "decision": "drop"}.'
        )
    return decisions


def _said(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"not JSON: {error.msg} (character {error.pos + 1})."
    if isinstance(error, UnicodeDecodeError):
        return f"not UTF-8 (byte {error.start})."
    return "nested too deeply." if isinstance(error, RecursionError) else f"{error}."


def copies_of(id: str, ids: Mapping[str, Any]) -> list[str]:
    """Ids among others of rows that say what a row says: repeated ones, in a file or by a mixture.

    Args:
        id: of the first of them.
        ids: all ids.
    """
    # How kept.py and build.py name them.
    found, again = [], 2
    while (name := content_id([id, again])) in ids:
        found.append(name)
        again += 1
    for one in [id, *found]:
        time = 1
        while (name := content_id([one, "again", time])) in ids:
            found.append(name)
            time += 1
    return found


# --- applying them -----------------------------------------------------------------------------


class Reviewed:
    """Decisions while a dataset is made by them: which rows they met, and what became of those."""

    def __init__(self, decisions: Decisions) -> None:
        """Begin, before the first row.

        Args:
            decisions: of the file.
        """
        self.decisions = decisions
        self._met: set[str] = set()
        self._rows: Counter[str] = Counter()
        self.left_out_again = 0
        """Rows that a person kept in spite of one filter, and something else left out."""

    def meet(self, id: str | None) -> None:
        """Count a row that has been read; None: it could not be shaped."""
        decision = None if id is None else self.decisions.of(id)
        self._rows[decision.decision if decision else "undecided"] += 1
        if decision is not None:
            self._met.add(decision.id)

    def unmatched(self) -> list[Decision]:
        """Decisions about rows that were not read."""
        return [d for d in self.decisions.last_words() if d.id not in self._met]

    def counts(self) -> ReviewCounts:
        """What the statistics of the dataset say of them."""
        words = self.decisions.last_words()
        return ReviewCounts(
            file=self.decisions.name,
            reviewers=sorted({d.who for d in words if d.who}),
            kept=self._rows["keep"], edited=self._rows["edit"], dropped=self._rows["drop"],
            skipped=self._rows["skip"], undecided=self._rows["undecided"],
            left_out_again=self.left_out_again, unmatched=len(self.unmatched()),
        )  # fmt: skip


def decisions_file(named: str, root: Path, runs: Path) -> Path:
    """The file that `data.decisions` names.

    Args:
        named: a path, or `run:NAME`.
        root: folder of the recipe, where relative paths start from.
        runs: where the runs are.

    Raises:
        DataError: `run:` without the name of a run.
    """
    if not named.startswith(RUN):
        return root / Path(named).expanduser()
    name = named.removeprefix(RUN).strip()
    if not name or "/" in name or name in (".", ".."):
        raise DataError(f"data.decisions: {named}: expected run:NAME, the name of a run.")
    return runs / name / FILE
