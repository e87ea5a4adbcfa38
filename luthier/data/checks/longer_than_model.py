"""Rows with more tokens than training takes, or than the model can read."""

from __future__ import annotations

from luthier.data.candidate import Candidate
from luthier.data.linting.dataset_check import Context, DatasetCheck, Need
from luthier.data.linting.lint_report import LintFinding, Tally
from luthier.data.rows import Row
from luthier.errors import DataError

NEEDS: tuple[Need, ...] = ("model",)


def build(context: Context) -> DatasetCheck:
    """Tokens of the rendered row against `train.max_seq_length` and the model's positions.

    Where nothing that is trained fits in, `zero_trained_tokens` names the row instead.
    """
    return _LongerThanModel(context)


class _LongerThanModel:
    def __init__(self, context: Context) -> None:
        self.positions, self.limit = context.positions, context.max_seq_length
        self.least = min((n for n in (self.positions, self.limit) if n is not None), default=None)
        self.beyond = Tally(
            "longer_than_model", "longer than the model", "error",
            "Shorten or split the row: positions beyond these were never trained.",
        )  # fmt: skip
        self.left_out = Tally(
            "longer_than_model", "longer than max_seq_length", "warning",
            "Shorten or split the row, or raise train.max_seq_length; a build leaves it out.",
        )  # fmt: skip

    def see(self, row: Candidate, raw: Row) -> None:
        try:
            tokens, trained = len(row.rendered.input_ids), row.rendered.trained
        except DataError:  # `zero_trained_tokens` says so
            return
        if not any(trained[: self.least]):  # and so it does here
            return
        said = f"{tokens:,} tokens"
        if self.positions is not None and tokens > self.positions:
            self.beyond.add(row.example.origin, said)
        elif self.limit is not None and tokens > self.limit:
            self.left_out.add(row.example.origin, said)

    def findings(self) -> list[LintFinding]:
        limits = {self.beyond: self.positions, self.left_out: self.limit}
        return [
            tally.finding(
                f"{tally.what}, {limit:,} tokens: {tally.count:,} of the rows.".capitalize()
            )
            for tally, limit in limits.items()
            if tally.count
        ]
