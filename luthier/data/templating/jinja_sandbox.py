"""The sandbox that Jinja of template files runs in, and its limits.

What is guaranteed, whatever a template says:

- It reads nothing but the row: attributes that start with an underscore, internals of Python,
  other files and modules are out of reach (jinja2's sandbox).
- It does at most `MAX_STEPS` steps; a step is a turn of a loop, a call, a filter, a test or an
  operator that can make something large. `range` gives at most 100,000 numbers.
- No step takes in or makes more than `MAX_CHARACTERS` characters (or items) beyond four times
  what the row holds, and neither does the text that comes out. What a template keeps, in lists,
  objects and under names, and prints into blocks and macros, is at most four times that
  (`jinja_budget.py`). So each step ends soon, memory is bounded, and so is the time. The clock is
  read at every step and before every piece of text, and
  rendering stops when `MAX_SECONDS` are over; no signal or thread is needed for that. On any usual
  machine the limit on steps comes first, so that a slow one renders the same rows.
- `choice` and `random` draw by the row's `Draw`; nothing else is random.

A template that breaks a limit is `Skipped` for the row with a reason; nothing is cut.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import wraps
from typing import Any, NoReturn, cast

from jinja2 import Undefined, nodes
from jinja2.filters import FILTERS
from jinja2.sandbox import SandboxedEnvironment
from jinja2.tests import TESTS
from jinja2.utils import missing
from jinja2.visitor import NodeTransformer

from luthier.data.templating.jinja_budget import RENDERING, Rendering, size_of
from luthier.data.templating.template_fields import MissingField, Skipped

CHOICES = "answer_choices"
"""The name under which Jinja finds the template's own answers."""
_WIDEST = 10_000
"""Largest width, number of columns or of digits that a template may ask for."""
_LONGEST = 200_000
"""Characters that filters which work long on them may be given."""
_WIDTHS = re.compile(r"%(?:\([^)]{0,200}\))?([-+ #0-9.*]*)|\{[^{}]*:([^{}]*)")
_COMPUTED_WIDTH = re.compile(r"%(?:\([^)]{0,200}\))?[-+ #0-9.]*\*|\{[^{}]*\{")
_MOST_BITS = 10_000
"""Of a whole number."""


def _length(value: Any) -> int:
    return len(value) if isinstance(value, (str, list, tuple, dict, range)) else 1


def _size_within(value: Any, rendering: Rendering) -> int:
    size = size_of(value, rendering.limit)
    rendering.refuse_larger(size)
    return size


def _weighed(value: Any) -> Any:
    """The value, if it is not too large to be worked on."""
    _size_within(value, RENDERING.get())
    return value


def _printed(value: Any) -> Any:
    """A value that is about to be printed."""
    rendering = RENDERING.get()
    rendering.print(_size_within(value, rendering))
    return value


def _new(value: Any) -> Any:
    """A value that was just made."""
    RENDERING.get().make(_length(value))
    return value


def _named(value: Any, name: str) -> Any:
    """A value that the template gives a name; it lets go of what had the name before."""
    RENDERING.get().held[name] = value
    return value


def _taken(value: Any) -> Any:
    """What an iterator gives, as a list that is not too large; other values as they are."""
    return _listed(value, "") if isinstance(value, Iterator) else value


# --- what is not there -------------------------------------------------------------------------


