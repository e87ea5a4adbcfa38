"""The `data:` section of a recipe."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, model_validator

from luthier.section import Section


class SourceConfig(Section):
    """One place rows come from: a file or a hub dataset."""

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
    format: str | None = None
    """Importer, a file in `luthier/data/formats/`; null: by the task (`messages` for chat, `text`
    for text, `columns` for the others)."""
    input: str = "input"
    """Column that holds the input."""
    output: str = "output"
    """Column that holds the output or label."""
    text: str = "text"
    """Column that holds plain text (`task.kind: text`; HF `dataset_text_field`)."""
    messages: str = "messages"
    """Column that holds a list of {role, content} (`task.kind: chat`)."""
    split: Literal["auto", "train", "validation", "calibration", "test"] = "auto"
    """`auto` shares the rows out as `data.split` says; a name sends all of them there."""
    limit: int | None = Field(default=None, ge=1)
    """Read only the first rows."""

    @model_validator(mode="after")
    def _one_place(self) -> SourceConfig:
        if (self.path is None) == (self.hub is None):
            raise ValueError("give either 'path' or 'hub'")
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


class DataConfig(Section):
    """Where the rows come from and what becomes of them."""

    sources: list[SourceConfig] = Field(min_length=1)
    """Read in order."""
    template: str | Annotated[list[str], Field(min_length=1)] = "plain"
    """A template of `luthier/data/templates/`, or a YAML file of your own; with several, each
    row gets one by its id."""
    filters: list[FilterConfig] = Field(
        default=[
            FilterConfig(use="empty"),
            FilterConfig(use="exact_duplicates"),
            FilterConfig(use="near_duplicates"),
        ]
    )
    """Applied in order; each rejected row is kept in `rejects.jsonl` with its reason."""
    split: SplitConfig = SplitConfig()
    """How the rows of sources with `split: auto` are shared out."""

    @property
    def templates(self) -> list[str]:
        """The template names as a list."""
        return [self.template] if isinstance(self.template, str) else list(self.template)
