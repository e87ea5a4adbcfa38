"""`luthier eject`: the recipe as a plain script for TRL, with the rows it trains on beside it."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from luthier import schedules, sft
from luthier.artifacts import Plan, load_examples
from luthier.atomic import atomic_write
from luthier.console import say
from luthier.errors import LuthierError, ModelError
from luthier.example import Example, Split
from luthier.recipe import Recipe
from luthier.run import RUNS, Run
from luthier.sft import Argument
from luthier.training.config import TrainConfig

if TYPE_CHECKING:
    from luthier.training.batches import Item

WIDTH = 96
SPLITS: tuple[Split, ...] = ("train", "validation")
_PACKAGES = {
    "trl": "trl>=1.10,<2",
    "transformers": "transformers>=5.15,<6",
    "peft": "peft>=0.18,<1",
}
"""What the script imports, and the versions it is meant for where one is not installed."""
_LEFT_OUT = {
    "max_steps": -1, "label_smoothing_factor": 0, "neftune_noise_alpha": None, "fp16": False,
    "use_cpu": False, "warmup_steps": 0,
}  # fmt: skip
"""Arguments that say nothing at this value, which is TRL's default too."""


class Ejected(NamedTuple):
    """What was written, and what the script does not do."""

    script: Path
    data: list[Path]
    missing: list[str]
    """Settings without a counterpart, and what the script does instead."""
    different: list[str]
    """What Hugging Face does in another way."""


def tell(written: Ejected) -> dict[str, Any]:
    """Print what was written and what the script does not do; returns it as plain values."""
    for title, said in (
        ("without a counterpart in TRL", written.missing),
        ("done in another way there", written.different),
    ):
        if said:
            say(f"{title}:\n" + "\n".join(f"  {sentence}" for sentence in said), style="yellow")
    say(f"script: {written.script}\nrows:   {', '.join(map(str, written.data))}")
    return {
        "script": str(written.script), "data": [str(path) for path in written.data],
        "missing": written.missing, "different": written.different,
    }  # fmt: skip


class _Script(NamedTuple):
    """What the text of the script is made of."""

    recipe: Recipe
    model: str
    """Hub id or folder."""
    elsewhere: str
    """Hub id that is nearly the same model, where a folder is named that is only on this machine;
    empty otherwise."""
    pad_token: str
    data: dict[Split, Path]
    """Files of rows by split."""
    output: str
    """Folder that the script writes, beside itself."""
    lora: list[Argument]
    config: list[Argument]
    ejected: Ejected


