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
