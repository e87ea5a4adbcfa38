"""Templates: what is inserted, what is refused, and that every shipped one works."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luthier.data.templating.template import (
    FOLDER,
    MissingField,
    Template,
    as_text,
    load_template,
    template_names,
)  # fmt: skip
from luthier.data.templating.template_yaml import read_yaml
from luthier.errors import DataError


def own(tmp_path: Path, text: str) -> Template:
    (tmp_path / "own.yaml").write_text(text, encoding="utf-8")
    return load_template("own.yaml", tmp_path)


ONE_PROMPT = [n for n in template_names() if "prompt" in read_yaml(FOLDER / f"{n}.yaml")]


@pytest.mark.parametrize("name", ONE_PROMPT)
def test_shipped_templates_are_described_and_end_with_the_output(name: str) -> None:
    template = load_template(name, Path("nowhere"))
    assert template.description.endswith(".")
    row = dict.fromkeys(template.fields, "IN") | {"output": "OUT"}
    *_, question, answer = template.messages(row)
    assert question.role == "user" and "IN" in question.content
    assert (answer.role, answer.content) == ("assistant", "OUT")
    assert "{" not in question.content


def test_the_promise_template_is_in_the_documented_order() -> None:
    prompt = load_template("promise", Path()).prompt({"input": "IN"})[-1].content
    places = [prompt.index(part) for part in ("Input: IN", "tangible", "Reply 'True'", "'False'")]
    assert places == sorted(places) and places[0] == 0
    assert prompt.endswith("\nOutput:")
    first = load_template("promise_instruction_first", Path()).prompt({"input": "IN"})[-1].content
    assert first.endswith("\nInput: IN\nOutput:") and first.index("tangible") < first.index("IN")


def test_system_constants_braces_and_several_fields(tmp_path: Path) -> None:
    template = own(
        tmp_path,
        "description: d\nsystem: You are {who}.\nlet: {who: precise, n: 3}\n"
        "prompt: '{n} {{x}} {input} {year} {input}'\ncompletion: '{output}!'\n",
    )
    system, prompt, answer = template.messages({"input": "I", "output": "O", "year": 1950})
    assert system.content == "You are precise."
    assert prompt.content == "3 {x} I 1950 I" and answer.content == "O!"
    assert template.question_fields == ["input", "year"]
    assert template.fields == ["input", "year", "output"]


@given(st.text(alphabet="{}inputo ", max_size=20))
def test_text_is_inserted_once_and_never_expanded(text: str) -> None:
    template = load_template("plain", Path())
    prompt, answer = template.messages({"input": text, "output": "{input}{output}{{"})
    assert prompt.content == text and answer.content == "{input}{output}{{"


def test_a_placeholder_without_a_field(tmp_path: Path) -> None:
    template = own(tmp_path, "description: d\nprompt: '{inptu}'\ncompletion: '{output}'\n")
    with pytest.raises(MissingField, match="inptu"):
        template.messages({"input": "a", "output": "b"})
    said = str(template.unknown_placeholder("inptu", ["input", "output"], "rows.csv"))
    assert "'own.yaml'" in said and "{inptu}" in said and "Did you mean 'input'?" in said
    assert said.endswith("Fields there: input, output.")


def test_the_labels_of_the_task() -> None:
    template = load_template("classify", Path())
    row = {"input": "IN", "output": "a"}
    assert "labels: a, b." in template.messages(row, labels=["a", "b"])[0].content
    assert "labels: x." in template.messages({**row, "labels": "x"}, labels=["a"])[0].content
    with pytest.raises(MissingField, match="labels"):
        template.messages(row)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("prompt: a\ncompletion: b\n", "'description' is missing"),
        ("description: d\nprompt: {input}\ncompletion: b\n", "Quote texts that start"),
        ("description: d\nprompt: 'a { b'\ncompletion: b\n", "stray '{'"),
        ("description: d\nprompt: 'a {} b'\ncompletion: b\n", "stray '{}'"),
        ("description: d\npromt: a\n", "unknown key 'promt'. Did you mean 'prompt'"),
        ("description: d\nlet: x\nprompt: a\ncompletion: b\n", "'let' is 'x'"),
        ("- a\n", "expected the keys"),
        ("a: [\n", r"own\.yaml:2: not valid YAML"),
    ],
)
def test_what_is_wrong_with_a_template_is_said(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        own(tmp_path, text)


def test_unknown_templates_name_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Did you mean 'promise'"):
        load_template("promis", tmp_path)
    (tmp_path / "mine.yaml").touch()
    with pytest.raises(DataError, match=r"Did you mean 'mine\.yaml'"):
        load_template("mien.yaml", tmp_path)


def test_fields_as_text() -> None:
    values = ["no", None, True, 3, 0.5, ["é"], {"a": 1}]
    assert [as_text(v) for v in values] == ["no", "", "true", "3", "0.5", '["é"]', '{"a": 1}']
