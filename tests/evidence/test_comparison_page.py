"""The page and the sentences of a comparison, from figures made up for it."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from luthier.artifacts import Estimate
from luthier.evidence.comparison import (
    ArmResult,
    DataComparison,
    JudgedRows,
    Pair,
    SideData,
    digits_of,
    verdict,
)
from luthier.evidence.page import show, write_page
from luthier.run import Run

BROWSER = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome", "chrome")
     if (found := shutil.which(name))), None
)  # fmt: skip
HOSTILE = "<script>document.title='owned'</script>.csv"


def between(value: float, reach: float) -> Estimate:
    return Estimate(value=value, low=value - reach, high=value + reach)


def comparison(**changes: Any) -> DataComparison:
    metrics = {"a": 0.91, "b": 0.84, "control": 0.88}
    arms = [
        ArmResult(
            key=key, name=name, rows=[rows] * 3, steps=[60] * 3, seconds=[61.0, 60.0, 64.5],
            runs=[f"runs/x-{key}-{seed}" for seed in (42, 43, 44)],
            metrics={"auroc": between(metrics[key], 0.03), "perplexity": Estimate(value=12.5)},
            by_seed={"auroc": [metrics[key]] * 3, "perplexity": [12.5] * 3},
        )
        for key, name, rows in (
            ("a", f"A ({HOSTILE})", 1000), ("b", "B (few.csv)", 250),
            ("control", "control (250 random rows of A)", 250),
        )
    ]  # fmt: skip
    pairs = [
        Pair(
            first=first, second=second, question=question, verdict=which, said="It is said so.",
            metrics={"auroc": between(value, 0.04), "perplexity": Estimate(value=0.0)},
            by_seed={"auroc": [value] * 3, "perplexity": [0.0] * 3},
        )
        for first, second, question, value, which in (
            ("a", "b", "Which dataset makes the better model?", 0.07, "first"),
            ("b", "control", "Are the rows of B better?", -0.04, "none"),
            ("a", "control", "Do more rows of A help?", 0.03, "none"),
        )
    ]  # fmt: skip
    side = SideData(
        name=HOSTILE, run="runs/x-a", built=1020, removed={"test data": 12, "also in test": 8},
        removed_file="runs/x/removed-a.jsonl", rows=1000, validation=30,
    )  # fmt: skip
    made: dict[str, Any] = {
        "task": "classification", "recipe": "common.yaml", "seeds": [42, 43, 44],
        "overridden": ["b.yaml: train.lora.r is 8, and 4 in common.yaml"],
        "main_metric": "auroc", "lower_is_better": ["perplexity"],
        "held_out": JudgedRows(
            what="those of test.csv", rows=412, labels={"True": 200, "False": 212}
        ),
        "sides": {"a": side, "b": side.model_copy(update={"name": "few.csv", "removed": {}})},
        "size": None, "arms": arms, "pairs": pairs, "notes": ["Bear this in mind."],
        "estimated_seconds": 540.0, "asked": {},
    }  # fmt: skip
    return DataComparison(**(made | changes))


def test_the_page_shows_everything_and_runs_nothing(tmp_path: Path) -> None:
    page = write_page(comparison(), tmp_path)
    text = page.read_text()
    assert "<script" not in text and "&lt;script&gt;" in text
    assert "A makes the better model" in text and 'class="better"' in text
    for word in ("+0.070", "[+0.030 to +0.110]", "412", "test data", "lower is better",
                 "train.lora.r is 8", "Bear this in mind.", "runs/x-control-44"):  # fmt: skip
        assert word in text, word
    assert text.count('class="forest-row"') == 6
    before = page.read_bytes()
    assert write_page(comparison(), tmp_path).read_bytes() == before


def test_the_artifact_comes_back(tmp_path: Path) -> None:
    found = comparison()
    found.save(Run(tmp_path))
    assert DataComparison.load(Run(tmp_path)) == found


def test_no_difference_is_shown_as_such(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    none = (
        comparison()
        .pairs[0]
        .model_copy(
            update={"verdict": "none", "metrics": {}, "by_seed": {}, "said": "Nothing can be seen."}
        )
    )
    found = comparison(pairs=[none])
    text = write_page(found, tmp_path).read_text()
    assert "No difference measurable between A and B." in text and 'class="unclear"' in text
    show(found)
    assert "Nothing can be seen." in capsys.readouterr().err


@pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")
def test_a_browser_has_nothing_to_complain_about(tmp_path: Path) -> None:
    page = write_page(comparison(), tmp_path)
    done = subprocess.run(
        [str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
         "--disable-background-networking", "--host-resolver-rules=MAP * ~NOTFOUND",
         f"--user-data-dir={tmp_path / 'profile'}", "--enable-logging=stderr", "--v=0",
         "--dump-dom", page.as_uri()],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "CONSOLE" not in done.stderr
    assert re.findall(r"<title>(.*?)</title>", done.stdout)[0] != "owned"


# --- sentences -----------------------------------------------------------------------------------


def said(difference: Estimate | None, *, lower: bool = False, seeds: int = 3) -> tuple[str, str]:
    reach = None
    if difference is not None and difference.low is not None:
        reach = difference.value - difference.low
    return verdict(
        difference, ("A", "B"), lower_is_better=lower, rows=120, seeds=seeds, reach=reach
    )


def test_a_verdict_names_the_better_one() -> None:
    ahead = Estimate(value=0.031, low=0.010, high=0.052)
    behind = Estimate(value=-0.031, low=-0.052, high=-0.010)
    words = "is better than {} by 0.031 [0.010, 0.052] with 120 rows and 3 seeds."
    assert said(ahead) == ("first", f"A {words.format('B')}")
    assert said(behind) == ("second", f"B {words.format('A')}")
    assert said(ahead, lower=True) == ("second", f"B {words.format('A')}")
    assert said(behind, lower=True) == ("first", f"A {words.format('B')}")


def test_where_nothing_is_measurable_it_says_what_could_have_been() -> None:
    which, sentence = said(between(0.01, 0.04))
    assert which == "none"
    assert sentence == (
        "No difference measurable between A and B with 120 rows and 3 seeds (+0.010 [-0.030, "
        "+0.050]); a difference under 0.040 could not be seen."
    )
    assert "have the same score with 120 rows and 1 seed" in said(Estimate(value=0.0), seeds=1)[1]
    assert "nothing is claimed" in said(Estimate(value=0.2))[1]
    assert said(None) == (
        "none", "The held-out rows do not define the metric (120 rows and 3 seeds).",
    )  # fmt: skip


def test_scales_have_their_decimals() -> None:
    assert (digits_of([0.8, 0.9]), digits_of([43.1, 9.0]), digits_of([])) == (3, 1, 3)
