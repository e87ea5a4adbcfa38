"""Names from older texts are understood, mean the same thing, and are reported once."""

from __future__ import annotations

import collections
from pathlib import Path
from typing import Any

import pytest

from luthier.aliases import TRAIN_ALIASES, VALUE_ALIASES, WITHOUT_EFFECT, rename_legacy_keys
from luthier.errors import RecipeError
from luthier.recipe import Loaded, Recipe, load

RECIPES = Path(__file__).parent.parent / "recipes"
HEAD = """\
name: demo
model: some-model
task: {kind: generation}
data: {sources: [{path: rows.csv}, {path: more.csv, text: body}]}
train:
"""


def read(tmp_path: Path, train: str, *overrides: str, head: str = HEAD) -> Loaded:
    """A recipe whose `train:` section starts in line 6."""
    path = tmp_path / "recipe.yaml"
    path.write_text(head + "".join(f"  {line}\n" for line in train.splitlines()), encoding="utf-8")
    return load(path, overrides)


def problems(tmp_path: Path, train: str, *overrides: str) -> list[tuple[str, str]]:
    with pytest.raises(RecipeError) as caught:
        read(tmp_path, train, *overrides)
    folder = f"{tmp_path}/"
    return [(p.where.removeprefix(folder), p.message) for p in caught.value.problems]


# --- the reference recipe ----------------------------------------------------------------------


def test_the_reference_recipe_means_what_it_says() -> None:
    recipe = load(RECIPES / "llama2_7b_qlora.yaml").recipe
    train, lora, quantization = recipe.train, recipe.train.lora, recipe.train.quantization
    assert lora is not None and quantization is not None
    found = {
        "optim": train.optim,
        "learning_rate": train.learning_rate,
        "weight_decay": train.weight_decay,
        "lr_scheduler_type": train.lr_scheduler_type,
        "warmup_ratio": train.warmup_ratio,
        "gradient_accumulation_steps": train.gradient_accumulation_steps,
        "bf16": train.bf16,
        "gradient_checkpointing": train.gradient_checkpointing,
        "label_smoothing_factor": train.label_smoothing_factor,
        "label_smoothing_over": train.label_smoothing_over,
        "neftune_noise_alpha": train.neftune_noise_alpha,
        "per_device_train_batch_size": train.per_device_train_batch_size,
        "per_device_eval_batch_size": train.per_device_eval_batch_size,
        "max_grad_norm": train.max_grad_norm,
        "group_by_length": train.group_by_length,
        "num_train_epochs": train.num_train_epochs,
        "save_steps": train.save_steps,
        "logging_steps": train.logging_steps,
        "max_seq_length": train.max_seq_length,
        "packing": train.packing,
    }
    assert found == {
        "optim": "paged_adamw_32bit",
        "learning_rate": 3e-4,
        "weight_decay": 0.01,
        "lr_scheduler_type": "cosine",
        "warmup_ratio": 0.03,
        "gradient_accumulation_steps": 4,
        "bf16": True,
        "gradient_checkpointing": True,
        "label_smoothing_factor": 0.1,
        "label_smoothing_over": "vocabulary",
        "neftune_noise_alpha": 5,
        "per_device_train_batch_size": 8,
        "per_device_eval_batch_size": 8,
        "max_grad_norm": 2,
        "group_by_length": True,
        "num_train_epochs": 3,
        "save_steps": 50,
        "logging_steps": 10,
        "max_seq_length": 128,
        "packing": True,
    }
    assert (lora.r, lora.lora_alpha, lora.lora_dropout) == (64, 8, 0.1)
    assert quantization.load_in_4bit and not quantization.load_in_8bit
    assert quantization.bnb_4bit_compute_dtype == "float16"
    assert quantization.bnb_4bit_quant_type == "nf4"
    assert quantization.bnb_4bit_use_double_quant is False
    assert recipe.data.sources[0].text == "text"


@pytest.mark.parametrize("name", ["llama2_7b_qlora.yaml", "reference_cpu.yaml"])
def test_each_older_name_of_the_reference_is_noted_once(name: str) -> None:
    notes = load(RECIPES / name).notes
    noted = collections.Counter(note.split()[0].rstrip(":") for note in notes)
    assert noted == collections.Counter(
        f"train.{old}"
        for old in (
            "max_train_epochs", "use_4bit", "bnb_4bit_compute_dtype", "bnb_4bit_quant_type",
            "use_nested_quant", "r", "lora_alpha", "lora_dropout", "dataset_text_field",
            "device_map",
        )
    )  # fmt: skip
    assert "train.max_train_epochs is train.num_train_epochs here" in notes
    assert "train.device_map has no effect: the device is found by Accelerate" in notes


# --- names -------------------------------------------------------------------------------------

