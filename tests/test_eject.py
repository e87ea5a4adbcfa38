"""`luthier eject`: a script of today's TRL that takes our steps, run as a user runs it."""

from __future__ import annotations

import ast
import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from trained_project import luthier, make_project

from luthier.eject import eject
from luthier.errors import LuthierError, ModelError
from luthier.run import Run
from luthier.training.train import train

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
Ready = Callable[..., Run]
STEPS = 20
NEAR = 1e-5
"""Relative; sums are taken in another order."""
ONE_EPOCH: dict[str, Any] = {"max_steps": STEPS, "logging_steps": 1, "warmup_ratio": 0.1}


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def calls(script: Path) -> dict[str, dict[str, Any]]:
    """Keyword arguments of every call by a plain name; what is no literal is None."""
    found: dict[str, dict[str, Any]] = {}
    for node in ast.walk(ast.parse(script.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            values = {}
            for keyword in node.keywords:
                try:
                    values[str(keyword.arg)] = ast.literal_eval(keyword.value)
                except ValueError:
                    values[str(keyword.arg)] = None
            found[node.func.id] = values
    return found


def losses_of(script: Path, tmp_path: Path) -> list[float]:
    """Run the script in a process of its own; the losses it logged."""
    pytest.importorskip("trl")
    environment = {
        **os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "cache"),
        "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, script.name], cwd=script.parent, env=environment, capture_output=True,
        text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = {name for call in calls(script).values() for name in call}
    outdated = set(re.findall(r"`(\w+)[^`]*` is deprecated", done.stderr))
    assert not outdated & (told - {"label_smoothing_factor"}), "names of today"
    output = script.parent / f"{script.stem}_output"
    assert {"adapter_model.safetensors", "model.safetensors"} & {
        path.name for folder in (output / "adapter", output / "full") if folder.is_dir()
        for path in folder.iterdir()
    }  # fmt: skip
    history = json.loads((output / "trainer_state.json").read_text())["log_history"]
    return [entry["loss"] for entry in history if "loss" in entry]


def our_losses(run: Run) -> list[float]:
    with run.stage("train", "trained"):
        train(run)
    return [event["loss"] for event in run.events("step")]


def test_the_script_takes_our_steps(ready_run: Ready, tmp_path: Path) -> None:
    run = ready_run(
        data={"template": "plain"},
        train={**ONE_EPOCH, "per_device_train_batch_size": 1, "label_smoothing_factor": 0.1,
               "lr_scheduler_type": "cosine", "eval_steps": 10},
    )  # fmt: skip

    written = eject(run, tmp_path / "plain.py")

    found = losses_of(written.script, tmp_path)
    assert len(found) == STEPS
    assert found == pytest.approx(our_losses(run), rel=NEAR)


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        {"lora": None, "learning_rate": 1e-3, "packing": True, "max_seq_length": 40,
         "per_device_train_batch_size": 1},
        {"gradient_accumulation_steps": 2, "per_device_train_batch_size": 1, "max_steps": 18,
         "lr_scheduler_type": "warmup_stable_decay", "weight_decay": 0.1},
    ],
    ids=["full-packed", "accumulated"],
)  # fmt: skip
def test_other_scripts_take_our_steps(
    ready_run: Ready, tmp_path: Path, settings: dict[str, Any]
) -> None:
    run = ready_run(data={"template": "plain"}, train={**ONE_EPOCH, **settings})

    written = eject(run, tmp_path / "other.py")

    found = losses_of(written.script, tmp_path)
    assert len(found) == run.recipe.train.max_steps
    assert found == pytest.approx(our_losses(run), rel=NEAR)


def test_rows_are_what_luthier_trains_on_and_can_be_read(ready_run: Ready, tmp_path: Path) -> None:
    from luthier import model as models
    from luthier.artifacts import load_examples
    from luthier.chat import Renderer

    run = ready_run()

    written = eject(run, tmp_path / "script.py")

    assert [path.name for path in written.data] == [
        "script.train.jsonl", "script.validation.jsonl",
    ]  # fmt: skip
    renderer = Renderer(models.open_tokenizer(run.recipe.model))
    for path, split in zip(written.data, ("train", "validation"), strict=True):
        examples = {e.id: e for e in load_examples(run, split)}  # type: ignore[arg-type]
        found = rows(path)
        assert {row["id"] for row in found} == examples.keys() and len(found) == len(examples)
        for row in found:
            rendered = renderer.render(examples[row["id"]])
            assert row["input_ids"] == rendered.input_ids
            assert [label != -100 for label in row["labels"]] == rendered.trained
            (answer,) = row["completion"]
            assert answer == {"role": "assistant", "content": examples[row["id"]].label}
            assert row["prompt"][-1]["role"] == "user"


