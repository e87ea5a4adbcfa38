"""The `train:` section of a recipe.

Names are Hugging Face's (TrainingArguments, LoraConfig, BitsAndBytesConfig); where a default
differs from theirs, its docstring says why.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from luthier.section import Section

Optimizer = Literal[
    "adamw_torch", "adamw_torch_fused", "adafactor", "sgd", "rmsprop", "adagrad",
    "adamw_bnb_8bit", "paged_adamw_32bit", "paged_adamw_8bit",
    "lion_32bit", "lion_8bit", "paged_lion_32bit", "paged_lion_8bit",
    "rmsprop_bnb", "rmsprop_bnb_8bit", "adagrad_bnb_8bit", "sgd_bnb_8bit",
]  # fmt: skip
Schedule = Literal[
    "constant", "constant_with_warmup", "linear", "cosine", "cosine_with_restarts",
    "polynomial", "inverse_sqrt", "warmup_stable_decay",
]  # fmt: skip
Dtype = Literal["float32", "float16", "bfloat16"]


class LoraSection(Section):
    """Low-rank adapters (Hu et al. 2021, arXiv:2106.09685); names as in `peft.LoraConfig`."""

    r: int = Field(default=16, ge=1)
    """Rank of the update."""
    lora_alpha: float = Field(default=32, gt=0)
    """The update is scaled by lora_alpha / r (rsLoRA: lora_alpha / sqrt(r))."""
    lora_dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout on the adapter's input."""
    target_modules: str | Annotated[list[str], Field(min_length=1)] = "all-linear"
    """Module names, a regular expression over full names, or `all-linear` (all but the LM head)."""
    layers_to_transform: int | list[int] | None = None
    """Indices of the layers that get adapters; null: all."""
    layers_pattern: str | None = None
    """Name of the layer list where it is not found by itself."""
    use_rslora: bool = False
    """Rank-stabilised scaling (Kalajdzievski 2023, arXiv:2312.03732)."""
    use_dora: bool = False
    """Weight-decomposed adapters (Liu et al. 2024, arXiv:2402.09353)."""
    bias: Literal["none", "all", "lora_only"] = "none"
    """Which biases are trained."""
    modules_to_save: list[str] | None = None
    """Modules trained in full beside the adapters."""
    init_lora_weights: bool | Literal["gaussian", "pissa", "olora"] = True
    """How the adapter starts; true: B is zero, so training starts from the base."""

    @field_validator("target_modules", "layers_pattern")
    @classmethod
    def _compiles(cls, value: str | list[str] | None) -> str | list[str] | None:
        """Refuse what peft would fall over: it matches a text as a regular expression."""
        if isinstance(value, str):
            try:
                re.compile(value)
            except re.error as error:
                raise ValueError(f"not a regular expression: {error}") from None
        return value


class QuantizationSection(Section):
    """A frozen base in 8 or 4 bits; names as in `transformers.BitsAndBytesConfig`."""

    load_in_8bit: bool = False
    """LLM.int8() weights."""
    load_in_4bit: bool = False
    """4-bit weights (QLoRA)."""
    llm_int8_threshold: float = Field(default=6.0, ge=0)
    """Outlier threshold of LLM.int8() (Dettmers et al. 2022, arXiv:2208.07339)."""
    llm_int8_skip_modules: list[str] | None = None
    """Modules left unquantized."""
    llm_int8_enable_fp32_cpu_offload: bool = False
    """Keep what does not fit the GPU on the CPU, in fp32."""
    bnb_4bit_compute_dtype: Dtype | None = None
    """What 4-bit weights are de-quantized to for a product; null: bfloat16 where the run computes
    in it (`luthier plan` says so), else float32, which is Hugging Face's default."""
    bnb_4bit_quant_type: Literal["fp4", "nf4"] = "nf4"
    """nf4 (QLoRA, arXiv:2305.14314, section 3); Hugging Face's own default is fp4."""
    bnb_4bit_use_double_quant: bool = False
    """Quantize the quantization constants too (QLoRA, section 3)."""
    bnb_4bit_quant_storage: Literal["uint8", "float16", "bfloat16", "float32"] = "uint8"
    """Dtype the packed weights are stored as (FSDP needs that of the rest)."""

    def compute_dtype(self, precision: str) -> Dtype:
        """What 4-bit weights are de-quantized to in a run of this precision."""
        return self.bnb_4bit_compute_dtype or ("bfloat16" if "bf16" in precision else "float32")

    @model_validator(mode="after")
    def _one_width(self) -> QuantizationSection:
        if self.load_in_8bit == self.load_in_4bit:
            raise ValueError("set exactly one of load_in_8bit and load_in_4bit to true")
        return self


class FsdpSection(Section):
    """How FSDP2 shards; names as in `fsdp_config` of `transformers.TrainingArguments`."""

    version: Literal[2] = 2
    """FSDP2 (`torch.distributed.fsdp.fully_shard`), the only one there is here."""
    reshard_after_forward: bool = True
    """Free a layer's gathered weights after its forward pass and gather them again for the backward
    pass; false: more memory, less traffic."""
    transformer_layer_cls_to_wrap: list[str] | None = None
    """Classes of the layers that are sharded one by one; null: those the architecture names."""