class _Absent(Undefined):
    """A name without a field, or an element that something does not have.

    A missing field is as null, which is what `datasets` makes of a key that some rows leave out:
    false in tests, and so are its elements. Any other use of it, printing above all, raises
    MissingField. (That no row of a source has it is an error of its own, `shape.py`.) It is not
    `defined`, so that `default` fills it in. A missing element, and a name that the template sets
    only in some case, is false and empty in tests and loops, as in Jinja; printing it would leave a
    hole in the text, so that skips the row.
    """

    __slots__ = ()

    def _fail_with_undefined_error(self, *args: Any, **kwargs: Any) -> NoReturn:
        name, of = self._undefined_name, self._undefined_obj
        if self._undefined_hint:
            raise Skipped(f"cannot be rendered: {self._undefined_hint}")
        if isinstance(of, _Absent):
            of._fail_with_undefined_error()
        if of is not missing:
            hint = ""
            if isinstance(name, str) and name.isdigit() and isinstance(of, (list, tuple)):
                hint = "; it is a text, and lists are counted with numbers"
            kind = "null" if of is None else f"a {type(of).__name__}"
            raise Skipped(f"cannot be rendered: {kind} of the row has no element {name!r}{hint}")
        if name in RENDERING.get().own:
            raise Skipped(f"cannot be rendered: the template has not set '{name}' for this row")
        raise MissingField(name)

    def _is_element(self) -> bool:
        return self._undefined_obj is not missing or (self._undefined_name in RENDERING.get().own)

    def __getattr__(self, name: str) -> Any:
        if name[:2] == "__":
            raise AttributeError(name)
        return self._fail_with_undefined_error()

    def __str__(self) -> str:
        return self._fail_with_undefined_error()

    def is_field(self) -> bool:
        """Whether it stands for a field that the row does not have."""
        return not self._is_element()

    def __bool__(self) -> bool:
        return False

    def __len__(self) -> int:
        return 0 if self._is_element() else self._fail_with_undefined_error()

    def __iter__(self) -> Iterator[Any]:
        return iter(()) if self._is_element() else self._fail_with_undefined_error()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Undefined) or (other is None and self.is_field())

    __hash__ = Undefined.__hash__
    __add__ = __radd__ = __sub__ = __rsub__ = _fail_with_undefined_error
    __mul__ = __rmul__ = __truediv__ = __rtruediv__ = _fail_with_undefined_error
    __floordiv__ = __rfloordiv__ = __mod__ = __rmod__ = _fail_with_undefined_error
    __pow__ = __rpow__ = __pos__ = __neg__ = _fail_with_undefined_error
    __call__ = __getitem__ = __int__ = __float__ = _fail_with_undefined_error
    __lt__ = __le__ = __gt__ = __ge__ = _fail_with_undefined_error


# --- guards ------------------------------------------------------------------------------------


def _guarded(function: Callable[..., Any]) -> Callable[..., Any]:
    """A filter or test whose arguments are weighed, each call of which is a step."""

    @wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        rendering = RENDERING.get()
        rendering.step()
        args = tuple(map(_taken, args))
        for value in (*args, *kwargs.values()):
            rendering.make(_size_within(value, rendering))
        return _new(function(*args, **kwargs))

    return run


def _narrow(function: Callable[..., Any]) -> Callable[..., Any]:
    """A filter whose arguments, other than what it is applied to, are no large numbers."""

    @wraps(function)
    def run(value: Any, *args: Any, **kwargs: Any) -> Any:
        _refuse_wide((*args, *kwargs.values()))
        return function(value, *args, **kwargs)

    return run


def _short(name: str) -> Callable[..., Any]:
    """A filter that takes more time than its input is long, on an input that is not too long."""
    function: Callable[..., Any] = FILTERS[name]

    @wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        if size_of([*args, *kwargs.values()], _LONGEST) > _LONGEST:
            raise Skipped(f"too long: `{name}` is given more than {_LONGEST:,} characters")
        return function(*args, **kwargs)

    return run


def _refuse_wide(values: Iterable[Any]) -> None:
    if any(isinstance(v, int) and abs(v) > _WIDEST for v in values):
        raise Skipped(f"too long: template asks for a width above {_WIDEST:,}")


def _refuse_format(text: str, values: Sequence[Any]) -> None:
    """Refuse a format that would repeat or widen its values beyond the limit."""
    rendering = RENDERING.get()
    plain = text.replace("%%", "").replace("{{", "")
    if _COMPUTED_WIDTH.search(plain):
        raise Skipped("too long: template computes the width of what it formats")
    widths = [
        int(n) for found in _WIDTHS.findall(plain) for n in re.findall(r"\d+", "".join(found))
    ]
    _refuse_wide(widths)
    each = size_of(values, rendering.limit) + sum(widths)
    rendering.refuse_larger(len(text) + (plain.count("%") + plain.count("{")) * each)


def _refuse_replacing(text: str, old: str, new: str) -> None:
    times = text.count(old) if old else len(text) + 1
    RENDERING.get().refuse_larger(len(text) + times * max(0, len(new) - len(old)))


def _listed(items: Iterable[Any], separator: str) -> list[Any]:
    """Items that are about to be joined."""
    rendering, found, total = RENDERING.get(), [], 0
    for item in items:
        rendering.step()
        total += size_of(item, rendering.limit) + len(separator)
        rendering.refuse_larger(total)
        found.append(item)
    return found


@wraps(FILTERS["join"])
def _join(eval_ctx: Any, value: Any, d: str = "", attribute: Any = None) -> Any:
    return FILTERS["join"](eval_ctx, _listed(value, str(d)), d, attribute)