def test_rows_of_padded_models_are_not_grouped_by_prompt(ready_run: Ready, tmp_path: Path) -> None:
    from luthier import model as models
    from luthier.artifacts import load_examples
    from luthier.chat import Renderer
    from luthier.training import batches

    asked = ["Name the blue things in the row number", "Say now what is red here, in number"]
    lines = [{"input": f"{asked[i % 2]} {i} of all rows", "output": "red"} for i in range(40)]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, lines)))
    source = {"path": "t.jsonl", "input": "input", "output": "output"}
    sections: dict[str, Any] = {
        "task": {"kind": "generation", "labels": None},
        "data": {"sources": [source], "template": "plain", "split": {"near_duplicates": 1.0}},
    }
    for attention in ("sdpa", "eager"):
        run = ready_run(train={"attn_implementation": attention}, **sections)
        eject(run, tmp_path / f"{attention}.py")
        renderer = Renderer(models.open_tokenizer(run.recipe.model))
        items = batches.prepare(load_examples(run, "train"), renderer)
        prefixes = batches.shared_prefixes(items, 8) if attention == "sdpa" else None
        assert prefixes is None or len(prefixes.lengths) > 1
        planned = batches.plan_epoch(
            items, run.recipe.train, seed=run.recipe.seed, epoch=0, prefixes=prefixes
        )
        expected = [items[i].id for batch in planned for line in batch for i in line]
        assert [r["id"] for r in rows(tmp_path / f"{attention}.train.jsonl")] == expected


def test_packed_lines_say_where_rows_end(ready_run: Ready, tmp_path: Path) -> None:
    run = ready_run(data={"template": "plain"}, train={"packing": True, "max_seq_length": 96})

    written = eject(run, tmp_path / "script.py")

    lines = rows(written.data[0])
    assert max(len(line["seq_lengths"]) for line in lines) > 1
    for line in lines:
        assert sum(line["seq_lengths"]) == len(line["input_ids"]) == len(line["labels"]) <= 96
        starts = [sum(line["seq_lengths"][:i]) for i in range(len(line["seq_lengths"]))]
        assert all(line["labels"][start] == -100 for start in starts)
    config = calls(written.script)["SFTConfig"]
    assert config["packing"] and config["dataset_kwargs"] == {"skip_prepare_dataset": True}


def test_every_setting_is_told_under_todays_name(ready_run: Ready, tmp_path: Path) -> None:
    trl, peft = pytest.importorskip("trl"), pytest.importorskip("peft")
    transformers = pytest.importorskip("transformers")
    run = ready_run(
        seed=0,
        train={
            "quantization": {"load_in_4bit": True, "bnb_4bit_use_double_quant": True},
            "lora": {"r": 3, "layers_to_transform": [1], "lora_dropout": 0.1, "use_dora": True},
            "optim": "paged_adamw_8bit", "adam_beta1": 0, "max_grad_norm": 0, "weight_decay": 0,
            "gradient_checkpointing": True, "neftune_noise_alpha": 5, "max_seq_length": 300,
            "early_stopping_patience": 2, "early_stopping_threshold": 0.5, "eval_steps": 3,
            "save_steps": 4, "metric_for_best_model": "accuracy",
        },
    )  # fmt: skip

    written = eject(run, tmp_path / "script.py")

    found = calls(written.script)
    config, lora = found["SFTConfig"], found["LoraConfig"]
    assert config.keys() <= {field.name for field in dataclasses.fields(trl.SFTConfig)}
    assert lora.keys() <= {field.name for field in dataclasses.fields(peft.LoraConfig)}
    assert found["SFTTrainer"].keys() >= {"peft_config", "quantization_config", "eval_dataset"}
    assert transformers.BitsAndBytesConfig(**found["BitsAndBytesConfig"]).load_in_4bit
    trl.SFTConfig(**{**config, "output_dir": str(tmp_path / "out")})
    assert config["seed"] == config["adam_beta1"] == config["max_grad_norm"] == 0
    assert config["activation_checkpointing"] is True and config["bf16"] is False
    assert config["save_steps"] == 3, "a multiple of eval_steps"
    assert config["model_init_kwargs"] == {"dtype": "float32", "attn_implementation": "sdpa"}
    assert lora["layers_to_transform"] == [1]
    assert "q_proj" in lora["target_modules"], "peft forgets the layers under all-linear"
    script = written.script.read_text(encoding="utf-8")
    assert "EarlyStoppingCallback(2, 0.5)" in script
    for key in ("train.learning_rate", "train.lora.r", "train.quantization.load_in_4bit", "seed"):
        assert re.search(rf"=.*,  # {re.escape(key)}$", script, re.MULTILINE), key
    assert any("metric_for_best_model: accuracy" in said for said in written.missing)
    plain = " ".join(script.split())
    for said in (*written.missing, *written.different):
        assert said in plain


