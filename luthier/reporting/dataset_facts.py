"""What the card and the page of a dataset both say, from the recipe and the statistics of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from luthier.artifacts import DataStats, ReviewCounts, TermsPart
from luthier.example import SPLITS, Split
from luthier.recipe import Recipe
from luthier.reporting.left_out import Rejects
from luthier.reporting.wording import compact, count, last_part, share
from luthier.run import Run, file_digest

PAGE = "dataset.html"
CARD = "README.md"


@dataclass(frozen=True)
class SourceRows:
    """What became of the rows of one source."""

    name: str
    importer: str
    """Empty where the statistics do not say."""
    read: int
    rejected: int
    used: int | None
    """In all splits, repeated ones counted again; None where the statistics do not say."""


def splits_of(stats: DataStats) -> list[Split]:
    """The splits that have rows, in their order."""
    return [name for name in SPLITS if name in stats.splits]


def source_rows(stats: DataStats, rejects: Rejects) -> list[SourceRows]:
    """What became of the rows of each source, in the order they were read."""
    names = list(
        dict.fromkeys([*stats.rows_read, *rejects.per_source, *(t.source for t in stats.terms)])
    )
    return [
        SourceRows(
            name=name,
            importer=stats.formats.get(name, ""),
            read=stats.rows_read.get(name, 0),
            rejected=rejects.per_source.get(name, 0),
            used=sum(t.rows for t in stats.terms if t.source == name) if stats.terms else None,
        )
        for name in names
    ]


def totals(stats: DataStats) -> tuple[int, int, int]:
    """Rows read, rejected and used."""
    used = sum(split.rows for split in stats.splits.values())
    return sum(stats.rows_read.values()), sum(stats.rows_rejected.values()), used


def labels_of(stats: DataStats, recipe: Recipe) -> list[str]:
    """The labels in the order of the recipe, then any others that rows have."""
    found = sorted({label for split in stats.splits.values() for label in split.labels})
    return list(dict.fromkeys([*recipe.labels, *found])) if found else []


# --- how it was made, in words -------------------------------------------------------------------


def steps(recipe: Recipe, stats: DataStats) -> list[tuple[str, str]]:
    """(what, how) of everything that was done to the rows."""
    data = recipe.data
    labels = f", {count(len(recipe.labels))} labels" if recipe.labels else ""
    made = [("Task", recipe.task.kind + labels)]
    if stats.templates:
        parts = (f"{name} ({count(n)} rows)" for name, n in stats.templates.items())
        made.append(("Templates", ", ".join(parts)))
    if data.inverted:
        made.append(("Turned round", f"{share(data.inverted, 1)} of the rows ask for their input"))
    if data.shots:
        made.append(("Solved examples", f"{data.shots} before each row"))
    if data.use is not None:
        made.append(("Made for", f"{data.use} use"))
    filters = [_with_options(f.use, f.options) for f in data.filters]
    made.append(("Filters, in order", ", ".join(filters) or "none"))
    if stats.review is not None:
        made.append(("Reviewed by people", _review(stats.review)))
    made.append(("Splits", _split_rule(recipe)))
    if data.mix is not None:
        options = {k: v for k, v in data.mix.model_dump(exclude={"strategy"}).items() if v}
        made.append(("Mixture", _with_options(data.mix.strategy, options)))
    made.append(("Seed", str(recipe.seed)))
    return made


def _review(found: ReviewCounts) -> str:
    """What people decided, in words."""
    looked_at = found.kept + found.edited + found.dropped
    read = looked_at + found.skipped + found.undecided
    who = ", ".join(found.reviewers)
    said = [
        f"{count(looked_at)} of {count(read)} rows{f' (by {who})' if who else ''}: "
        f"{count(found.kept)} kept as they are, {count(found.edited)} edited, "
        f"{count(found.dropped)} dropped"
    ]
    if found.left_out_again:
        said.append(f"{count(found.left_out_again)} kept, and left out for another reason")
    if found.unmatched:
        said.append(f"{count(found.unmatched)} decisions match no row")
    return "; ".join([*said, f"decisions in {last_part(found.file)}"])


def _with_options(name: str, options: dict[str, Any]) -> str:
    words = [f"{key} {_plain(value)}" for key, value in options.items()]
    return f"{name} ({', '.join(words)})" if words else name


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return compact(value)
    if isinstance(value, list):
        shown = " ".join(_plain(v) for v in value[:5])
        return f"{shown} and {len(value) - 5} more" if len(value) > 5 else shown
    return last_part(str(value))


def _split_rule(recipe: Recipe) -> str:
    rule = recipe.split
    sources = recipe.data.sources
    parts = []
    if any(source.split == "auto" for source in sources):
        shares = [
            f"{share(value, 1)} {name}"
            for name, value in (
                ("validation", rule.validation),
                ("calibration", rule.calibration or 0.0),
                ("test", rule.test),
            )
            if value
        ]
        parts.append(", ".join([*shares, "the rest for training"]))
    parts += [
        f"{last_part(source.path or source.hub or '')} whole to {source.split}"
        for source in sources
        if source.split != "auto"
    ]
    parts.append(
        f"rows of a similarity of {compact(rule.near_duplicates)} or more (Jaccard over word "
        "3-grams) share a split"
    )
    if rule.group_by:
        parts.append(f"and so do those with the same {rule.group_by}")
    return "; ".join(parts)


# --- terms ---------------------------------------------------------------------------------------


def terms_statement(stats: DataStats) -> tuple[str, bool]:
    """Whether the rows may be used commercially, in words, and whether that needs attention."""
    if not stats.terms:
        return "What the rows may be used for was not recorded.", True
    every = sum(t.rows for t in stats.terms)
    said = []
    for answer, text in (
        ("no", "may not be used commercially"),
        ("unclear", "come without a clear word on commercial use"),
    ):
        parts = [t for t in stats.terms if t.commercial == answer]
        rows = sum(t.rows for t in parts)
        if rows:
            whole = "All" if rows == every else f"{count(rows)} of {count(every)}"
            said.append(f"{whole} rows {text} ({'; '.join(_reasons(parts))}).")
    if said:
        return " ".join(said), True
    return "By their licences and generators, all rows may be used commercially.", False


def _reasons(parts: Sequence[TermsPart]) -> list[str]:
    """Source, licence and generator of some parts, each once."""
    reasons = []
    for part in parts:
        why = [part.licence or "no licence given"]
        if part.generator:
            why.append(f"written by {part.generator}")
        reasons.append(f"{last_part(part.source)}: {', '.join(why)}")
    found = list(dict.fromkeys(reasons))
    return [*found[:5], f"and {len(found) - 5} more"] if len(found) > 5 else found


# --- files ---------------------------------------------------------------------------------------


def data_files(run: Run) -> list[tuple[str, int, str]]:
    """(name, bytes, SHA-256) of the files of a dataset, without its card and its page."""
    folder = run.path / "data"
    return [
        (str(path.relative_to(folder)), path.stat().st_size, file_digest(path))
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in (PAGE, CARD) and not path.name.startswith(".")
    ]
