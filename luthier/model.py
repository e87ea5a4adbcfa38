"""The only place weights are opened: load, quantize, attach and merge adapters, look inside.

Which folder a model's name stands for is `locate.py`'s business.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import torch
import transformers
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers.cache_utils import DynamicCache, DynamicLayer
from transformers.pytorch_utils import Conv1D

from luthier import adapters, seq2seq
from luthier.artifacts import Plan, TrainSummary
from luthier.console import say
from luthier.errors import MissingExtra, ModelError, RunError
from luthier.fused import fuse
from luthier.locate import (
    ALIASES,
    RUN_PREFIX,
    explained,
    first_line,
    hushed,
    locate,
    name_for_others,
)
from luthier.made_with import MadeWith, base_of
from luthier.products import (
    FrozenConv1D,
    FrozenLinear,
    add_adapters_in_place,
    round_frozen_weights,
)
from luthier.recipe import ModelSection
from luthier.run import RUNS, Run
from luthier.tokenizer import open_tokenizer
from luthier.training.config import LoraSection, QuantizationSection

__all__ = [
    "ALIASES", "Precision", "attach_adapter", "autocast", "checkpoint_activations", "decoder",
    "has_plain_cache", "hidden_states", "lm_head", "logits", "merge", "open_config", "open_model",
    "open_tokenizer", "save_adapter", "save_full", "save_tokenizer", "trained_model",
]  # fmt: skip

Precision = Literal["float32", "frozen_bf16", "bf16_autocast", "fp16_autocast"]


# --- opening -----------------------------------------------------------------------------------


def open_config(section: ModelSection, runs: Path = RUNS) -> Any:
    """Read the model's configuration; no weights are fetched or opened.

    Returns:
        A `transformers.PretrainedConfig`.

    Raises:
        ModelError: the model cannot be found, fetched or understood.
    """
    return _config(section, locate(section, runs, "config"))


def open_model(
    section: ModelSection,
    *,
    runs: Path = RUNS,
    precision: Precision = "float32",
    quantization: QuantizationSection | None = None,
    attn_implementation: str = "sdpa",
    adapter: Path | None = None,
    trainable: bool = False,
) -> Any:
    """Open a causal language model, or an encoder-decoder (`seq2seq.py`), in eval mode.

    An unquantized model is left on the CPU; a quantized one is put where it will run.

    Args:
        section: which model.
        runs: where `run:NAME` is looked up.
        precision: `frozen_bf16` computes products with frozen decoder weights in bfloat16, once
            an adapter is on top; with all others the weights are fp32 (see `autocast`).
        quantization: a frozen base in 8 or 4 bits.
        attn_implementation: as in transformers.
        adapter: folder of a saved adapter to put on top.
        trainable: leave the parameters (of the adapter, where there is one) trainable.

    Returns:
        A `transformers.PreTrainedModel`, or a `peft.PeftModel` with an adapter.

    Raises:
        ModelError: the model cannot be found, fetched, verified or opened.
    """
    if section.name.startswith(RUN_PREFIX):
        folder = locate(section, runs, "config")
        model = _open_run_as_base(section, runs, quantization, attn_implementation, precision)
    else:
        folder = locate(section, runs, "weights")
        model = _load(section, folder, quantization, attn_implementation, precision)
    model.name_or_path = name_for_others(section, folder, runs)
    model.base_revision = section.revision
    if not (trainable and adapter is None and quantization is None):
        model.requires_grad_(False)
    if precision == "frozen_bf16":
        _compute_frozen_products_in_bf16(model)
    fuse(model)
    if adapter is not None:
        model = adapters.load(model, adapter, trainable=trainable)
        if precision in ("float32", "frozen_bf16"):
            add_adapters_in_place(model)
        if precision == "frozen_bf16":
            round_frozen_weights(model)
    return model.eval()


def trained_model(run: Run, *, runs: Path | None = None, base: bool = False) -> tuple[Any, Any]:
    """Open the model that a run trained, as it was trained, on the accelerator if there is one.

    Args:
        run: a run whose train stage has finished (with `base`, whose plan stage has).
        runs: where `run:NAME` is looked up; null: beside the run.
        base: leave out what was learned: the model the run started from, opened the same way.

    Returns:
        (model in eval mode, tokenizer).

    Raises:
        ModelError: the model cannot be opened, or is no longer the one that the run started from.
    """
    made, runs = MadeWith.of(run), runs or run.path.parent
    recipe, section = made.recipe, base_of(run, runs)
    tokenizer = open_tokenizer(section, runs)
    options: dict[str, Any] = {
        "runs": runs,
        "precision": made.precision or Plan.load(run).precision,
        "quantization": recipe.train.quantization,
        "attn_implementation": recipe.train.attn_implementation,
    }
    if not base:
        summary = TrainSummary.load(run)
        weights = run.path / summary.weights
        if summary.kind == "adapter":
            options["adapter"] = weights
        else:
            section = ModelSection(name=str(weights.resolve()))
    model = open_model(section, **options)
    if options["precision"] == "frozen_bf16":
        round_frozen_weights(model)
    if torch.accelerator.is_available() and recipe.train.quantization is None:
        model = model.to(torch.accelerator.current_accelerator())
    return model, tokenizer


def merge(run: Run, *, runs: Path | None = None, attn_implementation: str = "sdpa") -> Any:
    """Make one plain fp32 model of what a run trained.

    The adapter is added to the base in full precision, also where the run trained on a quantized
    base or computed frozen products in bf16.

    Args:
        run: a run whose train stage has finished.
        runs: where `run:NAME` is looked up; null: beside the run.
        attn_implementation: as in transformers.

    Returns:
        A `transformers.PreTrainedModel` on the CPU, in eval mode, without peft or gradients.
    """
    summary, runs = TrainSummary.load(run), runs or run.path.parent
    weights = run.path / summary.weights
    if summary.kind == "full":
        section = ModelSection(name=str(weights.resolve()))
        return open_model(section, attn_implementation=attn_implementation)
    model = open_model(
        base_of(run, runs), runs=runs, adapter=weights, attn_implementation=attn_implementation
    )
    merged = model.merge_and_unload(safe_merge=True)
    return merged.requires_grad_(False).eval()


def _open_run_as_base(
    section: ModelSection,
    runs: Path,
    quantization: QuantizationSection | None,
    attn_implementation: str,
    precision: Precision,
) -> Any:
    run = Run.open(section.name.removeprefix(RUN_PREFIX), runs)
    model = merge(run, runs=runs, attn_implementation=attn_implementation).requires_grad_(True)
    if quantization is None:
        return model
    with tempfile.TemporaryDirectory() as folder:  # bitsandbytes quantizes while it loads
        save_full(model, open_tokenizer(section, runs), Path(folder))
        return _load(section, Path(folder), quantization, attn_implementation, precision)


# --- loading -----------------------------------------------------------------------------------


def _load(
    section: ModelSection,
    folder: Path,
    quantization: QuantizationSection | None,
    attn_implementation: str,
    precision: Precision,
) -> Any:
    options: dict[str, Any] = {}
    if quantization is not None:
        options["quantization_config"] = _bitsandbytes(quantization, precision)
        cuda = torch.cuda.is_available()
        options["device_map"] = {"": torch.cuda.current_device() if cuda else "cpu"}
    kind = transformers.AutoModelForCausalLM
    if _config(section, folder).is_encoder_decoder:
        kind = transformers.AutoModelForSeq2SeqLM
    with explained(section, folder, "the model cannot be opened"):
        model, info = kind.from_pretrained(
            folder,
            dtype=torch.float32,
            attn_implementation=attn_implementation,
            use_safetensors=True,
            trust_remote_code=section.trust_remote_code,
            output_loading_info=True,
            **options,
        )
    if quantization is not None and model.device.type == "cpu":
        _mend_4bit_on_cpu(model, section.name)
    if quantization is not None and not _is_any_quantized(model):
        say(
            f"{section.name}: nothing is quantized: train.quantization leaves out every layer "
            "(llm_int8_enable_fp32_cpu_offload keeps what is on the CPU in fp32)", "yellow",
        )  # fmt: skip
    if missing := sorted(info["missing_keys"]):
        raise ModelError(
            f"{folder}: the weights lack {len(missing)} tensors that {type(model).__name__} "
            f"needs, e.g. {missing[0]}; they would be random. Fetch or export the model anew."
        )
    if unused := sorted(info["unexpected_keys"]):
        say(f"{section.name}: {len(unused)} tensors are of no use to {type(model).__name__} and "
            f"are left out, e.g. {unused[0]}", "yellow")  # fmt: skip
    if attn_implementation != "flash_attention_2":  # has no CPU kernels to look with
        _check_forward(model, section.name)
    return model


def _check_forward(model: Any, name: str) -> None:
    """Run two short rows: `logits` must equal the model's own, and no token may see later ones."""
    seen: list[Tensor] = []
    decoder = model.get_decoder()
    hook = decoder.register_forward_hook(lambda _m, _i, out: seen.append(out.last_hidden_state))
    ids = torch.tensor([[1, 2, 3], [1, 2, 4]], device=model.device)
    # What an encoder reads is the same for both rows: it is asked about the decoder's tokens.
    given = {"input_ids": ids[:1].expand(2, -1), "decoder_input_ids": ids}
    try:
        with torch.inference_mode():
            rows = given if seq2seq.has_encoder(model) else {"input_ids": ids}
            own = model(**rows, use_cache=False).logits.float()
            ours = logits(model, seen[0]).float() if seen else own[:0]
    finally:
        hook.remove()
    spread = own.std().clamp(min=1e-6)
    if (own[0, :2] - own[1, :2]).abs().max() > 0.5 * spread:
        raise ModelError(
            f"model '{name}': {type(model).__name__} lets a token see the ones after it, so it "
            "cannot generate text. Use a causal language model."
        )
    if own.shape != ours.shape or not torch.allclose(own, ours, rtol=1e-3, atol=1e-3):
        raise ModelError(
            f"model '{name}': {type(model).__name__} computes its logits in a way that luthier "
            "does not know. Use another model."
        )


