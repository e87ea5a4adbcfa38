"""A split with a source of its own that gets a share of the other rows as well."""

from __future__ import annotations

from luthier.artifacts import Finding
from luthier.planning.facts import Facts

SPLITS = ("test", "calibration", "validation")


def check(facts: Facts) -> Finding | None:
    """Find splits that both a source and a share of `data.split` fill.

    What: one source says `split: test` (or calibration, validation), another says nothing, and
    the split's share, which is above 0 by default, is taken out of the other's rows.
    Why: those rows are lost to training, and the split is a mixture of both sources.
    Fix: `data.split.test: 0`, where only its own source is wanted in it.
    """
    data = facts.recipe.data
    if all(source.split != "auto" for source in data.sources):
        return None
    own = {source.split: source.path or source.hub for source in reversed(data.sources)}
    both = [split for split in SPLITS if split in own and getattr(facts.recipe.split, split) > 0]
    if not both:
        return None
    shares = [f"data.split.{split}: {getattr(facts.recipe.split, split):g}" for split in both]
    return Finding(
        check="shared_into_named_split",
        severity="note",
        what=f"{_all([f'{own[split]} is for {split}' for split in both])}, and "
        f"{_all(shares)} {'sends' if len(both) == 1 else 'send'} rows of the other sources there "
        "too.",
        why="Those rows are not trained on, and what is measured is a mixture of both.",
        fix=f"To keep them for training, set {_all([f'data.split.{split}: 0' for split in both])}.",
    )


def _all(parts: list[str]) -> str:
    return " and ".join(parts)
