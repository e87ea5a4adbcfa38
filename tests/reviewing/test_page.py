"""The page in a real browser, driven by keys."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from chromium import Chromium
from reviews import HOSTILE, Client, in_thread

from luthier.artifacts import load_examples
from luthier.data.build import build
from luthier.example import SPLITS
from luthier.reviewing.rows import LEFT_OUT

Served = Callable[..., Client]


def open_page(browser: Chromium, client: Client, *, rows: bool = True) -> None:
    browser.messages.clear()
    browser.requests.clear()
    browser.screen(1366, 768)
    browser.open(client.url)
    browser.until(
        "typeof total === 'number' && start && document.querySelector('#row').children.length"
    )


def at(browser: Chromium, where: str) -> None:
    """Wait until a row is shown."""
    browser.until(f"row && row.where === {json.dumps(where)} && !busy && !steps")


def press(browser: Chromium, key: str, where: str, **more: Any) -> None:
    browser.press(key, **more)
    at(browser, where)


def words(client: Client) -> list[tuple[str, str]]:
    return [(r["decision"], r.get("where", "")) for r in client.records()]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names of files are short, as they are where somebody works."""
    monkeypatch.chdir(tmp_path)


def test_a_review_by_keys(browser: Chromium, labelled: Path) -> None:
    with in_thread("rows.csv") as client:
        open_page(browser, client)
        at(browser, "rows.csv:2")
        press(browser, "k", "rows.csv:3")
        press(browser, "d", "rows.csv:4")
        press(browser, " ", "rows.csv:5")
        press(browser, "s", "rows.csv:6")
        press(browser, "n", "rows.csv:6")
        browser.type("not sure")
        browser.press("Enter")
        press(browser, "d", "rows.csv:7")
        assert words(client) == [
            ("keep", "rows.csv:2"), ("drop", "rows.csv:3"), ("skip", "rows.csv:4"),
            ("skip", "rows.csv:5"), ("drop", "rows.csv:6"),
        ]  # fmt: skip
        assert client.records()[-1]["note"] == "not sure" and client.records()[-1]["who"] == "ada"
        press(browser, "ArrowLeft", "rows.csv:6")
        assert browser.text("#stamp") == "dropped"
        assert browser.run("document.querySelector('#note').value") == "not sure"
        press(browser, "u", "rows.csv:6")
        assert browser.text("#stamp") == "not decided"
        press(browser, "u", "rows.csv:5")
        press(browser, "u", "rows.csv:4")
        assert [d for d, _ in words(client)][-3:] == ["undo"] * 3
        assert browser.text("#tally").startswith("2 of 12 · 1 kept, 0 edited, 1 dropped")
        press(browser, "j", "rows.csv:5")
        for _ in range(9):
            browser.press("ArrowRight")
        browser.until("row === null && !busy && !steps")
        assert browser.run("rows.size") <= 7, "a page holds the rows around the one it shows"
        assert browser.messages == []
    with in_thread("rows.csv") as client:
        open_page(browser, client)
        at(browser, "rows.csv:4")
        assert browser.text("#said") == "Going on at row 3."
        assert browser.text("#tally").startswith("2 of 12 · 1 kept, 0 edited, 1 dropped")
        press(browser, "u", "rows.csv:3")
        assert browser.text("#stamp") == "not decided", "undo goes back beyond the last session"


def test_buttons_do_what_keys_do(browser: Chromium, labelled: Path) -> None:
    with in_thread("rows.csv") as client:
        open_page(browser, client)
        for button, where in (("[data-do=keep]", 3), ("[data-do=drop]", 4), ("[data-do=skip]", 5),
                              ("#next", 6), ("#back", 5), ("#undo", 4)):  # fmt: skip
            browser.run(f"document.querySelector('{button}').click()")
            at(browser, f"rows.csv:{where}")
        assert [d for d, _ in words(client)] == ["keep", "drop", "skip", "undo"]


