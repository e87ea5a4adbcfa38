"""The layout of Super-NaturalInstructions, as a function and as a template."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from public_sets import public

from luthier.data.templating.draws import Draw
from luthier.data.templating.super_ni_prompt import prompt
from luthier.data.templating.template import MissingField, load_template
from luthier.errors import DataError

GOOD = [
    {"input": "2 3", "output": "5", "explanation": "2 + 3 is 5."},
    {"input": "1 1", "output": "2"},
    {"input": "4 4", "output": "8", "explanation": "Doubled."},
]
BAD = [{"input": "2 2", "output": "22", "explanation": "Not added."}]
ROW: dict[str, Any] = {
    "definition": "Add {x}.", "input": " 5 5 ", "output": ["10", "ten"],
    "positive_examples": GOOD, "negative_examples": BAD,
}  # fmt: skip


def test_the_layout() -> None:
    assert prompt("Add.", GOOD, BAD, "5 5", k_negative=2, explanations=True) == (
        "Definition: Add.\n\n"
        "Positive Example 1 -\nInput: 2 3\nOutput: 5\nExplanation: 2 + 3 is 5.\n\n"
        "Positive Example 2 -\nInput: 1 1\nOutput: 2\n\n"
        "Negative Example 1 -\nInput: 2 2\nOutput: 22\nExplanation: Not added.\n\n"
        "Now complete the following example -\nInput: 5 5\nOutput:"
    )
    assert prompt("Add.", GOOD, BAD, "5 5", k_positive=0) == (
        "Definition: Add.\n\nNow complete the following example -\nInput: 5 5\nOutput:"
    )


def test_explanations_of_the_tasks_of_2021() -> None:
    examples = [{"input": "1 1", "output": "2", "reason": "One more."}]
    assert "Explanation: One more." in prompt("Add.", examples, [], "5 5", explanations=True)
    examples[0]["reason"] = "-"
    assert "Explanation" not in prompt("Add.", examples, [], "5 5", explanations=True)


def test_the_template_has_the_standard_setting() -> None:
    asked, answer = load_template("super_ni", Path()).messages(ROW)
    assert asked.content == prompt("Add {x}.", GOOD, [], "5 5") and answer.content == "10"
    drawn = {load_template("super_ni", Path()).messages(ROW, draw=Draw(0, str(n)))[-1].content
             for n in range(20)}  # fmt: skip
    assert drawn == {"10", "ten"}


def test_settings_and_the_names_of_task_files(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(
        "description: d\nsuper_ni: {k_positive: 1, k_negative: 1, explanations: true}\n"
    )
    row = {"Definition": ["Add."], "Positive Examples": GOOD, "Negative Examples": BAD,
           "input": "5 5", "output": "10"}  # fmt: skip
    asked, _ = load_template("own.yaml", tmp_path).messages(row)
    assert asked.content == prompt(
        "Add.", GOOD, BAD, "5 5", k_positive=1, k_negative=1, explanations=True
    )


@pytest.mark.parametrize("name", ["definition", "input", "output", "positive_examples"])
def test_what_a_row_lacks_is_named(name: str) -> None:
    row = {key: value for key, value in ROW.items() if key != name}
    with pytest.raises(MissingField, match=f"^{name}$"):
        load_template("super_ni", Path()).messages(row)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("{k_postive: 1}", r"own\.yaml:2: super_ni: unknown setting 'k_postive'. Did you mean"),
        ("{k_positive: yes}", "'k_positive' is 'yes', expected a number of examples"),
        ("{k_positive: -1}", "'k_positive' is -1, expected a number"),
        ("{explanations: 1}", "'explanations' is 1, expected true or false"),
        ("2", "'super_ni' is 2, expected its settings"),
    ],
)
def test_wrong_settings(tmp_path: Path, settings: str, message: str) -> None:
    (tmp_path / "own.yaml").write_text(f"description: d\nsuper_ni: {settings}\n")
    with pytest.raises(DataError, match=message):
        load_template("own.yaml", tmp_path)


def test_real_task_files() -> None:
    files = sorted(public("natural_instructions").glob("*.json"))
    assert files
    for file in files:
        task = json.loads(file.read_text(encoding="utf-8"))
        for instance in task["Instances"][:20]:
            asked, answer = load_template("super_ni", Path()).messages({**task, **instance})
            assert asked.content.count("Positive Example") == 2
            assert instance["input"].strip() in asked.content and answer.content