@wraps(FILTERS["replace"])
def _replace(eval_ctx: Any, s: Any, old: Any, new: Any, count: Any = None) -> Any:
    _refuse_replacing(str(s), str(old), str(new))
    return FILTERS["replace"](eval_ctx, s, old, new, count)


@wraps(FILTERS["format"])
def _format(value: Any, *args: Any, **kwargs: Any) -> Any:
    _refuse_format(str(value), [*args, *kwargs.values()])
    return FILTERS["format"](value, *args, **kwargs)


@wraps(FILTERS["sum"])
def _sum(environment: Any, iterable: Any, attribute: Any = None, start: Any = 0) -> Any:
    if not isinstance(start, (int, float)):
        raise Skipped("cannot be rendered: `sum` adds numbers only")
    return FILTERS["sum"](environment, iterable, attribute, start)


# --- what the template language has beside Jinja's own -----------------------------------------


def _choice(items: Iterable[Any]) -> Any:
    found = list(items)
    return found[RENDERING.get().drawn(len(found))]


def _most_frequent(items: Sequence[Any]) -> list[Any] | None:
    """Those that occur most often, in the order in which they first occur; None for none."""
    if not items:
        return None
    counts = Counter(items)
    most = max(counts.values())
    return [item for item, count in counts.items() if count == most]


def _highlight(text: Any) -> Any:
    """The text as it is: colours are for promptsource's web page."""
    return text


def _joined(parts: Sequence[Any]) -> str:
    """What `a ~ b` makes."""
    return "".join(map(str, parts))


def _label(place: Any) -> Any:
    """Which answer choice a row's label stands for; a label of -1 is none, not the last one."""
    if isinstance(place, int) and place < 0:
        raise Skipped(f"no label: the template's answer would be number {place} of its choices")
    return place


def _text(words: str) -> str:
    """Words of the template itself, which are printed."""
    return words


def _is_null(value: Any) -> bool:
    return value is None or (isinstance(value, _Absent) and value.is_field())


def _each(items: Any) -> Any:
    """What a loop goes through; each turn is a step."""
    rendering = RENDERING.get()
    if isinstance(items, (str, list, tuple, dict, range)):
        rendering.step(len(items))
        return items
    return _metered(iter(items), rendering)


def _metered(items: Iterator[Any], rendering: Rendering) -> Iterator[Any]:
    for item in items:
        rendering.step()
        yield item


