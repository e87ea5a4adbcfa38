"""What is measured on the validation rows while training."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from luthier.chat import Renderer
from luthier.example import Example
from luthier.scoring import label_scores
from luthier.training.batches import Item, collate, shared_prefix
from luthier.training.loss import summed_loss


def validate(
    model: torch.nn.Module,
    examples: Sequence[Example],
    items: Sequence[Item],
    renderer: Renderer,
    *,
    labels: Sequence[str],
    batch_size: int,
    device: torch.device,
) -> dict[str, float]:
    """Loss per trained token (no smoothing, no noise) and, with labels, accuracy and macro-F1."""
    model.eval()
    total = torch.zeros((), dtype=torch.float64)
    count = 0
    prefix = shared_prefix(items) if not any(item.soft for item in items) else 0
    order = sorted(range(len(items)), key=lambda i: len(items[i].ids))
    with torch.inference_mode():
        for start in range(0, len(order), batch_size):
            plan = [[i] for i in order[start : start + batch_size]]
            batch = collate(plan, items, pad_id=renderer.pad_id, prefix=prefix).to(device)
            total += summed_loss(model, batch).double().cpu()
            count += len(batch.targets)
    metrics = {"loss": float(total) / count}
    if labels:
        metrics |= _label_metrics(model, examples, renderer, list(labels), batch_size)
    model.train()
    return metrics


def _label_metrics(
    model: torch.nn.Module,
    examples: Sequence[Example],
    renderer: Renderer,
    labels: list[str],
    batch_size: int,
) -> dict[str, float]:
    scores = torch.from_numpy(
        label_scores(model, renderer, [e.prompt for e in examples], labels, batch_size)
    )
    predicted = scores.argmax(-1)
    gold = torch.tensor([labels.index(str(e.label)) for e in examples])
    return {
        "accuracy": float((predicted == gold).double().mean()),
        "macro_f1": _macro_f1(predicted, gold, len(labels)),
    }


def _macro_f1(predicted: Tensor, gold: Tensor, classes: int) -> float:
    """Mean over classes of 2 TP / (2 TP + FP + FN); 0 for a class nobody has or predicts."""
    scores = []
    for label in range(classes):
        hits = int(((predicted == label) & (gold == label)).sum())
        wrong = int(((predicted == label) != (gold == label)).sum())
        scores.append(2 * hits / (2 * hits + wrong) if hits else 0.0)
    return sum(scores) / classes
