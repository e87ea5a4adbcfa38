"""What stages hand to each other: typed, versioned files in the run folder.

Every artifact is a pydantic model with `save(run)` and `load(run)`; rows travel as Parquet
(`save_examples`, `load_examples`). A stage reads the artifacts of the stages before it and never
imports them.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Mapping
from operator import attrgetter
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from luthier.as_written import fields_text
from luthier.atomic import atomic_write
from luthier.errors import RunError
from luthier.evaluation.config import EvaluateConfig
from luthier.example import Example, Message, Origin, Split, Terms
from luthier.run import Run, Stage


class Artifact(BaseModel):
    """A JSON file in a run folder."""

    model_config = ConfigDict(extra="forbid", ser_json_inf_nan="null", protected_namespaces=())
    FILE: ClassVar[str]
    """Path inside the run folder."""

    def save(self, run: Run) -> None:
        """Write the artifact atomically."""
        run.write_json(self.FILE, self.model_dump(mode="json"))

    @classmethod
    def load(cls, run: Run) -> Self:
        """Read the artifact; RunError when it is missing or damaged."""
        try:
            return cls.model_validate(run.read_json(cls.FILE))
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(map(str, first["loc"]))
            raise RunError(
                f"{run.path / cls.FILE}: '{key}': {first['msg']}. Was it written by another "
                f"version of luthier? Repeat the {cls.FILE.partition('/')[0]} stage."
            ) from None


# --- data --------------------------------------------------------------------------------------


class TokenCounts(BaseModel):
    """Distribution of the rendered length of the rows of a split, in tokens."""

    min: int
    median: int
    mean: float
    p95: int
    max: int
    total: int
    trained: int
    """Tokens that carry loss, over all rows."""
    histogram: list[tuple[int, int]]
    """(lower edge, rows) of bins of equal width."""


class SplitStats(BaseModel):
    """One split of the dataset."""

    rows: int
    labels: dict[str, int]
    """Rows per label; empty unless the task is classification."""
    tokens: TokenCounts


class MixturePart(BaseModel):
    """What one source gave to the training rows."""

    source: str
    available: int
    """Training rows it had."""
    rows: int
    """Training rows it gave, repeated ones counted again."""
    share: float
    """Of the rows of the mixture."""
    tokens: int
    trained_tokens: int
    trained_share: float
    """Of the trained tokens of the mixture: what the loss sees."""


class TermsPart(BaseModel):
    """Rows that may be used on the same terms."""

    source: str
    rows: int
    licence: str | None
    commercial: Literal["yes", "no", "unclear"]
    generator: str | None
    generator_terms: str | None


class ReviewCounts(BaseModel):
    """Rows of the sources by what people decided about them (`luthier review`)."""

    file: str
    """As the recipe names it."""
    reviewers: list[str]
    kept: int
    edited: int
    dropped: int
    skipped: int
    undecided: int
    """Nobody looked at them."""
    left_out_again: int
    """Kept in spite of a filter, and left out for another reason."""
    unmatched: int
    """Decisions about rows that were not read."""


class DataStats(Artifact):
    """What `luthier build` made."""

    FILE = "data/stats.json"
    rows_read: dict[str, int]
    """Per source as the recipe names it."""
    rows_rejected: dict[str, int]
    """Per reason, commonest first."""
    rejects_file: str = "data/rejects.jsonl"
    blank_lines: dict[str, int] = {}
    """Per source that has some: lines with nothing in them, which are no rows."""
    splits: dict[Split, SplitStats]
    templates: dict[str, int]
    """Rows per template."""
    samples: list[dict[str, str]]
    """A few rendered rows: {id, prompt, completion}."""
    formats: dict[str, str] = {}
    """Per source the importer it was read with."""
    mixture: list[MixturePart] = []
    """Per source; empty for datasets of versions that did not count it."""
    terms: list[TermsPart] = []
    """Rows of all splits by their terms."""
    review: ReviewCounts | None = None
    """What people decided; null where the recipe names no decisions."""


# --- plan --------------------------------------------------------------------------------------


class Decision(BaseModel):
    """A setting the recipe left open, what the plan chose, and why."""

    key: str
    value: Any
    why: str


class Finding(BaseModel):
    """What a check in `planning/checks/` has to say about a combination of settings."""

    check: str
    severity: Literal["error", "warning", "note"]
    stage: Stage = "train"
    """The first stage that an error stops; those before it can still be done."""
    what: str
    why: str
    fix: str


class MemoryPart(BaseModel):
    """One component of peak memory."""

    part: str
    bytes: int
    how: str
    """The arithmetic in words, e.g. `134,515,008 parameters x 4 B`."""


class Plan(Artifact):
    """What `luthier plan` decided; `train` obeys it."""

    FILE = "plan/plan.json"
    device: str
    precision: Literal["float32", "frozen_bf16", "bf16_autocast", "fp16_autocast"]
    decisions: list[Decision]
    findings: list[Finding]
    memory: list[MemoryPart]
    total_bytes: int
    available_bytes: int
    fits: bool
    trainable_parameters: int
    total_parameters: int
    train_rows: int
    batches_per_epoch: int
    """Micro-batches."""
    total_steps: int
    """Optimizer steps."""
    tokens_per_epoch: int
    seconds: float | None
    """Estimated training time; null where there is no basis for an estimate."""
    schedule: list[tuple[int, float]]
    """(optimizer step, learning rate) over the whole run, at most 500 points."""
    processes: int = 1
    """That train together; steps and time are those of all."""

    def decided(self, key: str) -> Any:
        """The value that was decided for a setting; None where it is as the recipe says."""
        return next((d.value for d in self.decisions if d.key == key), None)


# --- train -------------------------------------------------------------------------------------


class TrainSummary(Artifact):
    """What `luthier train` made."""

    FILE = "train/summary.json"
    kind: Literal["adapter", "full"]
    weights: str
    """Folder of the adapter or the full weights, inside the run folder."""
    base_model: str
    precision: str
    steps: int
    epochs: float
    best_step: int
    best_metric: float | None
    """Value of metric_for_best_model at the best step; null without validation rows."""
    stopped_early: bool
    seconds: float
    examples: int
    tokens: int
    trained_tokens: int
    peak_bytes: int
    trainable_parameters: int
    total_parameters: int
    processes: int = 1
    """That trained together."""
    averaged_steps: int = 0
    """Whose weights' mean the last ones are (train.swa_start); 0: they are the last step's."""


# --- evaluate ----------------------------------------------------------------------------------


class Estimate(BaseModel):
    """A number with its 95 % interval."""

    value: float
    low: float | None = None
    high: float | None = None


class LabelScores(BaseModel):
    """Scores of one label, one-vs-rest."""

    precision: float
    recall: float
    f1: float
    support: int


class SystemResult(BaseModel):
    """One system (the tuned model or a baseline) on the test rows."""

    name: str
    describe: str
    metrics: dict[str, Estimate]
    labels: dict[str, LabelScores] = {}
    confusion: list[list[int]] | None = None
    """[gold label][predicted label], in the order of the recipe's labels."""
    seconds: float
    difference: Estimate | None = None
    """Tuned minus this system on the main metric, paired over rows; null for the tuned model."""
    p_value: float | None = None
    """Exact McNemar test against the tuned model (classification)."""


