"""The card of a dataset: what it is, how it was made, on what terms, how to load it.

It goes where the rows go, so it names no path of this machine and quotes no row.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from luthier import __version__
from luthier.artifacts import DataStats
from luthier.console import size
from luthier.errors import RunError
from luthier.recipe import Recipe
from luthier.reporting import dataset_facts as facts
from luthier.reporting.left_out import read_rejects
from luthier.reporting.wording import count, last_part, printable, share, without_secrets
from luthier.run import Run

MAX_LABELS = 100
"""Labels of the table; of more, the commonest."""

# Identifiers the hub knows (https://huggingface.co/docs/hub/repositories-licenses), of those that
# datasets are published under.
_HUB_LICENCES = frozenset(
    """
    apache-2.0 mit openrail afl-3.0 artistic-2.0 bsl-1.0 bsd bsd-2-clause bsd-3-clause
    bsd-3-clause-clear c-uda cc cc0-1.0 cc-by-2.0 cc-by-2.5 cc-by-3.0 cc-by-4.0 cc-by-sa-3.0
    cc-by-sa-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nd-4.0 cc-by-nc-nd-3.0
    cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cdla-sharing-1.0
    cdla-permissive-1.0 cdla-permissive-2.0 wtfpl ecl-2.0 epl-1.0 epl-2.0 etalab-2.0 eupl-1.1
    eupl-1.2 agpl-3.0 gfdl gpl gpl-2.0 gpl-3.0 lgpl lgpl-2.1 lgpl-3.0 isc mpl-2.0 odc-by odbl
    osl-3.0 postgresql ofl-1.1 ncsa unlicense zlib pddl
    """.split()
)
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"),
          (1_000_000, "100K<n<1M"), (10_000_000, "1M<n<10M"), (100_000_000, "10M<n<100M"),
          (1_000_000_000, "100M<n<1B"))  # fmt: skip
_COLUMNS = {
    "id": "a hash of what the row says",
    "source": "where it came from",
    "row": "its line or row there",
    "counted": "whether `row` counts lines or rows",
    "split": "train, validation, calibration or test",
    "group": "rows of one group are near-duplicates and share a split",
    "template": "the template it was written with",
    "label": "the gold label (classification)",
    "text": "plain text (rows without a conversation)",
    "messages": "the conversation, whose last turn is the answer to be learned",
    "tools": "the tools that the assistant may call, as JSON",
    "licence": "licence of the row's source",
    "commercial": "whether it may be used commercially: yes, no or unclear",
    "generator": "the model that wrote it; null: people did, or nobody said",
    "generator_terms": "what that model's terms say of training on its outputs",
    "parents": "ids of the rows it was made from",
    "fields": "the columns of the source, as JSON",
}
_MARKS = re.compile(r"([\\`*_{}\[\]<>|#~$])")


def write_dataset_card(run: Run) -> Path:
    """Write `data/README.md`: a dataset card as the hub reads it, metadata block first.

    Args:
        run: a run whose data stage has finished. Write the card after the stage, since everything
            that lies in its folder by then counts as its outcome.

    Returns:
        The card's path. The same dataset always gives the same card, byte for byte.

    Raises:
        RunError: statistics or rows are missing or damaged.
    """
    recipe, stats = run.recipe, DataStats.load(run)
    parts = [
        _front_matter(recipe, stats),
        f"# {_text(recipe.name)}",
        _what_it_is(recipe, stats),
        "## How it was made",
        *_how(run, recipe, stats),
        "## Splits and lengths",
        *_splits(stats),
        *_labels(stats, recipe),
        "## Terms of use",
        *_terms(stats),
        "## How to load it",
        *_loading(run, recipe, stats),
        "## Files",
        _table(
            ["file", "size", "SHA-256"],
            [(f"`{name}`", size(n), f"`{digest}`") for name, n, digest in facts.data_files(run)],
            numbers=[1],
        ),
        *_note_on_rejects(stats),
    ]
    card = without_secrets(printable("\n\n".join(parts) + "\n"))
    run.write_text(f"data/{facts.CARD}", card)
    return run.path / "data" / facts.CARD


# --- metadata ------------------------------------------------------------------------------------


def _front_matter(recipe: Recipe, stats: DataStats) -> str:
    kind = recipe.task.kind
    _, _, used = facts.totals(stats)
    task = "text-classification" if kind == "classification" else "text-generation"
    tags = ["luthier", kind] + ([] if kind == "text" else ["instruction-tuning"])
    metadata: dict[str, Any] = {
        "pretty_name": recipe.name,
        **_licence(stats),
        "task_categories": [task],
        "size_categories": [next((name for most, name in _SIZES if used < most), "n>1B")],
        "tags": tags,
        # Without it the hub would take stats.json and the rejects for rows, too.
        "configs": [
            {
                "config_name": "default",
                "data_files": [
                    {"split": name, "path": f"{name}.parquet"} for name in facts.splits_of(stats)
                ],
            }
        ],
    }
    yaml, text = YAML(), io.StringIO()
    yaml.default_flow_style = False
    yaml.dump(metadata, text)
    return f"---\n{text.getvalue()}---"


def _licence(stats: DataStats) -> dict[str, str]:
    """The hub's `license`: that of all rows, where they agree and the hub knows it."""
    found = {part.licence for part in stats.terms}
    if found <= {None}:
        return {"license": "unknown"}
    if len(found) > 1:
        return {"license": "other", "license_name": "mixed"}
    licence = str(found.pop())
    short = re.sub(r"-(only|or-later)$", "", licence.strip().lower().replace(" ", "-"))
    for name in (short, short.removesuffix("-1.0")):
        if name in _HUB_LICENCES:
            return {"license": name}
    return {"license": "other", "license_name": re.sub(r"[^a-z0-9.]+", "-", short).strip("-")}


