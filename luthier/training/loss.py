"""The loss: logits only where there are labels, summed over tokens.

The caller divides by the trained tokens of the whole accumulation, so that 1x8, 8x1, packed and
padded batches give the same gradient.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from luthier import model as models
from luthier import seq2seq
from luthier.chunked_loss import sum_over_chunks
from luthier.ragged import laid_out
from luthier.training.batches import Batch


def summed_loss(model: torch.nn.Module, batch: Batch, *, label_smoothing: float = 0.0) -> Tensor:
    """Forward pass and summed cross-entropy of the trained tokens.

    Args:
        model: plain or wrapped by peft.
        batch: see `Batch`.
        label_smoothing: epsilon over the vocabulary: (1-eps) NLL + eps mean_v(-log p_v), as in
            Hugging Face's LabelSmoother. Targets that are distributions already are left alone.

    Returns:
        Scalar float32.
    """
    hidden = run_backbone(model, batch)
    picked = hidden.reshape(-1, hidden.shape[-1])[batch.sources]

    def loss_of(start: int, part: Tensor) -> Tensor:
        end = start + len(part)
        soft = [(i - start, ids, p) for i, ids, p in batch.soft if start <= i < end]
        return _chunk_loss(model, part, batch.targets[start:end], soft, label_smoothing)

    return sum_over_chunks(model, picked, loss_of)


def run_backbone(model: torch.nn.Module, batch: Batch) -> Tensor:
    """Hidden states (B, T, H) of the lines of a batch; with an encoder (B, A, H) of the answers."""
    if batch.decoder_ids is not None:
        assert batch.attention_mask is not None
        encoded = seq2seq.encode(model, batch.input_ids, batch.attention_mask)
        return seq2seq.decode(model, batch.decoder_ids, encoded)
    extra = {"position_ids": batch.position_ids, "attention_mask": batch.attention_mask}
    given = {name: value for name, value in extra.items() if value is not None}
    with laid_out(model, batch.layout):
        return models.hidden_states(model, input_ids=batch.input_ids, use_cache=False, **given)


def _chunk_loss(
    model: torch.nn.Module,
    hidden: Tensor,
    targets: Tensor,
    soft: list[tuple[int, list[int], list[float]]],
    label_smoothing: float,
) -> Tensor:
    logits = models.logits(model, hidden).float()
    if not soft:
        return F.cross_entropy(logits, targets, reduction="sum", label_smoothing=label_smoothing)
    spread = [i for i, _, _ in soft]
    hard = torch.ones(len(targets), dtype=torch.bool, device=targets.device)
    hard[spread] = False
    total = F.cross_entropy(
        logits[hard], targets[hard], reduction="sum", label_smoothing=label_smoothing
    )
    rows = [row for row, (_, ids, _) in enumerate(soft) for _ in ids]
    wanted = [p for _, _, probabilities in soft for p in probabilities]
    log_p = logits[spread].log_softmax(-1)[rows, [v for _, ids, _ in soft for v in ids]]
    return total - log_p @ torch.tensor(wanted, device=logits.device)
