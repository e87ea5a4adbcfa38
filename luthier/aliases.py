"""Older and misremembered setting names: understood, moved to today's name, reported once.

Sources of the names: the reference recipe and the texts it comes from (transformers 4.35, peft
0.6, trl 0.7), transformers 5 (which renamed some of them again), and common slips.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Path = tuple[str | int, ...]

_LORA = (
    "r", "lora_alpha", "lora_dropout", "target_modules", "layers_to_transform", "layers_pattern",
    "use_rslora", "use_dora", "modules_to_save", "init_lora_weights",
)  # fmt: skip
_QUANTIZATION = (
    "load_in_8bit", "load_in_4bit", "llm_int8_threshold", "llm_int8_skip_modules",
    "llm_int8_enable_fp32_cpu_offload", "bnb_4bit_compute_dtype", "bnb_4bit_quant_type",
    "bnb_4bit_use_double_quant", "bnb_4bit_quant_storage",
)  # fmt: skip

# Names inside `train:` (left) and the path under the recipe where they live (right).
TRAIN_ALIASES: dict[str, Path] = {
    **{name: ("train", "lora", name) for name in _LORA},
    **{name: ("train", "quantization", name) for name in _QUANTIZATION},
    "lora_r": ("train", "lora", "r"),
    "use_4bit": ("train", "quantization", "load_in_4bit"),
    "use_8bit": ("train", "quantization", "load_in_8bit"),
    "use_nested_quant": ("train", "quantization", "bnb_4bit_use_double_quant"),
    "max_train_epochs": ("train", "num_train_epochs"),
    "num_epochs": ("train", "num_train_epochs"),
    "max_length": ("train", "max_seq_length"),
    "activation_checkpointing": ("train", "gradient_checkpointing"),
    "lr": ("train", "learning_rate"),
    "batch_size": ("train", "per_device_train_batch_size"),
    "noise_alpha": ("train", "neftune_noise_alpha"),
    "label_smoothing": ("train", "label_smoothing_factor"),
    "optimizer": ("train", "optim"),
    "lr_scheduler": ("train", "lr_scheduler_type"),
    "seed": ("seed",),
}
# Values that changed their name.
VALUE_ALIASES: dict[Path, dict[Any, Any]] = {
    ("train", "optim"): {
        "adamw_hf": "adamw_torch",
        "adamw_8bit": "adamw_bnb_8bit",
        "adamw": "adamw_torch",
        "lion": "lion_32bit",
        "paged_adamw": "paged_adamw_32bit",
        "paged_lion": "paged_lion_32bit",
    },
    ("train", "label_smoothing_over"): {"vocab": "vocabulary", "labels": "classes"},
    ("train", "quantization", "bnb_4bit_compute_dtype"): {"fp16": "float16", "bf16": "bfloat16"},
}
# Settings that other programs need and luthier does not: accepted and said to have no effect.
WITHOUT_EFFECT = {
    "device_map": "the device is found by Accelerate",
    "output_dir": "results go to the run folder (`--out`)",
    "report_to": "luthier writes events.jsonl and report.html",
}


def rename_legacy_keys(
    tree: dict[str, Any], moved: Callable[[Path, Path], None], *, replace: bool = False
) -> tuple[list[str], list[tuple[Path, str]]]:
    """Move older names to their places, in place.

    Args:
        tree: the parsed recipe.
        moved: told (old path, new path) of every move, for line numbers.
        replace: an older name overwrites the value under the new one (command-line overrides).

    Returns:
        Notes for the user, one per older name; and conflicts (path, message) where both the old
        and the new name are set to different values.
    """
    notes: list[str] = []
    conflicts: list[tuple[Path, str]] = []
    train = tree.get("train")
    if isinstance(train, dict):
        for old in list(train):
            _understand(old, tree, train, moved, notes, conflicts, replace)
        _drop_unquantized(train)
    for path, renamed in VALUE_ALIASES.items():
        section, value = _get(tree, path[:-1]), _get(tree, path)
        if isinstance(value, str) and value in renamed:
            section[path[-1]] = renamed[value]
            notes.append(f"{'.'.join(map(str, path))}: '{value}' is '{renamed[value]}' here")
    return notes, conflicts


def _understand(
    old: str,
    tree: dict[str, Any],
    train: dict[str, Any],
    moved: Callable[[Path, Path], None],
    notes: list[str],
    conflicts: list[tuple[Path, str]],
    replace: bool,
) -> None:
    """Move one key of `train:`, if it is an older name."""
    value = train[old]
    new = TRAIN_ALIASES.get(old)
    if old in WITHOUT_EFFECT:
        del train[old]
        notes.append(f"train.{old} has no effect: {WITHOUT_EFFECT[old]}")
        return
    if old == "dataset_text_field":
        del train[old]
        _move_text_field(tree, value, moved, replace)
        notes.append("train.dataset_text_field is data.sources[].text here")
        return
    if old == "train_sampling_strategy":
        if value not in ("random", "group_by_length"):
            said = f"'{old}' is {value!r}, expected 'random' or 'group_by_length'."
            conflicts.append((("train", old), said))
            del train[old]
            return
        value, new = value == "group_by_length", ("train", "group_by_length")
    elif old == "warmup_steps" and isinstance(value, float) and value < 1:
        # transformers 5 reads a fraction here as the former warmup_ratio.
        new = ("train", "warmup_ratio")
    if new is None:
        return
    del train[old]
    name = ".".join(map(str, new))
    section = _section(tree, new[:-1], replace)
    if section is None:
        if value is not False:  # `quantization: null` and `use_4bit: false` say the same
            said = f"'{old}' is an older name of '{name}', but '{name.rpartition('.')[0]}' is set"
            conflicts.append((("train", old), f"{said} to a value without it."))
        return
    if not replace and section.get(new[-1], value) != value:
        both = f"'{old}' is an older name of '{name}', which is also set, to another value."
        conflicts.append((("train", old), both))
        return
    section[new[-1]] = value
    moved(("train", old), new)
    notes.append(f"train.{old} is {name} here")


def _move_text_field(
    tree: dict[str, Any], column: Any, moved: Callable[[Path, Path], None], replace: bool
) -> None:
    sources = _get(tree, ("data", "sources"))
    for index, source in enumerate(sources if isinstance(sources, list) else []):
        if isinstance(source, dict) and (replace or "text" not in source):
            source["text"] = column
            moved(("train", "dataset_text_field"), ("data", "sources", index, "text"))


def _drop_unquantized(train: dict[str, Any]) -> None:
    """`use_4bit: false` beside its options means an unquantized base, as in the older scripts."""
    section = train.get("quantization")
    if isinstance(section, dict):
        widths = [section.get("load_in_4bit"), section.get("load_in_8bit")]
        if not any(widths) and False in widths:
            train["quantization"] = None


def _section(tree: dict[str, Any], path: Path, replace: bool) -> dict[Any, Any] | None:
    """The section at a path, made where it is absent; None where something else is there."""
    node: dict[Any, Any] = tree
    for part in path:
        if part not in node or (replace and not isinstance(node[part], dict)):
            node[part] = {}
        node = node[part]
        if not isinstance(node, dict):
            return None
    return node


def _get(tree: Any, path: Path) -> Any:
    for part in path:
        if not isinstance(tree, dict):
            return None
        tree = tree.get(part)
    return tree
