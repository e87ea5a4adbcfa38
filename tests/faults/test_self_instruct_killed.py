"""SIGKILL while Self-Instruct writes, whose prompts depend on what was written before."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from attempts import Attempts
from killed_writing import Written

ANSWERS = Path(__file__).parents[1] / "data" / "generating"
CONCURRENCY = 6


def recipe(model: Path) -> str:
    """A recipe with `ADDRESS` where the server's address goes."""
    llm = {
        "backend": "openai", "model": "strong-model", "base_url": "ADDRESS",
        "max_concurrency": CONCURRENCY,
    }  # fmt: skip
    # All that is begun is asked to its end; a number of rows would end with some under way.
    generate = {"use": "self_instruct", "num_instructions": 40}
    return json.dumps({
        "name": "written", "model": str(model), "task": {"kind": "generation"},
        "data": {"llm": llm, "sources": [{"generate": generate, "template": "self_instruct"}]},
    })  # fmt: skip


@pytest.fixture(scope="module")
def written(
    attempts: Attempts, tmp_path_factory: pytest.TempPathFactory, tiny_model_dir: Path
) -> Written:
    folder = tmp_path_factory.mktemp("undisturbed-self-instruct")
    text = recipe(tiny_model_dir)
    return Written(
        attempts, folder, lambda address: text.replace("ADDRESS", address),
        concurrency=CONCURRENCY, answers="self_instruct_answers", path=(ANSWERS,),
    )  # fmt: skip


def test_killed_at_random_instants(written: Written, tmp_path: Path) -> None:
    written.kill_often(tmp_path, seed=3, kills=6)


@pytest.mark.slow
def test_killed_fifty_times(written: Written, tmp_path: Path) -> None:
    print(dict(written.kill_often(tmp_path, seed=4, kills=50, in_flight=5)))
