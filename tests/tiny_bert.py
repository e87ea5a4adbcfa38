"""A 2-layer random BERT that takes synonyms for each other, for tests of embedding models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

SYNONYMS = [
    ("doctor", "physician"), ("bought", "purchased"), ("car", "automobile"), ("big", "large"),
    ("house", "home"), ("quickly", "fast"), ("sells", "offers"),
]  # fmt: skip
OTHERS = ["the", "a", "old", "stork", "river", "sang", "under", "bridge", "yesterday", ".", "?"]


def make_bert(folder: Path, **changes: Any) -> Path:
    """Save a tiny BERT and its tokenizer; `changes` are of its configuration.

    The two words of a pair have the same embedding and places have none, so a text and the same
    with synonyms have the same hidden states: what training does to paraphrases, planted.
    """
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *(w for pair in SYNONYMS for w in pair), *OTHERS]
    ids = {word: place for place, word in enumerate(words)}
    backend = Tokenizer(models.WordPiece(ids, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer()
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]",
        sep_token="[SEP]", model_max_length=32,
    )  # fmt: skip
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    shape |= {"num_attention_heads": 4, "max_position_embeddings": 32, "vocab_size": len(words)}
    model = BertModel(BertConfig(**(shape | changes)), add_pooling_layer=False)
    with torch.no_grad():
        model.embeddings.position_embeddings.weight.zero_()
        table = model.embeddings.word_embeddings.weight
        table.normal_()
        for first, second in SYNONYMS:
            table[ids[second]] = table[ids[first]]
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def bert_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tiny BERT; copy it before changing it."""
    return make_bert(tmp_path_factory.mktemp("bert") / "model")
