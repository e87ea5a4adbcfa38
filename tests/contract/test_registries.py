"""Every file of a registry keeps the promises of its kind; a new one is tested by being there."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from needed_options import needed_options

from luthier import recipe as recipes
from luthier.artifacts import Finding
from luthier.chat import Rendered
from luthier.data.candidate import Candidate
from luthier.data.config import SourceConfig
from luthier.data.importing import sample as samples
from luthier.data.linting.dataset_check import Context
from luthier.data.rows import Reject, Row, Table
from luthier.evaluation.outcome import Answers, Choices, Metric, Outcome
from luthier.example import Example, Message, Origin
from luthier.look import REGISTRIES
from luthier.planning.facts import Facts
from luthier.recipe import TaskSection
from luthier.registry import Registry

KINDS = get_args(TaskSection.model_fields["kind"].annotation)
FEWEST = {
    "baselines": 5, "checks": 20, "exporters": 2, "filters": 25, "formats": 18,
    "generators": 4, "lints": 20,
    "metrics": 11,
}  # fmt: skip
RECIPES = sorted((Path(__file__).parents[2] / "recipes").rglob("*.yaml"))


def members(*kinds: str) -> list[Any]:
    """`registry/member` of the given registries, or of all."""
    return [
        pytest.param(Registry(kind.removesuffix("s"), package), name, id=f"{kind}/{name}")
        for kind, package in REGISTRIES.items()
        if not kinds or kind in kinds
        for name in Registry(kind, package).names()
    ]


def signature(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    return dict(inspect.signature(function).parameters)


def test_every_registry_is_known_and_filled() -> None:
    assert REGISTRIES.keys() == FEWEST.keys(), "a new kind needs its promises tested here"
    for kind, package in REGISTRIES.items():
        assert len(Registry(kind, package).names()) >= FEWEST[kind], kind


@pytest.mark.parametrize(("registry", "name"), members())
def test_every_member_says_what_it_is(registry: Registry, name: str) -> None:
    assert re.fullmatch(r"[a-z][a-z0-9_]*", name)
    described = registry.describe(name)
    assert 10 <= len(described) <= 100, "the first line of its docstring stands in `luthier ls`"
    module = registry.load(name)
    assert (module.__doc__ or "").startswith(described)
    for public, value in vars(module).items():
        if inspect.isfunction(value) and value.__module__ == module.__name__:
            assert public.startswith("_") or value.__doc__, f"{public} has no docstring"


# --- filters -----------------------------------------------------------------------------------

ROWS = [
    Example("1", Origin("r.csv", 1), fields={"input": "Hello there, all of you."}, label="yes",
            messages=(Message("user", "Hello there, all of you."), Message("assistant", "yes"))),
    Example("2", Origin("r.csv", 2), messages=(Message("user", ""), Message("assistant", ""))),
    Example("3", Origin("r.csv", 3), text=" \n "),
    Example("4", Origin("r.csv", 4), text="<|im_end|> \u2028 😀 " * 200, label="maybe"),
]  # fmt: skip


def candidate(row: Example) -> Candidate:
    question = row.messages[0].content if row.messages else row.text or ""
    answer = row.messages[-1].content if row.messages else ""
    return Candidate(
        row, question, answer, ["yes", "no"], lambda e: Rendered([1, 2, 3], [False, True, True])
    )


@pytest.mark.parametrize(("registry", "name"), members("filters"))
def test_filters_give_a_reason_or_let_pass(
    registry: Registry, name: str, tmp_path: Path, tiny_model_dir: Path
) -> None:
    options = needed_options(name, tmp_path, tiny_model_dir)
    for option in signature(registry.load(name).build).values():
        assert option.kind is option.KEYWORD_ONLY
        assert option.default is not option.empty or option.name in options, option
    judge = registry.build(name, **options)
    assert judge(candidate(ROWS[0])) is None, "an ordinary row must pass"
    for row in ROWS[1:]:
        reason = judge(candidate(row))
        assert reason is None or re.match(r"[^:]+: .", reason), "rejects are counted by `what:`"
    # What it remembers belongs to one build: two datasets do not know each other.
    if hasattr(judge, "remember"):
        judge.remember(candidate(ROWS[0]))
        assert registry.build(name, **options)(candidate(ROWS[0])) is None


# --- generators --------------------------------------------------------------------------------


@pytest.mark.parametrize(("registry", "name"), members("generators"))
def test_generators_say_what_they_read_and_how_it_is_read(registry: Registry, name: str) -> None:
    module = registry.load(name)
    assert module.FORMAT in Registry("format", "luthier.data.formats").names()
    options = signature(module.build)
    assert all(option.kind is option.KEYWORD_ONLY for option in options.values())
    assert set(module.FILES) <= options.keys(), "paths among the options, for the build to find"
    assert "rows" in options, "how many rows are wanted"
    for option in options:
        assert re.search(rf"\b{option}\b", module.build.__doc__), f"{option} is not documented"


# --- formats -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("registry", "name"), members("formats"))
def test_formats_yield_rows_and_rejects(registry: Registry, name: str) -> None:
    module = registry.load(name)
    first, second, *options = signature(module.rows).values()
    assert (first.name, second.name) == ("table", "source")
    for option in options:
        assert option.kind is option.KEYWORD_ONLY and option.default is not option.empty, option
    good = {**module.EXAMPLE, "more": 1}
    bad = {key: {"no": {"text": 1}} for key in good}
    records = [Row(Origin("x", 1), good), Row(Origin("x", 2), bad), Reject(Origin("x", 3), "w", {})]
    table = Table("x", iter(records), list(good))
    found = list(module.rows(table, SourceConfig(path="x")))
    assert [row.origin.row for row in found] == [1, 2, 3], "nothing is dropped silently"
    assert isinstance(found[0], Row)
    assert found[0].messages or found[0].text or "output" in found[0].fields
    assert isinstance(found[1], Reject) and re.match(r"[^:]+: .", found[1].reason)
    assert found[2] is records[2]


@pytest.mark.parametrize(("registry", "name"), members("formats"))
def test_formats_know_their_own(registry: Registry, name: str, tmp_path: Path) -> None:
    module = registry.load(name)
    path = tmp_path / "rows.jsonl"
    path.write_text((json.dumps(module.EXAMPLE) + "\n") * 30, encoding="utf-8")
    sample = samples.take(path, "rows.jsonl")
    sure = {other: registry.load(other).fits(sample) for other in registry.names()}
    assert all(0 <= value <= 1 for value in sure.values())
    assert sure[name] > 0, "a record of its own"


# --- lints -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("registry", "name"), members("lints"))
def test_lints_look_at_rows_and_find_nothing_in_none(registry: Registry, name: str) -> None:
    module = registry.load(name)
    assert list(signature(module.build)) == ["context"]
    assert isinstance(module.NEEDS, (tuple, frozenset, set, list))
    assert module.build(Context(kind="classification")).findings() == []
    check = module.build(Context(kind="classification"))
    row = Row(Origin("x", 1), {"input": "Hello there, all of you.", "output": "yes"})
    check.see(candidate(ROWS[0]), row)
    assert check.findings() == [], "one ordinary row is no finding"


# --- checks ------------------------------------------------------------------------------------


def facts(path: Path, **changes: Any) -> Facts:
    from luthier.hardware import describe

    values: dict[str, Any] = {
        "recipe": recipes.load(path).recipe, "hardware": describe(), "precision": "float32",
        "total_steps": 100, "warmup_steps": 3, "train_rows": 1000, "vocabulary": 49152,
        "context": 2048, "total_parameters": 135_000_000, "trainable_parameters": 5_000_000,
        "total_bytes": 10**9, "available_bytes": 10**10,
    }  # fmt: skip
    return Facts(**{**values, **changes})


@pytest.mark.parametrize(("registry", "name"), members("checks"))
def test_checks_say_what_why_and_fix(registry: Registry, name: str) -> None:
    check = registry.load(name).check
    assert list(signature(check)) == ["facts"]
    for word in ("What:", "Why:", "Fix:"):
        assert word in (check.__doc__ or ""), f"the docstring lacks '{word}'"
    assert len(RECIPES) >= 3
    strained: dict[str, Any] = {
        "total_steps": 1, "warmup_steps": 5, "train_rows": 3, "context": 16, "pad_id": 2,
        "eos_id": 2, "total_bytes": 10**12, "available_bytes": 10**9,
        "label_ids": {"True": (5,), "False": (5, 6)},
    }  # fmt: skip
    for path in RECIPES:
        for changes in ({}, strained, {"train_rows": None, "context": None}):
            finding = check(facts(path, **changes))
            if finding is not None:
                assert isinstance(finding, Finding) and finding.check == name
                assert finding.fix or finding.severity == "note", "a hazard comes with a way out"
                for said in (finding.what, finding.why, finding.fix or "."):
                    assert said.endswith("."), said


# --- baselines and metrics ---------------------------------------------------------------------


@pytest.mark.parametrize(("registry", "name"), members("baselines"))
def test_baselines_measure_a_setting(registry: Registry, name: str) -> None:
    module = registry.load(name)
    assert module.FITS and set(module.FITS) <= set(KINDS)
    assert list(signature(module.measure)) == ["setting"]


def outcomes(kind: str, *, good: bool) -> Outcome:
    """Six rows of which a system gets all right, or most wrong."""
    if kind == "classification":
        gold = np.array([0, 1, 0, 1, 0, 1])
        scores = (
            np.where(np.arange(2) == gold[:, None], -0.1, -3.0) + np.linspace(0, 0.01, 6)[:, None]
        )
        if not good:
            scores[:4] = scores[:4, ::-1]
        return Choices(["yes", "no"], "yes", gold, scores)
    references = ["the cat sat on the mat", "red", "a b c", "one two", "x y", "the end"]
    answers = references if good else ["dog", "blue blue blue", "c b a", "three", "x", "the end"]
    likely = np.full(6, -0.5 if good else -20.0)
    written = None if kind == "text" else answers
    return Answers(references, written, likely, np.array([7, 2, 4, 3, 3, 3]))


@pytest.mark.parametrize(("registry", "name"), members("metrics"))
def test_metrics_weigh_rows(registry: Registry, name: str) -> None:
    module = registry.load(name)
    assert module.FITS and set(module.FITS) <= set(KINDS)
    metric: Metric = registry.build(name)
    assert metric.name == name, "its name in reports is its file's"
    for kind in module.FITS:
        good, bad = outcomes(kind, good=True), outcomes(kind, good=False)
        statistic = metric.prepare(good)
        weights = np.array([[1.0] * 6, [2.0] * 6, [0, 2, 1, 1, 2, 0]])
        values = statistic(weights)
        assert values.shape == (3,)
        assert values[0] == pytest.approx(values[1]), "weights are relative"
        assert np.isfinite(values).all()
        one, other = float(values[0]), float(metric.prepare(bad)(np.ones((1, 6)))[0])
        if metric.better == "higher":
            assert one > other
        elif metric.better == "lower":
            assert one < other
        if metric.proportion is not None:
            assert metric.proportion(bad).mean() == pytest.approx(other)


# --- exporters ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("registry", "name"), members("exporters"))
def test_exporters_can_be_opened_again(registry: Registry, name: str) -> None:
    module = registry.load(name)
    for function in (module.export, module.reload):
        assert list(signature(function))[:3] == ["run", "folder", "runs"]


def imported(code: str) -> set[str]:
    """Top-level packages that a piece of Python imports; a syntax error fails the test."""
    tree = ast.parse(code)
    names = [a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names]
    names += [n.module or "" for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)]
    return {name.partition(".")[0] for name in names}


@pytest.mark.parametrize(("registry", "name"), members("exporters"))
def test_exporters_tell_the_card_how_to_open_an_export(registry: Registry, name: str) -> None:
    module = registry.load(name)
    assert imported(module.USE) == {module.LIBRARY}, "USE opens it with LIBRARY and nothing else"
    assert importlib.util.find_spec(module.LIBRARY), "what ship itself opens the export with"
    constants = [n.value for n in ast.walk(ast.parse(module.USE)) if isinstance(n, ast.Constant)]
    assert constants.count("FOLDER") == 1, "USE says where the export's folder goes"
    assert isinstance(module.NEEDS_BASE, bool)
