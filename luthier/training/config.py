"""The `train:` section of a recipe.

Names are Hugging Face's (TrainingArguments, LoraConfig, BitsAndBytesConfig); where a default
differs from theirs, its docstring says why.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

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
    """Dropout on the adapter's input; its masks cost a good part of a step on a CPU."""
    target_modules: str | list[str] = "all-linear"
    """Module names, or `all-linear` (all but the LM head)."""
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
    bnb_4bit_compute_dtype: Dtype = "float32"
    """What 4-bit weights are de-quantized to for a product."""
    bnb_4bit_quant_type: Literal["fp4", "nf4"] = "nf4"
    """nf4 (QLoRA, arXiv:2305.14314, section 3); Hugging Face's own default is fp4."""
    bnb_4bit_use_double_quant: bool = False
    """Quantize the quantization constants too (QLoRA, section 3)."""
    bnb_4bit_quant_storage: Literal["uint8", "float16", "bfloat16", "float32"] = "uint8"
    """Dtype the packed weights are stored as (FSDP needs that of the rest)."""

    @model_validator(mode="after")
    def _one_width(self) -> QuantizationSection:
        if self.load_in_8bit == self.load_in_4bit:
            raise ValueError("set exactly one of load_in_8bit and load_in_4bit to true")
        return self


class TrainConfig(Section):
    """Everything that decides the weights that come out."""

    # What is updated
    lora: LoraSection | None = LoraSection()
    """null: full fine-tuning."""
    quantization: QuantizationSection | None = None
    """null: the base in full precision."""

    # How far and how fast
    optim: Optimizer = "adamw_torch"
    """Optimizer, under its Hugging Face name."""
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
    """Try the longest batch first and halve until it fits; accumulation makes up for it."""
    group_by_length: bool = False
    """Batches of similar length, in random order."""
    packing: bool = False
    """Several rows in one sequence of max_seq_length; they never see each other."""
    max_seq_length: int = Field(default=1024, ge=8)
    """Tokens; longer rows are rejected by the data stage, never cut."""

    # Memory and precision
    gradient_checkpointing: bool = False
    bf16: bool | None = None
    """null: decided by the plan from what the hardware does well."""
    fp16: bool = False
    autocast: bool = False
    """Compute everything in the low precision, as HF's bf16 does. Off, only the products with
    frozen weights are; adapters, norms and the residual stream stay in fp32, which learns as
    fast as fp32 at the speed of bf16."""
    attn_implementation: Literal["sdpa", "eager", "flash_attention_2"] = "sdpa"

    # Regularisation
    max_grad_norm: float = Field(default=1.0, ge=0)
    """0: no clipping."""
    label_smoothing_factor: float = Field(default=0.0, ge=0, lt=1)
    label_smoothing_over: Literal["vocabulary", "classes"] = "vocabulary"
    """`vocabulary` is what Hugging Face does; `classes` spreads the mass over the task's labels
    only, which is what calibrates label confidence."""
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
    load_best_model_at_end: bool = True
    metric_for_best_model: Literal["loss", "accuracy", "macro_f1"] = "loss"
    early_stopping_patience: int | None = Field(default=None, ge=1)
    """Validations without improvement before stopping; null: never."""
    early_stopping_threshold: float = Field(default=0.0, ge=0)
