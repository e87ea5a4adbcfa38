"""Where a model's files are: every name a recipe may give becomes a local folder.

An alias, a hub id, a local folder, a `.gguf` file and `run:NAME` all end as a folder with a
`config.json`, so whatever is wrong with a model is found and explained in one way. No weights
are opened here, and no torch is imported.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from luthier import packaged
from luthier.artifacts import TrainSummary
from luthier.console import console, say
from luthier.errors import ModelError, RunError, nearest
from luthier.made_with import MadeWith
from luthier.recipe import ModelSection
from luthier.run import Run

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)

RUN_PREFIX = "run:"
ENCODER_DECODERS = ("t5", "mt5")
"""Types of models with an encoder that are understood; others start their answers in other ways."""
Part = Literal["config", "tokenizer", "weights", "embedder"]


@dataclass(frozen=True)
class Alias:
    """A short name for a model."""

    hub: str | None
    """Hub id; null: the model that comes in a Python package (`packaged.py`)."""
    describe: str


ALIASES: dict[str, Alias] = {
    packaged.NAME: Alias(None, "135 M parameters, chat, Apache-2.0; from the Python package index"),
    "smollm2-360m-instruct": Alias(
        "HuggingFaceTB/SmolLM2-360M-Instruct", "360 M parameters, chat, Apache-2.0"
    ),
    "smollm2-1.7b-instruct": Alias(
        "HuggingFaceTB/SmolLM2-1.7B-Instruct", "1.7 B parameters, chat, Apache-2.0"
    ),
    "qwen2.5-0.5b-instruct": Alias(
        "Qwen/Qwen2.5-0.5B-Instruct", "0.5 B parameters, chat, Apache-2.0"
    ),
    "qwen2.5-1.5b-instruct": Alias(
        "Qwen/Qwen2.5-1.5B-Instruct", "1.5 B parameters, chat, Apache-2.0"
    ),
    "qwen2.5-7b-instruct": Alias("Qwen/Qwen2.5-7B-Instruct", "7.6 B parameters, chat, Apache-2.0"),
    "llama2-7b": Alias("meta-llama/Llama-2-7b-hf", "6.7 B parameters, gated, Llama 2 licence"),
    "llama2-7b-chat": Alias(
        "meta-llama/Llama-2-7b-chat-hf", "6.7 B parameters, chat, gated, Llama 2 licence"
    ),
    "mistral-7b": Alias("mistralai/Mistral-7B-v0.3", "7.2 B parameters, Apache-2.0"),
}

_CONFIG = ["config.json", "generation_config.json"]
_TOKENIZER = [
    *_CONFIG, "tokenizer*", "special_tokens_map.json", "added_tokens.json", "vocab.*",
    "merges.txt", "*.jinja", "*.model",
]  # fmt: skip
_WEIGHTS = ["*.safetensors", "*.safetensors.index.json"]
_FILES: dict[Part, list[str]] = {
    "config": _CONFIG,
    "tokenizer": _TOKENIZER,
    "weights": [*_TOKENIZER, *_WEIGHTS],
    # How sentence-transformers says what is done with the hidden states.
    "embedder": [
        *_TOKENIZER, *_WEIGHTS, "modules.json", "sentence_bert_config.json",
        "*_Pooling/config.json",
    ],
}  # fmt: skip


def locate(section: ModelSection, runs: Path, part: Part) -> Path:
    """Find (and fetch, where it is not here) a part of a model.

    Args:
        section: the recipe's model.
        runs: where `run:NAME` is looked up; of a run that trained an adapter, its base is found.
        part: only what this needs is fetched.

    Returns:
        A local folder that has a readable `config.json`.

    Raises:
        ModelError: there is no such model, it cannot be fetched, or it wants to run its own code.
    """
    folder = _folder(section, runs, part)
    settings = _check_config(section, folder)
    if part in ("weights", "embedder"):
        _check_safetensors(folder, settings, part)
    return folder


def published_name(section: ModelSection) -> str:
    """What others would call the model: the hub id of an alias, else the name in the recipe."""
    alias = ALIASES.get(section.name)
    return (alias and alias.hub) or section.name


def name_for_others(section: ModelSection, folder: Path, runs: Path) -> str:
    """What `from_pretrained` of any other program opens the model by.

    The packaged model is known by the hub id of its original: no other name for it works on
    another machine. The model of a run that trained an adapter lies in no folder and keeps its
    name, which only luthier understands.

    Args:
        section: the recipe's model.
        folder: where `locate` found it.
        runs: where `run:NAME` is looked up.

    Returns:
        A hub id, an absolute folder, or `run:NAME`.
    """
    name = section.name
    if name in ALIASES:
        return ALIASES[name].hub or packaged.ORIGINAL
    if name.startswith(RUN_PREFIX):
        trained = TrainSummary.load(Run.open(name.removeprefix(RUN_PREFIX), runs))
        return os.path.abspath(folder) if trained.kind == "full" else name
    return os.path.abspath(folder) if Path(name).expanduser().exists() else name


def earlier_run(name: str, runs: Path) -> Run:
    """The run that `run:NAME` stands for.

    Raises:
        RunError: there is none.
    """
    try:
        return Run.open(name.removeprefix(RUN_PREFIX), runs)
    except RunError as error:
        raise RunError(f"model: {name}: {error} Run the recipe of that stage first.") from None


def identity(name: str, runs: Path) -> Any:
    """What tells whether a local model is still the same one.

    Names of the hub and of packages speak for themselves.

    Args:
        name: as in a recipe.
        runs: where `run:NAME` is looked up.
    """
    if name.startswith(RUN_PREFIX):
        return earlier_run(name, runs).digest("train")
    path = Path(name).expanduser()
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    found = [(p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in files if p.is_file()]
    return found or None


def _folder(section: ModelSection, runs: Path, part: Part) -> Path:
    name = section.name
    if name.startswith(RUN_PREFIX):
        run = earlier_run(name, runs)
        run.require("train")
        summary, base = TrainSummary.load(run), MadeWith.of(run).recipe.model
        if summary.kind == "full":
            return run.path / summary.weights
        if base.name == f"{RUN_PREFIX}{run.name}":
            raise ModelError(f"{run.path}: the run names itself as its model.")
        return _folder(base, runs, part)
    if name in ALIASES:
        hub = ALIASES[name].hub
        return packaged.install() if hub is None else _snapshot(hub, section, part)
    path = Path(name).expanduser()
    if path.is_dir():
        return path
    if path.suffix == ".gguf" and path.is_file():
        return packaged.open_gguf(path)
    if path.is_file():
        raise ModelError(f"model: {path} is a file; expected a folder, or a .gguf file.")
    if path.suffix == ".gguf" or name.startswith(("/", ".", "~")) or name.count("/") > 1:
        siblings = [str(p) for p in path.parent.iterdir()] if path.parent.is_dir() else []
        raise ModelError(f"model: there is no folder {path}.{nearest(str(path), siblings)}")
    if "/" not in name and nearest(name, ALIASES):
        raise ModelError(
            f"model: unknown model '{name}'.{nearest(name, ALIASES)} "
            f"Aliases: {', '.join(ALIASES)}. A hub id or a local folder will do, too."
        )
    return _snapshot(name, section, part)


# --- the hub -----------------------------------------------------------------------------------


def patterns(part: Part, *, code: bool) -> tuple[list[str], list[str]]:
    """Which files of a repository are fetched: what their names must match, and must not.

    A star also stands for folders, and those of other runtimes hold the weights once more.

    Args:
        part: of the model.
        code: Python files, too.
    """
    wanted = [*_FILES[part], *(["*.py"] if code else [])]
    return wanted, [f"*/{pattern}" for pattern in wanted if pattern.startswith("*.")]


def _snapshot(hub: str, section: ModelSection, part: Part) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    wanted, unwanted = patterns(part, code=section.trust_remote_code)
    options: dict[str, Any] = {
        "revision": section.revision, "allow_patterns": wanted, "ignore_patterns": unwanted,
    }  # fmt: skip
    pinned = re.fullmatch(r"[0-9a-f]{40}", section.revision or "")
    with _hub_explained(hub, section.revision):
        try:
            here = Path(snapshot_download(hub, local_files_only=True, **options))
        except LocalEntryNotFoundError:
            here = None
        # A commit that is here never changes; of a branch the newest is wanted.
        if not (pinned and here) and (trouble := _trouble(hub, section.revision)):
            if here is None:
                raise trouble
            return here
        if here is None and part in ("weights", "embedder"):
            say(f"{hub}: fetching from the hub; this happens once")
        with _hub_bars(shown=console.is_terminal):
            return Path(snapshot_download(hub, **options))


def _trouble(hub: str, revision: str | None) -> Exception | None:
    """Ask the hub once; why it gave no answer, None where it gave any.

    `snapshot_download` waits for its first answer without limit, and for a commit repeats a
    request that failed five times over 23 s; no setting shortens either (huggingface_hub 2.4,
    `HfApi.model_info`, `http_backoff`). This waits HF_HUB_ETAG_TIMEOUT (10 s), the time that
    huggingface_hub itself gives the hub to answer for a file.
    """
    from huggingface_hub import HfApi, constants, errors

    try:
        HfApi().model_info(hub, revision=revision, timeout=constants.HF_HUB_ETAG_TIMEOUT)
    except (errors.HfHubHTTPError, errors.OfflineModeIsEnabled):
        return None  # an answer that `snapshot_download` gets, too, and knows how to take
    except _transport_errors() as error:
        return error
    return None


def _transport_errors() -> tuple[type[Exception], ...]:
    """What is raised where no answer comes, whichever HTTP library the hub's client is built on."""
    from huggingface_hub import errors

    return getattr(errors, "HTTPError", OSError), OSError