class ReliabilityBin(BaseModel):
    """One bin of a reliability diagram."""

    confidence: float
    accuracy: float
    low: float
    high: float
    rows: int


class Calibration(BaseModel):
    """Temperature scaling fitted on the calibration split, judged on the test split."""

    temperature: float
    rows: int
    before: dict[str, float]
    """ece, brier, nll, ece_noise_floor."""
    after: dict[str, float]
    bins_before: list[ReliabilityBin]
    bins_after: list[ReliabilityBin]


class Evaluation(Artifact):
    """What `luthier evaluate` found."""

    FILE = "evaluate/metrics.json"
    task: str
    labels: list[str]
    main_metric: str
    rows: int
    systems: list[SystemResult]
    """The tuned model first."""
    calibration: Calibration | None = None
    slices: dict[str, dict[str, Estimate]] = {}
    """Per value of `slice_by`: main metric of the tuned model (and `rows`)."""
    notes: list[str] = []
    """Plain statements a reader must not miss, e.g. that prompting is already enough."""
    samples: list[dict[str, str]] = []
    """Generation: {prompt, expected, answer} of some rows."""
    predictions_file: str = "evaluate/predictions.csv"
    settings: EvaluateConfig | None = None
    """What was asked of it: the recipe's `evaluate:` at the time."""


# --- rows --------------------------------------------------------------------------------------

_TURN = ("role", "content", "name", "tool_calls", "weight")
_TERMS = ("licence", "commercial", "generator", "generator_terms")
_turn_of, _terms_of = attrgetter(*_TURN), attrgetter(*_TERMS)
ROWS_PER_GROUP = 10_000
"""Rows of a Parquet row group: what is in memory while a split is written."""
_CHARACTERS = 1 << 25
"""About as many are in it at most."""


