"""The ranks of a training run: one process, or several that torchrun starts.

    torchrun --nproc_per_node 4 train_teacher.py --batch_size 32 --output_dir checkpoints/mine

`Ranks` is a run of one process. Its subclass `ProcessGroup` does the same over torch.distributed,
so that the trainer is written once. Each batch is shared by the ranks, and its batch normalisation
statistics are reduced over all of them: an update equals the one that a single process makes of the
same batches, up to rounding. gloo transfers decisions, hypotheses and CPU tensors, NCCL transfers
GPU tensors.
"""

import contextlib
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any, NoReturn, TypeVar

import numpy as np
import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from errors import ProjectError, UsageError
from models.masking import MaskedBatchNorm

# The environment variables of torchrun: rank, number of ranks, and rank on this machine.
VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
_ADDRESS = ("MASTER_ADDR", "MASTER_PORT")

Value = TypeVar("Value")
Rows = TypeVar("Rows", np.ndarray, list)


class Ranks:
    """A run of one process, which is rank 0."""

    rank: int = 0
    world: int = 1  # number of ranks

    @property
    def is_rank_0(self) -> bool:
        """Whether this process is rank 0: it alone locks the folder, writes, logs and prints."""
        return self.rank == 0

    def random_stream(self, name: str) -> str:
        """The name of a random stream of this rank alone; on rank 0 the name itself, so that a run
        of one process draws the same numbers."""
        return f"{name} of process {self.rank}" if self.rank else name

    def device(self, name: str) -> str:
        """The device of this rank, where the run has --device `name`."""
        return name

    def share(self, rows: Rows) -> Rows:
        """This rank's share: every N-th sentence of a batch, or every N-th batch of an evaluation.

        Batches are sorted by length, so the shares have similar lengths.
        """
        return rows[self.rank :: self.world]

    def check_batch_size(self, size: int) -> None:
        """Raise UsageError when a batch has fewer sentences than the run has ranks."""
        if size < self.world:
            raise UsageError(
                f"--batch_size {size} is shared by {self.world} processes, so some would never "
                "have a sentence: raise it (and lower --accumulation_steps by the same factor), or "
                "start fewer processes"
            )

    def wrap_model(self, model: nn.Module) -> nn.Module:
        """The model for the forward passes of training: its gradients and batch normalisation
        statistics are those of all ranks."""
        return model

    def accumulating(self, model: nn.Module, last: bool) -> AbstractContextManager:
        """Context of the forward and backward pass of one batch of an update: gradients are reduced
        over the ranks with the last batch only."""
        return contextlib.nullcontext()

    def join_losses(self, values: Sequence[Tensor], sizes: Sequence[int]) -> Tensor:
        """The losses of all sentences of an update, in the order of the batches.

        Args:
            values: for each batch the losses of this rank's share, (share,).
            sizes: sentences of each batch, over all ranks.

        Returns (sum of sizes,).
        """
        return torch.cat(list(values))

    def gather(self, value: Value) -> list[Value]:
        """The value of every rank, on all ranks."""
        return [value]

    def gather_on_rank_0(self, value: Value) -> list[Value]:
        """The value of every rank, on rank 0; an empty list on the others."""
        return [value]

    def from_rank_0(self, make: Callable[[], Value]) -> Value:
        """Call `make` on rank 0 and return its result on all ranks.

        If `make` raises a ProjectError, all ranks raise it.
        """
        return make()

    def once_per_machine(self, make: Callable[[], Value]) -> Value:
        """Call `make` on the first rank of each machine and return its result on all ranks there.

        If `make` raises a ProjectError, all ranks of that machine raise it.
        """
        return make()

    def maximum(self, value: int) -> int:
        """The highest value of any rank."""
        return value

    def all_must_succeed(self) -> AbstractContextManager:
        """Context of work that must succeed on all ranks. If it fails on one, all of them end and
        each error is printed once.

        Inside, no rank may wait for the others, except in the first step.
        """
        return contextlib.nullcontext()

    def disconnect(self) -> None:
        """Leave the other ranks: from here on each one works alone."""

    def end(self, code: int) -> int:
        """The last step of a script: return the exit code; with several ranks, end the process."""
        return code


