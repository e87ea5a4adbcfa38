"""The page of a dataset: one self-contained HTML file beside its rows."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from luthier.artifacts import DataStats
from luthier.example import Example
from luthier.recipe import Recipe
from luthier.reporting import dataset_facts as facts
from luthier.reporting import plots, sections
from luthier.reporting.dataset_rows import (
    SampledRows,
    instruction_of,
    sampled_rows,
    subject_of,
)
from luthier.reporting.diversity import Lexical, lexical, openings_by_label, verb_nouns
from luthier.reporting.left_out import Rejects, read_rejects
from luthier.reporting.rendering import render
from luthier.reporting.similar_pairs import MOST_WORDS, most_similar_pairs
from luthier.reporting.wording import count, share, shortened
from luthier.run import Run

SAMPLES = 12
MAX_LABELS = 24
"""Labels that are drawn; the table has all of them."""
MAX_LABELS_OF_OPENINGS = 12
MAX_TURNS = 10
"""Turns of a sample that are shown."""
LEAST_SHARE_OF_VERBS = 0.3
"""Below it the rule for verbs says little of the instructions, and openings are shown instead."""

View = dict[str, Any]


def write_dataset_page(run: Run) -> Path:
    """Write `data/dataset.html`: what is in a dataset, on one page that needs nothing else.

    Counts, labels, lengths and terms are those of all rows; what needs the words of the rows is
    measured on at most 5,000 of them, drawn by the recipe's seed.

    Args:
        run: a run whose data stage has finished. Write the page after the stage, since everything
            that lies in its folder by then counts as its outcome.

    Returns:
        The page's path. The same dataset always gives the same page, byte for byte.

    Raises:
        RunError: statistics or rows are missing or damaged.
    """
    recipe, stats = run.recipe, DataStats.load(run)
    rejects = read_rejects(run.path / stats.rejects_file)
    sample = sampled_rows(run, facts.splits_of(stats))
    read, rejected, used = facts.totals(stats)
    statement, needs_attention = facts.terms_statement(stats)
    page = render(
        "dataset.html",
        run_name=run.name,
        task=sections.task_sentence(recipe),
        recipe=recipe,
        stats=stats,
        figures=_figures(stats),
        read=read,
        rejected=rejected,
        used=used,
        sources=facts.source_rows(stats, rejects),
        steps=facts.steps(recipe, stats),
        lengths=_lengths(stats),
        labels=_labels(stats, recipe),
        sampled=sample,
        variety=_variety(sample.rows, recipe),
        nearest=_nearest(sample.rows),
        reasons=_reasons(stats, rejects),
        terms_statement=statement,
        terms_need_attention=needs_attention,
        samples=_samples(sample, recipe),
        files=facts.data_files(run),
    )
    run.write_text(f"data/{facts.PAGE}", page)
    return run.path / "data" / facts.PAGE


def _figures(stats: DataStats) -> list[tuple[str, str, str]]:
    """(label, value, detail) at the top of the page."""
    _, rejected, used = facts.totals(stats)
    train = stats.splits.get("train")
    figures = [("Rows", count(used), "in all splits")]
    if train is not None:
        trained, total = train.tokens.trained, train.tokens.total
        figures += [
            ("For training", count(train.rows), f"{share(train.rows, used)} of the rows"),
            ("Training tokens", count(total), f"{share(trained, total)} of them carry loss"),
        ]
    figures.append(("Left out", count(rejected), "each with its reason" if rejected else ""))
    return figures


def _lengths(stats: DataStats) -> View:
    return {
        "splits": [(name, stats.splits[name]) for name in facts.splits_of(stats)],
        "histograms": [
            (
                f"{name}",
                f"{count(stats.splits[name].rows)} rows",
                plots.histogram(
                    [(float(e), float(n)) for e, n in stats.splits[name].tokens.histogram],
                    label=f"Length of the {name} rows in tokens: "
                    f"median {stats.splits[name].tokens.median}, "
                    f"longest {stats.splits[name].tokens.max}",
                    x_label="tokens",
                    rules=[
                        (stats.splits[name].tokens.median, "median"),
                        (stats.splits[name].tokens.p95, "95 %"),
                    ],
                ),
            )
            for name in facts.splits_of(stats)
        ],
    }


def _labels(stats: DataStats, recipe: Recipe) -> View | None:
    """Rows per label, drawn in the recipe's order and counted per split."""
    labels = facts.labels_of(stats, recipe)
    if not labels:
        return None
    per_split = {name: stats.splits[name].labels for name in facts.splits_of(stats)}
    rows = {label: sum(found.get(label, 0) for found in per_split.values()) for label in labels}
    every, most = sum(rows.values()), max(rows.values())
    commonest = max(labels, key=lambda label: rows[label])
    present = [label for label in labels if rows[label]]
    rarest = min(present, key=lambda label: rows[label])
    shown = labels if len(labels) <= MAX_LABELS else sorted(labels, key=lambda x: -rows[x])
    return {
        "count": len(labels),
        "splits": list(per_split),
        "commonest": commonest,
        "commonest_share": share(rows[commonest], every),
        "rarest": rarest,
        "rarest_rows": rows[rarest],
        "ratio": f"{rows[commonest] / rows[rarest]:.1f}",
        "without_rows": [label for label in labels if not rows[label]],
        "bars": [
            {
                "label": label,
                "rows": rows[label],
                "share": share(rows[label], every),
                "bar": plots.stacked(
                    [(name, float(found.get(label, 0))) for name, found in per_split.items()],
                    label=f"{label}: {count(rows[label])} rows",
                    text=lambda n: f"{count(n)} rows",
                    longest=float(most),
                ),
            }
            for label in shown[:MAX_LABELS]
        ],
        "table": [
            (label, [found.get(label, 0) for found in per_split.values()]) for label in labels
        ],
    }


