"""The tiny model of `conftest.py` as GGUF, and a LoRA adapter for it, for a real llama.cpp."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np


def write_model(folder: Path, path: Path) -> None:
    """Write a folder with a Llama and a byte-level BPE tokenizer as a GGUF file in fp32.

    Names, metadata and the order of rows of query and key are those of llama.cpp's format
    (ggml-org/llama.cpp, gguf-py: `constants.py`, `tensor_mapping.py`).
    """
    import gguf
    from safetensors.numpy import load_file

    config = json.loads((folder / "config.json").read_text())
    tensors = load_file(folder / "model.safetensors")
    writer = gguf.GGUFWriter(path, "llama")
    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    head = config["hidden_size"] // heads
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_rope_dimension_count(head)
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])
    _add_tokenizer(writer, folder)
    for name, tensor in tensors.items():
        tensor = _rows(name, tensor.astype(np.float32), heads, kv_heads)
        writer.add_tensor(_name(name), np.ascontiguousarray(tensor))
    _write(writer)


def write_adapter(
    folder: Path, path: Path, *, rank: int = 4, scale: float = 1.0, seed: int = 0
) -> None:
    """Write a LoRA adapter of random numbers for all `ffn_down`s of the model."""
    import gguf

    config = json.loads((folder / "config.json").read_text())
    rng = np.random.default_rng(seed)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, float(rank))
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    for block in range(config["num_hidden_layers"]):
        a = rng.normal(0, scale, (rank, inner)).astype(np.float32)
        b = rng.normal(0, scale, (hidden, rank)).astype(np.float32)
        writer.add_tensor(f"blk.{block}.ffn_down.weight.lora_a", a)
        writer.add_tensor(f"blk.{block}.ffn_down.weight.lora_b", b)
    _write(writer)


def _add_tokenizer(writer: Any, folder: Path) -> None:
    read = json.loads((folder / "tokenizer.json").read_text())
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    vocab = {**read["model"]["vocab"], **{t["content"]: t["id"] for t in read["added_tokens"]}}
    special = {t["content"] for t in read["added_tokens"]}
    tokens = sorted(vocab, key=lambda token: vocab[token])
    merges = [m if isinstance(m, str) else " ".join(m) for m in read["model"]["merges"]]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([3 if token in special else 1 for token in tokens])
    writer.add_token_merges(merges)
    writer.add_bos_token_id(vocab[settings["bos_token"]])
    writer.add_eos_token_id(vocab[settings["eos_token"]])
    writer.add_pad_token_id(vocab[settings["pad_token"]])
    writer.add_add_bos_token(False)
    writer.add_chat_template((folder / "chat_template.jinja").read_text())


def _name(name: str) -> str:
    if name == "model.embed_tokens.weight":
        return "token_embd.weight"
    if name == "model.norm.weight":
        return "output_norm.weight"
    _, _, block, *rest = name.split(".")
    part = {
        "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
        "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down",
    }[".".join(rest[:-1])]  # fmt: skip
    return f"blk.{block}.{part}.weight"


def _rows(name: str, tensor: np.ndarray, heads: int, kv_heads: int) -> np.ndarray:
    """Query and key with the rows that rotary embeddings turn together side by side."""
    if "q_proj" not in name and "k_proj" not in name:
        return tensor
    count = heads if "q_proj" in name else kv_heads
    rows, columns = tensor.shape
    halves = tensor.reshape(count, 2, rows // count // 2, columns)
    return halves.swapaxes(1, 2).reshape(rows, columns)


def _write(writer: Any) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
