"""Opens tokenizers, with a pad token that the model will never mistake for "stop"."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from luthier.errors import ModelError
from luthier.locate import explained, locate
from luthier.recipe import ModelSection
from luthier.run import RUNS


def open_tokenizer(section: ModelSection, runs: Path = RUNS) -> Any:
    """Open the tokenizer, padded on the right with a token that never means stop.

    Returns:
        A `transformers` tokenizer whose `pad_token_id` differs from `eos_token_id`, and which says
        whether its model `is_encoder_decoder`: rows are rendered for an encoder then (`chat.py`).

    Raises:
        ModelError: no tokenizer there, or none of its tokens can serve as padding.
    """
    from transformers import AutoConfig, AutoTokenizer

    folder = locate(section, runs, "tokenizer")
    with explained(section, folder, "no tokenizer can be opened"):
        config = AutoConfig.from_pretrained(folder, trust_remote_code=section.trust_remote_code)
        tokenizer = AutoTokenizer.from_pretrained(
            folder, use_fast=True, trust_remote_code=section.trust_remote_code
        )
    if tokenizer.eos_token_id is None:
        raise ModelError(f"{folder}: the tokenizer has no end-of-sequence token.")
    tokenizer.padding_side = "right"
    tokenizer.is_encoder_decoder = config.is_encoder_decoder
    _choose_pad_token(tokenizer, config.get_text_config().vocab_size, section.name)
    return tokenizer


# --- padding -----------------------------------------------------------------------------------

_PAD_NAMES = (
    "<pad>", "[PAD]", "<|pad|>", "<|padding|>", "<|finetune_right_pad_id|>", "<|endoftext|>",
    "<unk>", "[UNK]",
)  # fmt: skip


def _choose_pad_token(tokenizer: Any, rows: int, name: str) -> None:
    """Keep a pad token that means nothing else; else take one without use; else add one.

    Args:
        tokenizer: changed in place.
        rows: of the model's embedding; a pad token beyond them would have no vector.
        name: of the model, for the message.
    """
    meaning = {tokenizer.eos_token_id, tokenizer.bos_token_id}
    template = str(tokenizer.chat_template or "")
    specials = {str(t): int(i) for i, t in tokenizer.added_tokens_decoder.items() if t.special}
    specials |= {t: tokenizer.convert_tokens_to_ids(t) for t in tokenizer.all_special_tokens}
    current = tokenizer.pad_token_id
    if current is not None and current not in meaning and current < rows:
        return
    reserved = sorted(t for t in specials if re.search(r"reserved|extra|unused", t))
    for token in (*_PAD_NAMES, tokenizer.unk_token, *reserved):
        index = specials.get(token, rows)
        if index < rows and index not in meaning and token not in template:
            tokenizer.pad_token = token
            return
    if len(tokenizer) < rows:  # embeddings are often padded to a round number
        tokenizer.add_special_tokens({"pad_token": "<|pad|>"})
        return
    vocabulary = tokenizer.get_vocab()
    for token in _NEVER_IN_TEXT:
        if token in vocabulary:
            tokenizer.pad_token = token
            return
    raise ModelError(f"model '{name}': none of its tokens can serve as padding. Use another model.")


# Byte-level BPE writes byte b as one character; 0xC0, 0xC1 and 0xF5-0xFF never occur in UTF-8.
_NEVER_IN_TEXT = tuple(chr(byte) for byte in (0xFF, 0xFE, 0xC1, 0xC0))
