"""The `evaluate:` section of a recipe."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from luthier.section import Section


class GenerationSection(Section):
    """Decoding of free-text answers; names as in `transformers.GenerationConfig`."""

    max_new_tokens: int = Field(default=128, ge=1)
    """Longest answer, in tokens; transformers' own 20 would cut most answers off."""
    do_sample: bool = False
    """Draw tokens at random; false: always the likeliest one, so that figures can be repeated."""
    temperature: float = Field(default=1.0, gt=0)
    """Divides the scores before a token is drawn: below 1 bolder, above 1 more varied answers."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Draw only among the likeliest tokens that reach this probability together (nucleus sampling,
    Holtzman et al. 2020, arXiv:1904.09751, section 3.1); 1: among all."""


class EvaluateConfig(Section):
    """What the tuned model is held against."""

    baselines: list[str] | None = None
    """Files in `luthier/evaluation/baselines/`, all measured on the same test rows; null: of
    majority, tfidf, zero_shot and few_shot those that fit the task."""
    few_shot_examples: int = Field(default=4, ge=1)
    """Training rows shown to the few-shot baseline."""
    metrics: Annotated[list[str], Field(min_length=1)] | None = None
    """Files in `luthier/evaluation/metrics/`; null: those that fit the task."""
    calibrate: bool = True
    """Fit a temperature on the calibration split (Guo et al. 2017, arXiv:1706.04599)."""
    bootstrap_samples: int = Field(default=2000, ge=100)
    """Resamples behind the intervals of metrics that have no closed form; near-duplicates among
    the rows are drawn together."""
    slice_by: str | None = None
    """A column of the data; metrics are also given per value of it."""
    generation: GenerationSection = GenerationSection()
    """How free-text answers are made, in the evaluation and in prediction."""