def eject(run: Run, out: Path, *, runs: Path = RUNS) -> Ejected:
    """Write the script and its rows.

    Rows are written as they are rendered, in the order of the first epoch, so that the script
    takes the same steps without any code of luthier's.

    Args:
        run: a run whose data and plan stages are done.
        out: the script; rows go beside it, to `STEM.train.jsonl` and `STEM.validation.jsonl`.
        runs: where `model: run:NAME` is looked up.

    Raises:
        LuthierError: a file is there already, or the model is one that only luthier can open, or
            that TRL cannot train.
    """
    from luthier import model as models
    from luthier.chat import Renderer
    from luthier.training import batches

    recipe, plan = run.recipe, Plan.load(run)
    run.require("data")
    if models.open_config(recipe.model, runs).is_encoder_decoder:
        raise LuthierError(
            f"model: '{recipe.model.name}' is an encoder-decoder, and TRL's SFTTrainer trains "
            "models without an encoder. Export what luthier trains with `luthier ship`."
        )
    model, elsewhere = _names_of_model(recipe, runs)
    splits = {split: load_examples(run, split) for split in SPLITS}
    files = {
        name: out.with_name(f"{out.stem}.{name}.jsonl") for name, rows in splits.items() if rows
    }
    for path in (out, *files.values()):
        if path.exists():
            raise LuthierError(f"{path} exists already; delete it or choose another with --out.")
    tokenizer = models.open_tokenizer(recipe.model, runs)
    renderer = Renderer(tokenizer, recipe.train.train_on)
    items = {name: batches.prepare(splits[name], renderer) for name in files}
    prefixes = None
    if not _is_padded(recipe, runs):
        prefixes = batches.shared_prefixes(items["train"], recipe.train.per_device_train_batch_size)
    first = batches.plan_epoch(
        items["train"], recipe.train, seed=recipe.seed, epoch=0, prefixes=prefixes
    )
    lines = [line for batch in first for line in batch]
    total = schedules.count_steps(len(first), recipe.train)
    per_epoch = schedules.steps_per_epoch(len(first), recipe.train)
    ejected = Ejected(
        out,
        list(files.values()),
        _missing(recipe, plan),
        _different(recipe, validated="validation" in files, epochs=total / per_epoch),
    )
    config = [
        *sft.arguments(
            recipe.train, precision=plan.precision, device=plan.device, seed=recipe.seed,
            total_steps=total,
        ),
        *_rows_arguments(recipe.train),
        *_watching_arguments(recipe.train, per_epoch, validated="validation" in files),
    ]  # fmt: skip
    script = _Script(
        recipe=recipe, model=model, elsewhere=elsewhere, pad_token=tokenizer.pad_token,
        data=files, output=f"{out.stem}_output", lora=_lora(recipe, runs), config=config,
        ejected=ejected,
    )  # fmt: skip
    for name, path in files.items():
        order = lines if name == "train" else [[i] for i in range(len(items[name]))]
        packed = recipe.train.packing and name == "train"
        _write_rows(path, order, items[name], splits[name], recipe.train, packed=packed)
    with atomic_write(out) as file:
        file.write(_text(script).encode())
    return ejected


def _names_of_model(recipe: Recipe, runs: Path) -> tuple[str, str]:
    """What the script opens, and what another machine could open instead (else empty)."""
    from luthier.locate import ALIASES, RUN_PREFIX, locate, name_for_others

    folder = locate(recipe.model, runs, "weights")
    name = name_for_others(recipe.model, folder, runs)
    if name.startswith(RUN_PREFIX):
        raise ModelError(
            f"model: '{name}' is an adapter on another model, which no other program can open by "
            "this name. Ship that run with `ship.exporters: [merged]` and name the exported folder "
            "as the model."
        )
    alias = ALIASES.get(recipe.model.name)
    if alias is not None and alias.hub is None:  # de-quantized here, once, from a package
        return str(folder), name
    return name, ""


def _lora(recipe: Recipe, runs: Path) -> list[Argument]:
    """Arguments of `LoraConfig`; none for full fine-tuning."""
    lora = recipe.train.lora
    if lora is None:
        return []
    if lora.target_modules == "all-linear" and lora.layers_to_transform is not None:
        # peft forgets the layers under this name.
        lora = lora.model_copy(update={"target_modules": _linear_modules(recipe, runs)})
    return sft.lora_arguments(lora)


def _linear_modules(recipe: Recipe, runs: Path) -> list[str]:
    from luthier import adapters

    return adapters.linear_modules(_without_weights(recipe, runs))


def _is_padded(recipe: Recipe, runs: Path) -> bool:
    """Whether training pads the model's rows; then it does not group them by what they share."""
    from luthier.planning.trace import why_padded

    return bool(why_padded(_without_weights(recipe, runs), recipe.train.attn_implementation))


def _without_weights(recipe: Recipe, runs: Path) -> Any:
    """The plain model, as large as it is, in no memory."""
    from luthier import model as models
    from luthier.planning.memory import build_without_weights

    plain = recipe.train.model_copy(update={"lora": None, "quantization": None})
    return build_without_weights(models.open_config(recipe.model, runs), plain, "float32")


# --- rows --------------------------------------------------------------------------------------


