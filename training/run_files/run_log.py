"""What a run logs: rows on the screen, metrics.jsonl, TensorBoard."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from tqdm import tqdm

from data.output_place import write_whole
from errors import DataError
from reports.result_files import json_line
from settings import Overrides
from training.progress import TrainingProgress
from training.validation import ValidationResult

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

COLUMNS = (
    # key, heading, format
    ("epoch", "epoch", "{:>5d}"),
    ("train_loss", "train loss", "{:>10.4f}"),
    ("dev_loss", "dev loss", "{:>9.4f}"),
    ("train_wer", "train WER", "{:>9.2f}"),
    ("dev_wer", "dev WER", "{:>8.2f}"),
    ("learning_rate", "lr", "{:>9.2e}"),
    ("frames_per_second", "frames/s", "{:>8.0f}"),
)


def heading() -> str:
    """The heading of the table, aligned with its rows."""
    return "  ".join(name.rjust(len(form.format(0))) for _, name, form in COLUMNS)


def format_row(row: dict) -> str:
    """One epoch as a line of the table."""
    return "  ".join(form.format(row[key]) for key, _, form in COLUMNS)


class RunLog:
    """Prints and writes the rows of a run's epochs; `history` has those of a continued run."""

    def __init__(self, folder: Path, history: Sequence[dict]):
        self.folder = folder
        self.history = list(history)
        self._first = len(self.history) + 1  # epoch of this session
        self._board: SummaryWriter | None = None  # its import would delay the start
        board = folder / "tensorboard"
        if board.exists() and not board.is_dir():
            raise DataError(f"{board} is a file: expected a folder for TensorBoard; move the file")
        try:
            rows = "".join(json_line(row) for row in self.history)
            write_whole(folder / "metrics.jsonl", rows)
        except OSError as error:
            raise DataError(f"cannot write to {folder}: {error.strerror}") from error

    def add(self, row: dict, is_best: bool) -> None:
        """Add the row of an epoch (`epoch_row`) to the screen, metrics.jsonl and TensorBoard."""
        self.history.append(row)
        tqdm.write(format_row(row) + (" *" if is_best else ""))
        try:
            with open(self.folder / "metrics.jsonl", "a", encoding="utf-8") as file:
                file.write(json_line(row))
            board = self._board = self._board or self._open_board()
        except OSError as error:
            raise DataError(f"cannot write to {self.folder}: {error.strerror}") from error
        for key, value in row.items():
            if key != "epoch" and isinstance(value, (int, float)) and math.isfinite(value):
                board.add_scalar(key, value, row["epoch"])
        board.flush()

    def _open_board(self) -> "SummaryWriter":
        """The writer for TensorBoard. Rows of an earlier session from the first epoch of this one
        on are no longer shown."""
        from torch.utils.tensorboard import SummaryWriter

        return SummaryWriter(str(self.folder / "tensorboard"), purge_step=self._first)

    def close(self) -> None:
        if self._board is not None:
            self._board.close()


def epoch_row(
    progress: TrainingProgress,
    dev: ValidationResult,
    train_wer: float,
    learning_rate: float,
    peak_memory_gb: float,
) -> dict:
    """The row of an epoch in metrics.jsonl.

    Args:
        progress: where the run stands at the end of the epoch.
        dev: the evaluation of dev.
        train_wer: WER of the train sentences while they were learned, in percent.
        learning_rate: of the last update.
        peak_memory_gb: of the device.
    """
    return {
        "epoch": progress.epoch,
        "train_loss": progress.mean_loss,
        "dev_loss": dev.loss,
        "dev_without_loss": dev.without_loss,
        "train_wer": train_wer,
        "dev_wer": dev.score.wer,
        "dev_substitutions": dev.score.substitutions,
        "dev_deletions": dev.score.deletions,
        "dev_insertions": dev.score.insertions,
        "dev_blank_share": dev.blank_share,
        "dev_empty_share": sum(not glosses for glosses in dev.hypotheses) / len(dev.hypotheses),
        "dev_gloss_ratio": sum(map(len, dev.hypotheses)) / dev.score.reference_glosses,
        "gradient_norm": progress.median_gradient_norm,
        "learning_rate": learning_rate,
        "frames_per_second": progress.frames / progress.seconds if progress.seconds else 0.0,
        "peak_memory_gb": peak_memory_gb,
        "skipped_updates": progress.skipped_updates,
        "loss_spikes": progress.loss_spikes,
        "events": progress.events,
    }


def write_config(folder: Path, settings: Overrides) -> None:
    """Write config.yaml, which --config accepts. settings: plain values, as of `to_dict`."""
    text = yaml.safe_dump(settings, sort_keys=False, allow_unicode=True)
    write_whole(folder / "config.yaml", text)
