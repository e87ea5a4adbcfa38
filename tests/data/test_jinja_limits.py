"""What a template file can do to its reader: nothing, and not for long."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from pathlib import Path
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


BIG = "'x' * 900000"
KEPT = {
    "append": "{% set x = [] %}{% for i in range(100000) %}{% set _ = x.append(BIG) %}{% endfor %}",
    "insert": "{% set x = [] %}{% for i in range(999) %}{% set _ = x.insert(0, BIG) %}{% endfor %}",
    "extend": "{% set x = [] %}{% for i in range(999) %}{% set _ = x.extend([BIG]) %}{% endfor %}",
    "update": "{% set d = {} %}{% for i in range(100000) %}{% set _ = d.update({i: BIG}) %}"
    "{% endfor %}",
    "setdefault": "{% set d = {} %}{% for i in range(999) %}{% set _ = d.setdefault(i, BIG) %}"
    "{% endfor %}",
    "a list in itself": "{% set x = [1] %}{% for i in range(90) %}{% set _ = x.extend(x) %}"
    "{% endfor %}",
    "numbers": "{% set x = [] %}{% for i in range(999) %}{% set _ = x.extend(range(100000)) %}"
    "{% endfor %}",
    "what a loop gives": "{% for x in [[]] %}{% for i in range(999) %}{% set _ = x.append(BIG) %}"
    "{% endfor %}{% endfor %}",
    "what a macro is given": "{% macro m(x) %}{% for i in range(999) %}{% set _ = x.append(BIG) %}"
    "{% endfor %}{% endmacro %}{{ m([]) }}",
    "a field": "{% for i in range(999) %}{% set _ = xs.append(BIG) %}{% endfor %}",
    "namespace": "{% set n = namespace(a=[]) %}{% for i in range(999) %}{% set n.a = n.a + [BIG] %}"
    "{% endfor %}",
    "chain": "{% set n = namespace(a=[]) %}{% for i in range(999) %}{% set n.a = [n.a, BIG] %}"
    "{% endfor %}",
    "chain of objects": "{% set n = namespace(a=0) %}{% for i in range(999) %}"
    "{% set n.a = {'next': n.a, 'text': BIG} %}{% endfor %}",
    "chain of namespaces": "{% set n = namespace(a=0) %}{% for i in range(999) %}"
    "{% set n.a = namespace(a=n.a, b=BIG) %}{% endfor %}",
    "parts": "{% set t = BIG %}{% set n = namespace(a=0) %}{% for i in range(999) %}"
    "{% set n.a = (n.a, t[1:]) %}{% endfor %}",
    "words": "{% set t = 'x ' * 9000 %}{% set x = [] %}{% for i in range(9999) %}"
    "{% set _ = x.append(t.split()) %}{% endfor %}",
    "views": "{% set x = [] %}{% for i in range(999) %}{% set _ = x.append({1: BIG}.values()) %}"
    "{% endfor %}",
    "methods": "{% set x = [] %}{% for i in range(999) %}{% set _ = x.append((BIG).upper) %}"
    "{% endfor %}",
    "cyclers": "{% set x = [] %}{% for i in range(999) %}{% set _ = x.append(cycler(BIG)) %}"
    "{% endfor %}",
    "what is missing": "{% set x = [] %}{% for i in range(999) %}"
    "{% set _ = x.append({'a': BIG}.b) %}{% endfor %}",
    "a filter's list": "{{ range(100000) | map('center', 9999) | list | length }}",
    "a block": "{% set x %}{% for i in range(100000) %}{{ BIG }}{% endfor %}{% endset %}",
    "a block of words": "{% set x %}{% for i in range(100000) %}" + "w" * 9000 + "{% endfor %}"
    "{% endset %}",
}  # fmt: skip
IN_LITTLE_MEMORY = """
import json, resource, sys
from luthier.data.templating.template import Skipped, Template
row = {"a": "x" * 1000, "xs": []}
template = Template("t", "d", "{{ a }} ||| A", "", dialect="jinja")
template.messages(row)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 200_000_000,) * 2)
for name, jinja in json.load(sys.stdin).items():
    try:
        Template("t", "d", jinja + "a ||| A", "", dialect="jinja").messages(row)
        print(name, "| passed")
    except Skipped as error:
        print(name, "|", error)
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="Linux counts memory there")
def test_what_a_template_keeps_is_bounded() -> None:
    given = json.dumps({name: text.replace("BIG", BIG) for name, text in KEPT.items()})
    done = subprocess.run(
        [sys.executable, "-c", IN_LITTLE_MEMORY], input=given, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    found = dict(line.split(" | ", 1) for line in done.stdout.splitlines())
    assert list(found) == list(KEPT)
    refused = ("too much memory: ", "too long: ", "too much work: ")
    assert [n for n, said in found.items() if not said.startswith(refused)] == []


def test_what_a_template_lets_go_of_is_not_counted() -> None:
    loop = "{% set n = namespace(t='') %}{% for i in range(9000) %}{% set n.t = n.t ~ 'word ' %}"
    assert len(rendered(f"{loop}{{% endfor %}}{{{{ n.t }}}}")) == 9000 * 5 - 1
    loop = "{% for i in range(500) %}{% set t = ('x' * 90000 ~ i)[-3:] %}{{ t }}{% endfor %}"
    assert len(rendered(loop)) == 1500
    lists = "{% for i in range(3000) %}{% set l = [] %}{% set _ = l.append(a ~ i) %}{% endfor %}ok"
    assert rendered(lists) == "ok"


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
    monkeypatch.setattr("luthier.data.templating.jinja_budget.MAX_SECONDS", 0.02)
    with pytest.raises(Skipped, match=r"^too slow: template takes longer than 0.02 s"):
        rendered("{% for i in range(90000) %}{{ a | upper | lower | title | length }}{% endfor %}")
