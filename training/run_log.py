"""What a run logs: rows on the screen, metrics.jsonl, TensorBoard."""

import math
import warnings
from collections.abc import Sequence
from pathlib import Path

import yaml
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from errors import DataError
from reports.result_files import _json_line
from training.config import Config

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
    """The table's head, as wide as its rows."""
    return "  ".join(name.rjust(len(form.format(0))) for _, name, form in COLUMNS)


def format_row(row: dict) -> str:
    """One epoch as a line of the table."""
    return "  ".join(form.format(row[key]) for key, _, form in COLUMNS)


class RunLog:
    """Writes the epochs of one run; opened with the rows that an interrupted run already had."""

    def __init__(self, folder: Path, history: Sequence[dict]):
        self.folder = folder
        self.history = list(history)
        try:
            (folder / "metrics.jsonl").write_text(
                "".join(_json_line(row) for row in self.history), encoding="utf-8"
            )
            self._board = SummaryWriter(
                str(folder / "tensorboard"), purge_step=len(self.history) + 1
            )
        except OSError as error:
            raise DataError(f"cannot write to {folder}: {error.strerror}") from error

    def add(self, row: dict, is_best: bool) -> None:
        """Take in an epoch's row: keys of COLUMNS and whatever else is worth a line in
        metrics.jsonl."""
        self.history.append(row)
        tqdm.write(format_row(row) + (" *" if is_best else ""))
        try:
            with open(self.folder / "metrics.jsonl", "a", encoding="utf-8") as file:
                file.write(_json_line(row))
        except OSError as error:
            raise DataError(f"cannot write to {self.folder}: {error.strerror}") from error
        for key, value in row.items():
            if key != "epoch" and isinstance(value, (int, float)) and math.isfinite(value):
                self._board.add_scalar(key, value, row["epoch"])
        self._board.flush()

    def close(self) -> None:
        self._board.close()


def write_curves(path: Path, history: Sequence[dict], title: str) -> None:
    """Loss, WER and learning rate over the epochs as a PNG; the best dev epoch is marked."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    epochs = [row["epoch"] for row in history]
    figure, (loss_axes, wer_axes, rate_axes) = pyplot.subplots(
        1, 3, figsize=(14, 4), layout="constrained"
    )
    for axes, kind, unit in ((loss_axes, "loss", "nats per gloss"), (wer_axes, "wer", "%")):
        for split, style in (("train", "--"), ("dev", "-")):
            values = [row.get(f"{split}_{kind}", math.nan) for row in history]
            axes.plot(epochs, values, style, label=split, marker="." if len(epochs) < 30 else "")
        axes.set(xlabel="epoch", ylabel=unit, title="loss" if kind == "loss" else "WER")
        axes.grid(alpha=0.3)
    best = min(history, key=lambda row: row["dev_wer"])
    label = f"best {best['dev_wer']:.2f} % (epoch {best['epoch']})"
    wer_axes.plot(best["epoch"], best["dev_wer"], "o", color="black", label=label)
    wer_axes.set_ylim(bottom=0)
    rate_axes.plot(epochs, [row["learning_rate"] for row in history])
    rate_axes.set(xlabel="epoch", title="learning rate")
    rate_axes.grid(alpha=0.3)
    loss_axes.legend()
    wer_axes.legend()
    figure.suptitle(title, parse_math=False)
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", "Glyph .* missing from", UserWarning
        )  # a box in the title; report.html has it whole
        figure.savefig(path, dpi=110)
    pyplot.close(figure)


def write_config(folder: Path, config: Config) -> None:
    """config.yaml, as --config reads it."""
    text = yaml.safe_dump(config.to_dict(), sort_keys=False, allow_unicode=True)
    (folder / "config.yaml").write_text(text, encoding="utf-8")