class ExampleWriter:
    """Writes rows as Parquet, atomically and deterministically, one row group at a time.

    Args:
        path: the file; it is there when the `with` block has ended well, and only then.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows = 0
        """Written so far."""
        self._group = _Rows()
        self._characters = 0
        self._open = contextlib.ExitStack()

    def __enter__(self) -> Self:
        import pyarrow.parquet as pq

        file = self._open.enter_context(atomic_write(self.path))
        self._schema = _row_schema()
        self._writer = self._open.enter_context(
            pq.ParquetWriter(file, self._schema, compression="zstd", write_page_checksum=True)
        )
        return self

    def write(self, example: Example) -> None:
        """Write one row."""
        self.rows += 1
        # As fields, and about as much as messages.
        self._characters += 2 * self._group.append(example)
        if len(self._group) == ROWS_PER_GROUP or self._characters > _CHARACTERS:
            self._flush()

    def _flush(self) -> None:
        if len(self._group):
            self._writer.write_table(self._group.table(self._schema))
            self._group = _Rows()
            self._characters = 0

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            self._open.__exit__(kind, error, trace)
            return
        with self._open:
            self._flush()


def save_examples(path: Path, examples: Iterable[Example]) -> None:
    """Write rows as Parquet."""
    with ExampleWriter(path) as writer:
        for example in examples:
            writer.write(example)


def _row_schema() -> Any:
    import pyarrow as pa

    text = pa.string()
    turn = pa.struct([(name, pa.float64() if name == "weight" else text) for name in _TURN])
    return pa.schema(
        [
            ("id", text), ("source", text), ("row", pa.int64()), ("counted", text),
            ("split", text), ("group", text), ("template", text), ("label", text),
            ("text", text), ("messages", pa.list_(turn)), ("tools", text),
            *((name, text) for name in _TERMS),
            ("parents", pa.list_(text)), ("fields", text),
        ]
    )  # fmt: skip


class _Rows:
    """Rows as tuples, turns apart: Arrow makes columns of them faster than of dictionaries."""

    def __init__(self) -> None:
        self._rows: list[tuple[Any, ...]] = []
        self._turns: list[tuple[Any, ...]] = []
        self._ends = [0]

    def __len__(self) -> int:
        return len(self._rows)

    def append(self, e: Example) -> int:
        """Put a row behind the others; returns the characters of its fields."""
        fields = fields_text(e.fields)
        self._rows.append(
            (
                e.id, e.origin.source, e.origin.row, e.origin.counted, e.split, e.group, e.template,
                e.label, e.text, e.tools, *_terms_of(e.terms), e.parents, fields,
            )
        )  # fmt: skip
        self._turns += map(_turn_of, e.messages)
        self._ends.append(len(self._turns))
        return len(fields)

    def table(self, schema: Any) -> Any:
        """The rows in Arrow's columns."""
        import pyarrow as pa

        turn = schema.field("messages").type.value_type
        columns = list(zip(*self._turns, strict=True)) or [()] * len(_TURN)
        turns = pa.StructArray.from_arrays(
            [pa.array(column, field.type) for column, field in zip(columns, turn, strict=True)],
            fields=list(turn),
        )
        found = {"messages": pa.ListArray.from_arrays(pa.array(self._ends, pa.int32()), turns)}
        names = [name for name in schema.names if name != "messages"]
        for name, column in zip(names, zip(*self._rows, strict=True), strict=True):
            found[name] = pa.array(column, schema.field(name).type)
        return pa.table([found[name] for name in schema.names], schema=schema)


def as_example(r: Mapping[str, Any]) -> Example:
    """A row of a Parquet file as the row it was.

    Raises:
        KeyError, TypeError, ValueError: it is no row that `ExampleWriter` wrote.
    """
    return Example(
        id=r["id"],
        origin=Origin(r["source"], r["row"], r.get("counted", "line")),
        fields=json.loads(r["fields"]),
        messages=tuple(Message(**m) for m in r["messages"]),
        text=r["text"],
        label=r["label"],
        template=r["template"],
        split=r["split"],
        group=r["group"],
        tools=r.get("tools"),
        # Rows written by earlier versions say nothing of their terms.
        terms=Terms(**{n: r[n] for n in _TERMS}) if "licence" in r else Terms(),
        parents=tuple(r.get("parents") or ()),
    )


def load_examples(run: Run, split: Split) -> list[Example]:
    """Read the rows of a split; an empty list where the split has none.

    Raises:
        RunError: the file is damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = run.path / "data" / f"{split}.parquet"
    try:
        rows = pq.read_table(path, page_checksum_verification=True).to_pylist()
        return [as_example(r) for r in rows]
    except FileNotFoundError:
        return []
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError) as error:
        said = str(error).split("\n")[0]
        raise RunError(f"{path} cannot be read: {said}. Repeat `luthier build`.") from None
