"""Reworded templates: each is the same template in other words, or is left out with its reason."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from scripted_server import Scripted

from luthier.cli import app
from luthier.data.paraphrasing.paraphrase import TRIES, paraphrase
from luthier.data.paraphrasing.same_template import difference
from luthier.data.templating.template import Template
from luthier.data.templating.template_fields import placeholders
from luthier.data.templating.template_sets import load_templates
from luthier.errors import CheckFailed, DataError

SET = """\
description: Mood of a text.
fields: {text: A text., output: The mood.}
templates:
  plain:
    input: "What is the mood of this?\\n{text}\\n{options_}"
    target: "{output}"
  letter:
    input: "Below is a letter.\\n\\n{text}\\n\\n{options_}\\nHow does its writer feel?"
    target: "{output}"
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Scripted]:
    here = Path(__file__).parent
    with Scripted(tmp_path / "server", answers="reworder", path=(here,)) as one:
        yield one


@pytest.fixture
def own(tmp_path: Path) -> str:
    path = tmp_path / "mood.yaml"
    path.write_text(SET)
    return str(path)


def test_a_set_grows_by_rewordings_that_are_the_same(
    server: Scripted, own: str, tmp_path: Path
) -> None:
    out = tmp_path / "more.yaml"
    found = paraphrase(own, server.section(), per_template=4, out=out)
    assert found.kept == 8 and not found.short_of
    assert {"placeholders", "negation", "numbers", "meaning"} & found.left_out.keys()
    templates = load_templates(str(out), Path())
    assert len(templates) == 10
    for template in templates:
        assert sorted(placeholders(template.prompt_text)) == ["options_", "text"]
        assert template.completion_text == "{output}"
    reworded = [t for t in templates if t.metadata]
    assert len({t.prompt_text for t in reworded}) == 8
    rewordings = [
        one for one in server.asked() if "You reword" in one["body"]["messages"][0]["content"]
    ]
    assert len(rewordings) == found.kept + sum(found.left_out.values()) < 24, "no more than needed"
    assert {t.metadata["reworded_from"] for t in reworded} == {f"{own}#plain", f"{own}#letter"}
    assert all(t.metadata["generator"] and len(t.metadata["calls"]) == 3 for t in reworded)
    asked = len(server.asked())
    text = out.read_bytes()
    paraphrase(own, server.section(), per_template=4, out=out)
    assert out.read_bytes() == text and len(server.asked()) == asked, "the log answers"


def test_a_rewording_takes_no_name_that_an_original_has(
    server: Scripted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("two.yaml").write_text(SET.replace("plain:", "ask:").replace("letter:", "ask_1:"))
    found = paraphrase("two.yaml", server.section(), per_template=2, out=Path("o.yaml"))
    templates = load_templates("o.yaml", Path())
    assert found.kept == 4 and len(templates) == 6
    before = {t.prompt_text for t in load_templates("two.yaml", Path())}
    assert before < {t.prompt_text for t in templates}


def test_the_command(
    server: Scripted, own: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "r.yaml"
    llm = {"backend": "openai", "model": "strong-model", "base_url": server.base_url}
    recipe.write_text(json.dumps({
        "name": "r", "model": "m", "task": {"kind": "generation"},
        "data": {"sources": [{"path": "x.jsonl"}], "llm": llm},
    }))  # fmt: skip
    out = tmp_path / "o.yaml"
    with pytest.raises(SystemExit) as ended:
        app(["paraphrase", own, "--recipe", str(recipe), "--per-template", "2", "--out", str(out),
             "--json"])  # fmt: skip
    assert ended.value.code in (0, None)
    assert json.loads(capsys.readouterr().out)["kept"] == 4


def test_packaged_sets_and_single_templates_too(server: Scripted, tmp_path: Path) -> None:
    one = paraphrase(
        "sentiment/how_does_it_sound", server.section(), per_template=1, out=tmp_path / "a",
        check_meaning=False,
    )  # fmt: skip
    assert one.templates == 1 and one.kept == 1


def test_nothing_kept_says_no(own: str, tmp_path: Path) -> None:
    with (
        Scripted(tmp_path / "s", rules=[{"if": ".", "say": "no placeholder at all"}]) as server,
        pytest.raises(CheckFailed, match="placeholders"),
    ):
        paraphrase(own, server.section(), out=tmp_path / "x.yaml")
    assert not (tmp_path / "x.yaml").exists()
    assert len(server.asked()) == 2 * 3 * TRIES


def test_what_cannot_be_reworded_is_told(server: Scripted, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="laid out by super_ni"):
        paraphrase("super_ni", server.section(), out=tmp_path / "x.yaml")


ORIGINAL = Template(
    "t", "d", 'Answer "yes" or "no" in 2 words.\n{question}\n{options_}', "{output}"
)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('Reply with "yes" or "no", using 2 words.\n{question}\n{options_}', None),
        ('{options_} 2 words, "yes" or "no": {question}', None),
        ('"yes" or "no", 2 words: {question}', "placeholders"),
        ('"yes" or "no", 2 words: {question} {options_} {question}', "placeholders"),
        ('"yes" or "no", 2 words: {Question} {options_}', "placeholders"),
        ('"yes" or "no", 2 words: {question} {options_} }', "placeholders"),
        ('"yes" or "nay", 2 words: {question} {options_}', "answers"),
        ('"yes", "no" or "maybe", 2 words: {question} {options_}', "answers"),
        ('"yes" or "no", 3 words: {question} {options_}', "numbers"),
        ('"yes" or "no", not more than 2 words: {question} {options_}', "negation"),
        ('Paraphrased: "yes" or "no", 2 words: {question} {options_}', "leaked prompt words"),
        ('"yes" or "no", 2 words: {question} {options_} ' + "more " * 40, "longer"),
    ],
)  # fmt: skip
def test_each_rule(text: str, reason: str | None) -> None:
    said = difference(ORIGINAL, text)
    assert (said or "").partition(":")[0] == (reason or "")