def _is_any_quantized(model: Any) -> bool:
    import bitsandbytes

    kinds = (bitsandbytes.nn.Linear4bit, bitsandbytes.nn.Linear8bitLt)
    return any(isinstance(module, kinds) for module in model.modules())


def _mend_4bit_on_cpu(model: Any, name: str) -> None:
    """Keep two faults of bitsandbytes (seen in 0.50, on processors with AVX-512) out.

    At the first forward pass in eval mode (a validation, say) it repacks the weights for
    inference, and lets no gradient through from then on: switched off. Rows that are not whole
    blocks are dequantized with other blocks' scales: such a model is refused.
    """
    from bitsandbytes.functional import dequantize_4bit, dequantize_blockwise

    for path, module in model.named_modules():
        if not hasattr(module, "support_avx512bf16_for_cpu"):
            continue
        module.support_avx512bf16_for_cpu = False
        state = module.weight.quant_state
        if state.shape[-1] % state.blocksize == 0:
            continue
        scales = state.absmax
        if state.nested:
            scales = dequantize_blockwise(scales, state.state2) + state.offset
        packed = module.weight.data.view(torch.uint8).flatten()
        values = state.code[torch.stack([packed >> 4, packed & 15], dim=1).flatten().long()]
        expected = values * scales.repeat_interleave(state.blocksize)[: values.numel()]
        found = dequantize_4bit(module.weight.data, state).flatten()
        if not torch.allclose(found.float(), expected.float(), rtol=0.02, atol=1e-3):
            raise ModelError(
                f"model '{name}': bitsandbytes computes 4-bit layers wrongly on this CPU when "
                f"their inputs are no multiple of {state.blocksize} ({path}: {state.shape[-1]}). "
                "Use train.quantization.load_in_8bit, a GPU, or train.quantization: null."
            )


