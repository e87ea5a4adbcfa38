"""The page as a whole: what it says at each stage, and that no text of a user becomes markup."""

from __future__ import annotations

import csv
import html
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from synthetic_run import HOSTILE, ROWS, Folder

from luthier.artifacts import DataStats, Estimate, Evaluation, SystemResult
from luthier.errors import RunError
from luthier.reporting.report import report
from luthier.run import Run

VOID = {"meta", "input", "br"}


class Page(HTMLParser):
    """Text, scripts and links of a page; `problems` are unbalanced tags."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.open: list[str] = []
        self.problems: list[str] = []
        self.scripts: list[str] = []
        self.text = ""
        self.ids: list[str] = []
        self.urls: list[str] = []
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)
        self.problems += self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        self.ids += [value or "" for name, value in attrs if name == "id"]
        self.urls += [value or "" for name, value in attrs if name in ("href", "src", "data")]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass  # <line/> and its like open nothing

    def handle_endtag(self, tag: str) -> None:
        self.text += " " if tag in ("td", "th", "dt", "dd") else ""
        if not self.open or self.open.pop() != tag:
            self.problems.append(f"</{tag}>")

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts.append(data)
        elif not self.open or self.open[-1] != "style":
            self.text += data


def words(page: Page) -> str:
    return " ".join(page.text.split())


@pytest.fixture(scope="module")
def page(finished: Run) -> Page:
    return Page(report(finished))


def test_every_stage_gives_a_page_that_says_what_is_missing(folder: Folder) -> None:
    expected = {
        "recipe": ("Nothing has been done yet.", "luthier build RECIPE"),
        "data": ("Built; not evaluated yet.", "luthier plan RECIPE"),
        "plan": ("Built and planned; not evaluated yet.", "luthier train RECIPE"),
        "train": ("Built, planned and trained; not evaluated yet.", "luthier evaluate r-train"),
    }
    missing = [
        "The dataset has not been built yet.",
        "Nothing has been planned yet.",
        "Nothing has been trained yet.",
        "The model has not been evaluated yet.",
    ]
    for done, (until, (headline, command)) in enumerate(expected.items()):
        page = Page(report(folder.make(until, name=f"r-{until}")))
        text = words(page)
        assert page.problems == []
        assert headline in text and command in text
        assert [m in text for m in missing] == [i >= done for i in range(4)]


def test_the_finished_page_has_every_section(page: Page) -> None:
    text = words(page)
    assert page.problems == []
    assert len(set(page.ids)) == len(page.ids)
    for heading in ("What was asked", "Data", "Plan", "Training", "Evaluation", "Calibration",
                    "Confusion", "Slices", "Wrong answers", "Settings and versions"):  # fmt: skip
        assert f" {heading} " in text, heading
    assert "Tuning helped" in text
    assert "2,431 rows were read, 149 were rejected and 2,282 are used." in text
    assert "Loss" in text and "Gradient norm" in text and "Throughput" in text
    assert "only 1.9 % of the tokens carry loss." in text
    assert "known to about 10 %" in text


def test_the_page_stands_alone_and_is_small(page: Page) -> None:
    assert all(url.startswith("#") for url in page.urls)
    assert {url[1:] for url in page.urls} <= set(page.ids)
    assert not re.search(r"https?://|url\(|@import|<img|<link", page.source)
    assert "default-src 'none'" in page.source
    assert len(page.source.encode()) < 400_000


def test_numbers_on_the_page_are_those_of_the_artifact(finished: Run, page: Page) -> None:
    found = Evaluation.load(finished)
    score = found.systems[0].metrics["auroc"]
    assert score.low is not None and score.high is not None
    text = words(page)
    assert f"{score.value:.2f} [{score.low:.2f}\u2013{score.high:.2f}]" in text
    assert found.systems[0].confusion is not None
    (a, b), (c, d) = found.systems[0].confusion
    assert f"{b + c} of {ROWS} test rows, most confident first." in text
    assert f"True {a} " in text and f"False {c} " in text and f" {d} " in text


def test_mistakes_are_sorted_by_confidence(page: Page) -> None:
    table = page.source.split('id="wrong"')[1].split("</tbody>")[0]
    confidences = [float(x) for x in re.findall(r'<tr><td class="n">([\d.]+)</td>', table)]
    assert len(confidences) > 50
    assert confidences == sorted(confidences, reverse=True)


def test_user_text_never_becomes_markup(folder: Folder, tmp_path: Path) -> None:
    run = folder.make(sentence=HOSTILE)
    stats = DataStats.load(run)
    stats.rows_read = {f"{HOSTILE}.csv": 9}
    stats.rows_rejected = {HOSTILE: 1}
    stats.templates = {HOSTILE: 1}
    for split in stats.splits.values():
        split.labels = {HOSTILE: 3, '"><img src=x onerror=alert(1)>': 4}
    stats.save(run)
    found = Evaluation.load(run)
    found.labels = [HOSTILE, "False"]
    found.notes = [HOSTILE]
    found.slices = {HOSTILE: {"auroc": Estimate(value=0.5), "rows": Estimate(value=3)}}
    for system in found.systems:
        system.name, system.describe = HOSTILE + system.name, HOSTILE
        system.labels = {HOSTILE: next(iter(system.labels.values()))}
    found.save(run)
    resolved = json.loads((run.path / "recipe.json").read_text())
    resolved["task"]["labels"] = [HOSTILE, "False"]
    resolved["task"]["positive"] = HOSTILE
    run.write_json("recipe.json", resolved)
    run.write_text("recipe.yaml", f"name: x # {HOSTILE}\n{HOSTILE}: {HOSTILE}\n")
    page = Page(report(run))
    assert page.problems == []
    assert len(page.scripts) == 1 and "owned" not in page.scripts[0]
    assert "<img" not in page.source and HOSTILE not in page.source
    assert page.source.count(html.escape(HOSTILE, quote=True).replace("&#x27;", "&#39;")) > 10
    assert HOSTILE in page.text


def test_unprintable_characters_and_surrogates_do_not_break_the_page(folder: Folder) -> None:
    run = folder.make(sentence="bell \x07 null \x00 right-to-left \u202e")
    stats = DataStats.load(run)
    stats.samples[0]["completion"] = "half \ud83d"
    (run.path / stats.FILE).write_text(json.dumps(stats.model_dump()), encoding="utf-8")
    source = report(run).read_bytes().decode("utf-8")
    assert source.count("bell \ufffd null \ufffd right") >= 2
    assert "half \ufffd" in source


def test_secrets_are_blotted_out(folder: Folder) -> None:
    run = folder.make("recipe")
    text = (run.path / "recipe.yaml").read_text()
    run.write_text("recipe.yaml", f"{text}# hf_{'a' * 34} https://me:geheim@host/rows.csv\n")
    source = report(run).read_text()
    assert "aaaa" not in source and "geheim" not in source
    assert "[removed: looks like a secret]" in source and "@host/rows.csv" in source


def test_the_same_folder_gives_the_same_bytes(finished: Run) -> None:
    first = report(finished).read_bytes()
    assert report(finished).read_bytes() == first


def test_artifacts_of_an_older_attempt_are_not_shown(folder: Folder) -> None:
    run = folder.make()
    with run.stage("data", "e" * 32):
        pass
    (run.path / "data").joinpath("stats.json").write_text("{}")
    with pytest.raises(RunError, match=r"stats\.json.*Repeat the data stage"):
        report(run)
    run = folder.make("data", name="again")
    assert (run.path / "data/stats.json").is_file()
    source = report(run).read_text()
    assert "The model has not been evaluated yet." in source and "Gradient norm" not in source


def test_rebuilding_hides_what_the_older_data_led_to(folder: Folder) -> None:
    run = folder.make()
    stats = DataStats.load(run)
    with run.stage("data", "e" * 32):
        stats.save(run)
        (run.path / "data" / "other.txt").write_text("other data")
    assert (run.path / "evaluate/metrics.json").is_file()
    text = words(Page(report(run)))
    assert "Built; not evaluated yet." in text
    assert "Nothing has been trained yet." in text


def test_rows_that_do_not_add_up_are_pointed_out(folder: Folder) -> None:
    run = folder.make("data")
    stats = DataStats.load(run)
    stats.rows_rejected["empty"] -= 5
    stats.save(run)
    assert "5 rows are not accounted for" in words(Page(report(run)))


def test_blank_lines_are_told_beside_the_rows(folder: Folder) -> None:
    run = folder.make("data")
    assert "Blank lines" not in words(Page(report(run)))
    stats = DataStats.load(run)
    stats.blank_lines = {"promises.csv": 1203, "other.csv": 1}
    stats.save(run)
    assert "Blank lines, which are no rows: 1,204." in words(Page(report(run)))


def test_figures_without_an_interval_claim_nothing(folder: Folder) -> None:
    run = folder.make()
    found = Evaluation.load(run)
    for system in found.systems:
        for name, figure in system.metrics.items():
            system.metrics[name] = Estimate(value=figure.value)
        if system.difference is not None:
            system.difference = Estimate(value=system.difference.value)
    found.notes = ["No interval for accuracy of tuned."]
    found.save(run)
    text = words(Page(report(run)))
    assert "Not shown to be better than" in text
    assert "No interval for accuracy of tuned." in text


def test_many_labels_show_the_commonest_confusions(folder: Folder) -> None:
    run = folder.make()
    found = Evaluation.load(run)
    found.labels = [f"intent {i}" for i in range(30)]
    matrix = [[0] * 30 for _ in range(30)]
    matrix[3][4], matrix[5][5], matrix[6][7] = 12, 90, 2
    found.systems[0].confusion = matrix
    found.save(run)
    text = words(Page(report(run)))
    assert "the commonest confusions of 30 labels" in text
    assert "intent 3 intent 4 12 intent 6 intent 7 2" in text


def test_long_texts_and_long_tables_say_what_they_leave_out(folder: Folder) -> None:
    run = folder.make()
    with open(run.path / "evaluate/predictions.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["origin", "input", "gold", "predicted", "confidence"])
        writer.writerow(["a.csv:2", "start " + "x" * 200_000 + " end", "True", "False", "0.99"])
        writer.writerows(["a.csv:3", "short", "True", "False", "0.6"] for _ in range(1000))
    page = Page(report(run))
    text = words(page)
    assert "start xxx" in text and "xxx end" in text and "199,410 characters left out" in text
    assert "1,001 of 1,001 test rows" in text and "The first 300 are shown" in text
    assert len(page.source.encode()) < 1_000_000


def test_predictions_without_the_expected_columns_are_a_user_error(folder: Folder) -> None:
    run = folder.make()
    (run.path / "evaluate/predictions.csv").write_text("a,b\n1,2\n")
    with pytest.raises(
        RunError, match="no column origin, input, gold, predicted, confidence; found a, b"
    ):
        report(run)


def test_generation_has_samples_and_no_labels(folder: Folder) -> None:
    run = folder.make()
    (run.path / "evaluate/predictions.csv").unlink()
    metrics = {"rouge_l": Estimate(value=0.41, low=0.38, high=0.44)}
    tuned = SystemResult(name="tuned", describe="tuned", metrics=metrics, seconds=4.0)
    zero = SystemResult(
        name="zero_shot", describe="base", metrics={"rouge_l": Estimate(value=0.4)}, seconds=4.0,
        difference=Estimate(value=0.01, low=-0.02, high=0.04),
    )  # fmt: skip
    Evaluation(
        task="generation", labels=[], main_metric="rouge_l", rows=120, systems=[tuned, zero],
        samples=[{"prompt": "Past: he went.", "expected": "He will go.", "answer": "He goes."}],
    ).save(run)  # fmt: skip
    page = Page(report(run))
    text = words(page)
    assert page.problems == []
    assert "Not shown to be better than zero shot." in text
    assert "this interval includes zero" in text
    assert "expected He will go." in text and "answered He goes." in text
    assert "Confusion" not in text and "Calibration" not in text


def test_a_mixture_accounts_for_the_rows_it_leaves_out() -> None:
    from luthier.artifacts import DataStats, MixturePart
    from luthier.reporting.sections import data

    part = MixturePart(
        source="a.jsonl",
        available=10,
        rows=4,
        share=1,
        tokens=40,
        trained_tokens=4,
        trained_share=1,
    )
    stats = DataStats(
        rows_read={"a.jsonl": 12}, rows_rejected={"empty": 2}, splits={}, templates={}, samples=[],
        mixture=[part],
    )  # fmt: skip
    shown = data(stats)
    assert shown["mixed"] == 6
    assert shown["unexplained"] == 12 - 2 - 0 - 6