class _Sandbox(SandboxedEnvironment):
    """Jinja's sandbox, where what can make something large is looked at first."""

    intercepted_binops = frozenset(("+", "*", "**", "%"))
    _unsafe = frozenset(("expandtabs", "translate", "maketrans", "encode"))
    _changing = frozenset(("append", "insert", "extend", "update", "setdefault"))

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        if isinstance(obj, (str, bytes)) and attr in self._unsafe:
            return False
        return super().is_safe_attribute(obj, attr, value)

    def getattr(self, obj: Any, attribute: str) -> Any:
        if isinstance(obj, _Absent) and obj.is_field():
            return self.undefined(obj=obj, name=attribute)
        return super().getattr(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        if isinstance(obj, _Absent) and obj.is_field():
            return self.undefined(obj=obj, name=argument)
        if isinstance(argument, _Absent):
            argument._fail_with_undefined_error()
        return super().getitem(obj, _weighed(argument))

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        formatting = super().wrap_str_format(value)
        if formatting is None:
            return None

        def run(*args: Any, **kwargs: Any) -> str:
            _refuse_format(value.__self__, [*args, *kwargs.values()])
            return formatting(*args, **kwargs)

        return run

    def call(self, context: Any, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        rendering = RENDERING.get()
        rendering.step()
        args = tuple(map(_taken, args))
        for value in (*args, *kwargs.values()):
            rendering.make(_size_within(value, rendering))
        of, name = getattr(obj, "__self__", None), getattr(obj, "__name__", "")
        if isinstance(of, str):
            if name in ("ljust", "rjust", "center", "zfill"):
                _refuse_wide(args)
            elif name == "replace" and len(args) >= 2:
                _refuse_replacing(of, str(args[0]), str(args[1]))
            elif name == "join" and args:
                args = (_listed(args[0], of),)
            rendering.make(len(of))  # `split` makes short texts of it
        elif name in self._changing and isinstance(of, (list, dict)):
            rendering.held[id(of)] = of
            rendering.make(1 + sum(map(_length, args)))
        return _new(super().call(context, obj, *args, **kwargs))

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        rendering = RENDERING.get()
        rendering.step()
        if operator == "%" and isinstance(left, str):
            _refuse_format(left, [right])
        elif operator in ("*", "**") and isinstance(left, int) and isinstance(right, int):
            bits = left.bit_length()
            made = bits * abs(right) if operator == "**" else bits + right.bit_length()
            if made > _MOST_BITS:
                raise Skipped("cannot be rendered: the template computes too large a number")
        elif operator == "*":
            repeated, times = (right, left) if isinstance(left, int) else (left, right)
            if isinstance(times, int):
                rendering.refuse_larger(_length(repeated) * max(times, 1))
        else:
            rendering.refuse_larger(_length(left) + _length(right))
        return _new(super().call_binop(context, operator, left, right))


class Metered(NodeTransformer):
    """Puts what Jinja does itself under the limits: loops, comparisons, lists, names, texts."""

    def visit_Assign(self, node: nodes.Assign) -> nodes.Node:
        self.generic_visit(node)
        found: list[nodes.Node] = [node.target, *node.target.find_all((nodes.Name, nodes.NSRef))]
        names = [f"{t.name}.{t.attr}" for t in found if isinstance(t, nodes.NSRef)]
        names += [t.name for t in found if isinstance(t, nodes.Name)]
        node.node = _filtered(node.node, "_named", nodes.Const(", ".join(names)))
        return node

    def visit_List(self, node: nodes.List) -> nodes.Node:
        self.generic_visit(node)
        return _filtered(node, "_new")

    def visit_Dict(self, node: nodes.Dict) -> nodes.Node:
        self.generic_visit(node)
        return _filtered(node, "_new")

    def visit_Tuple(self, node: nodes.Tuple) -> nodes.Node:
        self.generic_visit(node)
        return _filtered(node, "_new") if node.ctx == "load" else node

    def visit_Output(self, node: nodes.Output) -> nodes.Node:
        self.generic_visit(node)
        node.nodes = [
            _filtered(nodes.Const(n.data, lineno=n.lineno), "_text")
            if isinstance(n, nodes.TemplateData) else n for n in node.nodes
        ]  # fmt: skip
        return node

    def visit_For(self, node: nodes.For) -> nodes.Node:
        self.generic_visit(node)
        node.iter = _filtered(node.iter, "_each")
        return node

    def visit_Compare(self, node: nodes.Compare) -> nodes.Node:
        self.generic_visit(node)
        node.expr = _filtered(node.expr, "_weighed")
        for operand in node.ops:
            operand.expr = _filtered(operand.expr, "_weighed")
        return node

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:
        self.generic_visit(node)
        of = node.node
        is_written_out = isinstance(node.arg, (nodes.Const, nodes.Neg, nodes.Slice))
        if isinstance(of, nodes.Name) and of.name == CHOICES and not is_written_out:
            node.arg = _filtered(node.arg, "_label")
        return _filtered(node, "_new") if isinstance(node.arg, nodes.Slice) else node

    def visit_Pair(self, node: nodes.Pair) -> nodes.Node:
        self.generic_visit(node)
        node.key = _filtered(node.key, "_weighed")
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        self.generic_visit(node)
        return _filtered(nodes.List(node.nodes, lineno=node.lineno), "_joined")


def _filtered(node: nodes.Node, name: str, *args: nodes.Expr) -> nodes.Expr:
    of = cast(nodes.Expr, node)
    return nodes.Filter(of, name, list(args), [], None, None, lineno=node.lineno)


def _environment() -> _Sandbox:
    environment = _Sandbox(undefined=_Absent, finalize=_printed, optimized=False)
    wide = ("center", "indent", "batch", "slice", "round", "wordwrap", "truncate")
    own = {
        "join": _join, "replace": _replace, "format": _format, "sum": _sum,
        "choice": _choice, "random": _choice, "most_frequent": _most_frequent,
        "highlight": _highlight, "_joined": _joined,
    }  # fmt: skip
    narrow = {name: _narrow(FILTERS[name]) for name in wide}
    short = {name: _short(name) for name in ("pprint", "striptags", "urlize", "xmlattr")}
    plain = {**FILTERS, **narrow, **short, **own}
    environment.filters = {name: _guarded(function) for name, function in plain.items()}
    environment.filters |= {
        "_each": _each, "_weighed": _weighed, "_label": _label, "_new": _new, "_named": _named,
        "_text": _text,
    }  # fmt: skip
    tests: Mapping[str, Any] = {**TESTS, "none": _is_null}
    environment.tests = {name: _guarded(function) for name, function in tests.items()}
    del environment.globals["lipsum"]
    environment.globals["zip"] = zip
    return environment


ENVIRONMENT = _environment()
