"""The environments of contestants that cannot share luthier's."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from luthier.console import say
from luthier.packaged import cache

LLAMAFACTORY = "0.9.5"
_WITHOUT = ("torch", "torchvision", "torchaudio", "gradio")
"""Requirements that are not installed as they stand: torch is that of luthier; the next two are
for images and sound, and their builds for one torch do not load beside another; the last is for
its web page, and pip tries all its releases for many minutes."""


class NotInstallable(Exception):
    """A peer cannot be had here; its text says why."""


def missing_trl() -> str | None:
    """Why TRL cannot take part; None if it can."""
    if importlib.util.find_spec("trl") is None:
        return "TRL is not installed: `pip install -e '.[trl]'`"
    return None


def has_liger() -> bool:
    """Whether Liger kernels are installed beside TRL."""
    return importlib.util.find_spec("liger_kernel") is not None


def llamafactory(*, install: bool) -> Path:
    """The interpreter of an environment with LLaMA-Factory; made on first use.

    It pins older versions of transformers, trl and peft than luthier trains with, so it gets a
    virtual environment in luthier's cache, with the same torch.

    Raises:
        NotInstallable: it is not there and cannot, or is not to, be installed.
    """
    folder = cache() / f"llamafactory-{LLAMAFACTORY}"
    python = folder / "bin" / "python"
    if (folder / "ready").is_file():
        return python
    if not install:
        raise NotInstallable("not installed (left out by --no-install)")
    say(f"installing LLaMA-Factory {LLAMAFACTORY} into {folder} (once)")
    shutil.rmtree(folder, ignore_errors=True)
    try:
        _call([sys.executable, "-m", "venv", str(folder)])
        _install(python)
        _call([str(python), "-c", "import llamafactory, transformers, trl"])
    except NotInstallable:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    (folder / "ready").touch()
    return python


def _install(python: Path) -> None:
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    torch = metadata.version("torch").partition("+")[0]
    _call([*pip, f"torch=={torch}"])
    _call([*pip, "--no-deps", f"llamafactory=={LLAMAFACTORY}"])
    listed = "from importlib.metadata import requires; print('\\n'.join(requires('llamafactory')))"
    requirements = _call([str(python), "-c", listed]).splitlines()
    needed = [
        line.partition(";")[0].strip()
        for line in requirements
        if "extra ==" not in line and re.split(r"[^\w.-]", line, maxsplit=1)[0] not in _WITHOUT
    ]
    if importlib.util.find_spec("bitsandbytes") is not None:
        needed.append(f"bitsandbytes=={metadata.version('bitsandbytes')}")
    _call([*pip, *needed, f"torch=={torch}"])


def _call(command: list[str]) -> str:
    """Run a command; its output. The last line it said is the reason when it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return done.stdout
    said = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    errors = [line for line in said if line.startswith("ERROR")] or said or ["no reason given"]
    raise NotInstallable(f"not installable here: {errors[-1][:200]}")
