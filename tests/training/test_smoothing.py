"""Class smoothing: the definition, and what it implies for labels of several tokens."""

import pytest
import torch

from luthier.training.smoothing import ClassSmoothing

STOP = 9


def label_distribution(smoothing: ClassSmoothing, gold: list[int]) -> dict[int, float]:
    """Probability of each first token under the soft target."""
    ids, probabilities = smoothing.targets(gold)[0]
    return dict(zip(ids, probabilities, strict=True))


def test_two_single_token_labels() -> None:
    smoothing = ClassSmoothing([[1, STOP], [2, STOP]], epsilon=0.1)

    targets = smoothing.targets([1, STOP])

    # Only the first token parts the labels; after it the stop token is certain.
    assert list(targets) == [0]
    assert label_distribution(smoothing, [1, STOP]) == pytest.approx({1: 0.95, 2: 0.05})


def test_labels_that_share_tokens() -> None:
    a, b, c = [1, 5, STOP], [1, 6, STOP], [2, STOP]
    smoothing = ClassSmoothing([a, b, c], epsilon=0.3)

    first, second = smoothing.targets(a)[0], smoothing.targets(a)[1]

    # q(a) = .8, q(b) = q(c) = .1; the second token is conditional on the first.
    assert dict(zip(*first, strict=True)) == pytest.approx({1: 0.9, 2: 0.1})
    assert dict(zip(*second, strict=True)) == pytest.approx({5: 8 / 9, 6: 1 / 9})


def test_a_label_that_begins_another_is_parted_by_its_stop_token() -> None:
    smoothing = ClassSmoothing([[1, STOP], [1, 2, STOP]], epsilon=0.2)

    targets = smoothing.targets([1, STOP])

    assert list(targets) == [1]
    assert dict(zip(*targets[1], strict=True)) == pytest.approx({STOP: 0.9, 2: 0.1})


@pytest.mark.parametrize("epsilon", [0.01, 0.1, 0.5])
def test_the_loss_is_least_at_the_smoothed_confidence(epsilon: float) -> None:
    smoothing = ClassSmoothing([[1, STOP], [2, STOP], [3, STOP]], epsilon)
    wanted = label_distribution(smoothing, [2, STOP])
    target = torch.tensor([wanted[i] for i in (1, 2, 3)])
    confidence = 1 - epsilon + epsilon / 3

    others = (1 - confidence) / 2
    logits = torch.tensor([others, confidence, others]).log().requires_grad_()
    (-(target * logits.log_softmax(-1)).sum()).backward()

    assert logits.grad is not None
    assert logits.grad.abs().max() < 1e-6


def test_a_completion_outside_the_labels_is_a_bug_of_ours() -> None:
    with pytest.raises(AssertionError):
        ClassSmoothing([[1, STOP], [2, STOP]], 0.1).targets([3, STOP])