def test_what_has_no_counterpart_is_said(tmp_path: Path, tiny_model_dir: Path) -> None:
    project = make_project(tmp_path / "project", tiny_model_dir)
    project.edit("bf16: false", "bf16: true, label_smoothing_factor: 0.1, "
                 "label_smoothing_over: classes")  # fmt: skip
    out = tmp_path / "out" / "script.py"

    said = project.do("eject", "--out", out, "--json")

    assert said.code == 0, said.err
    assert said.json["script"] == str(out)
    keys = [sentence.partition(": ")[0] for sentence in said.json["missing"]]
    assert keys[:2] == ["train.label_smoothing_over", "precision frozen_bf16"]
    told = " ".join(said.err.split())
    script = " ".join(out.read_text().split())
    for sentence in said.json["missing"]:
        assert sentence in told and sentence in script
    assert "label_smoothing_factor" not in calls(out)["SFTConfig"]


def test_without_out_the_script_is_named_after_the_run(
    tmp_path: Path, tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = make_project(tmp_path / "project", tiny_model_dir)
    monkeypatch.chdir(tmp_path)

    assert luthier("eject", project.recipe, "train.max_steps=3", "--runs", project.runs).code == 0

    (script,) = tmp_path.glob("*.py")
    assert re.fullmatch(r"tiny-[0-9a-f]{6}_trl\.py", script.name)
    assert calls(script)["SFTConfig"]["max_steps"] == 3


@pytest.mark.parametrize("name", ["script.py", "script.train.jsonl"])
def test_a_file_that_is_there_is_not_overwritten(
    ready_run: Ready, tmp_path: Path, name: str
) -> None:
    (tmp_path / name).write_text("mine")

    with pytest.raises(LuthierError, match=f"{re.escape(name)} exists already"):
        eject(ready_run(), tmp_path / "script.py")

    assert (tmp_path / name).read_text() == "mine"
    assert len([p for p in tmp_path.glob("script*")]) == 1


def test_a_model_that_only_luthier_opens_is_refused(ready_run: Ready, tmp_path: Path) -> None:
    first = ready_run(data={"template": "plain"}, train={"max_steps": 1})
    with first.stage("train", "trained"):
        train(first)
    runs = first.path.parent
    shutil.copytree(first.path, runs / "base")
    recipe = first.recipe.resolved()
    recipe["model"]["name"] = "run:base"
    first.write_json("recipe.json", recipe)

    with pytest.raises(ModelError, match=r"'run:base' is an adapter on another model.*merged"):
        eject(first, tmp_path / "script.py", runs=runs)

    assert not list(tmp_path.glob("script*"))


def test_text_rows_are_text(ready_run: Ready, tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text(
        "".join(json.dumps({"body": f'Line {i} of """ and \\ and {chr(8232)}'}) + "\n"
                for i in range(40))
    )  # fmt: skip
    run = ready_run(
        task={"kind": "text", "labels": None},
        data={"sources": [{"path": "t.jsonl", "text": "body"}]},
        train={"train_on": "all"},
    )

    written = eject(run, tmp_path / "script.py")

    for line in written.data[0].read_text(encoding="utf-8").split("\n")[:-1]:
        row = json.loads(line)
        assert row["text"].startswith("Line") and row["text"].endswith(chr(8232))
        assert row["labels"][0] == -100, "nothing predicts the first token"
        assert row["labels"][1:] == row["input_ids"][1:]