@contextlib.contextmanager
def _hub_bars(*, shown: bool) -> Iterator[None]:
    """The hub's own progress bars; elsewhere they are switched off."""
    from huggingface_hub.utils.tqdm import disable_progress_bars, enable_progress_bars

    (enable_progress_bars if shown else disable_progress_bars)()
    try:
        yield
    finally:
        disable_progress_bars()


@contextlib.contextmanager
def _hub_explained(hub: str, revision: str | None) -> Iterator[None]:
    from huggingface_hub import errors

    hubs = [alias.hub for alias in ALIASES.values() if alias.hub]
    try:
        yield
    except errors.GatedRepoError:
        raise ModelError(
            f"model: '{hub}' is gated. Accept its licence at https://huggingface.co/{hub}, then "
            "log in with `hf auth login`."
        ) from None
    except errors.RevisionNotFoundError:
        raise ModelError(f"model: '{hub}' has no revision '{revision}'.") from None
    except errors.RepositoryNotFoundError:
        raise ModelError(
            f"model: the hub knows no model '{hub}' (or it is private, and `hf auth login` would "
            f"help).{nearest(hub, hubs)} Aliases: {', '.join(ALIASES)}."
        ) from None
    except errors.HFValidationError:
        raise ModelError(
            f"model: '{hub}' is neither an alias nor a folder nor a hub id."
            f"{nearest(hub, [*ALIASES, *hubs])} Aliases: {', '.join(ALIASES)}."
        ) from None
    except _transport_errors() as error:
        if isinstance(error, OSError) and error.errno is not None and error.filename:
            reason = f"{error.filename}: {error.strerror}"
        else:
            reason = first_line(error).removeprefix("Got: ").rstrip(".")
        raise ModelError(
            f"model: '{hub}' cannot be fetched from the hub (and is no local folder): {reason}. "
            "Check the name, the network, the proxy (HTTPS_PROXY) and HF_HUB_OFFLINE, or give a "
            f"local folder; '{packaged.NAME}' needs only a Python package index."
        ) from None


