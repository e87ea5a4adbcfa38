"""A dataset that luthier built, as a source of another one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from luthier.artifacts import ExampleWriter, load_examples
from luthier.data.build import build
from luthier.data.config import SourceConfig
from luthier.data.files.sources import open_source
from luthier.data.formats import built
from luthier.data.rows import Reject
from luthier.data.shape import as_built
from luthier.example import Example, Message, Origin, Terms
from luthier.run import Run

TALK = Example(
    id="00000000000000aa",
    origin=Origin("talk.jsonl", 3),
    fields={"kind": "chat"},
    messages=(
        Message("system", "Be kind."), Message("user", "Add 2 and 3."),
        Message("assistant", "", tool_calls='[{"name": "add", "arguments": {}}]'),
        Message("tool", "5", name="add"), Message("assistant", "It is 5.", weight=1.0),
    ),
    tools='[{"name": "add"}]',
    terms=Terms("MIT", "no", "a model", "not for competitors"),
)  # fmt: skip


def read(path: Path) -> list[object]:
    source = SourceConfig(path=str(path), format="built")
    return list(built.rows(open_source(source, Path(), wanted=[]), source))


def test_rows_come_back_word_for_word(tmp_path: Path) -> None:
    with ExampleWriter(tmp_path / "rows.parquet") as writer:
        writer.write(TALK)
    [row] = read(tmp_path / "rows.parquet")
    assert row.built == TALK.but(origin=row.origin)
    assert row.terms == TALK.terms and row.tools == TALK.tools


def test_other_parquet_files_are_rejected_row_by_row(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"text": ["a", "b"]}), tmp_path / "rows.parquet")
    found = read(tmp_path / "rows.parquet")
    assert [isinstance(row, Reject) for row in found] == [True, True]
    assert found[0].reason.startswith("not built: ")


def test_a_dataset_of_a_dataset_is_the_same(make_run: Callable[..., Run], tmp_path: Path) -> None:
    first = make_run()
    build(first)
    rows = {split: load_examples(first, split) for split in ("train", "test")}
    sources = [
        {"path": str(first.path / "data" / f"{split}.parquet"), "format": "built", "split": split}
        for split in ("test", "train")
    ]
    # Another template: rows that were built have their words already.
    second = make_run(name="second", data={"sources": sources, "template": "plain", "filters": []})
    build(second)
    for split, before in rows.items():
        after = load_examples(second, split)
        assert [(r.id, r.messages, r.label, r.template) for r in after] == [
            (r.id, r.messages, r.label, r.template) for r in before
        ]


def test_what_a_built_row_asks_is_told_from_its_templates_words() -> None:
    sentence = "We will open a clinic in every town."
    row = Example(
        "1", Origin("r.csv", 1), template="t", label="True",
        fields={"input": sentence, "output": "True", "topic": "a topic nobody was shown in words"},
        messages=(Message("user", f"Is it a promise? {sentence}"), Message("assistant", "True")),
    )  # fmt: skip

    def render(example: Example) -> object:
        raise AssertionError

    found = as_built(row, ["True", "False"], render)
    assert (found.question, found.answer) == (sentence, "True")
    passage = "The town has three clinics and no doctor."
    fields = {"input": "Is there a doctor?", "passage": passage, "output": "True"}
    asked = f"{passage}\nIs there a doctor?"
    row = row.but(fields=fields, messages=(Message("user", asked), Message("assistant", "True")))
    assert passage in as_built(row, [], render).question
    assert as_built(TALK, [], render).question.startswith("Add 2 and 3.")
    text = as_built(Example("2", Origin("r", 2), text="Plain."), [], render)
    assert text.question == "Plain."
