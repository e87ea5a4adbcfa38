"""Generated answers do not depend on padding, batches or what the caller draws at random."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from luthier.chat import Renderer
from luthier.evaluation.config import GenerationSection
from luthier.example import Message
from luthier.generate import answer
from luthier.prefix_cache import families

QUESTIONS = ["Why?", "What is the capital of France?", "We will build 400 clinics. " * 5, "Red."]


@pytest.fixture(scope="module")
def renderer(tiny_model_dir: Path) -> Renderer:
    return Renderer(AutoTokenizer.from_pretrained(tiny_model_dir))


@pytest.fixture(scope="module")
def model(tiny_model_dir: Path) -> Any:
    model = AutoModelForCausalLM.from_pretrained(tiny_model_dir, dtype=torch.float32).eval()
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.add_(torch.randn_like(parameter) * 0.15)
    return model


@pytest.fixture
def prompts(renderer: Renderer) -> list[list[int]]:
    return [renderer.prompt([Message("user", q)]) for q in QUESTIONS]


GREEDY = GenerationSection(max_new_tokens=12)
SAMPLED = GenerationSection(max_new_tokens=12, do_sample=True, temperature=1.5, top_p=0.95)


def greedy_by_hand(model: Any, renderer: Renderer, prompt: list[int], steps: int) -> str:
    ids = list(prompt)
    for _ in range(steps):
        with torch.inference_mode():
            token = int(model(input_ids=torch.tensor([ids])).logits[0, -1].argmax())
        ids.append(token)
        if token == renderer.stop_id:
            break
    text: str = renderer.tokenizer.decode(ids[len(prompt) :], skip_special_tokens=True)
    return text.strip()


@pytest.mark.parametrize("batch_size", [1, 3, 4])
def test_greedy_answers_equal_those_by_hand(
    model: Any, renderer: Renderer, prompts: list[list[int]], batch_size: int
) -> None:
    answers = answer(model, renderer, prompts, GREEDY, 0, batch_size=batch_size)

    assert answers == [greedy_by_hand(model, renderer, p, 12) for p in prompts]
    assert len(set(answers)) > 1


SHORT = GenerationSection(max_new_tokens=6)
SHOTS = [
    Message("user", "What did we paint red?"), Message("assistant", "a red wall"),
    Message("user", "What did we paint green?"), Message("assistant", "a green wall"),
]  # fmt: skip


@pytest.mark.parametrize(("attention", "batch_size"), [("sdpa", 1), ("sdpa", 3), ("eager", 4)])
def test_what_prompts_share_is_run_once(
    model: Any,
    renderer: Renderer,
    batch_size: int,
    attention: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(model.config, "_attn_implementation", attention)
    prompts = [renderer.prompt([*SHOTS, Message("user", q)]) for q in QUESTIONS]
    expected = [greedy_by_hand(model, renderer, p, 6) for p in prompts]
    computed: list[int] = []
    hook = model.model.register_forward_pre_hook(
        lambda module, args, kwargs: computed.append(kwargs["input_ids"].numel()), with_kwargs=True
    )

    answers = answer(model, renderer, prompts, SHORT, 0, batch_size=batch_size)

    hook.remove()
    assert answers == expected
    assert len(set(answers)) > 1
    [(shared, _)] = families(prompts, [1] * len(prompts))
    assert shared > 30
    assert computed[0] == shared
    longest = max(map(len, prompts)) - shared
    assert max(computed[1:]) <= batch_size * longest


def test_answers_of_several_templates(model: Any, renderer: Renderer) -> None:
    long = "Read this and answer it in one word. " * 10
    prompts = [
        renderer.prompt([Message("user", (long if i % 2 else "Judge: " * 60) + q)])
        for i, q in enumerate(QUESTIONS * 2)
    ]
    prompts.append(renderer.prompt([Message("user", "?")]))
    assert len(families(prompts, [1] * len(prompts))) >= 2
    done: list[int] = []

    answers = answer(model, renderer, prompts, SHORT, 0, batch_size=4, progress=done.append)

    assert answers == [greedy_by_hand(model, renderer, p, 6) for p in prompts]
    assert sum(done) == len(prompts)


def test_models_with_another_kind_of_cache_run_every_prompt(renderer: Renderer) -> None:
    from transformers import AutoConfig

    config = AutoConfig.for_model(
        "mistral", hidden_size=32, intermediate_size=64, num_hidden_layers=2, head_dim=8,
        num_attention_heads=4, num_key_value_heads=2, vocab_size=420, sliding_window=16,
    )  # fmt: skip
    torch.manual_seed(0)
    sliding = AutoModelForCausalLM.from_config(config).eval()
    prompts = [renderer.prompt([*SHOTS, Message("user", q)]) for q in QUESTIONS]

    answers = answer(sliding, renderer, prompts, SHORT, 0, batch_size=2)

    assert answers == [greedy_by_hand(sliding, renderer, p, 6) for p in prompts]


def test_sampling_is_seeded_and_leaves_the_callers_numbers_alone(
    model: Any, renderer: Renderer, prompts: list[list[int]]
) -> None:
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)

    first = answer(model, renderer, prompts, SAMPLED, 1)

    assert torch.rand(1) == expected
    assert answer(model, renderer, prompts, SAMPLED, 1) == first
    assert answer(model, renderer, prompts, SAMPLED, 2) != first


def test_the_answer_ends_at_the_stop_token(
    model: Any, renderer: Renderer, prompts: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def always_stop(*args: Any, **kwargs: Any) -> Any:
        out = forward(*args, **kwargs)
        out.logits[..., renderer.stop_id] = 1e4
        return out

    forward = model.forward
    monkeypatch.setattr(model, "forward", always_stop)
    done: list[int] = []

    assert answer(model, renderer, prompts, GREEDY, 0, progress=done.append) == [""] * 4
    assert sum(done) == 4


def test_the_models_own_generation_settings_do_not_leak_in(
    model: Any, renderer: Renderer, prompts: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = answer(model, renderer, prompts, GREEDY, 0)
    monkeypatch.setattr(model.generation_config, "repetition_penalty", 5.0)
    monkeypatch.setattr(model.generation_config, "do_sample", True)
    monkeypatch.setattr(model.generation_config, "temperature", 3.0)
    monkeypatch.setattr(model.generation_config, "top_k", 3)

    assert answer(model, renderer, prompts, GREEDY, 0) == plain


def test_no_prompts_no_answers(model: Any, renderer: Renderer) -> None:
    assert answer(model, renderer, [], GREEDY, 0) == []
