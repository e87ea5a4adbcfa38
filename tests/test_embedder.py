"""Embedding models: texts become vectors of length 1, whatever they are embedded beside."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from tiny_bert import bert_dir as bert_dir
from tiny_t5 import t5_model_dir as t5_model_dir
from transformers import AutoModel, AutoTokenizer

from luthier import embedder
from luthier.embedder import open_embedder
from luthier.errors import ModelError

TEXTS = [
    "the doctor bought a car .",
    "the old stork sang under the big bridge yesterday .",
    "river ?",
    "the physician purchased a automobile .",
]


def own(folder: Path, text: str, pooling: str = "mean") -> NDArray[np.float32]:
    """One text alone, by transformers itself."""
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder)
    ids = torch.tensor([tokenizer(text)["input_ids"]])
    with torch.inference_mode():
        states = model.eval()(input_ids=ids).last_hidden_state[0]
    vector = {"mean": states.mean(0), "cls": states[0], "lasttoken": states[-1]}[pooling]
    found: NDArray[np.float32] = (vector / vector.norm()).numpy()
    return found


def test_texts_become_what_the_model_makes_of_each_alone(
    bert_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    embed = open_embedder(str(bert_dir))
    vectors = embed(TEXTS)
    assert vectors.dtype == np.float32 and vectors.shape == (4, 32)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert np.allclose(vectors, [own(bert_dir, text) for text in TEXTS], atol=1e-6)
    monkeypatch.setattr(embedder, "_BATCH_TOKENS", 12)
    assert np.allclose(embed(TEXTS), vectors, atol=1e-6), "whatever they are embedded beside"
    assert np.allclose(embed(TEXTS[::-1]), vectors[::-1], atol=1e-6)
    assert embed([]).shape == (0, 32)


def test_the_longest_come_first_and_padding_is_bounded() -> None:
    lengths = [3, 9, 1, 9, 4, 4, 2]
    batches = list(embedder._batches(lengths))
    assert sorted(place for batch in batches for place in batch) == list(range(7))
    assert [lengths[place] for batch in batches for place in batch] == [9, 9, 4, 4, 3, 2, 1]
    assert list(embedder._batches([10_000, 10_000])) == [[0], [1]], "one is always run"


def test_paraphrases_are_near_and_others_are_not(bert_dir: Path) -> None:
    first, second, third, again = open_embedder(str(bert_dir))(TEXTS)
    assert first @ again > 0.999
    assert max(first @ second, first @ third) < 0.9


def test_a_long_text_is_read_to_its_end(bert_dir: Path) -> None:
    embed = open_embedder(str(bert_dir))
    assert embed.window == 32
    head = "the old house " * 20
    one, other = embed([head + "stork", head + "car"])
    assert not np.allclose(one, other), "the last word is not cut off"
    parts = ["the old house " * 10, "the old house " * 10]
    assert np.allclose(embed(["".join(parts)])[0], own(bert_dir, parts[0]), atol=1e-6), (
        "two equal windows are as one"
    )


def write(folder: Path, **files: Any) -> Path:
    """What sentence-transformers writes beside a model."""
    for name, content in files.items():
        path = folder / f"{name.replace('__', '/')}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(content), encoding="utf-8")
    return folder


MODULES = [
    {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
    {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
]


@pytest.fixture
def folder(bert_dir: Path, tmp_path: Path) -> Path:
    shutil.copytree(bert_dir, tmp_path / "model")
    return tmp_path / "model"


@pytest.mark.parametrize(
    ("said", "pooling"),
    [
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, "cls"),
        ({"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}, "mean"),
        ({"pooling_mode_lasttoken": True}, "lasttoken"),
        ({"pooling_mode": "cls"}, "cls"),
        ({"word_embedding_dimension": 32}, "mean"),
    ],
)
def test_a_models_own_pooling_is_followed(folder: Path, said: Any, pooling: str) -> None:
    write(folder, modules=MODULES, **{"1_Pooling__config": said})
    found = open_embedder(str(folder))(TEXTS)
    assert np.allclose(found, [own(folder, text, pooling) for text in TEXTS], atol=1e-6)


def test_a_models_own_window_is_followed(folder: Path) -> None:
    write(folder, sentence_bert_config={"max_seq_length": 12, "do_lower_case": False})
    assert open_embedder(str(folder)).window == 12
    write(folder, sentence_bert_config={"max_seq_length": None})
    assert open_embedder(str(folder)).window == 32, "that of its tokenizer and places"


def test_what_is_left_of_a_model_is_said(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dense = {"idx": 2, "path": "2_Dense", "type": "sentence_transformers.models.Dense"}
    write(folder, modules=[*MODULES, dense])
    open_embedder(str(folder))
    assert "Dense of its modules.json is not applied" in capsys.readouterr().err.replace("\n", " ")


def test_a_causal_model_embeds_too(tiny_model_dir: Path) -> None:
    texts = ["Paris is the capital of France.", "yes", ""]
    vectors = open_embedder(str(tiny_model_dir))(texts)
    assert np.allclose(vectors[:2], [own(tiny_model_dir, text) for text in texts[:2]], atol=1e-5)
    assert not vectors[2].any(), "without a token there is nothing to be like"


def test_a_run_embeds_with_what_it_learned(train_run: Callable[..., Any]) -> None:
    run, _ = train_run()
    name = f"run:{run.name}"
    trained = open_embedder(name, runs=run.path.parent)(["We will build it."])
    base = open_embedder(run.recipe.model.name)(["We will build it."])
    assert trained.shape == base.shape and not np.allclose(trained, base, atol=1e-6)


# --- what is wrong -----------------------------------------------------------------------------


def refused(name: Path | str) -> str:
    with pytest.raises(ModelError) as caught:
        open_embedder(str(name))
    return str(caught.value)


def test_models_that_cannot_be_had(tmp_path: Path, t5_model_dir: Path, folder: Path) -> None:
    assert "there is no folder" in refused(tmp_path / "nowhere")
    assert "cannot be fetched from the hub" in refused("sentence-transformers/all-MiniLM-L6-v2")
    assert "has no config.json" in refused(tmp_path)
    assert "is an encoder-decoder" in refused(t5_model_dir)
    write(folder, **{"modules": MODULES, "1_Pooling__config": {"pooling_mode_max_tokens": True}})
    assert "pools its hidden states by max_tokens; luthier knows mean" in refused(folder)
    (folder / "modules.json").write_text("[", encoding="utf-8")
    assert "modules.json: cannot be read" in refused(folder)
    write(folder, modules={"a": 1})
    assert "modules.json: no list" in refused(folder)


def test_weights_that_are_not_there(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    lost = "encoder.layer.1.output.dense.weight"
    save_file({k: v for k, v in weights.items() if k != lost}, folder / "model.safetensors")
    assert f"lack 1 tensors that BertModel needs, e.g. {lost}" in refused(folder)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    assert "import AutoModel as M" in refused(folder)


def test_vectors_that_are_no_numbers(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["embeddings.LayerNorm.weight"][0] = float("nan")
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(ModelError, match="not finite"):
        open_embedder(str(folder))(TEXTS)


def fetched(files: Sequence[str], part: Any) -> set[str]:
    """Which files of a hub repository are wanted, by the hub's own matching."""
    from huggingface_hub.utils import filter_repo_objects

    from luthier.locate import patterns

    allow, ignore = patterns(part, code=False)
    return set(filter_repo_objects(files, allow_patterns=allow, ignore_patterns=ignore))


def test_what_is_fetched() -> None:
    needed = {"config.json", "tokenizer.json", "vocab.txt", "model.safetensors"}
    pooling = {"modules.json", "sentence_bert_config.json", "1_Pooling/config.json"}
    others = ["onnx/model.onnx", "pytorch_model.bin", "README.md", "openvino/model.safetensors",
              "2_Dense/model.safetensors", "onnx/config.json", "rust_model.ot"]  # fmt: skip
    files = [*needed, *pooling, *others]
    assert fetched(files, "embedder") == needed | pooling
    assert fetched(files, "weights") == needed
    assert fetched(files, "config") == {"config.json"}
