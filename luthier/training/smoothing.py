"""Label smoothing over the task's classes.

Hugging Face spreads epsilon over the whole vocabulary, which leaves the confidence *among the
labels* at 0.999998 (49 k vocabulary, epsilon 0.1). Here the target over the K labels is
q(gold) = 1 - eps + eps/K, q(other) = eps/K (Szegedy et al. 2016, arXiv:1512.00567, section 7), and
each token of the gold label gets the conditional distribution that q implies over the tokens
that could follow in the trie of label token sequences.
"""

from __future__ import annotations

from collections.abc import Sequence


class ClassSmoothing:
    """Soft targets for a closed set of labels.

    Args:
        labels: token ids of each label, each ending with the stop token.
        epsilon: probability mass shared evenly by all labels, the gold one included.
    """

    def __init__(self, labels: Sequence[Sequence[int]], epsilon: float) -> None:
        self.labels = [tuple(label) for label in labels]
        self.epsilon = epsilon

    def targets(self, gold: Sequence[int]) -> dict[int, tuple[list[int], list[float]]]:
        """Distributions for the positions of the gold label where labels part ways.

        Args:
            gold: token ids of the gold label with its stop token.

        Returns:
            Offset into the label -> (token ids, probabilities summing to 1). Offsets where only
            one token can follow are left out: their target is that token.
        """
        answer = tuple(gold)
        assert answer in self.labels, "the completion of a classification row is one of its labels"
        share = self.epsilon / len(self.labels)
        mass = {label: share + (1 - self.epsilon) * (label == answer) for label in self.labels}
        found = {}
        for offset in range(len(answer)):
            here = [label for label in self.labels if label[:offset] == answer[:offset]]
            following: dict[int, float] = {}
            for label in here:
                following[label[offset]] = following.get(label[offset], 0.0) + mass[label]
            if len(following) > 1:
                total = sum(following.values())
                found[offset] = (list(following), [m / total for m in following.values()])
        return found
