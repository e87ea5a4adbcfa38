"""Answers by a form: found within prose, validated, asked for again, given up."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Literal

import pytest
from asked_models import Model, asks, said, section
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field
from scripted_server import Scripted

from luthier.inference.call_log import CallLog
from luthier.inference.request import Completion, Request
from luthier.inference.session import Session, asking
from luthier.inference.structured import ask_for, closed, read_as


class Point(BaseModel):
    x: int
    y: int = 0


class Judged(BaseModel):
    label: Literal["yes", "no"]
    confidence: float = Field(ge=0, le=1)
    why: list[Point] = []
    properties: dict[str, int] = {}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"x": 1, "y": 2}', Point(x=1, y=2)), ('{"x": 1}', Point(x=1)),
        ('Sure! Here it is:\n```json\n{"x": 3}\n```\nAnything else?', Point(x=3)),
        ('{"z": 1} and {"x": 4}', Point(x=4)), ('{"x": "one"} {"x": 5}', Point(x=5)),
        ('{oops {"x": 6}', Point(x=6)), ('{"x": 7, "y": 8, "more": []}', Point(x=7, y=8)),
        ('{"x": 1', None), ("", None), ("no JSON", None), ("[1]", None), ('{"x": null}', None),
        ("{" * 5000, None), ('{"a":' * 5000, None), ("```{}```", None),
        ('{"x": 1' + "0" * 5000 + "}", None),
    ],
)  # fmt: skip
def test_the_first_object_that_fits(text: str, expected: Point | None) -> None:
    assert read_as(text, Point) == expected


class Short(BaseModel):
    word: str = Field(max_length=2, min_length=1)


class Worded(BaseModel):
    reason: str = Field(max_length=5)
    more: list[Short] = []


def test_words_that_are_too_long_are_cut() -> None:
    """Servers that cannot be held to a length write on; asked again they would too."""
    text = '{"reason": "because", "more": [{"word": "ab"}, {"word": "abc"}]}'
    expected = Worded(reason="becau", more=[Short(word="ab"), Short(word="ab")])
    assert read_as(text, Worded) == expected
    assert read_as('{"reason": "because", "more": [{"word": ""}]}', Worded) is None


texts = st.text(st.characters(codec=None, exclude_categories=()), max_size=60)


@given(texts, texts)
def test_any_words_around_it(before: str, after: str) -> None:
    found = read_as(before.replace("{", "(") + '{"x": 9}' + after, Point)
    assert found == Point(x=9)


@given(texts)
def test_any_words_at_all(text: str) -> None:
    read_as(text, Point)


def test_a_schema_has_all_fields_and_no_others() -> None:
    found = closed(Judged.model_json_schema())
    assert found["required"] == ["label", "confidence", "why", "properties"]
    assert found["additionalProperties"] is False
    point = found["$defs"]["Point"]
    assert point["required"] == ["x", "y"] and point["additionalProperties"] is False
    assert "default" not in str(found)
    assert found["properties"]["confidence"]["maximum"] == 1
    assert found["properties"]["properties"]["additionalProperties"] == {"type": "integer"}


def test_a_field_may_be_called_default() -> None:
    class Odd(BaseModel):
        default: int = 3
        required: str = ""

    assert set(closed(Odd.model_json_schema())["properties"]) == {"default", "required"}


def asked_of(
    answers: list[str | Completion], folder: Path, **how: Any
) -> tuple[Point | None, list[Completion], list[Request]]:
    """What `ask_for` makes of answers that come one after another."""
    seen: list[Request] = []

    def answer(request: Request, _: int) -> Completion:
        seen.append(request)
        found = answers[min(len(seen) - 1, len(answers) - 1)]
        return found if isinstance(found, Completion) else said(found)

    async def run(log: CallLog) -> tuple[Point | None, list[Completion]]:
        async with asking(Session(section(), log, backend=Model(answer))) as session:
            return await ask_for(session, asks("Give JSON.", **how), Point)

    with CallLog(folder / "calls.jsonl") as log:
        found, completions = asyncio.run(run(log))
    return found, completions, seen


def test_it_is_asked_again_with_another_seed(tmp_path: Path) -> None:
    found, completions, seen = asked_of(["what?", '{"y": 1}', '{"x": 1}'], tmp_path, seed=7)
    assert found == Point(x=1) and len(completions) == 3
    assert [r.seed for r in seen] == [7, 1_000_010, 2_000_013]
    assert len({c.key for c in completions}) == 3
    assert all(r.json_schema == closed(Point.model_json_schema()) for r in seen)
    # Repeated from the log: the same, and nobody is asked.
    again, completions, seen = asked_of(["never"], tmp_path, seed=7)
    assert again == found and len(completions) == 3 and seen == []


def test_it_gives_up_after_three(tmp_path: Path) -> None:
    found, completions, _ = asked_of(["what?"], tmp_path)
    assert found is None and len(completions) == 3


def test_what_is_unfit_is_not_asked_again(tmp_path: Path) -> None:
    unfit = Completion((), "m", unfit="refused (400): filtered")
    found, completions, _ = asked_of([unfit], tmp_path)
    assert found is None and [c.unfit for c in completions] == ["refused (400): filtered"]


def test_a_server_is_held_to_the_schema(serve: Any, tmp_path: Path) -> None:
    server: Scripted = serve()

    async def run(log: CallLog) -> tuple[Judged | None, list[Completion]]:
        async with asking(Session(server.section(), log)) as session:
            return await ask_for(session, asks("Judge it as JSON.", max_tokens=200), Judged)

    with CallLog(tmp_path / "calls.jsonl") as log:
        found, completions = asyncio.run(run(log))
    assert found is not None and len(completions) == 1
    [line] = server.asked()
    assert line["body"]["response_format"]["json_schema"]["strict"] is True
