"""Lint finds every planted defect, alone and where it stands, and nothing in the clean twin."""

from __future__ import annotations

from pathlib import Path

import pytest
from lint_fixture import KINDS
from lint_planting import MODEL, Files, Kind, jsonl, pairs, recipe, table
from lint_rows import LABELLED, PAIRS

from luthier.data.lint import lint
from luthier.data.linting.lint_report import (
    LintFinding,
    LintReport,
    Place,
    print_report,
    report_lines,
)
from luthier.errors import DataError, LuthierError


def laid_out(folder: Path, files: Files, model: Path) -> None:
    for name, content in files.items():
        (folder / name).write_bytes(content.replace(MODEL.encode(), str(model).encode()))


def linted(
    kind: Kind, files: Files, folder: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> LintReport:
    laid_out(folder, files, model)
    monkeypatch.chdir(folder)
    return lint(kind.subject, runs=folder / "runs", **kind.arguments)


def test_there_are_forty_kinds() -> None:
    assert len({kind.name for kind in KINDS}) == len(KINDS) >= 40


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name.replace(" ", "_"))
def test_planted_defects_are_found(
    kind: Kind, tmp_path: Path, tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = linted(kind, kind.planted, tmp_path, tiny_model_dir, monkeypatch)
    assert {(f.check, f.what) for f in report.findings} == kind.found
    pointed = {place.where for finding in report.findings for place in finding.places}
    assert set(kind.places) <= pointed
    for finding in report.findings:
        assert finding.fix.endswith((".", "]}.")) and finding.message.endswith((".", "'"))
        assert finding.count >= 1


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name.replace(" ", "_"))
def test_clean_twins_are_clean(
    kind: Kind, tmp_path: Path, tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = linted(kind, kind.clean, tmp_path, tiny_model_dir, monkeypatch)
    assert report.findings == []
    assert sum(report.rows.values()) >= 20


def all_rows(folder: Path) -> Path:
    """One file with the defects of every kind that is planted as one row of questions."""
    lines, seen = jsonl(pairs()).split(b"\n")[:-1], set(jsonl(pairs()).split(b"\n"))
    for kind in KINDS:
        if kind.subject == "rows.jsonl" and len(kind.places) == 1 and kind.name not in NOT_ALONE:
            new = [line for line in kind.planted["rows.jsonl"].split(b"\n") if line not in seen]
            # A copy of a row is new only as a second one.
            line = new[-1] if new else jsonl([pairs()[3]]).strip()
            # Two answers to one question would be a defect more.
            lines.append(
                line.replace(b"storks sleep", f"storks of region {len(lines)} sleep".encode())
            )
    path = folder / "all.jsonl"
    path.write_bytes(b"\n".join(lines) + b"\n")
    return path


NOT_ALONE = ("repeated id", "mixed types", "contradiction in free text", "empty-input markers")


def test_defects_are_found_beside_each_other(tmp_path: Path) -> None:
    path = all_rows(tmp_path)
    wanted = {
        pair
        for kind in KINDS
        if kind.subject == "rows.jsonl" and len(kind.places) == 1 and kind.name not in NOT_ALONE
        for pair in kind.found
    }
    report = lint(path, format="columns")
    assert {(f.check, f.what) for f in report.findings} == wanted
    assert len(wanted) >= 22


def test_a_report_fits_a_terminal_and_puts_errors_first(tmp_path: Path) -> None:
    report = lint(all_rows(tmp_path))
    lines = [line for line, _ in report_lines(report)]
    assert max(map(len, lines)) <= 80
    text = "\n".join(lines)
    assert text.index("\nerrors") < text.index("\nwarnings") < text.index("\nnot checked")
    assert "reader: not JSON in 1 row." in text
    assert f"{path_name(report)}:50: " in text.replace("\n", "") or "and " in text
    assert lines[-1] == f"{sum(report.rows.values())} rows: " + (
        f"{len(report.errors)} errors, {len(report.warnings)} warnings"
    )
    severities = [f.severity for f in report.findings]
    assert severities == sorted(severities)
    print_report(report)


def path_name(report: LintReport) -> str:
    return Path(report.subject).name


def test_a_report_shows_three_places_and_counts_the_others(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(jsonl([*pairs(), *[{"question": q, "answer": ""} for q, _ in PAIRS[:30]]]))
    report = lint(path)
    [finding] = report.errors
    assert finding.count == 30 and len(finding.places) == 20
    lines = [line.strip() for line, _ in report_lines(report)]
    assert "and 27 more" in lines
    restored = LintReport.model_validate_json(report.model_dump_json())
    assert restored == report


def test_what_is_to_be_done_about_a_line_is_not_cut(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(
        jsonl([*pairs(), {"question": "Who?", "answer": "Mail " + "a long word " * 20}])
    )
    report = lint(path)
    said = "the reason is this " * 8 + "and this is what to do about it"
    finding = LintFinding(
        check="x", what="x", severity="error", count=1, message="It is.", fix="Do.",
        places=[Place(where="rows.jsonl:3", said=said)],
    )  # fmt: skip
    lines = [line for line, _ in report_lines(report.model_copy(update={"findings": [finding]}))]
    assert said in " ".join(" ".join(lines).split()) and max(map(len, lines)) <= 80


def test_rows_of_a_guessed_label_set_may_lack_a_label(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(table([*LABELLED, ("The bridge will be painted.", "N/A")]))
    [finding] = lint(path).findings
    assert (finding.check, finding.count) == ("placeholders", 1)


def test_which_of_two_formats_that_fit_alike_is_asked(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    chat = [{"messages": [{"role": "user", "content": q}, {"role": "assistant", "content": a}]}
            for q, a in PAIRS[:20]]  # fmt: skip
    alpaca = [{"instruction": q, "input": "", "output": a} for q, a in PAIRS[:20]]
    path.write_bytes(jsonl([row for both in zip(chat, alpaca, strict=True) for row in both]))
    with pytest.raises(DataError, match=r"which format is it\?.*messages.*alpaca.*--format"):
        lint(path)
    path.write_bytes(jsonl([*chat, *alpaca[:6]]))
    assert "the next best is" in lint(path).notes[0], "a file with broken rows is read"


def test_a_clean_file_is_said_to_be_clean(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(table(LABELLED))
    report = lint(path)
    assert report.kind == "classification"
    assert report.columns == {"input": "sentence", "output": "label"}
    assert "this was guessed" in report.notes[0]
    assert report.skipped["labels"].startswith("nobody declared the labels")
    assert report.skipped["longer_than_model"] == "a file alone names no model"
    lines = [line for line, _ in report_lines(report)]
    assert lines[-1] == "48 rows: nothing found"


def test_splits_of_a_column_are_compared(tmp_path: Path) -> None:
    rows = [(s, label, "test" if i % 8 == 0 else "train") for i, (s, label) in enumerate(LABELLED)]
    path = tmp_path / "rows.csv"
    header = ("sentence", "label", "split")
    path.write_bytes(table(rows, header))
    assert lint(path).findings == []
    path.write_bytes(table([*rows, (*LABELLED[0], "train")], header))
    report = lint(path)
    assert {f.check for f in report.findings} == {"train_test_overlap"}
    assert report.findings[0].places[0].where == f"{path}:50"


def test_other_test_files_can_be_named(tmp_path: Path) -> None:
    path, test = tmp_path / "rows.jsonl", tmp_path / "test.jsonl"
    path.write_bytes(jsonl(pairs()))
    test.write_bytes(jsonl(pairs()[4:6]))
    report = lint(path, against=[str(test)])
    [finding] = report.findings
    assert (finding.check, finding.count, finding.severity) == ("decontamination", 2, "error")
    assert str(test) in finding.places[0].said


def test_a_file_that_cannot_be_read_on_is_reported_with_what_was_read(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    text = table(LABELLED) + "Über den Fluss,True\n".encode("latin-1")
    path.write_bytes(text)
    report = lint(path)
    reader = [f for f in report.errors if f.check == "reader"]
    assert [f.what for f in reader] == ["cannot be read on"]
    assert "is not UTF-8" in reader[0].places[0].said
    assert report.rows[str(path)] > 10


def test_files_without_rows(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("sentence,label\n")
    with pytest.raises(DataError, match="there are no rows in it"):
        lint(path)
    with pytest.raises(DataError, match="no such file"):
        lint(tmp_path / "none.csv")
    with pytest.raises(LuthierError, match=r"unknown format 'colums'. Did you mean 'columns'"):
        path.write_bytes(table(LABELLED))
        lint(path, format="colums")


def test_a_recipe_without_its_model_is_linted_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_bytes(table(LABELLED))
    text = recipe([{"path": "rows.csv"}]).replace(MODEL.encode(), b"/nowhere/model")
    (tmp_path / "recipe.yaml").write_bytes(text)
    report = lint(tmp_path / "recipe.yaml")
    assert report.findings == []
    assert report.skipped["zero_trained_tokens"].startswith(
        "the model '/nowhere/model' is not at hand: "
    )


def test_options_of_a_recipe_are_used(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_bytes(table(LABELLED))
    text = recipe([{"path": "rows.csv"}], filters=[{"use": "length", "max_words": 9}])
    (tmp_path / "recipe.yaml").write_bytes(text.replace(MODEL.encode(), b"/nowhere/model"))
    report = lint(tmp_path / "recipe.yaml")
    assert {(f.check, f.what) for f in report.findings} == {("length", "too long")}
    again = lint(
        tmp_path / "recipe.yaml", overrides=["data.filters=[{use: length, max_words: 99}]"]
    )
    assert again.findings == []


def test_a_common_instruction_makes_no_near_duplicates(tmp_path: Path) -> None:
    ask = " ".join(question for question, _ in PAIRS[:8])
    rows = [
        {"question": f"{ask} {i} {PAIRS[i % 48][0]}", "answer": f"Word{i}."} for i in range(150)
    ]
    path = tmp_path / "rows.jsonl"
    path.write_bytes(jsonl(rows))
    report = lint(path)
    assert report.findings == []
    assert report.skipped["near_duplicates"].endswith(
        "as they do where all share a long instruction"
    )