class OffloadSection(Section):
    """Where a part of ZeRO's state is kept; names as in a DeepSpeed configuration."""

    device: Literal["none", "cpu"] = "cpu"
    """`cpu`: in main memory."""
    pin_memory: bool = False
    """Page-locked main memory: faster copies."""


class ZeroSection(Section):
    """ZeRO (Rajbhandari et al. 2020, arXiv:1910.02054); names as in a DeepSpeed configuration."""

    stage: Literal[1, 2, 3]
    """What is shared out: 1 the optimizer's state, 2 the gradients too, 3 the weights too."""
    offload_optimizer: OffloadSection | None = None
    """The optimizer's state in main memory."""
    offload_param: OffloadSection | None = None
    """The weights in main memory (stage 3)."""
    overlap_comm: bool | None = None
    """Send gradients while the backward pass goes on; null: DeepSpeed's default for the stage."""
    contiguous_gradients: bool = True
    """Copy gradients into one buffer as they come, against fragmentation."""
    reduce_bucket_size: int = Field(default=500_000_000, ge=1)
    """Elements that are added up over the processes at a time."""
    allgather_bucket_size: int = Field(default=500_000_000, ge=1)
    """Elements that are gathered at a time (stages 1 and 2)."""

    @model_validator(mode="before")
    @classmethod
    def _leave_out_auto(cls, value: Any) -> Any:
        """`auto` means what luthier would do anyway."""
        return {k: v for k, v in value.items() if v != "auto"} if isinstance(value, dict) else value


_SET_BY_LUTHIER = {
    "train_batch_size": "per_device_train_batch_size",
    "train_micro_batch_size_per_gpu": "per_device_train_batch_size",
    "gradient_accumulation_steps": "gradient_accumulation_steps",
    "gradient_clipping": "max_grad_norm",
    "optimizer": "optim",
    "scheduler": "lr_scheduler_type",
    "bf16": "bf16",
    "fp16": "fp16",
    "zero_allow_untested_optimizer": "optim",
}
"""Keys of a DeepSpeed configuration -> the settings that decide them here."""


class DeepspeedSection(Section):
    """A DeepSpeed configuration, as far as the rest of `train` does not decide it."""

    zero_optimization: ZeroSection
    """The stage, and where its parts are kept."""

    @model_validator(mode="before")
    @classmethod
    def _leave_out_auto(cls, value: Any) -> Any:
        """Take a configuration written for Hugging Face's Trainer, where such keys are `auto`."""
        if not isinstance(value, dict):
            return value
        for key in _SET_BY_LUTHIER.keys() & value.keys():
            if not _is_auto(value[key]):
                raise ValueError(
                    f"'{key}' follows from train.{_SET_BY_LUTHIER[key]}; leave it out, or write "
                    "auto"
                )
        return {key: inner for key, inner in value.items() if key not in _SET_BY_LUTHIER}


def _is_auto(value: Any) -> bool:
    if isinstance(value, dict):
        return all(_is_auto(inner) for inner in value.values())
    return bool(value == "auto")


