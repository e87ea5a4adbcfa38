"""Sets of templates: what is read, how members are named, and what is refused, with its line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from luthier.data.templating.draws import Draw, pick
from luthier.data.templating.template import (
    BuiltTemplates,
    Skipped,
    Template,
    load_template,
    template_file,
    template_names,
)
from luthier.data.templating.template_sets import described, load_templates
from luthier.errors import DataError
from luthier.recipe import Recipe

SET = """\
description: Does one text follow from another?
fields: {premise: A text., hypothesis: A sentence., output: The label.}
templates:
  follows:
    input: |-
      {premise}

      Does it follow that "{hypothesis}"?

      {options_}
    target: "{output}"
  careful:
    system: You answer with {labels} only.
    input: "{premise} So {hypothesis}?"
    target: "{output}"
  write_one:
    inverted: true
    input: "{premise} Write a sentence that is true of it: {output}"
    target: "{hypothesis}"
  task:
    super_ni: {k_positive: 1}
"""
ROW = {"premise": "It {output} rains.", "hypothesis": "It is wet.", "output": "yes"}


def own(tmp_path: Path, text: str = SET, name: str = "own.yaml") -> list[Template]:
    (tmp_path / name).write_text(text, encoding="utf-8")
    return load_templates(name, tmp_path)


def test_a_set_of_ones_own(tmp_path: Path) -> None:
    follows, careful, write_one, task = own(tmp_path)
    assert [follows.name, task.name] == ["own.yaml#follows", "own.yaml#task"]
    assert [t.inverted for t in (follows, careful, write_one)] == [False, False, True]
    assert [t.closed for t in (follows, careful, write_one)] == [True, True, False]
    asked, answer = follows.messages(ROW, labels=["yes", "no"])
    assert asked.content.startswith('It {output} rains.\n\nDoes it follow that "It is wet."?')
    assert asked.content.endswith("OPTIONS:\n- yes\n- no") and answer.content == "yes"
    assert follows.fields == ["premise", "hypothesis", "output"]
    system, _, _ = careful.messages(ROW, labels=["yes", "no"])
    assert (system.role, system.content) == ("system", "You answer with yes, no only.")
    assert task.super_ni is not None and task.super_ni.k_positive == 1


def test_one_member_of_a_set(tmp_path: Path) -> None:
    own(tmp_path)
    assert [t.name for t in load_templates("own.yaml#careful", tmp_path)] == ["own.yaml#careful"]
    with pytest.raises(DataError, match=r"unknown template 'carefull'. Did you mean 'careful'"):
        load_templates("own.yaml#carefull", tmp_path)
    with pytest.raises(DataError, match="is a set of templates, expected a single one"):
        load_template("own.yaml", tmp_path)


def test_single_templates_are_sets_of_one(tmp_path: Path) -> None:
    assert load_templates("plain", tmp_path) == [load_template("plain", tmp_path)]
    one = own(tmp_path, "description: d\nprompt: '{input}'\ncompletion: '{output}'\n")
    assert [t.name for t in one] == ["own.yaml"]
    with pytest.raises(DataError, match="is a single template; it is named 'plain'"):
        load_templates("plain/x", tmp_path)
    with pytest.raises(DataError, match=r"is a single template; it is named 'own.yaml'"):
        load_templates("own.yaml#x", tmp_path)


def test_every_shipped_template_and_set_loads_and_is_described() -> None:
    names = template_names()
    assert {"plain", "super_ni"} <= set(names)
    for name in names:
        assert described(name).endswith((".", "?")), name
        found = load_templates(name, Path("nowhere"))
        assert len({t.name for t in found}) == len(found)
        for template in found:
            assert template.name == name or template.name.startswith(f"{name}/")
            if template.name != name:
                assert load_templates(template.name, Path("nowhere")) == [template]


def test_every_member_of_a_shipped_set_renders() -> None:
    for name in template_names():
        for template in load_templates(name, Path()):
            if template.super_ni is not None:
                continue
            row = {field: f"<{field}> {{x}}" for field in template.fields}
            messages = template.messages(row, labels=["a", "b"])
            assert messages[-1].content.strip()
            for field in template.question_fields:
                if field != "labels":
                    assert any(row[field] in m.content for m in messages[:-1]), template.name
            assert not any("{" in re.sub(r"<\w+> \{x\}", "", m.content) for m in messages)


def test_files_of_names() -> None:
    assert template_file("plain/x", Path()).name == "plain.yaml"
    with pytest.raises(DataError, match=r"unknown template 'plian'. Did you mean 'plain'"):
        template_file("plian/x", Path())


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("  careful:", "  follows:", r"own\.yaml:12: not valid YAML: found duplicate key"),
        ("fields:", "field:", r"own\.yaml:2: unknown key 'field'. Did you mean 'fields'"),
        ('    target: "{hypothesis}"', "    goal: x", r"own\.yaml:19: unknown key 'goal'"),
        ('    target: "{hypothesis}"\n', "", r"own\.yaml:17: 'target' is missing"),
        ("inverted: true", "inverted: twice", r"own\.yaml:17: 'inverted' is 'twice'"),
        ("So {hypothesis}?", "So {hypothsis}?",
         r"own\.yaml:14: 'own\.yaml#careful' has the placeholder \{hypothsis\}.*'hypothesis'\?"),
        ("So {hypothesis}?", "So {hypothesis?", r"own\.yaml:14: 'input' has a stray '\{'"),
        ("{premise: A text., hypothesis: A sentence., output: The label.}", "3",
         r"own\.yaml:2: 'fields' is 3"),
        ("description: Does one text follow from another?\n", "", "'description' is missing"),
        ("k_positive: 1", "k_positiv: 1", r"own\.yaml:21: super_ni: unknown setting"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_set_is_said(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in SET
    with pytest.raises(DataError, match=message):
        own(tmp_path, SET.replace(old, new, 1))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("description: d\ntemplates: [1]\n", r"own\.yaml:2: 'templates' is \[1\], expected"),
        ("description: d\ntemplates: {}\n", "there are no templates in it"),
        ("description: d\ntemplates:\n  a: b\n", r"own\.yaml:3: 'own\.yaml#a' is 'b', expected"),
        ("!!python/object:os.system x\n", r"own\.yaml:1: not valid YAML: could not determine"),
        ("- a\n", "expected the keys"),
    ],
)
def test_what_is_no_set(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        own(tmp_path, text)


def recipe(*templates: str) -> Recipe:
    return Recipe.model_validate(
        {
            "name": "x",
            "model": "smollm2-135m-instruct",
            "task": {"kind": "generation"},
            "data": {"sources": [{"path": "x.csv"}], "template": list(templates)},
        }
    )


def test_built_templates_come_back_under_the_names_of_the_recipe(tmp_path: Path) -> None:
    from luthier.data.templating.inversion import inverted

    members = own(tmp_path)
    plain = load_template("plain", tmp_path)
    turned = inverted(plain)
    assert turned is not None
    stored = BuiltTemplates(templates=[*members, plain, turned]).model_dump(mode="json")
    back = BuiltTemplates.model_validate(stored)
    assert back.templates == [*members, plain, turned]
    sets = back.sets(recipe("own.yaml", "own.yaml#task"))
    assert {name: [t.name for t in found] for name, found in sets.items()} == {
        "own.yaml": [t.name for t in members], "own.yaml#task": ["own.yaml#task"],
        "plain": ["plain"],
    }  # fmt: skip


def test_artifacts_of_single_templates_are_still_read() -> None:
    old = {"templates": [{
        "name": "plain", "description": "d", "prompt_text": "{a} {input}", "completion_text":
        "{output}", "system": None, "constants": {"a": "A"},
    }]}  # fmt: skip
    (template,) = BuiltTemplates.model_validate(old).sets(recipe("plain"))["plain"]
    assert template.prompt({"input": "I"})[-1].content == "A I"


CONDITIONS = """\
description: Ways to ask.
fields: {instruction: What to do., input: With what., output: The answer.}
templates:
  given: {only_with: input, input: "{instruction}: {input}", target: "{output}"}
  bare: {only_without: input, input: "{instruction}!", target: "{output}"}
