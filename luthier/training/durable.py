"""Files that are on the disk, not only in memory, when a function returns, and their hashes."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

# By falling alignment and in safetensors' own order, so that equal tensors give its own bytes.
_DTYPES = {
    torch.int64: "I64", torch.float64: "F64", torch.float32: "F32", torch.int32: "I32",
    torch.bfloat16: "BF16", torch.float16: "F16", torch.int16: "I16", torch.int8: "I8",
    torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip


def write(path: Path, data: bytes) -> dict[str, Any]:
    """Write a file; returns its record for a manifest: {size, sha256}."""
    with _durable(path) as file:
        file.write(data)
    return file.record()


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Write tensors as safetensors, one after another; returns the record for a manifest.

    The same bytes as `safetensors.torch.save`, which holds them all in memory first; `save_file`
    leaves the writing to Rust, without fsync. The format: a length in 8 little-endian bytes, a
    JSON header padded with spaces to a multiple of 8, the tensors (safetensors README, "Format").
    """
    order = list(_DTYPES)
    names = sorted(tensors, key=lambda name: (order.index(tensors[name].dtype), name))
    header, at = {}, 0
    for name in names:
        tensor = tensors[name]
        end = at + tensor.numel() * tensor.element_size()
        dtype, shape = _DTYPES[tensor.dtype], list(tensor.shape)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, end]}
        at = end
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    with _durable(path) as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in names:
            flat = tensors[name].detach().cpu().contiguous().reshape(-1)
            file.write(memoryview(flat.view(torch.uint8).numpy()))
    return file.record()


def byte_size(tensors: Mapping[str, Tensor]) -> int:
    """Bytes of all tensors together."""
    return sum(t.numel() * t.element_size() for t in tensors.values())


class _Hashed:
    """A file that is being written, and the hash and size of what it was given."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.sha256, self.size = file, hashlib.sha256(), 0

    def write(self, data: bytes | memoryview) -> None:
        self.file.write(data)
        self.sha256.update(data)
        self.size += len(data)

    def record(self) -> dict[str, Any]:
        return {"size": self.size, "sha256": self.sha256.hexdigest()}


@contextlib.contextmanager
def _durable(path: Path) -> Iterator[_Hashed]:
    with open(path, "wb") as file:
        yield _Hashed(file)
        file.flush()
        os.fsync(file.fileno())
        if hasattr(os, "posix_fadvise"):  # so that a reader who checks it reads the disk
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