def _write_rows(
    path: Path,
    order: Iterable[Sequence[int]],
    items: Sequence[Item],
    examples: Sequence[Example],
    train: TrainConfig,
    *,
    packed: bool,
) -> None:
    """One JSON object a line: a row, or with packing the rows of a packed line."""
    with atomic_write(path) as file:
        for line in order:
            record: dict[str, Any] = {"id": " ".join(items[i].id for i in line)}
            if not packed:
                record |= _readable(examples[line[0]], train)
            record["input_ids"] = [token for i in line for token in items[i].ids]
            record["labels"] = [
                token if trained else -100
                for i in line
                for token, trained in zip(items[i].ids, items[i].trained, strict=True)
            ]
            if packed:
                record["seq_lengths"] = [len(items[i].ids) for i in line]
            text = json.dumps(record, ensure_ascii=False)
            # Damaged text holds lone surrogates; `\udc80` is how JSON spells them.
            file.write(text.encode("utf-8", "backslashreplace") + b"\n")


def _readable(example: Example, train: TrainConfig) -> dict[str, Any]:
    """A row's text in the columns that TRL knows."""
    if not example.messages:
        return {"text": example.text}
    turns = [{"role": m.role, "content": m.content} for m in example.turns]
    if train.train_on == "completion":
        return {"prompt": turns[:-1], "completion": turns[-1:]}
    return {"messages": turns}


# --- what the script is told -------------------------------------------------------------------


def _rows_arguments(train: TrainConfig) -> list[Argument]:
    """Arguments about the rows, which lie in the order they are trained in."""
    if train.packing:
        return [
            Argument("packing", True, "train.packing"),
            Argument("packing_strategy", "bfd", "positions start again with every row"),
            Argument("max_length", train.max_seq_length, "train.max_seq_length"),
            Argument("train_sampling_strategy", "sequential", "lines are in the order of training"),
            Argument("dataset_kwargs", {"skip_prepare_dataset": True}, "rows are packed already"),
        ]
    if train.group_by_length:
        order = Argument("train_sampling_strategy", "group_by_length", "train.group_by_length")
    else:
        why = "rows are in the order of training"
        order = Argument("train_sampling_strategy", "sequential", why)
    return [Argument("max_length", train.max_seq_length, "train.max_seq_length"), order]


def _watching_arguments(train: TrainConfig, per_epoch: int, *, validated: bool) -> list[Argument]:
    """Arguments about logging, validation and checkpoints."""
    look_every = train.eval_steps or per_epoch
    save_every = train.save_steps or look_every
    found = [Argument("logging_steps", train.logging_steps, "train.logging_steps")]
    if validated:
        size = train.per_device_eval_batch_size
        found += [
            Argument("per_device_eval_batch_size", size, "train.per_device_eval_batch_size"),
            Argument("eval_strategy", "steps", "train.eval_steps"),
            Argument("eval_steps", look_every, "train.eval_steps"),
        ]
    if validated and train.load_best_model_at_end:
        # Hugging Face can only go back to what it saved at a validation.
        save_every = save_every if save_every % look_every == 0 else look_every
        found += [
            Argument("load_best_model_at_end", True, "train.load_best_model_at_end"),
            Argument("metric_for_best_model", "eval_loss", "train.metric_for_best_model"),
        ]
    return [
        *found,
        Argument("save_steps", save_every, "train.save_steps"),
        Argument("save_total_limit", train.save_total_limit, "train.save_total_limit"),
        Argument("report_to", "none", "nothing is sent anywhere"),
    ]


def _missing(recipe: Recipe, plan: Plan) -> list[str]:
    """What has no counterpart, and what the script does instead."""
    train = recipe.train
    found = [
        f"{gap.key}: {gap.why} {gap.instead}"
        for gap in sft.gaps(train, precision=plan.precision, device=plan.device)
    ]
    if train.metric_for_best_model != "loss":
        found.append(
            f"train.metric_for_best_model: {train.metric_for_best_model}: SFTTrainer does not "
            "score labels. The script takes eval_loss."
        )
    if train.lora is not None and train.lora.init_lora_weights in ("pissa", "olora"):
        found.append(
            f"train.lora.init_lora_weights: {train.lora.init_lora_weights}: the base's weights "
            "are changed while training. The adapter that the script saves fits that changed base "
            "only; peft's documentation says how to convert it."
        )
    if train.fsdp or train.deepspeed is not None:
        key = "train.fsdp" if train.fsdp else "train.deepspeed"
        found.append(
            f"{key}: how a model is shared out is told to `accelerate launch`, by its own file."
        )
    found.append("evaluate and ship: the script trains and saves, no more.")
    return found


