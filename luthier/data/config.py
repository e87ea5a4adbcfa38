"""The `data:` section of a recipe."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, model_validator

from luthier.inference.config import BudgetSection, LlmSection
from luthier.section import Section


def _label_text(value: Any) -> Any:
    """Labels are strings, also where Python code gives True or 3 (`recipe.py`: in YAML)."""
    return str(value) if isinstance(value, (bool, int)) else value


def _distinct(labels: list[str]) -> list[str]:
    if len(set(labels)) != len(labels):
        raise ValueError("labels must be distinct")
    if any(not label.strip() for label in labels):
        raise ValueError("a label must not be empty")
    return labels


def _two(labels: list[str]) -> list[str]:
    if len(labels) < 2:
        raise ValueError("expected a list of at least two labels")
    return labels


Label = Annotated[str, BeforeValidator(_label_text)]
Labels = Annotated[list[Label], AfterValidator(_distinct)]
LabelSet = Annotated[list[Label], AfterValidator(_distinct), AfterValidator(_two)]
"""A closed set of answers."""


class FormatConfig(Section):
    """An importer and its options: `{use: openassistant, paths: all}`."""

    model_config = ConfigDict(**{**Section.model_config, "extra": "allow"})
    use: str
    """A file in `luthier/data/formats/`."""

    @property
    def options(self) -> dict[str, Any]:
        """The options as written, without the name."""
        return dict(self.model_extra or {})


class GenerateConfig(Section):
    """Rows that a model writes, by one of the methods: `{use: self_instruct, rows: 200}`."""

    model_config = ConfigDict(**{**Section.model_config, "extra": "allow"})
    use: str
    """A file in `luthier/data/generators/`."""
    llm: LlmSection | None = None
    """The model that writes; null: `data.llm`."""
    budget: BudgetSection | None = None
    """Where writing stops; null: when the method is done."""
    window: int | None = Field(default=None, ge=1)
    """Jobs that are begun before the first of them must be done; what is written depends on it, so
    it does not follow the server. null: 128 for servers, 16 for models in this process, whatever
    their `max_concurrency`."""

    @property
    def options(self) -> dict[str, Any]:
        """The method's options as written."""
        return dict(self.model_extra or {})


class SourceConfig(Section):
    """One place rows come from: a file, a hub dataset, or a model that writes them."""

    generate: GenerateConfig | None = None
    """Rows that a model writes, instead of `path`."""

    dataset: str | None = None
    """A set of the catalogue (`luthier ls datasets`): sets `format`, `licence` and `generator`
    where they are not given."""

    path: str | None = None
    """File (CSV, TSV, JSON, JSONL, Parquet), relative to the recipe; `luthier:NAME` is a set
    that ships with luthier."""
    hub: str | None = None
    """Hub dataset id, instead of `path`."""
    config: str | None = None
    """Configuration of the hub dataset."""
    revision: str | None = None
    """Revision of the hub dataset."""
    hub_split: str = "train"
    """Which split of the hub dataset to read."""
    format: Annotated[
        FormatConfig | None, BeforeValidator(lambda v: {"use": v} if isinstance(v, str) else v)
    ] = None
    """Importer, a file in `luthier/data/formats/`, by its name alone or with options; null: what
    the content certainly is, else that of `dataset`, else by the task (`messages` for chat, `text`
    for text, `columns` for others)."""
    input: str = "input"
    """Column that holds the input; templates also find it under its own name."""
    output: str = "output"
    """Column that holds the output or label; templates also find it under its own name. Where a
    source's templates ask for neither `input` nor `output`, these columns need not be there."""
    text: str = "text"
    """Column that holds plain text (`task.kind: text`; HF `dataset_text_field`)."""
    messages: str = "messages"
    """Column that holds a list of {role, content} (`task.kind: chat`)."""
    fields: dict[str, str] = Field(default={})
    """Further columns under the names that templates use: `{premise: sentence1}`."""
    labels: LabelSet | None = None
    """The closed set of this source's answers, in generation and chat: what `{options_}` lists.
    Rows with another answer are left out. In classification it is `task.labels`, for all sources.
    """
    template: str | Annotated[list[str], Field(min_length=1)] | None = None
    """Templates of this source's rows; null: those of `data.template`, for rows that need any."""
    licence: str | None = None
    """Data licence of the rows (SPDX identifier, or words)."""
    commercial: Literal["yes", "no", "unclear"] | None = None
    """Whether the licence allows commercial use; null: by `licence`."""
    generator: str | None = None
    """The model that wrote the rows; null: people did, or nobody knows."""
    outputs: Literal["free", "restricted"] | None = None
    """Whether the terms of that model let its outputs train other models for any purpose; null: by
    its name, where luthier knows it."""
    weight: float | None = Field(default=None, gt=0)
    """Share of the source in a mixture (`data.mix: {strategy: weights}`)."""
    max_rows: int | None = Field(default=None, ge=1)
    """At most this many of its rows go into a mixture, chosen by the seed."""
    split: Literal["auto", "train", "validation", "calibration", "test"] = "auto"
    """`auto` shares the rows out as `data.split` says; a name sends all of them there."""
    limit: int | None = Field(default=None, ge=1)
    """Read only the first rows."""

    @model_validator(mode="after")
    def _one_place(self) -> SourceConfig:
        if sum(place is not None for place in (self.path, self.hub, self.generate)) != 1:
            raise ValueError("give one of 'path', 'hub' and 'generate'")
        return self

    @model_validator(mode="after")
    def _two_columns(self) -> SourceConfig:
        if self.input == self.output:
            raise ValueError(
                f"input and output are both the column '{self.input}'; the answer would stand in "
                "the question. Name two columns"
            )
        return self


