"""What a process keeps where the model is shared out over several."""

from __future__ import annotations

from typing import Any

import pytest
from transformers import LlamaConfig

from luthier.artifacts import MemoryPart
from luthier.planning.memory import Footprint
from luthier.planning.sharing import shared_out
from luthier.training.config import TrainConfig

LAYERS, VOCABULARY, HIDDEN = 4, 1000, 8
CONFIG = LlamaConfig(
    vocab_size=VOCABULARY,
    hidden_size=HIDDEN,
    num_hidden_layers=LAYERS,
    num_attention_heads=2,
    tie_word_embeddings=True,
)
EMBEDDINGS = VOCABULARY * HIDDEN * 4
LAYER = 20_000
BYTES = {
    "weights": EMBEDDINGS + LAYERS * LAYER,
    "optimizer": 80_000,
    "gradients": 60_000,
    "activations": 7_000,
    "libraries": 5_000,
}


def shared(processes: int = 4, device: Any = "cuda", **settings: Any) -> dict[str, int]:
    parts = tuple(MemoryPart(part=name, bytes=size, how="it is") for name, size in BYTES.items())
    whole = Footprint(
        parts=parts,
        total_parameters=30_000,
        trainable_parameters=30_000,
        written=7_000,
        calls=100,
        pageable=0,
    )
    train = TrainConfig.model_validate({"lora": None, **settings})
    found = shared_out(whole, CONFIG, train, processes=processes, device=device)
    return {part.part: part.bytes for part in found.parts}


def zero(stage: int, **more: Any) -> dict[str, Any]:
    return {"deepspeed": {"zero_optimization": {"stage": stage, **more}}}


def test_whole_models_are_as_large_as_alone() -> None:
    assert shared() == BYTES
    assert shared(processes=1, fsdp=True) == BYTES


@pytest.mark.parametrize(
    ("stage", "divided"),
    [
        (1, {"optimizer"}),
        (2, {"optimizer", "gradients"}),
        (3, {"optimizer", "gradients", "weights"}),
    ],
)
def test_zero_shares_more_with_every_stage(stage: int, divided: set[str]) -> None:
    found = shared(**zero(stage))

    for name, size in BYTES.items():
        assert found[name] == (size // 4 if name in divided else size), name
    assert ("gathered weights" in found) == (stage == 3)


def test_fsdp_gathers_a_layer_and_the_next() -> None:
    assert shared(fsdp=True)["gathered weights"] == EMBEDDINGS + 2 * LAYER
    kept = {"fsdp": True, "fsdp_config": {"reshard_after_forward": False}}
    assert shared(**kept)["gathered weights"] == BYTES["weights"]


def test_what_is_offloaded_leaves_the_gpu() -> None:
    offload = {"device": "cpu"}
    found = shared(**zero(3, offload_optimizer=offload, offload_param=offload))

    assert found["optimizer"] == found["weights"] == 0
    assert found["gradients"] == BYTES["gradients"] // 4
    # On a CPU there is nowhere else to go.
    assert shared(device="cpu", **zero(3, offload_optimizer=offload))["optimizer"] == 20_000
