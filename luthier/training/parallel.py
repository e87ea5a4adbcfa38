"""Several processes that take the same optimizer steps: what they share out and what they add up.

Every process plans the same micro-batches and runs its share of them. The loss is divided by the
trained tokens of all processes' micro-batches, and gradients are summed over the processes before
the optimizer's step, so W processes x B rows give the gradients of one process x WB rows. Forward
passes go straight to the decoder (`model.hidden_states`), past any wrapper, so there is no wrapper
(`DistributedDataParallel`): one sum of the gradients per optimizer step does its work.

`Team` is a single process, `Replicas` hold a whole model each; `sharding.py` (FSDP2) and `zero.py`
(DeepSpeed) share it out. Only process 0 writes and speaks.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from luthier import out_of_memory
from luthier.console import console, say
from luthier.errors import LuthierError, ProcessLost, TrainingError
from luthier.hardware import cores
from luthier.launch import Place, place, store
from luthier.run import Run
from luthier.training import checkpoint

if TYPE_CHECKING:
    from luthier.training.batches import Item
    from luthier.training.config import TrainConfig

Thing = TypeVar("Thing")
Result = TypeVar("Result")

BUCKET = 2**24
"""Gradients that are summed at a time, in elements: 64 MB of float32."""
_JOINED = itertools.count()
"""Trainings of this process; each has its own keys in the store."""
_ACCELERATE = ("ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED", "ACCELERATE_MIXED_PRECISION")
"""What `accelerate launch` passes on from its own configuration; here the recipe says it."""


class Team:
    """A single process; what it does is also what the others do, unless they say otherwise."""

    rank = 0
    size = 1
    in_lockstep = False
    """Whether processes wait for each other inside forward and backward passes. Then no process
    can do anything that the others do not do too: not even run out of memory."""
    has_gradients = True
    """Whether parameters hold their gradients after a backward pass."""
    saves = True
    """Whether the state of training can be saved, and training resumed."""

    @property
    def writes(self) -> bool:
        """Whether this process writes the run folder."""
        return self.rank == 0

    def view(self, run: Run) -> Run:
        """The run as this process may use it."""
        return run

    # --- setting up -------------------------------------------------------------------------

    def shard(self, model: torch.nn.Module) -> torch.nn.Module:
        """Share the model out; called once, when it is on its device and before the optimizer."""
        return model

    def attach(
        self, model: torch.nn.Module, optimizer: torch.optim.Optimizer, max_grad_norm: float
    ) -> None:
        """Share the optimizer out; called once, right after it is made."""

    def check(self, model: torch.nn.Module, items: Sequence[Item]) -> None:
        """Make sure that all processes start from the same rows and weights."""

    def seed(self, seed: int, step: int) -> None:
        """Before a step: give every process random numbers of its own."""

    # --- a step -----------------------------------------------------------------------------

    def share(self, things: Sequence[Thing]) -> Sequence[Thing]:
        """This process's share of what is to be done."""
        return things

    def idle(self, count: int) -> int:
        """Passes without rows that this process has to run when `count` are shared out."""
        return 0

    def sum(self, values: Sequence[float]) -> list[float]:
        """Sums over the processes (of counts: exact up to 2**53)."""
        return list(values)

    def any(self, flag: bool) -> bool:
        """Whether a flag is set in any process."""
        return flag

    def agree(self, what: str, value: int) -> None:
        """Make sure that a number is the same in all processes."""

    def wait(self) -> None:
        """Until all processes have come here."""

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Where one process runs out of memory in here, all do."""
        yield

    def inside(self, model: torch.nn.Module, work: Callable[[], Result]) -> Result:
        """Do work that calls parts of the model, as a forward pass of the whole."""
        return work()

    def backward(self, loss: Tensor, *, last: bool) -> None:
        """The backward pass of a micro-batch.

        Args:
            loss: scalar.
            last: no other micro-batch of the step follows in this process.
        """
        loss.backward()

    def add_up(self, parameters: Sequence[torch.nn.Parameter], loss: float) -> float:
        """Sum gradients over the processes, in place, and the loss."""
        return loss

    def clip(self, parameters: Sequence[torch.nn.Parameter], limit: float) -> float:
        """Scale gradients down to a norm of at most `limit`; returns the norm they had."""
        norm = torch.nn.utils.clip_grad_norm_(parameters, limit)
        return float(whole(norm))

    def take_step(self, scaler: torch.amp.GradScaler, optimizer: torch.optim.Optimizer) -> None:
        """Take the optimizer's step."""
        scaler.step(optimizer)

    # --- state ------------------------------------------------------------------------------

    def weights(self, model: torch.nn.Module) -> Mapping[str, Tensor]:
        """The trained weights by name, whole; for the process that writes."""
        return checkpoint.trained(model)

    def set_weights(self, model: torch.nn.Module, weights: dict[str, Tensor]) -> None:
        """Put trained weights back in place."""
        checkpoint.set_weights(model, weights)

    def optimizer_state(self, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
        """`optimizer.state_dict()` with whole tensors; for the process that writes."""
        return optimizer.state_dict()

    def set_optimizer_state(self, optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
        """Give every process its part of an optimizer's state."""
        optimizer.load_state_dict(state)

    def make_whole(self, model: torch.nn.Module) -> None:
        """When training is over: leave a plain model, on the process that writes."""


class Replicas(Team):
    """Processes with the whole model each.

    Args:
        mine: this process's place.
        device: where its model is.
    """

    def __init__(self, mine: Place, device: torch.device) -> None:
        self.rank, self.size, self.device = mine.rank, mine.size, device

    def view(self, run: Run) -> Run:
        return run if self.writes else _Onlooker(run.path)

    def check(self, model: torch.nn.Module, items: Sequence[Item]) -> None:
        """Compare what every process has read and made.

        Raises:
            TrainingError: it differs.
        """
        rows = hashlib.sha256()
        for item in items:
            rows.update(repr((item.id, item.ids, item.trained)).encode())
        mine = {
            "the rows": int.from_bytes(rows.digest()[:8]),
            "the model's weights": _fingerprint(model),
        }
        for what, value in mine.items():
            self.agree(what, value)

    def agree(self, what: str, value: int) -> None:
        """Compare a number of at most 64 bits.

        Raises:
            TrainingError: it differs.
        """
        # Two halves that float64 holds exactly.
        parts = [float(value >> 32), float(value & 0xFFFFFFFF)]
        if self.any(self.broadcast(parts) != parts):
            raise TrainingError(
                f"{what} of the {self.size} processes differ. All of them must see the same "
                "run folder, the same model files and the same versions of luthier, torch and "
                "transformers."
            )

    def wait(self) -> None:
        self.any(False)

    def seed(self, seed: int, step: int) -> None:
        """Random numbers follow from the step, so that a resumed run draws the same ones."""
        digest = hashlib.sha256(f"{seed}/{step}/{self.rank}".encode()).digest()
        torch.manual_seed(int.from_bytes(digest[:8]) >> 1)

    # --- a step -----------------------------------------------------------------------------

    def share(self, things: Sequence[Thing]) -> Sequence[Thing]:
        return things[self.rank :: self.size]

    def idle(self, count: int) -> int:
        if not self.in_lockstep:
            return 0
        return -(-count // self.size) - len(range(self.rank, count, self.size))

    def sum(self, values: Sequence[float]) -> list[float]:
        return self._reduce(values, dist.ReduceOp.SUM)

    def any(self, flag: bool) -> bool:
        return bool(self._reduce([float(flag)], dist.ReduceOp.MAX)[0])

    def broadcast(self, values: Sequence[float]) -> list[float]:
        """The values that process 0 has."""
        tensor = torch.tensor(list(values), dtype=torch.float64)
        with answered():
            dist.broadcast(tensor, src=0)
        found: list[float] = tensor.tolist()
        return found

    def _reduce(self, values: Sequence[float], how: Any) -> list[float]:
        # On the CPU, also beside GPUs: such small things need not wait for kernels.
        tensor = torch.tensor(list(values), dtype=torch.float64)
        with answered():
            dist.all_reduce(tensor, op=how)
        found: list[float] = tensor.tolist()
        return found

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        if self.in_lockstep:
            with self._to_the_end():
                yield
            return
        failed: Exception | None = None
        try:
            yield
        except Exception as error:
            if not out_of_memory.happened(error):
                raise
            failed = error
        if self.any(failed is not None):
            raise failed or MemoryError("another process ran out of memory")

    @contextlib.contextmanager
    def _to_the_end(self) -> Iterator[None]:
        """The others are in the middle of the same pass: there is no way back from here."""
        try:
            with answered():
                yield
        except Exception as error:
            if not out_of_memory.happened(error):
                raise
            raise TrainingError(
                f"process {self.rank} of {self.size} ran out of memory "
                f"({out_of_memory.reason(error)}), and where the model is shared out over the "
                "processes a step cannot be tried again in smaller pieces. Set a lower "
                "train.per_device_train_batch_size (with a higher "
                "train.gradient_accumulation_steps), or train.gradient_checkpointing: true."
            ) from None

    def add_up(self, parameters: Sequence[torch.nn.Parameter], loss: float) -> float:
        # A process without rows has no gradients; one that nobody has stays None, as alone.
        total, *wanted = self.sum([loss, *(p.grad is not None for p in parameters)])
        gradients = []
        for parameter, count in zip(parameters, wanted, strict=True):
            if count:
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
                gradients.append(parameter.grad)
        for bucket in buckets(gradients):
            if len(bucket) == 1 and bucket[0].is_contiguous():  # summed where it is, however large
                with answered():
                    dist.all_reduce(bucket[0])
                continue
            with self.together():  # or those that have room would wait for one that has none
                flat = torch.cat([gradient.reshape(-1) for gradient in bucket])
            with answered():
                dist.all_reduce(flat)
            for gradient, summed in zip(
                bucket, flat.split([g.numel() for g in bucket]), strict=True
            ):
                gradient.copy_(summed.view_as(gradient))
        return total


class _Onlooker(Run):
    """A run folder for the processes that do not write it."""

    def event(self, event: str, **fields: Any) -> None:
        """Process 0 tells it."""

    def write_text(self, name: str, text: str) -> None:
        """Process 0 writes it."""

    def drop_events_after(self, step: int) -> None:
        """Process 0 does."""


def whole(value: Tensor) -> Tensor:
    """A tensor that may be shared out over the processes (FSDP2), as one; all must call it."""
    gather = getattr(value, "full_tensor", None)
    return value if gather is None else gather()


def buckets(tensors: Iterable[Tensor], limit: int = BUCKET) -> Iterator[list[Tensor]]:
    """Group tensors of one dtype, in order, up to `limit` elements (or one larger tensor)."""
    group: list[Tensor] = []
    room = 0
    for tensor in tensors:
        if group and (tensor.numel() > room or tensor.dtype != group[0].dtype):
            yield group
            group = []
        room = (room if group else limit) - tensor.numel()
        group.append(tensor)
    if group:
        yield group


def _fingerprint(model: torch.nn.Module) -> int:
    """A number that is equal for equal weights: sums of their bits, 64 bits wide."""
    total = hashlib.sha256()
    for name, parameter in model.named_parameters():
        flat = parameter.detach().reshape(-1)
        bits = flat.view(_INTEGERS[flat.element_size()])
        # Integer sums wrap around and do not depend on the order of addition.
        sums = [int(part.sum(dtype=torch.int64)) for part in (bits, bits[::2], bits[::3])]
        total.update(repr((name, tuple(parameter.shape), sums)).encode())
    return int.from_bytes(total.digest()[:8])


_INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


# --- coming and going --------------------------------------------------------------------------


@contextlib.contextmanager
def joined(train: TrainConfig, device_type: str) -> Iterator[Team]:
    """Train with the other processes of the environment in here, or alone where there are none.

    Args:
        train: how the model is shared out, and how long to wait.
        device_type: `cpu` or `cuda`.

    Raises:
        ProcessLost: another process died, or did not answer for `train.ddp_timeout` seconds.
    """
    mine = place()
    if mine is None:
        yield Team()
        return
    device = _device(mine, device_type)
    for name in _ACCELERATE:
        told = os.environ.pop(name, "no")
        if told.lower() not in ("no", "false", "0") and mine.rank == 0:
            say(f"note: {name}={told} has no effect; the recipe says it (train.*)", "yellow")
    timeout = timedelta(seconds=train.ddp_timeout)
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    was_quiet, console.quiet = console.quiet, mine.rank > 0
    ended_well = False
    try:
        with _threads(mine), answered():
            dist.init_process_group(
                backend,
                store=dist.PrefixStore(f"training {next(_JOINED)}", store()),
                rank=mine.rank,
                world_size=mine.size,
                timeout=timeout,
            )
            yield _team(train, mine, device)
            dist.barrier()  # nobody leaves while another still needs him
        ended_well = True
    finally:
        console.quiet = was_quiet
        # NCCL's goodbye waits for processes that may be gone; the connections of gloo break, and
        # the others notice.
        if dist.is_initialized() and (ended_well or device.type == "cpu"):
            dist.destroy_process_group()


def _team(train: TrainConfig, mine: Place, device: torch.device) -> Team:
    if train.fsdp:
        from luthier.training.sharding import Shards

        return Shards(mine, device, train.fsdp_config)
    if train.deepspeed is not None:
        from luthier.training.zero import Zero

        return Zero(mine, device, train.deepspeed)
    return Replicas(mine, device)


def _device(mine: Place, kind: str) -> torch.device:
    if kind != "cuda":
        return torch.device(kind)
    count = torch.cuda.device_count()
    if mine.local_rank >= count:
        raise LuthierError(
            f"process {mine.rank} is number {mine.local_rank} on its machine (LOCAL_RANK), which "
            f"has {count} GPUs. Start one process per GPU, and set LOCAL_RANK where several "
            "machines take part."
        )
    torch.cuda.set_device(mine.local_rank)
    return torch.device("cuda", mine.local_rank)


@contextlib.contextmanager
def _threads(mine: Place) -> Iterator[None]:
    """Processes on one machine share its cores, unless OMP_NUM_THREADS says how many each uses."""
    before = torch.get_num_threads()
    told = "OMP_NUM_THREADS" in os.environ
    if not told and mine.local_size > 1:
        torch.set_num_threads(max(cores() // mine.local_size, 1))
    if not told:
        # Accelerate counts in another way, and warns.
        os.environ["OMP_NUM_THREADS"] = str(torch.get_num_threads())
    try:
        yield
    finally:
        if not told:
            del os.environ["OMP_NUM_THREADS"]
            torch.set_num_threads(before)


@contextlib.contextmanager
def answered() -> Iterator[None]:
    """Turn what torch says when another process does not answer into a `ProcessLost`."""
    try:
        yield
    except RuntimeError as error:
        said = str(error)
        if not isinstance(error, dist.DistError) and "gloo" not in said and "NCCL" not in said:
            raise
        mine = place()
        assert mine is not None
        slow = "imed out" in said or "imeout" in said
        what = "does not answer (train.ddp_timeout)" if slow else "has ended"
        raise ProcessLost(
            f"process {mine.rank} of {mine.size}: another process {what}; see what it said. "
            "Nothing that was saved is lost: repeat the command, and training goes on from the "
            "last checkpoint, if there is one."
        ) from error
