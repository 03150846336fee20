"""Where a run stands."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from data.device_transfer import HostCopies
from data.pipeline import FeatureBatch


@dataclass
class TrainingProgress:
    """Where a run stands: everything besides weights and optimiser that continuing it exactly
    needs. Plain values."""

    epoch: int = 1  # the one under way, from 1
    group: int = 0  # groups of batches done in it, whether they led to an update or were skipped
    loss_sum: float = 0.0
    loss_sentences: int = 0  # that are in it: those of updates whose loss was finite
    frames: int = 0
    seconds: float = 0.0  # of training in this epoch
    total_seconds: float = 0.0
    total_frames: int = 0
    bad_updates: int = 0  # in a row, up to now
    skipped_updates: int = 0  # in this epoch
    loss_spikes: int = 0  # in this epoch
    events: list[dict] = field(default_factory=list)  # of both kinds, in this epoch
    # Of the updates before, to tell a spike
    recent_losses: list[float] = field(default_factory=list)
    # Before clipping, of the epoch's finite updates
    gradient_norms: list[float] = field(default_factory=list)
    loaded_wer: float | None = None  # dev WER that a fine-tune started from
    hypotheses: dict[int, list[int]] = field(default_factory=dict)
    history: list[dict] = field(default_factory=list)
    finished: bool = False


@dataclass(frozen=True)
class PendingUpdate:
    """An update that was launched and whose figures nobody has read yet: `group` of the epoch, its
    batches, and on their way to the host the losses of their sentences, the norm of the gradient,
    and of each batch best path and where glosses begin."""

    group: int
    batches: Sequence[FeatureBatch]
    figures: HostCopies
