"""Several processes: who is one, what they share out, and that they train as one does."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file
from trained_project import make_project

from luthier import launch
from luthier.artifacts import TrainSummary, load_examples, save_examples
from luthier.errors import LuthierError, MissingExtra, TrainingError
from luthier.launch import STORE, Place, place
from luthier.run import Run
from luthier.training.config import DeepspeedSection, TrainConfig
from luthier.training.parallel import Team, _fingerprint, buckets
from luthier.training.train import train

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

HERE = {"WORLD_SIZE": "4", "RANK": "2", "MASTER_ADDR": "node0", "MASTER_PORT": "29500"}


# --- the environment ---------------------------------------------------------------------------


def test_a_process_without_a_rank_is_alone() -> None:
    assert place({}) is None
    assert place({"WORLD_SIZE": "1", "RANK": "0"}) is None
    # Some clusters export the number of machines under this name.
    assert place({"WORLD_SIZE": "4"}) is None


def test_a_place_among_others() -> None:
    assert place({**HERE, "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "2"}) == Place(2, 4, 0, 2)
    assert place({**HERE, "SLURM_LOCALID": "1"}) == Place(2, 4, 1, 1)
    assert place({"WORLD_SIZE": "2", "RANK": "1", STORE: "file"}) == Place(1, 2, 1, 1)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"MASTER_PORT": ""}, "MASTER_PORT is not set"),
        ({"MASTER_ADDR": "", "MASTER_PORT": ""}, "MASTER_ADDR and MASTER_PORT is not set"),
        ({"RANK": "4"}, "RANK is 4 and WORLD_SIZE is 4"),
        ({"RANK": "one"}, "RANK is 'one', expected a number"),
    ],
)
def test_an_environment_that_contradicts_itself(changes: dict[str, str], said: str) -> None:
    with pytest.raises(LuthierError, match=said):
        place({**HERE, **changes})


def test_nproc_does_not_go_with_processes_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in HERE.items():
        monkeypatch.setenv(name, value)

    with pytest.raises(LuthierError, match="Leave --nproc out"), launch.processes(2):
        pass


# --- what is shared out ------------------------------------------------------------------------


def test_buckets_hold_what_fits_in_order() -> None:
    sizes = [3, 4, 2, 20, 1, 1]
    tensors = [torch.full((size,), float(size)) for size in sizes]
    tensors.append(torch.ones(1, dtype=torch.bfloat16))

    found = [[t.numel() for t in bucket] for bucket in buckets(tensors, limit=8)]

    assert found == [[3, 4], [2], [20], [1, 1], [1]]
    assert not list(buckets([]))


def test_fingerprints_tell_weights_apart() -> None:
    torch.manual_seed(0)
    one, same, other = (torch.nn.Linear(8, 8) for _ in range(3))
    same.load_state_dict(one.state_dict())
    other.load_state_dict(one.state_dict())
    with torch.no_grad():  # the smallest change there is
        other.weight[3, 5] = torch.nextafter(other.weight[3, 5], torch.tensor(9.0))

    assert _fingerprint(one) == _fingerprint(same) != _fingerprint(other)
    assert _fingerprint(one.bfloat16()) != _fingerprint(same)


def test_a_single_process_does_everything_itself(tmp_path: Path) -> None:
    team, run = Team(), Run(tmp_path)

    assert team.writes and team.view(run) is run
    assert team.share([1, 2, 3]) == [1, 2, 3] and team.idle(3) == 0
    assert team.sum([1.0, 2.0]) == [1.0, 2.0]
    assert team.any(True) and not team.any(False)


# --- settings ----------------------------------------------------------------------------------


def test_a_deepspeed_configuration_for_hugging_face_is_understood() -> None:
    found = DeepspeedSection.model_validate(
        {
            "train_micro_batch_size_per_gpu": "auto",
            "gradient_clipping": "auto",
            "bf16": {"enabled": "auto"},
            "optimizer": {"type": "auto", "params": {"lr": "auto"}},
            "zero_optimization": {"stage": 2, "reduce_bucket_size": "auto"},
        }
    )

    assert found.zero_optimization.stage == 2
    assert found.zero_optimization.reduce_bucket_size == 500_000_000


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"deepspeed": {"zero_optimization": {"stage": 4}}}, "1, 2 or 3"),
        ({"deepspeed": {"zero_optimization": {"stage": 2}, "gradient_clipping": 0.5}},
         "follows from train.max_grad_norm"),
        ({"deepspeed": {"zero_optimization": {"stage": 2, "stag": 1}}}, "stag"),
        ({"fsdp": True, "fsdp_config": {"version": 1}}, "2"),
        ({"fsdp": "full_shard"}, "boolean"),
        ({"ddp_timeout": 0}, "greater than or equal to 1"),
    ],
)  # fmt: skip
def test_settings_that_are_wrong(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        TrainConfig.model_validate(settings)


@pytest.mark.skipif(bool(importlib.util.find_spec("deepspeed")), reason="DeepSpeed is installed")
def test_deepspeed_that_is_not_installed() -> None:
    with pytest.raises(MissingExtra, match=r"pip install 'luthier\[deepspeed\]'"):
        importlib.import_module("luthier.training.zero")


# --- whole trainings ---------------------------------------------------------------------------

FOURS = {"per_device_train_batch_size": 4, "num_train_epochs": 1}
"""36 rows: 9 micro-batches, so process 1 has none in the last of 5 steps."""


def told(run: Run) -> list[tuple[float, ...]]:
    """What stands in the log of every step, and does not depend on time and place."""
    names = ("step", "loss", "grad_norm", "lr", "examples", "tokens", "trained_tokens")
    return [tuple(event[name] for name in names) for event in run.events("step")]


def validated(run: Run) -> list[dict[str, float]]:
    return [event["metrics"] for event in run.events("validation")]


def weights(run: Run) -> dict[str, torch.Tensor]:
    return load_file(next((run.path / "train").glob("*/*model.safetensors")))


def alone(make: Callable[..., Run], precision: str = "float32", **settings: Any) -> Run:
    """The run, by one process that accumulates what two would share; moved out of the way."""
    run = make(precision=precision, train={**FOURS, "gradient_accumulation_steps": 2, **settings})
    with run.stage("train", "t"):
        train(run)
    return Run(run.path.rename(run.path.with_name("alone")))


def together(make: Callable[..., Run], precision: str = "float32", **settings: Any) -> Run:
    run = make(precision=precision, train={**FOURS, **settings})
    with run.stage("train", "t"):
        launch.train(run, runs=run.path.parent, size=2)
    return run


def assert_same(one: Run, two: Run, *, tolerance: float = 1e-5) -> None:
    assert len(told(one)) == len(told(two)) > 0
    for first, second in zip(told(one), told(two), strict=True):
        assert first == pytest.approx(second, rel=tolerance)
    for before, after in zip(validated(one), validated(two), strict=True):
        assert before == pytest.approx(after, rel=tolerance)
    assert weights(one).keys() == weights(two).keys()
    for name, weight in weights(one).items():
        # AdamW's first steps go by the sign of a gradient, however small it is.
        assert (weight - weights(two)[name]).abs().max() < 1e-3, name


def test_two_processes_train_as_one(ready_run: Callable[..., Run]) -> None:
    settings = {"eval_steps": 2, "metric_for_best_model": "accuracy"}
    one = alone(ready_run, **settings)
    two = together(ready_run, **settings)

    assert_same(one, two)
    assert told(two)[-1][4] == 4  # rows of the last step
    summary = TrainSummary.load(two)
    assert (summary.processes, summary.steps, summary.examples) == (2, 5, 36)
    assert summary.total_parameters == TrainSummary.load(one).total_parameters
    # One writer: nothing is told twice, and nothing is there that one process would not leave.
    assert [e["step"] for e in two.events("validation")] == [2, 4, 5]
    files = {str(p.relative_to(r.path)) for r in (one, two) for p in r.path.rglob("*")}
    assert files == {str(p.relative_to(two.path)) for p in two.path.rglob("*")}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("precision", "settings"),
    [
        ("float32", {"lora": None, "learning_rate": 1e-3}),
        ("frozen_bf16", {}),
        ("float32", {"fsdp": True}),
        ("frozen_bf16", {"fsdp": True}),
        ("float32", {"fsdp": True, "lora": None, "learning_rate": 1e-3, "eval_steps": 2,
                     "gradient_checkpointing": True}),
        ("float32", {"fsdp": True, "lora": None, "learning_rate": 1e-3, "eval_steps": 2,
                     "fsdp_config": {"reshard_after_forward": False}}),
        ("float32", {"fsdp": True, "lora": {"r": 4, "use_dora": True}}),
        ("float32", {"packing": True, "max_seq_length": 512}),
        ("float32", {"quantization": {"load_in_4bit": True}}),
    ],
    ids=["full", "bf16", "fsdp", "fsdp-bf16", "fsdp-full", "fsdp-gathered", "fsdp-dora", "packing",
         "4bit"],
)  # fmt: skip
def test_every_way_to_share_trains_as_one(
    ready_run: Callable[..., Run], precision: str, settings: dict[str, Any]
) -> None:
    one = alone(ready_run, precision, **{**settings, "fsdp": False})

    two = together(ready_run, precision, **settings)

    assert_same(one, two)


@pytest.mark.slow
@pytest.mark.parametrize("stage", [1, 2, 3])
def test_zero_trains_as_one(ready_run: Callable[..., Run], stage: int) -> None:
    pytest.importorskip("deepspeed")
    settings = {"lora": None, "learning_rate": 1e-3, "eval_steps": 3}
    one = alone(ready_run, **settings)

    zero = {"stage": stage, "offload_optimizer": {"device": "cpu"} if stage == 3 else None}
    two = together(ready_run, **settings, deepspeed={"zero_optimization": zero})

    assert_same(one, two)


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
@pytest.mark.parametrize("fsdp", [False, True])
def test_two_gpus_train_as_one(ready_run: Callable[..., Run], fsdp: bool) -> None:
    def on_gpus(**arguments: Any) -> Run:
        run = ready_run(**arguments)
        plan = run.path / "plan" / "plan.json"
        plan.write_text(plan.read_text().replace('"device": "cpu"', '"device": "cuda"'))
        return run

    one = alone(on_gpus, learning_rate=1e-3)
    two = together(on_gpus, learning_rate=1e-3, fsdp=fsdp)

    assert_same(one, two, tolerance=1e-3)


# --- stopping and going on ---------------------------------------------------------------------


@contextmanager
def stopped_after(run: Run, step: int) -> Iterator[None]:
    """SIGTERM comes to this process when a step has been saved."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.01):
            if any(event["step"] >= step for event in run.events("checkpoint")):
                os.kill(os.getpid(), signal.SIGTERM)
                return

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def stop_and_resume(run: Run, resume: Callable[[], object]) -> None:
    """Train by two processes, stop on the way, and go on."""
    with (
        pytest.raises(KeyboardInterrupt),
        run.stage("train", "t"),
        stopped_after(run, 4),
    ):
        launch.train(run, runs=run.path.parent, size=2)
    assert not run.is_done("train")
    with run.stage("train", "t", resume=True):
        resume()
    assert run.events("resumed")[0]["step"] >= 4


