"""P3 and T0: rendered prompts and completions, with answer choices where there are some."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import IO, Any

from luthier.data.config import SourceConfig
from luthier.data.importing import outgoing
from luthier.data.importing.conversation import Unfit
from luthier.data.importing.instructions import (
    ANSWERS,
    SIDES,
    SYSTEM,
    each,
    exchange,
    lacking,
    named,
    over,
    require_choice,
    require_side,
    text_of,
    truth,
)
from luthier.data.importing.sample import Sample, has_system
from luthier.data.rows import Reject, Row, Table

END = "<|endoftext|>"
ALSO_READS = ("flan",)
"""Formats in whose records its rows are published, too."""
_PAIRS = (
    ("prompt", "completion"), ("inputs_pretokenized", "targets_pretokenized"),
    ("inputs", "targets"),
)  # fmt: skip
EXAMPLE: dict[str, Any] = {"prompt": "Is grass green?\n", "completion": f"Yes.{END}"}
"""A record of this format."""


def rows(
    table: Table, source: SourceConfig, *, answers: str = "required", side: str = "chosen"
) -> Iterator[Row | Reject]:
    """Rows as they were rendered, but for the mark `<|endoftext|>` at the end of completions.

    The tokenizer of the model puts its own mark there. The columns stay in `fields` as they are,
    `answer_choices` among them; an `input` or `output` of their own becomes `input_column` or
    `output_column`. Of several pairs of columns the first that has both is read. The tasks called
    `..._score_eval` have a row for every answer that could be given, and `is_correct`, which is
    false of the wrong ones.

    Args:
        table: the opened file.
        source: what the recipe says of it.
        answers: `required` rejects rows without completion; `optional` keeps them without it.
        side: of rows with `is_correct`, `chosen` takes the right answers, `rejected` the wrong
            ones, `both` all.
    """
    require_choice("p3", "answers", answers, ANSWERS)
    require_choice("p3", "side", side, SIDES)
    return each(table, lambda row: _row(row, answers, side))


def _row(row: Row, answers: str, side: str) -> Row:
    right = row.fields.get("is_correct")
    right = right == 1 if right in (0, 1) else truth(right)  # some tables have no true and false
    if right is not None:
        require_side("is_correct", right, side)
    texts = [p for p in _PAIRS if isinstance(row.fields.get(p[0]), str)]
    pair = next((p for p in texts if p[1] in row.fields), texts[0] if texts else None)
    if pair is None:
        first = named(row.fields, [one for one, _ in _PAIRS])
        asked = text_of(row.fields, (first,)) if first else None
        if first is None or asked is None:
            raise lacking("prompt", row.fields)
        pair = next(p for p in _PAIRS if p[0] == first)
    asked = text_of(row.fields, (pair[0],)) or ""
    answer = text_of(row.fields, (pair[1],))
    plain: dict[str, Any] = {"input": asked}
    if answer is not None:
        answer = bare(answer)
        plain["output"] = answer
    return exchange(row, over(row.fields, plain), asked, answer, answers)


def bare(completion: str) -> str:
    """A completion without the marks at its end."""
    while completion.endswith(END):
        completion = completion.removesuffix(END)
    return completion


def fits(sample: Sample) -> float:
    """How sure it is that a file is of this format."""
    pairs = sample.share(
        lambda r: isinstance(r.get("prompt"), str) and isinstance(r.get("completion"), str)
    )
    if pairs and sample.share(lambda r: isinstance(r.get("label"), bool)) > 0.5:
        return 0.0  # an answer that is wanted or not
    marked = sample.share(lambda r: str(r.get("completion")).endswith(END))
    tokens = sample.has("inputs_pretokenized", "targets_pretokenized")
    texts = sample.share(
        lambda r: isinstance(r.get("inputs"), str) and isinstance(r.get("targets"), str)
    )
    chosen = sample.has("answer_choices")
    sure = max(
        pairs * (0.97 if marked > 0.5 else 0.9),
        tokens * 0.98,
        texts * (0.98 if chosen > 0.5 else 0.6),
    )
    return min(sure, 0.6) if has_system(sample) else sure


def write(rows: Iterable[Row], file: IO[str]) -> Iterator[Reject]:
    """Write rows as JSON lines; yields those that it cannot hold."""
    return outgoing.write_lines(rows, file, _record)


def _record(row: Row) -> dict[str, Any]:
    asked, answer = outgoing.single_turn(row, "p3")
    if answer.endswith(END):
        raise Unfit(f"end mark: the answer ends in {END}, which p3 takes for its own")
    record = {"inputs_pretokenized": asked, "targets_pretokenized": answer}
    return outgoing.with_others(record, row, reserved=("is_correct", *SYSTEM))