def read_environment(environment: Mapping[str, str]) -> tuple[int, int, int]:
    """Rank, number of ranks and rank on this machine, from the variables of torchrun.

    Without the variables: (0, 1, 0). Raises UsageError when some are missing or impossible.
    """
    if not any(name in environment for name in VARIABLES):
        return 0, 1, 0
    rank = world = local = -1
    try:
        rank, world, local = (int(environment.get(name, "")) for name in VARIABLES)
        possible = 0 <= rank < world and 0 <= local <= rank
    except ValueError:
        possible = False
    if possible and world > 1:
        possible = all(environment.get(name) for name in _ADDRESS)
    if not possible:
        shown = ", ".join(
            f"{name}={environment.get(name, '(not set)')}" for name in (*VARIABLES, *_ADDRESS)
        )
        raise UsageError(
            f"the environment does not define the rank of this process ({shown}): start the run "
            f"with torchrun, which sets all of them, or unset {', '.join(VARIABLES)} for a run of "
            "one process"
        )
    return rank, world, local


# When another rank died, the files are complete and the run can be continued, as after a signal.
LOST_EXIT_CODE = 128 + signal.SIGTERM
# Of waiting for other ranks: one rank of each machine reads a large corpus while the others wait.
# A rank that died is noticed at once.
TIMEOUT = timedelta(hours=1)
# Some errors of a lost connection have no error class. These words in the message identify them.
_LOST = ("gloo", "NCCL", "Connection closed", "Connection reset", "TCPStore")


