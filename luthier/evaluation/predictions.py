"""predictions.csv: every test row with what each system answered."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence

from luthier.evaluation.asking import input_text
from luthier.evaluation.outcome import Answers, Choices, Outcome
from luthier.example import Example


def predictions_csv(
    examples: Sequence[Example],
    outcomes: Mapping[str, Outcome],
    *,
    temperature: float = 1.0,
    slice_by: str | None = None,
    slice_field: str | None = None,
) -> str:
    """The table as text.

    Columns: id, origin, the slice column (`NAME_column` where the table has a NAME of its own),
    input, gold, predicted, then for labels confidence and
    p:LABEL (calibrated), for free text log_likelihood and tokens of the reference, then one
    column per baseline with its answer.

    Args:
        examples: the test rows.
        outcomes: the tuned model first, then the baselines, by name.
        temperature: divides the tuned model's scores.
        slice_by: a column of the data to take along.
        slice_field: the field of the rows that holds it; None: the one of its name.
    """
    (_, tuned), *others = outcomes.items()
    origins = {"id": [e.id for e in examples], "origin": [str(e.origin) for e in examples]}
    answers: dict[str, Sequence[object]] = {"input": [input_text(e) for e in examples]}
    answers |= _answers(tuned, temperature)
    answers |= {name: said for name, outcome in others if (said := _said(outcome)) is not None}
    slices: dict[str, Sequence[object]] = {}
    if slice_by:
        name = slice_by
        while name in origins or name in answers:
            name += "_column"
        slices[name] = [e.fields.get(slice_field or slice_by, "") for e in examples]
    columns = {**origins, **slices, **answers}
    file = io.StringIO()
    # CRLF, the module's own choice: with it, a lone CR or LF in a cell gets its quotes.
    writer = csv.writer(file)
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return file.getvalue()


def _answers(tuned: Outcome, temperature: float) -> dict[str, Sequence[object]]:
    if isinstance(tuned, Choices):
        p = tuned.probabilities(temperature)
        return {
            "gold": [tuned.labels[g] for g in tuned.gold],
            "predicted": [tuned.labels[i] for i in tuned.predicted],
            "confidence": [f"{value:.6f}" for value in p.max(axis=1)],
            **{
                f"p:{label}": [f"{value:.6f}" for value in p[:, i]]
                for i, label in enumerate(tuned.labels)
            },
        }
    columns: dict[str, Sequence[object]] = {"gold": tuned.references}
    if tuned.answers is not None:
        columns["predicted"] = tuned.answers
    columns["log_likelihood"] = [f"{value:.4f}" for value in tuned.log_likelihood]
    columns["tokens"] = [int(count) for count in tuned.tokens]
    return columns


def _said(outcome: Outcome) -> list[str] | None:
    if isinstance(outcome, Answers):
        return outcome.answers
    return [outcome.labels[i] for i in outcome.predicted]
