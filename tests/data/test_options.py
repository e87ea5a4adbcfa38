"""The OPTIONS clause: styles, orders, shares, where options come from, and leaving it out."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luthier.data.config import OptionsConfig
from luthier.data.templating.draws import Draw
from luthier.data.templating.options import PLACEHOLDERS, clause, options_of
from luthier.data.templating.template import MissingField, Template
from luthier.data.templating.template_fields import placeholders, without

LABELS = ["yes", "no", "maybe"]
ASKS = Template("t", "d", "{text}\n\n{options_}\nAnswer:", "{output}")
ROW = {"text": "T {options_} {x}", "output": "no"}


def asked(options: OptionsConfig, draw: Draw | None = None, labels: Any = LABELS) -> str:
    return ASKS.messages(ROW, labels=labels, draw=draw, options=options)[0].content


@pytest.mark.parametrize(
    ("style", "listed"),
    [
        ("dash", "OPTIONS:\n- yes\n- no\n- maybe"),
        ("letters", "OPTIONS:\n(A) yes\n(B) no\n(C) maybe"),
        ("words", "OPTIONS: yes, no or maybe"),
    ],
)
def test_styles(style: Any, listed: str) -> None:
    config = OptionsConfig(style=style, shuffle=False)
    assert clause(LABELS, config, Draw(0, "a")) == listed
    assert asked(config) == f"T {{options_}} {{x}}\n\n{listed}\nAnswer:"
    assert ASKS.messages(ROW, labels=LABELS, options=config)[-1].content == "no"


def test_one_option_and_very_many() -> None:
    assert clause(["a"], OptionsConfig(style="words"), None) == "OPTIONS: a"
    many = clause([str(n) for n in range(703)], OptionsConfig(style="letters"), None).splitlines()
    assert [many[i] for i in (26, 27, 702, 703)] == ["(Z) 25", "(AA) 26", "(ZZ) 701", "(AAA) 702"]


def test_the_order_is_drawn_and_the_set_is_complete() -> None:
    shown = [asked(OptionsConfig(), Draw(7, str(n))) for n in range(60)]
    assert len(set(shown)) == 6
    for text in shown:
        assert sorted(text.split("OPTIONS:\n")[1].splitlines()[:3]) == ["- maybe", "- no", "- yes"]
    assert shown == [asked(OptionsConfig(), Draw(7, str(n))) for n in range(60)]
    assert shown != [asked(OptionsConfig(), Draw(8, str(n))) for n in range(60)]
    assert asked(OptionsConfig()) == asked(OptionsConfig(shuffle=False), Draw(7, "1"))


def test_sampled_shows_the_clause_in_its_share_of_the_rows() -> None:
    config = OptionsConfig(mode="sampled", share=0.3)
    counts = Counter("OPTIONS" in asked(config, Draw(0, str(n))) for n in range(2000))
    assert counts[True] == pytest.approx(600, abs=80)
    assert "OPTIONS" in asked(config), "without a draw nothing is left to chance"


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("{text}\n\n{options_}", "{text}"),
        ("{options_}\n\n{text}", "{text}"),
        ("{text}\n{options_}\n\nAnswer:", "{text}\n\nAnswer:"),
        ("{text}\n\n{options_str}\nAnswer:", "{text}\n\nAnswer:"),
        ("One of {options_} it is.", "One of it is."),
        ("({options_})", "()"),
        ("{options_}", ""),
        ("{options_} {options_}\n{text}", "{text}"),
        ("{{options_}} {{{options_}}}", "{{options_}} {{}}"),
        ("no clause \n\n", "no clause \n\n"),
    ],
)
def test_off_leaves_no_gap(text: str, left: str) -> None:
    assert without(text, PLACEHOLDERS) == left
    template = Template("t", "d", text, "{output}")
    shown = template.messages({**ROW, "text": "T"}, options=OptionsConfig(mode="off"))
    assert shown[0].content == left.replace("{text}", "T").replace("{{", "{").replace("}}", "}")


@given(st.text(alphabet="{}o ptins_\n", max_size=30))
def test_leaving_out_leaves_everything_else(text: str) -> None:
    left = without(f"a {text} b", PLACEHOLDERS)
    assert not set(placeholders(left)) & set(PLACEHOLDERS)
    others = [name for name in placeholders(text) if name not in PLACEHOLDERS]
    assert [n for n in placeholders(left) if n in others] == others


def test_where_options_come_from() -> None:
    assert options_of({"options": ["a"]}, LABELS) == LABELS
    assert options_of({"options": ["a", 2]}, []) == ["a", "2"]
    assert options_of({"choices": {"text": ["a", "b"], "label": ["A", "B"]}}, []) == ["a", "b"]
    assert options_of({"answer_choices": ("a", "b")}, []) == ["a", "b"]
    assert options_of({"options": "a, b", "choices": []}, []) == []
    with pytest.raises(MissingField, match=r"^options$"):
        asked(OptionsConfig(), labels=())
    assert asked(OptionsConfig(mode="off"), labels=()) == "T {options_} {x}\n\nAnswer:"


def test_options_with_braces_stay_text() -> None:
    shown = asked(OptionsConfig(shuffle=False), labels=["{text}", "{{", "{options_}"])
    assert "- {text}\n- {{\n- {options_}" in shown
