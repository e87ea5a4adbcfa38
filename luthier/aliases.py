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
        "adamw_hf": "adamw_torch", "adamw_8bit": "adamw_bnb_8bit", "adamw": "adamw_torch",
        "lion": "lion_32bit", "paged_adamw": "paged_adamw_32bit", "paged_lion": "paged_lion_32bit",
    },  # fmt: skip
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
        _move_train_keys(tree, train, moved, notes, None if replace else conflicts)
        _drop_unquantized(train)
    for path, renamed in VALUE_ALIASES.items():
        section, value = _get(tree, path[:-1]), _get(tree, path)
        if isinstance(value, str) and value in renamed:
            section[path[-1]] = renamed[value]
            notes.append(f"{'.'.join(map(str, path))}: '{value}' is '{renamed[value]}' here")
    return notes, conflicts


def _move_train_keys(
    tree: dict[str, Any],
    train: dict[str, Any],
    moved: Callable[[Path, Path], None],
    notes: list[str],
    conflicts: list[tuple[Path, str]] | None,
) -> None:
    for old in list(train):
        if old in WITHOUT_EFFECT:
            del train[old]
            notes.append(f"train.{old} has no effect: {WITHOUT_EFFECT[old]}")
            continue
        if old == "dataset_text_field":
            _move_text_field(tree, train.pop(old), notes)
            continue
        if old == "train_sampling_strategy":
            value = train.pop(old)
            train["group_by_length"] = value == "group_by_length"
            moved(("train", old), ("train", "group_by_length"))
            notes.append(f"train.{old}: {value} is train.group_by_length here")
            continue
        if old == "warmup_steps" and isinstance(train[old], float) and train[old] < 1:
            # transformers 5 reads a fraction here as the former warmup_ratio.
            new: Path = ("train", "warmup_ratio")
        elif old in TRAIN_ALIASES and old not in ("lora", "quantization"):
            new = TRAIN_ALIASES[old]
        else:
            continue
        value = train.pop(old)
        section = _section(tree, new[:-1])
        if conflicts is not None and section.get(new[-1], value) != value:
            name = ".".join(map(str, new))
            both = f"'{old}' is an older name of '{name}', which is also set, to another value."
            conflicts.append((("train", old), both))
            continue
        section[new[-1]] = value
        moved(("train", old), new)
        notes.append(f"train.{old} is {'.'.join(map(str, new))} here")


def _move_text_field(tree: dict[str, Any], column: Any, notes: list[str]) -> None:
    sources = _get(tree, ("data", "sources"))
    for source in sources if isinstance(sources, list) else []:
        if isinstance(source, dict):
            source.setdefault("text", column)
    notes.append("train.dataset_text_field is data.sources[].text here")


def _drop_unquantized(train: dict[str, Any]) -> None:
    """`use_4bit: false` beside its options means an unquantized base, as in the older scripts."""
    section = train.get("quantization")
    if isinstance(section, dict) and not section.get("load_in_4bit"):
        if not section.get("load_in_8bit") and section.get("load_in_4bit") is False:
            train["quantization"] = None


def _section(tree: dict[str, Any], path: Path) -> dict[str, Any]:
    node: Any = tree
    for part in path:
        if not isinstance(node.get(part), dict):
            node[part] = {}
        node = node[part]
    return node  # type: ignore[no-any-return]


def _get(tree: Any, path: Path) -> Any:
    for part in path:
        if not isinstance(tree, dict):
            return None
        tree = tree.get(part)
    return tree
