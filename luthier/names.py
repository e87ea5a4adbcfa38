"""Names in a recipe that stand for files of luthier: told with their lines before anything is run.

They are read off the folders; nothing of a stage is imported, so reading a recipe stays quick.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from luthier.errors import Problem, nearest
from luthier.explain import Lines, Place
from luthier.registry import Registry

FILTERS = Registry("filter", "luthier.data.filters")
FORMATS = Registry("format", "luthier.data.formats")
TEMPLATES = Registry("template", "luthier.data.templates")
GENERATORS = Registry("generator", "luthier.data.generators")
CATALOG = Registry("dataset", "luthier.data.catalog")
_GENERATE: Place = ("data", "sources", "*", "generate", "use")
NAMED: dict[Place, Registry] = {
    ("data", "sources", "*", "format"): FORMATS,
    ("data", "sources", "*", "format", "use"): FORMATS,
    _GENERATE: GENERATORS,
    ("data", "filters", "*", "use"): FILTERS,
    ("evaluate", "baselines", "*"): Registry("baseline", "luthier.evaluation.baselines"),
    ("evaluate", "metrics", "*"): Registry("metric", "luthier.evaluation.metrics"),
    ("ship", "exporters", "*"): Registry("exporter", "luthier.shipping.exporters"),
}
"""Where in a recipe a member of which registry is named; `*`: each entry of a list."""


def misnamed(tree: Mapping[str, Any], lines: Lines) -> list[Problem]:
    """Every name of a recipe that stands for nothing.

    Args:
        tree: the recipe before its shape is checked; what is not a text is left to that check.
        lines: where its keys stand.
    """
    problems = []
    for path, registry in NAMED.items():
        known = registry.names()
        problems += [
            _unknown(registry.kind, name, known, lines.where(at))
            for at, name in _texts(tree, path)
            if name not in known
        ]
    problems += _templates(tree, lines) + _datasets(tree, lines)
    problems += _options(tree, lines, FILTERS, ("data", "filters", "*", "use"))
    problems += _options(tree, lines, GENERATORS, _GENERATE, "llm", "budget", "window")
    return problems + _options(tree, lines, FORMATS, ("data", "sources", "*", "format", "use"))


def _files(registry: Registry) -> list[str]:
    """Members of a folder whose members are YAML files."""
    return sorted(path.stem for path in registry.folder.glob("*.yaml"))


def _templates(tree: Mapping[str, Any], lines: Lines) -> list[Problem]:
    """Templates that are neither packaged nor the path of a file."""
    known = _files(TEMPLATES)
    own = " A file of your own is given by its path, ending in .yaml or .json."
    places = [("data", "template"), ("data", "sources", "*", "template")]
    return [
        _unknown("template", name, known, lines.where(at), own)
        for place in places
        for path in (place, (*place, "*"))
        for at, name in _texts(tree, path)
        # `nli/follows` is one template of a set; the set's file tells which there are.
        if name.partition("/")[0] not in known
        and not name.partition("#")[0].endswith((".yaml", ".yml", ".json"))
    ]


def _datasets(tree: Mapping[str, Any], lines: Lines) -> list[Problem]:
    """Sets that the catalogue does not have."""
    known = _files(CATALOG)
    return [
        _unknown("dataset", name, known, lines.where(at))
        for at, name in _texts(tree, ("data", "sources", "*", "dataset"))
        if name not in known
    ]


def without_decisions(tree: Mapping[str, Any], lines: Lines, root: Path) -> list[Problem]:
    """A file of decisions that is not there.

    Args:
        tree: the recipe before its shape is checked.
        lines: where its keys stand.
        root: folder of the recipe.
    """
    problems = []
    for at, name in _texts(tree, ("data", "decisions")):
        path = root / Path(name).expanduser()
        if name.startswith("run:") or path.is_file():
            continue
        beside = [p.name for p in path.parent.glob("*.jsonl")] if path.parent.is_dir() else []
        hint = nearest(path.name, beside).strip() or "`luthier review` writes one."
        problems.append(Problem(lines.where(at), f"no file of decisions '{name}'.", hint))
    return problems


def _options(
    tree: Mapping[str, Any], lines: Lines, registry: Registry, path: Place, *own: str
) -> list[Problem]:
    """Options that a member does not take, and those it needs; `own` are keys of the section."""
    problems, kind = [], registry.kind
    for at, name in _texts(tree, path):
        if name not in registry.names():
            continue
        given, taken = _found(tree, at[:-1]), registry.options(name)
        for option in given.keys() - taken.keys() - {"use", *own}:
            hint = nearest(option, taken).strip() or f"Known: {', '.join(taken) or 'none'}."
            said = f"{kind} '{name}': unknown option '{option}'."
            problems.append(Problem(lines.where((*at[:-1], option)), said, hint))
        problems += [
            Problem(lines.where(at), f"{kind} '{name}' needs the option '{option}'.")
            for option, needed in taken.items()
            if needed and option not in given
        ]
    return problems


def _unknown(kind: str, name: str, known: Iterable[str], where: str, more: str = "") -> Problem:
    names = sorted(known)
    hint = nearest(name, names).strip() or f"Known: {', '.join(names)}."
    return Problem(where, f"unknown {kind} '{name}'.", hint + more)


def _texts(node: Any, path: Place, at: Place = ()) -> Iterator[tuple[Place, str]]:
    """Texts at a path of the recipe, with their places."""
    if not path:
        if isinstance(node, str):
            yield at, node
    elif path[0] == "*":
        for index, inner in enumerate(node if isinstance(node, list) else []):
            yield from _texts(inner, path[1:], (*at, index))
    elif isinstance(node, Mapping) and path[0] in node:
        yield from _texts(node[path[0]], path[1:], (*at, path[0]))


def _found(node: Any, path: Place) -> Any:
    for part in path:
        node = node[part]
    return node