# --- sections ------------------------------------------------------------------------------------


def _what_it_is(recipe: Recipe, stats: DataStats) -> str:
    _, _, used = facts.totals(stats)
    what = {
        "classification": f"inputs and their labels, one of {len(recipe.labels)}",
        "generation": "instructions and their answers",
        "chat": "conversations, each ending with an answer of the assistant",
        "text": "plain texts",
    }[recipe.task.kind]
    splits = ", ".join(
        f"{name} {count(stats.splits[name].rows)}" for name in facts.splits_of(stats)
    )
    statement, _ = facts.terms_statement(stats)
    return (
        f"{count(used)} rows ({splits}): {what}. Made by luthier {__version__} to adapt a language "
        f"model. {_text(statement)}"
    )


def _how(run: Run, recipe: Recipe, stats: DataStats) -> list[str]:
    read, rejected, used = facts.totals(stats)
    sources = facts.source_rows(stats, read_rejects(run.path / stats.rejects_file))
    parts = [
        f"{count(read)} rows were read, {count(rejected)} left out and {count(used)} used.",
        _table(
            ["source", "importer", "read", "left out", "used"],
            [
                (_text(last_part(s.name)), _text(s.importer), count(s.read), count(s.rejected),
                 "" if s.used is None else count(s.used))
                for s in sources
            ],
            numbers=[2, 3, 4],
        ),
        "\n".join(f"- {what}: {_text(how)}" for what, how in facts.steps(recipe, stats)),
    ]  # fmt: skip
    if stats.rows_rejected:
        reasons = [(_text(reason), count(n)) for reason, n in stats.rows_rejected.items()]
        parts += ["Rows left out, by reason:", _table(["reason", "rows"], reasons, numbers=[1])]
    if len(stats.mixture) > 1:
        rows = [
            (_text(last_part(p.source)), count(p.available), count(p.rows), share(p.share, 1),
             count(p.trained_tokens), share(p.trained_share, 1))
            for p in stats.mixture
        ]  # fmt: skip
        names = ["source", "has", "gives", "share", "trained tokens", "share of them"]
        parts += [
            "Mixture of the training rows; trained tokens are what the loss sees:",
            _table(names, rows, numbers=range(1, 6)),
        ]
    return parts


