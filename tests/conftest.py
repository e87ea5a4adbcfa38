"""Fixtures: a tiny real model with a real tokenizer, and run folders made from recipes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from luthier.run import Run

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
CORPUS = [
    "We will build 400 new clinics before the next election.",
    "The economy grew last year, and nobody can say why.",
    "Input: a sentence\nOutput: True or False, yes or no.",
    "Reply 'True' if the sentence is a promise, 'False' if not.",
    "What is the capital of France? Paris is the capital of France.",
    "system user assistant red green blue dark-green",
]


SHAPE: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "tie_word_embeddings": True,
}
"""Of the tiny models."""


@pytest.fixture(scope="session", autouse=True)
def quick_measurements() -> Iterator[None]:
    """Plans measure this machine a tenth as long: what they measure is tested nowhere by value."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("luthier.planning.throughput._SECONDS", 0.025)
        yield


@pytest.fixture(scope="session")
def tiny_model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a 2-layer random Llama (100 k parameters) and a BPE tokenizer trained here."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("tiny") / "model"
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    specials = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=420,
        special_tokens=specials,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(CORPUS * 3, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        eos_token="<|im_end|>",
        bos_token="<|im_start|>",
        pad_token="<|endoftext|>",
        chat_template=CHAT_TEMPLATE,
    )
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        **SHAPE,
        vocab_size=len(tokenizer),
        max_position_embeddings=512,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def sliding_model_dir(tiny_model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A 2-layer Mistral whose tokens see the 6 tokens before them, with the same tokenizer."""
    import shutil

    import torch
    from transformers import AutoConfig, MistralConfig, MistralForCausalLM

    folder = tmp_path_factory.mktemp("sliding") / "model"
    shutil.copytree(tiny_model_dir, folder)
    torch.manual_seed(0)
    plain = AutoConfig.from_pretrained(tiny_model_dir)
    tokens = {name: getattr(plain, name) for name in ("vocab_size", "bos_token_id", "eos_token_id")}
    config = MistralConfig(**SHAPE, **tokens, pad_token_id=plain.pad_token_id, sliding_window=6)
    MistralForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture
def make_run(tmp_path: Path, tiny_model_dir: Path) -> Callable[..., Any]:
    """Make a run folder from a recipe; keyword arguments replace whole sections.

    The default recipe classifies 60 short sentences (`colour` words against `number` words) with
    the tiny model. Sections are merged one level deep: `train={"learning_rate": 1e-3}`.
    """
    import json

    from luthier import recipe as recipes

    def make(overrides: list[str] | None = None, **sections: Any) -> Run:
        rows = ["sentence,label,style"]
        for i in range(30):
            rows.append(f"We will paint wall {i} red and green for street {i * 7 % 31}.,True,plan")
            rows.append(f"Nobody counted {i} of the {i * 13 % 37} birds last year.,False,fact")
        (tmp_path / "rows.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
        recipe: dict[str, Any] = {
            "name": "tiny",
            "model": str(tiny_model_dir),
            "task": {"kind": "classification", "labels": ["True", "False"]},
            "data": {
                "sources": [{"path": "rows.csv", "input": "sentence", "output": "label"}],
                "template": "promise_instruction_first",
                "filters": [{"use": "empty"}, {"use": "exact_duplicates"}],
            },
            "train": {
                "learning_rate": 1e-2,
                "num_train_epochs": 1,
                "lora": {"r": 4, "lora_alpha": 8},
                "bf16": False,
            },
        }
        for name, value in sections.items():
            merge = isinstance(value, dict) and isinstance(recipe.get(name), dict)
            recipe[name] = {**recipe[name], **value} if merge else value
        path = tmp_path / "recipe.yaml"
        path.write_text(json.dumps(recipe), encoding="utf-8")  # JSON is YAML
        return Run.create(recipes.load(path, overrides or []), tmp_path / "runs")

    return make


def save_plan(run: Run, precision: str = "float32") -> None:
    """A plan that decides nothing but the precision: the planner has tests of its own."""
    from luthier.artifacts import Plan

    Plan(
        device="cpu", precision=precision, decisions=[], findings=[], memory=[], total_bytes=0,
        available_bytes=1, fits=True, trainable_parameters=0, total_parameters=0, train_rows=1,
        batches_per_epoch=1, total_steps=1, tokens_per_epoch=1, seconds=None, schedule=[],
    ).save(run)  # fmt: skip


@pytest.fixture
def ready_run(make_run: Callable[..., Run]) -> Callable[..., Run]:
    """Make a run whose data and plan are done: `ready_run(precision="float32", train={...})`."""

    def make(precision: str = "float32", **sections: Any) -> Run:
        from luthier.data.build import build

        run = make_run(**sections)
        with run.stage("data", "built"):
            build(run)
        with run.stage("plan", "planned"):
            save_plan(run, precision)
        return run

    return make


@pytest.fixture
def train_run(ready_run: Callable[..., Run]) -> Callable[..., Any]:
    """Train a fresh run and return (run, summary)."""

    def make(**arguments: Any) -> Any:
        from luthier.training.train import train

        run = ready_run(**arguments)
        with run.stage("train", "trained"):
            summary = train(run)
        return run, summary

    return make
