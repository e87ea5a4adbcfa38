"""What a template file can do to its reader: nothing, and not for long."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from luthier.data.templating.template import MissingField, Skipped, Template

ROW: dict[str, Any] = {"a": "x" * 100, "xs": list(range(50)), "n": 10**9}
NESTED = "{% set t = (a, a) %}" + "{% set t = (t, t) %}" * 40
DOUBLED = "{% set b = [a, a] %}" + "{% set b = [b, b] %}" * 40


def rendered(jinja: str, row: dict[str, Any] = ROW) -> str:
    template = Template("t", "d", f"{jinja} ||| A", "", dialect="jinja")
    return template.messages(row)[0].content


@pytest.mark.parametrize(
    "jinja",
    [
        "{% for i in range(10**5) %}{% for j in range(10**5) %}{% endfor %}{% endfor %}",
        "{% for i in range(10**5) %}{{ xs | join }}{% endfor %}",
        "{% macro f(x) %}{{ f(x) }}{{ f(x) }}{% endmacro %}{{ f(1) }}",
        "{% for x in xs recursive %}{{ loop(xs) }}{{ loop(xs) }}{% endfor %}",
        "{{ range(n) | list }}",
        "{{ a * n }}", "{{ n * a }}", "{{ xs * n }}", "{{ [a * 9999] * 9999 }}",
        "{{ 10 ** n }}", "{{ n ** n ** n }}", "{{ 5 * 10 ** 3000 * 10 ** 3000 }}",
        "{{ '%1000000000d' % 1 }}", "{{ '%*d' % (n, 1) }}", "{{ '%1000000000d' | format(1) }}",
        "{{ '{:1000000000}'.format(1) }}", "{{ '{:{}}'.format(1, n) }}",
        "{{ ('{0}' * 9000).format(a * 9000) }}", "{{ ('%s' * 9000) % ((a * 9000,) * 9000) }}",
        "{{ ('%9999d' * 9000) % ((1,) * 9000) }}", "{{ ('{:9999}' * 9000).format(1) }}",
        "{{ '{a:1000000000}'.format_map({'a': 1}) }}", "{{ '%(a)1000000000d' % {'a': 1} }}",
        "{{ ('%(' * 400000) % 1 }}", "{{ ('<!---->' * 100000) | striptags }}",
        "{{ (xs * 9000) | pprint }}",
        "{{ a.center(n) }}", "{{ a.ljust(n) }}", "{{ a.zfill(n) }}", "{{ a | center(n) }}",
        "{{ 'x\n' | indent(n) }}", "{{ xs | batch(n, 0) | list }}", "{{ xs | slice(n) | list }}",
        "{{ 5 | round(-n) }}", "{{ '\t'.expandtabs(n) }}", "{{ a.translate({120: a * 9999}) }}",
        "{{ (a * 9000).replace('x', a * 9000) }}", "{{ (a * 9000) | replace('', a * 9000) }}",
        "{{ (a * 9000).join(xs | map('string')) }}", "{{ xs | join(a * 900000) }}",
        "{{ ([a * 9000] * 9000) | join }}", "{{ ([xs] * 9000) | sum(start=[]) }}",
        "{% set ns = namespace(t=a) %}{% for x in xs %}{% set ns.t = ns.t ~ ns.t %}{% endfor %}",
        "{% set ns = namespace(t=a) %}{% for x in xs %}{% set ns.t = ns.t + ns.t %}{% endfor %}",
        "{% for x in range(10**5) %}{{ a }}{% endfor %}",
        f"{DOUBLED}{{{{ b }}}}", f"{DOUBLED}{{{{ b ~ '' }}}}", f"{DOUBLED}{{{{ b | string }}}}",
        f"{DOUBLED}{{{{ b | tojson }}}}", f"{DOUBLED}{{{{ b == b + [] }}}}",
        f"{DOUBLED}{{{{ '%s' % b }}}}", f"{DOUBLED}{{{{ '{{}}'.format(b) }}}}",
        f"{NESTED}{{{{ {{t: 1}} }}}}", f"{NESTED}{{{{ xs[t] }}}}",
        f"{DOUBLED}{{{{ b is eq(b + []) }}}}", f"{DOUBLED}{{{{ xs.index(b) }}}}",
    ],
)  # fmt: skip
def test_what_would_never_end_or_fill_the_memory_is_skipped(jinja: str) -> None:
    started = time.monotonic()
    with pytest.raises(Skipped, match=r"^(too long|too much work|cannot be rendered): "):
        rendered(jinja)
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    "jinja",
    [
        "{{ a.__class__.__mro__ }}", "{{ ''['__class__'] }}", "{{ a | attr('__class__') }}",
        "{{ '{0.__class__}'.format(a) }}", "{{ '{a.__class__}'.format_map({'a': a}) }}",
        "{{ range.__globals__ }}", "{{ cycler.__init__.__globals__ }}",
        "{{ namespace.__init__ }}", "{{ self.__init__ }}", "{{ xs.append.__self__.__class__ }}",
        "{{ joiner.__init__.__globals__.os }}", "{% set ns.x = 1 %}",
    ],
)  # fmt: skip
def test_what_reaches_beyond_the_row_is_skipped(jinja: str) -> None:
    with pytest.raises((Skipped, MissingField)):
        rendered(jinja)


@pytest.mark.parametrize(
    "name", ["open", "lipsum", "os", "__builtins__", "config", "request", "environment"]
)
def test_nothing_but_fields_is_there(name: str) -> None:
    with pytest.raises(MissingField, match=name):
        rendered(f"{{{{ {name} }}}}")


@pytest.mark.parametrize("code", ["", "{% extends 'a' %}", "{% import 'a' as b %}"])
def test_other_files_are_not_read(code: str) -> None:
    if code:
        with pytest.raises(Exception, match="cannot read other files"):
            rendered(code)
    else:
        assert rendered("{{ a }}") == ROW["a"]


def test_ordinary_work_is_within_the_limits() -> None:
    assert rendered("{{ '%05.2f' % 1.5 }} {{ a[:3] | center(9) }} {{ 2 ** 10 }}") == (
        "01.50    xxx    1024"
    )
    assert rendered("{{ '{:>5}|{}'.format('a', 1) }} {{ a.replace('x', 'yy') | length }}") == (
        "a|1 200"
    )
    assert rendered("{{ '%s 12345 %% {{}} %(a)s' | length }} {{ '{{12345}} {}'.format(1) }}") == (
        "22 {12345} 1"
    )
    assert rendered("{{ '<b>bold</b>' | striptags }} {{ '%(k)3d' % {'k': 5} }}") == "bold   5"
    assert rendered("{{ xs | sum }} {{ ', '.join(xs[:2] | map('string')) }} {{ n }}") == (
        "1225 0, 1 1000000000"
    )
    tokens = {"tokens": ["word", "\n"] * 5000}
    loop = (
        "{% set ns = namespace(t=[]) %}{% for t in tokens %}{% set ns.t = ns.t + [t] %}{% endfor %}"
    )
    assert len(rendered(f"{loop}{{{{ ns.t | join }}}}", tokens)) == 24_999


def test_rows_may_be_as_large_as_they_are() -> None:
    large = {"a": "word " * 1_000_000, "xs": [["b"] * 1000] * 1000}
    assert len(rendered("{{ a }} {{ a | upper | length }} {{ xs == xs }}", large)) > 5_000_000
    with pytest.raises(Skipped, match=r"^too long: template renders more than"):
        rendered("{% for i in range(9) %}{{ a }}{% endfor %}", {"a": "x" * 1_000_000})


def test_limits_hold_in_any_thread() -> None:
    reasons: list[str] = []

    def work() -> None:
        try:
            rendered("{{ range(n) | list }}")
        except Skipped as error:
            reasons.append(str(error))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(reasons) == 3


def test_the_clock_stops_what_the_steps_let_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("luthier.data.templating.jinja_sandbox.MAX_SECONDS", 0.02)
    with pytest.raises(Skipped, match=r"^too slow: template takes longer than 0.02 s"):
        rendered("{% for i in range(90000) %}{{ a | upper | lower | title | length }}{% endfor %}")