"""


@pytest.mark.parametrize(("given", "name"), [("a cat", "given"), ("", "bare"), (" \n", "bare")])
def test_members_for_rows_with_or_without_a_field(tmp_path: Path, given: str, name: str) -> None:
    members = own(tmp_path, CONDITIONS)
    row = {"instruction": "Look", "input": given, "output": "Yes."}
    for seed in range(8):
        assert pick(members, Draw(seed, "row"), row).name == f"own.yaml#{name}"
    other = next(t for t in members if not t.name.endswith(name))
    with pytest.raises(Skipped, match=r"input: the template is for rows"):
        other.messages(row)
    stored = BuiltTemplates(templates=members).model_dump(mode="json")
    assert BuiltTemplates.model_validate(stored).templates == members


def test_a_condition_on_no_field_of_the_set(tmp_path: Path) -> None:
    text = CONDITIONS.replace("only_with: input", "only_with: inptu")
    with pytest.raises(DataError, match=r"own.yaml:4: .*only_with: inptu.*Did you mean 'input'"):
        own(tmp_path, text)


def test_self_instructs_ways_to_ask(tmp_path: Path) -> None:
    """7 with an input and 6 without, each its own words, each about as often as the others."""
    members = load_templates("self_instruct", tmp_path)
    for given, count in (("a cat", 7), ("", 6)):
        row = {"instruction": "Look", "input": given, "output": "Yes."}
        names = [pick(members, Draw(1, str(n)), row).name for n in range(700)]
        assert len(set(names)) == count
        assert min(map(names.count, set(names))) > 700 / count / 2
        asked = [t.messages(row)[-2].content for t in members if t.suits(row)]
        assert len(set(asked)) == count and all("Look" in text and given in text for text in asked)
