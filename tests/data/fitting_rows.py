"""Rows that fit a Jinja template: what each field must be is read off how the template uses it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any

from jinja2 import nodes

TEXT_METHODS = (
    "capitalize", "count", "endswith", "find", "format", "isdigit", "islower", "isupper", "join",
    "lower", "lstrip", "replace", "rfind", "rsplit", "rstrip", "split", "splitlines", "startswith",
    "strip", "title", "upper", "index",
)  # fmt: skip
LIST_METHODS = ("append", "extend", "insert", "pop", "remove", "reverse", "sort")
LIST_FILTERS = (
    "join", "choice", "most_frequent", "first", "last", "list", "random", "map", "select",
    "reject", "selectattr", "rejectattr", "sort", "unique", "sum", "max", "min",
)  # fmt: skip
WORDS = [
    "A quiet street in the old town. Rain fell all day, and nobody came.",
    "The ferry leaves at noon; it returns at six, unless there is fog.",
    "green", "Monday", "0", "She asked why. He did not say: he had gone home.",
]  # fmt: skip


@dataclass
class Shape:
    """What is known of a value."""

    keys: dict[str, Shape] = field(default_factory=dict)
    item: Shape | None = None
    kinds: set[str] = field(default_factory=set)
    values: list[Any] = field(default_factory=list)
    """Constants it is compared with."""
    marks: list[str] = field(default_factory=list)
    """Texts that are looked for in it."""
    pieces: dict[str, Shape] = field(default_factory=dict)
    """What it is split into, by the separator."""

    def key(self, name: str) -> Shape:
        return self.keys.setdefault(name, Shape())

    def element(self) -> Shape:
        if self.item is None:
            self.item = Shape()
        return self.item

    def build(self, rng: Random) -> Any:
        if self.values and "list" not in self.kinds and rng.random() < 0.8:
            return rng.choice(self.values)
        if self.marks or self.pieces:
            return self.text(rng)
        if self.keys and self.item is None:
            return {name: shape.build(rng) for name, shape in self.keys.items()}
        if (self.item is not None and "text" not in self.kinds) or "list" in self.kinds:
            count = rng.randint(1, 6)
            inner = self.element()
            inner.keys.update(self.keys)
            return [inner.build(rng) for _ in range(count)]
        if "number" in self.kinds:
            return rng.randint(0, 4)
        if "text" in self.kinds:
            return rng.choice(WORDS)
        return rng.choice([*WORDS, *WORDS, rng.randint(0, 4)])

    def text(self, rng: Random) -> str:
        """A text with everything in it that is looked for."""
        found = rng.choice(WORDS)
        for separator, piece in self.pieces.items():
            count = rng.randint(2, 9)
            found = separator.join(str(piece.element().build(rng)) for _ in range(count))
        return found + "".join(mark + rng.choice(WORDS) for mark in dict.fromkeys(self.marks))


class Reader:
    """Reads what a template does with its fields."""

    def __init__(self) -> None:
        self.fields: dict[str, Shape] = {}
        self.names: dict[str, Shape] = {}

    def statement(self, node: nodes.Node) -> None:
        if isinstance(node, nodes.For):
            self.assign(node.target, self.expression(node.iter), of_loop=True)
            for child in [*([node.test] if node.test else []), *node.body, *node.else_]:
                self.statement(child)
        elif isinstance(node, nodes.Assign):
            self.assign(node.target, self.expression(node.node), of_loop=False)
        elif isinstance(node, nodes.Expr):
            self.expression(node)
        else:
            for child in node.iter_child_nodes():
                self.statement(child)

    def assign(self, target: nodes.Node, shape: Shape, *, of_loop: bool) -> None:
        if of_loop:
            shape.kinds.add("list")
            shape = shape.element()
        if isinstance(target, nodes.Name):
            self.names[target.name] = shape
        elif isinstance(target, nodes.Tuple):
            for place, part in enumerate(target.items):
                self.assign(part, shape.keys.get(str(place)) or shape.element(), of_loop=False)

    def expression(self, node: nodes.Node) -> Shape:
        reader = getattr(self, f"_{type(node).__name__.lower()}", None)
        if reader is not None:
            found: Shape = reader(node)
            return found
        for child in node.iter_child_nodes():
            self.expression(child)
        return Shape()

    def _name(self, node: nodes.Name) -> Shape:
        if node.name in self.names:
            return self.names[node.name]
        return self.fields.setdefault(node.name, Shape())

    def _const(self, node: nodes.Const) -> Shape:
        return Shape(values=[node.value])

    def _getattr(self, node: nodes.Getattr) -> Shape:
        if isinstance(node.node, nodes.Name) and node.node.name == "loop":
            return Shape()
        return self.expression(node.node).key(node.attr)

    def _getitem(self, node: nodes.Getitem) -> Shape:
        of, by = self.expression(node.node), node.arg
        if isinstance(by, nodes.Slice):
            for part in (by.start, by.stop, by.step):
                if part is not None:
                    self.expression(part).kinds.add("number")
            return of
        if isinstance(by, nodes.Const) and isinstance(by.value, str):
            return of.key(by.value)
        if not isinstance(by, nodes.Const):
            if of.keys:
                self.expression(by).values += [*of.keys]
            else:
                self.expression(by).kinds.add("number")
        return of.element()

    def _filter(self, node: nodes.Filter) -> Shape:
        of = self.expression(node.node) if node.node is not None else Shape()
        for child in node.args:
            self.expression(child)
        if node.name in LIST_FILTERS:
            of.kinds.add("list")
            texts = [a.value for a in node.args if isinstance(a, nodes.Const)]
            named = [k.value.value for k in node.kwargs if k.key == "attribute"]
            for name in named or (texts[:1] if node.name.endswith("attr") else []):
                of.element().key(str(name))
            if node.name.endswith("attr") and len(texts) > 2:
                of.element().key(str(texts[0])).values.append(texts[2])
            return of.element() if node.name in ("choice", "first", "last", "random") else of
        if node.name in ("lower", "upper", "trim", "replace", "title", "capitalize", "truncate"):
            of.kinds.add("text")
        if node.name in ("int", "round", "abs", "float"):
            of.kinds.add("number")
        return of if node.name in ("default", "int", "string", "list") else Shape()

    def _call(self, node: nodes.Call) -> Shape:
        arguments = [self.expression(a) for a in node.args]
        function = node.node
        if isinstance(function, nodes.Name) and function.name in ("range", "zip"):
            if function.name == "range":
                for shape in arguments:
                    shape.kinds.add("number")
                return Shape(item=Shape(kinds={"number"}))
            for shape in arguments:
                shape.kinds.add("list")
            parts = {str(i): shape.element() for i, shape in enumerate(arguments)}
            return Shape(item=Shape(keys=parts))
        if not isinstance(function, nodes.Getattr):
            return Shape()
        return self.method(self.expression(function.node), function.attr, node, arguments)

    def method(self, owner: Shape, name: str, node: nodes.Call, arguments: list[Shape]) -> Shape:
        constants = [a.value for a in node.args if isinstance(a, nodes.Const)]
        if name in ("split", "rsplit"):
            separator = constants[0] if constants else " "
            return owner.pieces.setdefault(separator, Shape(kinds={"list"}))
        if name == "startswith":
            owner.values += [f"{c} {WORDS[0]}" for c in constants]
        if name in ("index", "find") and constants:
            owner.marks += constants
        elif name in ("index", "count") and arguments:
            listed = [v for v in owner.values if isinstance(v, (list, str))]
            arguments[0].values += [v for one in listed for v in one]
        elif name == "items":
            owner.key("a")
            return Shape(item=Shape(keys={"0": Shape(kinds={"text"}), "1": owner.element()}))
        elif name in LIST_METHODS:
            owner.kinds.add("list")
        elif name in TEXT_METHODS:
            owner.kinds.add("text")
            for shape in arguments if name == "join" else []:
                shape.kinds.add("list")
        return owner if name in ("strip", "lower", "upper", "lstrip", "rstrip") else Shape()

    def _dict(self, node: nodes.Dict) -> Shape:
        pairs = [(p.key.value, p.value) for p in node.items if isinstance(p.key, nodes.Const)]
        return Shape(keys={key: self.expression(value) for key, value in pairs})

    def _list(self, node: nodes.List) -> Shape:
        inner = [self.expression(item) for item in node.items]
        constants = [v for shape in inner for v in shape.values]
        return Shape(kinds={"list"}, item=inner[0] if inner else Shape(), values=[constants])

    def _compare(self, node: nodes.Compare) -> Shape:
        left = self.expression(node.expr)
        for operand in node.ops:
            right = self.expression(operand.expr)
            if operand.op in ("in", "notin"):
                if isinstance(operand.expr, nodes.List):
                    left.values += right.values[0]
                elif right.values and isinstance(right.values[0], str):
                    left.values.append(right.values[0][:3])
                elif left.values:
                    right.values.append(f"{left.values[0]} {WORDS[0]}")
            else:
                shared = [*left.values, *right.values]
                if isinstance(node.expr, nodes.Const) or isinstance(operand.expr, nodes.Const):
                    left.values, right.values = list(shared), list(shared)
                if operand.op in ("lt", "gt", "lteq", "gteq"):
                    for shape in (left, right):
                        shape.kinds.add("number")
        return Shape()

    def _add(self, node: nodes.BinExpr) -> Shape:
        sides = [self.expression(node.left), self.expression(node.right)]
        numbers = [v for s in sides for v in s.values if isinstance(v, (int, float))]
        for shape in sides:
            shape.kinds.add("number" if numbers else "text")
        return Shape()

    def _sub(self, node: nodes.BinExpr) -> Shape:
        for side, other in ((node.left, node.right), (node.right, node.left)):
            found = self.expression(side)
            found.kinds.add("number")
            if isinstance(other, nodes.Const):  # `label - 32` is a place in a list
                found.values += [other.value, other.value + 1]
        return Shape()

    _mul = _div = _floordiv = _mod = _sub


def rows(trees: list[nodes.Template], attempts: int) -> Iterator[dict[str, Any]]:
    """Rows that might fit, the likeliest first; different ones for every attempt.

    Args:
        trees: the parsed answer choices and template.
        attempts: how many.
    """
    reader = Reader()
    choices = Shape(kinds={"list"}, item=Shape(kinds={"text"}))
    reader.names["answer_choices"] = choices
    for tree in trees:
        reader.statement(tree)
    for attempt in range(attempts):
        rng = Random(attempt)
        yield {name: shape.build(rng) for name, shape in reader.fields.items()}
