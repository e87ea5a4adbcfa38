"""`Section`: the strict pydantic model that every section of a recipe is made of."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A recipe section: unknown keys are errors, field docstrings become the JSON schema.

    Only the *shape* of a value is checked here (its type, its range). Whether settings agree
    with each other is the business of `planning/checks/`, which sees the whole recipe.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, protected_namespaces=()
    )
