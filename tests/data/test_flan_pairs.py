"""FLAN's pairs: what is read, how it is named and marked, and that all real ones render."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from public_sets import public

from luthier.data.config import OptionsConfig
from luthier.data.templating.draws import Draw
from luthier.data.templating.template_sets import load_templates
from luthier.errors import DataError

TASKS = {
    "follows": [
        ["{premise}\n\nSo {hypothesis}?\n\n{options_}", "{answer}"],
        ["{a b} {{premise}} {options_str}", "{answer}"],
        ["Write one.", "Premise: {premise}"],
        ["Given {answer}:", "{premise}"],
    ],
    "sums": [["{x}+{y}=", "{z}"]],
}


@pytest.fixture
def own(tmp_path: Path) -> Path:
    (tmp_path / "flan.json").write_text(json.dumps(TASKS), encoding="utf-8")
    return tmp_path


def test_names_marks_and_fields(own: Path) -> None:
    found = load_templates("flan.json", own)
    assert [t.name for t in found] == [
        "flan.json#follows/0", "flan.json#follows/1", "flan.json#follows/2", "flan.json#follows/3",
        "flan.json#sums/0",
    ]  # fmt: skip
    assert [t.inverted for t in found] == [False, False, True, True, False]
    assert [t.closed for t in found] == [True, True, False, False, True]
    assert found[0].fields == ["premise", "hypothesis", "answer"]
    assert found[0].answer_field == "answer" and found[4].answer_field == "z"


def test_a_task_or_a_template_of_it_can_be_asked_for(own: Path) -> None:
    assert [t.name for t in load_templates("flan.json#sums", own)] == ["flan.json#sums/0"]
    (one,) = load_templates("flan.json#follows/3", own)
    assert one.prompt_text == "Given {answer}:"
    with pytest.raises(DataError, match=r"unknown template 'folows'. Did you mean 'follows'"):
        load_templates("flan.json#folows", own)
    with pytest.raises(DataError, match=r"unknown template 'sums/7'. Did you mean 'sums/0'"):
        load_templates("flan.json#sums/7", own)


def test_only_words_between_braces_are_fields(own: Path) -> None:
    (template,) = load_templates("flan.json#follows/1", own)
    row = {"premise": "{answer}", "answer": "{premise}", "options": ["p", "q"]}
    asked, answer = template.messages(row, options=OptionsConfig(shuffle=False))
    assert asked.content == "{a b} {{answer}} OPTIONS:\n- p\n- q"
    assert answer.content == "{premise}"


def test_targets_with_the_same_fields_ask_the_same_way(tmp_path: Path) -> None:
    """As in FLAN's second edition, whose targets are worded in several ways within a task."""
    pairs = [
        ["Why: {question}", "{cot} So it is {answer}."],
        ["{question} Reasons last.", "{answer}, for {cot}"],
        ["Think. {question}", "\n{cot}\n{answer}"],
        ["What is asked, if {answer}?", "{question}"],
    ]
    tasks = {
        "cot": pairs,
        "news": [["{text} In short:", "\n{summary}"], ["Expand {summary}", "{text}"]],
    }
    (tmp_path / "flan.json").write_text(json.dumps(tasks), encoding="utf-8")
    found = load_templates("flan.json", tmp_path)
    assert [t.inverted for t in found] == [False, False, False, True, False, True]
    assert [t.answer_field for t in found[3:5]] == ["output", "summary"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1]", "expected an object of tasks"),
        ('{"a":\n 1,}', r"flan\.json:2: not valid JSON"),
        ('{"a": 1}', "task 'a' is no list"),
        ('{"a": [["x", "y"], ["x"]]}', "template 1 of the task 'a' is .* expected a pair"),
        ("{}", "there are no templates in it"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "flan.json").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        load_templates("flan.json", tmp_path)


def test_all_610_templates_of_flan_render() -> None:
    found = load_templates(str(public("flan/flan_v1_templates.json")), Path())
    assert len(found) == 610 and len({t.name for t in found}) == 610
    assert sum(t.inverted for t in found) == 97  # other targets than their task's usual one
    for template in found:
        row: dict[str, Any] = {name: f"<{name}> {{x}}" for name in template.fields}
        row["options"] = ["one", "two"]
        asked, answer = template.messages(row, draw=Draw(0, template.name))
        for name in template.question_fields:
            assert row[name] in asked.content
        assert answer.content and not asked.content.count("{options")
        listed = "OPTIONS:\n- " in asked.content
        assert listed == any(p in template.prompt_text for p in ("{options_}", "{options_str}"))
        off = template.messages(row, options=OptionsConfig(mode="off"))
        assert "OPTIONS" not in off[0].content and off[-1] == answer
        assert not listed or off[0].content == off[0].content.strip()
