"""Sets of the catalogue: what its entries show works on files as those sets have them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from format_rows import one
from ruamel.yaml import YAML

from luthier.data import catalog, opening
from luthier.data.config import SourceConfig
from luthier.data.files.sources import open_file
from luthier.data.generating.evol_instruct.seeds import read_seeds
from luthier.data.importing.recognise import FORMATS
from luthier.data.opening import Opened, open_rows
from luthier.data.rows import Reject, Row
from luthier.data.shape import Shape, shape_of, template_sets
from luthier.errors import DataError
from luthier.run import Run

PAIR = {"instruction": "Name a tree.", "input": "", "output": "Oak."}
RENDERED = {"inputs": "Is grass green?", "targets": "yes", "_task_name": "x", "_template_type": "y"}
GPT3 = {"prompt": "Name a tree.\nOutput:", "completion": " Oak.<|endoftext|>"}
SHARED = {"id": "a_0", "conversations": [
    {"from": "human", "value": "Name a tree."}, {"from": "gpt", "value": "Oak."},
]}  # fmt: skip
TREE = {"message_tree_id": "a", "tree_state": "ready_for_export", "prompt": {
    "message_id": "a", "role": "prompter", "text": "Name a tree.", "lang": "en", "replies": [
        {"message_id": "b", "role": "assistant", "text": "Oak.", "lang": "en", "replies": []},
    ],
}}  # fmt: skip
TASK = {"Definition": ["Say what it is."], "Positive Examples": [], "Negative Examples": [],
        "Instances": [{"id": "task-1", "input": "Oak", "output": ["A tree."]}]}  # fmt: skip
OLD_TASK = {"Title": "t", "Definition": "Say what it is.", "Prompt": "What is it?",
            "Examples": {"Positive Examples": [], "Negative Examples": []},
            "Instances": [{"input": "Oak", "output": ["A tree."]}]}  # fmt: skip
UNNATURAL = {"instruction": "Name {INPUT}.", "instances": [{
    "instruction_with_input": "Name a tree.", "input": "a tree", "constraints": "", "output": "Oak",
}]}  # fmt: skip
# By the name of the file in the example: a record as that file has it, and the importer it needs.
FILES: dict[str, tuple[str, Any]] = {
    "alpaca_data.json": ("alpaca", PAIR),
    "cot.jsonl": ("flan", RENDERED),
    "dialog.jsonl": ("flan", RENDERED),
    "alpaca_evol_instruct_70k.json": ("evol_instruct", {"instruction": "a b", "output": "c"}),
    "flan2021.jsonl": ("flan", RENDERED),
    "GuanacoDataset.json": ("guanaco", PAIR),
    "data_v2/user_2.jsonl": ("instructwild", {"instruction": "Name a tree."}),
    "train.jsonl": ("lima", {"conversations": ["Name a tree.", "Oak."], "source": "x"}),
    "subtask039_qasc_find_overlapping_words.json": ("super_ni", OLD_TASK),
    "unified_chip2.jsonl": ("oig", {"text": "<human>: a\n<bot>: b", "metadata": {"source": "x"}}),
    "2023-04-12_oasst_ready.trees.jsonl": ("openassistant", TREE),
    "app_reviews_convert_to_rating.jsonl": ("p3", GPT3),
    "gpt3_finetuning_data.jsonl": ("p3", GPT3),
    "task156_codah_classification_adversarial.json": ("super_ni", TASK),
    "t0.jsonl": ("flan", RENDERED),
    "full_data.jsonl": ("unnatural_instructions", UNNATURAL),
    "sharegpt_clean.json": ("sharegpt", SHARED),
}


@pytest.fixture
def chat(make_run: Callable[..., Run], tmp_path: Path) -> Shape:
    """The shape of a recipe for conversations."""
    recipe = make_run(task={"kind": "chat", "labels": None}, data={"template": None}).recipe
    return shape_of(recipe, template_sets(recipe, tmp_path))


def written(path: Path, *records: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(r) + "\n" for r in records), encoding="utf-8")
    else:
        whole = "Instances" in records[0]
        path.write_text(json.dumps(records[0] if whole else records, indent=1), encoding="utf-8")
    return path


def rows_of(opened: Opened) -> list[Row]:
    found = list(opened.rows)
    assert found and not [row for row in found if isinstance(row, Reject)], found
    return [row for row in found if isinstance(row, Row)]


@pytest.mark.parametrize("name", catalog.names())
def test_what_an_entry_shows_yields_rows(
    name: str, chat: Shape, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    entry = catalog.entry(name)
    for shown in YAML(typ="safe", pure=True).load(entry.use)["data"]["sources"]:
        source = SourceConfig.model_validate(shown)
        if source.generate is not None:
            seeds = source.generate.options["seeds"]
            written(tmp_path / seeds, *([FILES[seeds][1]] * 3))
            assert [seed.text for seed in read_seeds(seeds)] == ["Name a tree."]
            continue
        needed, record = FILES[str(source.path)]
        written(tmp_path / str(source.path), record, record, record)
        opened = open_rows(source, tmp_path, chat)
        assert opened.format == needed
        assert all(row.messages[-1].role == "assistant" for row in rows_of(opened))
        told = catalog.entry(str(source.dataset))
        assert (opened.terms.licence, opened.terms.generator) == (told.licence, told.generator)


def test_every_example_has_a_file_here() -> None:
    uses = "".join(catalog.entry(name).use for name in catalog.names())
    assert all(path in uses for path in FILES)


@pytest.mark.parametrize(
    ("dataset", "record", "needed"),
    [
        ("self_instruct", GPT3, "p3"), ("self_instruct", PAIR, "alpaca"),
        ("chain_of_thought", RENDERED, "flan"), ("super_natural_instructions", RENDERED, "flan"),
        ("t0", GPT3, "p3"), ("alpaca", SHARED, "sharegpt"),
        ("flan", {"question": "a", "answer": "b", "rationale": "c"}, "chain_of_thought"),
    ],
)  # fmt: skip
def test_content_that_is_certainly_another_wins_and_it_is_said(
    dataset: str, record: Any, needed: str, chat: Shape, tmp_path: Path, capsys: Any
) -> None:
    written(tmp_path / "x.jsonl", record, record, record)
    opened = open_rows(SourceConfig(dataset=dataset, path="x.jsonl"), tmp_path, chat)
    assert opened.format == needed and len(rows_of(opened)) == 3
    said = " ".join(capsys.readouterr().err.split())
    usual = catalog.entry(dataset).format
    assert f"read as {needed}" in said and f"`format: {usual}` would ask for" in said
    forced = SourceConfig(dataset=dataset, path="x.jsonl", format=usual)  # type: ignore[arg-type]
    assert open_rows(forced, tmp_path, chat).format == usual


@pytest.mark.parametrize(
    ("dataset", "record"),
    [
        # Unclear, of no format, of one that fits everything, and such as the importer reads too.
        ("oig", {"user": "a", "chip3": "b"}), ("lima", {"x": 1}), ("oig", {"text": "It rains."}),
        ("evol_instruct", {"input": "a", "output": "b"}), ("evol_instruct", SHARED),
        ("guanaco", PAIR), ("instructwild", PAIR), ("lima", PAIR),
        ("p3", {"inputs": "a", "targets": "b"}),
    ],
)  # fmt: skip
def test_other_content_is_left_to_the_importer_of_the_set(
    dataset: str, record: Any, chat: Shape, tmp_path: Path, capsys: Any
) -> None:
    written(tmp_path / "x.jsonl", record, record, record)
    opened = open_rows(SourceConfig(dataset=dataset, path="x.jsonl"), tmp_path, chat)
    assert opened.format == catalog.entry(dataset).format
    assert capsys.readouterr().err == ""


def test_columns_that_are_named_are_read_by_the_importer_of_the_set(
    chat: Shape, tmp_path: Path
) -> None:
    written(tmp_path / "x.jsonl", {"body": "<human>: a\n<bot>: b", "prompt": "c", "chosen": "d"})
    source = SourceConfig(dataset="oig", path="x.jsonl", text="body")
    assert len(rows_of(open_rows(source, tmp_path, chat))) == 1


def test_lines_that_only_the_importer_of_the_set_can_mend(chat: Shape, tmp_path: Path) -> None:
    broken = '{"instruction": "a\nb", "output": "c"}\n'
    (tmp_path / "x.jsonl").write_text(broken, encoding="utf-8")
    opened = open_rows(SourceConfig(dataset="instructwild", path="x.jsonl"), tmp_path, chat)
    assert opened.format == "instructwild" and len(rows_of(opened)) == 1
    (tmp_path / "x.jsonl").write_text("")
    with pytest.raises(DataError, match=r"x\.jsonl: the file is empty"):
        open_rows(SourceConfig(dataset="instructwild", path="x.jsonl"), tmp_path, chat)


@pytest.mark.parametrize(
    ("hub", "record", "needed"),
    [
        ("yizhongw/self_instruct", GPT3, "p3"),
        ("DataProvenanceInitiative/cot_submix_original", RENDERED, "flan"),
        ("tatsu-lab/alpaca", {**PAIR, "text": "Below is an instruction."}, "alpaca"),
        ("laion/OIG", {"tekst": "a"}, "oig"),
        ("nobody/knows", PAIR, "alpaca"), ("nobody/knows", {"a": "b c"}, "messages"),
    ],
)  # fmt: skip
def test_the_first_rows_of_a_hub_set_are_looked_at_and_put_back(
    hub: str, record: Any, needed: str, chat: Shape, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path / "hub.jsonl", *([record] * 120))

    def stream(source: SourceConfig, root: Path, *, wanted: Any) -> Any:  # there is no hub here
        return open_file(path)

    monkeypatch.setattr(opening.sources, "open_source", stream)
    opened = open_rows(SourceConfig(hub=hub), tmp_path, chat)
    assert opened.format == needed
    if "tekst" not in record and "a" not in record:
        found = rows_of(opened)
        assert [row.origin.row for row in found] == list(range(1, 121))


def test_a_text_beside_its_summary_is_not_taken_for_plain_text(chat: Shape, tmp_path: Path) -> None:
    written(tmp_path / "x.jsonl", *[{"text": "It rains a lot.", "summary": "Rain."}] * 3)
    with pytest.raises(DataError, match=r"which format is it\? .*columns \(60%\), text \(50%\)"):
        open_rows(SourceConfig(path="x.jsonl"), tmp_path, chat)


@pytest.mark.parametrize("name", FORMATS.names())
def test_formats_that_read_others_name_them(name: str) -> None:
    others = getattr(FORMATS.load(name), "ALSO_READS", ())
    for other in others:
        record = FORMATS.load(other).EXAMPLE
        read = [one(FORMATS.load(each), record).messages for each in (name, other)]
        assert read[0] == read[1]