# --- what the rows ask ---------------------------------------------------------------------------


def _variety(rows: Sequence[Example], recipe: Recipe) -> View:
    """Verbs and nouns of instructions, openings per label, and measures of words."""
    kind = recipe.task.kind
    labelled = kind == "classification"
    texts = [subject_of(row) if labelled else instruction_of(row) for row in rows]
    found = lexical(texts)
    verbs = verb_nouns(texts) if kind in ("generation", "chat") else None
    says_much = verbs is not None and verbs.found >= LEAST_SHARE_OF_VERBS * max(1, len(rows))
    openings = (
        openings_by_label(
            (row.label, text)
            for row, text in zip(rows, texts, strict=True)
            if row.label is not None
        )
        if labelled
        else {}
    )
    return {
        "what": {"classification": "input", "text": "text"}.get(kind, "instruction"),
        "verbs": verbs,
        "verb_bars": _verb_bars(verbs.verbs) if verbs is not None and says_much else [],
        "openings": list(openings.items())[:MAX_LABELS_OF_OPENINGS],
        "labels_without": max(0, len(openings) - MAX_LABELS_OF_OPENINGS),
        "opening_bars": [] if labelled or says_much else _opening_bars(found),
        "measures": _measures(found, texts, rows, kind),
    }


def _verb_bars(verbs: Sequence[tuple[str, int, list[tuple[str, int]]]]) -> list[View]:
    most = max((n for _, n, _ in verbs), default=0)
    bars = []
    for verb, n, nouns in verbs:
        rest = n - sum(times for _, times in nouns)
        parts = [(noun, float(times)) for noun, times in nouns]
        # The eighth colour of the palette is grey: what has no name of its own.
        grey = [("", 0.0)] * (7 - len(parts))
        bars.append(
            {
                "verb": verb,
                "count": n,
                "nouns": nouns,
                "rest": rest,
                "bar": plots.stacked(
                    [*parts, *grey, ("others, or none", float(rest))],
                    label=f"{verb}: {count(n)}",
                    text=count,
                    longest=float(most),
                ),
            }
        )
    return bars


def _opening_bars(found: Lexical) -> list[View]:
    most = max((n for _, n in found.openings), default=0)
    return [
        {
            "opening": opening,
            "count": n,
            "bar": plots.stacked(
                [(opening, float(n))], label=f"{opening}: {count(n)}", text=count,
                longest=float(most),
            ),
        }
        for opening, n in found.openings
    ]  # fmt: skip


def _measures(
    found: Lexical, texts: Sequence[str], rows: Sequence[Example], kind: str
) -> list[tuple[str, str]]:
    lengths = sorted(len(text) for text in texts) or [0]
    measures = [
        ("Different words", f"{count(found.vocabulary)} of {count(found.words)}"),
        ("Distinct-1", f"{found.distinct_1:.3f}"),
        ("Distinct-2", f"{found.distinct_2:.3f}"),
        ("Share that begins with three words of another", share(found.repeated_openings, 1)),
        ("Median length", f"{count(lengths[len(lengths) // 2])} characters"),
    ]
    if kind in ("generation", "chat"):
        answers = sorted(len(row.completion) for row in rows) or [0]
        measures.append(
            ("Median length of the answers", f"{count(answers[len(answers) // 2])} characters")
        )
    return measures


# --- pairs, rejects, samples ---------------------------------------------------------------------


def _nearest(rows: Sequence[Example]) -> View:
    """The most similar pairs of rows; a row that a mixture repeats counts once."""
    distinct = list({str(row.origin): row for row in rows}.values())
    texts = [subject_of(row) for row in distinct]
    found = most_similar_pairs(texts)
    return {
        "compared": found.compared,
        "rows": len(distinct),
        "most_words": MOST_WORDS,
        "pairs": [
            {
                "similarity": f"{pair.similarity:.2f}",
                "rows": [
                    {"row": distinct[place], "text": texts[place]}
                    for place in (pair.first, pair.second)
                ],
                "across": distinct[pair.first].split != distinct[pair.second].split,
                "other_label": distinct[pair.first].label != distinct[pair.second].label,
            }
            for pair in found.pairs
        ],
    }


def _reasons(stats: DataStats, rejects: Rejects) -> list[View]:
    most = max(stats.rows_rejected.values(), default=0)
    every = sum(stats.rows_rejected.values())
    return [
        {
            "reason": reason.replace("_", " "),
            "rows": rows,
            "share": share(rows, every),
            "bar": plots.stacked(
                [(reason, float(rows))],
                label=f"{reason}: {count(rows)} rows",
                text=lambda n: f"{count(n)} rows",
                longest=float(most),
            ),
            "first": rejects.first.get(reason),
        }
        for reason, rows in stats.rows_rejected.items()
    ]


def _samples(sample: SampledRows, recipe: Recipe) -> list[View]:
    """A few rows, of every label or source in turn."""
    rows = list(sample.rows)
    random.Random(recipe.seed).shuffle(rows)
    groups: dict[str, list[Example]] = {}
    for row in rows:
        groups.setdefault(row.label if row.label is not None else row.origin.source, []).append(row)
    chosen: list[Example] = []
    turn = 0
    while len(chosen) < min(SAMPLES, len(rows)):
        waiting = [group[turn] for group in groups.values() if turn < len(group)]
        chosen += waiting[: SAMPLES - len(chosen)]
        turn += 1
    return [
        {
            "row": row,
            "gist": " ".join(shortened(subject_of(row), 160)[0].split()),
            "turns": row.turns[:MAX_TURNS],
            "more_turns": max(0, len(row.turns) - MAX_TURNS),
        }
        for row in chosen
    ]
