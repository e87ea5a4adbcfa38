"""The model card: what the model is for, how it was made, how well it does, how to use it."""

from __future__ import annotations

from luthier import __version__
from luthier.artifacts import DataStats, Evaluation, TrainSummary
from luthier.run import Run

_USE = {
    "adapter": """from peft import AutoPeftModelForCausalLM

model = AutoPeftModelForCausalLM.from_pretrained("FOLDER")""",
    "merged": """from transformers import AutoModelForCausalLM

model = AutoModelForCausalLM.from_pretrained("FOLDER")""",
}


def model_card(run: Run, exporter: str) -> str:
    """Write the card of an export as Markdown, with the metadata block the hub reads."""
    recipe, summary, data = run.recipe, TrainSummary.load(run), DataStats.load(run)
    sample = data.samples[0] if data.samples else {}
    parts = [
        "---",
        f"base_model: {recipe.model.name}",
        f"library_name: {'peft' if exporter == 'adapter' else 'transformers'}",
        "tags: [luthier]",
        "---",
        f"# {recipe.name}",
        f"A {recipe.task.kind} model made by luthier {__version__} from `{recipe.model.name}`.",
        "## How it was made",
        f"- {data.splits['train'].rows:,} training rows, {summary.steps:,} optimizer steps, "
        f"{summary.epochs:g} epochs, precision {summary.precision}, seed {recipe.seed}",
        f"- {summary.trainable_parameters:,} of {summary.total_parameters:,} parameters trained "
        f"with {recipe.train.optim}, learning rate {recipe.train.learning_rate:g}",
        *(["## How well it does", *_results(Evaluation.load(run))] if run.is_done("evaluate")
          else []),
        "## How to ask it",
        f"```\n{sample.get('prompt', '')}\n```",
        f"It was trained to answer, for example, `{sample.get('completion', '')}`.",
        f"```python\n{_USE.get(exporter, '')}\n```",
        f"Or `luthier predict` on the run, which also calibrates: `luthier predict {run.name} ...`.",
    ]  # fmt: skip
    return "\n\n".join(parts) + "\n"


def _results(found: Evaluation) -> list[str]:
    names = list(found.systems[0].metrics)
    lines = ["| system | " + " | ".join(names) + " |", "|---|" + "---:|" * len(names)]
    for system in found.systems:
        cells = []
        for name in names:
            estimate = system.metrics.get(name)
            cells.append("" if estimate is None else f"{estimate.value:.3f}")
        lines.append(f"| {system.name} | " + " | ".join(cells) + " |")
    return [f"{found.rows:,} test rows, never trained on.", "\n".join(lines), *found.notes]
