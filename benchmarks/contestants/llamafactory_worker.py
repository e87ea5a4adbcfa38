"""LLaMA-Factory on the batches luthier trained on, through its own `tokenized_path`.

Runs in an environment of its own (`peers.py`). `bf16: true` means to it a base in bfloat16 and
autocast. The job: {"replay": file, "steps": n, "scratch": folder, "liger": bool}.
"""

from __future__ import annotations

import importlib.machinery
import json
import sys
import types
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset, DatasetDict

from contestants.protocol import Lines, gpu_peak_bytes, read_job, versions
from contestants.step_clock import StepClock


def main() -> None:
    _stand_in_for("torchaudio")
    from llamafactory.train.tuner import run_exp  # type: ignore[import-not-found]

    job = read_job()
    out = Lines(job["out"])
    replay = json.loads(Path(job["replay"]).read_text(encoding="utf-8"))
    batches = replay["batches"][: job["steps"]]
    rows = [row for batch in batches for row in batch]
    scratch = Path(job["scratch"])
    DatasetDict({"train": Dataset.from_list([_columns(row) for row in rows])}).save_to_disk(
        str(scratch / "rows")
    )
    out.write("start", versions=versions(), precision="bf16")
    run_exp(args=_settings(job, replay, len(batches)), callbacks=[StepClock(out)])
    out.write("end", gpu_peak_bytes=gpu_peak_bytes())


def _stand_in_for(package: str) -> None:
    """LLaMA-Factory imports it at once and uses it for sound only."""
    try:
        __import__(package)
    except (ImportError, OSError):
        module = types.ModuleType(package)
        module.__spec__ = importlib.machinery.ModuleSpec(package, None)
        sys.modules[package] = module


def _columns(row: dict[str, Any]) -> dict[str, list[int]]:
    pairs = zip(row["ids"], row["trained"], strict=True)
    return {
        "input_ids": row["ids"],
        "attention_mask": [1] * len(row["ids"]),
        "labels": [token if trained else -100 for token, trained in pairs],
    }


def _settings(job: dict[str, Any], replay: dict[str, Any], steps: int) -> dict[str, Any]:
    train, lora = replay["train"], replay["train"]["lora"]
    smallest = {
        name: train[name]
        for name in ("label_smoothing_factor", "neftune_noise_alpha")
        if train[name]
    }
    return {
        "stage": "sft",
        "do_train": True,
        "model_name_or_path": replay["model"],
        "dataset": "rows",
        "tokenized_path": str(Path(job["scratch"]) / "rows"),
        "template": "empty",
        "output_dir": str(Path(job["scratch"]) / "out"),
        "finetuning_type": "lora",
        "lora_rank": lora["r"],
        "lora_alpha": int(lora["lora_alpha"]),
        "lora_dropout": lora["lora_dropout"],
        "lora_target": "all",
        "per_device_train_batch_size": len(replay["batches"][0]),
        "disable_shuffling": True,
        "max_steps": steps,
        "learning_rate": train["learning_rate"],
        "lr_scheduler_type": train["lr_scheduler_type"],
        "warmup_steps": replay["warmup_steps"],
        "optim": "adamw_torch_fused" if train["optim"] == "adamw_torch" else train["optim"],
        "weight_decay": train["weight_decay"],
        "max_grad_norm": train["max_grad_norm"],
        "disable_gradient_checkpointing": not train["gradient_checkpointing"],
        "bf16": True,
        "use_cpu": not torch.cuda.is_available(),
        "flash_attn": "sdpa",
        "enable_liger_kernel": bool(job.get("liger")),
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
        "seed": replay["seed"],
        **smallest,
    }


if __name__ == "__main__":
    main()