def test_text_of_a_row_is_text(browser: Chromium, labelled: Path) -> None:
    with in_thread("rows.csv") as client:
        open_page(browser, client)
        for _ in range(3):
            browser.press("ArrowRight")
            browser.until("!busy && !steps")
        at(browser, "rows.csv:5")
        said = "document.querySelector('.turn.user .say').textContent"
        assert browser.run(said) == HOSTILE
        browser.press("e")
        assert browser.run("document.querySelector('textarea').value") == HOSTILE
        browser.press("Escape")
        browser.press("n")
        browser.type(HOSTILE)
        browser.press("Enter")
        press(browser, "k", "rows.csv:6")
        press(browser, "ArrowLeft", "rows.csv:5")
        assert HOSTILE in browser.run("document.querySelector('#about').textContent")
        browser.press("/")
        browser.type("<b>bo")
        browser.press("Enter")
        browser.until("total === 1 && !busy && !steps")
        assert browser.run("document.querySelector('.say mark').textContent") == "<b>bo"
        assert browser.run(said) == HOSTILE
        assert browser.run("document.title") == "rows.csv: review"
        assert (
            browser.run("document.querySelectorAll('.sheet script, .sheet img, .sheet b b').length")
            == 0
        )
        assert browser.messages == []
        foreign = [u for u in browser.requests if not u.startswith((client.url, "about:"))]
        assert foreign == []


def test_the_policy_would_stop_a_script(browser: Chromium, served: Served, labelled: Path) -> None:
    client = served(labelled)
    open_page(browser, client)
    browser.run(
        "document.body.append(Object.assign(document.createElement('script'),"
        "{textContent: 'document.title = \"owned\"'}))"
    )
    browser.run("fetch('http://127.0.0.1:9/x').catch(() => 0)")
    assert browser.run("document.title") != "owned"
    stopped = [m for m in browser.messages if "Content Security Policy" in m]
    assert any("inline script" in m for m in stopped) and any(":9/x" in m for m in stopped)


def test_edit_relabel_and_back_to_the_original(browser: Chromium, labelled: Path) -> None:
    with in_thread("rows.csv") as client:
        open_page(browser, client)
        browser.press("e")
        browser.until("document.activeElement.matches('textarea')")
        browser.type(" Soon.")
        press(browser, "Enter", "rows.csv:3", ctrl=True)
        press(browser, "1", "rows.csv:4")  # labels: no, yes
        press(browser, "1", "rows.csv:5")
        [first, second, third] = client.records()
        was = "We will paint wall 0 red and green."
        assert first["edits"] == {"fields": {"input": f"{was} Soon."}}
        assert first["before"] == {"fields": {"input": was}}
        assert second["edits"] == {"label": "no"} and second["before"] == {"label": "yes"}
        assert (third["decision"], third["edits"]) == ("edit", {"label": "no"})
        browser.press("ArrowLeft")
        press(browser, "ArrowLeft", "rows.csv:3")
        browser.press("ArrowLeft")
        at(browser, "rows.csv:2")
        assert browser.text(".turn.user .say") == "We will paint wall 0 red and green. Soon."
        assert "Before it was edited" in browser.text("#about")
        press(browser, "k", "rows.csv:3")
        assert client.records()[-1]["edits"] == first["edits"], "kept as it is shown"
        press(browser, "ArrowLeft", "rows.csv:2")
        browser.press("e")
        browser.run("document.querySelector('#original').click()")
        browser.run("document.querySelector('#save').click()")
        at(browser, "rows.csv:3")
        assert client.records()[-1]["decision"] == "keep" and "edits" not in client.records()[-1]
        browser.press("e")
        browser.type("gone")
        browser.press("Escape")
        assert browser.text(".turn.user .say") == "We will paint wall 1 red and green."