LONG = {"num_train_epochs": 40, "save_steps": 2, "eval_steps": 50, "learning_rate": 1e-3}


@pytest.mark.slow
@pytest.mark.parametrize("fsdp", [False, True])
def test_resuming_ends_with_the_same_bytes(ready_run: Callable[..., Run], fsdp: bool) -> None:
    noisy = {"lora": {"r": 4, "lora_dropout": 0.2}, "neftune_noise_alpha": 5, "fsdp": fsdp}
    whole = together(ready_run, **LONG, **noisy)
    whole = Run(whole.path.rename(whole.path.with_name("whole")))

    run = ready_run(train={**FOURS, **LONG, **noisy})
    stop_and_resume(run, lambda: launch.train(run, runs=run.path.parent, size=2))

    assert told(run) == told(whole)
    assert validated(run) == validated(whole)
    assert all(torch.equal(w, weights(whole)[name]) for name, w in weights(run).items())


@pytest.mark.slow
def test_processes_draw_different_masks(ready_run: Callable[..., Run]) -> None:
    """The same row everywhere: with the same masks, the loss is that of the row."""
    noisy = {"lora": {"r": 4, "lora_dropout": 0.5, "init_lora_weights": "gaussian"},
             "neftune_noise_alpha": 50, "max_steps": 1}  # fmt: skip
    losses = []
    for size in (2, 4):
        run = ready_run(
            data={"filters": []}, train={**FOURS, **noisy, "per_device_train_batch_size": 1}
        )
        example = run.path / "data" / "train.parquet"
        save_examples(example, [load_examples(run, "train")[0]] * 4)
        with run.stage("train", "t"):
            launch.train(run, runs=run.path.parent, size=size)
        losses.append(told(run)[0][1])
        (run.path / "events.jsonl").unlink()

    assert losses[0] != pytest.approx(losses[1], rel=1e-6)