OPTIONS = "Is this spam?\n{text}\nOPTIONS:\n- spam\n- ham"
LETTERS = "Which is it?\n(A) spam\n(B) ham\n{text}"
ASKED = "Answer spam, ham or unsure.\n{text}"
QUESTION = "Is this message spam or ham?\n{text}"


@pytest.mark.parametrize(
    ("original", "text", "reason"),
    [
        (OPTIONS, "Could this be spam?\n{text}\nPick one: junk or fine", "options"),
        (OPTIONS, "{text}\nOPTIONS:\n- ham\n- spam\nSpam?", "options"),
        (OPTIONS, "{text}\nOPTIONS:\n- spam\n- ham\n- neither", "options"),
        (OPTIONS, "{text}\nIs it spam?\n- spam\n- ham", "options"),
        (OPTIONS, "{text}\nOPTIONS:\n- spam\n- ham\nWould you call it spam?", None),
        ("OPTIONS: spam, ham\n{text}", "{text}\nOPTIONS: junk, ham", "options"),
        ("OPTIONS: spam, ham\n{text}", "What is it?\n{text}\nOPTIONS: spam, ham", None),
        ("Spam?\n{text}", "{text}\nSpam?\nOPTIONS:\n- spam\n- ham", "options"),
        ("Spam?\n{text}\n{options_}", "{text}\nSpam?\nOptions:\n{options_}", None),
        (LETTERS, "What is this?\n(A) junk\n(B) ham\n{text}", "options"),
        (LETTERS, "{text}\nWhat is this?\n(A) spam\n(B) ham", None),
        (ASKED, "{text}\nAnswer junk, ham or unsure.", "answers"),
        (ASKED, "{text}\nReply with spam or ham.", "answers"),
        (ASKED, "{text}\nReply with spam, ham, unsure or nonsense.", "answers"),
        (ASKED, "Spam, ham or unsure?\n{text}", None),
        ("Answer true or false.\n{text}", "Is it True or False?\n{text}", "answers"),
        (QUESTION, "{text}\nIs that junk or ham?", "answers"),
        (QUESTION, "Does {text} look like spam, or is it ham?", None),
        ("What is the mood of {text}", "Is the mood of {text} good or bad?", "answers"),
        ("Is it a poem or a letter?\n{text}", "{text}\nIs it prose or verse?", "answers"),
        ("Is it a poem or a letter?\n{text}", "A letter or a poem: which is it?\n{text}", None),
    ],
)
def test_what_may_be_answered_is_untouched(original: str, text: str, reason: str | None) -> None:
    said = difference(Template("t", "d", original, "{output}"), text)
    assert (said or "").partition(":")[0] == (reason or "")


def test_a_target_of_words_is_kept_in_the_question() -> None:
    original = Template("t", "d", "Say Yes if {a} follows from {b}.", "Yes", {})
    assert difference(original, "If {a} follows from {b}, write Yes.") is None
    told: Any = difference(original, "If {a} follows from {b}, write OK.")
    assert told == "answers: 'Yes' is gone"
