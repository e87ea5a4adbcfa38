"""Rows of which no token is trained, and whether template, mask or length is the cause."""

from __future__ import annotations

from luthier.data.candidate import Candidate
from luthier.data.linting.dataset_check import Context, DatasetCheck, Need
from luthier.data.linting.lint_report import LintFinding, Tally
from luthier.data.rows import Row
from luthier.errors import DataError

NEEDS: tuple[Need, ...] = ("model",)
_FIXES = {
    "template": "Complete the row, or use a template that fits it (data.template); the model's own "
    "chat template may refuse its order of turns.",
    "mask": "Give the last answer a weight, or train more of the row (train.train_on).",
    "length": "Shorten the question, or raise train.max_seq_length: what is trained lies behind "
    "the cut.",
}


def build(context: Context) -> DatasetCheck:
    """Trained tokens that are left when a row is cut to `train.max_seq_length`.

    `template`: the chat template refuses the row, or the answer it leaves is only a stop token.
    `mask`: the row has an answer, and weights or `train.train_on` leave it out. `length`: all that
    would be trained lies behind the cut.
    """
    return _ZeroTrainedTokens(context)


class _ZeroTrainedTokens:
    def __init__(self, context: Context) -> None:
        self.limit = min(
            (n for n in (context.max_seq_length, context.positions) if n is not None),
            default=None,
        )
        self.causes = {
            cause: Tally("zero_trained_tokens", f"nothing trained, by {cause}", "error", fix)
            for cause, fix in _FIXES.items()
        }

    def see(self, row: Candidate, raw: Row) -> None:
        example = row.example
        try:
            trained = row.rendered.trained
        except DataError as error:
            said = str(error).removeprefix(f"{example.origin}: ")
            self.causes["template"].add(example.origin, said)
            return
        if example.messages and not row.answer.strip():
            # What was empty before any template is the filter `empty`'s.
            if example.template is None or (
                example.label is not None and not example.label.strip()
            ):
                return
            self.causes["template"].add(example.origin, "the answer is empty once it is rendered")
        elif not any(trained):
            self.causes["mask"].add(example.origin, "every token is masked")
        elif self.limit is not None and not any(trained[: self.limit]):
            first = trained.index(True) + 1
            said = f"the first trained token is number {first:,}, the limit is {self.limit:,}"
            self.causes["length"].add(example.origin, said)

    def findings(self) -> list[LintFinding]:
        return [
            tally.finding(f"No token is trained in {tally.count:,} of the rows; cause: {cause}.")
            for cause, tally in self.causes.items()
            if tally.count
        ]
