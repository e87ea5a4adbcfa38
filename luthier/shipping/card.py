"""The model card: what the model is for, how it was made, how well it does, how to use it.

It goes where the weights go, so it names no path of this machine and quotes no row of the data.
"""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

from luthier import __version__
from luthier.artifacts import DataStats, Estimate, Evaluation, TrainSummary, load_examples
from luthier.made_with import MadeWith
from luthier.model import ALIASES
from luthier.packaged import NAME, ORIGINAL, SMOLLM2
from luthier.recipe import Recipe
from luthier.run import Run


def model_card(run: Run, exporter: ModuleType, *, has_encoder: bool = False) -> str:
    """Write the card of an export as Markdown, with the metadata block the hub reads.

    Args:
        run: a run whose train stage has finished; figures are given where it was evaluated.
        exporter: says the LIBRARY that opens the export, the USE, a piece of Python, and whether
            it NEEDS_BASE.
        has_encoder: the model is an encoder-decoder.
    """
    made, summary, data = MadeWith.of(run), TrainSummary.load(run), DataStats.load(run)
    recipe, version = made.recipe, made.lock["versions"].get("luthier", __version__)
    named, hub = _base(recipe.model.name)
    metadata = ["---", f"library_name: {exporter.LIBRARY}", "tags: [luthier]", "---"]
    if hub:
        metadata.insert(1, f"base_model: {hub}")
    # Libraries name their classes after the kind of model.
    use = exporter.USE.replace("ForCausalLM", "ForSeq2SeqLM") if has_encoder else exporter.USE
    rate = f"{recipe.train.optim}, learning rate {recipe.train.learning_rate:g}"
    parts = [
        "\n".join(metadata),
        f"# {recipe.name}",
        f"A {recipe.task.kind} model made by luthier {version} from {named}."
        + (f" It answers with one of: {', '.join(recipe.labels)}." if recipe.labels else ""),
        "## How it was made",
        f"- {data.splits['train'].rows:,} training rows, {summary.steps:,} optimizer steps, "
        f"{summary.epochs:g} epochs, precision {summary.precision}, seed {recipe.seed}\n"
        f"- {summary.trainable_parameters:,} of {summary.total_parameters:,} parameters trained "
        f"with {rate}",
        *(_results(Evaluation.load(run)) if run.is_done("evaluate") else []),
        *_question(run, recipe),
        "## How to use it",
        f"```python\n{use}\n```",
        *(_on_base(recipe.model.name) if exporter.NEEDS_BASE else []),
        f"Or with luthier, which also calibrates: `luthier predict {run.name} ...`.",
    ]
    return "\n\n".join(parts) + "\n"


def _base(name: str) -> tuple[str, str | None]:
    """What the base model is called in public, and its hub id, if it has one."""
    if name.startswith("run:"):
        return f"the model of the run `{name.removeprefix('run:')}`", None
    if name == NAME:
        copy = f"its weights de-quantised from the 4 bits of the package `{SMOLLM2.requirement}`"
        return f"`{ORIGINAL}`, {copy}", ORIGINAL
    if name in ALIASES:
        hub = ALIASES[name].hub
        return f"`{hub}`", hub
    path = Path(name).expanduser()
    if path.exists() or path.suffix == ".gguf" or name[0] in "/.~":
        return f"a local model, `{path.name}`", None
    return f"`{name}`", name


def _on_base(name: str) -> list[str]:
    """What to know about the base that `adapter_config.json` names."""
    if name == NAME:
        return [
            f"This opens the adapter on the weights of `{ORIGINAL}` as they are on the hub. It was "
            "trained and measured on a copy that had been rounded to 4 bits, so its answers will "
            "be close to the measured ones, and not the same. luthier, and its `merged` export, "
            "use that very copy."
        ]
    if name.startswith("run:"):
        return [
            f"Its base is {_base(name)[0]}, which `adapter_config.json` calls `{name}`. Where that "
            "run trained an adapter, peft cannot open it by this name: export it with `merged`, "
            "and put that folder in the place of `base_model_name_or_path`."
        ]
    if _base(name)[1] is None:
        return [
            f"Its base is {_base(name)[0]}: `adapter_config.json` names the folder where it lay. "
            "On another machine, put its folder there in the place of `base_model_name_or_path`."
        ]
    return []


def _results(found: Evaluation) -> list[str]:
    names = list(found.systems[0].metrics)
    lines = ["| system | " + " | ".join(names) + " |", "|---|" + "---:|" * len(names)]
    for system in found.systems:
        cells = [_cell(system.metrics.get(name)) for name in names]
        lines.append(f"| {system.name} | " + " | ".join(cells) + " |")
    return [
        "## How well it does",
        f"{found.rows:,} test rows, never trained on; 95 % intervals.",
        "\n".join(lines),
        *found.notes,
    ]


def _cell(estimate: Estimate | None) -> str:
    if estimate is None:
        return ""
    value = f"{estimate.value:.3f}"
    return value if estimate.low is None else f"{value} [{estimate.low:.3f}, {estimate.high:.3f}]"


def _question(run: Run, recipe: Recipe) -> list[str]:
    """The messages it was trained to answer, with `{input}` where the row's own text was."""
    row = load_examples(run, "train")[0]
    given = str(row.fields.get("input", ""))
    if recipe.task.kind not in ("classification", "generation") or not given.strip():
        return []
    said = [f"{m.role}: {m.content.replace(given, '{input}')}" for m in row.prompt]
    if not any("{input}" in text for text in said):
        return []
    text = "\n\n".join(said)
    fence = "```"
    while fence in text:
        fence += "`"
    return ["## How to ask it", f"{fence}\n{text}\n{fence}"]
