"""Two stages: a run that starts from what another run trained (`model: run:NAME`)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_t5 import t5_model_dir  # noqa: F401
from trained_project import Said, luthier, rows

from luthier import model as models
from luthier.artifacts import DataStats, Evaluation, TrainSummary, load_examples
from luthier.chat import Renderer
from luthier.predict import load
from luthier.recipe import ModelSection
from luthier.run import Run
from luthier.scoring import label_scores

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
FIRST = """\
name: first
model: {model}
task: {{kind: chat}}
data:
  sources:
    - {{path: rows.csv, format: columns, input: sentence, output: label, template: plain}}
    - {{path: more.csv, format: columns, input: question, output: answer, template: instruction}}
  mix: {{strategy: temperature}}
  filters: []
train: {{learning_rate: 1e-2, num_train_epochs: 1, lora: {lora}, bf16: false}}
evaluate: {{baselines: [], metrics: [perplexity], generation: {{max_new_tokens: 2}}}}
"""
SECOND = """\
name: second
model: run:first
task: {kind: classification, labels: ["True", "False"]}
data:
  sources: [{path: rows.csv, input: sentence, output: label}]
  template: plain
train: {learning_rate: 1e-2, num_train_epochs: 1, lora: {r: 4, lora_alpha: 8}, bf16: false}
evaluate: {baselines: [zero_shot], bootstrap_samples: 100}
ship: {exporters: [adapter, merged]}
"""
LORA = "{r: 4, lora_alpha: 8}"


def folder_of(path: Path, model: Path, lora: str = LORA) -> Path:
    (path / "rows.csv").write_text(rows())
    lines = [f"Say {i} again.,{i}" for i in range(40)]
    (path / "more.csv").write_text("\n".join(["question,answer", *lines]) + "\n")
    (path / "first.yaml").write_text(FIRST.format(model=model, lora=lora))
    (path / "second.yaml").write_text(SECOND)
    return path


def run(path: Path, name: str, *args: str) -> Said:
    return luthier("run", path / f"{name}.yaml", *args, "--runs", path / "runs")


def logits(model: Any, ids: list[int]) -> torch.Tensor:
    given = {"input_ids": torch.tensor([ids])}
    if model.config.is_encoder_decoder:
        given["decoder_input_ids"] = torch.tensor([[0, *ids[:3]]])
    with torch.inference_mode():
        return model(**given).logits


def check(path: Path) -> None:
    """Run both stages, and see that the second one stands on the first."""
    for name in ("first", "second"):
        said = run(path, name)
        assert said.code == 0, said.err
    first, second = Run(path / "runs/first"), Run(path / "runs/second")
    trained, tokenizer = models.trained_model(first)
    base, _ = models.trained_model(second, base=True)
    both, _ = models.trained_model(second)
    ids = Renderer(tokenizer).prompt(load_examples(second, "test")[0].prompt)
    torch.testing.assert_close(logits(base, ids), logits(trained, ids), rtol=0, atol=1e-4)
    assert (logits(both, ids) - logits(base, ids)).abs().max() > 1e-3
    assert TrainSummary.load(second).base_model == "run:first"
    # What `evaluate` compares with is the first stage.
    test, labels = load_examples(second, "test"), ["True", "False"]
    scores = label_scores(trained, Renderer(tokenizer), [e.prompt for e in test], labels)
    right = sum(labels[row.argmax()] == e.label for row, e in zip(scores, test, strict=True))
    systems = {s.name: s.metrics["accuracy"].value for s in Evaluation.load(second).systems}
    assert systems["zero_shot"] == pytest.approx(right / len(test))
    assert load(path / "runs/second").predict(["We will paint."])[0].predicted in labels
    # Merged, both stages are one model that transformers opens by itself.
    merged = models.open_model(ModelSection(name=str(second.path / "ship/merged")))
    torch.testing.assert_close(logits(merged, ids), logits(both, ids), rtol=0, atol=1e-4)


def test_instructions_then_the_task(tmp_path: Path, tiny_model_dir: Path) -> None:
    path = folder_of(tmp_path, tiny_model_dir)
    check(path)

    parts = {part.source: part.rows for part in DataStats.load(Run(path / "runs/first")).mixture}
    assert len(parts) == 2 and min(parts.values()) > 5
    # The adapter alone lies on the first run's model, which its card says.
    shipped = path / "runs/second/ship/adapter"
    config = json.loads((shipped / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "run:first"
    card = (shipped / "README.md").read_text()
    assert "the model of the run `first`" in card and "export it with `merged`" in card
    # Nothing is repeated for nothing; another first stage is another base.
    stages = json.loads(run(path, "second", "--json").out)["stages"]
    assert set(stages.values()) == {"unchanged"}
    (path / "first.yaml").write_text((path / "first.yaml").read_text() + "seed: 7\n")
    said = luthier("train", path / "first.yaml", "--runs", path / "runs")
    assert said.code == 0, said.err
    said = luthier("predict", path / "runs/second", "We will.", "--runs", path / "runs")
    assert said.code != 0 and "model 'run:first' is no longer the one" in said.err
    stages = json.loads(run(path, "second", "--json").out)["stages"]
    assert stages["train"] == "done"


def test_a_first_stage_of_full_weights(tmp_path: Path, tiny_model_dir: Path) -> None:
    check(folder_of(tmp_path, tiny_model_dir, lora="null"))


def test_an_encoder_decoder(tmp_path: Path, t5_model_dir: Path) -> None:  # noqa: F811
    check(folder_of(tmp_path, t5_model_dir))


def test_the_second_stage_without_the_first(tmp_path: Path, tiny_model_dir: Path) -> None:
    said = run(folder_of(tmp_path, tiny_model_dir), "second")

    assert said.code != 0 and "model: run:first: no run 'first'" in said.err
    assert "Run the recipe of that stage first." in said.err
    assert not (tmp_path / "runs/second").exists()
