"""A recipe file is read exactly, and all its mistakes are told at once, each with its line."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from luthier.errors import MAX_SHOWN, LuthierError, Problem, RecipeError
from luthier.recipe import MAX_RECIPE_BYTES, Loaded, Recipe, load, schema

RECIPE = """\
name: demo
model: some-model
task:
  kind: classification
  labels: ["yes", "no"]
data:
  sources:
    - {path: rows.csv, input: text, output: label}
    - path: more.csv
      output: label
  filters:
    - use: empty
    - use: length
      max_tokens: 256
train:
  learning_rate: 3e-4
  lora: {r: 8, lora_alpha: 16}
"""
REPOSITORY = Path(__file__).parent.parent


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE, encoding="utf-8")
    return path


def problems(path: Path, text: str | bytes | None = None, *overrides: str) -> list[Problem]:
    """The problems of a recipe, their places without the folder: `recipe.yaml:3`."""
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(RecipeError) as caught:
        load(path, overrides)
    folder = f"{path.parent}/"
    return [Problem(p.where.removeprefix(folder), p.message, p.fix) for p in caught.value.problems]


def read(path: Path, text: str, *overrides: str) -> Loaded:
    path.write_text(text, encoding="utf-8")
    return load(path, overrides)


# --- reading -----------------------------------------------------------------------------------


def test_a_recipe_is_read_and_the_rest_is_default(file: Path) -> None:
    loaded = load(file)
    recipe = loaded.recipe
    assert (recipe.name, recipe.model.name, recipe.labels) == ("demo", "some-model", ["yes", "no"])
    assert recipe.positive == "yes"
    assert recipe.train.learning_rate == pytest.approx(3e-4)
    assert recipe.train.lora is not None and recipe.train.lora.r == 8
    assert recipe.data.sources[1].path == "more.csv" and recipe.data.sources[1].input == "input"
    assert recipe.data.filters[1].options == {"max_tokens": 256}
    # defaults
    assert recipe.seed == 42 and recipe.train.optim == "adamw_torch_fused"
    assert recipe.train.bf16 is None and recipe.train.quantization is None
    assert recipe.evaluate.baselines is None and recipe.exporters == ["adapter"]
    assert (loaded.path, loaded.text, loaded.notes) == (file, RECIPE, [])


@pytest.mark.parametrize("form", ["\r\n endings", "byte order mark", "no newline at the end"])
def test_text_is_kept_byte_for_byte(file: Path, form: str) -> None:
    data = {
        "\r\n endings": RECIPE.replace("\n", "\r\n").encode(),
        "byte order mark": b"\xef\xbb\xbf" + RECIPE.encode(),
        "no newline at the end": RECIPE.rstrip().encode(),
    }[form]
    file.write_bytes(data)
    loaded = load(file)
    assert loaded.text.encode() == data
    assert loaded.recipe.labels == ["yes", "no"]
    # Line numbers do not depend on the form of the line ends.
    bad = data.replace(b"seed", b"sead").replace(b"learning_rate", b"learning_rat")
    assert [p.where for p in problems(file, bad)] == ["recipe.yaml:16"]


@pytest.mark.parametrize(
    ("written", "labels"),
    [
        ("[True, False]", ["True", "False"]),
        ("[true, false]", ["true", "false"]),
        ("[yes, no]", ["yes", "no"]),
        ("[on, off]", ["on", "off"]),
        ("[Y, N]", ["Y", "N"]),
        ("[3e-4, 0.0003]", ["3e-4", "0.0003"]),
        ("[1, 2, 10]", ["1", "2", "10"]),
        ("[007, 0x1F, 1_000]", ["007", "0x1F", "1_000"]),
        ("[null, ~, None]", ["null", "~", "None"]),
        ("[2024-01-01, 12:30]", ["2024-01-01", "12:30"]),
        ('[ true,"true " , .inf]', ["true", "true ", ".inf"]),
        ("\n    - True   # a comment\n    - 1.50\n    - 'x'", ["True", "1.50", "x"]),
    ],
)
def test_labels_are_what_stands_in_the_file(file: Path, written: str, labels: list[str]) -> None:
    recipe = read(file, RECIPE.replace('["yes", "no"]', written)).recipe
    assert recipe.labels == labels


def test_positive_is_taken_as_written_too(file: Path) -> None:
    text = RECIPE.replace('["yes", "no"]', "[false, true]\n  positive: true")
    assert read(file, text).recipe.positive == "true"
    assert read(file, text, "task.positive=false").recipe.positive == "false"
    assert read(file, text, "task.labels=[0, true]").recipe.labels == ["0", "true"]
    assert read(file, text, "task={kind: classification, labels: [1.0, 2]}").recipe.labels == [
        "1.0",
        "2",
    ]


def test_numbers_are_read_as_yaml_1_2(file: Path) -> None:
    text = RECIPE.replace("learning_rate: 3e-4", "learning_rate: 3e-4\n  weight_decay: 1E-2")
    train = read(file, text).recipe.train
    assert (train.learning_rate, train.weight_decay) == (3e-4, 1e-2)
    # YAML 1.1 makes 010 eight and `no` false; 1.2 does neither.
    assert read(file, RECIPE + "seed: 010\n").recipe.seed == 10
    assert read(file, RECIPE.replace("demo", "no")).recipe.name == "no"


def test_anchors_and_merges_work(file: Path) -> None:
    text = RECIPE.replace("- {path: rows.csv", "- &first {path: rows.csv").replace(
        "- path: more.csv\n", "- <<: *first\n      path: more.csv\n"
    )
    sources = read(file, text).recipe.data.sources
    assert [(s.path, s.input) for s in sources] == [("rows.csv", "text"), ("more.csv", "text")]


def test_a_resolved_recipe_is_json_and_loads_again(tmp_path: Path) -> None:
    found = sorted((REPOSITORY / "recipes").rglob("*.yaml"))
    assert len(found) >= 3
    for path in found:
        recipe = load(path).recipe
        text = json.dumps(recipe.resolved(), allow_nan=False)
        assert Recipe.model_validate(json.loads(text)) == recipe
        again = tmp_path / "resolved.yaml"  # JSON is YAML
        again.write_text(text, encoding="utf-8")
        reloaded = load(again)
        assert reloaded.recipe == recipe
        assert reloaded.notes == []


# --- mistakes ----------------------------------------------------------------------------------


def test_five_mistakes_are_told_at_once(file: Path) -> None:
    text = (
        RECIPE.replace("learning_rate: 3e-4", "learning_rat: 3e-4\n  optim: adamw_troch")
        .replace("use: length", "use: length\n    - us: labels")
        .replace("output: label}", "outptu: label}")
        .replace("lora_alpha: 16", "lora_alpha: lots")
    )
    found = problems(file, text)
    assert [p.where for p in found] == [f"recipe.yaml:{n}" for n in (8, 14, 17, 18, 19)]
    assert str(found[0]).endswith("unknown key 'data.sources.0.outptu'. Did you mean 'output'?")
    assert "'data.filters.2.use' is missing" in found[1].message
    assert found[2].message == "unknown key 'train.learning_rat'."
    assert found[2].fix == "Did you mean 'learning_rate'?"
    assert "'train.optim' is \"adamw_troch\"" in found[3].message
    assert found[3].fix == "Did you mean 'adamw_torch'?"
    assert found[4].message == "'train.lora.lora_alpha' is \"lots\", expected a number."


@pytest.mark.parametrize(
    ("old", "new", "key", "near", "line"),
    [
        ("model: some", "modle: some", "modle", "model", 2),
        ("  kind: class", "  knid: class", "task.knid", "kind", 4),
        ("  sources:", "  source:", "data.source", "sources", 7),
        ("{path: rows", "{pth: rows", "data.sources.0.pth", "path", 8),
        ("    - path: more", "    - paht: more", "data.sources.1.paht", "path", 9),
        ("lora_alpha", "lora_alhpa", "train.lora.lora_alhpa", "lora_alpha", 17),
    ],
)
def test_misspelt_keys_name_the_nearest_one(
    file: Path, old: str, new: str, key: str, near: str, line: int
) -> None:
    found = problems(file, RECIPE.replace(old, new))
    mine = [p for p in found if p.message == f"unknown key '{key}'."]
    assert [(p.where, p.fix) for p in mine] == [(f"recipe.yaml:{line}", f"Did you mean '{near}'?")]
    # The key that is missing because of the slip is not a second mistake.
    assert not [p for p in found if "is missing" in p.message]


def test_a_key_near_to_nothing_lists_the_known_ones(file: Path) -> None:
    found = problems(file, RECIPE + "zzz: 1\n")
    assert found[0].fix == ("Known here: data, evaluate, model, name, seed, ship, task, train.")


def test_missing_keys_come_with_an_example(file: Path) -> None:
    found = problems(file, "train: {}\n")
    assert [p.message for p in found] == [
        f"'{key}' is missing." for key in ("name", "model", "task", "data")
    ]
    assert all("e.g." in p.fix for p in found)
    (model,) = problems(file, RECIPE.replace("model: some-model", "model: {revision: main}"))
    assert (model.where, model.message) == ("recipe.yaml:2", "'model.name' is missing.")
    assert "smollm2" in model.fix


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("learning_rate: fast", "'train.learning_rate' is \"fast\", expected a number."),
        ("learning_rate: 0", "'train.learning_rate' is 0, expected a number greater than 0."),
        ("learning_rate: .inf", "'train.learning_rate' is Infinity, expected a finite number."),
        ("learning_rate: .nan", "'train.learning_rate' is NaN, expected a finite number."),
        ("lora_dropout: 1", "'train.lora.lora_dropout' is 1, expected a number less than 1."),
        ("max_seq_length: 2", "'train.max_seq_length' is 2, expected a number of at least 8."),
        (
            "neftune_noise_alpha: true",
            "'train.neftune_noise_alpha': expected a number, found true.",
        ),
        ("bf16: maybe", "'train.bf16' is \"maybe\", expected true or false."),
        ("save_steps: 1.5", "'train.save_steps' is 1.5, expected a whole number."),
        ("save_steps: often", "'train.save_steps' is \"often\", expected a whole number."),
        ("max_steps: [3]", "'train.max_steps' is [3], expected a whole number."),
        ("lora: 3", "'train.lora' is 3, expected keys with values."),
        ("lr_scheduler_kwargs: 3", "'train.lr_scheduler_kwargs' is 3, expected keys with values."),
        ("target_modules: 3", "'train.lora.target_modules' is 3, expected a text or a list."),
        (
            "target_modules: []",
            "'train.lora.target_modules' is [], expected a text or a list of at",
        ),
        (
            'target_modules: "q_pro["',
            "'train.lora.target_modules': not a regular expression: unterminated character set at",
        ),
        ('layers_pattern: "x["', "'train.lora.layers_pattern': not a regular expression: untermin"),
        (
            "modules_to_save: lm_head",
            "'train.lora.modules_to_save' is \"lm_head\", expected a list.",
        ),
        ("target_modules: [a, 3]", "'train.lora.target_modules.1' is 3, expected a text."),
        (
            "optim_args: {a: b}",
            "'train.optim_args.a' is \"b\", expected a number or true or false.",
        ),
    ],
)
def test_wrong_values_are_told_once(file: Path, setting: str, said: str) -> None:
    text = RECIPE.replace("  learning_rate: 3e-4\n  lora: {r: 8, lora_alpha: 16}", f"  {setting}")
    found = problems(file, text)
    assert len(found) == 1
    assert found[0].where == "recipe.yaml:16"
    assert found[0].message.startswith(said)


MISNAMED = """\
name: demo
model: some-model
task: {kind: classification, labels: [a, b]}
data:
  sources:
    - path: rows.csv
      format: colums
  template: [plain, own/mine.yaml, clasify]
  filters:
    - use: emty
    - {use: length, max_word: 9}
    - use: empty
      words: 3