@pytest.mark.slow
def test_another_number_of_processes_goes_on_with_the_same_steps(
    ready_run: Callable[..., Run],
) -> None:
    one = alone(ready_run, **LONG)

    run = ready_run(train={**FOURS, **LONG})
    stop_and_resume(run, lambda: train(run))

    assert_same(one, run, tolerance=1e-3)
    assert [step[0] for step in told(run)] == [step[0] for step in told(one)]
    assert TrainSummary.load(run).processes == 1


@pytest.mark.slow
def test_what_one_process_says_is_what_the_user_reads(ready_run: Callable[..., Run]) -> None:
    run = ready_run(train={**FOURS, "learning_rate": 1e30, "lr_scheduler_type": "constant"})

    with pytest.raises(TrainingError, match="not finite"), run.stage("train", "t"):
        launch.train(run, runs=run.path.parent, size=2)

    steps = [event["step"] for event in run.events("nonfinite")]
    assert steps and len(steps) == len(set(steps))


# --- launchers ---------------------------------------------------------------------------------


FOUR_ROWS = "train.per_device_train_batch_size=4"


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
    return port


def launched(*command: str, **variables: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", *command],
        env={**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo", **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "launcher",
    [
        ["torch.distributed.run", "--nproc-per-node", "2", "--master-port"],
        ["accelerate.commands.launch", "--multi_gpu", "--num_processes", "2",
         "--main_process_port"],
    ],
    ids=["torchrun", "accelerate"],
)  # fmt: skip
def test_launchers_from_outside(tmp_path: Path, tiny_model_dir: Path, launcher: list[str]) -> None:
    project = make_project(tmp_path / "p", tiny_model_dir)
    asked = ["run", str(project.recipe), "--runs", str(project.runs), "--json"]
    command = [*launcher, str(free_port()), "-m", "luthier", *asked, FOUR_ROWS]

    process = launched(*command)
    out, said = process.communicate(timeout=300)

    assert process.returncode == 0, said
    lines = [line for line in out.splitlines() if line.startswith("{")]
    assert len(lines) == 1, "process 0 alone prints the result"
    assert set(json.loads(lines[0])["stages"].values()) == {"done"}
    run = Run(next(project.runs.iterdir()))
    assert TrainSummary.load(run).processes == 2
    assert sum(event["examples"] for event in run.events("step")) == 36
    again = launched(*command)
    assert again.communicate(timeout=300)[0].count('"train": "unchanged"') == 1
    assert again.returncode == 0


@pytest.mark.slow
def test_processes_that_others_started_by_hand(tmp_path: Path, tiny_model_dir: Path) -> None:
    """As under srun: RANK and the rest are set, and nobody watches."""
    project = make_project(tmp_path / "p", tiny_model_dir)
    (project.path / "rows.csv").unlink()
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": "2"}
    command = ["luthier", "train", str(project.recipe), "--runs", str(project.runs), "--json"]

    ranks = [launched(*command, RANK=str(r), LOCAL_RANK=str(r), **address) for r in range(2)]
    outs = [rank.communicate(timeout=300) for rank in ranks]

    # The data stage has failed: process 0 says so, and the other one is let go.
    assert [rank.returncode for rank in ranks] == [2, 0], outs
    assert "rows.csv" in json.loads(outs[0][0])["error"]
    assert outs[1][0] == ""