class TrainConfig(Section):
    """Everything that decides the weights that come out."""

    engine: Literal["luthier", "trl"] = "luthier"
    """Who takes the steps: luthier's own loop, or TRL's `SFTTrainer` on the same batches (needs the
    extra `trl`; cannot resume)."""

    # What is updated
    lora: LoraSection | None = LoraSection()
    """null: full fine-tuning."""
    quantization: QuantizationSection | None = None
    """null: the base in full precision."""

    # How far and how fast
    optim: Optimizer = "adamw_torch_fused"
    """Optimizer, under its Hugging Face name; the default is Hugging Face's."""
    learning_rate: float = Field(default=1e-4, gt=0)
    """Peak of the schedule."""
    adam_beta1: float = Field(default=0.9, ge=0, lt=1)
    """Decay of the first moment (AdamW, Lion)."""
    adam_beta2: float = Field(default=0.999, ge=0, lt=1)
    """Decay of the second moment (AdamW, Lion)."""
    adam_epsilon: float = Field(default=1e-8, gt=0)
    """Added to AdamW's denominator."""
    weight_decay: float = Field(default=0.01, ge=0)
    """PyTorch's AdamW default (Hugging Face: 0)."""
    optim_args: dict[str, float | bool] = Field(default={})
    """Further keyword arguments of the optimizer, e.g. {momentum: 0.9} for sgd."""
    lr_scheduler_type: Schedule = "linear"
    """Course of the learning rate; `luthier plan` draws it in the report."""
    lr_scheduler_kwargs: dict[str, Any] = Field(default={})
    """Arguments of the schedule, e.g. {num_cycles: 3} for cosine_with_restarts."""
    warmup_ratio: float = Field(default=0.0, ge=0, lt=1)
    """Share of the steps over which the learning rate rises from 0."""
    warmup_steps: int = Field(default=0, ge=0)
    """Overrides warmup_ratio when not 0, as in Hugging Face."""
    num_train_epochs: float = Field(default=3.0, gt=0)
    """Passes over the training rows; may be a fraction."""
    max_steps: int = Field(default=-1, ge=-1)
    """Optimizer steps; overrides num_train_epochs when above 0."""

    # Batches
    per_device_train_batch_size: int = Field(default=8, ge=1)
    """Lines of a micro-batch (packed: sequences)."""
    per_device_eval_batch_size: int = Field(default=16, ge=1)
    """Rows of a batch in validation, evaluation and prediction."""
    gradient_accumulation_steps: int = Field(default=1, ge=1)
    """The loss is normalised by the trained tokens of the whole accumulation: 1x8 = 8x1."""
    auto_find_batch_size: bool = False
    """Start with as many rows at a time as the plan says that fit, and try the longest batch before
    training; with or without it, a step that does not fit is done again in smaller pieces."""
    group_by_length: bool = False
    """Batches of similar length, in random order."""
    packing: bool = False
    """Several rows in one sequence of max_seq_length; they never see each other."""
    max_seq_length: int = Field(default=1024, ge=8)
    """Tokens; longer rows are rejected by the data stage, never cut."""

    # Memory and precision
    gradient_checkpointing: bool = False
    """Keep the activations at layer borders only and compute the rest again (Chen et al. 2016,
    arXiv:1604.06174): less memory for about a forward pass more."""
    bf16: bool | None = None
    """null: decided by the plan from what the hardware does well."""
    fp16: bool = False
    """fp16 autocast with loss scaling, for GPUs without bf16; prefer `bf16` elsewhere."""
    autocast: bool = False
    """Compute everything in the low precision, as HF's bf16 does. Off, only the products with
    frozen weights are; adapters, norms and the residual stream stay in fp32, which learns as
    fast as fp32 at the speed of bf16."""
    attn_implementation: Literal["sdpa", "eager", "flash_attention_2"] = "sdpa"
    """Attention kernel: PyTorch's own (`sdpa`, what transformers takes by itself), the plain
    formula, or the package flash-attn."""
    use_liger_kernel: bool = False
    """Norms, gated MLPs and rotary positions through Liger's fused CUDA kernels (extra `liger`)."""

    # Several processes (`--nproc`, torchrun, Slurm): docs/scale.md
    fsdp: bool = False
    """Share weights, gradients and the optimizer's state out over the processes (FSDP2); false:
    each holds the whole model."""
    fsdp_config: FsdpSection = FsdpSection()
    """How, with `fsdp: true`."""
    deepspeed: DeepspeedSection | None = None
    """The same by DeepSpeed's ZeRO, e.g. {zero_optimization: {stage: 2}} (extra `deepspeed`)."""
    ddp_timeout: int = Field(default=1800, ge=1)
    """Seconds to wait for another process before giving it up."""

    # Regularisation
    max_grad_norm: float = Field(default=1.0, ge=0)
    """0: no clipping."""
    label_smoothing_factor: float = Field(default=0.0, ge=0, lt=1)
    """Share of the target's mass that is spread over the other answers (Szegedy et al. 2016,
    arXiv:1512.00567, section 7)."""
    label_smoothing_over: Literal["vocabulary", "classes"] = "vocabulary"
    """`vocabulary` is what Hugging Face does; `classes` spreads the mass over the task's labels
    only, which is what calibrates label confidence."""
    swa_start: float | None = Field(default=None, ge=0, lt=1)
    """End with the mean of the weights of all steps after this share of the run, 0.75: the last
    quarter (stochastic weight averaging, Izmailov et al. 2018, arXiv:1803.05407). null: with those
    of the last step."""
    neftune_noise_alpha: float | None = Field(default=None, gt=0)
    """Uniform noise on the embeddings while training (Jain et al. 2023, arXiv:2310.05914)."""

    # What is trained on
    train_on: Literal["completion", "assistant", "all"] = "completion"
    """The last answer; every answer of a conversation; or every token."""

    # Watching and keeping
    logging_steps: int = Field(default=10, ge=1)
    """Lines printed where there is no terminal; events.jsonl has every step."""
    eval_steps: int | None = Field(default=None, ge=1)
    """Optimizer steps between validations; null: once an epoch."""
    save_steps: int | None = Field(default=None, ge=1)
    """Optimizer steps between checkpoints; null: with every validation."""
    save_total_limit: int = Field(default=2, ge=1)
    """Newest checkpoints kept (Hugging Face: all); with two, a damaged one loses little work. The
    best weights are kept beside them."""
    load_best_model_at_end: bool = True
    """End with the weights of the best validation, not of the last step (Hugging Face: false)."""
    metric_for_best_model: Literal["loss", "accuracy", "macro_f1"] = "loss"
    """What the best validation is judged by; all but the loss need labels."""
    early_stopping_patience: int | None = Field(default=None, ge=1)
    """Validations without improvement before stopping; null: never."""
    early_stopping_threshold: float = Field(default=0.0, ge=0)
    """A gain of no more than this, in the metric's own unit, is no improvement for the patience."""
