"""Numbers that are not finite, planted: who is named, what is left out, and when training stops."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from luthier import model as models
from luthier.artifacts import Plan, TrainSummary, load_examples
from luthier.chat import Renderer
from luthier.errors import TrainingError
from luthier.run import Run, file_digest
from luthier.training import batches, nonfinite
from luthier.training import trainer as job
from luthier.training.batches import Item
from luthier.training.train import train
from luthier.training.watch import Watch

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
SIGN = "~"
"""A character, and so a token, that only the rows to blame have."""
MARKED = (7, 26, 44)


@pytest.fixture
def planted(tiny_model_dir: Path, tmp_path: Path) -> Callable[..., Path]:
    """The tiny model, made so that rows with the sign fail: `planted("nan")`."""

    def make(kind: str) -> Path:
        folder = tmp_path / kind
        shutil.copytree(tiny_model_dir, folder)
        plain = LlamaForCausalLM.from_pretrained(tiny_model_dir)
        config = LlamaConfig.from_pretrained(tiny_model_dir, tie_word_embeddings=False)
        if kind == "gradient":
            config.rms_norm_eps = 0.0
        model = LlamaForCausalLM(config)
        model.load_state_dict(plain.state_dict() | {"lm_head.weight": plain.lm_head.weight})
        sign = sign_of(folder)
        with torch.no_grad():
            embedding = model.model.embed_tokens.weight
            if kind == "nan":
                embedding[sign] = float("nan")
            if kind == "gradient":
                # Its square is still a number; the square's power -3/2, in the norm's gradient, is
                # not.
                embedding[sign] = 1e-18
            if kind == "overflow":
                # One dimension that only the sign has, and that the first layer multiplies by
                # itself.
                embedding[:, 0] = 0
                embedding[sign] = 0
                embedding[sign, 0] = 1
                for layer in model.model.layers:
                    layer.self_attn.o_proj.weight[0] = 0
                    layer.mlp.down_proj.weight[0] = 0
                    layer.mlp.gate_proj.weight[:, 0] = 1e20
                    layer.mlp.up_proj.weight[:, 0] = 1e20
        model.save_pretrained(folder)
        return folder

    return make


def sign_of(model: Path) -> int:
    """The sign's token."""
    from transformers import AutoTokenizer

    (token,) = AutoTokenizer.from_pretrained(model)(SIGN, add_special_tokens=False)["input_ids"]
    return int(token)


@pytest.fixture
def signed_run(ready_run: Callable[..., Run], tmp_path: Path) -> Callable[..., Run]:
    """A run of 4 rows a step; some rows have the sign."""

    def make(model: Path, marked: tuple[int, ...] = MARKED, **settings: Any) -> Run:
        lines = ["sentence,label"]
        for i in range(60):
            sign = f" {SIGN}" if i in marked else ""
            lines.append(f"We paint wall {i} for street {i * 7 % 31}{sign}.,{bool(i % 2)}")
        (tmp_path / "signed.csv").write_text("\n".join(lines), encoding="utf-8")
        sources = [{"path": "signed.csv", "input": "sentence", "output": "label"}]
        return ready_run(
            model=str(model),
            data={"sources": sources, "template": "promise_instruction_first"},
            train={"per_device_train_batch_size": 4, "learning_rate": 1e-3, **settings},
        )

    return make


def to_blame(run: Run) -> set[str]:
    """Ids of the training rows with the sign."""
    found = {e.id for e in load_examples(run, "train") if SIGN in e.messages[0].content}
    assert found
    return found


def train_it(run: Run) -> TrainSummary:
    with run.stage("train", "t"):
        return train(run)


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("nan", {}),
        ("overflow", {"lora": {"r": 4, "target_modules": ["q_proj", "v_proj"]}}),
        ("gradient", {"lora": None}),
    ],
)
def test_a_step_that_is_not_finite_is_not_taken_and_its_rows_are_named(
    planted: Callable[..., Path],
    signed_run: Callable[..., Run],
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    settings: dict[str, Any],
) -> None:
    run = signed_run(planted(kind), **settings)
    take = job.Trainer.step
    changed: dict[int, bool] = {}
    moments: dict[int, bool] = {}

    def watching(self: Any, group: Any) -> Any:
        def of_weights() -> list[torch.Tensor]:
            state = [s["exp_avg"].clone() for s in self.optimizer.state.values()]
            return [*[p.detach().clone() for p in self.parameters], *state]

        before = of_weights()
        fields = take(self, group)
        after = of_weights()
        same = len(before) == len(after) and all(map(torch.equal, before, after))
        changed[self.progress.step] = not same
        moments[self.progress.step] = bool(self.optimizer.state)
        return fields

    monkeypatch.setattr(job.Trainer, "step", watching)
    summary = train_it(run)

    failed = run.events("nonfinite")
    assert {row for e in failed for row in e["alone"]} == to_blame(run)
    for event in failed:
        assert set(event["alone"]) < set(event["rows"]) and len(event["rows"]) <= 4
        assert event["weights_finite"]
    steps = {e["step"] for e in failed}
    assert steps == {step for step, did in changed.items() if not did} != set()
    assert summary.steps == len(changed) > len(steps)
    by_step = {e["step"]: e for e in run.events("step")}
    for step in steps:
        # JSON has no NaN: the log says null.
        assert by_step[step]["grad_norm"] is None
        assert (by_step[step]["loss"] is None) == (kind != "gradient")
    rates = [e["lr"] for e in run.events("step")]
    assert rates == sorted(set(rates), reverse=True), "the schedule goes on"


