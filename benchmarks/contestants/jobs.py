"""The jobs that contestants are measured on, and what luthier is asked to reach in each."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from contestants.process import HERE

RECIPES = HERE.parent / "recipes"
WARMUP = 2
"""Steps that are run and not counted: threads, caches and kernels settle in them."""
BATCH = 8


@dataclass(frozen=True)
class Contestant:
    """A trainer in a precision."""

    key: str
    trainer: str
    """`luthier`, `trl` or `llamafactory`."""
    precision: str
    """`fp32` or `bf16`; what bf16 means is each trainer's own (see `label`)."""
    label: str
    liger: bool = False

    @property
    def overrides(self) -> list[str]:
        """Of the recipe, for luthier."""
        return [f"train.bf16={'true' if self.precision == 'bf16' else 'false'}"]


LUTHIER_FP32 = Contestant("luthier-fp32", "luthier", "fp32", "luthier, fp32")
LUTHIER_BF16 = Contestant(
    "luthier-bf16", "luthier", "bf16", "luthier, bf16 (frozen products; the rest in fp32)"
)
TRL_FP32 = Contestant("trl-fp32", "trl", "fp32", "TRL, fp32")
TRL_BF16 = Contestant("trl-bf16", "trl", "bf16", "TRL, bf16 autocast")
LLAMAFACTORY = Contestant(
    "llamafactory-bf16", "llamafactory", "bf16", "LLaMA-Factory, bf16 (base and autocast)"
)
TRL_LIGER = Contestant("trl-bf16-liger", "trl", "bf16", "TRL, bf16 autocast, Liger kernels", True)


@dataclass(frozen=True)
class Target:
    """A ratio luthier is to reach: `ours` to `theirs`."""

    measure: str
    """`examples/s` (at least) or `peak memory` (at most)."""
    ours: str
    theirs: str
    ratio: float


@dataclass(frozen=True)
class Job:
    """A training job; the recipe is luthier's, and the others are told the same."""

    key: str
    title: str
    contestants: tuple[Contestant, ...]
    steps: int
    """Measured by default, after the warm-up."""
    targets: tuple[Target, ...]
    noisy: bool = False
    """Dropout or noise: first losses differ between contestants."""
    quality_steps: int = 0
    """Steps of a run to quality; 0: none is made."""


def _speed(ratio: float, *pairs: tuple[Contestant, Contestant]) -> tuple[Target, ...]:
    return tuple(Target("examples/s", ours.key, theirs.key, ratio) for ours, theirs in pairs)


def _memory(*pairs: tuple[Contestant, Contestant]) -> tuple[Target, ...]:
    return tuple(Target("peak memory", ours.key, theirs.key, 0.6) for ours, theirs in pairs)


_FP32, _BF16 = (LUTHIER_FP32, TRL_FP32), (LUTHIER_BF16, TRL_BF16)
_IN_BF16 = (LUTHIER_BF16, TRL_BF16, LLAMAFACTORY)

JOBS = {
    job.key: job
    for job in (
        Job(
            "a",
            "promises, plain: LoRA r=16, no dropout",
            (LUTHIER_FP32, TRL_FP32, *_IN_BF16),
            steps=4,
            targets=_speed(3, _FP32, _BF16)
            + _speed(2, (LUTHIER_BF16, LLAMAFACTORY))
            + _memory(_FP32, _BF16),
            quality_steps=120,
        ),
        Job(
            "b",
            "the reference recipe: r=64, alpha=8, dropout 0.1, smoothing 0.1, NEFTune 5, "
            "gradient checkpointing, clipping at 2",
            _IN_BF16,
            steps=3,
            targets=_speed(4, _BF16) + _memory(_BF16),
            noisy=True,
        ),
        Job(
            "f",
            "the reference recipe with the sentence first: r=64, alpha=8, dropout 0.1, smoothing "
            "0.1, NEFTune 5, gradient checkpointing, clipping at 2",
            _IN_BF16,
            steps=3,
            targets=_speed(4, _BF16) + _memory(_BF16),
            noisy=True,
        ),
        Job(
            "c",
            "long shared instructions: LoRA r=16",
            _IN_BF16,
            steps=3,
            targets=_speed(8, _BF16) + _memory(_BF16),
        ),
        Job(
            "d",
            "free generation, mixed lengths: LoRA r=16",
            _IN_BF16,
            steps=4,
            targets=_speed(1.3, _BF16),
            quality_steps=30,
        ),
    )
}

_SAME = [
    f"train.per_device_train_batch_size={BATCH}",
    "train.optim=adamw_torch_fused",
    "train.swa_start=null",  # peers keep no mean of the weights
    "train.lr_scheduler_type=warmup_stable_decay",  # which takes its place
    "train.warmup_ratio=0.05",
]
_PLAIN = [
    *_SAME,
    "train.learning_rate=5e-4",
    "train.adam_beta2=0.999",
    "train.lr_scheduler_type=cosine",
    "train.lora.layers_to_transform=null",
]
"""The promises recipe as anybody would write it; its own settings make it learn faster."""

_GENERATION = """\
name: bench-{key}
model: smollm2-135m-instruct
task: {{kind: generation}}
data:
  sources: [{{path: rows.jsonl, input: input, output: output}}]
  template: plain
  filters: [{{use: empty}}]
  split: {{validation: 0.08, calibration: 0, test: 0, near_duplicates: 1.0}}
train:
  learning_rate: 3e-4
  lr_scheduler_type: cosine
  warmup_ratio: 0.03
  per_device_train_batch_size: {batch}
  per_device_eval_batch_size: 8
  group_by_length: true
  max_seq_length: 1024
  lora: {{r: 16, lora_alpha: 32}}
ship: {{exporters: [adapter]}}
"""


@dataclass(frozen=True)
class Recipe:
    """What luthier is started with."""

    path: Path
    overrides: list[str]
    data: str
    """What the rows are, for the reader of the results."""


def recipe(key: str, folder: Path, public: Path | None, *, quality: bool = False) -> Recipe:
    """The recipe of a job; rows that have to be made are written to the folder.

    Args:
        key: of the job.
        folder: for rows.
        public: folder of the public sets.
        quality: it is trained to the end, so with the settings that were chosen to learn well.
    """
    if key == "a":
        said = "luthier:promises.csv, instruction first"
        if quality:
            said += "; learning rate and adapted layers as in recipes/promises.yaml"
        return Recipe(RECIPES / "promises.yaml", _SAME if quality else _PLAIN, said)
    if key in ("b", "f"):
        # What peers cannot do alike on a CPU is left out: levers.py measures it.
        same = ["train.quantization=null", "train.packing=false",
                "train.gradient_accumulation_steps=1"]  # fmt: skip
        left_out = "no 4-bit base, packing or accumulation"
        if key == "b":
            same.append("data.template=promise_instruction_first")
        order = "instruction first" if key == "b" else "sentence first, so nothing is shared"
        return Recipe(
            RECIPES / "reference_cpu.yaml", same, f"luthier:promises.csv, {order}; {left_out}"
        )
    from contestants.rows import long_instructions, mixed_lengths

    rows, said = (long_instructions if key == "c" else mixed_lengths)(public)
    folder.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    (folder / "rows.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    path = folder / "recipe.yaml"
    batch = BATCH if key == "c" else BATCH // 2
    path.write_text(_GENERATION.format(key=key, batch=batch), encoding="utf-8")
    return Recipe(path, [], f"{said}, up to 1,024 tokens")
