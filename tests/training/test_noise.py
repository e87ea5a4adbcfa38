"""NEFTune against the definition of the paper."""

import pytest
import torch

from luthier.training.noise import EmbeddingNoise


def noisy(lengths: torch.Tensor, *, alpha: float = 5.0, training: bool = True) -> torch.Tensor:
    torch.manual_seed(0)
    embeddings = torch.nn.Embedding(10, 64).train(training)
    torch.nn.init.zeros_(embeddings.weight)
    noise = EmbeddingNoise(embeddings, alpha)
    with noise.rows_of(lengths):
        return embeddings(torch.zeros(lengths.shape, dtype=torch.int64)).detach()


def test_noise_is_uniform_with_the_papers_scale() -> None:
    lengths = torch.tensor([[50] * 50, [200] * 50])

    added = noisy(lengths)

    for row, length in ((0, 50), (1, 200)):
        limit = 5 / (length * 64) ** 0.5
        assert added[row].abs().max() <= limit
        assert added[row].abs().max() > 0.99 * limit
        # A uniform on [-a, a] has standard deviation a / sqrt(3).
        assert float(added[row].std()) == pytest.approx(limit / 3**0.5, rel=0.05)
        assert float(added[row].mean()) == pytest.approx(0, abs=0.05 * limit)


def test_no_noise_outside_training() -> None:
    assert not noisy(torch.full((1, 8), 8), training=False).any()


def test_no_noise_outside_the_block() -> None:
    embeddings = torch.nn.Embedding(10, 4)
    torch.nn.init.zeros_(embeddings.weight)
    EmbeddingNoise(embeddings, 5.0)

    assert not embeddings(torch.zeros(1, 3, dtype=torch.int64)).any()


def test_a_batch_of_one_line_gets_what_the_papers_code_gives_each_row() -> None:
    """Row by row: uniform(-1, 1) of the row's shape, times alpha / sqrt(L d)."""
    lengths, width, alpha = [3, 7, 5], 64, 5.0
    torch.manual_seed(0)
    drawn = torch.empty(1, sum(lengths), width).uniform_(-1, 1)
    expected, start = torch.zeros_like(drawn), 0
    for length in lengths:
        magnitude = alpha / (length * width) ** 0.5
        expected[0, start : start + length] = drawn[0, start : start + length] * magnitude
        start += length
    per_token = torch.tensor([[length for length in lengths for _ in range(length)]])
    embeddings = torch.nn.Embedding(10, width)
    torch.nn.init.zeros_(embeddings.weight)
    noise = EmbeddingNoise(embeddings, alpha)
    torch.manual_seed(0)
    with noise.rows_of(per_token):
        added = embeddings(torch.zeros(per_token.shape, dtype=torch.int64)).detach()
    torch.testing.assert_close(added, expected)
