"""Run folders for the report to read."""

from __future__ import annotations

from pathlib import Path

import pytest
from synthetic_run import HOSTILE, Folder

from luthier.run import Run


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """Makes run folders: `folder.make("train")`."""
    return Folder(tmp_path)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that is evaluated, with a hostile sentence among its rows."""
    return Folder(tmp_path_factory.mktemp("finished")).make(sentence=f"We will {HOSTILE} build.")