EXAMPLES: dict[str, Any] = {
    "layers_to_transform": [0, 1], "target_modules": ["q_proj"], "layers_pattern": "layers",
    "use_rslora": True, "use_dora": True, "modules_to_save": ["head"],
    "init_lora_weights": "gaussian", "llm_int8_skip_modules": ["lm_head"],
    "bnb_4bit_compute_dtype": "bfloat16", "bnb_4bit_quant_type": "fp4",
    "bnb_4bit_quant_storage": "float16", "use_nested_quant": True, "load_in_8bit": True,
    "use_8bit": True, "load_in_4bit": True, "use_4bit": True, "optimizer": "sgd",
    "lr_scheduler": "cosine", "activation_checkpointing": True, "lora_dropout": 0.5, "lr": 0.5,
    "label_smoothing": 0.5, "bnb_4bit_use_double_quant": True,
    "llm_int8_enable_fp32_cpu_offload": True,
}  # fmt: skip


@pytest.mark.parametrize("old", sorted(TRAIN_ALIASES))
def test_every_older_name_arrives_where_it_belongs(tmp_path: Path, old: str) -> None:
    value = EXAMPLES.get(old, 9)
    lines = f"{old}: {str(value).lower() if isinstance(value, bool) else value}"
    new = TRAIN_ALIASES[old]
    if new[1:2] == ("quantization",) and "load_in" not in str(new[-1]):
        lines += "\nload_in_4bit: true"
    loaded = read(tmp_path, lines)
    found: Any = loaded.recipe
    for part in new:
        found = getattr(found, str(part))
    assert found == value
    note = f"train.{old} is {'.'.join(map(str, new))} here"
    assert loaded.notes.count(note) == 1


@pytest.mark.parametrize("path", sorted(VALUE_ALIASES))
def test_every_older_value_is_valid_today(tmp_path: Path, path: tuple[str, ...]) -> None:
    for old, new in VALUE_ALIASES[path].items():
        lines = f"load_in_4bit: true\n{path[-1]}: {old}"
        if "quantization" in path:
            lines = f"quantization: {{load_in_4bit: true, {path[-1]}: {old}}}"
        loaded = read(tmp_path, lines)
        found: Any = loaded.recipe
        for part in path:
            found = getattr(found, part)
        assert found == new
        assert f"{'.'.join(path)}: '{old}' is '{new}' here" in loaded.notes


@pytest.mark.parametrize("name", sorted(WITHOUT_EFFECT))
def test_names_without_effect_are_said_to_have_none(tmp_path: Path, name: str) -> None:
    loaded = read(tmp_path, f"{name}: auto")
    assert loaded.notes == [f"train.{name} has no effect: {WITHOUT_EFFECT[name]}"]


def test_todays_names_are_not_noted(tmp_path: Path) -> None:
    train = (
        "learning_rate: 1e-4\nwarmup_steps: 10\nlora: {r: 4}\nquantization: {load_in_8bit: true}"
    )
    assert read(tmp_path, train).notes == []


def test_a_fraction_of_warmup_steps_is_a_ratio(tmp_path: Path) -> None:
    train = read(tmp_path, "warmup_steps: 0.03").recipe.train
    assert (train.warmup_ratio, train.warmup_steps) == (0.03, 0)
    assert read(tmp_path, "warmup_steps: 100").recipe.train.warmup_steps == 100


def test_sampling_strategy_of_transformers_5(tmp_path: Path) -> None:
    assert read(tmp_path, "train_sampling_strategy: group_by_length").recipe.train.group_by_length
    assert not read(tmp_path, "train_sampling_strategy: random").recipe.train.group_by_length
    ((where, said),) = problems(tmp_path, "train_sampling_strategy: sequential")
    assert where == "recipe.yaml:6"
    assert "'sequential', expected 'random' or 'group_by_length'" in said


def test_the_text_field_goes_to_sources_that_name_none(tmp_path: Path) -> None:
    sources = read(tmp_path, "dataset_text_field: passage").recipe.data.sources
    assert [source.text for source in sources] == ["passage", "body"]
    ((where, said),) = problems(tmp_path, "dataset_text_field: [a]")
    assert (where, said) == ("recipe.yaml:6", "'data.sources.0.text' is [\"a\"], expected a text.")


# --- quantization ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "train",
    [
        "use_4bit: false",
        "use_8bit: false",
        "use_4bit: false\nuse_8bit: false",
        "use_4bit: false\nbnb_4bit_quant_type: nf4\nbnb_4bit_compute_dtype: float16\n"
        "use_nested_quant: false",
        "quantization: {load_in_4bit: false, bnb_4bit_quant_type: nf4}",
        "quantization: null\nuse_4bit: false",
        "quantization: null",
    ],
)
def test_switched_off_quantization_is_none(tmp_path: Path, train: str) -> None:
    assert read(tmp_path, train).recipe.train.quantization is None


