"""The processes of one training run: one, or as many as torchrun starts, each with its share of
every batch.

    torchrun --nproc_per_node 4 train_teacher.py --batch_size 32 --output_dir checkpoints/mine

`Ranks` is the run of one process: it has no other to talk to, and all of its methods do the
obvious. Its subclass `ProcessGroup` (training/process_group.py) does the same over
torch.distributed, so that the trainer has one path. No torch in here: command lines parse fast.
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

# Which process, of how many, and which of this machine's
VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
_ADDRESS = ("MASTER_ADDR", "MASTER_PORT")

Value = TypeVar("Value")
Rows = TypeVar("Rows", "np.ndarray", list)


class Ranks:
    """A run of one process, which is its own writer."""

    rank, world = 0, 1

    @property
    def is_writer(self) -> bool:
        """Whether this process alone holds the run folder, writes, logs and prints."""
        return self.rank == 0

    def own(self, name: str) -> str:
        """The name of a stream of random numbers that is this process's own; the first one's is
        that of a run of one."""
        return f"{name} of process {self.rank}" if self.rank else name

    def device(self, name: str) -> str:
        """The device of this process, where the whole run is to compute on `name` ('auto', 'cpu',
        'cuda', 'cuda:N')."""
        return name

    def share(self, rows: Rows) -> Rows:
        """Of one batch's sentences, or of all batches of an evaluation, those of this process:
        every N-th, so that each falls to exactly one, as evenly as they can be cut and, as batches
        are sorted by length, of like lengths."""
        return rows[self.rank :: self.world]

    def check_batch_size(self, size: int) -> None:
        """Raise UsageError when some processes would never have a sentence."""
        if size < self.world:
            raise UsageError(
                f"--batch_size {size} is cut over {self.world} processes, of which some would never have a sentence: raise it "
                "(and lower --accumulation_steps by as much), or start fewer"
            )

    def spread(self, model: "nn.Module") -> "nn.Module":
        """The model as forward passes of training call it: its gradients and batch statistics are
        those of all processes."""
        return model

    def accumulating(self, model: "nn.Module", last: bool) -> AbstractContextManager:
        """Around forward and backward pass of one batch of an update: gradients are reduced with
        the last one's only."""
        return contextlib.nullcontext()

    def join(self, values: Sequence["Tensor"], sizes: Sequence[int]) -> "Tensor":
        """Values of the sentences of some batches, from those of this process's shares:
        (sum of sizes,), in the batches' order.

        values: one (share,) a batch; sizes: sentences of each batch over all processes.
        """
        import torch

        return torch.cat(list(values))

    def gather(self, value: Value) -> list[Value]:
        """The value of every process, by rank, on all of them."""
        return [value]

    def to_writer(self, value: Value) -> list[Value]:
        """The value of every process, by rank, on the writer; nothing on the others."""
        return [value]

    def from_writer(self, make: Callable[[], Value]) -> Value:
        """What `make` returns on the writer, on all processes. A ProjectError of it is raised on
        all of them."""
        return make()

    def most(self, value: int) -> int:
        """The highest value of any process."""
        return value

    def together(self) -> AbstractContextManager:
        """What is done in it must succeed on all processes: else all of them end, and each error is
        said once.

        Nothing in it may wait for other processes, except as its first step.
        """
        return contextlib.nullcontext()

    def part(self) -> None:
        """Leave the others: from here on each process is on its own."""

    def leave(self, code: int) -> int:
        """What a script does last: the exit code of a run of one process; several end here, all of
        them."""
        return code


def read_environment(environment: Mapping[str, str]) -> tuple[int, int, int]:
    """Rank, number of processes and rank on this machine, as torchrun says them; (0, 1, 0) where it
    started none.

    Raises UsageError when only some of the variables are there, or with values that cannot be.
    """
    if not any(name in environment for name in VARIABLES):
        return 0, 1, 0
    try:
        rank, world, local = (int(environment.get(name, "")) for name in VARIABLES)
        sound = 0 <= rank < world and 0 <= local <= rank
    except ValueError:
        sound = False
    if sound and world > 1:
        sound = all(environment.get(name) for name in _ADDRESS)
    if not sound:
        shown = ", ".join(
            f"{name}={environment.get(name, '(not set)')}" for name in (*VARIABLES, *_ADDRESS)
        )
        raise UsageError(
            f"the environment does not say which process of a run this is ({shown}): start it with torchrun, which sets all of "
            f"them, or unset {', '.join(VARIABLES)} for a run of one process"
        )
    return rank, world, local


@contextlib.contextmanager
def connect_processes() -> Iterator[Ranks]:
    """The processes of this run, connected while entered. Raises UsageError when they cannot be."""
    rank, world, local = read_environment(os.environ)
    if world == 1:
        yield Ranks()
        return
    from training.process_group import ProcessGroup

    with ProcessGroup(rank, world, local) as ranks:
        yield ranks