def _different(recipe: Recipe, *, validated: bool, epochs: float) -> list[str]:
    """What the script does in another way."""
    train = recipe.train
    found = sft.differences(train)
    if train.group_by_length and not train.packing:
        found.append("Hugging Face groups rows by length in an order of its own.")
    elif epochs > 1:
        found.append(
            "Every epoch takes the rows in the order of the first; luthier shuffles again for each."
        )
    if train.lora is not None and train.lora.lora_dropout > 0:
        found.append("Dropout draws other masks.")
    if validated:
        smoothed = ", smoothed labels included" if train.label_smoothing_factor else ""
        found.append(f"eval_loss is a mean over batches, not over tokens{smoothed}.")
    if train.label_smoothing_factor and train.label_smoothing_over == "vocabulary":
        found.append("Label smoothing leaves SFTTrainer with trl 2; keep trl below it.")
    return found


# --- the text ----------------------------------------------------------------------------------


def _text(script: _Script) -> str:
    """The script."""
    train, model = script.recipe.train, script.recipe.model
    full = train.lora is None
    patience = train.early_stopping_patience if "validation" in script.data else None
    from_transformers = ["AutoTokenizer"]
    from_transformers += ["BitsAndBytesConfig"] if train.quantization is not None else []
    from_transformers += ["EarlyStoppingCallback"] if patience else []
    options = [Argument("revision", model.revision, "model.revision")] if model.revision else []
    if model.trust_remote_code:
        options.append(Argument("trust_remote_code", True, "model.trust_remote_code"))
    parts = [
        _docstring(script),
        'import os\nfrom pathlib import Path\n\nos.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", '
        '"1")  # trl reports every start to its authors',
        "\n".join(
            ["from datasets import Dataset",
             *([] if full else ["from peft import LoraConfig"]),
             f"from transformers import {', '.join(sorted(from_transformers))}",
             "from trl import SFTConfig, SFTTrainer"]
        ),
        f"HERE = Path(__file__).resolve().parent\nOUTPUT = HERE / {_literal(script.output)}\n"
        + (f"# Elsewhere: {_literal(script.elsewhere)}, whose weights were not rounded to 4 bits.\n"
           if script.elsewhere else "")
        + f"MODEL = {_literal(script.model)}  # model",
        _rows_text(script),
        _call("tokenizer = AutoTokenizer.from_pretrained", options, first="MODEL")
        + f'\ntokenizer.add_special_tokens({{"pad_token": {_literal(script.pad_token)}}})'
        "  # never the stop token",
    ]  # fmt: skip
    if train.quantization is not None:
        given = train.quantization.model_dump().items()
        chosen = [Argument(n, v, f"train.quantization.{n}") for n, v in given if v is not None]
        parts.append(_call("quantization_config = BitsAndBytesConfig", chosen))
    if not full:
        parts.append(_call("peft_config = LoraConfig", script.lora))
    written = [a for a in script.config if a.name not in _LEFT_OUT or a.value != _LEFT_OUT[a.name]]
    opened = {"dtype": "float32", "attn_implementation": train.attn_implementation}
    opened |= {argument.name: argument.value for argument in options}
    parts += [
        _call(
            "config = SFTConfig",
            [*written, Argument("model_init_kwargs", opened, "weights stay in fp32")],
            first="output_dir=str(OUTPUT)",
        ),
        _trainer_text(script, full=full, patience=patience),
        _saving_text(full=full),
    ]
    return "\n\n".join(parts) + "\n"