def test_options_alone_do_not_say_how_many_bits(tmp_path: Path) -> None:
    ((_, said),) = problems(tmp_path, "bnb_4bit_quant_type: nf4")
    assert "set exactly one of load_in_8bit and load_in_4bit" in said


# --- conflicts ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("train", "line", "said"),
    [
        ("num_train_epochs: 1\nmax_train_epochs: 3", 7,
         "'max_train_epochs' is an older name of 'train.num_train_epochs', which is also set, to "
         "another value."),
        ("max_train_epochs: 3\nnum_epochs: 1", 7, "'num_epochs' is an older name of"),
        ("lora: {r: 8}\nr: 16", 7, "'r' is an older name of 'train.lora.r', which is also set"),
        ("warmup_ratio: 0.1\nwarmup_steps: 0.03", 7, "'warmup_steps' is an older name of"),
        ("r: 16\nlora: null", 6, "'r' is an older name of 'train.lora.r', but 'train.lora' is set"),
        ("quantization: null\nuse_4bit: true", 7, "but 'train.quantization' is set"),
        ("group_by_length: true\ntrain_sampling_strategy: random", 7, "which is also set"),
    ],
)  # fmt: skip
def test_two_names_with_two_values_are_a_mistake(
    tmp_path: Path, train: str, line: int, said: str
) -> None:
    ((where, message),) = problems(tmp_path, train)
    assert where == f"recipe.yaml:{line}"
    assert said in message


def test_a_section_of_the_wrong_kind_stays_a_mistake(tmp_path: Path) -> None:
    found = problems(tmp_path, "lora: yes please\nr: 16")
    assert ("recipe.yaml:6", "'train.lora' is \"yes please\", expected keys with values.") in found


def test_two_names_with_one_value_agree(tmp_path: Path) -> None:
    loaded = read(tmp_path, "num_train_epochs: 3\nmax_train_epochs: 3")
    assert loaded.recipe.train.num_train_epochs == 3
    assert len(loaded.notes) == 1


def test_mistakes_in_older_names_point_at_their_own_line(tmp_path: Path) -> None:
    ((where, said),) = problems(tmp_path, "learning_rate: 1\nmax_train_epochs: many")
    assert where == "recipe.yaml:7"
    assert said.startswith("'train.num_train_epochs' is \"many\"")


# --- on the command line -----------------------------------------------------------------------


@pytest.mark.parametrize("written", ["num_train_epochs: 5", "max_train_epochs: 5"])
@pytest.mark.parametrize("given", ["train.num_train_epochs=2", "train.max_train_epochs=2"])
def test_overrides_win_under_any_name(tmp_path: Path, written: str, given: str) -> None:
    loaded = read(tmp_path, written, given)
    assert loaded.recipe.train.num_train_epochs == 2
    assert len(loaded.notes) == (written + given).count("max_train") - (
        written.startswith("max") and "max" in given
    )


def test_overrides_of_older_names_reach_nested_and_null_sections(tmp_path: Path) -> None:
    assert read(tmp_path, "lora: {r: 8}", "train.r=4").recipe.train.lora.r == 4  # type: ignore[union-attr]
    assert read(tmp_path, "lora: null", "train.r=4").recipe.train.lora.r == 4  # type: ignore[union-attr]
    four = "quantization: {load_in_4bit: true, bnb_4bit_quant_type: nf4}"
    assert read(tmp_path, four, "train.use_4bit=false").recipe.train.quantization is None
    loaded = read(tmp_path, "dataset_text_field: a", "train.dataset_text_field=b")
    assert [source.text for source in loaded.recipe.data.sources] == ["b", "b"]


def test_bad_overrides_of_older_names_are_the_command_lines(tmp_path: Path) -> None:
    ((where, said),) = problems(tmp_path, "max_train_epochs: 5", "train.max_train_epochs=x")
    assert (where, said) == (
        "command line",
        "'train.num_train_epochs' is \"x\", expected a number.",
    )


# --- the table itself --------------------------------------------------------------------------


def test_every_alias_points_at_a_field_that_exists() -> None:
    for old, new in TRAIN_ALIASES.items():
        section: Any = Recipe
        for part in new:
            assert part in section.model_fields, (old, new)
            kinds = getattr(section.model_fields[part].annotation, "__args__", ())
            section = next(
                (k for k in (section.model_fields[part].annotation, *kinds)
                 if hasattr(k, "model_fields")),
                None,
            )  # fmt: skip
        assert old not in Recipe.model_fields["train"].annotation.model_fields  # type: ignore[union-attr]


def test_a_recipe_without_training_section_is_left_alone() -> None:
    for tree in ({}, {"train": None}, {"train": [1]}, {"train": "x", "data": 3}):
        assert rename_legacy_keys(dict(tree), lambda old, new: None) == ([], [])