# --- what is in the folder ---------------------------------------------------------------------


def _check_config(section: ModelSection, folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(_no_config(folder)) from None
    except (ValueError, OSError) as error:
        raise ModelError(f"{path}: not valid JSON: {error}. Fetch the model anew.") from None
    if not isinstance(settings, dict) or "model_type" not in settings:
        raise ModelError(f"{path}: no 'model_type', so it is not a transformers model.")
    kind = settings["model_type"]
    if settings.get("is_encoder_decoder") and kind not in ENCODER_DECODERS:
        raise ModelError(
            f"model: '{section.name}' is an encoder-decoder of the type '{kind}'. Of those, "
            f"luthier trains {' and '.join(ENCODER_DECODERS)} (T5, FLAN-T5, mT5), whose encoder "
            "reads plain text. Use one of them, or a model without an encoder."
        )
    code = settings.get("auto_map")
    if code and not section.trust_remote_code:
        raise ModelError(
            f"model: '{section.name}' wants to run Python code from its repository (auto_map in "
            "config.json). luthier does not, unless the recipe says model.trust_remote_code: true "
            "and pins model.revision to a commit you have read."
        )
    if elsewhere := [str(v) for v in (code or {}).values() if "--" in str(v)]:
        raise ModelError(
            f"model: '{section.name}' wants to run code of another repository "
            f"({elsewhere[0].partition('--')[0]}), which model.revision does not pin. Use a model "
            "that carries its own code."
        )
    return settings


def _no_config(folder: Path) -> str:
    if (folder / "adapter_config.json").is_file():
        return (
            f"model: {folder} is an adapter, not a model. Name the run it comes from as "
            "'run:NAME', or a merged export of it."
        )
    if gguf := sorted(folder.glob("*.gguf")):
        return f"model: {folder} has no config.json. Name the GGUF file itself: {gguf[0]}"
    return f"model: {folder} has no config.json, so it is not a transformers model."


def _check_safetensors(folder: Path, settings: dict[str, Any], part: Part) -> None:
    if any(folder.glob("*.safetensors")):
        return
    pickles = sorted(p.name for kind in ("*.bin", "*.pt", "*.pth") for p in folder.glob(kind))
    if pickles:
        kind = "ForSeq2SeqLM" if settings.get("is_encoder_decoder") else "ForCausalLM"
        kind = "" if part == "embedder" else kind
        raise ModelError(
            f"{folder} has its weights only as {pickles[0]}, a pickle. Opening a pickle runs "
            "whatever code is in it, so luthier does not. If you trust the file, convert it once: "
            f'python -c "from transformers import AutoModel{kind} as M; '
            f"M.from_pretrained('{folder}', use_safetensors=False).save_pretrained('{folder}')\""
        )
    raise ModelError(
        f"{folder} holds no weights (*.safetensors). From the hub: either its weights are pickles, "
        "which luthier does not open, or they could not be fetched."
    )


# --- explaining --------------------------------------------------------------------------------


# What the libraries raise over bad files; tokenizers raises bare `Exception`.
_COMPLAINTS = (OSError, ValueError, KeyError, TypeError, ImportError, RuntimeError)


@contextlib.contextmanager
def explained(section: ModelSection, folder: Path, what: str) -> Iterator[None]:
    """Turn what transformers and safetensors raise over a model's files into a `ModelError`.

    Args:
        section: the recipe's model.
        folder: where its files are.
        what: what cannot be done, e.g. `no tokenizer can be opened`.
    """
    from safetensors import SafetensorError

    try:
        with hushed():
            yield
    except SafetensorError as error:
        raise ModelError(
            f"{folder}: the weights are damaged or cut short ({first_line(error)}). Fetch or "
            "export the model anew."
        ) from error
    except Exception as error:
        if not isinstance(error, _COMPLAINTS) and type(error) is not Exception:
            raise
        if "scaled_dot_product_attention" in str(error):
            raise ModelError(
                f"model '{section.name}' has no sdpa attention in this version of transformers. "
                "Set train.attn_implementation: eager."
            ) from error
        where = "" if section.name == str(folder) else f" ({folder})"
        raise ModelError(f"model '{section.name}'{where}: {what}: {first_line(error)}") from error


@contextlib.contextmanager
def hushed() -> Iterator[None]:
    """Keep libraries' progress bars and notices to their own developers off the screen."""
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def first_line(error: BaseException) -> str:
    """The first line of an error's message; its kind where it has none."""
    return (str(error).strip() or type(error).__name__).split("\n")[0]