class ProcessGroup(Ranks):
    """One of several ranks. Inside its context, ranks other than 0 print only their own errors."""

    def __init__(self, rank: int, world: int, local_rank: int):
        self.rank, self.world, self.local_rank = rank, world, local_rank
        self._quiet = contextlib.ExitStack()

    def __enter__(self) -> "ProcessGroup":
        """Connect. Raises UsageError when the other ranks cannot be reached."""
        backend = (
            "cpu:gloo,cuda:nccl"
            if torch.cuda.is_available() and distributed.is_nccl_available()
            else "gloo"
        )
        try:
            distributed.init_process_group(
                backend, rank=self.rank, world_size=self.world, timeout=TIMEOUT
            )
        except (RuntimeError, ValueError) as error:
            address = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
            raise UsageError(
                f"process {self.rank} of {self.world} cannot reach the others at {address}: "
                f"{str(error).splitlines()[0]}"
            ) from None
        if not self.is_rank_0:
            nowhere = self._quiet.enter_context(open(os.devnull, "w", encoding="utf-8"))
            self._quiet.enter_context(contextlib.redirect_stdout(nowhere))
        return self

    def __exit__(self, kind, error, traceback) -> None:
        self._quiet.close()
        if error is None:
            self.disconnect()
        elif isinstance(error, ProjectError):  # of this rank alone
            print(f"error: {error}", file=sys.stderr)
            _leave_at_once(error.exit_code)
        elif isinstance(error, RuntimeError) and is_lost(error):
            if self.is_rank_0:
                reason = (str(error) or type(error).__name__).splitlines()[0]
                print(
                    "error: another process of this run has ended (see its messages above, if "
                    f"any) or does not answer ({reason}): start again with --resume auto and the "
                    "same --output_dir",
                    file=sys.stderr,
                )
            _leave_at_once(LOST_EXIT_CODE)

    def device(self, name: str) -> str:
        if name not in ("auto", "cuda"):
            if name.startswith("cuda:"):
                raise UsageError(
                    f"--device {name}: each process of torchrun uses its own GPU; give cuda, auto "
                    "or cpu"
                )
            return name
        count = torch.cuda.device_count()
        if name == "auto" and not count:
            return name
        if self.local_rank >= count:
            raise UsageError(
                f"torchrun started process {self.local_rank + 1} on a machine with {count} CUDA "
                f"devices: give --nproc_per_node {max(count, 1)}"
                + ("" if count else " or --device cpu")
            )
        return f"cuda:{self.local_rank}"

    def wrap_model(self, model: nn.Module) -> nn.Module:
        for module in model.modules():
            if isinstance(module, MaskedBatchNorm):
                module.join = _row_of_each_process
        device = next(model.parameters()).device
        with warnings.catch_warnings():
            # Newer versions of torch have another name for broadcast_buffers.
            warnings.simplefilter("ignore", FutureWarning)
            return DistributedDataParallel(
                model,
                device_ids=[device.index] if device.type == "cuda" else None,
                # All ranks compute the running statistics from the same numbers.
                broadcast_buffers=False,
                gradient_as_bucket_view=True,
            )

    def accumulating(self, model: nn.Module, last: bool) -> AbstractContextManager:
        assert isinstance(model, DistributedDataParallel)
        return contextlib.nullcontext() if last else model.no_sync()

    def join_losses(self, values: Sequence[Tensor], sizes: Sequence[int]) -> Tensor:
        whole = [value.new_zeros(size) for value, size in zip(values, sizes, strict=True)]
        for all_of_it, own in zip(whole, values, strict=True):
            all_of_it[self.rank :: self.world] = own
        joined = torch.cat(whole)
        distributed.all_reduce(joined)  # for each value, all summands but one are zero
        return joined

    def gather(self, value: Value) -> list[Value]:
        values: list[Any] = [None] * self.world
        distributed.all_gather_object(values, value)
        return values

    def gather_on_rank_0(self, value: Value) -> list[Value]:
        values: list[Any] | None = [None] * self.world if self.is_rank_0 else None
        distributed.gather_object(value, values)
        return values or []

    def from_rank_0(self, make: Callable[[], Value]) -> Value:
        outcome = _attempt(make) if self.is_rank_0 else [None, None]
        distributed.broadcast_object_list(outcome)
        return _result(outcome)

    def once_per_machine(self, make: Callable[[], Value]) -> Value:
        outcome = _attempt(make) if self.local_rank == 0 else [None, None]
        # torchrun numbers the ranks of a machine one after the other
        return _result(self.gather(outcome)[self.rank - self.local_rank])

    def maximum(self, value: int) -> int:
        highest = torch.tensor(int(value))  # on the CPU: no GPU is waited for
        distributed.all_reduce(highest, distributed.ReduceOp.MAX)
        return int(highest)

    @contextlib.contextmanager
    def all_must_succeed(self) -> Iterator[None]:
        failure = None
        try:
            yield
        except ProjectError as error:
            failure = error
        failures = self.gather(failure)
        failed = [error for error in failures if error is not None]
        if not failed:
            return
        if self.is_rank_0:
            for message in dict.fromkeys(map(str, failed)):
                print(f"error: {message}", file=sys.stderr)
        # The errors are printed before a rank ends: then torchrun ends the others.
        self.disconnect()
        _leave_at_once(failed[0].exit_code)

    def disconnect(self) -> None:
        if distributed.is_initialized():
            self.maximum(0)  # wait until all ranks are here
            distributed.destroy_process_group()

    def end(self, code: int) -> NoReturn:
        self.disconnect()
        _leave_at_once(code)


def _row_of_each_process(row: Tensor) -> Tensor:
    """(D,) on each process -> the table (processes, D) on all of them, without a gradient."""
    table = [torch.empty_like(row) for _ in range(distributed.get_world_size())]
    distributed.all_gather(table, row)
    return torch.stack(table)


def _attempt(make: Callable[[], Any]) -> list[Any]:
    """The result of `make`, and the ProjectError that it raised; one of them is None."""
    try:
        return [make(), None]
    except ProjectError as error:
        return [None, error]


def _result(outcome: list[Any]) -> Any:
    """The result of `_attempt`; raises its error."""
    result, error = outcome
    if error is not None:
        raise error
    return result


def _leave_at_once(code: int) -> NoReturn:
    """End the process without the interpreter's shutdown.

    During that shutdown, the threads of connections can block or abort the process. This happens
    when the other ranks have ended, and sometimes when they have not.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def is_lost(error: RuntimeError) -> bool:
    """Whether the error means that another rank has ended or does not answer."""
    return isinstance(error, distributed.DistError) or any(word in str(error) for word in _LOST)


@contextlib.contextmanager
def connect_processes() -> Iterator[Ranks]:
    """Context with the ranks of this run, connected. Raises UsageError when they cannot connect."""
    rank, world, local = read_environment(os.environ)
    if world == 1:
        yield Ranks()
        return
    with ProcessGroup(rank, world, local) as ranks:
        yield ranks
