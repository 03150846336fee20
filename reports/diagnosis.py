"""Warnings during training: collapse to blanks, a plateau, memorising, no dev loss. Each is
printed once.

reports/verdict.py gives the verdict at the end of the run.
"""

import math
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


def no_dev_loss(history: Sequence[dict], _: float) -> str | None:
    """The dev loss is not a number: why, and what that means for WER and early stopping."""
    row = history[-1]
    without = row.get("dev_without_loss")  # epochs of an earlier version do not have it
    if without is None or math.isfinite(row["dev_loss"]):
        return None
    unknown, short, infinite = (
        without[reason] for reason in ("unknown gloss", "too short", "not finite")
    )
    if infinite:
        return (
            f"dev loss {row['dev_loss']:g}: the model's output is not finite in {infinite} dev "
            "sentences, so their hypotheses mean nothing. They count in dev WER and in early "
            "stopping all the same. Lower --learning_rate, or use --precision fp32"
        )
    return (
        f"dev loss {row['dev_loss']:g}: none of the {unknown + short} dev sentences has a CTC "
        f"loss ({unknown} have a gloss that is not in the vocabulary, {short} have too few frames "
        "for their glosses). Dev WER counts all of them, and early stopping depends on dev WER "
        "alone: both work, but no dev sentence can become free of errors. Compare the spelling of "
        "the glosses in dev and train, or make another dev split with prepare_data.py split"
    )


def diagnose(history: Sequence[dict], warmup_epochs: float) -> list[str]:
    """The warnings after the last epoch, one line each.

    history: the rows of the epochs (metrics.jsonl), oldest first. A warning that was also true
    after the previous epoch is not repeated.
    """
    lines = []
    for condition in (collapsed, memorising, plateau, no_dev_loss):
        line = condition(history, warmup_epochs)
        if line and not (len(history) > 1 and condition(history[:-1], warmup_epochs)):
            lines.append(line)
    return lines
