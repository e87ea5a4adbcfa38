"""Turning templates round: which, how they ask, and which rows they suit."""

from __future__ import annotations

from pathlib import Path

import pytest
from public_sets import public

from luthier.data.config import OptionsConfig
from luthier.data.templating.inversion import inverted
from luthier.data.templating.template import Skipped, Template, load_template
from luthier.data.templating.template_sets import load_templates

ARTICLE = "The bridge was closed on Monday. {output} Engineers found a crack."


def forward(asks: str, target: str = "{output}", **more: object) -> Template:
    return Template("set/one", "d", asks, target, **more)  # type: ignore[arg-type]


def test_a_summary_asks_for_its_article() -> None:
    template = forward("Article: {article}\n\nSummarize it.\n\n{options_}")
    turned = inverted(template)
    assert turned is not None and turned.inverted and turned.made_from == "set/one"
    assert turned.name == "set/one_inverted" and not turned.closed
    assert turned.question_fields == ["output"] and turned.fields == ["output", "article"]
    asked, answer = turned.messages({"article": ARTICLE, "output": "{article}"})
    assert answer.content == ARTICLE
    assert "Article: [article]\n\nSummarize it.\n\nAnswer: {article}\n" in asked.content
    assert "crack" not in asked.content and "OPTIONS" not in asked.content
    assert asked.content.endswith("Write the missing article.")


def test_the_question_is_asked_for_given_text_and_answer() -> None:
    turned = inverted(forward("{context}\nQ: {question}\nA:", "{answer}"))
    assert turned is not None and turned.completion_text == "{question}"
    row = {"context": "Rome is old.", "question": "How old is Rome, roughly?", "answer": "Very."}
    asked, answer = turned.messages(row)
    assert "Rome is old.\nQ: [question]\nA: Very.\n" in asked.content
    assert answer.content == row["question"] and row["question"] not in asked.content


def test_an_input_alone_is_what_the_answer_answers() -> None:
    turned = inverted(load_template("plain", Path()))
    assert turned is not None and turned.name == "plain_inverted"
    row = {"input": "Name three primes above ten.", "output": "11, 13, 17"}
    assert turned.messages(row)[0].content == (
        "Here is an answer:\n\n11, 13, 17\n\nWrite the input that it answers."
    )


@pytest.mark.parametrize(
    "template",
    [
        forward("{premise} So {hypothesis}?"),
        forward("{article}", "Summary: {output}"),
        forward("{article}", "{output} {output}"),
        forward("{article} {article}"),
        forward("{output}: write the {output}"),
        forward("Say something."),
        forward("{who}", constants={"who": "you"}),
        forward("{labels}\n{options_}"),
        forward("{article}", inverted=True),
        forward("{article}", system="You know {article}."),
        forward("{{article}} ||| {{output}}", "", dialect="jinja"),
    ],
)
def test_what_is_not_plain_is_left_alone(template: Template) -> None:
    assert inverted(template) is None


def test_never_twice() -> None:
    once = inverted(forward("{article}"))
    assert once is not None and inverted(once) is None


def test_a_label_or_a_name_is_never_asked_for() -> None:
    turned = inverted(forward("{text} Is it good?"))
    assert turned is not None
    assert not turned.suits({"text": "  Paris  "}) and turned.suits({"text": ARTICLE})
    with pytest.raises(Skipped, match=r"^too short to be asked for: 'text' has fewer than 20"):
        turned.messages({"text": "Paris", "output": "yes"})
    assert forward("{text}").suits({"text": ""}), "others suit every row"


def test_labels_may_still_be_named() -> None:
    turned = inverted(forward("One of {labels}.\nInput: {input}\nLabel:"))
    assert turned is not None
    row = {"input": ARTICLE, "output": "news"}
    asked = turned.prompt(row, labels=["news", "sport"], options=OptionsConfig())[0].content
    assert "One of news, sport.\nInput: [input]\nLabel: news\n" in asked


def test_real_templates_that_are_turned_round_render() -> None:
    found = load_templates(str(public("flan/flan_v1_templates.json")), Path())
    turned = [t for t in map(inverted, found) if t is not None]
    assert len(turned) > 150
    for template in turned:
        row = {name: f"{name}: a text of some length" for name in template.fields}
        asked, answer = template.messages(row, labels=["a", "b"])
        assert answer.content not in asked.content
        for name in template.question_fields:
            assert row[name] in asked.content
