"""What this machine has: processors, memory, number formats; and the precision that suits it.

    hardware = describe()
    precision, why = choose_precision(recipe.train, hardware)

Limits set on the process count, not what the machine was sold with: CPU affinity and the CPU and
memory limits of its control group (versions 1 and 2), which is what containers are made of.
"""

from __future__ import annotations

import math
import os
import platform
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from luthier.training.config import TrainConfig

Device = Literal["cpu", "cuda", "mps"]
Precision = Literal["float32", "frozen_bf16", "bf16_autocast", "fp16_autocast"]

# Instruction sets with which oneDNN multiplies bf16 matrices faster than fp32 ones: Intel's and
# AMD's names in /proc/cpuinfo, and Arm's (`bf16`).
_FAST_BF16 = {"amx_bf16", "avx512_bf16", "bf16"}
SMALL_THRESHOLD = 4 << 20
"""Up to this MALLOC_MMAP_THRESHOLD_, most tensors go back to the system when they are freed."""
_UNLIMITED = 1 << 60
"""Control groups of version 1 say "no limit" with a number near 2**63."""


@dataclass(frozen=True)
class Hardware:
    """The machine as this process may use it."""

    device: Device
    """Where the model is trained."""
    device_name: str
    devices: int
    """Accelerators of that kind; 1 on a CPU."""
    cores: int
    """CPU cores this process may use (affinity and control group)."""
    memory_total: int
    """Bytes on the device: of the accelerator, or what the process may use of the main memory."""
    memory_available: int
    """Bytes on the device that are free now."""
    bf16: bool
    """Products of bf16 matrices run in hardware: faster than fp32."""
    amx: bool
    """Intel AMX tiles with bf16."""
    fp16: bool
    """fp16 training is worth while (accelerators)."""
    disk_free: int
    """Bytes free where runs are written."""
    keeps_freed: bool = False
    """The C library holds on to freed blocks of main memory; see `keeps_freed_memory`."""

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def describe(where: Path | None = None) -> Hardware:
    """Look at this machine.

    Args:
        where: the folder whose disk counts; null: the working directory.
    """
    flags = cpu_flags()
    total, available = main_memory()
    device: Device = "cpu"
    name, devices = _cpu_name(), 1
    bf16, fp16 = bool(flags & _FAST_BF16), False
    accelerator = _accelerator()
    if accelerator is not None:
        device, name, devices, bf16, total, available = accelerator
        fp16 = True
    return Hardware(
        device=device,
        device_name=name,
        devices=devices,
        cores=cores(),
        memory_total=total,
        memory_available=available,
        bf16=bf16,
        amx="amx_bf16" in flags,
        fp16=fp16,
        disk_free=shutil.disk_usage(_existing(where or Path.cwd())).free,
        keeps_freed=device == "cpu" and keeps_freed_memory(os.environ),
    )


def choose_precision(
    train: TrainConfig, hardware: Hardware, *, has_encoder: bool = False
) -> tuple[Precision, str]:
    """Choose the number formats of training, and say why.

    Args:
        train: the recipe's `train` section.
        hardware: where it is going to run.
        has_encoder: the model is an encoder-decoder (T5).

    `frozen_bf16` computes only the products with frozen weights in bf16; adapters, their addition,
    norms and the residual stream stay in fp32. Autocast rounds small LoRA updates away, so that
    training gets going later, and is no faster (benchmarks/results/precision.md). T5 turns
    what goes into its last feed-forward product into the dtype of that product's weights, which
    would round the adapter's part as autocast does.
    """
    if train.fp16:
        return "fp16_autocast", "fp16: true"
    if train.bf16 is False:
        return "float32", "bf16: false"
    if train.bf16 and train.autocast:
        return "bf16_autocast", "bf16: true with autocast: true"
    if train.lora is not None and has_encoder and not train.autocast:
        return "float32", "T5 would round what adapters add to the dtype of frozen weights in bf16"
    if train.lora is not None:
        if train.bf16:
            return "frozen_bf16", "bf16: true; only products with frozen weights are in bf16"
        if hardware.bf16:
            fast = "AMX" if hardware.amx and hardware.device == "cpu" else hardware.device_name
            if train.autocast:
                return "bf16_autocast", f"autocast: true, and bf16 is fast here ({fast})"
            return "frozen_bf16", f"bf16 is fast here ({fast}); adapters stay in fp32"
        return "float32", f"bf16 is not fast on {hardware.device_name}"
    if train.bf16:
        return "bf16_autocast", "bf16: true; weights stay in fp32, products are in bf16"
    if hardware.device == "cuda" and hardware.bf16:
        return "bf16_autocast", "full fine-tuning on a GPU with bf16; weights stay in fp32"
    return "float32", f"full fine-tuning on {hardware.device}: every weight takes small updates"


# --- processors --------------------------------------------------------------------------------


