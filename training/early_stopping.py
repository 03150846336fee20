"""Early stopping on dev WER, not on the CTC loss: that rises while WER still falls.

The loss decides between epochs with the same WER, such as 100 % at the start of a training.
"""

import math
from dataclasses import dataclass

from errors import counted


@dataclass
class EarlyStopping:
    """Ends a run after `patience` epochs without a better dev WER. WER is in percent.

    best_loss: the dev loss of the best epoch; -inf for a loaded model, which wins every tie.
    """

    patience: int
    best_wer: float = math.inf
    best_loss: float = math.inf
    best_epoch: int = 0
    epochs_since_best: int = 0

    def update(self, epoch: int, wer: float, loss: float) -> bool:
        """Record the dev WER and dev loss of an epoch; True when it is the best so far.

        An epoch with the best WER and a lower loss is the best, too, but does not count for the
        patience. A loss that is not finite wins no tie. Raises ValueError for a WER that is NaN.
        """
        if math.isnan(wer):
            raise ValueError(f"dev WER of epoch {epoch} is NaN")
        is_better = wer < self.best_wer
        self.epochs_since_best = 0 if is_better else self.epochs_since_best + 1
        is_best = is_better or (wer == self.best_wer and loss < self.best_loss)  # False for NaN
        if is_best:
            self.best_wer, self.best_epoch = wer, epoch
            self.best_loss = loss if math.isfinite(loss) else math.inf
        return is_best

    @property
    def should_stop(self) -> bool:
        return self.epochs_since_best >= self.patience

    @property
    def reason(self) -> str:
        """Why the run stops, and how to continue it."""
        epochs = self.epochs_since_best
        return (
            f"no better dev WER in {counted(epochs, 'epoch')}; --resume auto with a --patience "
            f"above {epochs} continues"
        )

    def start_from(self, wer: float) -> None:
        """Start from a loaded model with this dev WER: an epoch must beat it to be the best."""
        self.best_wer, self.best_loss = wer, -math.inf

    def forget_best(self) -> None:
        """Forget the best WER, because the file of the best model is lost."""
        self.best_wer, self.best_loss, self.best_epoch = math.inf, math.inf, 0
