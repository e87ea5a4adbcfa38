"""SIGKILL while a model writes: nothing in the log is paid twice, and the rows are the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from attempts import Attempts
from killed_writing import Written

HERE = Path(__file__).parent
CONCURRENCY = 6


def task_recipe(folder: Path, model: Path, **options: Any) -> str:
    """A recipe with `ADDRESS` where the server's address goes."""
    seeds = folder / "seeds.csv"
    seeds.write_text("text,label\nWe will mend the roof.,True\nNobody mends a roof.,False\n")
    recipe = {
        "name": "written",
        "model": str(model),
        "task": {"kind": "classification", "labels": ["True", "False"]},
        "data": {
            "llm": {
                "backend": "openai", "model": "strong-model", "base_url": "ADDRESS",
                "max_concurrency": CONCURRENCY,
            },
            "sources": [{"generate": {
                "use": "task", "description": "Promises.", "seeds": str(seeds), "input": "text",
                "output": "label", "rows": 60, "output_first": 0.7, "hard_negatives": 0.2,
                **options,
            }}],
            "template": "promise_instruction_first",
        },
    }  # fmt: skip
    return json.dumps(recipe)


@pytest.fixture(scope="module")
def written(
    attempts: Attempts, tmp_path_factory: pytest.TempPathFactory, tiny_model_dir: Path
) -> Written:
    folder = tmp_path_factory.mktemp("undisturbed-writing")
    text = task_recipe(folder, tiny_model_dir)
    return Written(
        attempts, folder, lambda address: text.replace("ADDRESS", address),
        concurrency=CONCURRENCY, answers="task_writer", path=(HERE,),
    )  # fmt: skip


def test_killed_at_random_instants(written: Written, tmp_path: Path) -> None:
    written.kill_often(tmp_path, seed=1, kills=8, in_flight=1)


def test_killed_where_a_budget_ends_it(
    attempts: Attempts, tmp_path: Path, tiny_model_dir: Path
) -> None:
    text = task_recipe(tmp_path, tiny_model_dir, votes=3, budget={"calls": 90})
    written = Written(
        attempts, tmp_path / "undisturbed", lambda address: text.replace("ADDRESS", address),
        concurrency=CONCURRENCY, answers="task_writer", path=(HERE,),
    )  # fmt: skip
    summary = json.loads(written.generated["1-task/summary.json"])
    assert summary["stopped"] == "the budget of 90 calls is used up" and summary["rows"] < 60
    written.kill_often(tmp_path, seed=5, kills=5)


@pytest.mark.slow
def test_killed_fifty_times(written: Written, tmp_path: Path) -> None:
    print(dict(written.kill_often(tmp_path, seed=2, kills=50, in_flight=10)))
