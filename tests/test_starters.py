"""`luthier new`: every recipe it writes loads, whatever the columns, labels and file are called."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from luthier import starters
from luthier.errors import DataError, LuthierError
from luthier.recipe import load
from luthier.starters import MAX_LABELS, write_recipe


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def table(path: Path, columns: list[str], rows: list[list[str]], delimiter: str = ",") -> Path:
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerows([columns, *rows])
    return path


SENTENCES = [["We will build it.", "True"], ["Who knows?", "False"], ["We promise.", "True"]]


@pytest.mark.parametrize("kind", starters.names())
def test_every_starter_loads_as_it_is(here: Path, kind: str) -> None:
    assert write_recipe("first", kind) == Path("first.yaml")
    loaded = load("first.yaml")
    assert loaded.recipe.name == "first"
    assert loaded.notes == [], "a starter uses today's names"
    for place in ("{name}", "{file}", "{path}", "{input}", "{output}", "{labels}"):
        assert place not in loaded.text
    assert "luthier.schema.json" in loaded.text or kind == "promises"


def test_there_is_a_starter_for_every_use() -> None:
    assert {"promises", "classification", "generation", "chat"} <= set(starters.names())


def test_the_promises_starter_is_the_promises_recipe() -> None:
    write_recipe("promises", "promises")
    mine = load("promises.yaml").recipe
    assert mine == load(Path(__file__).parent.parent / "recipes" / "promises.yaml").recipe


def test_columns_and_labels_are_read_from_the_data(here: Path) -> None:
    (here / "rows").mkdir()
    data = table(here / "rows" / "talk.csv", ["id", "Sentence", "label"],
                 [["1", *SENTENCES[0]], ["2", *SENTENCES[1]]])  # fmt: skip
    write_recipe("mine", "classification", data=data)
    recipe = load("mine.yaml").recipe
    (source,) = recipe.data.sources
    assert (source.path, source.input, source.output) == ("rows/talk.csv", "Sentence", "label")
    assert recipe.labels == ["False", "True"]
    assert (Path("mine.yaml").parent / str(source.path)).is_file()


def test_named_columns_win(here: Path) -> None:
    data = table(here / "t.csv", ["text", "label", "q", "verdict"],
                 [["x", "1", "why", "yes"], ["x", "2", "how", "no"]])  # fmt: skip
    write_recipe("a", "classification", data=data, input_column="q", output_column="verdict")
    recipe = load("a.yaml").recipe
    assert (recipe.data.sources[0].input, recipe.labels) == ("q", ["no", "yes"])
    write_recipe("b", "generation", data=data, output_column="verdict")
    assert load("b.yaml").recipe.data.sources[0].output == "verdict"
    write_recipe("c", "generation", input_column="asked", output_column="said")
    assert load("c.yaml").recipe.data.sources[0].input == "asked"


def test_other_delimiters_are_found_by_the_named_columns(here: Path) -> None:
    data = table(here / "t.csv", ["frage", "antwort"], SENTENCES, delimiter=";")
    write_recipe("a", "generation", data=data, input_column="frage", output_column="antwort")
    assert load("a.yaml").recipe.data.sources[0].output == "antwort"


def test_labels_of_other_types_and_blank_ones(here: Path) -> None:
    rows = [{"text": "a", "label": v} for v in (True, False, 3, None, "", " ", "x")]
    data = here / "t.jsonl"
    data.write_text("\n".join(json.dumps(r) for r in rows))
    write_recipe("a", "classification", data=data)
    assert load("a.yaml").recipe.labels == ["3", "false", "true", "x"]


def test_chat_takes_its_file(here: Path) -> None:
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    (here / "talk.jsonl").write_text(json.dumps({"messages": turns}))
    write_recipe("a", "chat", data=here / "talk.jsonl")
    assert load("a.yaml").recipe.data.sources[0].path == "talk.jsonl"


AWKWARD = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0\r\n"), min_size=1, max_size=12
) | st.sampled_from(
    ['"', "\\", "'", "{labels}", "{name}", "a: b", "# x", "\x7f", "\u2028", "\ufeff", "😀", "\x85",
     "null", "true", "1e3", "[", "&a", "%", "\\N", "\t"]
)  # fmt: skip


@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    columns=st.lists(AWKWARD, min_size=2, max_size=2, unique=True),
    labels=st.lists(AWKWARD.filter(str.strip), min_size=2, max_size=3, unique=True),
)
def test_any_names_survive_the_way_into_yaml(
    here: Path, columns: list[str], labels: list[str]
) -> None:
    data = here / "rows.jsonl"
    data.write_text("\n".join(json.dumps({columns[0]: "x", columns[1]: v}) for v in labels))
    (here / "any.yaml").unlink(missing_ok=True)
    write_recipe(
        "any", "classification", data=data, input_column=columns[0], output_column=columns[1]
    )
    recipe = load("any.yaml").recipe
    assert [recipe.data.sources[0].input, recipe.data.sources[0].output] == columns
    assert recipe.labels == sorted(labels)


@pytest.mark.parametrize(
    "name", ["2024", "1.5", "true", "null", "2024-01-01", "1e3", "no", "a.b-c_d"]
)
def test_any_valid_name_is_read_as_a_name(name: str) -> None:
    path = write_recipe(name, "promises")
    assert load(path).recipe.name == name
    assert f"luthier run {name}.yaml" in path.read_text()


@pytest.mark.parametrize(
    "file", ['my "rows".csv', "back\\slash.csv", "a {path} b.csv", "ü 😀.csv", "#.csv"]
)
def test_any_file_name_is_found_again(here: Path, file: str) -> None:
    data = table(here / file, ["text", "label"], SENTENCES)
    write_recipe("a", "classification", data=data)
    assert load("a.yaml").recipe.data.sources[0].path == file


# --- mistakes ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", "a b", "../a", "a/b", "-a", ".a", "é", "x" * 101])
def test_a_name_that_cannot_name_a_run(here: Path, name: str) -> None:
    with pytest.raises(LuthierError, match="cannot name a run: use letters, digits"):
        write_recipe(name, "promises")
    assert list(here.rglob("*.yaml")) == []


def test_an_unknown_starter() -> None:
    with pytest.raises(LuthierError, match=r"unknown starter 'promisses'\. Did you mean 'prom"):
        write_recipe("a", "promisses")


def test_nothing_is_overwritten(here: Path) -> None:
    (here / "a.yaml").write_text("precious")
    with pytest.raises(LuthierError, match=r"a\.yaml exists already; delete it or choose another"):
        write_recipe("a", "promises")
    assert (here / "a.yaml").read_text() == "precious"


def test_no_such_column(here: Path) -> None:
    data = table(here / "t.csv", ["text", "label"], SENTENCES)
    with pytest.raises(DataError, match=r"unknown column 'lable'. Did you mean 'label'\?"):
        write_recipe("a", "classification", data=data, output_column="lable")
    odd = table(here / "odd.csv", ["one", "two"], SENTENCES)
    with pytest.raises(DataError, match=r"Columns: one, two. Say so with --input NAME"):
        write_recipe("a", "classification", data=odd)
    assert list(here.glob("*.yaml")) == []


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ([f"label {i}" for i in range(MAX_LABELS + 1)], f"more than {MAX_LABELS} distinct values"),
        (["same"], "has 1 distinct values"),
        (["", " "], "has 0 distinct values"),
    ],
)
def test_a_column_that_holds_no_labels(here: Path, labels: list[str], said: str) -> None:
    data = table(here / "t.csv", ["text", "label"], [[f"row {i}", v] for i, v in enumerate(labels)])
    with pytest.raises(DataError) as caught:
        write_recipe("a", "classification", data=data)
    assert said in str(caught.value)
    assert "Choose the label column with --output, or start from generation." in str(caught.value)
    assert list(here.glob("*.yaml")) == []


def test_data_that_is_not_there_or_empty(here: Path) -> None:
    table(here / "talk.csv", ["text", "label"], [])
    with pytest.raises(DataError, match=r"no such file .* Did you mean 'talk\.csv'"):
        write_recipe("a", "classification", data=Path("tlak.csv"))
    with pytest.raises(DataError, match=r"talk\.csv: no rows"):
        write_recipe("a", "classification", data=Path("talk.csv"))


@pytest.mark.parametrize("kind", ["classification", "generation", "chat"])
def test_data_must_be_there_whatever_is_read_from_it(here: Path, kind: str) -> None:
    with pytest.raises(DataError, match=r"nope\.jsonl: no such file"):
        write_recipe("a", kind, data=Path("nope.jsonl"))
    (here / "empty.jsonl").write_text("")
    with pytest.raises(DataError, match="the file is empty"):
        write_recipe("a", kind, data=Path("empty.jsonl"))
    assert list(here.glob("*.yaml")) == []


def test_one_column_for_both_is_refused(here: Path) -> None:
    data = table(here / "t.csv", ["text", "label"], SENTENCES)
    expected = r"both the column 'label'.* --input and --output"
    for kind, options in (
        ("classification", {"data": data, "input_column": "label"}),
        ("generation", {"data": data, "input_column": "label", "output_column": "label"}),
        ("generation", {"input_column": "label"}),
    ):
        with pytest.raises(DataError, match=expected):
            write_recipe("a", kind, **options)  # type: ignore[arg-type]
    assert list(here.glob("*.yaml")) == []


@pytest.mark.parametrize(
    ("kind", "options"),
    [("promises", {"data": Path("x.csv")}), ("promises", {"input_column": "a"}),
     ("chat", {"output_column": "a"})],
)  # fmt: skip
def test_options_that_have_no_place_are_not_ignored(kind: str, options: dict[str, object]) -> None:
    with pytest.raises(LuthierError, match=f"the starter '{kind}' has no place for --"):
        write_recipe("a", kind, **options)  # type: ignore[arg-type]


def test_a_folder_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/proc/self")
    with pytest.raises(LuthierError, match=r"a\.yaml cannot be written"):
        write_recipe("a", "promises")
