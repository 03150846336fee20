"""The ranks of a training run: one process, or several that torchrun starts.

    torchrun --nproc_per_node 4 train_teacher.py --batch_size 32 --output_dir checkpoints/mine

`Ranks` is a run of one process. Its subclass `ProcessGroup` (training/process_group.py) does the
same over torch.distributed, so that the trainer is written once. Each rank computes its share of
every batch. No torch in here, so that command lines parse fast.
"""

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, TypeVar

from errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn

# The environment variables of torchrun: rank, number of ranks, and rank on this machine.
VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
_ADDRESS = ("MASTER_ADDR", "MASTER_PORT")

Value = TypeVar("Value")
Rows = TypeVar("Rows", "np.ndarray", list)


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

    def wrap_model(self, model: "nn.Module") -> "nn.Module":
        """The model for the forward passes of training: its gradients and batch normalisation
        statistics are those of all ranks."""
        return model

    def accumulating(self, model: "nn.Module", last: bool) -> AbstractContextManager:
        """Context of the forward and backward pass of one batch of an update: gradients are reduced
        over the ranks with the last batch only."""
        return contextlib.nullcontext()

    def join_losses(self, values: Sequence["Tensor"], sizes: Sequence[int]) -> "Tensor":
        """The losses of all sentences of an update, in the order of the batches.

        Args:
            values: for each batch the losses of this rank's share, (share,).
            sizes: sentences of each batch, over all ranks.

        Returns (sum of sizes,).
        """
        import torch

        return torch.cat(list(values))

    def gather(self, value: Value) -> list[Value]:
        """The value of every rank, on all ranks."""
        return [value]

    def gather_on_rank_0(self, value: Value) -> list[Value]:
        """The value of every rank, on rank 0; an empty list on the others."""
        return [value]

    def from_rank_0(self, make: Callable[[], Value]) -> Value:
        """Call `make` on rank 0 and return its result on all ranks.

        A ProjectError of it is raised on all ranks.
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


@contextlib.contextmanager
def connect_processes() -> Iterator[Ranks]:
    """Context with the ranks of this run, connected. Raises UsageError when they cannot connect."""
    rank, world, local = read_environment(os.environ)
    if world == 1:
        yield Ranks()
        return
    from training.process_group import ProcessGroup

    with ProcessGroup(rank, world, local) as ranks:
        yield ranks