def test_looking_for_the_rows_changes_nothing_else(
    planted: Callable[..., Path], signed_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = signed_run(planted("nan"), **DROPOUT)
    train_it(run)
    assert run.events("nonfinite")[0]["alone"]
    digest = weights(run)

    monkeypatch.setattr(nonfinite, "find_rows", lambda *args: [])
    train_it(run)

    assert weights(run) == digest


# --- going back ----------------------------------------------------------------------------------


def plant_in_steps(
    monkeypatch: pytest.MonkeyPatch, run: Run, steps: tuple[int, ...]
) -> dict[int, list[str]]:
    """Give all rows of some steps of the first epoch the sign; returns their ids by step."""
    recipe = run.recipe
    renderer = Renderer(models.open_tokenizer(recipe.model))
    sign = sign_of(Path(recipe.model.name))
    prepare = batches.prepare
    items = prepare(load_examples(run, "train"), renderer)
    model = models.attach_adapter(models.open_model(recipe.model), recipe.train.lora)
    plan = Plan.load(run)
    trainer = job.Trainer(run, recipe.train, plan, model, renderer, items, seed=recipe.seed)
    groups = {step: [i for p in trainer.group(step - 1) for (i,) in p] for step in steps}
    planted = {items[i].id for group in groups.values() for i in group}

    def with_signs(*args: Any, **kwargs: Any) -> list[Item]:
        found = []
        for item in prepare(*args, **kwargs):
            ids = list(item.ids)
            if item.id in planted:
                ids[item.trained.index(True) - 2] = sign
            found.append(replace(item, ids=ids))
        return found

    monkeypatch.setattr(batches, "prepare", with_signs)
    return {step: [items[i].id for i in group] for step, group in groups.items()}


def weights(run: Run) -> str:
    return file_digest(run.path / "train" / "adapter" / "adapter_model.safetensors")


DROPOUT = {"lora": {"r": 4, "lora_dropout": 0.1}}


def test_after_three_in_a_row_training_goes_back_and_leaves_them_out(
    planted: Callable[..., Path], signed_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = signed_run(planted("nan"), marked=(), save_steps=2, eval_steps=2, **DROPOUT)
    rows = plant_in_steps(monkeypatch, run, (5, 6, 7))

    summary = train_it(run)

    (went_back,) = run.events("went_back")
    # Not to step 4: its update may be what led there.
    assert (went_back["step"], went_back["went_back_from"]) == (2, 7)
    assert went_back["left_out"] == [4, 5, 6, 7]
    failed = {int(step): set(ids) for step, ids in went_back["failed"].items()}
    assert failed == {step: set(ids) for step, ids in rows.items()}
    assert [e["step"] for e in run.events("left_out")] == [4, 5, 6, 7]
    assert set(run.events("left_out")[1]["rows"]) == set(rows[5])
    taken = [e["step"] for e in run.events("step")]
    assert taken == [1, 2, 3, *range(8, summary.steps + 1)]
    assert [e["step"] for e in run.events("validation")][:4] == [2, 4, 6, 8]
    assert not run.events("nonfinite")
    assert summary.examples == sum(e["examples"] for e in run.events("step"))

    # The same weights come out as if these steps had been left out from the start.
    digest, losses = weights(run), [e["loss"] for e in run.events("step")]
    (run.path / "events.jsonl").unlink()
    monkeypatch.setattr(job, "Progress", partial(job.Progress, left_out=[4, 5, 6, 7]))
    train_it(run)
    assert [e["loss"] for e in run.events("step")] == losses
    assert weights(run) == digest


def test_a_run_that_went_back_resumes(
    planted: Callable[..., Path], signed_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = signed_run(planted("nan"), marked=(), save_steps=2, **DROPOUT)
    plant_in_steps(monkeypatch, run, (5, 6, 7))
    train_it(run)
    digest = weights(run)
    (run.path / "events.jsonl").unlink()
    take = job.Trainer.step

    def stopping(self: Any, group: Any) -> Any:
        fields = take(self, group)
        if self.progress.step == 8:
            self.save()
            raise KeyboardInterrupt
        return fields

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(job.Trainer, "step", stopping)
        train_it(run)
    with run.stage("train", "t", resume=True):
        train(run)

    assert len(run.events("resumed")) == len(run.events("went_back")) == 1
    assert weights(run) == digest


def test_without_a_checkpoint_training_stops_and_names_the_rows(
    planted: Callable[..., Path], signed_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = signed_run(planted("nan"), marked=())
    rows = plant_in_steps(monkeypatch, run, (1, 2, 3))

    with pytest.raises(TrainingError, match="3 steps in a row") as error:
        train_it(run)

    said = str(error.value)
    assert "there is no checkpoint to go back to" in said
    assert all(row in said for row in rows[1] + rows[2])
    assert "and 4 more in events.jsonl" in said
    assert f"`luthier show {run.name} --tokens`, or lower" in said
    assert [e["step"] for e in run.events("nonfinite")] == [1, 2, 3]


def test_training_goes_back_only_once(
    planted: Callable[..., Path], signed_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = signed_run(planted("nan"), marked=(), save_steps=2, num_train_epochs=2)
    plant_in_steps(monkeypatch, run, (5, 6, 7, 8, 9))

    with pytest.raises(TrainingError, match="going back once, from step 7, did not help"):
        train_it(run)

    assert len(run.events("went_back")) == 1


def test_an_update_that_breaks_the_weights_is_undone(
    tiny_model_dir: Path, signed_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = signed_run(tiny_model_dir, save_steps=1, save_total_limit=3)
    take = job.Trainer.step

    def jumping(self: Any, group: Any) -> Any:
        if self.progress.step == 4:
            for options in self.optimizer.param_groups:
                options["lr"] = 1e38
        return take(self, group)

    monkeypatch.setattr(job.Trainer, "step", jumping)
    summary = train_it(run)

    (went_back,) = run.events("went_back")
    assert (went_back["step"], went_back["went_back_from"]) == (3, 5)
    assert went_back["left_out"] == [4, 5]
    assert set(went_back["failed"]) == {"5"} and len(went_back["failed"]["5"]) == 4
    model = models.open_model(run.recipe.model, adapter=run.path / summary.weights)
    assert all(p.isfinite().all() for p in model.parameters())


def test_an_update_that_always_breaks_the_weights(
    tiny_model_dir: Path, signed_run: Callable[..., Run]
) -> None:
    run = signed_run(tiny_model_dir, learning_rate=3e37)

    with pytest.raises(TrainingError, match=r"not finite in step 1 .* no checkpoint to go back to"):
        train_it(run)

    assert not run.events("nonfinite")[0]["weights_finite"]
    assert not list((run.path / "train").rglob("*.safetensors"))


# --- what is not counted -------------------------------------------------------------------------


def test_a_loss_scale_that_is_too_high_is_no_failure(signed_run: Callable[..., Run],
    tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    run = signed_run(tiny_model_dir, fp16=True, max_steps=12)
    Plan.load(run).model_copy(update={"precision": "fp16_autocast"}).save(run)
    scaler = partial(torch.amp.GradScaler, init_scale=2.0**24)
    monkeypatch.setattr(torch.amp, "GradScaler", scaler)

    summary = train_it(run)

    overflows = run.events("overflow")
    assert len(overflows) > nonfinite.MAX_IN_A_ROW
    assert not run.events("nonfinite")
    assert overflows[0]["scale"] == 2.0**23
    assert summary.steps == 12 > len(overflows)


def test_what_is_too_many() -> None:
    def state(step: int, *failed: int) -> job.Progress:
        return job.Progress(step=step, failed={s: ["row"] for s in failed})

    assert nonfinite.in_a_row(state(9, 3, 8, 9)) == [8, 9]
    assert nonfinite.in_a_row(state(9, 3, 8)) == []
    assert not nonfinite.too_many(state(9, 3, 8, 9), total_steps=20)
    assert nonfinite.too_many(state(9, 7, 8, 9), total_steps=1000)
    assert nonfinite.too_many(state(9, 1, 3, 7, 9), total_steps=20)
    assert not nonfinite.too_many(state(9, 1, 3, 7, 9), total_steps=40)


def test_a_validation_that_is_not_finite_is_not_the_best(
    planted: Callable[..., Path], signed_run: Callable[..., Run]
) -> None:
    run = signed_run(planted("nan"), marked=tuple(range(0, 60, 2)))
    recipe = run.recipe
    renderer = Renderer(models.open_tokenizer(recipe.model))
    examples = load_examples(run, "train")
    items = batches.prepare(examples, renderer)
    model = models.attach_adapter(models.open_model(recipe.model), recipe.train.lora)
    trainer = job.Trainer(run, recipe.train, Plan.load(run), model, renderer, items, seed=0)
    watch = Watch(trainer, examples, recipe.labels)

    watch.look()

    assert run.events("validation")[0]["metrics"]["loss"] is None
    assert (trainer.progress.best_step, trainer.progress.best_metric) == (0, None)
    assert trainer.progress.worse_in_a_row == 1