def _splits(stats: DataStats) -> list[str]:
    rows = []
    for name in facts.splits_of(stats):
        tokens = stats.splits[name].tokens
        counts = (stats.splits[name].rows, tokens.min, tokens.median, tokens.p95, tokens.max,
                  tokens.total, tokens.trained)  # fmt: skip
        rows.append((name, *map(count, counts)))
    names = ["split", "rows", "shortest", "median", "95 %", "longest", "tokens", "trained tokens"]
    return [
        "Lengths are tokens of a whole row as the model reads it; trained tokens carry loss.",
        _table(names, rows, numbers=range(1, 8)),
    ]


def _labels(stats: DataStats, recipe: Recipe) -> list[str]:
    labels = facts.labels_of(stats, recipe)
    if not labels:
        return []
    splits = facts.splits_of(stats)
    per_label = {
        label: [stats.splits[name].labels.get(label, 0) for name in splits] for label in labels
    }
    every = sum(map(sum, per_label.values()))
    shown = labels
    if len(labels) > MAX_LABELS:
        shown = sorted(labels, key=lambda label: -sum(per_label[label]))[:MAX_LABELS]
    rows = [
        (_text(label) or "(empty)", *map(count, per_label[label]),
         share(sum(per_label[label]), every))
        for label in shown
    ]  # fmt: skip
    more = (
        [f"The {MAX_LABELS} commonest of {count(len(labels))}."] if len(shown) < len(labels) else []
    )
    return [
        "## Labels",
        *more,
        _table(["label", *splits, "share"], rows, numbers=range(1, len(splits) + 2)),
    ]


def _terms(stats: DataStats) -> list[str]:
    statement, needs_attention = facts.terms_statement(stats)
    mark = "**" if needs_attention else ""
    said = [f"{mark}{_text(statement)}{mark} This is bookkeeping, not legal advice."]
    if not stats.terms:
        return said
    rows = [
        (
            _text(last_part(part.source)),
            count(part.rows),
            _text(part.licence or "not said"),
            part.commercial,
            _text(part.generator or "people, or not said"),
            _text(part.generator_terms or ("not known" if part.generator else "")),
        )
        for part in stats.terms
    ]
    names = ["source", "rows", "licence", "commercial use", "written by", "terms of the writer"]
    return [*said, _table(names, rows, numbers=[1])]


def _loading(run: Run, recipe: Recipe, stats: DataStats) -> list[str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    split = facts.splits_of(stats)[0]
    path = run.path / "data" / f"{split}.parquet"
    try:
        columns = pq.read_schema(path).names
    except FileNotFoundError:
        raise RunError(f"{path} is missing. Repeat `luthier build`.") from None
    except (OSError, pa.ArrowException) as error:
        said = str(error).split("\n")[0]
        raise RunError(f"{path} cannot be read: {said}. Repeat `luthier build`.") from None
    shown = 'row["text"]' if recipe.task.kind == "text" else 'row["messages"][-1]["content"]'
    code = (
        "from datasets import load_dataset\n\n"
        'dataset = load_dataset("data")  # the folder of this card, or its id on the hub\n'
        f'row = dataset["{split}"][0]\n'
        f"print({shown})"
    )
    described = [(f"`{name}`", _COLUMNS.get(name, "")) for name in columns]
    return [f"```python\n{code}\n```", "Columns:", _table(["column", "what it holds"], described)]


def _note_on_rejects(stats: DataStats) -> list[str]:
    if not stats.rows_rejected:
        return []
    name = Path(stats.rejects_file).name
    return [
        f"`{name}` holds the rows that were left out, with what they say: personal data that a "
        "filter found stands there. It is no part of the dataset; leave it behind when publishing."
    ]


# --- Markdown ------------------------------------------------------------------------------------


def _text(text: str) -> str:
    """Text of somebody else as Markdown that says just that, on one line."""
    return _MARKS.sub(r"\\\1", " ".join(text.split()))


def _table(
    names: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: Iterable[int] = ()
) -> str:
    """A table; `numbers` are the columns that are set to the right."""
    right = set(numbers)
    rule = ["---:" if i in right else "---" for i in range(len(names))]
    lines = [names, rule, *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
