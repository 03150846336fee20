"""Early stopping on dev WER: training's CTC loss rises while WER still falls, so the loss does not
decide."""

import math
from dataclasses import dataclass


@dataclass
class EarlyStopping:
    """Watches dev WER (percent). `patience` epochs without a new best end the run."""

    patience: int
    best_wer: float = math.inf
    best_epoch: int = 0
    epochs_since_best: int = 0

    def update(self, epoch: int, wer: float) -> bool:
        """Take in an epoch's dev WER; True when it is the best so far. A NaN is an error, never a
        best."""
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
