"""What stages hand to each other comes back exactly, or with a clear error."""

from __future__ import annotations

import datetime
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from luthier.artifacts import (
    Artifact,
    DataStats,
    Estimate,
    Evaluation,
    Plan,
    SystemResult,
    TrainSummary,
    load_examples,
    save_examples,
)
from luthier.as_written import fields_text
from luthier.errors import RunError
from luthier.example import Example, Message, Origin, content_id
from luthier.run import STAGES, Run, file_digest

TEXTS = [
    "",
    " ",
    "line\nline\r\n\t",
    "é ü 中文 😀",
    "\u2028\u0000\ufeff",
    "<|im_end|>",
    '"\\{}',
    "a" * 9999,
]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


def rows() -> list[Example]:
    found = [
        Example("a", Origin("rows.csv", 1)),
        Example("b", Origin("luthier:x.csv", 2**40), text="", split="train", group="g"),
        Example("c", Origin("hub/set", 3, "row"), label="", template="plain", split="test"),
        Example("d", Origin("é", 4), fields={"n": None, "f": 1.5, "i": 2**60, "b": True,
                "list": [1, [None, {"x": "😀"}]], "": {"ö": ""}, "nan": "NaN"}),
    ]  # fmt: skip
    for number, text in enumerate(TEXTS):
        found.append(
            Example(
                content_id([text]),
                Origin("rows.csv", number),
                fields={"input": text, text: text},
                messages=(Message("system", text), Message("user", ""), Message("assistant", text)),
                text=text,
                label=text,
                split="train",
            )
        )
    return found


VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.dates()),
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text(), inner)),
    max_leaves=5,
)


@given(st.dictionaries(st.one_of(st.text(), st.integers(), st.none()), VALUES))
def test_fields_are_written_as_json_writes_them(fields: dict[Any, Any]) -> None:
    assert fields_text(fields) == json.dumps(fields, ensure_ascii=False, default=str)


def there_and_back(run: Run, examples: list[Example]) -> list[Example]:
    save_examples(run.path / "data" / "train.parquet", examples)
    return load_examples(run, "train")


# --- rows --------------------------------------------------------------------------------------