train: {learning_rate: fast}
evaluate:
  baselines: [majorty]
  metrics:
    - accuracy
    - acc
ship: {exporters: [adaptor]}
"""


def test_names_of_files_are_checked_with_all_the_rest(file: Path) -> None:
    found = problems(file, MISNAMED)
    assert [(int(p.where.partition(":")[2]), f"{p.message} {p.fix}") for p in found] == [
        (7, "unknown format 'colums'. Did you mean 'columns'?"),
        (
            8,
            "unknown template 'clasify'. Did you mean 'classify'? A file of your own is given by "
            "its path, ending in .yaml or .json.",
        ),
        (10, "unknown filter 'emty'. Did you mean 'empty'?"),
        (11, "filter 'length': unknown option 'max_word'. Did you mean 'max_words'?"),
        (13, "filter 'empty': unknown option 'words'. Known: none."),
        (14, "'train.learning_rate' is \"fast\", expected a number. "),
        (16, "unknown baseline 'majorty'. Did you mean 'majority'?"),
        (
            19,
            "unknown metric 'acc'. Known: accuracy, answer_length, auroc, chrf, distinct_1, "
            "distinct_2, exact_match, macro_f1, perplexity, rouge_l, token_f1.",
        ),
        (20, "unknown exporter 'adaptor'. Did you mean 'adapter'?"),
    ]


def test_a_misnamed_override_is_of_the_command_line(file: Path) -> None:
    (found,) = problems(file, None, "evaluate.metrics=[acuracy]")
    assert (found.where, found.fix) == ("command line", "Did you mean 'accuracy'?")


@pytest.mark.parametrize("value", ["3", "[3]", "{use: 3}", "[[]]", "[{}]", "null"])
def test_names_that_are_no_texts_are_left_to_the_shape(file: Path, value: str) -> None:
    for key in ("data.filters", "data.template", "evaluate.metrics", "ship.exporters"):
        try:
            load(file, [f"{key}={value}"])
        except RecipeError as error:
            assert "unknown" not in str(error)


def test_what_is_unset_is_decided_by_the_task_and_the_training(file: Path) -> None:
    recipe = load(file).recipe
    assert (recipe.split.calibration, recipe.data.split.calibration) == (0.1, None)
    assert load(file, ["data.split.calibration=0.3"]).recipe.split.calibration == 0.3
    for kind in ("generation", "chat", "text"):
        other = load(file, [f"task={{kind: {kind}}}"]).recipe
        assert other.split.calibration == 0
    assert load(file, ["train.lora=null"]).recipe.exporters == ["merged"]
    assert load(file, ["ship.exporters=[]"]).recipe.exporters == []


def test_unset_shares_must_leave_training_rows_too(file: Path) -> None:
    shares = "data.split={test: 0.8, validation: 0.1}"
    (found,) = problems(file, None, shares)
    assert "calibration (0.1 unless given) + test must leave rows" in found.message
    assert load(file, [shares, "task={kind: text}"]).recipe.split.test == 0.8


def test_a_section_of_older_names_is_at_their_lines(file: Path) -> None:
    text = RECIPE.replace("train:\n", "train:\n  load_in_4bit: true\n  load_in_8bit: true\n")
    (found,) = problems(file, text)
    assert found.where == "recipe.yaml:16"
    assert "exactly one of load_in_8bit and load_in_4bit" in found.message


@pytest.mark.parametrize(
    ("task", "said"),
    [
        ("{kind: classification}", "classification needs 'labels', a list of at least two"),
        ("{kind: classification, labels: [a]}", "needs 'labels', a list of at least two"),
        ("{kind: classification, labels: [a, a]}", "labels must be distinct"),
        ("{kind: classification, labels: [a, ' ']}", "a label must not be empty"),
        ("{kind: generation, labels: [a, b]}", "'labels' goes with kind: classification"),
        ("{kind: classification, labels: [a, b], positive: c}", "must be one of the labels"),
        ("{kind: clasification, labels: [a, b]}", "Did you mean 'classification'?"),
        ("{kind: classification, labels: [a, [b]]}", "'task.labels.1' is [\"b\"], expected a text"),
    ],
)
def test_the_task_must_make_sense(file: Path, task: str, said: str) -> None:
    text = f"name: a\nmodel: m\ntask: {task}\ndata: {{sources: [{{path: a.csv}}]}}\n"
    (found,) = problems(file, text)
    assert found.where == "recipe.yaml:3"
    assert said in str(found)


@pytest.mark.parametrize("name", ["../up", "a b", "a/b", "-a", "", "é", "a" * 101])
def test_a_name_must_be_fit_for_a_folder(file: Path, name: str) -> None:
    (found,) = problems(file, RECIPE.replace("name: demo", f"name: '{name}'"))
    assert found.where == "recipe.yaml:1"
    assert "expected letters" in found.message or "at most 100" in found.message


@pytest.mark.parametrize("name", ["2024", "1.5", "2024-01-01", "true"])
def test_an_unquoted_name_that_is_no_text_is_told_to_be_quoted(file: Path, name: str) -> None:
    (found,) = problems(file, RECIPE.replace("name: demo", f"name: {name}"))
    assert found.fix == "Write it in quotes."


def test_sources_say_one_place(file: Path) -> None:
    (found,) = problems(file, RECIPE.replace("path: more.csv", "path: more.csv\n      hub: a/b"))
    assert (found.where, found.message) == (
        "recipe.yaml:9",
        "'data.sources.1': give one of 'path', 'hub' and 'generate'.",
    )


def test_remote_code_needs_a_pinned_revision(file: Path) -> None:
    model = "model: {name: a/b, trust_remote_code: true%s}"
    (found,) = problems(file, RECIPE.replace("model: some-model", model % ", revision: main"))
    assert "full commit hash" in found.message
    pinned = RECIPE.replace("model: some-model", model % f", revision: {'a' * 40}")
    assert read(file, pinned).recipe.model.trust_remote_code


def test_many_problems_are_counted_and_not_all_printed(file: Path) -> None:
    text = RECIPE + "".join(f"key{i}: 1\n" for i in range(MAX_SHOWN + 7))
    with pytest.raises(RecipeError) as caught:
        read(file, text)
    assert len(caught.value.problems) == MAX_SHOWN + 7
    lines = str(caught.value).splitlines()
    assert lines[0] == f"{MAX_SHOWN + 7} problems in the recipe:"
    assert lines[-1].strip() == "and 7 more"
    assert len(lines) == MAX_SHOWN + 2


# --- files that are no recipe ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "where", "said"),
    [
        (RECIPE + "name: again\n", "recipe.yaml:18", 'duplicate key "name"'),
        (RECIPE + "ship: {exporters: [adapter}\n", "recipe.yaml:18", "not valid YAML"),
        ("name: a\n model: b\n", "recipe.yaml:2", "not valid YAML: mapping values"),
        ("name: a\n\tmodel: b\n", "recipe.yaml:2", "not valid YAML"),
        ("name: *other\n", "recipe.yaml:1", "undefined alias"),
        ("name: a\n---\nname: b\n", "recipe.yaml:2", "another document"),
        ("name: a\nmodel: \x07\n", "recipe.yaml:2", "the character U+0007 must not stand in it"),
        ("", "recipe.yaml", "found nothing, expected keys such as name"),
        ("# only a comment\n", "recipe.yaml", "found nothing"),
        ("- name: a\n", "recipe.yaml", "found a list"),
        ("just words\n", "recipe.yaml", 'found "just words"'),
        ("3\n", "recipe.yaml", "found 3"),
        (b"name: a\nmodel: caf\xe9\n", "recipe.yaml:2", "not UTF-8 text (byte 18)"),
        ("\ufeffname: a\n".encode("utf-16"), "recipe.yaml:1", "not UTF-8"),
    ],
)
def test_broken_files_say_where(file: Path, text: str | bytes, where: str, said: str) -> None:
    (found,) = problems(file, text)
    assert found.where == where
    assert said in found.message


def test_a_missing_file_names_the_nearest(file: Path) -> None:
    (found,) = problems(file.with_name("recepi.yaml"))
    assert found.where == "recepi.yaml"
    assert found.message == "no such recipe file."
    assert found.fix == f"Did you mean '{file}'?"
    (alone,) = problems(file.parent / "nowhere" / "x.yaml")
    assert alone.fix == "Write one with `luthier new`."


def test_a_folder_is_no_recipe(tmp_path: Path) -> None:
    (found,) = problems(tmp_path)
    assert found.message == "is a folder, not a recipe file."


def bomb(kind: str) -> str:
    if kind == "aliases":
        lines = ["a: &a [x, x, x, x, x, x, x, x, x, x]"]
        for one, two in zip("abcdefgh", "bcdefghi", strict=True):
            lines.append(f"{two}: &{two} [{', '.join([f'*{one}'] * 10)}]")
        return RECIPE + "\n".join(lines) + "\n"
    if kind == "merges":
        lines = ["a: &a {x: 1}"]
        for one, two in zip("abcdefgh", "bcdefghi", strict=True):
            lines.append(f"{two}: &{two} {{p: *{one}, q: *{one}, r: *{one}, s: *{one}, t: *{one}}}")
        return RECIPE + "\n".join(lines) + "\n"
    if kind == "nested":
        return RECIPE + "a: " + "[" * 600 + "]" * 600
    return RECIPE + "# " + "x" * MAX_RECIPE_BYTES


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("aliases", "its aliases (*name) stand for more than 100,000 values"),
        ("merges", "its aliases (*name) stand for more than 100,000 values"),
        ("nested", "nested too deeply"),
        ("huge", "larger than 1 MB"),
    ],
)
def test_bombs_are_refused_quickly(file: Path, kind: str, said: str) -> None:
    started = time.process_time()
    (found,) = problems(file, bomb(kind))
    assert said in found.message
    assert time.process_time() - started < 10


def test_a_value_that_holds_itself_is_no_crash(file: Path) -> None:
    for text in ("train: &a {lora: *a}\n", "train: &a\n  lr_scheduler_kwargs: {x: [*a]}\n"):
        assert problems(file, text)


def test_no_file_is_read_further_than_a_recipe_can_be() -> None:
    started = time.process_time()
    with pytest.raises(RecipeError, match="larger than 1 MB"):
        load("/dev/zero")
    assert time.process_time() - started < 5


NODES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=6,
)
KEYS = st.sampled_from(
    ["name", "model", "task", "data", "train", "evaluate", "ship", "seed", "int", "f(x)", "a[0]"]
)


@settings(max_examples=60, deadline=None)
@given(tree=st.dictionaries(KEYS, NODES), train=st.dictionaries(st.text(max_size=12), NODES))
def test_any_yaml_is_a_recipe_or_a_recipe_error(
    tmp_path_factory: pytest.TempPathFactory, tree: dict[str, Any], train: dict[str, Any]
) -> None:
    path = tmp_path_factory.mktemp("any") / "recipe.yaml"
    path.write_text(json.dumps({**tree, "train": train}), encoding="utf-8")
    with pytest.raises(RecipeError):  # none of these is complete
        load(path)


# --- overrides ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("train.learning_rate=1e-4", lambda r: r.train.learning_rate == 1e-4),
        ("train.lora.r=64", lambda r: (r.train.lora.r, r.train.lora.lora_alpha) == (64, 16)),
        ("train.lora=null", lambda r: r.train.lora is None),
        ("train.lora=", lambda r: r.train.lora is None),
        ("train.lora={r: 2}", lambda r: (r.train.lora.r, r.train.lora.lora_alpha) == (2, 32)),
        ("data.sources.1.path=other.csv", lambda r: r.data.sources[1].path == "other.csv"),
        ("data.sources.0={hub: a/b}", lambda r: r.data.sources[0].hub == "a/b"),
        ("data.template=[plain, a.yaml]", lambda r: r.data.templates == ["plain", "a.yaml"]),
        (
            "evaluate.generation.max_new_tokens=5",
            lambda r: r.evaluate.generation.max_new_tokens == 5,
        ),
        ("train.quantization.load_in_4bit=true", lambda r: r.train.quantization.load_in_4bit),
        ("model=other", lambda r: r.model.name == "other"),
        ("model.revision=abc", lambda r: (r.model.name, r.model.revision) == ("some-model", "abc")),
        ("model=run:first", lambda r: r.model.name == "run:first"),
        ("name=no", lambda r: r.name == "no"),
        ("data.sources.0.path=a=b.csv", lambda r: r.data.sources[0].path == "a=b.csv"),
        ("seed=7", lambda r: r.seed == 7),
        ("task.labels.1=maybe", lambda r: r.labels == ["yes", "maybe"]),
        (" train.max_steps = 5 ", lambda r: r.train.max_steps == 5),
    ],
)
def test_overrides(file: Path, override: str, value: Any) -> None:
    loaded = load(file, [override])
    assert value(loaded.recipe)
    assert loaded.overrides == [override]
    assert loaded.text == RECIPE


def test_later_overrides_win(file: Path) -> None:
    assert load(file, ["seed=1", "seed=2"]).recipe.seed == 2


def test_overrides_of_null_sections(file: Path) -> None:
    text = RECIPE.replace("lora: {r: 8, lora_alpha: 16}", "lora: null")
    lora = read(file, text, "train.lora.r=4").recipe.train.lora
    assert lora is not None and lora.r == 4


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("train.learning_rte=1", "unknown key 'train.learning_rte'. Did you mean 'learning_rate'?"),
        ("sed=1", "unknown key 'sed'. Did you mean 'seed'?"),
        ("seed", "'seed' is not of the form key=value"),
        ("=1", "'=1' is not of the form key=value"),
        ("train..lr=1", "is not of the form key=value"),
        ("train.optim=[a", "train.optim: not a YAML value: expected ',' or ']'"),
        ("train.optim=&a [*a]", "its aliases (*name) stand for too many values"),
        ("train.learning_rate=fast", "expected a number"),
        ("seed=3000000000", "'seed' is 3000000000, expected a number less than 2147483648."),
        ("model=", "'model' is null, expected a model's name or folder."),
        ("data.filters=[empty]", "expected keys with values. Write {use: empty}."),
        ("data.template=[]", "'data.template' is [], expected a text or a list of at least 1."),
        ("evaluate.metrics=[]", "'evaluate.metrics' is [], expected a list of at least 1."),
        ("train={learning_rate: -1}", "'train.learning_rate' is -1"),
        ("data.sources.7.path=x", "expected an index below 2, found '7'"),
        ("data.sources.-1.path=x", "expected an index below 2, found '-1'"),
        ("data.sources.².path=x", "expected an index below 2, found '²'"),
        ("data.sources.x.path=x", "expected an index below 2, found 'x'"),
        ("task.labels.0.deep=x", '\'task.labels.0\' is {"deep": "x"}, expected a text'),
        ("name.first=x", '\'name\' is {"first": "x"}, expected a text'),
        ("task.positive=x", "'positive' must be one of the labels, not 'x'"),
    ],
)
def test_wrong_overrides_are_reported_as_such(file: Path, override: str, said: str) -> None:
    (found,) = problems(file, None, override)
    assert found.where == "command line"
    assert said in str(found)
    assert "\n" not in str(found)


def test_mistakes_of_file_and_command_line_come_together(file: Path) -> None:
    text = RECIPE.replace("learning_rate: 3e-4", "learning_rate: -1\n  weight_decay: -1")
    found = problems(file, text, "train.weight_decay=-2", "sed=1", "oops")
    assert sorted(p.where for p in found) == ["command line"] * 3 + ["recipe.yaml:16"]
    assert any("-2" in p.message for p in found)


# --- the schema --------------------------------------------------------------------------------


def sections(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """A section and those in it."""
    yield model
    for field in model.model_fields.values():
        waiting = [field.annotation]
        while waiting:
            kind = waiting.pop()
            waiting += getattr(kind, "__args__", ())
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from sections(kind)


def unknown_keys(value: Any, node: dict[str, Any], defs: dict[str, Any], at: str) -> Iterator[str]:
    """Keys of a value that no branch of its schema knows."""
    node = defs[node["$ref"].rpartition("/")[2]] if "$ref" in node else node
    branches = [defs[b["$ref"].rpartition("/")[2]] if "$ref" in b else b
                for b in node.get("anyOf", node.get("allOf", [node]))]  # fmt: skip
    if isinstance(value, dict):
        known = [b for b in branches if b.get("type") == "object"]
        assert known, f"{at}: the schema allows no keys here"
        for key, inner in value.items():
            properties = known[0].get("properties", {})
            if key in properties:
                yield from unknown_keys(inner, properties[key], defs, f"{at}.{key}")
            elif not known[0].get("additionalProperties"):
                yield f"{at}.{key}"
    elif isinstance(value, list):
        lists = [b for b in branches if b.get("type") == "array"]
        assert lists, f"{at}: the schema allows no list here"
        for index, inner in enumerate(value):
            yield from unknown_keys(inner, lists[0].get("items", {}), defs, f"{at}.{index}")
    else:
        kinds = {"str": "string", "int": "integer", "float": "number", "bool": "boolean",
                 "NoneType": "null"}  # fmt: skip
        allowed = {b.get("type") for b in branches} | {b.get("const") for b in branches}
        kind = kinds[type(value).__name__]
        fits = kind in allowed or (kind == "integer" and "number" in allowed) or None in allowed
        assert fits, f"{at}: {value!r} is none of {allowed}"


def test_the_schema_fits_real_recipes() -> None:
    whole = schema()
    for path in sorted((REPOSITORY / "recipes").rglob("*.yaml")):
        resolved = load(path).recipe.resolved()
        assert list(unknown_keys(resolved, whole, whole["$defs"], path.name)) == []
    resolved["train"]["learning_rat"] = 1
    assert list(unknown_keys(resolved, whole, whole["$defs"], "")) == [".train.learning_rat"]
    assert {"type": "string"} in whole["properties"]["model"]["anyOf"]
    assert whole["required"] == ["name", "model", "task", "data"]


def test_every_field_is_documented_in_the_code_and_in_the_schema() -> None:
    defs = {"Recipe": schema(), **schema()["$defs"]}
    fields = 0
    for section in set(sections(Recipe)):
        for name, field in section.model_fields.items():
            fields += 1
            assert field.description, f"{section.__name__}.{name} has no docstring"
            shown = defs[section.__name__]["properties"][name]
            if (section, name) == (Recipe, "model"):  # a name, or a section
                shown = shown["anyOf"][1]
            assert shown["description"] == field.description
        assert defs[section.__name__].get("description") or section is Recipe
    assert fields > 90


def test_problems_print_as_a_sentence() -> None:
    assert str(Problem("a.yaml:3", "is wrong.", "Mend it.")) == "a.yaml:3: is wrong. Mend it."
    assert isinstance(RecipeError([Problem("a", "b")]), LuthierError)
    assert str(RecipeError([Problem("a", "b")])) == "1 problem in the recipe:\n  a: b"
