"""luthier, as its users run it: a recipe is trained, and what happened is read from its events.

The job: {"recipe": file, "overrides": [...], "runs": folder, "last": "plan" | "train"} and
optionally "replay" (write the batches it trained on to this file), "auroc": true and "compile":
true (the decoder's layers, with torch.compile).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from contestants.protocol import Lines, gpu_peak_bytes, read_job, versions
from luthier import model as models
from luthier import recipe, schedules, sft
from luthier.artifacts import Plan, TrainSummary, load_examples
from luthier.chat import Renderer
from luthier.locate import locate
from luthier.pipeline import bring_up_to
from luthier.recipe import Loaded
from luthier.run import Run
from luthier.training import validation
from luthier.training.trainer import Trainer


def main() -> None:
    job = read_job()
    out = Lines(job["out"])
    loaded = recipe.load(job["recipe"], job["overrides"])
    runs = Path(job["runs"])
    trained: list[Any] = []
    scores: list[Any] = []
    if job.get("replay"):
        _record_batches(trained)
    if job.get("auroc"):
        _record_scores(scores)
    if job.get("compile"):
        _compile_layers()
    run, _ = bring_up_to(loaded, job["last"], runs=runs, force=job["last"] == "train")
    out.write("start", versions=versions(), precision=Plan.load(run).precision)
    if job["last"] == "train":
        _write_steps(run, scores, out)
        if job.get("replay"):
            _write_replay(run, loaded, runs, trained, Path(job["replay"]))
    out.write("end", gpu_peak_bytes=gpu_peak_bytes(), run=str(run.path))


def _record_batches(trained: list[Any]) -> None:
    """Keep the rows of every optimizer step, as the trainer has them."""
    step = Trainer.step

    def recording(self: Trainer, group: list[list[list[int]]]) -> dict[str, Any]:
        rows = [self.items[i] for plan in group for line in plan for i in line]
        trained.append([{"ids": r.ids, "trained": [int(t) for t in r.trained]} for r in rows])
        return step(self, group)

    Trainer.step = recording  # type: ignore[method-assign]


def _compile_layers() -> None:
    prepare = Trainer.__init__

    def preparing(self: Trainer, *arguments: Any, **options: Any) -> None:
        prepare(self, *arguments, **options)
        for layer in models.decoder(self.model).layers:
            layer.compile(dynamic=True)

    Trainer.__init__ = preparing  # type: ignore[method-assign]


def _record_scores(scores: list[Any]) -> None:
    """Keep the label scores of every validation: AUROC needs them, the event has accuracy."""
    score = validation.label_scores  # type: ignore[attr-defined]

    def recording(*arguments: Any, **options: Any) -> Any:
        scores.append(score(*arguments, **options))
        return scores[-1]

    validation.label_scores = recording  # type: ignore[attr-defined]


def _write_steps(run: Run, scores: list[Any], out: Lines) -> None:
    events = run.events()
    starts = [i for i, e in enumerate(events) if e["event"] == "stage_started"]
    # Validations and checkpoints lie between steps; events of other kinds may lie within one.
    told = [e for e in events[starts[-1] :] if e["event"] in ("step", "validation", "checkpoint")]
    before, train_seconds, validations = 0.0, 0.0, 0
    for event in told:
        seconds = event["time"] - before if before else event["seconds"]
        before = event["time"]
        if event["event"] == "step":
            train_seconds += seconds
            fields = {k: event.get(k) for k in ("loss", "tokens", "examples")}
            out.write("step", step=event["step"], seconds=seconds, **fields)
        elif event["event"] == "validation":
            metrics = dict(event["metrics"])
            if scores:
                metrics["auroc"] = _auroc(run, scores[validations])
            validations += 1
            out.write("validation", step=event["step"], train_seconds=train_seconds, **metrics)
    out.write("trained", **TrainSummary.load(run).model_dump(mode="json"))


def _auroc(run: Run, scores: Any) -> float:
    from sklearn.metrics import roc_auc_score

    labels, positive = run.recipe.labels, run.recipe.positive
    at = labels.index(positive)
    other = 1 - at
    gold = [e.label == positive for e in load_examples(run, "validation")]
    return float(roc_auc_score(gold, scores[:, at] - scores[:, other]))


def _write_replay(run: Run, loaded: Loaded, runs: Path, trained: list[Any], path: Path) -> None:
    """Write what the peers need to do the same job."""
    from luthier.model import open_tokenizer

    section, train = loaded.recipe.model, loaded.recipe.train
    renderer = Renderer(open_tokenizer(section, runs), train.train_on)
    rendered = [renderer.render(e) for e in load_examples(run, "validation")]
    watched = [{"ids": r.input_ids, "trained": [int(t) for t in r.trained]} for r in rendered]
    told = sft.arguments(
        train, precision="float32", device="cpu", seed=loaded.recipe.seed, total_steps=len(trained)
    )
    given = {argument.name: argument.value for argument in told}
    settings = train.model_dump(mode="json")
    # As peft was told: it takes no `all-linear` beside layers.
    adapter = json.loads((run.path / "train/adapter/adapter_config.json").read_text("utf-8"))
    settings["lora"]["target_modules"] = sorted(adapter["target_modules"])
    replay = {
        "model": str(locate(section, runs, "weights")),
        "pad_id": renderer.pad_id,
        "seed": loaded.recipe.seed,
        "train": settings,
        "lr_scheduler_kwargs": given.get("lr_scheduler_kwargs", {}),
        "warmup_steps": schedules.warmup_steps(train, len(trained)),
        "batches": trained,
        "validation": watched,
    }
    path.write_text(json.dumps(replay), encoding="utf-8")


if __name__ == "__main__":
    main()
