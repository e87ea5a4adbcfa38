"""Several sources in one dataset: templates of their own, mixtures, terms, shots, plain text."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from luthier.artifacts import DataStats, load_examples
from luthier.data.build import build
from luthier.errors import DataError, RecipeError
from luthier.example import SPLITS, Example
from luthier.run import Run

MakeRun = Callable[..., Run]
WORDS = [
    "red", "green", "blue", "wall", "street", "house", "road", "river", "hill", "field", "town",
    "city", "lake", "tree", "bird",
]  # fmt: skip


def said(i: int) -> str:
    """A sentence unlike the others."""
    return f"{WORDS[i % 15]} {WORDS[i * 7 % 15]} {i} {WORDS[i * 11 % 13]} {i * i}"


def jsonl(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def all_rows(run: Run) -> list[Example]:
    return [e for split in SPLITS for e in load_examples(run, split)]


@pytest.fixture
def mixed_run(make_run: MakeRun, tmp_path: Path) -> MakeRun:
    """A chat task over Alpaca rows, labelled columns through a template, and plain text."""
    alpaca = [
        {"instruction": f"Say {said(i)}", "input": "", "output": f"I say {said(i)}"}
        for i in range(40)
    ]
    (tmp_path / "alpaca.json").write_text(json.dumps(alpaca), encoding="utf-8")
    jsonl(tmp_path / "plain.jsonl", [{"text": f"About {said(i + 500)}."} for i in range(20)])
    labelled = [{"text": said(i + 900), "mood": "good" if i % 2 else "bad"} for i in range(30)]
    jsonl(tmp_path / "moods.jsonl", labelled)
    sources = [
        {"path": "alpaca.json", "format": "alpaca", "licence": "CC-BY-NC-4.0", "weight": 1},
        {"path": "moods.jsonl", "format": "columns", "input": "text", "output": "mood",
         "template": "classify_mood.yaml", "licence": "MIT", "weight": 1},
        {"path": "plain.jsonl", "format": "text", "licence": "CC0-1.0", "weight": 2},
    ]  # fmt: skip
    (tmp_path / "classify_mood.yaml").write_text(
        'description: Mood.\nprompt: "Mood of: {input}"\ncompletion: "{output}"\n', encoding="utf-8"
    )

    def make(**data: Any) -> Run:
        changed = {"sources": sources, "template": None, "filters": [{"use": "empty"}], **data}
        return make_run(task={"kind": "chat", "labels": None}, data=changed)

    return make


def test_each_source_has_its_own_words(mixed_run: MakeRun) -> None:
    stats = build(mixed_run())
    rows = all_rows(mixed_run())
    assert stats.rows_read == {"alpaca.json": 40, "moods.jsonl": 30, "plain.jsonl": 20}
    assert stats.formats == {
        "alpaca.json": "alpaca", "moods.jsonl": "columns", "plain.jsonl": "text",
    }  # fmt: skip
    by_source = {name: [e for e in rows if e.origin.source == name] for name in stats.rows_read}
    assert {name: len(found) for name, found in by_source.items()} == stats.rows_read
    assert all(e.template is None and e.messages for e in by_source["alpaca.json"])
    assert all(e.template == "classify_mood.yaml" for e in by_source["moods.jsonl"])
    assert all(e.text and not e.messages for e in by_source["plain.jsonl"])
    assert {e.split for e in by_source["plain.jsonl"]} == {"train"}, "it has no answer to judge"


def test_the_mixture_is_counted_in_rows_and_tokens_and_kept(mixed_run: MakeRun) -> None:
    stats = build(mixed_run(mix={"strategy": "weights", "rows": 32}))
    parts = {p.source: p for p in stats.mixture}
    assert {name: p.rows for name, p in parts.items()} == {
        "alpaca.json": 8, "moods.jsonl": 8, "plain.jsonl": 16,
    }  # fmt: skip
    train = load_examples(mixed_run(), "train")
    assert Counter(e.origin.source for e in train) == {n: p.rows for n, p in parts.items()}
    assert sum(p.trained_share for p in parts.values()) == pytest.approx(1)
    assert stats.splits["train"].tokens.total == sum(p.tokens for p in parts.values())
    assert DataStats.load(mixed_run()).mixture == stats.mixture


def test_repeated_rows_have_ids_of_their_own(mixed_run: MakeRun) -> None:
    build(mixed_run(mix={"strategy": "weights", "rows": 120, "repeat": True}))
    train = load_examples(mixed_run(), "train")
    assert len(train) == 120 == len({e.id for e in train})
    texts = Counter(e.text for e in train if e.text)
    assert sum(texts.values()) == 60 and set(texts.values()) == {3}


def test_a_streamed_mixture_reads_no_further_than_it_needs(
    mixed_run: MakeRun, tmp_path: Path
) -> None:
    broken = (tmp_path / "plain.jsonl").read_text(encoding="utf-8") + "not json\n" * 1000
    run = mixed_run(mix={"strategy": "weights", "rows": 40, "streaming": True})
    (tmp_path / "plain.jsonl").write_text(broken, encoding="utf-8")
    stats = build(run)
    train = Counter(e.origin.source for e in load_examples(run, "train"))
    assert train == {"alpaca.json": 10, "moods.jsonl": 10, "plain.jsonl": 20}
    assert stats.rows_read["alpaca.json"] == 24 and stats.rows_read["plain.jsonl"] == 20
    assert "not JSON" not in stats.rows_rejected
    assert {p.source: p.rows for p in stats.mixture} == train


def test_rows_of_a_test_are_no_part_of_a_streamed_mixture(
    make_run: MakeRun, tmp_path: Path
) -> None:
    sources = [
        {"path": "a.jsonl", "weight": 3}, {"path": "b.jsonl", "weight": 1, "max_rows": 5},
        {"path": "t.jsonl", "split": "test"},
    ]  # fmt: skip
    run = make_run(
        task={"kind": "generation", "labels": None},
        data={"sources": sources, "template": None, "filters": [{"use": "empty"}],
              "mix": {"strategy": "weights", "rows": 60, "streaming": True}},
    )  # fmt: skip
    for place, (name, count) in enumerate([("a", 300), ("b", 300), ("t", 90)]):
        rows = [{"input": said(i + 1000 * place), "output": said(i)} for i in range(count)]
        jsonl(tmp_path / f"{name}.jsonl", rows)
    stats = build(run)
    assert stats.rows_read["t.jsonl"] == 90 and stats.rows_read["a.jsonl"] < 120
    test = Counter(e.origin.source for e in load_examples(run, "test"))
    assert test["t.jsonl"] == 90
    assert {p.source: p.rows for p in stats.mixture} == {
        "a.jsonl": 55, "b.jsonl": 5, "t.jsonl": 0,
    }  # fmt: skip


@pytest.mark.parametrize("streaming", [False, True])
def test_one_file_twice_is_two_sources_of_a_mixture(
    make_run: MakeRun, tmp_path: Path, streaming: bool
) -> None:
    ask = {"description": "x", "prompt": "Say {input}", "completion": "{output}"}
    (tmp_path / "ask.yaml").write_text(json.dumps(ask), encoding="utf-8")
    source = {"path": "a.jsonl", "split": "train"}
    run = make_run(
        task={"kind": "generation", "labels": None},
        data={"sources": [{**source, "weight": 3}, {**source, "template": "ask.yaml", "weight": 1}],
              "template": None, "filters": [{"use": "empty"}],
              "mix": {"strategy": "weights", "rows": 40, "streaming": streaming}},
    )  # fmt: skip
    jsonl(tmp_path / "a.jsonl", [{"input": said(i), "output": said(i)} for i in range(100)])
    stats = build(run)
    assert {p.source: (p.available >= p.rows, p.rows) for p in stats.mixture} == {
        "a.jsonl (source 1)": (True, 30), "a.jsonl (source 2)": (True, 10),
    }  # fmt: skip
    assert Counter(e.template for e in load_examples(run, "train"))["ask.yaml"] == 10


def test_what_a_mixture_gives_is_counted_with_its_shots(mixed_run: MakeRun) -> None:
    plain = build(mixed_run(mix={"strategy": "weights", "rows": 32}))
    run = mixed_run(mix={"strategy": "weights", "rows": 32}, shots=2)
    shown = build(run)
    before, after = ({p.source: p for p in stats.mixture} for stats in (plain, shown))
    assert {n: p.rows for n, p in before.items()} == {n: p.rows for n, p in after.items()}
    assert after["moods.jsonl"].tokens > 1.5 * before["moods.jsonl"].tokens
    assert after["plain.jsonl"].tokens == before["plain.jsonl"].tokens
    assert sum(p.tokens for p in after.values()) == shown.splits["train"].tokens.total


def test_streaming_says_what_it_needs(mixed_run: MakeRun) -> None:
    with pytest.raises(RecipeError, match="streaming needs 'rows'"):
        mixed_run(mix={"strategy": "weights", "streaming": True})
    with pytest.raises(RecipeError, match="use strategy: weights"):
        mixed_run(mix={"streaming": True, "rows": 5})
    with pytest.raises(RecipeError, match="streaming reads every row once"):
        mixed_run(mix={"strategy": "weights", "streaming": True, "rows": 5, "repeat": True})


def test_commercial_use_leaves_out_what_it_must_not_contain(mixed_run: MakeRun) -> None:
    stats = build(mixed_run(use="commercial"))
    assert stats.rows_rejected == {"terms": 40}
    assert {(t.source, t.commercial, t.rows) for t in stats.terms} == {
        ("moods.jsonl", "yes", 30), ("plain.jsonl", "yes", 20),
    }  # fmt: skip
    everything = build(mixed_run(use="research"))
    assert {t.source for t in everything.terms if t.commercial == "no"} == {"alpaca.json"}
    row = next(e for e in all_rows(mixed_run()) if e.origin.source == "alpaca.json")
    assert row.terms.licence == "CC-BY-NC-4.0"


def test_rows_that_name_their_model_carry_its_terms(make_run: MakeRun, tmp_path: Path) -> None:
    models = ["gpt-4", "Qwen/Qwen2.5-7B-Instruct", "Ford Focus", None]
    rows = [
        {"conversations": [{"from": "human", "value": said(i)}, {"from": "gpt", "value": said(-i)}],
         "model": models[i % 4]}
        for i in range(40)
    ]  # fmt: skip
    (tmp_path / "talks.json").write_text(json.dumps(rows), encoding="utf-8")
    source = {"path": "talks.json", "format": "sharegpt", "licence": "Apache-2.0"}
    run = make_run(
        task={"kind": "chat", "labels": None},
        data={"sources": [source], "template": None, "use": "commercial", "filters": []},
    )
    stats = build(run)
    assert stats.rows_rejected == {"terms": 10}
    assert {(t.generator, t.rows) for t in stats.terms} == {(models[1], 10), (None, 20)}


def test_shots_come_from_training_rows_and_never_from_the_row_itself(make_run: MakeRun) -> None:
    run = make_run(data={"shots": 2})
    stats = build(run)
    train = {e.fields["input"] for e in load_examples(run, "train")}
    for row in all_rows(run):
        assert [m.role for m in row.messages] == ["user", "assistant"] * 3
        shown = [m.content for m in row.messages[:-2] if m.role == "user"]
        own = row.fields["input"]
        assert own in row.messages[-2].content and not any(own in text for text in shown)
        assert all(any(known in text for known in train) for text in shown)
        answers = {m.content for m in row.messages[:-2] if m.role == "assistant"}
        assert answers == {"True", "False"}, "shots are balanced over the labels"
    assert stats.splits["train"].tokens.min > 60


def test_families_share_a_split_and_a_missing_column_is_an_error(
    make_run: MakeRun, tmp_path: Path
) -> None:
    rows = [{"q": said(i), "a": "x" if i % 2 else "y", "page": f"p{i // 4}"} for i in range(80)]
    source = {"path": "pages.jsonl", "input": "q", "output": "a"}

    def make(column: str) -> Run:
        run = make_run(
            task={"kind": "classification", "labels": ["x", "y"]},
            data={"sources": [source], "split": {"test": 0.25, "group_by": column}},
        )
        jsonl(tmp_path / "pages.jsonl", rows)
        return run

    run = make("page")
    build(run)
    pages: dict[str, set[str | None]] = {}
    for e in all_rows(run):
        pages.setdefault(e.fields["page"], set()).add(e.split)
    assert len(pages) == 20 and all(len(splits) == 1 for splits in pages.values())
    with pytest.raises(DataError, match=r"data\.split\.group_by: no row has a column 'pge'"):
        build(make("pge"))


def test_an_instruction_file_is_recognised_and_said(
    make_run: MakeRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"instruction": f"Say {said(i)}", "input": "", "output": said(i)} for i in range(30)]
    (tmp_path / "a.json").write_text(json.dumps(rows), encoding="utf-8")
    run = make_run(
        task={"kind": "chat", "labels": None},
        data={"sources": [{"path": "a.json"}], "template": None},
    )
    stats = build(run)
    assert stats.formats == {"a.json": "alpaca"}
    assert "read as alpaca" in capsys.readouterr().err