def _config(section: ModelSection, folder: Path) -> Any:
    with explained(section, folder, "config.json cannot be understood"):
        return transformers.AutoConfig.from_pretrained(
            folder, trust_remote_code=section.trust_remote_code
        )


def _bitsandbytes(quantization: QuantizationSection, precision: Precision) -> Any:
    try:
        with hushed():
            import bitsandbytes  # noqa: F401
    except ImportError:
        raise MissingExtra("train.quantization", "bnb") from None
    dtype = quantization.compute_dtype(precision)
    return transformers.BitsAndBytesConfig(
        **{**quantization.model_dump(), "bnb_4bit_compute_dtype": dtype}
    )


# --- adapters ----------------------------------------------------------------------------------


def attach_adapter(model: Any, lora: LoraSection, precision: Precision = "float32") -> Any:
    """Put a fresh LoRA adapter on a model; its parameters are fp32 and alone trainable.

    The caller seeds torch before. Low-rank adaptation: Hu et al. 2021, arXiv:2106.09685.

    Raises:
        ModelError: `target_modules`, `modules_to_save` or layer indices the model does not have,
            or an initialisation that a quantized base does not allow.
    """
    if precision == "frozen_bf16":
        _compute_frozen_products_in_bf16(model)
    adapted = adapters.attach(model, lora)
    if precision in ("float32", "frozen_bf16"):
        add_adapters_in_place(adapted)
    if precision == "frozen_bf16":
        round_frozen_weights(adapted)
    return adapted


# --- precision ---------------------------------------------------------------------------------


def _compute_frozen_products_in_bf16(model: Any) -> None:
    """Of a model that has no adapter yet: adapters stay fp32, also where they are frozen."""
    head = model.get_output_embeddings()
    for module in model.modules():
        # Exactly nn.Linear: quantized layers derive from it and have arithmetic of their own.
        if type(module) is nn.Linear and module is not head:
            module.__class__ = FrozenLinear
        elif type(module) is Conv1D:
            module.__class__ = FrozenConv1D


