"""Engine `trl`: what it leaves behind is what engine `luthier` leaves, and what goes wrong is said.

That its steps are the same: tests/invariant/test_trl_parity.py.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from trained_project import luthier, make_project

from luthier.artifacts import TrainSummary
from luthier.errors import MissingExtra, TrainingError
from luthier.run import Run
from luthier.training.train import train

pytest.importorskip("trl")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
Train = Callable[..., tuple[Run, TrainSummary]]
PICKLES = (".bin", ".pt", ".pth", ".pkl", ".ckpt")
SHORT = {"template": "plain"}


def losses(run: Run) -> list[float]:
    return [event["loss"] for event in run.events("step")]


def test_a_whole_run_works_as_with_our_own_engine(tmp_path: Path, tiny_model_dir: Path) -> None:
    project = make_project(tmp_path / "project", tiny_model_dir)
    project.edit("train: {", "train: {engine: trl, ")

    said = project.do("run", "--json")

    assert said.code == 0, said.err
    assert said.json["stages"]["train"] == "done"
    assert "it cannot resume" in said.err
    summary = TrainSummary.load(Run(project.run))
    assert (summary.steps, summary.epochs, summary.examples) == (5, 1.0, 36)
    files = [path for path in project.run.rglob("*") if path.is_file()]
    assert not [path for path in files if path.suffix in PICKLES]
    assert {p.name for p in (project.run / "train").iterdir()} == {
        "adapter", "made_with.json", "summary.json"
    }  # fmt: skip
    assert luthier("predict", project.run, "We will do it.", "--json").code == 0
    assert project.stages("run")["train"] == "unchanged"


def test_validation_and_summary_are_those_of_our_own_engine(train_run: Train) -> None:
    settings = {"num_train_epochs": 3, "eval_steps": 4, "metric_for_best_model": "loss"}
    ours, our_summary = train_run(data=SHORT, train=settings)
    validations = ours.events("validation")
    fields = set(ours.events("step")[0])
    (ours.path / "events.jsonl").unlink()

    theirs, their_summary = train_run(data=SHORT, train={**settings, "engine": "trl"})

    found = theirs.events("validation")
    assert [e["step"] for e in found] == [e["step"] for e in validations] == [4, 8, 12, 15]
    for mine, other in zip(validations, found, strict=True):
        assert other["metrics"] == pytest.approx(mine["metrics"], rel=1e-4)
    # What is run once is luthier's own business.
    assert set(theirs.events("step")[0]) == fields - {"computed_tokens"}
    measured = {"seconds", "peak_bytes"}
    assert their_summary.model_dump(exclude=measured) == {
        **our_summary.model_dump(exclude=measured),
        "best_metric": pytest.approx(our_summary.best_metric, rel=1e-4),
    }


def test_the_best_weights_are_kept_and_training_stops_early(train_run: Train) -> None:
    from luthier import model as models

    # No gain is large enough, so the second validation is the last; the rate then ruins the rest.
    run, summary = train_run(
        data=SHORT,
        train={
            "engine": "trl", "num_train_epochs": 9, "learning_rate": 0.3, "max_grad_norm": 0,
            "early_stopping_patience": 1, "early_stopping_threshold": 100,
        },
    )  # fmt: skip

    events = run.events("validation")
    assert summary.stopped_early
    assert [e["step"] for e in events] == [5, 10] and summary.steps == 10
    best = min(events, key=lambda e: e["metrics"]["loss"])
    assert (summary.best_step, summary.best_metric) == (best["step"], best["metrics"]["loss"])
    model = models.open_model(run.recipe.model, adapter=run.path / summary.weights)
    assert any("lora_B" in n and p.abs().max() > 0 for n, p in model.named_parameters())


@pytest.mark.parametrize(
    ("precision", "settings"),
    [
        ("bf16_autocast", {"bf16": True, "autocast": True}),
        ("float32", {"neftune_noise_alpha": 5, "lora": {"r": 4, "lora_dropout": 0.1}}),
        ("float32", {"lr_scheduler_type": "warmup_stable_decay", "warmup_steps": 2}),
        ("float32", {"optim": "sgd", "optim_args": {"momentum": 0.9}, "learning_rate": 0.5}),
        ("float32", {"quantization": {"load_in_4bit": True}, "optim": "paged_adamw_32bit"}),
        ("float32", {"train_on": "all"}),
    ],
    ids=["bf16", "noise", "schedule", "optim_args", "quantized", "all"],
)
def test_levers_learn(train_run: Train, precision: str, settings: dict[str, Any]) -> None:
    if "quantization" in settings:
        pytest.importorskip("bitsandbytes")
    defaults = {"engine": "trl", "max_steps": 12, "learning_rate": 1e-2, "bf16": None}

    run, summary = train_run(precision=precision, data=SHORT, train={**defaults, **settings})

    seen = losses(run)
    assert len(seen) == summary.steps == 12
    assert sum(seen[-3:]) / 3 < seen[0]
    assert summary.precision == precision


def test_gradient_checkpointing_changes_nothing(train_run: Train) -> None:
    settings = {"engine": "trl", "max_steps": 3}
    plain, _ = train_run(data=SHORT, train=settings)
    expected = losses(plain)
    (plain.path / "events.jsonl").unlink()

    run, _ = train_run(data=SHORT, train={**settings, "gradient_checkpointing": True})

    assert losses(run) == pytest.approx(expected, rel=1e-6)


def test_full_weights_are_saved_to_be_used(train_run: Train) -> None:
    from luthier import model as models
    from luthier.recipe import ModelSection

    run, summary = train_run(
        data=SHORT,
        train={"engine": "trl", "lora": None, "max_steps": 2, "learning_rate": 1e-3},
    )

    saved = models.open_model(ModelSection(name=str(run.path / summary.weights)))
    base = models.open_model(run.recipe.model)
    assert saved.config.use_cache == base.config.use_cache
    changed = zip(saved.parameters(), base.parameters(), strict=True)
    assert any((one - other).abs().max() > 0 for one, other in changed)


def test_a_second_attempt_starts_again(ready_run: Callable[..., Run]) -> None:
    run = ready_run(data=SHORT, train={"engine": "trl", "max_steps": 2})
    with run.stage("train", "first"):
        train(run)
        first = losses(run)
        train(run)

    assert [event["step"] for event in run.events("step")] == [1, 2]
    assert losses(run) == first


def test_a_loss_that_is_not_finite_stops_the_run(train_run: Train) -> None:
    with pytest.raises(TrainingError, match=r"step \d+: loss nan.*Its rows: [0-9a-f]{16}"):
        train_run(
            data=SHORT,
            train={"engine": "trl", "optim": "sgd", "learning_rate": 1e30, "max_grad_norm": 0,
                   "num_train_epochs": 9},
        )  # fmt: skip


def test_what_sft_trainer_refuses_is_no_traceback(train_run: Train) -> None:
    with pytest.raises(TrainingError, match=r"train.engine: trl: .*lm_head"):
        train_run(
            data=SHORT, train={"engine": "trl", "lora": {"r": 2, "target_modules": ["lm_head"]}}
        )


def test_trl_that_is_not_installed_is_named(
    train_run: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "trl", None)
    monkeypatch.delitem(sys.modules, "luthier.training.trl_engine", raising=False)

    with pytest.raises(MissingExtra, match=r"train.engine: trl .*pip install 'luthier\[trl\]'"):
        train_run(train={"engine": "trl"})


def test_trl_sends_nothing() -> None:
    from huggingface_hub import constants

    from luthier.training import trl_engine

    assert trl_engine.constants is constants and constants.HF_HUB_DISABLE_TELEMETRY
