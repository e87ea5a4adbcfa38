"""The card of a dataset: its metadata, what it says of terms, and that its snippet runs."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML
from synthetic_dataset import CLOSED, OPEN, REJECTS, TASKS, example, make_dataset, rows_of

from luthier.errors import RunError
from luthier.example import Terms
from luthier.reporting.dataset_card import write_dataset_card


def front_matter(card: str) -> dict[str, Any]:
    match = re.match(r"---\n(.*?)\n---\n", card, re.DOTALL)
    assert match is not None
    found: dict[str, Any] = YAML(typ="safe").load(match[1])
    return found


def licensed(tmp_path: Path, *terms: Terms) -> str:
    """The card of a set with a row of each of some terms."""
    rows = [example("generation", i + 1, f"Say {i}.", "Yes.", terms=t) for i, t in enumerate(terms)]
    return write_dataset_card(make_dataset(tmp_path, "generation", rows)).read_text("utf-8")


@pytest.mark.parametrize("kind", TASKS)
def test_every_kind_has_a_card(kind: str, tmp_path: Path) -> None:
    run = make_dataset(tmp_path, kind, rows_of(kind, 60), rejects=REJECTS)
    path = write_dataset_card(run)
    card = path.read_text(encoding="utf-8")
    assert path == run.path / "data/README.md"
    found = front_matter(card)
    assert found["pretty_name"] == "promises" and found["size_categories"] == ["n<1K"]
    assert found["task_categories"] == [
        "text-classification" if kind == "classification" else "text-generation"
    ]
    assert [f["split"] for f in found["configs"][0]["data_files"]] == [
        "train", "validation", "calibration", "test",
    ]  # fmt: skip
    assert ("## Labels" in card) == (kind == "classification")
    assert "63 rows were read, 3 left out and 60 used." in card
    assert "- Filters, in order: empty, exact\\_duplicates, length (max\\_tokens 256)" in card
    assert "| empty | 2 |" in card and "10 % validation" in card.replace("\u202f", " ")
    assert "/home/somebody" not in card and "| second.csv |" in card, "no path of this machine"
    assert "lighthouse" not in card, "no row is quoted"
    assert write_dataset_card(run).read_text(encoding="utf-8") == card, "it does not list itself"


def test_the_hashes_are_those_of_the_files(tmp_path: Path) -> None:
    run = make_dataset(tmp_path, "text", rows_of("text", 20))
    card = write_dataset_card(run).read_text(encoding="utf-8")
    listed = dict(re.findall(r"\| `([\w.]+)` \| [^|]+ \| `(\w{64})` \|", card))
    assert set(listed) == {p.name for p in (run.path / "data").iterdir()} - {"README.md"}
    for name, digest in listed.items():
        content = (run.path / "data" / name).read_bytes()
        assert hashlib.sha256(content).hexdigest() == digest


@pytest.mark.parametrize("kind", ["generation", "text"])
def test_the_snippet_runs_beside_the_folder(kind: str, tmp_path: Path) -> None:
    run = make_dataset(tmp_path, kind, rows_of(kind, 12), rejects=REJECTS)
    card = write_dataset_card(run).read_text(encoding="utf-8")
    code = re.search(r"```python\n(.*?)```", card, re.DOTALL)
    assert code is not None
    counted = "\nprint({name: len(rows) for name, rows in dataset.items()})"
    done = subprocess.run(
        [sys.executable, "-c", code[1] + counted],
        cwd=run.path, capture_output=True, text=True, timeout=120,
        env={**os.environ, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said, sizes = done.stdout.strip().rsplit("\n", 1)
    assert "Well, " in said
    assert sum(map(int, re.findall(r"\d+", sizes))) == 12


@pytest.mark.parametrize(
    ("licence", "expected"),
    [
        ("Apache-2.0", {"license": "apache-2.0"}),
        ("CC-BY-4.0", {"license": "cc-by-4.0"}),
        ("ODC-By-1.0", {"license": "odc-by"}),
        ("GPL-3.0-only", {"license": "gpl-3.0"}),
        ("Our own terms, v2", {"license": "other", "license_name": "our-own-terms-v2"}),
        (None, {"license": "unknown"}),
    ],
)
def test_a_licence_of_all_rows_is_that_of_the_set(
    licence: str | None, expected: dict[str, str], tmp_path: Path
) -> None:
    found = front_matter(licensed(tmp_path, Terms(licence), Terms(licence, "yes")))
    assert {k: v for k, v in found.items() if k.startswith("license")} == expected


@pytest.mark.parametrize("other", [CLOSED, Terms()])
def test_different_licences_are_no_licence_of_the_set(other: Terms, tmp_path: Path) -> None:
    found = front_matter(licensed(tmp_path, OPEN, other))
    assert (found["license"], found["license_name"]) == ("other", "mixed")


def test_what_may_not_be_used_commercially_is_said_at_once(tmp_path: Path) -> None:
    card = licensed(tmp_path, OPEN, CLOSED, Terms("homemade"))
    said = (
        "1 of 3 rows may not be used commercially (first.jsonl: CC-BY-NC-4.0, written by "
        "text-davinci-003). 1 of 3 rows come without a clear word on commercial use (first.jsonl: "
        "homemade)."
    )
    assert card.count(said) == 2, "at the top and in its section"
    assert card.index(said) < card.index("## How it was made")
    assert "| CC-BY-NC-4.0 | no | text-davinci-003 | outputs must not be used" in card


def test_open_rows_are_said_to_be_open(tmp_path: Path) -> None:
    card = licensed(tmp_path, OPEN, OPEN)
    assert "By their licences and generators, all rows may be used commercially." in card
    assert "leave it behind when publishing" not in card, "nothing was left out"


def test_odd_labels_stay_in_their_cells(tmp_path: Path) -> None:
    labels = ["a|b", "*x*\n`y`", "<b>"]
    rows = [example("classification", i + 1, f"Say {i}.", label) for i, label in enumerate(labels)]
    run = make_dataset(tmp_path, "classification", rows, labels=labels)
    card = write_dataset_card(run).read_text(encoding="utf-8")
    assert (
        "| a\\|b | 1 | 33" in card and "| \\*x\\* \\`y\\` | 1 |" in card and "| \\<b\\> |" in card
    )
    cells = [
        re.sub(r"\\\|", "", line).count("|") for line in card.splitlines() if "| 1 | 33" in line
    ]
    assert cells == [4, 4, 4]


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    run = make_dataset(tmp_path, "text", rows_of("text", 12))
    (run.path / "data/train.parquet").write_bytes(b"PAR1 no more")
    with pytest.raises(RunError, match=r"train\.parquet cannot be read.*luthier build"):
        write_dataset_card(run)
