"""A 2-layer random T5 with a tokenizer of T5's kind trained here, for tests of encoder-decoders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

_MADE: dict[Path, Path] = {}
CORPUS = [
    "We will build 400 new clinics before the next election.",
    "We will paint wall 3 red and green for street 21. Nobody counted 7 of the birds last year.",
    "Reply 'True' if the sentence is a promise, 'False' if not.",
    "Input: a sentence\nOutput: True or False, yes or no.",
    "What is the capital of France? Paris is the capital of France.",
]


def make_t5(folder: Path, **changes: Any) -> Path:
    """Save a tiny T5 and its tokenizer; `changes` are of its configuration."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import T5Config, T5ForConditionalGeneration, T5Tokenizer

    backend = Tokenizer(models.Unigram())
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    specials = ["<pad>", "</s>", "<unk>"]
    trainer = trainers.UnigramTrainer(
        vocab_size=250,
        special_tokens=specials,
        unk_token="<unk>",
        initial_alphabet=[chr(c) for c in range(33, 127)],
        show_progress=False,
    )
    backend.train_from_iterator(CORPUS * 3, trainer)
    pieces = sorted(backend.get_vocab().items(), key=lambda piece: piece[1])
    scored = [(piece, 0.0 if i < len(specials) else -float(i)) for piece, i in pieces]
    tokenizer = T5Tokenizer(vocab=scored, extra_ids=8)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    # T5's embedding has more rows than its tokenizer has tokens.
    shape = {"vocab_size": len(tokenizer) + 20, "d_model": 64, "d_kv": 16, "d_ff": 128}
    shape |= {"num_layers": 2, "num_heads": 4, "decoder_start_token_id": 0}
    config = T5Config(**(shape | changes))
    T5ForConditionalGeneration(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def t5_model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tiny T5; one for all modules that import this fixture."""
    base = tmp_path_factory.getbasetemp()
    if base not in _MADE:
        _MADE[base] = make_t5(tmp_path_factory.mktemp("t5") / "model")
    return _MADE[base]
