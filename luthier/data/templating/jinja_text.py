"""Renders templates of promptsource: what they need, and the parts between their `|||`.

Within which limits, `jinja_sandbox.py` says.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from jinja2 import Template, TemplateSyntaxError, meta, nodes

from luthier.data.templating.draws import Draw
from luthier.data.templating.jinja_budget import MAX_CHARACTERS, RENDERING, Rendering, size_of
from luthier.data.templating.jinja_sandbox import CHOICES, ENVIRONMENT, Metered
from luthier.data.templating.template_fields import MissingField, Skipped

_ONE_CHOICE = re.compile(
    r"\s*(?:\{%-?\s*if\b[^%]*%\}\s*)?"
    r"\{\{-?\s*answer_choices\s*\[[^{}]*\]\s*-?\}\}\s*"
    r"(?:\{%-?\s*end(?:if|for)\s*-?%\}\s*)*"
)
_SEPARATOR = f"\ue000{secrets.token_hex(16)}\ue001"
"""Stands for the template's own `|||`: no field can hold it, and those in fields stay text."""


class Compiled(NamedTuple):
    """A piece of Jinja that is ready to be rendered."""

    template: Template
    needs: tuple[str, ...]
    """Fields it cannot do without, in order of appearance; not those it only asks about with
    `is defined` or has a default for."""
    asks: tuple[str, ...]
    """Those of them that can be printed before the first `|||`."""
    own: frozenset[str]
    """Names that it sets itself."""


@lru_cache(maxsize=4096)
def compiled(source: str) -> Compiled:
    """Read a piece of Jinja.

    Raises:
        jinja2.TemplateSyntaxError: it is not valid Jinja, or reads other files.
    """
    tree = ENVIRONMENT.parse(source.replace("|||", _SEPARATOR))
    for node in tree.find_all((nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends)):
        raise TemplateSyntaxError("a template cannot read other files", node.lineno)
    undeclared = meta.find_undeclared_variables(tree) - set(ENVIRONMENT.globals)
    uses: dict[str, bool] = {}
    for name in _names(tree):
        uses.setdefault(name.name, name.ctx == "load")
    # Jinja calls undeclared, too, what is set in some case only; what is read first is a field.
    free = [name for name, is_read_first in uses.items() if is_read_first and name in undeclared]
    optional = set(_let_off(tree))
    printed: dict[str, None] = {}
    _printed_before(tree, printed)
    own = {n.name for n in tree.find_all(nodes.Name) if n.ctx != "load"} - set(free)
    metered = Metered().visit(tree)
    return Compiled(
        ENVIRONMENT.from_string(metered),
        needs=tuple(name for name in free if name not in optional),
        asks=tuple(name for name in printed if name in free),
        own=frozenset(own),
    )


def _names(node: nodes.Node) -> Iterator[nodes.Name]:
    """All names in the order in which they are used: a value before the name it is given to."""
    if isinstance(node, nodes.Name):
        yield node
    children = list(node.iter_child_nodes())
    if isinstance(node, nodes.Assign):
        children = [node.node, node.target]
    elif isinstance(node, nodes.For):
        children = [node.iter, *(c for c in children if c is not node.iter)]
    for child in children:
        yield from _names(child)


def _let_off(tree: nodes.Node) -> Iterator[str]:
    """Names that are asked whether they are there, or have a default."""
    for test in tree.find_all(nodes.Test):
        if test.name in ("defined", "undefined") and isinstance(test.node, nodes.Name):
            yield test.node.name
    for found in tree.find_all(nodes.Filter):
        if found.name in ("default", "d") and isinstance(found.node, nodes.Name):
            yield found.node.name


def _printed_before(node: nodes.Node, found: dict[str, None]) -> bool:
    """Collect names up to the separator, without those in conditions; whether it was reached."""
    if isinstance(node, nodes.TemplateData):
        return _SEPARATOR in node.data
    if isinstance(node, nodes.Const):
        return isinstance(node.value, str) and _SEPARATOR in node.value
    if isinstance(node, nodes.Name):
        found[node.name] = None
        return False
    if isinstance(node, nodes.If):
        branches: list[Sequence[nodes.Node]] = [node.body, *([e] for e in node.elif_), node.else_]
        return any([_printed_in_order(branch, found) for branch in branches])
    return _printed_in_order(node.iter_child_nodes(), found)


def _printed_in_order(children: Iterable[nodes.Node], found: dict[str, None]) -> bool:
    return any(_printed_before(child, found) for child in children)


def parts(
    source: str,
    choices: str | None,
    fields: Mapping[str, Any],
    draw: Draw | None,
    *,
    first_only: bool = False,
) -> list[str]:
    """Render a template of promptsource: the parts between its `|||`, without outer white space.

    `|||` in a field is text. Nothing is cut: promptsource itself shortens fields to 2,048
    characters.

    Args:
        source: Jinja.
        choices: Jinja of the answer choices, separated by `|||`; may use the row's fields.
        fields: of the row; nothing in them is understood as Jinja.
        draw: decides what `choice` and `random` give; None: the first item.
        first_only: render only up to the first `|||`, so that what stands behind may be unknown.

    Raises:
        MissingField: the template uses a field that is not there.
        Skipped: it breaks a limit, or cannot be rendered with what the row holds.
    """
    found = compiled(source)
    rendering = Rendering(draw, MAX_CHARACTERS + 4 * size_of(dict(fields), 10**12))
    token = RENDERING.set(rendering)
    try:
        given = {str(name): _copied(value) for name, value in fields.items()}
        rendering.held["the row"] = given
        if CHOICES in found.needs or CHOICES in found.asks:
            given[CHOICES] = _choices(choices, given, rendering)
        rendering.own = found.own
        text = _rendered(found.template, given, rendering, until_separator=first_only)
    finally:
        RENDERING.reset(token)
    return [part.strip() for part in text.split(_SEPARATOR)]


def _choices(
    source: str | None, given: Mapping[str, Any], rendering: Rendering
) -> list[str] | None:
    if source is None:
        return None
    found = compiled(source)
    rendering.own = found.own
    text = _rendered(found.template, given, rendering, until_separator=False)
    return [choice.strip() for choice in text.split(_SEPARATOR)]


def _rendered(
    template: Template, given: Mapping[str, Any], rendering: Rendering, *, until_separator: bool
) -> str:
    pieces: list[str] = []
    size = 0
    try:
        for piece in template.stream(given):
            rendering.step()
            size += len(piece)
            rendering.refuse_larger(size)
            if until_separator and _SEPARATOR in piece:
                pieces.append(piece.partition(_SEPARATOR)[0])
                break
            pieces.append(piece)
    except (MissingField, Skipped):
        raise
    except Exception as error:  # a template's expressions can raise whatever their values do
        said = str(error).splitlines()[0] if str(error) else ""
        raise Skipped(f"cannot be rendered: {type(error).__name__} {said}".rstrip()) from None
    return "".join(pieces)


def _copied(value: Any) -> Any:
    """Lists and objects as copies, which a template may change."""
    if isinstance(value, Mapping):
        return {key: _copied(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_copied(item) for item in value]
    return value


def ends_with_a_choice(source: str) -> bool:
    """Whether what stands behind `|||` is one of the answer choices and nothing else."""
    _, _, behind = source.rpartition("|||")
    return _ONE_CHOICE.fullmatch(behind) is not None
