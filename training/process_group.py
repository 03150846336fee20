"""A run of several processes over torch.distributed: what `Ranks` promises, kept between them.

Each batch of the plan is cut by sentences over the processes, and its batch-norm statistics are
reduced over all of them, so that an update is the one that a single process makes of the same
batches, up to rounding. gloo carries decisions, hypotheses and everything of the CPU, NCCL the
tensors of GPUs.
"""

import contextlib
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import NoReturn, TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from errors import ProjectError, UsageError
from models.masking import MaskedBatchNorm
from training.distributed import Ranks

# What is on disk is whole and can be continued, as after a signal
LOST_EXIT_CODE = 128 + signal.SIGTERM
TIMEOUT = timedelta(minutes=20)  # of waiting for one another; one that died is noticed at once
_LOST = (
    "gloo",
    "NCCL",
    "Connection closed",
    "Connection reset",
    "TCPStore",
)  # words of the errors that have no type of their own

Value = TypeVar("Value")


class ProcessGroup(Ranks):
    """One of several processes. Others than the writer print nothing but their own errors while it
    is entered."""

    def __init__(self, rank: int, world: int, local_rank: int):
        self.rank, self.world, self.local_rank = rank, world, local_rank
        self._quiet = contextlib.ExitStack()

    def __enter__(self) -> "ProcessGroup":
        """Raises UsageError when the others cannot be reached."""
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
                f"process {self.rank} of {self.world} cannot reach the others at {address}: {str(error).splitlines()[0]}"
            ) from None
        if not self.is_writer:
            nowhere = self._quiet.enter_context(open(os.devnull, "w", encoding="utf-8"))
            self._quiet.enter_context(contextlib.redirect_stdout(nowhere))
        return self

    def __exit__(self, kind, error, traceback) -> None:
        self._quiet.close()
        if error is None:
            self.part()
        elif isinstance(error, ProjectError):  # of this process alone
            print(f"error: {error}", file=sys.stderr)
            _leave_at_once(error.exit_code)
        elif isinstance(error, RuntimeError) and is_lost(error):
            if self.is_writer:
                reason = (str(error) or type(error).__name__).splitlines()[0]
                print(
                    "error: another process of this run has ended (what it said stands above, if it could say anything) or "
                    f"does not answer ({reason}): start again with --resume auto and the same --output_dir",
                    file=sys.stderr,
                )
            _leave_at_once(LOST_EXIT_CODE)

    def device(self, name: str) -> str:
        if name not in ("auto", "cuda"):
            if name.startswith("cuda:"):
                raise UsageError(
                    f"--device {name}: each process of torchrun takes a GPU of its own; give cuda, auto or cpu"
                )
            return name
        count = torch.cuda.device_count()
        if name == "auto" and not count:
            return name
        if self.local_rank >= count:
            raise UsageError(
                f"torchrun started process {self.local_rank + 1} on a machine with {count} CUDA devices: give "
                f"--nproc_per_node {max(count, 1)}" + ("" if count else " or --device cpu")
            )
        return f"cuda:{self.local_rank}"

    def spread(self, model: nn.Module) -> nn.Module:
        for module in model.modules():
            if isinstance(module, MaskedBatchNorm):
                module.over_processes = True
        device = next(model.parameters()).device
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", FutureWarning
            )  # newer versions of torch have another name for broadcast_buffers
            return DistributedDataParallel(
                model,
                device_ids=[device.index] if device.type == "cuda" else None,
                # Running statistics are made from the same numbers everywhere
                broadcast_buffers=False,
                gradient_as_bucket_view=True,
            )

    def accumulating(self, model: nn.Module, last: bool) -> AbstractContextManager:
        return contextlib.nullcontext() if last else model.no_sync()

    def join(self, values: Sequence[Tensor], sizes: Sequence[int]) -> Tensor:
        whole = [value.new_zeros(size) for value, size in zip(values, sizes, strict=True)]
        for all_of_it, own in zip(whole, values, strict=True):
            all_of_it[self.rank :: self.world] = own
        joined = torch.cat(whole)
        distributed.all_reduce(joined)  # of each value all summands but one are zero
        return joined

    def gather(self, value: Value) -> list[Value]:
        values = [None] * self.world
        distributed.all_gather_object(values, value)
        return values

    def to_writer(self, value: Value) -> list[Value]:
        values = [None] * self.world if self.is_writer else None
        distributed.gather_object(value, values)
        return values or []

    def from_writer(self, make: Callable[[], Value]) -> Value:
        outcome = [None, None]
        if self.is_writer:
            try:
                outcome[0] = make()
            except ProjectError as error:
                outcome[1] = error
        distributed.broadcast_object_list(outcome)
        if outcome[1] is not None:
            raise outcome[1]
        return outcome[0]

    def most(self, value: int) -> int:
        highest = torch.tensor(int(value))  # on the CPU: no GPU is waited for
        distributed.all_reduce(highest, distributed.ReduceOp.MAX)
        return int(highest)

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        failure = None
        try:
            yield
        except ProjectError as error:
            failure = error
        failures = self.gather(failure)
        failed = [error for error in failures if error is not None]
        if not failed:
            return
        if self.is_writer:
            for message in dict.fromkeys(map(str, failed)):
                print(f"error: {message}", file=sys.stderr)
        self.part()  # it is said before any of them ends, upon which torchrun ends the others
        _leave_at_once(failed[0].exit_code)

    def part(self) -> None:
        if distributed.is_initialized():
            self.most(0)  # all have come so far
            distributed.destroy_process_group()

    def leave(self, code: int) -> NoReturn:
        self.part()
        _leave_at_once(code)


def _leave_at_once(code: int) -> NoReturn:
    """End without the interpreter's own way out, on which the threads of connections can hold the
    process, or abort it: also when the others have gone, and now and then when they have not."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def is_lost(error: RuntimeError) -> bool:
    """Whether it says that another process is gone, or that it does not answer."""
    return isinstance(error, distributed.DistError) or any(word in str(error) for word in _LOST)