def test_what_was_typed_is_not_lost_on_the_way(browser: Chromium, labelled: Path) -> None:
    with in_thread("rows.csv") as client:
        open_page(browser, client)
        press(browser, "ArrowRight", "rows.csv:3")
        browser.press("e")
        browser.type(" Typed.")
        disabled = "['back', 'next', 'undo'].every((id) => document.getElementById(id).disabled)"
        assert browser.run(disabled) and browser.run("document.getElementById('filters').inert")
        assert browser.run("document.querySelector('[data-do=skip]').disabled")
        browser.run("document.querySelector('[data-do=keep]').click()")
        at(browser, "rows.csv:4")
        [record] = client.records()
        assert record["edits"]["fields"]["input"].endswith(" Typed.")
        assert not browser.run(disabled)


def test_filters_narrow_what_is_gone_through(browser: Chromium, labelled: Path) -> None:
    def choose(name: str, value: str, rows: int) -> None:
        browser.run(
            f"(() => {{ const one = document.getElementById('{name}'); one.value = '{value}';"
            "one.dispatchEvent(new Event('change', {bubbles: true})); })()"
        )
        browser.until(f"total === {rows} && !busy && !steps")

    with in_thread("rows.csv") as client:
        open_page(browser, client)
        press(browser, "k", "rows.csv:3")
        press(browser, "d", "rows.csv:4")
        browser.press("f")
        choose("label", "no", 4)
        at(browser, "rows.csv:5")
        assert "of 4 found" in browser.text(".place")
        choose("state", "keep", 1)
        at(browser, "rows.csv:2")
        browser.run("document.querySelector('#clear').click()")
        browser.until("total === 12 && !busy && !steps")
        choose("state", "undecided", 10)
        browser.run("document.querySelector('#clear').click()")
        browser.until("total === 12 && !busy && !steps")
        choose("number", "judge_score", 12)
        choose("least", "3", 4)
        choose("order", "highest", 4)
        assert browser.run("row.scores.judge_score") == 4.5
        assert browser.run("location.hash").startswith("#number=judge_score")
        choose("least", "", 12)
        browser.press("/")
        browser.type("WALL 1")
        browser.press("Enter")
        browser.until("total === 3 && !busy && !steps")
        browser.press("Escape")
        choose("number", "", 3)
        at(browser, "rows.csv:12")
        for _ in range(2):
            browser.press("k")
            browser.until("!busy && !steps")
        browser.until("row === null")
        assert "That was the last row here" in browser.text("#row")
        choose("state", "drop", 1)
        browser.press("/")
        browser.type("no such words")
        browser.press("Enter")
        browser.until("total === 0 && !busy && !steps")
        assert "No row fits these filters" in browser.text("#row")


def test_a_server_that_is_gone_is_told(browser: Chromium, labelled: Path) -> None:
    with in_thread("rows.csv") as client:
        open_page(browser, client)
    browser.press("d")
    browser.until("document.querySelector('#said.bad')")
    assert "what was not acknowledged is not saved" in browser.text("#said")
    assert browser.run("row.where") == "rows.csv:2" and client.records() == []


@pytest.mark.parametrize("width", [390, 1366])
@pytest.mark.parametrize("dark", [False, True])
def test_it_fits_a_phone_and_a_screen(
    browser: Chromium, tmp_path: Path, width: int, dark: bool
) -> None:
    label = "a_label_without_a_place_to_break_it_" * 3
    lines = ["sentence,label", *(f"{'long' * 90} {i},{label if i % 2 else 'no'}" for i in range(9))]
    (tmp_path / "wide.csv").write_text("\n".join(lines) + "\n")
    with in_thread("wide.csv") as client:
        open_page(browser, client)
        browser.screen(width, 800, dark=dark)
        for state in ("", "e", "Escape", "f", "k"):
            if state:
                browser.press(state)
                browser.until("!busy && !steps")
            sizes = browser.run(
                "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
            )
            assert sizes[0] <= sizes[1], f"after {state!r}"
        # What is decided with is always in sight, and nothing moves when a decision is made.
        places = (
            "JSON.stringify([...document.querySelectorAll('.decide button')]"
            ".map((b) => { const r = b.getBoundingClientRect(); return [r.x, r.y, r.bottom]; }))"
        )
        before = browser.run(places)
        browser.press("d")
        browser.until("!busy && !steps")
        assert browser.run(places) == before
        assert max(bottom for _, _, bottom in json.loads(before)) <= 800


