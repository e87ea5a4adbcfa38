"""Hardware: limits of containers, and the precision that suits a machine."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from luthier.hardware import (
    Hardware,
    choose_precision,
    cores,
    cpu_flags,
    describe,
    keeps_freed_memory,
    main_memory,
)
from luthier.training.config import LoraSection, TrainConfig

CPU = Hardware(
    device="cpu",
    device_name="Xeon",
    devices=1,
    cores=4,
    memory_total=32_000_000_000,
    memory_available=30_000_000_000,
    bf16=True,
    amx=True,
    fp16=False,
    disk_free=10**12,
)
OLD_CPU = replace(CPU, bf16=False, amx=False)
GPU = replace(CPU, device="cuda", device_name="A100", amx=False, fp16=True)


def test_this_machine_is_described_within_its_means(tmp_path: Path) -> None:
    found = describe(tmp_path / "not" / "there" / "yet")

    assert 1 <= found.cores <= (os.cpu_count() or 1)
    assert 0 < found.memory_available <= found.memory_total
    assert found.disk_free > 0
    assert found.as_dict()["device"] == found.device


@pytest.mark.parametrize(
    ("settings", "hardware", "expected"),
    [
        ({}, CPU, "frozen_bf16"),
        ({}, OLD_CPU, "float32"),
        ({"bf16": True}, OLD_CPU, "frozen_bf16"),
        ({"bf16": False}, GPU, "float32"),
        ({"bf16": True, "autocast": True}, CPU, "bf16_autocast"),
        ({"autocast": True}, CPU, "bf16_autocast"),
        ({"autocast": True}, OLD_CPU, "float32"),
        ({"fp16": True}, GPU, "fp16_autocast"),
        ({"lora": None}, CPU, "float32"),
        ({"lora": None}, GPU, "bf16_autocast"),
        ({"lora": None, "bf16": True}, CPU, "bf16_autocast"),
        ({}, GPU, "frozen_bf16"),
    ],
)
def test_precision(settings: dict[str, object], hardware: Hardware, expected: str) -> None:
    precision, why = choose_precision(TrainConfig(**settings), hardware)

    assert precision == expected
    assert why


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, "float32"),
        ({"bf16": True}, "float32"),
        ({"bf16": True, "autocast": True}, "bf16_autocast"),
        ({"lora": None}, "bf16_autocast"),
    ],
)
def test_precision_of_an_encoder_decoder(settings: dict[str, object], expected: str) -> None:
    precision, why = choose_precision(TrainConfig(**settings), GPU, has_encoder=True)

    assert precision == expected
    assert "T5 would round" in why if expected == "float32" else why


def test_an_explicit_setting_is_named_as_the_reason() -> None:
    assert choose_precision(TrainConfig(bf16=False), CPU)[1] == "bf16: false"
    assert "AMX" in choose_precision(TrainConfig(lora=LoraSection()), CPU)[1]


@pytest.mark.parametrize(
    ("libc", "environment", "expected"),
    [
        ("glibc", {}, True),
        ("glibc", {"MALLOC_MMAP_THRESHOLD_": "1048576"}, False),
        ("glibc", {"MALLOC_MMAP_THRESHOLD_": "99999999"}, True),
        ("", {}, False),
    ],
)
def test_glibc_keeps_freed_memory_unless_told_not_to(
    monkeypatch: pytest.MonkeyPatch, libc: str, environment: dict[str, str], expected: bool
) -> None:
    monkeypatch.setattr("luthier.hardware.platform.libc_ver", lambda: (libc, "2.36"))

    assert keeps_freed_memory(environment) is expected


def cgroup(folder: Path, membership: str, **files: str) -> tuple[Path, Path]:
    root = folder / "cgroup"
    for name, text in files.items():
        path = root / name.replace("__", "/").replace("_DOT_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    told = folder / "membership"
    told.write_text(membership)
    return root, told


def test_memory_limit_of_cgroup_v2_counts_out_the_page_cache(tmp_path: Path) -> None:
    root, told = cgroup(
        tmp_path,
        "0::/box\n",
        box__memory_DOT_max="200000000",
        box__memory_DOT_current="150000000",
        box__memory_DOT_stat="anon 50000000\ninactive_file 80000000\nactive_file 10000000",
        memory_DOT_max="max",
        memory_DOT_current="900000000",
    )

    assert main_memory(root, told) == (200_000_000, 140_000_000)


def test_memory_limit_of_cgroup_v1(tmp_path: Path) -> None:
    root, told = cgroup(
        tmp_path,
        "5:cpu,cpuacct:/box\n4:memory:/box\n",
        memory__box__memory_DOT_limit_in_bytes="100000000",
        memory__box__memory_DOT_usage_in_bytes="30000000",
        memory__memory_DOT_limit_in_bytes="9223372036854771712",
    )

    assert main_memory(root, told) == (100_000_000, 70_000_000)


def test_without_a_limit_the_machine_counts(tmp_path: Path) -> None:
    root, told = cgroup(tmp_path, "0::/\n", memory_DOT_max="max", memory_DOT_current="7")

    assert main_memory(root, told)[0] > 200_000_000


def test_cpu_quotas_round_up_and_the_tightest_group_counts(tmp_path: Path) -> None:
    root, told = cgroup(
        tmp_path, "0::/a/b\n", a__cpu_DOT_max="50000 100000", a__b__cpu_DOT_max="max 100000"
    )
    assert cores(root, told) == 1

    (tmp_path / "old").mkdir()
    root, told = cgroup(
        tmp_path / "old",
        "5:cpu,cpuacct:/\n",
        cpu__cpu_DOT_cfs_quota_us="-1",
        cpu__cpu_DOT_cfs_period_us="100000",
    )
    assert cores(root, told) == len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("processor : 0\nflags\t\t: fpu amx_bf16 sse\n", {"fpu", "amx_bf16", "sse"}),
        ("Features : fp asimd bf16\n", {"fp", "asimd", "bf16"}),
        ("nothing of the kind", set()),
    ],
)
def test_cpu_flags_of_intel_and_arm(tmp_path: Path, text: str, expected: set[str]) -> None:
    path = tmp_path / "cpuinfo"
    path.write_text(text)

    assert cpu_flags(path) == expected
    assert cpu_flags(tmp_path / "missing") == set()
