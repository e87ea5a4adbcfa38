"""Opens embedding models: texts become vectors, and their cosine says how alike they are.

    embed = open_embedder("sentence-transformers/all-MiniLM-L6-v2")
    vectors = embed(texts)             # float32 (texts, dimensions), each of length 1
    vectors @ vectors.T                # cosines

Any encoder or causal language model will do, but only one that was trained to embed sentences
puts the same meaning near and others far (Reimers and Gurevych 2019, arXiv:1908.10084): in the
hidden states of other models all sentences are alike (Ethayarajh 2019, arXiv:1909.00512).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from torch import Tensor

from luthier.console import say
from luthier.errors import ModelError
from luthier.locate import RUN_PREFIX, explained, locate
from luthier.recipe import ModelSection
from luthier.run import RUNS

__all__ = ["Embedder", "open_embedder"]

Pooling = Literal["mean", "cls", "lasttoken"]
_POOLINGS: tuple[Pooling, ...] = ("mean", "cls", "lasttoken")
_WINDOW = 512
"""Tokens that are read at once where the model's folder names no number: BERT's."""
_BATCH_TOKENS = 8192
"""Tokens that are run at once, padding included: 16 windows of BERT's length."""


@dataclass(frozen=True)
class Embedder:
    """A model and what is done with its hidden states."""

    name: str
    model: Any
    """Gives `last_hidden_state`, (rows, tokens, dimensions)."""
    tokenizer: Any
    pooling: Pooling
    window: int
    """Tokens that are read at once, special ones included. A longer text is read in several windows
    and the vectors of all its tokens are averaged: none is cut."""

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed texts, the longest first, so that those of one batch need little padding.

        Returns:
            (texts, dimensions), each row of length 1; of a text without a token, zeros, which are
            like nothing.

        Raises:
            ModelError: what the model computes are no numbers.
        """
        windows, owners = self._windows(texts)
        sums = np.zeros((len(texts), self.model.config.get_text_config().hidden_size), np.float32)
        for places in _batches([len(ids) for ids in windows]):
            pooled = self._pooled([windows[place] for place in places])
            for place, vector in zip(places, pooled, strict=True):
                sums[owners[place]] += len(windows[place]) * vector
        if not np.isfinite(sums).all():
            raise ModelError(
                f"model '{self.name}': its vectors are not finite; no text is like one."
            )
        lengths = np.linalg.norm(sums, axis=1, keepdims=True)
        unit: NDArray[np.float32] = sums / np.maximum(lengths, np.finfo(np.float32).tiny)
        return unit

    def _windows(self, texts: Sequence[str]) -> tuple[list[list[int]], list[int]]:
        """Token ids, special ones included, and the place of the text that each belongs to."""
        if not texts:
            return [], []
        read = self.tokenizer(
            list(texts),
            truncation=True,
            max_length=self.window,
            return_overflowing_tokens=True,
            padding=False,
        )
        pairs = zip(read["input_ids"], read["overflow_to_sample_mapping"], strict=True)
        found = [(list(ids), owner) for ids, owner in pairs if len(ids)]
        return [ids for ids, _ in found], [owner for _, owner in found]

    def _pooled(self, windows: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """One vector for each of some windows."""
        width, pad = max(map(len, windows)), self.tokenizer.pad_token_id or 0
        ids = torch.tensor([[*ids, *[pad] * (width - len(ids))] for ids in windows])
        mask = torch.tensor([[1] * len(ids) + [0] * (width - len(ids)) for ids in windows])
        device = self.model.device
        with torch.inference_mode():
            states = self.model(
                input_ids=ids.to(device), attention_mask=mask.to(device)
            ).last_hidden_state.float()
            pooled = _pool(states, mask.to(device), self.pooling)
        return cast(NDArray[np.float32], pooled.cpu().numpy())


def open_embedder(name: str, *, revision: str | None = None, runs: Path = RUNS) -> Embedder:
    """Open a model that turns texts into vectors, on the accelerator if there is one.

    What sentence-transformers writes into a model's folder is followed: how the hidden states are
    pooled (the first, the last, or the mean of all, which is the default) and how many tokens are
    read at once. Weights are fp32.

    Args:
        name: as in a recipe: an alias, a hub id, a local folder, or `run:NAME`.
        revision: of the hub.
        runs: where `run:NAME` is looked up.

    Returns:
        A function of texts.

    Raises:
        ModelError: the model cannot be found, fetched or opened, or is no encoder or causal model.
    """
    section = ModelSection(name=name, revision=revision)
    folder = locate(section, runs, "embedder")
    with explained(section, folder, "no tokenizer can be opened"):
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, use_fast=True)
    if not tokenizer.is_fast:
        raise ModelError(f"model '{name}': it has no fast tokenizer (tokenizer.json).")
    model = _model(section, folder, runs)
    pooling, window = _as_trained(name, folder)
    limits = [window, tokenizer.model_max_length]
    limits += [getattr(model.config.get_text_config(), "max_position_embeddings", None) or window]
    if torch.accelerator.is_available():
        model = model.to(torch.accelerator.current_accelerator())
    return Embedder(name, model, tokenizer, pooling, min(limits))


def _model(section: ModelSection, folder: Path, runs: Path) -> Any:
    with explained(section, folder, "config.json cannot be understood"):
        config = transformers.AutoConfig.from_pretrained(folder)
    if config.is_encoder_decoder:
        raise ModelError(
            f"model '{section.name}' is an encoder-decoder, which does not embed texts here. Name "
            "a sentence-embedding model, e.g. sentence-transformers/all-MiniLM-L6-v2."
        )
    if section.name.startswith(RUN_PREFIX):
        from luthier.model import decoder, open_model

        return decoder(open_model(section, runs=runs))
    with explained(section, folder, "the model cannot be opened"):
        model, info = transformers.AutoModel.from_pretrained(
            folder, dtype=torch.float32, use_safetensors=True, output_loading_info=True
        )
    # BERT's pooler is trained for something else, is not used here and often left out.
    if missing := sorted(key for key in info["missing_keys"] if not key.startswith("pooler.")):
        raise ModelError(
            f"{folder}: the weights lack {len(missing)} tensors that {type(model).__name__} "
            f"needs, e.g. {missing[0]}; they would be random. Fetch or export the model anew."
        )
    return model.requires_grad_(False).eval()


def _as_trained(name: str, folder: Path) -> tuple[Pooling, int]:
    """How sentence-transformers' files say that hidden states are pooled, and tokens at once."""
    modules = [m for m in _read(folder / "modules.json", list) if isinstance(m, dict)]
    kinds = {str(m.get("type")).rpartition(".")[2]: str(m.get("path", "")) for m in modules}
    if others := sorted(kinds.keys() - {"Transformer", "Pooling", "Normalize"}):
        say(
            f"{name}: {', '.join(others)} of its modules.json is not applied: its vectors are "
            "those before it", "yellow",
        )  # fmt: skip
    stated = _read(folder / kinds.get("Pooling", "1_Pooling") / "config.json", dict)
    start = "pooling_mode_"
    modes = [key.removeprefix(start) for key, on in stated.items() if key.startswith(start) and on]
    if "pooling_mode" in stated:
        modes = [str(stated["pooling_mode"])]
    modes = [{"cls_token": "cls", "mean_tokens": "mean"}.get(m, m) for m in modes] or ["mean"]
    if len(modes) > 1 or modes[0] not in _POOLINGS:
        raise ModelError(
            f"model '{name}' pools its hidden states by {' and '.join(modes)}; luthier knows "
            f"{', '.join(_POOLINGS)}. Use another embedding model."
        )
    window = _read(folder / "sentence_bert_config.json", dict).get("max_seq_length")
    return cast(Pooling, modes[0]), window if isinstance(window, int) and window > 0 else _WINDOW


def _read(path: Path, kind: type) -> Any:
    """What a JSON file says; empty where there is none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return kind()
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: cannot be read: {error}. Fetch the model anew.") from None
    if not isinstance(found, kind):
        raise ModelError(f"{path}: no {kind.__name__} of JSON. Fetch the model anew.")
    return found


def _batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Places of texts of so many tokens in batches, the longest first."""
    batch: list[int] = []
    for place in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if batch and (len(batch) + 1) * lengths[batch[0]] > _BATCH_TOKENS:
            yield batch
            batch = []
        batch.append(place)
    if batch:
        yield batch


def _pool(states: Tensor, mask: Tensor, pooling: Pooling) -> Tensor:
    """One vector a row.

    Args:
        states: (rows, tokens, dimensions).
        mask: (rows, tokens), 1 where a token is no padding; padding is on the right.
        pooling: the first token, the last one, or the mean of all.
    """
    if pooling == "cls":
        return states[:, 0]
    if pooling == "lasttoken":
        return states[torch.arange(len(states), device=states.device), mask.sum(1) - 1]
    shown = mask[:, :, None].to(states.dtype)
    return (states * shown).sum(1) / shown.sum(1)