class FilterConfig(Section):
    """One filter and its options: `{use: length, max_tokens: 256}`."""

    model_config = ConfigDict(**{**Section.model_config, "extra": "allow"})
    use: str
    """A file in `luthier/data/filters/`."""

    @property
    def options(self) -> dict[str, Any]:
        """The options as written, without the name."""
        return dict(self.model_extra or {})


class SplitConfig(Section):
    """Shares of the rows whose source says `split: auto`; the rest is for training."""

    validation: float = Field(default=0.1, ge=0, lt=1)
    """Watched during training: early stopping and best checkpoint."""
    calibration: float | None = Field(default=None, ge=0, lt=1)
    """Fits the temperature; never trained on, never tested on. null: decided by `task.kind`, 0.1
    for classification and 0 for the others, which have no temperature."""
    test: float = Field(default=0.2, ge=0, lt=1)
    """Touched once, by `luthier evaluate`."""
    near_duplicates: float = Field(default=0.6, gt=0, le=1)
    """Rows at least this similar (Jaccard over word 3-grams) share a split."""
    group_by: str | None = None
    """A column: rows with the same value in it share a split (a passage, a conversation tree)."""

    @model_validator(mode="after")
    def _leaves_training_rows(self) -> SplitConfig:
        if self.validation + (self.calibration or 0) + self.test >= 1:
            raise ValueError("validation + calibration + test must leave rows to train on (< 1)")
        return self

    def decided(self, *, calibrated: bool) -> SplitConfig:
        """The same with a share for calibration, which only classification uses."""
        if self.calibration is not None:
            return self
        return self.model_copy(update={"calibration": 0.1 if calibrated else 0.0})


