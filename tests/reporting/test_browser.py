"""The page in a real browser: no errors, no requests, and a search that finds."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from synthetic_dataset import example, make_dataset
from synthetic_run import HOSTILE

from luthier.reporting.dataset_page import write_dataset_page
from luthier.reporting.report import report
from luthier.run import Run

BROWSER = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome", "chrome")
     if (found := shutil.which(name))), None
)  # fmt: skip
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")


def browse(page: Path, profile: Path, *options: str) -> tuple[str, str]:
    """What Chromium prints (the DOM) and logs (console messages, requests)."""
    assert BROWSER is not None
    done = subprocess.run(
        [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync",
         "--host-resolver-rules=MAP * ~NOTFOUND",
         f"--user-data-dir={profile}", "--enable-logging=stderr", "--v=0", *options,
         page.as_uri()],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


def messages(log: str) -> list[str]:
    """Lines that a page wrote to the browser's console, errors and policy violations included."""
    return [line for line in log.splitlines() if "CONSOLE" in line]


def requests(network: Path) -> list[str]:
    """What a page asked for; the browser's own business has no origin."""
    events = json.loads(network.read_text(encoding="utf-8"))["events"]
    found = [event.get("params", {}) for event in events]
    return list(
        dict.fromkeys(
            p["url"] for p in found
            if "url" in p and p.get("initiator", "not an origin") != "not an origin"
            and not p["url"].startswith("file:")
        )
    )  # fmt: skip


def test_the_page_loads_without_a_word_and_without_the_network(
    finished: Run, tmp_path: Path
) -> None:
    page = report(finished)
    network = tmp_path / "net.json"
    dom, log = browse(page, tmp_path / "profile", "--dump-dom", f"--log-net-log={network}")
    assert requests(network) == []
    assert messages(log) == []
    assert "Tuning helped" in dom
    assert "owned" not in re.findall(r"<title>(.*?)</title>", dom)[0]
    assert re.search(r'<p class="filter"\s*>', dom), "the script shows the search box"


def test_a_request_would_be_noticed(tmp_path: Path) -> None:
    page, network = tmp_path / "page.html", tmp_path / "net.json"
    page.write_text('<img src="http://example.invalid/pixel.png">', encoding="utf-8")
    browse(page, tmp_path / "profile", "--dump-dom", f"--log-net-log={network}")
    assert requests(network) == ["http://example.invalid/pixel.png"]


def test_a_console_error_would_be_noticed(finished: Run, tmp_path: Path) -> None:
    page = tmp_path / "broken.html"
    source = report(finished).read_text(encoding="utf-8")
    page.write_text(source.replace("const find", "nothing(); const find"), encoding="utf-8")
    dom, log = browse(page, tmp_path / "profile", "--dump-dom")
    assert messages(log), "an edited script breaks its hash in the content security policy"
    assert re.search(r'<p class="filter" hidden', dom), "without its script the page stands"


def test_the_search_narrows_the_wrong_answers(finished: Run, tmp_path: Path) -> None:
    source = report(finished).read_text(encoding="utf-8")
    policy = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>')
    probe = (
        "<script>find.value = 'CLINICS before'; find.dispatchEvent(new Event('input'));"
        "document.body.dataset.shown = [...document.querySelectorAll('#wrong tr')]"
        ".filter(r => !r.hidden).every(r => /clinics/.test(r.textContent)) + ' ' +"
        "document.getElementById('matches').textContent</script></body>"
    )
    page = tmp_path / "probed.html"
    page.write_text(policy.sub("", source).replace("</body>", probe), encoding="utf-8")
    dom, log = browse(page, tmp_path / "profile", "--dump-dom")
    assert messages(log) == []
    shown = re.search(r'data-shown="true (\d+) of (\d+)"', dom)
    assert shown is not None and 0 < int(shown[1]) < int(shown[2])


def test_it_prints_on_a4(finished: Run, tmp_path: Path) -> None:
    target = tmp_path / "report.pdf"
    browse(report(finished), tmp_path / "profile", f"--print-to-pdf={target}")
    pdf = target.read_bytes()
    assert pdf.startswith(b"%PDF")
    assert re.search(rb"/MediaBox \[0 0 59[45](\.\d+)? 84[12](\.\d+)?\]", pdf)


@pytest.mark.parametrize("width", [360, 1366])
def test_the_page_of_a_dataset_fits_a_phone_and_a_screen(width: int, tmp_path: Path) -> None:
    label = "a_label_without_a_place_to_break_it_" * 4
    rows = [
        example("classification", i + 1, f"{HOSTILE} {'long' * 90} {i}", answer, source="s" * 90)
        for i, answer in enumerate([label, "no", label, "no"])
    ]
    rejects = [("s" * 90 + ":7", f"too long: {'x' * 300}", {"input": "y" * 300})]
    run = make_dataset(tmp_path, "classification", rows, rejects=rejects, labels=[label, "no"])
    source = write_dataset_page(run).read_text(encoding="utf-8")
    opened = source.replace("<details", "<details open")
    outer = tmp_path / "outer.html"
    outer.write_text(
        f"<title>alone</title><iframe id=inner srcdoc={quoted(opened)} "
        f'style="width:{width}px;height:900px;border:0"></iframe>'
        "<script>onload = () => { const page = inner.contentDocument.documentElement;"
        "document.body.dataset.widths = `${page.scrollWidth} ${page.clientWidth}`; }</script>",
        encoding="utf-8",
    )
    network = tmp_path / "net.json"
    dom, log = browse(
        outer, tmp_path / "profile", "--dump-dom", "--hide-scrollbars", "--window-size=1500,1000",
        f"--log-net-log={network}",
    )  # fmt: skip
    assert messages(log) == [] and requests(network) == []
    assert f'data-widths="{width} {width}"' in dom
    assert "<title>alone</title>" in dom, "nothing of a row was run"


def quoted(page: str) -> str:
    """A page as the value of an attribute."""
    return '"' + html.escape(page) + '"'
