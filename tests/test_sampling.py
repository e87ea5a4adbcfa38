"""Tokens drawn for many prompts at once, each by its own settings and seed."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

from luthier.chat import Renderer
from luthier.generate import draw
from luthier.model import open_model, open_tokenizer
from luthier.recipe import ModelSection
from luthier.sampling import PerRow, Sampling, cut

PROMPTS = ["we will", "the report of last year said that they", "a"]


@pytest.fixture(scope="module")
def tiny_model(tiny_model_dir: Path) -> Any:
    return open_model(ModelSection(name=str(tiny_model_dir)))


@pytest.fixture(scope="module")
def renderer(tiny_model_dir: Path) -> Renderer:
    return Renderer(open_tokenizer(ModelSection(name=str(tiny_model_dir))))


def drawn(model: Any, renderer: Renderer, prompts: list[str], settings: list[Sampling]) -> Any:
    ids = [renderer.plain(prompt) for prompt in prompts]
    return draw(model, renderer, ids, settings, logprobs=True)


def test_a_row_does_not_depend_on_its_batch(tiny_model: Any, renderer: Renderer) -> None:
    settings = [Sampling(max_tokens=12, temperature=0.9, top_p=0.95, seed=s) for s in (1, 2, 3)]
    together = drawn(tiny_model, renderer, PROMPTS, settings)
    for i, prompt in enumerate(PROMPTS):
        [alone] = drawn(tiny_model, renderer, [prompt], [settings[i]])
        assert alone.text == together[i].text
        assert alone.tokens == together[i].tokens


def test_another_seed_draws_otherwise_and_the_same_the_same(
    tiny_model: Any, renderer: Renderer
) -> None:
    texts = [
        drawn(tiny_model, renderer, PROMPTS[:1], [Sampling(max_tokens=12, seed=s)])[0].text
        for s in (1, 2, 1)
    ]
    assert texts[0] != texts[1] and texts[0] == texts[2]


def test_temperature_0_takes_the_likeliest(tiny_model: Any, renderer: Renderer) -> None:
    settings = [Sampling(max_tokens=8, temperature=0, seed=s) for s in (1, 2)]
    first, second = drawn(tiny_model, renderer, [PROMPTS[0]] * 2, settings)
    assert first.text == second.text
    ids = renderer.plain(PROMPTS[0])
    with torch.inference_mode():
        scores = tiny_model(torch.tensor([ids])).logits[0, -1].log_softmax(-1)
    assert first.logprobs[0][1] == pytest.approx(scores.max().item(), abs=1e-4)


def test_each_row_has_its_own_length_and_stop(tiny_model: Any, renderer: Renderer) -> None:
    free = drawn(tiny_model, renderer, PROMPTS[:1], [Sampling(max_tokens=20, seed=5)])[0]
    stop = free.text[4:7]
    settings = [
        Sampling(max_tokens=3, seed=5),
        Sampling(max_tokens=20, seed=5, stop=(stop,)),
        Sampling(max_tokens=20, seed=5),
    ]
    short, stopped, whole = drawn(tiny_model, renderer, PROMPTS[:1] * 3, settings)
    assert short.tokens == 3 and short.is_cut
    assert stopped.text == free.text[: free.text.index(stop)] and not stopped.is_cut
    assert whole.text == free.text


def test_what_is_drawn_follows_the_softmax() -> None:
    """20,000 seeds: the share of each token is its probability within 5 standard errors."""
    scores = torch.tensor([[2.0, 1.0, 0.0, -1.0]])
    n = 20_000
    processor = PerRow([Sampling(max_tokens=1, seed=s) for s in range(n)], 0, keep=False)
    shifted = processor(torch.zeros(n, 0, dtype=torch.long), scores.expand(n, 4))
    counts = Counter(shifted.argmax(-1).tolist())
    for token, p in enumerate(scores[0].softmax(-1).tolist()):
        assert abs(counts[token] / n - p) < 5 * (p * (1 - p) / n) ** 0.5


def test_top_p_leaves_only_the_likeliest() -> None:
    scores = torch.tensor([[3.0, 2.0, 0.0, 0.0]])  # probabilities .66 .24 .03 .03...
    settings = [Sampling(max_tokens=1, top_p=0.7, seed=s) for s in range(500)]
    shifted = PerRow(settings, 0, keep=False)(
        torch.zeros(500, 0, dtype=torch.long), scores.expand(500, 4)
    )
    assert set(shifted.argmax(-1).tolist()) == {0, 1}


def test_penalties_count_what_was_said() -> None:
    said = torch.tensor([[1, 1, 2]])
    settings = [Sampling(max_tokens=1, temperature=0, presence_penalty=1, frequency_penalty=0.5)]
    shifted = PerRow(settings, 0, keep=False)(said, torch.zeros(1, 4))
    assert shifted.tolist() == [[0.0, -2.0, -1.5, 0.0]]


def test_a_text_is_cut_at_the_first_stop() -> None:
    assert cut("one two three", ("three", "two")) == ("one ", True)
    assert cut("one", ("x",)) == ("one", False)
