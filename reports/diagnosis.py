"""Warnings during training: collapse to blanks, a plateau, memorising. Each is printed once.

reports/verdict.py gives the verdict at the end of the run.
"""

from collections.abc import Sequence

from reports.verdict import outputs_only_blanks

# After the warm-up: CTC models of this kind predict blanks alone for one to five epochs.
_USUAL_BLANK_EPOCHS = 5
_STALE_EPOCHS = 6  # without a better dev WER
_FLAT_LOSS = 0.02  # relative fall of the train loss over the stale epochs


def collapsed(history: Sequence[dict], warmup_epochs: float) -> str | None:
    """The model predicts almost nothing on dev, for longer than is usual at the start."""
    row = history[-1]
    if row["epoch"] <= warmup_epochs + _USUAL_BLANK_EPOCHS or not outputs_only_blanks(row):
        return None
    return (
        f"collapsed to blanks: in epoch {row['epoch']} {100 * row['dev_empty_share']:.0f} % of the "
        f"dev hypotheses are empty (blank share {100 * row['dev_blank_share']:.0f} %). This is "
        "normal in the first epochs only. Lower --learning_rate or raise --warmup_epochs, and "
        "check that overfit_test.py passes on this corpus"
    )


def _stale(history: Sequence[dict]) -> list[dict] | None:
    """The rows from the best dev WER on, when they are more than `_STALE_EPOCHS`; else None."""
    rates = [row["dev_wer"] for row in history]
    since = list(history[rates.index(min(rates)) :])
    return since if len(since) > _STALE_EPOCHS else None


def memorising(history: Sequence[dict], _: float) -> str | None:
    """Dev WER has not improved for many epochs, while the train loss still falls, and train WER is
    far below dev WER."""
    since, row = _stale(history), history[-1]
    if (
        since is None
        or since[0]["train_loss"] - row["train_loss"] < _FLAT_LOSS * since[0]["train_loss"]
    ):
        return None
    if row["train_wer"] > 0.7 * row["dev_wer"]:
        return None
    return (
        f"memorising: train WER {row['train_wer']:.1f} % and falling, dev WER "
        f"{row['dev_wer']:.1f} % and not better for {len(since) - 1} epochs: raise --dropout or "
        "the ranges of the augmentation, or add signers and sentences"
    )


def plateau(history: Sequence[dict], warmup_epochs: float) -> str | None:
    """Neither train loss nor dev WER improves, and train WER is still above 10 %."""
    since, row = _stale(history), history[-1]
    if (
        since is None
        or since[0]["train_loss"] - row["train_loss"] >= _FLAT_LOSS * since[0]["train_loss"]
    ):
        return None
    if row["train_wer"] < 10 or collapsed(history, warmup_epochs):
        return None
    return (
        f"plateau: for {len(since) - 1} epochs neither train loss ({row['train_loss']:.3f}) nor "
        f"dev WER has improved; train WER is {row['train_wer']:.1f} %. Lower --learning_rate. If "
        "it is low already, use a larger model"
    )


def diagnose(history: Sequence[dict], warmup_epochs: float) -> list[str]:
    """The warnings after the last epoch, one line each.

    history: the rows of the epochs (metrics.jsonl), oldest first. A warning that was also true
    after the previous epoch is not repeated.
    """
    lines = []
    for condition in (collapsed, memorising, plateau):
        line = condition(history, warmup_epochs)
        if line and not (len(history) > 1 and condition(history[:-1], warmup_epochs)):
            lines.append(line)
    return lines
