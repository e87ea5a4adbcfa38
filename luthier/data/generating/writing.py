"""`Writing`: what a method of writing rows works with.

It asks the model, keeps rows and what was left out with its reason, and draws at random in a way
that depends on the seed and on what is drawn for, never on the order of events.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from luthier.example import content_id
from luthier.inference.request import Completion, Request
from luthier.inference.session import Session
from luthier.inference.window import in_order

Found = TypeVar("Found")


@dataclass
class Writing:
    """The model, the chance, and the place for rows of one source that is written.

    A method calls `ask`, `in_order`, `keep` and `leave_out`; rows are kept in the order of the
    calls, so a method makes them where results are taken in order.
    """

    session: Session
    seed: int
    window: int
    """Jobs begun at once."""
    method: str
    """Name of the method's file."""
    labels: Sequence[str] = ()
    """The closed label set of a classification task."""
    root: Path = Path()
    """Folder of the recipe."""
    show: Callable[[Writing, int], None] = lambda writing, kept: None
    """Shows progress; told how many rows came just now."""
    heard: Callable[[Request, Completion], None] = lambda request, completion: None
    """Told of every answer; raises a DataError for one that may not be used."""
    rows: list[dict[str, Any]] = field(default_factory=list)
    """Kept rows, as they will be written."""
    left_out: list[dict[str, Any]] = field(default_factory=list)
    """What was not kept, each with its `reason`."""
    reasons: Counter[str] = field(default_factory=Counter)
    """How often each reason was given, by what stands before its first colon."""
    notes: list[str] = field(default_factory=list)
    """What the method wants said in the summary: why it stopped, what it could not do."""
    live: str = ""
    """Shown below the progress bar: how full each kind is, how far the method has got."""
    wanted: int = 0
    """Rows that are to be written, for the progress bar; 0: no number is asked for."""
    expected: float = 0.0
    """Where none is: rows that there will be, by what came so far; 0: nobody knows yet."""

    async def ask(self, request: Request) -> Completion:
        """The model's answer; see `Session.ask`."""
        completion = await self.session.ask(request)
        self.heard(request, completion)
        self.show(self, 0)
        return completion

    async def in_order(
        self,
        propose: Callable[[], Coroutine[Any, Any, Found] | None],
        take: Callable[[Found], Any],
        *,
        finished: Callable[[], bool] = lambda: False,
    ) -> None:
        """Jobs whose results are taken in order; see `inference/window.py`."""
        purse = self.session.purse
        await in_order(propose, take, window=self.window, finished=finished, purse=purse)

    def random(self, *of: Any) -> random.Random:
        """Chance for one purpose: the same for the same seed and purpose.

        Args:
            of: what it is for, e.g. ("demonstrations", 17).
        """
        name = json.dumps([self.seed, self.method, *map(str, of)]).encode()
        return random.Random(hashlib.sha256(name).digest())

    def number(self, *of: Any) -> int:
        """A seed for a request, by its purpose."""
        return self.random(*of).randrange(2**31)

    def keep(
        self,
        fields: Mapping[str, Any],
        calls: Sequence[Completion],
        *,
        parents: Sequence[str] = (),
    ) -> str:
        """Keep a row.

        Args:
            fields: its columns, as the method's `FORMAT` reads them, and whatever else is known.
            calls: the completions that it was made of, first to last.
            parents: ids of the rows that it was made from.

        Returns:
            The row's id, for rows that are made from it.
        """
        row = self._with_lineage(fields, calls, parents)
        self.rows.append(row)
        self.show(self, 1)
        return str(row["id"])

    def leave_out(
        self,
        reason: str,
        fields: Mapping[str, Any],
        calls: Sequence[Completion] = (),
        *,
        parents: Sequence[str] = (),
    ) -> None:
        """Leave something out that the model wrote.

        Args:
            reason: `rule: details`; what stands before the colon is counted.
            fields: what it would have been.
            calls: the completions it was made of.
            parents: ids of the rows that it was made from.
        """
        self.left_out.append({"reason": reason, **self._with_lineage(fields, calls, parents)})
        self.reasons[reason.partition(":")[0]] += 1
        self.show(self, 0)

    def _with_lineage(
        self, fields: Mapping[str, Any], calls: Sequence[Completion], parents: Sequence[str]
    ) -> dict[str, Any]:
        """A row with where it came from: method, model as it calls itself, calls, parents."""
        models = list(dict.fromkeys(c.model for c in calls))
        lineage: dict[str, Any] = {
            "id": content_id(fields.values()),
            "method": self.method,
            "generator": " + ".join(models) or str(self.session.model.get("model")),
            # The key of a call is the hash of its prompt, its parameters and the model.
            "calls": [c.key for c in calls],
        }
        if parents:
            lineage["parents"] = list(parents)
        return {**fields, **{k: v for k, v in lineage.items() if k not in fields}}


Write = Callable[[Writing], Awaitable[None]]
"""What a method's `build` returns."""
