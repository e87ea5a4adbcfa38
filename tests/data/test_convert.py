"""`luthier convert`: rows in = rows out + rejects, round trips, and the public files."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from luthier.data import convert as converting
from luthier.data.convert import ENDINGS, Conversion, convert, opened, options_of
from luthier.data.importing.recognise import FORMATS
from luthier.data.rows import Reject, Row
from luthier.errors import DataError, LuthierError
from luthier.example import Message, Origin

SHARED = Path(os.environ.get("LUTHIER_SHARED", Path(__file__).parents[2].parent / "shared"))
PUBLIC = SHARED / "data" / "public"


def write(path: Path, *records: Any) -> Path:
    path.write_text("".join(json.dumps(r) + "\n" for r in records), encoding="utf-8")
    return path


def balanced(done: Conversion) -> bool:
    return (
        done.rows_in == done.rows_out + done.rejected
        and done.rejected == sum(done.reasons.values())
        and (done.rejects_file is None) == (done.rejected == 0)
    )


# --- the job -----------------------------------------------------------------------------------

TALK = [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "ho"}]


def test_a_conversion_accounts_for_every_row(tmp_path: Path) -> None:
    source = tmp_path / "talks.jsonl"
    write(source, {"id": "a", "conversations": TALK}, {"id": "b", "conversations": TALK[:1]},
          {"id": "c", "conversations": TALK * 2})  # fmt: skip
    with source.open("a") as file:
        file.write('{"id": "d", "conver\n')
    out = tmp_path / "out.json"
    done = convert(source, out, to="flan")
    assert balanced(done) and (done.records, done.rows_in, done.rows_out) == (4, 4, 1)
    assert done.format == "sharegpt" and done.confidence > 0.9 and "user: hi" in done.sample
    assert done.reasons == {"not a conversation": 1, "several turns": 1, "not JSON": 1}
    assert json.loads(out.read_text()) == {"inputs": "hi", "targets": "ho", "id": "a"}
    rejects = [json.loads(line) for line in Path(str(done.rejects_file)).read_text().splitlines()]
    assert [r["origin"].rpartition(":")[2] for r in rejects] == ["2", "3", "4"]
    assert rejects[0]["reason"].endswith("the last message is from user, expected assistant")
    assert rejects[0]["fields"]["id"] == "b"
    assert done.rejects_file == f"{out}.rejects.jsonl"
    assert json.loads(json.dumps(done.model_dump(mode="json")))["to"] == "flan"


def test_rejects_of_an_earlier_conversion_do_not_stay(tmp_path: Path) -> None:
    source = write(tmp_path / "a.jsonl", {"instruction": "a", "output": ""})
    out = tmp_path / "b.json"
    assert convert(source, out, to="alpaca").rejects_file is not None
    write(source, {"instruction": "a", "output": "b"})
    assert convert(source, out, to="alpaca").rejects_file is None
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.jsonl", "b.json"]


def test_the_result_is_named_after_the_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    source = write(tmp_path / "rows.jsonl", {"instruction": "a", "output": "b"})
    for to, ending in ENDINGS.items():
        done = convert(source, to=to)
        assert done.out == f"rows.{to}{ending}" and Path(done.out).is_file()


def test_formats_and_options_are_checked(tmp_path: Path) -> None:
    source = write(tmp_path / "rows.jsonl", {"instruction": "a", "output": "b"})
    with pytest.raises(
        DataError, match=r"unknown format to write 'sharegtp'. Did you mean 'shareg"
    ):
        convert(source, to="sharegtp")
    with pytest.raises(LuthierError, match=r"unknown format 'alpacca'. Did you mean 'alpaca'"):
        convert(source, to="p3", format="alpacca")
    with pytest.raises(
        DataError, match=r"format 'alpaca': unknown option 'answer'. Did you mean 'ans"
    ):
        convert(source, tmp_path / "x", to="p3", format="alpaca", options={"answer": "optional"})
    with pytest.raises(DataError, match="is the file itself"):
        convert(source, source, to="messages")
    with pytest.raises(DataError, match="no such file"):
        convert(tmp_path / "nothing.jsonl", to="p3")
    with pytest.raises(DataError, match="both the column 'a'"):
        convert(
            source, tmp_path / "x", to="p3", format="columns", options={"input": "a", "output": "a"}
        )


def test_an_uncertain_format_is_asked_for_and_can_be_said(tmp_path: Path) -> None:
    source = write(tmp_path / "rows.jsonl", {"sentence": "a", "label": 1.50})
    with pytest.raises(DataError, match="which format is it"):
        convert(source, tmp_path / "out.jsonl", to="messages")
    assert not (tmp_path / "out.jsonl").exists()
    options = options_of(["input=sentence", "output=label"])
    done = convert(source, tmp_path / "out.jsonl", to="messages", format="columns", options=options)
    assert done.confidence == 1 and done.rows_out == 1
    record = json.loads((tmp_path / "out.jsonl").read_text())
    assert [turn["content"] for turn in record["messages"]] == ["a", "1.5"]


def test_options_are_read_as_they_are_meant() -> None:
    assert options_of(["trim=true", "lang=en", "x=null", "n=3", "path=a=b"]) == {
        "trim": True, "lang": "en", "x": None, "n": 3, "path": "a=b"
    }  # fmt: skip
    with pytest.raises(DataError, match=r"--option trim: expected NAME=VALUE"):
        options_of(["trim"])


def test_options_reach_the_importer(tmp_path: Path) -> None:
    source = write(tmp_path / "rows.jsonl", {"instruction": "a"}, {"instruction": "b"})
    done = convert(source, tmp_path / "out.parquet", to="parquet", options={"answers": "optional"})
    assert done.format == "instructwild" and done.rows_out == 2
    done = convert(source, tmp_path / "out.json", to="alpaca", options={"answers": "required"})
    assert balanced(done) and done.reasons == {"no answer": 2}
    assert json.loads((tmp_path / "out.json").read_text()) == []


def test_templates_are_refused_even_where_a_format_is_said(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    path.write_text('{"rte": [["{premise}?", "{answer}"]]}')
    with pytest.raises(DataError, match="holds FLAN templates"):
        convert(path, tmp_path / "out", to="p3", format="flan")


@pytest.mark.parametrize("to", ENDINGS)
def test_an_empty_file_has_no_rows(tmp_path: Path, to: str, capsys: Any) -> None:
    source = tmp_path / "empty.jsonl"
    source.touch()
    done = convert(source, tmp_path / f"out{ENDINGS[to]}", to=to)
    assert balanced(done) and done.rows_in == 0 and done.format is None
    assert Path(done.out).is_file()
    converting.print_conversion(done)
    assert "the file is empty; there are no rows in it" in capsys.readouterr().err


def test_what_is_said_of_a_conversion(tmp_path: Path, capsys: Any) -> None:
    source = write(tmp_path / "a.jsonl", {"instruction": "a", "output": "b"},
                   {"instruction": "a", "output": ""})  # fmt: skip
    converting.print_conversion(convert(source, tmp_path / "b.json", to="alpaca"))
    said = capsys.readouterr().err
    for part in ("read as alpaca (95% sure", "user: a", "1 of 2 rows", "1 rejected: no answer",
                 "b.json.rejects.jsonl"):  # fmt: skip
        assert part in said.replace("\n", " ").replace("  ", " ") or part in said
    done = convert(source, tmp_path / "b.json", to="alpaca", format="sharegpt")
    converting.print_conversion(done)
    assert "a record of sharegpt looks like: {" in capsys.readouterr().err


def test_nothing_is_left_behind_when_reading_fails(tmp_path: Path) -> None:
    source = tmp_path / "a.json"
    source.write_text('[{"instruction": "a", "output": "b"}]\nand more')
    for to in ("alpaca", "parquet"):
        with pytest.raises(DataError, match=r"a\.json:2: text after the end"):
            convert(source, tmp_path / "b.out", to=to, format="alpaca")
        assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_what_a_task_says_once_is_not_written_for_every_row(tmp_path: Path) -> None:
    task = {
        "Definition": ["Add."],
        "Positive Examples": [{"input": "1", "output": "1"}],
        "Negative Examples": [],
        "Instances": [{"id": "x", "input": "1", "output": ["1", "I"]}],
    }
    source = tmp_path / "task.json"
    source.write_text(json.dumps(task, indent=1))
    done = convert(source, tmp_path / "a.json", to="alpaca")
    assert done.left_out == ["positive_examples"]
    (record,) = json.loads((tmp_path / "a.json").read_text())
    assert record == {"instruction": "Add.", "input": "1", "output": "1", "task": "task",
                      "outputs": ["1", "I"], "id": "x"}  # fmt: skip
    done = convert(source, tmp_path / "b.json", to="super_ni")
    assert done.left_out == []
    assert json.loads((tmp_path / "b.json").read_text()) == {"Task": "task", **task}


# --- what cannot be held -----------------------------------------------------------------------

WEATHER = Message("assistant", "", tool_calls='[{"name": "f", "arguments": {}}]')


@pytest.mark.parametrize(
    ("messages", "holders"),
    [
        ((Message("user", "a"), Message("assistant", "b")), set(ENDINGS) - {"parquet"}),
        ((Message("system", "s"), Message("user", "a"), Message("assistant", "b")),
         {"alpaca", "sharegpt", "messages"}),
        ((Message("user", "a"), Message("assistant", "b")) * 2, {"alpaca", "sharegpt", "messages"}),
        ((Message("user", "a"), WEATHER, Message("tool", "x", "f"), Message("assistant", "b")),
         {"sharegpt", "messages"}),
        ((Message("user", "a"), Message("assistant", "b", weight=0.5)), {"sharegpt", "messages"}),
        ((Message("user", "a", "Ann"), Message("assistant", "b")), {"messages"}),
        ((Message("user", "a"), Message("user", "c"), Message("assistant", "b")), {"messages"}),
        ((Message("user", "a"), Message("assistant", "b<|endoftext|>")),
         {"alpaca", "sharegpt", "messages", "super_ni", "flan"}),
        ((Message("user", "a"), Message("assistant", " ")), {"messages"}),
        ((), set()),
    ],
)  # fmt: skip
def test_what_a_format_cannot_hold_is_a_reject(
    tmp_path: Path, messages: tuple[Message, ...], holders: set[str]
) -> None:
    row = Row(Origin("x", 1), {}, messages)
    found = set()
    for to in ENDINGS.keys() - {"parquet"}:
        written, rejects = through(tmp_path / f"x{ENDINGS[to]}", to, [row])
        if not rejects:
            found.add(to)
            assert [r.messages for r in written] == [messages]
    assert found == holders


def through(path: Path, to: str, rows: list[Row]) -> tuple[list[Row], list[Reject]]:
    """Rows written in a format and read again; and those that it could not hold."""
    with path.open("w+", encoding="utf-8", newline="\n") as file:
        rejects = list(FORMATS.load(to).write(iter(rows), file))
    if len(rejects) == len(rows) and path.suffix == ".jsonl":
        return [], rejects
    again = list(opened(path, to, {}).rows)
    assert not [row for row in again if isinstance(row, Reject)]
    return [row for row in again if isinstance(row, Row)], rejects


# --- round trips -------------------------------------------------------------------------------

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20)
SAID = TEXT.filter(lambda text: bool(text.strip()))
NAME = st.from_regex(r"[a-z_]{1,8}", fullmatch=True)
VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXT,
    lambda v: st.lists(v, max_size=3),
    max_leaves=4,
)
FIELDS = st.dictionaries(st.sampled_from(["id", "source", "rank", "nodes", "lang"]), VALUE)


@st.composite
def talks(draw: st.DrawFn, tools: bool = False) -> Row:
    turns = [Message("system", draw(SAID))] if draw(st.booleans()) else []
    for _ in range(draw(st.integers(1, 3))):
        turns.append(Message("user", draw(SAID)))
        if tools and draw(st.booleans()):
            arguments = st.dictionaries(NAME, VALUE, max_size=2)
            calls = [
                {"name": draw(NAME), "arguments": draw(arguments)}
                for _ in range(draw(st.integers(1, 2)))
            ]
            text = json.dumps(calls, ensure_ascii=False)
            turns.append(Message("assistant", "", tool_calls=text))
            turns += [Message("tool", draw(SAID), str(call["name"])) for call in calls]
        weight = draw(st.none() | st.sampled_from([0.0, 0.5, 1.0])) if tools else None
        turns.append(Message("assistant", draw(SAID), weight=weight))
    defined = json.dumps([{"name": draw(NAME)}]) if tools and draw(st.booleans()) else None
    return Row(Origin("x", 1), draw(FIELDS), tuple(turns), tools=defined)


@pytest.mark.parametrize("to", ["alpaca", "sharegpt", "messages", "super_ni", "flan", "p3"])
def test_conversations_come_back_as_they_went(to: str, tmp_path_factory: Any) -> None:
    path = tmp_path_factory.mktemp("round") / f"x{ENDINGS[to]}"

    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(st.lists(talks(), min_size=1, max_size=4))
    def round_trip(rows: list[Row]) -> None:
        again, rejects = through(path, to, rows)
        assert len(again) + len(rejects) == len(rows)
        gone = [id(reject.fields) for reject in rejects]
        kept = [row for row in rows if id(row.fields) not in gone]
        assert [row.messages for row in again] == [row.messages for row in kept]
        for row, other in zip(kept, again, strict=True):
            for name, value in row.fields.items():
                if to != "super_ni" or name != "id" or value not in (None, ""):
                    assert other.fields[name] == value, "ids, ranks and sources go along"
        if to in ("alpaca", "sharegpt", "messages"):
            assert not rejects, "it can hold every conversation of texts"

    round_trip()


@pytest.mark.parametrize("to", ["sharegpt", "messages"])
def test_tools_and_weights_come_back_as_they_went(to: str, tmp_path_factory: Any) -> None:
    path = tmp_path_factory.mktemp("round") / f"x{ENDINGS[to]}"

    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(talks(tools=True))
    def round_trip(row: Row) -> None:
        again, rejects = through(path, to, [row])
        assert not rejects and again[0].messages == row.messages
        told = [json.loads(tools) if tools else None for tools in (row.tools, again[0].tools)]
        assert told[0] == told[1]

    round_trip()


def test_parquet_holds_everything(tmp_path: Path) -> None:
    messages = [
        {"role": "user", "content": "a", "name": "Ann"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"name": "f", "arguments": {"x": 1}}],
        },
        {"role": "tool", "content": "y", "name": "f"},
        {"role": "assistant", "content": "b", "weight": 0.25},
    ]
    record = {"messages": messages, "tools": [{"name": "f"}], "id": 7}
    source = write(tmp_path / "a.jsonl", record)
    (before,) = opened(source, "messages", {}).rows
    done = convert(source, tmp_path / "a.parquet", to="parquet")
    assert balanced(done) and done.rows_out == 1
    (after,) = opened(tmp_path / "a.parquet", "messages", {}).rows
    assert isinstance(before, Row) and isinstance(after, Row)
    assert after.messages == before.messages and after.tools == before.tools
    assert json.loads(after.fields["fields"])["id"] == 7
    text = write(tmp_path / "t.jsonl", {"text": "It rains.", "url": "u"})
    assert convert(text, tmp_path / "t.parquet", to="parquet").rows_out == 1
    assert convert(text, tmp_path / "t.json", to="alpaca").reasons == {"plain text": 1}


@pytest.mark.parametrize("to", ["sharegpt", "messages", "alpaca"])
def test_there_and_back_again_changes_nothing(tmp_path: Path, to: str) -> None:
    records = [
        {"id": n, "instruction": f"a {n}", "input": "", "output": "é\u2028b"} for n in range(3)
    ]
    records[1]["history"] = [["x", "y"]]
    source = tmp_path / "a.json"
    source.write_text(json.dumps(records))
    there = convert(source, tmp_path / f"b{ENDINGS[to]}", to=to)
    assert balanced(there) and there.rejected == 0
    convert(Path(there.out), tmp_path / "c.json", to="alpaca")
    assert json.loads((tmp_path / "c.json").read_text()) == [
        {"history": r["history"], **r} if "history" in r else r for r in records
    ]


# --- the public files --------------------------------------------------------------------------

TEMPLATES = ("promptsource", "flan_v1_templates")
EXPECTED = {
    "alpaca/alpaca_300.json": ("alpaca", 300, {}),
    "alpaca/gpteacher_toolformer_300.json": ("alpaca", 300, {}),
    "chat/dpo_en_demo.json": ("preference", 50, {}),
    "chat/glaive_toolcall_en_demo.json": ("sharegpt", 50, {}),
    "chat/kto_en_demo.json": ("preference", 32, {"not preferred": 18}),
    "chat/messages_100.jsonl": ("messages", 100, {}),
    "evol_instruct/input_output.json": ("columns", 35, {}),
    "evol_instruct/test_set.jsonl": ("evol_instruct", 218, {}),
    "flan_cot/aqua_500.tsv": ("chain_of_thought", 500, {}),
    "instructwild/seed_prompts_en.jsonl": ("instructwild", 429, {}),
    "instructwild/user_2.jsonl": ("instructwild", 246, {"not JSON": 2}),
    "lima/lima_300.json": ("alpaca", 300, {}),
    "natural_instructions/SAMPLE_v2_schema_task1152.json": ("super_ni", 8, {}),
    "natural_instructions/task143_odd-man-out_classification_generate_category.json":
        ("super_ni", 6500, {}),
    "natural_instructions/task156_codah_classification_adversarial.json": ("super_ni", 2771, {}),
    "oasst/flat_messages.json": ("openassistant", 74, {"not a conversation": 2}),
    "oasst/trees_50.jsonl": ("openassistant", 50, {}),
    "p3/adversarial_qa_dbert_generate_question.jsonl": ("p3", 200, {}),
    "p3/trec_fine_grained_ABBR.jsonl": (None, 0, {}),
    "p3/wiki_qa_Direct_Answer_to_Question.jsonl": ("p3", 8, {}),
    "self_instruct/seed_tasks.jsonl": ("self_instruct", 175, {}),
    "self_instruct/user_oriented_instructions.jsonl": ("self_instruct", 252, {}),
    "sharegpt/dummy_conversation.json": ("sharegpt", 500, {}),
}  # fmt: skip


@pytest.mark.skipif(not PUBLIC.is_dir(), reason="the public files are not here")
@pytest.mark.parametrize("name", EXPECTED)
def test_public_files_import(name: str, tmp_path: Path) -> None:
    done = convert(PUBLIC / name, tmp_path / "out.jsonl", to="messages")
    assert balanced(done)
    assert (done.format, done.rows_out, done.reasons) == EXPECTED[name]


ELSEWHERE = (
    "flan_cot/aqua_500.tsv",  # no JSON
    "oasst/flat_messages.json",  # some of its messages hang on refused ones
    "p3/trec_fine_grained_ABBR.jsonl",  # empty
)


def leaves(value: Any) -> Iterator[str]:
    """Every text and number in a record."""
    if isinstance(value, dict):
        for item in value.values():
            yield from leaves(item)
    elif isinstance(value, list):
        for item in value:
            yield from leaves(item)
    elif value is not None:
        yield str(value)


@pytest.mark.skipif(not PUBLIC.is_dir(), reason="the public files are not here")
@pytest.mark.parametrize("name", [n for n in EXPECTED if n not in ELSEWHERE])
def test_nothing_that_a_public_file_says_is_lost(name: str) -> None:
    path = PUBLIC / name
    form = EXPECTED[name][0]
    options = {"paths": "all"} if form == "openassistant" else {}
    kept: set[str] = set()
    for row in opened(path, str(form), options).rows:
        kept.update(leaves(row.fields))
        if isinstance(row, Row):
            kept.update(m.content for m in row.messages)
    text = path.read_text(encoding="utf-8")
    records: list[Any] = []
    if path.suffix == ".json":
        records = [json.loads(text)]
    else:
        for line in text.split("\n"):
            try:
                records.append(json.loads(line))
            except ValueError:
                assert not line.strip() or form == "instructwild"
    lost = [leaf for leaf in leaves(records) if leaf not in kept]
    assert not lost, lost[:3]


@pytest.mark.skipif(not PUBLIC.is_dir(), reason="the public files are not here")
def test_public_templates_are_told_from_rows(tmp_path: Path) -> None:
    paths = [p for p in PUBLIC.rglob("*") if p.is_file() and any(t in str(p) for t in TEMPLATES)]
    assert len(paths) > 50
    for path in paths:
        with pytest.raises(DataError, match=r"templates, not rows|templates .*, not rows"):
            convert(path, tmp_path / "out", to="messages")


def test_instructions_without_answers_are_converted_where_the_target_holds_them(
    tmp_path: Path,
) -> None:
    """Nothing is trained by a conversion: seeds and questions go along, and come back."""
    source = tmp_path / "seeds.jsonl"
    source.write_text("".join(f'{{"instruction": "Name river {i}."}}\n' for i in range(3)))
    for to in ("alpaca", "messages"):
        done = convert(source, tmp_path / f"out.{to}.json", to=to, format="instructwild")
        assert (done.rows_in, done.rows_out, done.rejected) == (3, 3, 0), to
    alpaca = json.loads((tmp_path / "out.alpaca.json").read_text())
    assert alpaca[0] == {"instruction": "Name river 0.", "input": "", "output": ""}
    refused = convert(source, tmp_path / "out.flan.jsonl", to="flan", format="instructwild")
    assert refused.reasons == {"no answer": 3}