def _docstring(script: _Script) -> str:
    installed = [_requirement(package) for package in _PACKAGES]
    if script.recipe.train.quantization is not None or "bnb" in script.recipe.train.optim:
        installed.append("bitsandbytes")
    needs = " ".join(f"'{name}'" for name in installed)
    lines = [
        f'"""What luthier\'s recipe `{script.recipe.name}` trains, with TRL alone.',
        "",
        f"pip install {needs} datasets accelerate",
        f"python {script.ejected.script.name}",
    ]
    for title, said in (
        ("Without a counterpart here", script.ejected.missing),
        ("Done in another way than luthier does", script.ejected.different),
    ):
        lines += ["", f"{title}:"] if said else []
        for sentence in said:
            plain = " ".join(sentence.split()).replace("\\", "/").replace('"""', "'''")
            lines += textwrap.wrap(plain, WIDTH, initial_indent="- ", subsequent_indent="  ")
    return "\n".join([*lines, '"""'])


def _rows_text(script: _Script) -> str:
    if script.recipe.train.packing:
        comment = (
            "A line of the training file is a packed line: tokens of several rows, and how many "
            "belong to each. Labels of -100 are not trained."
        )
    else:
        comment = (
            "Rows as luthier rendered them: input_ids, and labels (-100: not trained). The text is "
            "there to be read; without input_ids and labels TRL renders it by itself, and then "
            "also trains what the chat template puts behind an answer's stop token."
        )
    lines = textwrap.wrap(comment, WIDTH, initial_indent="# ", subsequent_indent="# ")
    for name, path in script.data.items():
        lines.append(f"{name}_rows = Dataset.from_json(str(HERE / {_literal(path.name)}))")
    return "\n".join(lines)


def _trainer_text(script: _Script, *, full: bool, patience: int | None) -> str:
    train = script.recipe.train
    lines = [
        "trainer = SFTTrainer(",
        "    model=MODEL,",
        "    args=config,",
        "    train_dataset=train_rows,",
    ]
    if "validation" in script.data:
        lines.append("    eval_dataset=validation_rows,")
    lines.append("    processing_class=tokenizer,")
    if train.quantization is not None:
        lines.append("    quantization_config=quantization_config,")
    if not full:
        lines.append("    peft_config=peft_config,")
    if patience:
        given = f"{patience}, {train.early_stopping_threshold!r}"
        comment = "train.early_stopping_patience, train.early_stopping_threshold"
        lines.append(f"    callbacks=[EarlyStoppingCallback({given})],  # {comment}")
    return "\n".join([*lines, ")", "trainer.train()"])


def _saving_text(*, full: bool) -> str:
    lines = ["trainer.save_state()  # trainer_state.json: what was logged, every loss among it"]
    if full:
        lines.append("trainer.model.config.use_cache = True  # switched off for training")
    folder = "full" if full else "adapter"
    lines.append(f"trainer.model.save_pretrained(OUTPUT / {_literal(folder)})")
    lines.append(f"tokenizer.save_pretrained(OUTPUT / {_literal(folder)})")
    return "\n".join(lines)


def _call(name: str, arguments: Sequence[Argument], *, first: str = "") -> str:
    """A call with an argument a line, each with the recipe key it comes from."""
    if not arguments:
        return f"{name}({first})"
    lines = [f"{name}(", *([f"    {first},"] if first else [])]
    for argument in arguments:
        lines.append(f"    {argument.name}={_literal(argument.value)},  # {argument.key}")
    return "\n".join([*lines, ")"])


def _literal(value: Any) -> str:
    """A value of a recipe as Python."""
    if isinstance(value, str):
        return json.dumps(value)  # a JSON string is a Python string, in double quotes
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_literal(k)}: {_literal(v)}" for k, v in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_literal, value)) + "]"
    return repr(value)


def _requirement(package: str) -> str:
    try:
        return f"{package}=={metadata.version(package)}"
    except metadata.PackageNotFoundError:
        return _PACKAGES[package]