def autocast(precision: Precision, device_type: str) -> contextlib.AbstractContextManager[Any]:
    """The autocast context a precision asks for around forward and loss; else one without effect.

    Args:
        precision: what the plan decided.
        device_type: `cpu`, `cuda`, `mps`.
    """
    dtypes = {"bf16_autocast": torch.bfloat16, "fp16_autocast": torch.float16}
    if precision not in dtypes:
        return contextlib.nullcontext()
    return torch.autocast(device_type, dtype=dtypes[precision])


# --- looking inside ----------------------------------------------------------------------------


def hidden_states(model: Any, **inputs: Any) -> Tensor:
    """Run the decoder without the LM head.

    Args:
        model: plain or with an adapter.
        inputs: `input_ids` (batch, seq) or `inputs_embeds`, `attention_mask`, `position_ids`,
            `past_key_values` (a cache, extended in place).

    Returns:
        What the LM head would be given: (batch, seq, hidden).
    """
    inputs.setdefault("use_cache", inputs.get("past_key_values") is not None)
    states: Tensor = decoder(model)(**inputs).last_hidden_state
    return states


def decoder(model: Any) -> Any:
    """The model without its LM head, and without what peft wraps around it."""
    return _plain(model).get_decoder()


def lm_head(model: Any) -> Tensor:
    """Weight of the LM head: (vocabulary, hidden). `logits` also knows bias and scaling."""
    weight: Tensor = _plain(model).get_output_embeddings().weight
    return weight


def logits(model: Any, hidden: Tensor) -> Tensor:
    """Apply the LM head as the architecture does: with its bias, scaling and soft capping.

    Args:
        model: plain or with an adapter.
        hidden: (..., hidden), from `hidden_states`.

    Returns:
        (..., vocabulary), in the dtype of `hidden`.
    """
    plain = _plain(model)
    config = plain.config.get_text_config()
    if getattr(config, "scale_decoder_outputs", False):  # T5, before its version 1.1
        hidden = hidden * config.d_model**-0.5
    out: Tensor = plain.get_output_embeddings()(hidden)
    if scale := getattr(config, "logit_scale", None):  # Cohere
        out = out * scale
    if divisor := getattr(config, "logits_scaling", None):  # Granite
        out = out / divisor
    if multiplier := getattr(config, "lm_head_multiplier", None):  # Falcon-H1
        out = out * multiplier
    if cap := getattr(config, "final_logit_softcapping", None):  # Gemma 2, arXiv:2408.00118
        out = torch.tanh(out / cap) * cap
    return out


def has_plain_cache(model: Any) -> bool:
    """Whether all layers keep all keys and values: no sliding windows, no recurrent states."""
    config = _plain(model).config
    if config.is_encoder_decoder:
        return False
    layers = DynamicCache(config=config).layers
    return bool(layers) and all(type(layer) is DynamicLayer for layer in layers)


def checkpoint_activations(model: Any) -> None:
    """Recompute each layer's activations in the backward pass instead of keeping them.

    Chen et al. 2016, arXiv:1604.06174. Takes effect while the model is in training mode.

    Raises:
        ModelError: the architecture does not offer it.
    """
    try:
        with hushed():
            _plain(model).gradient_checkpointing_enable({"use_reentrant": False})
    except ValueError as error:
        raise ModelError(f"train.gradient_checkpointing: {first_line(error)}") from error


def _plain(model: Any) -> Any:
    return model.get_base_model() if hasattr(model, "get_base_model") else model


# --- saving ------------------------------------------------------------------------------------


def save_adapter(model: Any, folder: Path) -> None:
    """Write an adapter in peft's format; equal weights give equal bytes.

    Raises:
        RunError: the disk is full or the folder cannot be written.
    """
    adapters.save(model, folder)


def save_full(model: Any, tokenizer: Any, folder: Path) -> None:
    """Write a plain model and its tokenizer as safetensors and JSON; equal weights, equal bytes.

    Raises:
        RunError: the disk is full or the folder cannot be written.
    """
    with _written(folder, "model"):
        model.save_pretrained(folder)
    save_tokenizer(tokenizer, folder)


def save_tokenizer(tokenizer: Any, folder: Path) -> None:
    """Write a tokenizer with its chat template, as transformers reads it.

    Raises:
        RunError: the disk is full or the folder cannot be written.
    """
    with _written(folder, "tokenizer"):
        tokenizer.save_pretrained(folder)


@contextlib.contextmanager
def _written(folder: Path, what: str) -> Iterator[None]:
    """Make a folder, and turn what the libraries raise over writing there into a `RunError`."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except Exception as error:
        # tokenizers, written in Rust, raises bare exceptions.
        if not isinstance(error, (OSError, SafetensorError)) and type(error) is not Exception:
            raise
        raise RunError(
            f"{folder}: the {what} cannot be written: {first_line(error)}. Free some space or "
            "choose another folder with --runs."
        ) from error