def test_rows_come_back_exactly(run: Run) -> None:
    assert there_and_back(run, rows()) == rows()
    assert there_and_back(run, []) == []


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
EXAMPLES = st.builds(
    Example,
    id=TEXT,
    origin=st.builds(Origin, TEXT, st.integers(0, 2**62)),
    fields=st.dictionaries(TEXT, JSON, max_size=3),
    messages=st.lists(
        st.builds(Message, st.sampled_from(["system", "user", "assistant"]), TEXT), max_size=3
    ).map(tuple),
    text=st.none() | TEXT,
    label=st.none() | TEXT,
    template=st.none() | TEXT,
    split=st.none() | st.sampled_from(["train", "test"]),
    group=st.none() | TEXT,
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(examples=st.lists(EXAMPLES, max_size=4))
def test_any_rows_come_back_exactly(run: Run, examples: list[Example]) -> None:
    assert there_and_back(run, examples) == examples


def test_equal_rows_make_equal_files(tmp_path: Path) -> None:
    digests = set()
    for name in ("one", "two"):
        path = tmp_path / name / "x.parquet"
        save_examples(path, rows() * 50)
        digests.add(file_digest(path))
    assert len(digests) == 1
    save_examples(tmp_path / "one" / "x.parquet", [rows()[0].but(id="other"), *rows()[1:]] * 50)
    assert file_digest(tmp_path / "one" / "x.parquet") not in digests


def test_values_that_json_lacks_become_text(run: Run) -> None:
    fields = {"day": datetime.date(2024, 1, 2), "pair": (1, 2)}
    (found,) = there_and_back(run, [Example("a", Origin("x", 1), fields=fields)])
    assert found.fields == {"day": "2024-01-02", "pair": [1, 2]}


def test_a_split_without_rows_is_empty(run: Run) -> None:
    assert load_examples(run, "calibration") == []


def test_every_damage_is_noticed(run: Run) -> None:
    path = run.path / "data" / "train.parquet"
    whole = rows()
    save_examples(path, whole)
    good = path.read_bytes()
    for size in range(0, len(good), len(good) // 25):
        path.write_bytes(good[:size])
        with pytest.raises(RunError, match=r"train\.parquet cannot be read: .*luthier build"):
            load_examples(run, "train")
    noticed = 0
    pages = len(good) - 8 - int.from_bytes(good[-8:-4], "little")  # then comes the footer
    for place in range(4, pages, pages // 60):
        path.write_bytes(good[:place] + bytes([good[place] ^ 0x10]) + good[place + 1 :])
        try:
            assert load_examples(run, "train") == whole, f"byte {place} changed the rows silently"
        except RunError:
            noticed += 1
    assert noticed > 20


@pytest.mark.parametrize("content", [b"PAR1", b"id,source\n1,2\n", b"\0" * 100])
def test_a_file_that_is_no_parquet(run: Run, content: bytes) -> None:
    path = run.path / "data" / "test.parquet"
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(RunError, match=r"test\.parquet cannot be read"):
        load_examples(run, "test")


def test_a_parquet_file_of_something_else(run: Run) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = run.path / "data" / "test.parquet"
    path.parent.mkdir()
    pq.write_table(pa.table({"id": ["a"], "fields": ["{"]}), path)
    with pytest.raises(RunError, match=r"test\.parquet cannot be read"):
        load_examples(run, "test")


# --- artifacts ---------------------------------------------------------------------------------


def summary(**changes: Any) -> TrainSummary:
    values: dict[str, Any] = {
        "kind": "adapter", "weights": "train/adapter", "base_model": "m", "precision": "float32",
        "steps": 3, "epochs": 1.0, "best_step": 2, "best_metric": 0.5, "stopped_early": False,
        "seconds": 1.5, "examples": 10, "tokens": 100, "trained_tokens": 20, "peak_bytes": 1000,
        "trainable_parameters": 5, "total_parameters": 50,
    }  # fmt: skip
    return TrainSummary(**{**values, **changes})


def test_an_artifact_comes_back(run: Run) -> None:
    found = summary()
    found.save(run)
    assert TrainSummary.load(run) == found
    assert json.loads((run.path / "train" / "summary.json").read_text())["steps"] == 3


def test_an_artifact_holds_no_nan(run: Run) -> None:
    evaluation = Evaluation(
        task="generation", labels=[], main_metric="chrf", rows=1,
        systems=[SystemResult(name="tuned", describe="", seconds=0.1,
                              metrics={"chrf": Estimate(value=0.5, low=math.nan)})],
    )  # fmt: skip
    evaluation.save(run)
    assert "NaN" not in (run.path / "evaluate" / "metrics.json").read_text()
    assert Evaluation.load(run).systems[0].metrics["chrf"].low is None
    summary(best_metric=math.inf).save(run)
    assert TrainSummary.load(run).best_metric is None


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "3", '{"steps": 3}', json.dumps({**summary().model_dump(), "x": 1})]
)
def test_a_damaged_artifact_is_a_run_error(run: Run, content: str) -> None:
    path = run.path / "train" / "summary.json"
    path.parent.mkdir()
    path.write_text(content)
    with pytest.raises(RunError, match=r"summary\.json.*[Rr]epeat the (train stage|command)"):
        TrainSummary.load(run)


def test_a_missing_artifact_is_a_run_error(run: Run) -> None:
    with pytest.raises(RunError, match=r"plan\.json is missing"):
        Plan.load(run)


def artifacts(root: type[Artifact] = Artifact) -> Iterator[type[Artifact]]:
    for kind in root.__subclasses__():
        if kind.__module__ == "luthier.artifacts":
            yield kind


def test_every_artifact_lives_in_its_stage_folder() -> None:
    files = {kind.__name__: kind.FILE for kind in artifacts()}
    assert {DataStats, Plan, TrainSummary, Evaluation} <= set(artifacts())
    assert len(set(files.values())) == len(files)
    for file in files.values():
        assert file.split("/")[0] in STAGES and file.endswith(".json")