class MixConfig(Section):
    """How many training rows each source gives."""

    strategy: Literal["proportional", "temperature", "weights"] = "proportional"
    """`proportional`: to the sizes, each counted up to `maximum` (T5, arXiv 1910.10683, 3.5.2;
    FLAN, arXiv 2109.01652, 2.1). `temperature`: those rates to the power of 1/temperature.
    `weights`: to the `weight` of each source."""
    maximum: int | None = Field(default=3000, ge=1)
    """Rows up to which a source counts; 3,000 in FLAN. null: all of them."""
    temperature: float = Field(default=2.0, ge=1)
    """1 is proportional; the larger, the more equal the shares (T5 tried 2, 4 and 8)."""
    rows: int | None = Field(default=None, ge=1)
    """Training rows of the mixture; null: as many as there are without taking a row twice."""
    repeat: bool = False
    """Whether a source with too few rows gives them several times; else it gives what it has."""
    streaming: bool = False
    """Take the first rows of each source in these shares and read little further: for sets larger
    than memory or disk. Needs `rows` and `strategy: weights`, since sizes are not known. Sources
    that name a split other than train are read whole."""

    @model_validator(mode="after")
    def _streaming_knows_its_end(self) -> MixConfig:
        if self.streaming and self.rows is None:
            raise ValueError("streaming needs 'rows', the size of the mixture")
        if self.streaming and self.strategy != "weights":
            raise ValueError(
                "streaming does not read the sources to their ends, so their sizes are unknown: "
                "use strategy: weights"
            )
        if self.streaming and self.repeat:
            raise ValueError("streaming reads every row once: take out 'repeat'")
        return self


class OptionsConfig(Section):
    """The clause that lists the possible answers, where a template has `{options_}`."""

    mode: Literal["on", "off", "sampled"] = "on"
    """`sampled`: with the clause in a share of the rows (FLAN v2 trains on both)."""
    share: float = Field(default=0.5, gt=0, lt=1)
    """Rows with the clause when sampled."""
    shuffle: bool = True
    """The order is drawn for each row by the seed; else that of the labels."""
    style: Literal["dash", "letters", "words"] = "dash"
    """`- yes`, `(A) yes`, or `yes, no or maybe`; the answer is always the text of the label."""


class DataConfig(Section):
    """Where the rows come from and what becomes of them."""

    use: Literal["commercial", "research"] | None = None
    """What the model is for. `commercial` leaves out rows whose licence or generator forbids it or
    does not say; `research` keeps all and lists them; null: nothing is judged."""

    llm: LlmSection = LlmSection()
    """The model that writes rows (`sources: [{generate: ...}]`) where they name none."""
    sources: list[SourceConfig] = Field(min_length=1)
    """Read in order."""
    template: str | Annotated[list[str], Field(min_length=1)] | None = None
    """A template or a set of templates of `luthier/data/templates/`, or a file of your own (a
    template, a set, promptsource YAML, FLAN pairs in JSON); with several, each row gets one by its
    id. Rows that come as conversations keep their own words unless their source names a template,
    or the template is `super_ni` and they carry a definition. null: columns are taken as they are
    (`plain`)."""
    inverted: float | None = Field(default=None, ge=0, le=1)
    """Share of the rows that are turned round (given the answer, ask for the input), by templates
    that do so and by those that can be turned automatically; 0.3 in FLAN v2. null: the templates as
    their files have them. Not in classification, whose completion is the label."""
    options: OptionsConfig = OptionsConfig()
    """The clause with the possible answers."""
    shots: int = Field(default=0, ge=0, le=32)
    """Training rows shown as solved examples before each row."""
    mix: MixConfig | None = None
    """How many training rows each source gives; null: all of them."""
    filters: list[FilterConfig] = Field(
        default=[
            FilterConfig(use="empty"),
            FilterConfig(use="exact_duplicates"),
            FilterConfig(use="near_duplicates"),
        ]
    )
    """Applied in order; each rejected row is kept in `rejects.jsonl` with its reason."""
    decisions: str | None = None
    """What people decided about rows (`luthier review`): a file, relative to the recipe, or
    `run:NAME` for that of a run. Rows they dropped are left out, rows they edited say what they
    wrote. null: none are applied."""
    split: SplitConfig = SplitConfig()
    """How the rows of sources with `split: auto` are shared out."""

    def templates_of(self, source: SourceConfig) -> list[str]:
        """Names of the templates of a source's rows; empty where the rows bring their own words."""
        given = source.template if source.template is not None else self.template
        return [given] if isinstance(given, str) else list(given or [])

    @property
    def templates(self) -> list[str]:
        """Names of all templates, each once."""
        return list(dict.fromkeys(n for s in self.sources for n in self.templates_of(s)))