def test_what_was_seen_is_what_is_built(
    browser: Chromium, make_run: Callable[..., Any], tmp_path: Path
) -> None:
    """A run is reviewed, rejects included; the build then trains on what the page showed."""
    data = {"filters": [{"use": "length", "max_words": 13}, {"use": "exact_duplicates"}],
            "template": ["classify", "promise", "promise_instruction_first"]}  # fmt: skip
    run = make_run(data=data)
    rows = tmp_path / "rows.csv"
    long = "One two three four five six seven eight nine ten eleven twelve thirteen fourteen"
    text = rows.read_text() + f"{long}.,True,plan\nAnd {long.lower()}.,False,plan\n"
    rows.write_text(text)
    with run.stage("data", "built"):
        build(run)
    with in_thread("tiny", runs=tmp_path / "runs", rejects=True) as client:
        assert client.decisions == run.path / "decisions.jsonl"
        assert client.get("facets")["split"][-1][0] == LEFT_OUT
        open_page(browser, client)
        browser.press("e")
        browser.until("document.activeElement.matches('textarea')")
        browser.type(" By hand.")
        browser.press("Enter", ctrl=True)
        browser.until("at === 1 && !busy && !steps")
        browser.press("d")
        browser.until("at === 2 && !busy && !steps")
        dropped = client.records()[-1]["where"]
        browser.press("ArrowLeft")
        browser.until("at === 1 && !busy && !steps")
        browser.press("ArrowLeft")
        browser.until("at === 0 && !busy && !steps")
        edited = browser.run("row.where")
        seen = browser.run(
            "[...document.querySelectorAll('.turn.user .say')].map((e) => e.textContent)"
        )
        label = browser.run("document.querySelector('.labels [aria-pressed=true]').dataset.label")
        assert "By hand." in seen[0]
        browser.run(
            "(() => { const s = document.getElementById('reason'); s.selectedIndex = 1;"
            "s.dispatchEvent(new Event('change', {bubbles: true})); })()"
        )
        browser.until("total === 2 && !busy && !steps")
        assert "Left out too long" in browser.text("#row")
        rescued = browser.run("row.where")
        browser.press("k")
        browser.until("at === 1 && !busy && !steps")
    run = make_run(data={**data, "decisions": "run:tiny"})
    rows.write_text(text)
    with run.stage("data", "built again"):
        stats = build(run)
    built = {str(e.origin): e for split in SPLITS for e in load_examples(run, split)}
    assert [m.content for m in built[edited].messages if m.role == "user"] == seen
    assert built[edited].completion == built[edited].label == label
    assert dropped not in built and rescued in built
    assert stats.review is not None
    counts = (stats.review.kept, stats.review.edited, stats.review.dropped, stats.review.unmatched)
    assert counts == (1, 1, 1, 0)
    with in_thread("tiny", runs=tmp_path / "runs") as client:
        open_page(browser, client)
        browser.press("ArrowLeft")
        browser.until("!busy && !steps")
        # The run now holds the edit; what stood there before is known from the decisions.
        browser.run("alone(() => show(0))")
        browser.until(f"row && row.where === {json.dumps(edited)}")
        assert browser.text("#stamp") == "edited"
        [original] = [p["original"] for p in browser.run("row.editable") if p["key"] != "label"]
        assert "By hand." not in original
        for _ in range(3):
            browser.press("u")
            browser.until("!busy && !steps")
        browser.run("alone(() => show(0))")
        browser.until(f"row && row.where === {json.dumps(edited)} && row.state === 'undecided'")
        assert "By hand." not in browser.text(".turn.user .say"), "an undone edit is not shown"
