"""A look at the whole installation, without touching the network: `luthier doctor`.

`diagnose()["problems"]` lists known-bad combinations (what, why, fix); empty when all is well.
"""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version

from luthier.hardware import Hardware, choose_precision, describe
from luthier.training.config import TrainConfig

KEY_PACKAGES = (
    "luthier", "torch", "transformers", "peft", "accelerate", "datasets", "tokenizers",
    "safetensors", "huggingface-hub", "bitsandbytes", "trl", "gguf", "xllamacpp", "scikit-learn",
    "scipy", "numpy", "pyarrow", "pydantic", "ruamel.yaml", "rich", "typer",
)  # fmt: skip
# Where models and packages come from. A token is reported as set or not, never shown.
_SETTINGS = (
    "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE", "HF_ENDPOINT", "HF_HOME",
    "HF_HUB_CACHE", "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "UV_INDEX_URL", "UV_DEFAULT_INDEX",
    "HTTPS_PROXY",
)  # fmt: skip
_SECRETS = ("HF_TOKEN", "OPENAI_API_KEY")
_MINIMUM_DISK = 2_000_000_000
"""The packaged model takes 0.64 GB once de-quantized; checkpoints and an export come on top."""


@dataclass(frozen=True)
class Problem:
    """A combination known to be bad, on this machine."""

    what: str
    why: str
    fix: str


@dataclass(frozen=True)
class KnownBad:
    """Versions of a package that must not be used."""

    package: str
    """`python` stands for the interpreter."""
    versions: str
    """The bad ones, as a PEP 440 specifier."""
    why: str
    fix: str
    applies: Callable[[Hardware], bool] = lambda hardware: True


KNOWN_BAD = (
    KnownBad(
        "python", "<3.11", "luthier is written for Python 3.11 and later.", "Install Python 3.11."
    ),
    KnownBad(
        "torch",
        "<2.6",
        "loading a .bin or .pt file can run code even with weights_only=True (CVE-2025-32434).",
        "pip install 'torch>=2.6'",
    ),
    KnownBad(
        "transformers",
        "<=5.2.0",
        "a nested config can override trust_remote_code=False and run code of a model's "
        "repository (CVE-2026-5241).",
        "pip install 'transformers>=5.15'",
    ),
    KnownBad(
        "transformers",
        "<5.15",
        "its label smoothing ignores the token count of the accumulated batch: gradients are too "
        "large by about gradient_accumulation_steps (huggingface/transformers PR 47261). "
        "luthier's own loss is right; the script of `luthier eject` and engine trl are not.",
        "pip install 'transformers>=5.15'",
    ),
    KnownBad(
        "bitsandbytes",
        "<0.50",
        "its 8-bit, Lion and paged optimizers need a GPU; those for the CPU came with 0.50.",
        "pip install 'bitsandbytes>=0.50'",
        lambda hardware: hardware.device == "cpu",
    ),
)


def diagnose() -> dict[str, Any]:
    """Describe the installation and list what is known to be bad about it.

    Returns:
        Plain JSON values: python, platform, hardware, precision (what a default recipe would
        use, and why), versions, extras (missing packages per extra of luthier), models, settings
        and problems (a list of {what, why, fix}).
    """
    hardware = describe()
    versions = installed_versions()
    precision, why = choose_precision(TrainConfig(), hardware)
    problems = find_problems({"python": platform.python_version(), **versions}, hardware)
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "hardware": hardware.as_dict(),
        "precision": {"choice": precision, "why": why},
        "versions": versions,
        "extras": missing_extras(),
        "models": _packaged_models(),
        "settings": settings(os.environ),
        "problems": [asdict(problem) for problem in problems],
    }


def find_problems(versions: Mapping[str, str | None], hardware: Hardware) -> list[Problem]:
    """Known-bad combinations among these versions on this hardware.

    Args:
        versions: version per package, `python` included; null where a package is missing.
        hardware: the machine.
    """
    problems = []
    for bad in KNOWN_BAD:
        found = versions.get(bad.package)
        if found and _within(found, bad.versions) and bad.applies(hardware):
            problems.append(Problem(f"{bad.package} {found} ({bad.versions})", bad.why, bad.fix))
    for package in ("torch", "transformers", "peft"):
        if versions.get(package) is None:
            why = "nothing can be trained or evaluated without it."
            problems.append(Problem(f"{package} is missing", why, f"pip install {package}"))
    if hardware.disk_free < _MINIMUM_DISK:
        free = f"{hardware.disk_free / 1e9:.1f} GB free where runs are written"
        why = "a model, two checkpoints and an export need about 2 GB for the smallest model."
        problems.append(Problem(free, why, "Free some space, or choose another place with --runs."))
    return problems


def installed_versions() -> dict[str, str | None]:
    """Version of each key package; null where it is not installed."""
    return {package: _version(package) for package in KEY_PACKAGES}


def missing_extras(distribution: str = "luthier") -> dict[str, list[str]]:
    """Per extra of luthier, the packages it would still install; empty: the extra is complete.

    Read from the installed metadata, so there is no list here to keep in step with the project
    file. Without an installed distribution (a bare source tree) nothing is known: an empty dict.
    """
    try:
        requirements = metadata.requires(distribution) or []
        extras = metadata.metadata(distribution).get_all("Provides-Extra") or []
    except metadata.PackageNotFoundError:
        return {}
    missing: dict[str, list[str]] = {extra: [] for extra in extras}
    for text in requirements:
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            continue
        for extra in extras:
            if _belongs(requirement, extra) and not _satisfied(requirement):
                missing[extra].append(f"{requirement.name}{requirement.specifier}")
    return missing


def settings(environment: Mapping[str, str]) -> dict[str, str]:
    """Settings of the hub and the package index; passwords in addresses are hidden."""
    given = [name for name in _SETTINGS if name in environment]
    found = {name: _without_password(environment[name]) for name in given}
    return found | {name: "set (not shown)" for name in _SECRETS if environment.get(name)}


def _packaged_models() -> dict[str, str]:
    """Where the models that come as packages lie; what to do where they do not."""
    from luthier import packaged

    return packaged.inventory()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _within(version: str, specifier: str) -> bool:
    try:
        parsed = Version(version)
    except InvalidVersion:
        return False
    # `2.13.0+cpu` is 2.13.0.
    return SpecifierSet(specifier).contains(parsed.public, prereleases=True)


def _belongs(requirement: Requirement, extra: str) -> bool:
    marker = requirement.marker
    if marker is None or marker.evaluate({"extra": ""}):
        return False
    return marker.evaluate({"extra": extra})


def _satisfied(requirement: Requirement) -> bool:
    found = _version(requirement.name)
    return found is not None and requirement.specifier.contains(found, prereleases=True)


def _without_password(value: str) -> str:
    return re.sub(r"//[^/@\s]+@", "//***@", value)
