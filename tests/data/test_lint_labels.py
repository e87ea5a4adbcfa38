"""Lint of labelled data whose labels nobody declared, in the formats of instructions."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from lint_planting import jsonl
from lint_rows import PAIRS

from luthier.data.lint import lint
from luthier.data.linting.lint_report import LintReport

Labelled = Sequence[tuple[str, str, str]]
"""Instruction, input and label of each row."""
TASK = "Say whether the review is positive or negative."
GOOD = ("made us smile", "was worth the money", "deserves every star", "will bring us back")
BAD = ("let us down", "broke after two days", "smelled of wet dog", "cost far too much")
THINGS = (
    "soup", "hotel room", "train ride", "coffee", "garden chair", "museum", "ferry", "printer",
    "city map", "tent",
)  # fmt: skip


def reviews(seed: int = 0) -> list[tuple[str, str, str]]:
    """Eighty reviews, as many of each label, in no order."""
    rows = [
        (TASK, f"{'My' if len(said) % 2 else 'The'} {thing} {said}.", label)
        for thing in THINGS
        for label, every in (("positive", GOOD), ("negative", BAD))
        for said in every
    ]
    random.Random(seed).shuffle(rows)
    return rows


def alpaca(rows: Labelled) -> bytes:
    return jsonl([{"instruction": i, "input": x, "output": y} for i, x, y in rows])


def messages(rows: Labelled) -> bytes:
    return jsonl(
        [
            {"messages": [{"role": "user", "content": f"{i}\n\n{x}"},
                          {"role": "assistant", "content": y}]}
            for i, x, y in rows
        ]
    )  # fmt: skip


def sharegpt(rows: Labelled) -> bytes:
    talks = [
        {"id": str(n), "conversations": [{"from": "human", "value": f"{i}\n\n{x}"},
                                         {"from": "gpt", "value": y}]}
        for n, (i, x, y) in enumerate(rows)
    ]  # fmt: skip
    return json.dumps(talks).encode()


def super_ni(rows: Labelled) -> bytes:
    instances = [{"id": f"t-{n}", "input": x, "output": [y]} for n, (_, x, y) in enumerate(rows)]
    example = {"input": "A fine tea.", "output": "positive", "explanation": "It is fine."}
    task = {
        "Definition": [rows[0][0]], "Positive Examples": [example], "Negative Examples": [],
        "Instances": instances,
    }  # fmt: skip
    return json.dumps(task).encode()


FORMS: dict[str, Callable[[Labelled], bytes]] = {
    "alpaca": alpaca, "messages": messages, "sharegpt": sharegpt, "super_ni": super_ni,
}  # fmt: skip


def linted(folder: Path, content: bytes) -> LintReport:
    path = folder / ("rows.json" if content[:1] == b"[" or b"Instances" in content else "r.jsonl")
    path.write_bytes(content)
    return lint(path)


def checks(report: LintReport) -> set[str]:
    return {finding.check for finding in report.findings}


@pytest.mark.parametrize("form", FORMS)
def test_labels_are_found_among_answers(form: str, tmp_path: Path) -> None:
    write = FORMS[form]
    rows = reviews()
    good, bad = ([r for r in rows if r[2] == label] for label in ("positive", "negative"))
    clean = linted(tmp_path, write(rows))
    assert clean.findings == [] and "label_imbalance" not in clean.skipped
    assert any("taken for labels ('" in note for note in clean.notes)
    mixed = [(i, x, y.title() if n % 8 == 0 else y) for n, (i, x, y) in enumerate(rows)]
    told = [(i, f"{x} ({y})", y) for i, x, y in rows]
    strayed = [*rows[:40], (TASK, "A tent is a tent, one might say.", "banana"), *rows[40:]]
    planted: dict[str, Labelled] = {
        "label_imbalance": [*good, *bad[:3]],
        "label_case_variants": mixed,
        "label_leakage_position": [*good, *bad],
        "label_leakage_input": told,
    }
    for check, bad_rows in planted.items():
        assert checks(linted(tmp_path, write(bad_rows))) == {check}
    [stray] = linted(tmp_path, write(strayed)).findings
    assert stray.check == "label_imbalance" and "'banana' 1" in stray.message


def test_labels_that_the_instruction_tells(tmp_path: Path) -> None:
    rows = [(i if y == "positive" else "Is it good or bad?", x, y) for i, x, y in reviews()]
    for form in (alpaca, messages):
        [finding] = linted(tmp_path, form(rows)).findings
        assert (finding.check, finding.severity) == ("label_leakage_template", "error")
        assert finding.message.startswith("The instruction alone tells the label in 100%")
    alike = [(i if n % 2 else "Is it good or bad?", x, y) for n, (i, x, y) in enumerate(reviews())]
    assert linted(tmp_path, alpaca(alike)).findings == []


def test_labels_that_the_beginning_of_an_input_tells(tmp_path: Path) -> None:
    begun = [(i, ("Review: " if y == "positive" else "Comment: ") + x, y) for i, x, y in reviews()]
    [finding] = linted(tmp_path, alpaca(begun)).findings
    assert (finding.check, finding.severity) == ("label_leakage_template", "warning")
    assert finding.message.startswith("The first word of the input alone tells")


def test_tasks_of_one_file_are_looked_at_apart(tmp_path: Path) -> None:
    other = "Is the thing made for indoors or for outdoors?"
    good = [r for r in reviews() if r[2] == "positive"]
    outdoors = [
        (other, f"Think of a {t} number {n}.", "outdoors") for n in range(4) for t in THINGS
    ]
    indoors = [(other, f"Think of a {t} of wood.", "indoors") for t in THINGS[:3]]
    free = [(q, "", a) for q, a in PAIRS]
    even = [
        *reviews(),
        *outdoors[:20],
        *[(i, x[:-1] + "!", "indoors") for i, x, _ in outdoors[20:]],
    ]
    random.Random(1).shuffle(even)
    assert "label_imbalance" not in checks(linted(tmp_path, alpaca([*even, *free])))
    rows = [*reviews(), *outdoors, *indoors, *free]
    random.Random(1).shuffle(rows)
    found = {f.check: f for f in linted(tmp_path, alpaca(rows)).findings}
    imbalance = found["label_imbalance"]
    assert imbalance.message.startswith(f"Among the rows of '{other}': 'outdoors' has 40 rows")
    both = [*good, *[(TASK, f"{x} So?", "negative") for _, x, _ in good[:2]], *outdoors, *indoors]
    random.Random(1).shuffle(both)
    report = linted(tmp_path, alpaca([*both, *free]))
    [together] = [f for f in report.findings if f.check == "label_imbalance"]
    assert together.count == len(together.places) == 2
    assert together.message.startswith("label imbalance in 2 tasks. ")


def test_free_answers_are_no_labels(tmp_path: Path) -> None:
    ask = "Answer the question in a word."
    trivia = [(ask, f"What is the capital of country {n}?", f"City{n % 30}") for n in range(60)]
    sums = [(ask, f"What is {a} + {b}?", str(a + b)) for a in range(8) for b in range(8)]
    talk = [(ask, q, a if n % 3 else "Yes") for n, (q, a) in enumerate(PAIRS)]
    for rows in (trivia, sums, talk, [(q, "", a) for q, a in PAIRS]):
        report = linted(tmp_path, alpaca(rows))
        assert report.skipped["label_imbalance"].startswith("no answers that are few, short")
        assert not {c for c in checks(report) if c.startswith("label_")}


def test_what_is_kept_of_tasks_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from luthier.data.linting import answer_labels

    monkeypatch.setattr(answer_labels, "_MOST_TASKS", 30)
    once = [(f"Name the colour of thing {n}.", f"thing {n}", f"hue {n}") for n in range(200)]
    good = [r for r in reviews() if r[2] == "positive"]
    few = [(i, x, "negative") for i, x, _ in reviews() if x.endswith("days.")][:3]
    rows = [*once[:50], *good, *few, *once[50:]]
    [finding] = linted(tmp_path, alpaca(rows)).findings
    assert finding.check == "label_imbalance"


# --- what importers change -----------------------------------------------------------------------


@pytest.mark.parametrize("odd", [{"output": 4}, {"output": True}, {"instruction": 3}])
def test_types_are_those_of_the_file(odd: dict[str, Any], tmp_path: Path) -> None:
    rows = [{"instruction": q, "input": "", "output": a} for q, a in PAIRS]
    rows.insert(
        20, {"instruction": "How many legs has a cat?", "input": "", "output": "Four.", **odd}
    )
    report = linted(tmp_path, jsonl(rows))
    [finding] = report.findings
    assert finding.check == "mixed_types" and finding.places[0].where.endswith(":21")


@pytest.mark.parametrize("form", ["alpaca", "messages", "sharegpt"])
def test_a_column_says_the_split_in_every_format(form: str, tmp_path: Path) -> None:
    def split(rows: Labelled, said: Sequence[str]) -> bytes:
        content = FORMS[form](rows)
        if content[:1] == b"[":
            found = [{**r, "split": s} for r, s in zip(json.loads(content), said, strict=True)]
            return json.dumps(found).encode()
        lines = map(json.loads, content.splitlines())
        return jsonl([{**r, "split": s} for r, s in zip(lines, said, strict=True)])

    rows = [(q, "", a) for q, a in PAIRS]
    said = ["test" if n % 6 == 0 else "train" for n in range(len(rows))]
    assert linted(tmp_path, split(rows, said)).findings == []
    report = linted(tmp_path, split([*rows, rows[0]], [*said, "train"]))
    [finding] = report.findings
    assert (finding.check, finding.severity) == ("train_test_overlap", "error")
    regions = ["north"] * len(rows)
    assert "train_test_overlap" not in checks(linted(tmp_path, split(rows, regions)))