def cores(root: Path = Path("/sys/fs/cgroup"), membership: Path = Path("/proc/self/cgroup")) -> int:
    """CPU cores this process may use: its affinity, and its control group's quota (rounded up)."""
    try:
        count = len(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        count = os.cpu_count() or 1
    for folder in _cgroups(root, membership, "cpu"):
        quota = _cpu_quota(folder)
        if quota is not None:
            count = min(count, math.ceil(quota))
    return max(count, 1)


def cpu_flags(cpuinfo: Path = Path("/proc/cpuinfo")) -> set[str]:
    """Instruction sets of the CPU as Linux names them; empty where that is not known."""
    try:
        text = cpuinfo.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return set()
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("flags", "Features"):
            return set(value.split())
    return set()


def _cpu_name(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    try:
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()
    except OSError:
        pass
    return platform.processor() or platform.machine() or "CPU"


def _accelerator() -> tuple[Device, str, int, bool, int, int] | None:
    """Kind, name, count, fast bf16, total and free bytes of the accelerator torch would use."""
    import torch

    if torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info(0)
        # Emulated bf16 (Turing, Volta) counts as supported but is slow.
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
        count = torch.cuda.device_count()
        return "cuda", torch.cuda.get_device_name(0), count, fast, total, free
    if torch.backends.mps.is_available():
        total, available = main_memory()
        limit = min(total, torch.mps.recommended_max_memory())
        return "mps", f"Apple GPU ({_cpu_name()})", 1, False, limit, min(limit, available)
    return None


# --- memory ------------------------------------------------------------------------------------


def main_memory(
    root: Path = Path("/sys/fs/cgroup"), membership: Path = Path("/proc/self/cgroup")
) -> tuple[int, int]:
    """Bytes of main memory this process may use: (in all, free now)."""
    import psutil

    memory = psutil.virtual_memory()
    total, available = int(memory.total), int(memory.available)
    for folder in _cgroups(root, membership, "memory"):
        limit, used = _memory_limit(folder)
        if limit is not None:
            total = min(total, limit)
            available = min(available, max(limit - used, 0))
    return total, available


def keeps_freed_memory(environment: Mapping[str, str]) -> bool:
    """Whether freed tensors of up to 32 MB stay with the process (glibc's default).

    glibc takes blocks above M_MMAP_THRESHOLD from the system and gives them back when freed; the
    threshold grows to 32 MB by itself unless it is set (mallopt(3)).
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    threshold = environment.get("MALLOC_MMAP_THRESHOLD_", "")
    return not (threshold.isdigit() and int(threshold) <= SMALL_THRESHOLD)


def _memory_limit(folder: Path) -> tuple[int | None, int]:
    """(limit, bytes in use that cannot be given back) of one control group."""
    limit, used = _number(folder / "memory.max"), _number(folder / "memory.current")
    cache = ("inactive_file", "active_file")
    if limit is None and used is None:
        limit = _number(folder / "memory.limit_in_bytes")
        used = _number(folder / "memory.usage_in_bytes")
        cache = ("total_inactive_file", "total_active_file")
    if limit is None or limit >= _UNLIMITED:
        return None, 0
    # As in MemAvailable, pages of files are there for the taking: the kernel drops them first.
    cached = sum(_stat(folder / "memory.stat", key) for key in cache)
    return limit, max((used or 0) - cached, 0)


def _cpu_quota(folder: Path) -> float | None:
    """Cores that the control group may use; null: no limit."""
    try:
        quota, period = (folder / "cpu.max").read_text(encoding="ascii").split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError):
        pass
    old, old_period = _number(folder / "cpu.cfs_quota_us"), _number(folder / "cpu.cfs_period_us")
    return old / old_period if old is not None and old > 0 and old_period else None


def _cgroups(root: Path, membership: Path, controller: str) -> list[Path]:
    """Folders of the control groups this process is in, and of all above them."""
    try:
        lines = membership.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    folders: list[Path] = []
    for line in lines:
        number, controllers, group = [*line.split(":", 2), "", ""][:3]
        if number == "0" and not controllers:
            base = root
        elif controller in controllers.split(","):
            base = root / controller
        else:
            continue
        path = base / group.lstrip("/")
        # Inside a container the group's own path is often not mounted; the root then is its folder.
        folders += [p for p in (path, *path.parents) if p == base or base in p.parents]
    return [folder for folder in folders if folder.is_dir()]


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text(encoding="ascii").strip())
    except (OSError, ValueError):
        return None


def _stat(path: Path, key: str) -> int:
    try:
        for line in path.read_text(encoding="ascii").splitlines():
            name, _, value = line.partition(" ")
            if name == key:
                return int(value)
    except (OSError, ValueError):
        pass
    return 0


def _existing(path: Path) -> Path:
    path = path.absolute()
    while not path.exists():
        path = path.parent
    return path
