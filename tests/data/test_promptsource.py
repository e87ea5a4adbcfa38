"""promptsource's files: all real ones load, every template renders, and as Jinja itself would."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import jinja2
import pytest
from fitting_rows import rows
from public_sets import public

from luthier.data.templating.draws import Draw
from luthier.data.templating.template import MissingField, Skipped, Template
from luthier.data.templating.template_sets import load_templates
from luthier.errors import DataError

ATTEMPTS = 300
FILE = """\
dataset: own
templates:
  11111111-1111: !Template
    answer_choices: Yes ||| No
    id: 11111111-1111
    jinja: |-
      {{premise}} So {{hypothesis}}?
      |||
      {% if label != -1 %}{{ answer_choices[label] }}{% endif %}
    metadata: !TemplateMetadata
      choices_in_prompt: false
      languages: [en]
      metrics: [Accuracy]
      original_task: true
    name: does it follow
    reference: Somebody 2020
  22222222-2222: !Template
    answer_choices: '{{choices.text | join("|||")}}'
    jinja: '{{question}} {{answer_choices | join(", ")}}||| {{answer_choices[label]}}'
    metadata: null
    name: does it follow
"""
ROW = {"premise": "It rains.", "hypothesis": "it is wet", "label": 1}


def own(tmp_path: Path, text: str = FILE) -> list[Template]:
    (tmp_path / "own.yaml").write_text(text, encoding="utf-8")
    return load_templates("own.yaml", tmp_path)


def one(jinja: str, choices: str | None = None) -> Template:
    return Template("t", "d", jinja, "", dialect="jinja", answer_choices=choices)


def rendered(jinja: str, row: dict[str, Any], choices: str | None = None) -> list[str]:
    return [m.content for m in one(jinja, choices).messages(row)]


def test_a_file_is_read_as_it_is(tmp_path: Path) -> None:
    first, second = own(tmp_path)
    assert first.name == "own.yaml#does it follow"
    assert second.name == "own.yaml#does it follow (22222222-2222)"
    assert first.description == "Somebody 2020"
    assert first.metadata == {
        "choices_in_prompt": False, "languages": ["en"], "metrics": ["Accuracy"],
        "original_task": True,
    }  # fmt: skip
    assert [m.content for m in first.messages(ROW)] == ["It rains. So it is wet?", "No"]
    assert first.fields == ["premise", "hypothesis", "label"]
    assert first.question_fields == ["premise", "hypothesis"]
    assert second.fields == ["question", "label", "choices"]
    assert second.question_fields == ["question", "choices"]
    assert (first.choices, second.choices) == (["Yes", "No"], None)
    assert (first.closed, second.closed) == (True, False)
    assert load_templates("own.yaml#does it follow", tmp_path) == [first]


def test_the_question_alone_needs_no_label(tmp_path: Path) -> None:
    first, second = own(tmp_path)
    asked = {"premise": "It rains.", "hypothesis": "it is wet"}
    assert [m.content for m in first.prompt(asked)] == ["It rains. So it is wet?"]
    row = {"question": "Q?", "choices": {"text": ["a", "b"]}}
    assert second.prompt(row)[0].content == "Q? a, b"
    with pytest.raises(MissingField, match=r"^label$"):
        first.messages(asked)


@pytest.mark.parametrize(
    ("row", "jinja", "reason"),
    [
        ({"a": 1}, "{% if a == 2 %}Q ||| A{% endif %}", "template renders nothing: "),
        ({"a": 1}, "Q {{a}}", "no target: "),
        ({"a": 1}, "Q ||| {% if a == 2 %}A{% endif %}", "empty target: "),
        ({"a": ""}, "{{a}} ||| A", "empty prompt: "),
        ({"a": 1}, "Q ||| A ||| B", "several targets: the template gives 3 parts"),
        ({"a": [1]}, "Q ||| {{a[3]}}", "cannot be rendered: a list of the row has no element 3"),
        ({"a": [1]}, "Q ||| {{a['1']}}", "cannot be rendered: .*it is a text, and lists are"),
        ({"a": {"b": 1}}, "Q ||| {{a.c}}", "cannot be rendered: a dict of the row has no"),
        ({"a": None}, "Q ||| {{a.c}}", "cannot be rendered: null of the row has no element 'c'"),
        ({"a": "x"}, "Q ||| {{a + 1}}", "cannot be rendered: TypeError"),
        ({"a": 1}, "Q ||| {% if a == 2 %}{% set b = 1 %}{% endif %}{{b}}",
         "cannot be rendered: the template has not set 'b' for this row"),
        ({"a": []}, "Q ||| {{a | choice}}", "cannot be rendered: the template draws from an empty"),
        ({"a": -1}, "Q ||| {{answer_choices[a]}}", "no label: "),
    ],
)  # fmt: skip
def test_rows_are_skipped_with_a_reason(row: dict[str, Any], jinja: str, reason: str) -> None:
    with pytest.raises(Skipped, match=f"^{reason}"):
        rendered(jinja, row, "x ||| y")


@pytest.mark.parametrize("row", [{"a": "x"}, {"a": "x", "b": None}])
@pytest.mark.parametrize(
    ("test", "found"),
    [
        ("b", "no"), ("not b", "yes"), ("b.c", "no"), ("b['c']", "no"), ("b is none", "yes"),
        ("b == none", "yes"), ("b != none", "no"), ("a == b", "no"), ("b and b.c", "no"),
        ("b is string", "no"), ("(b or a) == 'x'", "yes"),
    ],
)  # fmt: skip
def test_a_key_that_is_left_out_is_as_null_in_tests(
    test: str, found: str, row: dict[str, Any]
) -> None:
    jinja = f"{{% if {test} %}}yes{{% else %}}no{{% endif %}} ||| A"
    assert rendered(jinja, row) == [found, "A"]


def test_missing_fields_are_named_and_may_be_asked_about() -> None:
    for jinja in ("{{b}}", "{{b.c}}", "{% for x in b %}{% endfor %}", "{{b | lower}}",
                  "{{a + b}}", "{% set b = b %}{{b}}", "{{b.c.d}}", "{{b[0]}}", "{{b.strip()}}",
                  "{{a in b}}", "{{b < 1}}"):  # fmt: skip
        with pytest.raises(MissingField, match=r"^b$"):
            rendered(f"{jinja} ||| A", {"a": "x"})
    asks = "{{b is defined}} {{b | default('none')}} {{a.c is defined}} {% if a.c %}c{% endif %}"
    assert rendered(f"{asks} ||| A", {"a": {}})[0] == "False none False"
    assert one(f"{asks} ||| A").fields == ["a"]


def test_fields_of_the_template_itself_are_not_asked_of_rows() -> None:
    jinja = (
        "{% for x in xs %}{{loop.index}} {{x}}{% endfor %}{% set y = xs | length %}"
        "{% if y %}{% set z = 1 %}{% endif %}{% set text = text | trim %}{{range(2) | list}}"
        "{{zip(xs, xs) | list | length}} ||| {{text}} {{z}}"
    )
    assert one(jinja).fields == ["xs", "text"]
    assert one(jinja).question_fields == ["xs", "text"]
    assert one("{% if l == 1 %}{{a}} ||| {{b}}{% else %}{{c}} ||| {{b}}{% endif %}"
               ).question_fields == ["a", "c"]  # fmt: skip
    assert one("Say it. ||| {{b}}").question_fields == ["b"], "nothing else tells rows apart"


def test_separators_and_braces_in_fields_are_text() -> None:
    row: dict[str, Any] = {
        "a": "x ||| {{b}} {% if %}",
        "b": ["p ||| q", {"c": "||| {{a}}"}],
        "l": 0,
    }
    asked, answer = rendered("{{a}} {{b[1].c}} ||| {{answer_choices[l]}}", row,
                             "{{b[0]}} ||| no")  # fmt: skip
    assert asked == "x ||| {{b}} {% if %} ||| {{a}}" and answer == "p ||| q"
    assert len(rendered("{{a}} ||| {{a | length}}", row)[1]) == len(str(len(row["a"])))


def test_nothing_is_cut() -> None:
    long = "word " * 5000
    assert rendered("{{a}} ||| {{a}}", {"a": long}) == [long.strip()] * 2


def test_draws_follow_from_the_row_and_spare_the_rest() -> None:
    template = one(
        "{{xs | choice}} {{['a', 'b', 'c'] | random}} ||| {{xs | most_frequent | choice}}"
    )
    row = {"xs": [3, 1, 3, 2, 2]}
    shown = [[m.content for m in template.messages(row, draw=Draw(0, str(n)))] for n in range(200)]
    assert shown == [
        [m.content for m in template.messages(row, draw=Draw(0, str(n)))] for n in range(200)
    ]
    assert {asked for asked, _ in shown} == {f"{x} {c}" for x in "123" for c in "abc"}
    assert {answer for _, answer in shown} == {"2", "3"}
    assert template.messages(row)[0].content == "3 a"
    for n in range(20):
        assert template.prompt(row, draw=Draw(0, str(n)))[0].content == shown[n][0]


def test_a_template_may_change_its_lists_but_not_the_row() -> None:
    row = {"xs": ["a"]}
    assert rendered("{{xs.append('b') or ''}}{{xs | join}} ||| {{xs | highlight}}", row)[0] == "ab"
    assert row == {"xs": ["a"]}


def test_a_row_with_answer_choices_is_refused_with_a_way_out() -> None:
    with pytest.raises(DataError, match=r"rows have a field 'answer_choices'.*Rename the column"):
        rendered("{{a}} ||| x", {"a": 1, "answer_choices": ["x"]})


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("{{hypothesis}}?", "{{hypothesis?", r"own\.yaml:6: 'jinja' is not valid Jinja \(its line"),
        ("{{premise}}", "{{premise | nofilter}}", "No filter named 'nofilter'"),
        ("{{premise}}", "{% include 'x' %}", "a template cannot read other files"),
        ("answer_choices: Yes ||| No", "answer_choices: '{{'", r"own\.yaml:4: 'answer_choices' is"),
        ("answer_choices: Yes ||| No", "answer_choices: [Yes]", r"own\.yaml:4: .* expected a text"),
        ("!TemplateMetadata", "!Metadata", r"own\.yaml:10: not valid YAML: could not determine"),
        ("2: !Template\n", "2:\n", r"own\.yaml:17: '22222222-2222' is not marked !Template"),
        ("    jinja: '{{question}}", "    jinx: '{{question}}", "'22222222-2222' has no 'jinja'"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in FILE
    with pytest.raises(DataError, match=message):
        own(tmp_path, FILE.replace(old, new, 1))


# --- the real files ----------------------------------------------------------------------------


@cache
def real() -> list[Template]:
    files = sorted(public("promptsource").rglob("*.yaml"))
    assert len(files) == 100
    return [template for file in files for template in load_templates(str(file), Path())]


def plain_jinja() -> jinja2.Environment:
    environment = jinja2.Environment()
    environment.globals["zip"] = zip
    environment.filters |= {"choice": list, "most_frequent": list, "highlight": str}
    return environment


def fitting(template: Template, environment: jinja2.Environment) -> dict[str, Any] | None:
    """The first row that the template makes a prompt and an answer of."""
    sources = [template.answer_choices or "", template.prompt_text]
    for row in rows([environment.parse(source) for source in sources], ATTEMPTS):
        try:
            template.messages(row, draw=Draw(0, "x"))
        except (MissingField, Skipped):
            continue
        return row
    return None


def test_every_template_of_100_files_renders_as_jinja_does() -> None:
    environment = plain_jinja()
    assert len(real()) == 756 and len({t.name for t in real()}) == 756
    failed, compared = [], 0
    for template in real():
        row = fitting(template, environment)
        if row is None:
            failed.append(template.name)
            continue
        asked, answer = template.messages(row, draw=Draw(0, "x"))
        assert template.prompt(row, draw=Draw(0, "x"))[-1] == asked
        source = template.prompt_text + (template.answer_choices or "")
        if "choice" in source.replace("answer_choices", "") or "random" in source:
            continue
        compared += 1
        given = dict(row)
        if template.answer_choices:
            made = environment.from_string(template.answer_choices).render(row)
            given["answer_choices"] = [choice.strip() for choice in made.split("|||")]
        parts = environment.from_string(template.prompt_text).render(given).split("|||")
        assert [asked.content, answer.content] == [part.strip() for part in parts], template.name
    assert not failed
    assert compared > 600


def test_fields_of_real_templates_are_those_jinja_finds() -> None:
    for template in real():
        row = {name: "x" for name in template.fields}
        for name in template.fields:
            assert name in template.prompt_text + (template.answer_choices or "")
        assert set(template.question_fields) <= set(row) | {"label"} or template.fields
        assert "answer_choices" not in template.fields and "loop" not in template.fields
