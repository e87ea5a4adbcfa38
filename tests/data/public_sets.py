"""Where real template files are found, for tests that read them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def public(name: str) -> Path:
    """A file or folder of the shared public data; skips the test where it is not there."""
    beside = Path(__file__).parents[2].parent / "shared"
    shared = Path(os.environ.get("LUTHIER_SHARED", beside))
    path = shared / "data" / "public" / name
    if not path.exists():
        pytest.skip(f"{path} is not there")
    return path
