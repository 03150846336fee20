"""Early stopping on dev WER, not on the CTC loss: that rises while WER still falls."""

import math
from dataclasses import dataclass


@dataclass
class EarlyStopping:
    """Ends a run after `patience` epochs without a better dev WER. WER is in percent."""

    patience: int
    best_wer: float = math.inf
    best_epoch: int = 0
    epochs_since_best: int = 0

    def update(self, epoch: int, wer: float) -> bool:
        """Record the dev WER of an epoch; True when it is the best so far. Raises ValueError for
        NaN."""
        if math.isnan(wer):
            raise ValueError(f"dev WER of epoch {epoch} is NaN")
        if wer < self.best_wer:
            self.best_wer, self.best_epoch, self.epochs_since_best = wer, epoch, 0
            return True
        self.epochs_since_best += 1
        return False

    @property
    def should_stop(self) -> bool:
        return self.epochs_since_best >= self.patience

    @property
    def reason(self) -> str:
        """Why the run stops, and how to continue it."""
        return (
            f"no better dev WER in {self.epochs_since_best} epochs; --resume auto with a "
            f"--patience above {self.epochs_since_best} continues"
        )

    def start_from(self, wer: float) -> None:
        """Start from a loaded model with this dev WER: an epoch must beat it to be the best."""
        self.best_wer = wer

    def forget_best(self) -> None:
        """Forget the best WER, because the file of the best model is lost."""
        self.best_wer, self.best_epoch = math.inf, 0
