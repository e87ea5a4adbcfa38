"""One of two processes: gradients of optimizer steps, written down by the first of them.

    python one_of_two.py RUN OUT CASES

CASES is JSON: name -> {"group": micro-batches, **settings of `train`}; so is OUT/losses.json.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from luthier import model as models
from luthier.artifacts import Plan, load_examples
from luthier.chat import Renderer
from luthier.run import Run
from luthier.training import batches, parallel
from luthier.training.config import TrainConfig
from luthier.training.trainer import Trainer


def gradients(
    run: Run, group: list[batches.BatchPlan], team: parallel.Team, train: TrainConfig
) -> tuple[float, dict[str, int], dict[str, torch.Tensor]]:
    """Loss, counts and gradients of one optimizer step over all micro-batches of `group`."""
    renderer = Renderer(models.open_tokenizer(run.recipe.model), train.train_on)
    items = batches.prepare(load_examples(run, "train"), renderer)
    torch.manual_seed(0)
    model = models.open_model(run.recipe.model, trainable=train.lora is None)
    if train.lora is not None:
        model = models.attach_adapter(model, train.lora)
        for name, parameter in model.named_parameters():
            # Fresh adapters are zero in B, which would hide the gradient of A.
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.02)
    trainer = Trainer(run, train, Plan.load(run), model, renderer, items, seed=0, team=team)
    loss, micro = trainer.ladder.gradients(group)
    named = trainer.model.named_parameters()
    found = {n: parallel.whole(p.grad).clone() for n, p in named if p.grad is not None}
    return loss, trainer._count(micro), found


def main(path: str, out: str, cases: str) -> None:
    run, losses = Run(Path(path)), {}
    for name, case in json.loads(cases).items():
        train = TrainConfig.model_validate({**run.recipe.train.model_dump(), **case["train"]})
        with parallel.joined(train, "cpu") as team:
            loss, counts, found = gradients(team.view(run), case["group"], team, train)
            losses[name] = {"loss": loss, "counts": counts, "rank": team.rank, "size": team.size}
            if team.writes:
                save_file(found, Path(out) / f"{name}.safetensors")
    if team.writes:
        Path(out, "losses.json").write_text(json.dumps(losses))


if __name__ == "__main__":
    arguments: Any = sys.argv[1:4]
    main(*arguments)
