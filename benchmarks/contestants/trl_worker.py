"""TRL's SFTTrainer on the batches luthier trained on, with the best settings it offers for them.

Rows are tokenised beforehand and padded to the longest of their batch; the LM head is TRL's fused
one; nothing is saved or reported on the way; the optimizer is the fused AdamW where luthier has
the plain one. The job: {"replay": file, "precision": "fp32" | "bf16", "steps": n, "liger": bool,
"scratch": folder} and optionally "eval_steps" and "adapter" (save it there).
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig
from torch.utils.data import DataLoader
from transformers import AutoTokenizer
from trl import SFTConfig, SFTTrainer  # type: ignore[attr-defined]

from contestants.protocol import Lines, gpu_peak_bytes, read_job, versions
from contestants.step_clock import StepClock


class Batches:
    """A batch sampler that gives the rows in the batches they were recorded in."""

    batch_size = None

    def __init__(self, sizes: list[int]) -> None:
        self.sizes = sizes

    def __len__(self) -> int:
        return len(self.sizes)

    def __iter__(self) -> Iterator[list[int]]:
        start = 0
        for size in self.sizes:
            yield list(range(start, start + size))
            start += size


class Replaying(SFTTrainer):
    """SFTTrainer whose batches are given."""

    sizes: list[int]

    def get_train_dataloader(self) -> Any:
        loader = DataLoader(
            self.train_dataset,
            batch_sampler=Batches(self.sizes),
            collate_fn=self.data_collator,
            pin_memory=torch.cuda.is_available(),
        )
        return self.accelerator.prepare(loader)


def main() -> None:
    warnings.filterwarnings("ignore")
    job = read_job()
    out = Lines(job["out"])
    replay = json.loads(Path(job["replay"]).read_text(encoding="utf-8"))
    batches = replay["batches"][: job["steps"]]
    rows = [row for batch in batches for row in batch]
    dataset = Dataset.from_dict(
        {"input_ids": [row["ids"] for row in rows], "labels": [labels(row) for row in rows]}
    )
    clock = StepClock(
        out,
        every=job.get("eval_steps") or 0,
        validate=lambda model: validation_loss(model, replay, job["precision"]),
    )
    tokenizer = AutoTokenizer.from_pretrained(replay["model"])
    tokenizer.pad_token = tokenizer.convert_ids_to_tokens(replay["pad_id"])
    trainer = Replaying(
        model=replay["model"],
        args=_settings(job, replay, len(batches)),
        train_dataset=dataset,
        processing_class=tokenizer,
        peft_config=_adapter(replay["train"]["lora"]),
        callbacks=[clock],
    )
    trainer.sizes = [len(batch) for batch in batches]
    out.write("start", versions=versions(), precision=job["precision"])
    trainer.train()
    if job.get("adapter"):
        trainer.save_model(job["adapter"])
    out.write("end", gpu_peak_bytes=gpu_peak_bytes())


def labels(row: dict[str, Any]) -> list[int]:
    """Token ids where they are trained, elsewhere the index that losses ignore."""
    pairs = zip(row["ids"], row["trained"], strict=True)
    return [token if trained else -100 for token, trained in pairs]


def _settings(job: dict[str, Any], replay: dict[str, Any], steps: int) -> SFTConfig:
    train = replay["train"]
    plain = train["optim"] == "adamw_torch"
    return SFTConfig(
        output_dir=job["scratch"],
        per_device_train_batch_size=len(replay["batches"][0]),
        max_steps=steps,
        learning_rate=train["learning_rate"],
        adam_beta1=train["adam_beta1"],
        adam_beta2=train["adam_beta2"],
        lr_scheduler_type=train["lr_scheduler_type"],
        lr_scheduler_kwargs=replay["lr_scheduler_kwargs"],
        warmup_steps=replay["warmup_steps"],
        optim="adamw_torch_fused" if plain else train["optim"],
        weight_decay=train["weight_decay"],
        max_grad_norm=train["max_grad_norm"],
        label_smoothing_factor=train["label_smoothing_factor"],
        neftune_noise_alpha=train["neftune_noise_alpha"],
        gradient_checkpointing=train["gradient_checkpointing"],
        bf16=job["precision"] == "bf16",
        fp16=False,
        use_cpu=not torch.cuda.is_available(),
        max_length=None,
        dataset_kwargs={"skip_prepare_dataset": True},
        model_init_kwargs={"dtype": "float32", "attn_implementation": "sdpa"},
        use_liger_kernel=bool(job.get("liger")),
        logging_steps=1,
        logging_nan_inf_filter=False,
        eval_strategy="no",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=torch.cuda.is_available(),
        seed=replay["seed"],
    )


def _adapter(lora: dict[str, Any]) -> LoraConfig:
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=lora["r"],
        lora_alpha=lora["lora_alpha"],
        lora_dropout=lora["lora_dropout"],
        target_modules=lora["target_modules"],
        layers_to_transform=lora["layers_to_transform"],
    )


def validation_loss(model: Any, replay: dict[str, Any], precision: str, size: int = 16) -> float:
    """Mean loss per trained token of the validation rows, in the precision of training."""
    base = model.get_base_model()
    head = base.get_output_embeddings().weight
    device = head.device
    rows = sorted(replay["validation"], key=lambda row: len(row["ids"]))
    total, count = 0.0, 0
    was_training = model.training
    model.eval()
    with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, precision == "bf16"):
        for start in range(0, len(rows), size):
            batch = rows[start : start + size]
            width = max(len(row["ids"]) for row in batch)
            ids = torch.full((len(batch), width), replay["pad_id"])
            target = torch.full((len(batch), width), -100)
            for at, row in enumerate(batch):
                ids[at, : len(row["ids"])] = torch.tensor(row["ids"])
                target[at, : len(row["ids"])] = torch.tensor(labels(row))
            ids, target = ids.to(device), target[:, 1:].to(device)
            # Padding is on the right, where causal attention never looks.
            hidden = base.get_decoder()(input_ids=ids, use_cache=False).last_hidden_state[:, :-1]
            scored = target != -100
            logits = torch.nn.functional.linear(hidden[scored], head).float()
            total += float(
                torch.nn.functional.cross_entropy(logits, target[scored], reduction="sum")
            )
            count += int(scored.sum())
    model.train(was_training)
    return total / count


if __name__ == "__main__":
    main()
