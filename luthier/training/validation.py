"""What is measured on the validation rows while training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from luthier.chat import Renderer
from luthier.example import Example
from luthier.out_of_memory import BatchSize, announce
from luthier.scoring import label_scores
from luthier.seq2seq import start_id
from luthier.training.batches import Item, collate, shared_prefixes
from luthier.training.loss import summed_loss
from luthier.training.parallel import Team


def validate(
    model: torch.nn.Module,
    examples: Sequence[Example],
    items: Sequence[Item],
    renderer: Renderer,
    *,
    labels: Sequence[str],
    batch_size: int,
    device: torch.device,
    end_to_end: bool = False,
    smaller: Callable[[int], Any] = announce,
    team: Team | None = None,
) -> dict[str, float]:
    """Loss per trained token (no smoothing, no noise) and, with labels, accuracy and macro-F1.

    Args:
        model: put back into training mode afterwards.
        examples: the validation rows.
        items: the same, rendered.
        renderer: turns messages into tokens as in training.
        labels: the task's labels; empty: only the loss is measured.
        batch_size: rows of a batch, at most.
        device: where the model is.
        end_to_end: rows are laid out without padding, as in training.
        smaller: called with the new number of rows where batches do not fit into memory.
        team: the processes that share the rows out; null: this one alone.
    """
    size, team = BatchSize(batch_size, smaller), team or Team()
    if not team.in_lockstep:  # else all run the same passes, and none waits for ever
        examples, items = team.share(examples), team.share(items)

    def measure() -> dict[str, float]:
        with torch.inference_mode():
            summed, count = _loss(model, items, renderer.pad_id, size, device, end_to_end)
        found = {"loss": summed, "tokens": float(count)}
        return found | (_hits(model, examples, renderer, labels, size) if labels else {})

    model.eval()
    try:
        mine = team.inside(model, measure)
    finally:
        model.train()
    in_all = dict(zip(mine, team.sum(list(mine.values())), strict=True))
    metrics = {"loss": in_all["loss"] / in_all["tokens"]}
    return metrics | (_label_metrics(in_all, labels) if labels else {})


def _loss(
    model: torch.nn.Module,
    items: Sequence[Item],
    pad_id: int,
    size: BatchSize,
    device: torch.device,
    end_to_end: bool,
) -> tuple[float, int]:
    """(summed loss, trained tokens)."""
    prefixes, start = shared_prefixes(items, size.rows) if end_to_end else None, start_id(model)
    group_of = prefixes.group_of if prefixes else [0] * len(items)
    # The longest first: what does not fit fails at once.
    order = sorted(range(len(items)), key=lambda i: (group_of[i], -len(items[i].ids)))

    def of_rows(rows: Sequence[int]) -> tuple[float, int]:
        plan = [[i] for i in rows]
        batch = collate(plan, items, pad_id=pad_id, prefixes=prefixes, start_id=start).to(device)
        return float(summed_loss(model, batch)), len(batch.targets)

    found = [summed for _, summed in size.run(order, of_rows)]
    return sum(loss for loss, _ in found), sum(count for _, count in found)


def _hits(
    model: torch.nn.Module,
    examples: Sequence[Example],
    renderer: Renderer,
    labels: Sequence[str],
    size: BatchSize,
) -> dict[str, float]:
    """Rows, and per label those it is right for (`hit`) and wrong for (`miss`: either way)."""
    if not examples:
        return {"rows": 0.0} | {f"{kind} {k}": 0.0 for k in labels for kind in ("hit", "miss")}
    prompts = [e.prompt for e in examples]
    scores = torch.from_numpy(
        label_scores(model, renderer, prompts, list(labels), size.rows, smaller=size.smaller)
    )
    predicted = scores.argmax(-1)
    gold = torch.tensor([labels.index(str(e.label)) for e in examples])
    found = {"rows": float(len(examples))}
    for index, label in enumerate(labels):
        found[f"hit {label}"] = float(((predicted == index) & (gold == index)).sum())
        found[f"miss {label}"] = float(((predicted == index) != (gold == index)).sum())
    return found


def _label_metrics(counts: Mapping[str, float], labels: Sequence[str]) -> dict[str, float]:
    """Accuracy, and macro-F1: the mean over labels of 2 TP / (2 TP + FP + FN).

    F1 is 0 for a label nobody has or predicts.
    """
    hits = [counts[f"hit {label}"] for label in labels]
    misses = [counts[f"miss {label}"] for label in labels]
    scores = [
        2 * hit / (2 * hit + miss) if hit else 0.0 for hit, miss in zip(hits, misses, strict=True)
    ]
    return {"accuracy": sum(hits) / counts["rows"], "macro_f1": sum(scores) / len(labels)}
