"""Fixtures: the process that forks attempts, and a run that nothing disturbed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from attempts import Attempts
from undisturbed import TRAIN, Undisturbed, train_undisturbed


@pytest.fixture(scope="session")
def attempts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attempts]:
    with Attempts(tmp_path_factory.mktemp("attempts")) as made:
        yield made


@pytest.fixture(scope="session")
def undisturbed(
    attempts: Attempts, tmp_path_factory: pytest.TempPathFactory, tiny_model_dir: Path
) -> Undisturbed:
    made = train_undisturbed(
        attempts, tmp_path_factory.mktemp("undisturbed"), tiny_model_dir, TRAIN
    )
    assert len(made.outcome["step events"]) == 10
    assert len(made.outcome["validation events"]) == 4
    return made
