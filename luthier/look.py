"""`ls`, `show`, `diff` and the tables other commands print: looking, never changing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.text import Text

from luthier.artifacts import DataStats, Estimate, Evaluation, Plan, TrainSummary, load_examples
from luthier.console import (
    blank_lines_skipped,
    console,
    duration,
    say,
    size,
    table,
    visible,
)
from luthier.errors import LuthierError, RunError, unknown
from luthier.made_with import MadeWith, base_of, recipe_of
from luthier.registry import Registry
from luthier.run import RUNS, STAGES, Run, list_runs

REGISTRIES = {
    "baselines": "luthier.evaluation.baselines",
    "checks": "luthier.planning.checks",
    "exporters": "luthier.shipping.exporters",
    "filters": "luthier.data.filters",
    "formats": "luthier.data.formats",
    "generators": "luthier.data.generators",
    "lints": "luthier.data.checks",
    "metrics": "luthier.evaluation.metrics",
}
WIDTH = 80
"""Characters of a line in a terminal as it opens, and in a log file."""
OTHERS = ("datasets", "models", "runs", "starters", "templates")


# --- ls ----------------------------------------------------------------------------------------


def list_things(what: str, runs: Path) -> list[dict[str, Any]]:
    """List the members of a kind and print them.

    Raises:
        LuthierError: no such kind.
    """
    if what == "runs":
        found = [_run_line(run) for run in list_runs(runs)]
    elif what in REGISTRIES:
        members = Registry(what.removesuffix("s"), REGISTRIES[what])
        found = [{"name": n, "describe": members.describe(n)} for n in members.names()]
    elif what == "models":
        from luthier.model import ALIASES

        found = [
            {"name": name, "describe": alias.describe, "hub": alias.hub or ""}
            for name, alias in ALIASES.items()
        ]
    elif what == "templates":
        from luthier.data.templating.template import template_names
        from luthier.data.templating.template_sets import described

        found = [{"name": n, "describe": described(n)} for n in template_names()]
    elif what == "datasets":
        return _list_datasets()
    elif what == "starters":
        from luthier.starters import names

        found = [{"name": n} for n in names()]
    else:
        raise LuthierError(unknown("kind of thing", what, [*REGISTRIES, *OTHERS]))
    if found:
        table(what, list(found[0]), [[str(v) for v in line.values()] for line in found])
    else:
        say(f"no {what}" + (f" in {runs}/; make one with `luthier run`" if what == "runs" else ""))
    return found


def _list_datasets() -> list[dict[str, Any]]:
    from luthier.data import catalog
    from luthier.data.terms import terms_of

    entries = [(name, catalog.entry(name)) for name in catalog.names()]
    found: list[dict[str, Any]] = [
        {"name": n, "size": e.size, "rows": e.rows, "authors": e.authors, "year": e.year,
         "licence": e.licence, "written by": e.generator or "people",
         "commercial": terms_of(None, e).commercial, "format": e.format}
        for n, e in entries
    ]  # fmt: skip
    columns = ("name", "size", "commercial", "written by")
    shown = [[d["name"], *(_first_clause(d[c]) for c in columns[1:])] for d in found]
    table("datasets (all of one: luthier show dataset NAME)", columns, shown)
    return found


def _first_clause(text: str) -> str:
    """What a table has room for."""
    return (
        re.split(r"[;,] ?(?!\d)| \(| (?:in|for|of|without) ", text, maxsplit=1)[0].strip() or text
    )


def _run_line(run: Run) -> dict[str, Any]:
    try:
        return _figures(run)
    except RunError as error:  # one damaged run must not hide the others
        columns = dict.fromkeys(("name", "model", "overrides", "done", "metric", "value"), "")
        return columns | {"name": run.name, "done": str(error)}


def _figures(run: Run) -> dict[str, Any]:
    done = [stage for stage in STAGES if run.is_done(stage)]
    line: dict[str, Any] = {
        "name": run.name,
        "model": MadeWith.of(run).recipe.model.name,
        "overrides": " ".join(run.overrides),
        "done": done[-1] if done else "nothing",
    }
    metric = value = ""
    if run.is_done("evaluate"):
        found = Evaluation.load(run)
        metric = found.main_metric
        if (estimate := found.systems[0].metrics.get(metric)) is not None:
            value = f"{estimate.value:.3f}"
    return line | {"metric": metric, "value": value}


# --- show --------------------------------------------------------------------------------------


def show_dataset(name: str) -> dict[str, Any]:
    """Print what the catalogue knows of a public set.

    Raises:
        LuthierError: no such set.
    """
    from luthier.data import catalog
    from luthier.data.terms import terms_of

    entry = catalog.entry(name)
    terms = terms_of(None, entry)
    lines = {
        "size": entry.size,
        "made by": f"{entry.authors}, {entry.year}",
        "how": entry.made,
        "licence": f"{entry.licence} (commercial use: {entry.commercial})",
        "written by": entry.generator or "people",
        "its terms": entry.generator_terms or "none",
        "together": f"commercial use: {terms.commercial}",
        "languages": ", ".join(entry.languages),
        "format": entry.format,
        "home": ", also ".join([entry.home, *entry.also]),
        "paper": f"arXiv {entry.paper}" if entry.paper else "none",
        "facts from": "; ".join(entry.sources),
    }
    table(entry.title, ["", ""], [[key, value] for key, value in lines.items()])
    say("known defects:", style="bold")
    for defect in entry.defects or ["none known"]:
        say(f"  - {defect}")
    say("in a recipe:", style="bold")
    say(entry.use.rstrip())
    return {"name": name, **entry.model_dump(mode="json"), "commercial_together": terms.commercial}


def show_run(run: Run) -> dict[str, Any]:
    """Print what a run is and how far it is."""
    recipe = recipe_of(run, measured=True)
    say(f"{run.path}: {recipe.task.kind} with {recipe.model.name}, seed {recipe.seed}", "bold")
    shown: dict[str, Any] = {
        "run": str(run.path), "recipe": recipe.resolved(), "lock": MadeWith.of(run).lock
    }  # fmt: skip
    stages = {s: duration(run.seconds(s)) if run.is_done(s) else "not yet" for s in STAGES}
    table("stages", ["stage", "took"], [[s, t] for s, t in stages.items()])
    if run.is_done("data"):
        shown["data"] = show_data(run)
    if run.is_done("train"):
        summary = TrainSummary.load(run)
        shown["train"] = summary.model_dump(mode="json")
        say(
            f"trained {summary.steps} steps in {duration(summary.seconds)}, peak "
            f"{size(summary.peak_bytes)}, weights in {run.path / summary.weights}"
        )
        if changed := sorted(_differences(recipe.resolved(), run.recipe.resolved())):
            said = f"the recipe has changed since, the weights have not: {', '.join(changed)}"
            say(said, style="yellow")
        shown["changed_since"] = changed
    if run.is_done("evaluate"):
        shown["evaluation"] = show_run_evaluation(run)
    return shown


def show_data(run: Run) -> dict[str, Any]:
    """Print what the data stage made."""
    stats = DataStats.load(run)
    rows = []
    for split, found in stats.splits.items():
        labels = ", ".join(f"{label} {count}" for label, count in found.labels.items())
        tokens = f"{found.tokens.median} ({found.tokens.max})"
        rows.append([split, f"{found.rows:,}", tokens, labels])
    table("data", ["split", "rows", "tokens median (max)", "labels"], rows)
    for reason, count in stats.rows_rejected.items():
        say(f"rejected {count}: {reason}")
    for name, count in stats.blank_lines.items():
        say(blank_lines_skipped(name, count))
    if (seen := stats.review) is not None:
        say(
            f"reviewed: {seen.kept:,} kept, {seen.edited:,} edited, {seen.dropped:,} dropped, "
            f"{seen.undecided + seen.skipped:,} undecided"
        )
    if stats.rows_rejected:
        say(f"rejected rows: {run.path / stats.rejects_file}", style="dim")
    if (page := run.path / "data" / "dataset.html").is_file():
        say(f"dataset page:  {page}", style="dim")
    return stats.model_dump(mode="json")


def show_plan(run: Run) -> dict[str, Any]:
    """Print the plan."""
    plan = Plan.load(run)
    table(
        f"memory: {size(plan.total_bytes)} of {size(plan.available_bytes)} on {plan.device}"
        + ("" if plan.fits else "  DOES NOT FIT"),
        ["part", "bytes", "how"],
        [[p.part, size(p.bytes), p.how] for p in plan.memory],
    )
    unknown = "not known yet"
    rows = [[d.key, unknown if d.value is None else str(d.value), d.why] for d in plan.decisions]
    table("decided for you", ["key", "value", "why"], rows)
    took = "" if plan.seconds is None else f", about {duration(plan.seconds)}"
    if plan.train_rows:
        work = (
            f"{plan.total_steps:,} optimizer steps over {plan.train_rows:,} rows, "
            f"{plan.tokens_per_epoch:,} tokens an epoch"
        )
    else:
        steps = f"{plan.total_steps:,} optimizer steps over " if plan.total_steps else ""
        work = f"{steps}rows {unknown}"
    say(
        f"{work}, precision {plan.precision}, "
        f"{plan.trainable_parameters:,} of {plan.total_parameters:,} parameters{took}"
    )
    show_findings(plan)
    return plan.model_dump(mode="json")


def show_findings(plan: Plan) -> None:
    """Print what the checks found, errors first."""
    styles = {"error": "red", "warning": "yellow", "note": ""}
    for finding in plan.findings:
        said = f"{finding.severity}: {finding.what} {finding.why} {finding.fix} [{finding.check}]"
        say(said, style=styles[finding.severity])


def show_run_evaluation(run: Run) -> dict[str, Any]:
    """Print the evaluation of a run."""
    return show_evaluation(Evaluation.load(run))


def show_evaluation(found: Evaluation) -> dict[str, Any]:
    """Print systems against each other, slices, and what a reader must not miss."""
    columns, rows = _results(found)
    table(f"{found.rows} test rows, 95 % intervals", columns, rows)
    if found.slices:
        columns = list(dict.fromkeys(c for values in found.slices.values() for c in values))
        slices = [
            [name, *(_figure(c, values[c]) if c in values else "" for c in columns)]
            for name, values in found.slices.items()
        ]
        table("slices of the tuned model", ["slice", *columns], slices)
    if found.calibration:
        c = found.calibration
        say(
            f"calibration: temperature {c.temperature:.2f}; expected calibration error "
            f"{c.before['ece']:.3f} -> {c.after['ece']:.3f} "
            f"(noise floor {c.after['ece_noise_floor']:.3f})"
        )
    for note in found.notes:
        say(note, style="yellow")
    return found.model_dump(mode="json")


def _figure(name: str, estimate: Estimate) -> str:
    return f"{estimate.value:.0f}" if name == "rows" else _interval(estimate)


def _results(found: Evaluation) -> tuple[list[str], list[list[str]]]:
    """Columns and rows of the results, a line for each system or, if too wide, for each metric."""
    metrics = list(found.systems[0].metrics)
    cells = [["system", *metrics, "took"]]
    for system in found.systems:
        estimates = [system.metrics.get(metric) for metric in metrics]
        shown = ["" if e is None else _interval(e, between="\n") for e in estimates]
        cells.append([system.name, *shown, f"{system.seconds:.0f} s"])
    width = 1 + sum(
        3 + max(len(line) for cell in column for line in cell.split("\n"))
        for column in zip(*cells, strict=True)
    )
    if width > WIDTH:
        cells = [list(line) for line in zip(*cells, strict=True)]
        cells[0][0] = "metric"
    return cells[0], cells[1:]


def _interval(estimate: Estimate, *, between: str = " ") -> str:
    value = f"{estimate.value:.3f}"
    if estimate.low is None:
        return value
    return f"{value}{between}[{estimate.low:.3f}, {estimate.high:.3f}]"


def show_tokens(run: Run, rows: int, runs: Path = RUNS) -> dict[str, Any]:
    """Print training rows token by token: trained ones in colour, the others dim."""
    from luthier.chat import Renderer
    from luthier.model import open_tokenizer

    run.require("data")
    tokenizer = open_tokenizer(base_of(run, runs), runs)
    renderer = Renderer(tokenizer, MadeWith.of(run).recipe.train.train_on)
    shown = []
    for example in load_examples(run, "train")[:rows]:
        rendered = renderer.render(example)
        pieces = _pieces(tokenizer, rendered.input_ids)
        say(f"\n{example.origin}  {len(pieces)} tokens, {sum(rendered.trained)} trained", "bold")
        console.print(_marked(pieces, rendered.trained))
        shown.append(
            {
                "origin": str(example.origin),
                "tokens": [
                    {"id": i, "text": p, "trained": t}
                    for i, p, t in zip(rendered.input_ids, pieces, rendered.trained, strict=True)
                ],
            }
        )
    legend = "green: trained" if console.color_system else "⟦...⟧: trained"
    say(f"\n{legend}; the rest is only read. Every answer ends with its stop token.")
    return {"run": str(run.path), "rows": shown}


def _marked(pieces: list[str], trained: list[bool]) -> Text:
    """Tokens with a dot between them; trained ones in colour, or in brackets without colours."""
    line = Text()
    colour = console.color_system is not None
    before = False
    for piece, marked in zip(pieces, trained, strict=True):
        if marked != before and not colour:
            line.append("⟦" if marked else "⟧")
        before = marked
        shown = visible(piece).replace("\n", "⏎\n")
        line.append(shown, style="black on green" if marked else "dim")
        line.append("·" if not shown.endswith("\n") else "", style="bright_black")
    if before and not colour:
        line.append("⟧")
    return line


def _pieces(tokenizer: Any, ids: list[int]) -> list[str]:
    """The text of each token; one that is part of a character shows the replacement sign."""
    return [tokenizer.decode([i]) for i in ids]


def show_doctor() -> dict[str, Any]:
    """Print what `doctor` found."""
    from luthier.doctor import diagnose

    found = diagnose()
    rows = [
        [section, key, str(value)]
        for section, values in found.items()
        if isinstance(values, dict)
        for key, value in values.items()
    ]
    table("this machine", ["", "what", "found"], rows)
    for problem in found["problems"]:
        say(f"problem: {' '.join(str(v) for v in problem.values())}", style="red")
    if not found["problems"]:
        say("no known problem", style="green")
    return found


# --- diff --------------------------------------------------------------------------------------


def diff(first: Run, second: Run) -> dict[str, Any]:
    """Print what differs between two runs: settings, versions, data, results."""
    recipes = [recipe_of(run, measured=True).resolved() for run in (first, second)]
    settings = _differences(*recipes)
    versions = _differences(MadeWith.of(first).lock, MadeWith.of(second).lock)
    # Hashes of the recipe and the seed are settings again.
    versions = {k: v for k, v in versions.items() if not k.endswith("sha256") and k != "seed"}
    for title, found in (("settings", settings), ("versions", versions)):
        rows = [[k, str(a), str(b)] for k, (a, b) in found.items()]
        if rows:
            table(title, ["key", first.name, second.name], rows)
        else:
            say(f"{title}: equal")
    same_data: bool | None = None
    if first.is_done("data") and second.is_done("data"):
        same_data = first.digest("data") == second.digest("data")
        say(f"data: {'equal' if same_data else 'different'}")
    metrics: dict[str, Any] = {}
    if first.is_done("evaluate") and second.is_done("evaluate"):
        one, two = (Evaluation.load(run).systems[0].metrics for run in (first, second))
        metrics = {
            m: {"first": one[m].value, "second": two[m].value,
                "difference": two[m].value - one[m].value}
            for m in one if m in two
        }  # fmt: skip
        rows = [
            [m, _interval(one[m]), _interval(two[m]), f"{v['difference']:+.3f}"]
            for m, v in metrics.items()
        ]
        table("results of the tuned models", ["metric", first.name, second.name, "change"], rows)
        if not same_data:
            say("the test rows differ: the results cannot be compared directly", style="yellow")
    return {
        "settings": {k: list(v) for k, v in settings.items()},
        "versions": {k: list(v) for k, v in versions.items()},
        "same_data": same_data,
        "metrics": metrics,
    }


def _differences(first: Any, second: Any) -> dict[str, tuple[Any, Any]]:
    one, two = dict(_leaves(first, "")), dict(_leaves(second, ""))
    return {
        key: (one.get(key), two.get(key))
        for key in sorted(one.keys() | two.keys())
        if one.get(key) != two.get(key)
    }


def _leaves(value: Any, at: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _leaves(item, f"{at}.{key}" if at else str(key))
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for index, item in enumerate(value):
            yield from _leaves(item, f"{at}.{index}")
    else:
        yield at, value
