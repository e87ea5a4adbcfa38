"""The training job: `train(run)` takes a dataset and a plan to an adapter or full weights.

Read `train` first: it is the story. One optimizer step is `Trainer.step` (trainer.py).
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from luthier import model as models
from luthier.artifacts import Plan, TrainSummary, load_examples
from luthier.atomic import make_durable
from luthier.chat import Renderer
from luthier.console import progress, say
from luthier.example import Example
from luthier.liger import use_liger
from luthier.made_with import MadeWith, base_files
from luthier.run import RUNS, Run
from luthier.training import batches, parallel
from luthier.training.config import TrainConfig
from luthier.training.host_memory import peak_bytes
from luthier.training.parallel import Team
from luthier.training.smoothing import ClassSmoothing
from luthier.training.trainer import Trainer
from luthier.training.watch import Watch


def train(run: Run, *, runs: Path = RUNS) -> TrainSummary:
    """Train what the recipe of `run` asks for; resumes from the newest checkpoint, if there is one.

    Args:
        run: a run whose data and plan stages are done.
        runs: where `model: run:NAME` is looked up.

    Raises:
        TrainingError: loss or gradients stay non-finite, with the rows named; or a step does not
            fit into memory.
        KeyboardInterrupt: after saving a checkpoint, on Ctrl-C or SIGTERM.
    """
    recipe, plan = run.recipe, Plan.load(run)
    with parallel.joined(recipe.train, plan.device) as team:
        return _train(team.view(run), runs, plan, team)


def _train(run: Run, runs: Path, plan: Plan, team: Team) -> TrainSummary:
    recipe = run.recipe
    take_steps = _engine(recipe.train)
    examples = load_examples(run, "train")
    watched = load_examples(run, "validation")
    tokenizer = models.open_tokenizer(recipe.model, runs)
    renderer = Renderer(tokenizer, recipe.train.train_on)
    smoothing = _class_smoothing(recipe.train, recipe.labels, examples, renderer)
    items = batches.prepare(examples, renderer, smoothing=smoothing)

    # Only process 0 writes it down, and hashing a large model takes seconds.
    base = base_files(recipe.model, runs) if team.writes else {}
    # Seed before the adapter is created: its first values are random too.
    torch.manual_seed(recipe.seed)
    model = models.open_model(
        recipe.model,
        runs=runs,
        precision=plan.precision,
        quantization=recipe.train.quantization,
        attn_implementation=recipe.train.attn_implementation,
        trainable=recipe.train.lora is None,
    )
    if recipe.train.use_liger_kernel:
        use_liger(model)
    if recipe.train.lora is not None:
        model = models.attach_adapter(model, recipe.train.lora, plan.precision)

    counts = [p.numel() for p in model.parameters()]
    trained = [p.numel() for p in model.parameters() if p.requires_grad]
    trainer = Trainer(run, recipe.train, plan, model, renderer, items, seed=recipe.seed, team=team)
    watch = Watch(trainer, watched, recipe.labels)
    take_steps(trainer, watch)
    if trainer.average is not None:
        trainer.average.put()

    team.make_whole(model)
    if recipe.train.load_best_model_at_end and trainer.progress.best_step:
        watch.restore_best()
    weights = run.folder("train") / ("full" if recipe.train.lora is None else "adapter")
    if team.writes:
        if recipe.train.lora is None:
            models.save_full(model, tokenizer, weights)
        else:
            models.save_adapter(model, weights)
        for path in [*weights.iterdir(), weights, weights.parent]:
            make_durable(path)
    done = trainer.progress
    summary = TrainSummary(
        kind="full" if recipe.train.lora is None else "adapter",
        weights=str(weights.relative_to(run.path)),
        base_model=recipe.model.name,
        precision=plan.precision,
        steps=done.step,
        epochs=round(done.step / trainer.steps_per_epoch, 3),
        best_step=done.best_step or done.step,
        best_metric=done.best_metric,
        stopped_early=done.stopped_early,
        seconds=round(trainer.seconds(), 2),
        examples=done.examples,
        tokens=done.tokens,
        trained_tokens=done.trained_tokens,
        peak_bytes=peak_bytes(trainer.device),
        trainable_parameters=sum(trained),
        total_parameters=sum(counts),
        processes=team.size,
        averaged_steps=trainer.average.count if trainer.average is not None else 0,
    )
    summary.save(run)
    MadeWith.now(run, plan, base).save(run)
    return summary


def _engine(train: TrainConfig) -> Callable[[Trainer, Watch], None]:
    """What takes the optimizer steps; looked for first, since it may not be installed."""
    if train.engine == "trl":
        from luthier.training.trl_engine import train_with_trl

        return train_with_trl
    return _train_here


def _train_here(trainer: Trainer, watch: Watch) -> None:
    trainer.resume()
    if trainer.train.auto_find_batch_size and not trainer.progress.step:
        trainer.ladder.find()
    with _signals_as_flag() as stop:
        _loop(trainer, watch, stop)


def _loop(trainer: Trainer, watch: Watch, stop: Callable[[], bool]) -> None:
    """Run the optimizer steps that are left, validating, saving and stopping on the way."""
    eval_every = trainer.train.eval_steps or trainer.steps_per_epoch
    save_every = trainer.train.save_steps or eval_every
    shown = trainer.progress.step
    with progress("Training", trainer.total_steps, "steps") as advance:
        advance(shown)
        if trainer.progress.stopped_early:
            return  # resumed at the step that it stopped at
        while trainer.progress.step < trainer.total_steps:
            fields = trainer.step(trainer.group(trainer.progress.step))
            state = trainer.progress
            advance(state.step - shown, note=_note(fields))
            went_back, shown = state.step <= shown, state.step
            last = state.step == trainer.total_steps
            if not went_back and (state.step % eval_every == 0 or last):
                watch.look()
            last, stopping = last or state.stopped_early, trainer.team.any(stop())
            # The last step too: writing the final weights may yet fail (a full disk). After a
            # step that failed there is nothing new, and older checkpoints may be needed.
            due = state.step % save_every == 0 and state.step not in state.failed and not went_back
            if due or last or stopping:
                trainer.save()
            if stopping:
                # A process that ends first would have the others ended, in the middle of the save.
                trainer.team.wait()
                raise KeyboardInterrupt
            if last:
                return


def _class_smoothing(
    train: TrainConfig, labels: list[str], examples: list[Example], renderer: Renderer
) -> ClassSmoothing | None:
    if train.label_smoothing_over != "classes" or not train.label_smoothing_factor or not labels:
        return None
    prompt = examples[0].prompt
    answers = [[*renderer.completion(prompt, label), renderer.stop_id] for label in labels]
    return ClassSmoothing(answers, train.label_smoothing_factor)


def _note(fields: dict[str, Any]) -> str:
    if "loss" not in fields:
        return "left out"
    rate = fields["tokens"] / max(fields["seconds"], 1e-9)
    return f"loss {fields['loss']:.4f}  lr {fields['lr']:.2e}  {rate:,.0f} tokens/s"


@contextmanager
def _signals_as_flag() -> Iterator[Callable[[], bool]]:
    """Ctrl-C and SIGTERM ask for a stop at the next step boundary; a second Ctrl-C insists."""
    asked = False

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        say("stopping after this step; the run can be resumed by repeating the command", "yellow")

    try:
        previous = {s: signal.signal(s, ask) for s in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not the main thread: signals are somebody else's
        yield lambda: False
        return
    try:
        yield lambda: asked
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
