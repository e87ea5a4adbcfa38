"""A review as the page sees it: views of rows, one row, decisions, undo, progress.

Everything is JSON. Calls come from several threads of the server, which take turns (`turn`).
"""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, cast

from luthier.data.decisions import KINDS, Decision, Edits, Kind
from luthier.errors import DataError, LuthierError
from luthier.example import SPLITS, Example
from luthier.reviewing.dataset import Dataset
from luthier.reviewing.findings import Findings
from luthier.reviewing.journal import Journal
from luthier.reviewing.query import Query
from luthier.reviewing.row_view import changed, editable, original_of, shown
from luthier.reviewing.rows import LEFT_OUT

STATES = ("undecided", *KINDS, "unreadable")
"""The last: rows that have no id, and nothing to be decided about."""
_VIEWS = 16
"""Views that are remembered: one that was left long ago is made again."""
_PACE = 50
"""Decisions over which the pace is taken."""
_PAUSE = 60.0
"""Seconds after which somebody is taken to have done something else in between."""
MOST_NOTE = 2000
MOST_EDIT = 1_000_000
"""Characters of a note, and of an edited text."""


class Refused(LuthierError):
    """Something that the page asked for and cannot have; says why."""


class Session:
    """One review of one dataset.

    Args:
        dataset: what is reviewed.
        journal: where decisions go.
        reviewer: who decides; empty: nobody says.
        findings: of lint, filled in meanwhile.
    """

    def __init__(
        self, dataset: Dataset, journal: Journal, *, reviewer: str, findings: Findings
    ) -> None:
        self.dataset, self.journal = dataset, journal
        self.reviewer, self.findings = reviewer, findings
        self.turn = threading.Lock()
        """Held by whoever calls: one at a time."""
        self._rows = dataset.rows
        self.states = bytearray(len(self._rows))
        """Per row a place in `STATES`."""
        for index, id in enumerate(self._rows.ids):
            if not id:
                self.states[index] = len(STATES) - 1
        for decision in journal.decisions.last_words():
            self._mark(decision.id)
        self._found: dict[int, list[tuple[str, str, str]]] = {}
        self._views: OrderedDict[int, list[int]] = OrderedDict()
        self._numbers: dict[str, Any] = {}
        self._next_view = 1
        self._times: deque[float] = deque(maxlen=_PACE)

    # --- what the page asks for ---------------------------------------------------------------

    def start(self) -> dict[str, Any]:
        """All that does not change while somebody reviews."""
        lost = [d for d in self.journal.decisions.last_words() if d.id not in self._rows.by_id]
        run = self.dataset.subject.run
        return {
            "name": self.dataset.subject.name,
            "kind": self.dataset.kind,
            "labels": self.dataset.labels,
            "decisions": str(self.journal.path),
            "apply": "data.decisions: "
            + (f"run:{run.name}" if run is not None else str(self.journal.path)),
            "reviewer": self.reviewer,
            "notes": self.dataset.notes,
            "unmatched": len(lost),
            "numbers": self._rows.number_columns(),
            "facets": self.facets(),
            "progress": self.progress(),
        }

    def facets(self) -> dict[str, Any]:
        """What rows can be filtered by, each with its number of rows."""
        rows = self._rows
        states = Counter(self.states)
        kinds = Counter(kind for found in self._found.values() for kind in {f[:2] for f in found})
        splits = Counter(rows.split)
        return {
            "state": [[name, states[n]] for n, name in enumerate(STATES)],
            "label": _counted(rows.labels.names, Counter(rows.label)),
            "source": _counted(rows.sources.names, Counter(rows.source)),
            "split": [
                [name, splits[n]]
                for n, name in [*enumerate(SPLITS), (-1, LEFT_OUT)]
                if splits[n] and (n >= 0 or rows.rejects is not None)
            ],
            "reason": _counted(rows.reasons.names, Counter(rows.reason)),
            "finding": [
                [f"{check}: {what}", n, self.findings.kinds.get((check, what), "warning")]
                for (check, what), n in kinds.most_common()
            ],
            "lint": {"state": self.findings.state, "why": self.findings.why},
        }  # fmt: skip

    def view(self, query: Query) -> dict[str, Any]:
        """The rows that a query asks for; they stay in it while they are decided about."""
        rows = self._rows
        among = query.narrowed(rows, self.states, self._found, self._number_column)
        number = self._next_view
        self._next_view += 1
        self._views[number] = among
        if len(self._views) > _VIEWS:
            self._views.popitem(last=False)
        undecided = next((at for at, index in enumerate(among) if not self.states[index]), None)
        return {"view": number, "total": len(among), "at": undecided, "progress": self.progress()}

    def _number_column(self, name: str) -> Any:
        if name not in self._rows.number_columns():
            raise Refused(f"no column of numbers '{name}'.")
        if name not in self._numbers:
            self._numbers[name] = self._rows.numbers(name)
        return self._numbers[name]

    def row(self, view: int, at: int) -> dict[str, Any]:
        """One row of a view with all that is known of it."""
        index = self._index(view, at)
        row = self._rows[index]
        known = self._known(row.example.id)
        found = shown(row, self._current(row.example), known, self.dataset)
        return found | {
            "at": at,
            "state": STATES[self.states[index]],
            "decision": self._decision(row.example.id),
            "findings": [
                {"check": check, "what": what, "said": said,
                 "severity": self.findings.kinds.get((check, what), "warning")}
                for check, what, said in self._found.get(index, ())
            ],
            "lint": self.findings.state,
        }  # fmt: skip

    def decide(self, view: int, at: int, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Write a decision down; it is on the disk when this returns."""
        index = self._index(view, at)
        row = self._rows[index]
        example = row.example
        kind, note = asked.get("decision"), asked.get("note", "")
        if asked.get("id") != example.id or not row.known:
            raise Refused("this row cannot be decided about; correct it in its file.")
        if kind not in KINDS:
            raise Refused(f"no such decision: {kind!r}")
        if not isinstance(note, str) or len(note) > MOST_NOTE:
            raise Refused(f"a note is a text of at most {MOST_NOTE:,} characters.")
        before = self.journal.decisions.of(example.id)
        edits = before.edits if before is not None else Edits()
        if (values := asked.get("values")) is not None:
            edits = self._edits(example, values)
        if kind in ("keep", "edit"):
            # A row that was edited is kept as edited, and one edited back is kept.
            kind = "edit" if edits else "keep"
        else:
            edits = Edits()
        if edits:
            self._require_renders(example, edits)
        # Once it is taken in, the row no longer says what it was left out for.
        spite = row.reason.partition(":")[0] or (before.in_spite_of if before else None)
        original = original_of(example, self._known(example.id), self.dataset)
        decision = Decision(
            example.id, cast(Kind, kind), edits,
            Edits(
                {name: original[f"field:{name}"] for name in edits.fields},
                {place: original[f"turn:{place}"] for place in edits.turns},
                None if edits.text is None else original["text"],
                None if edits.label is None else original["label"],
            ),
            note=note.strip(),
            in_spite_of=spite, where=self._rows.where(index), when=_now(), who=self.reviewer,
        )  # fmt: skip
        self.journal.append(decision)
        self._mark(example.id)
        self._times.append(time.monotonic())
        return {"state": STATES[self.states[index]], "progress": self.progress()}

    def undo(self, view: int) -> dict[str, Any]:
        """Take the last decision back, of whatever session."""
        undone = self.journal.undo(_now(), self.reviewer)
        if undone is None:
            return {"undone": None, "progress": self.progress()}
        self._mark(undone.id)
        if self._times:
            self._times.pop()
        indexes = self._rows.by_id.get(undone.id, [])
        among = self._views.get(view, [])
        at = next((at for at, index in enumerate(among) if index in indexes), None)
        return {
            "undone": undone.decision, "where": undone.where, "at": at,
            "progress": self.progress(),
        }  # fmt: skip

    def next_undecided(self, view: int, at: int) -> dict[str, Any]:
        """Where in a view the next row is that nobody decided about."""
        among = self._views.get(view, [])
        after = range(at + 1, len(among))
        return {"at": next((n for n in after if not self.states[among[n]]), None)}

    def progress(self) -> dict[str, Any]:
        """How far the review is."""
        states = Counter(self.states)
        pace = None
        if len(self._times) > 2:
            times = list(self._times)
            gaps = [min(b - a, _PAUSE) for a, b in itertools.pairwise(times)]
            pace = round(60 * len(gaps) / max(sum(gaps), 1e-3), 1)
        return {
            "rows": len(self._rows) - states[len(STATES) - 1],
            "pace": pace, "lint": self.findings.state,
            **{name: states[n] for n, name in enumerate(STATES)},
        }  # fmt: skip

    def lint_is_done(self) -> None:
        """Attach what lint found to the rows; takes its turn by itself."""
        with self.turn:
            self._attach()

    def _attach(self) -> None:
        at: dict[str, list[int]] = {}
        if self.findings.rows:
            for index in range(len(self._rows)):
                at.setdefault(self._rows.where(index), []).append(index)
        for where, found in self.findings.rows.items():
            for index in at.get(where, ()):
                self._found[index] = found

    # --- inside -------------------------------------------------------------------------------

    def _index(self, view: int, at: int) -> int:
        among = self._views.get(view)
        if among is None:
            raise Refused("this view is no longer known; choose the filters again.")
        if not 0 <= at < len(among):
            raise Refused(f"there is no row {at + 1} in this view.")
        return among[at]

    def _mark(self, id: str) -> None:
        decision = self.journal.decisions.of(id)
        state = 0 if decision is None else STATES.index(decision.decision)
        for index in self._rows.by_id.get(id, ()):
            self.states[index] = state

    def _known(self, id: str) -> Edits:
        """What a row said before anybody edited it, as far as the file of decisions knows."""
        return self.journal.decisions.originals.get(id, Edits())

    def _current(self, example: Example) -> Edits:
        """What is to be said in place of what the data says, which may be edits of before."""
        decision = self.journal.decisions.of(example.id)
        edits = decision.edits if decision is not None else Edits()
        return edits.over(self._known(example.id))

    def _decision(self, id: str) -> dict[str, Any] | None:
        decision = self.journal.decisions.of(id)
        return None if decision is None else decision.plain()

    def _edits(self, example: Example, values: Any) -> Edits:
        if not isinstance(values, dict):
            raise Refused("'values' must be an object.")
        allowed = {one["key"] for one in editable(example, self.dataset)}
        for key, value in values.items():
            if key not in allowed:
                raise Refused(f"'{key}' cannot be edited in this row.")
            if not isinstance(value, str) or len(value) > MOST_EDIT:
                raise Refused(f"'{key}': expected a text of at most {MOST_EDIT:,} characters.")
            if key == "label" and value not in self.dataset.labels:
                listed = ", ".join(self.dataset.labels)
                raise Refused(f"'{value}' is none of the labels: {listed}.")
        return changed(original_of(example, self._known(example.id), self.dataset), values)

    def _require_renders(self, example: Example, edits: Edits) -> None:
        try:
            self.dataset.shape.with_edits(example, edits.over(self._known(example.id)))
        except DataError as error:
            raise Refused(f"a build could not use that: {error}") from None


def _counted(names: list[str], counts: Counter[int]) -> list[list[Any]]:
    return sorted(
        ([name, counts[n]] for n, name in enumerate(names) if counts[n]), key=lambda one: -one[1]
    )


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
