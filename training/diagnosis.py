"""What a run's figures mean while it trains: collapse to blanks, a plateau, memorising; each said
once, in one line.

reports/verdict.py says at the end what became of it.
"""

from collections.abc import Sequence

from reports.verdict import outputs_only_blanks

# After the warm-up; CTC models of this kind leave the all-blank reading in one to five epochs
_USUAL_BLANK_EPOCHS = 5
_STALE_EPOCHS = 6  # without a better dev WER
_FLAT_LOSS = 0.02  # relative fall of the train loss over the stale epochs


def collapsed(history: Sequence[dict], warmup_epochs: float) -> str | None:
    """Next to nothing is read in dev, longer than is usual at the start."""
    row = history[-1]
    if row["epoch"] <= warmup_epochs + _USUAL_BLANK_EPOCHS or not outputs_only_blanks(row):
        return None
    return (
        f"collapsed to blanks: {100 * row['dev_empty_share']:.0f} % of dev is read as empty (blank share "
        f"{100 * row['dev_blank_share']:.0f} %) in epoch {row['epoch']}, past the first epochs in which that is usual: "
        "lower --learning_rate or lengthen --warmup_epochs, and see whether overfit_test.py passes on this corpus"
    )


def _stale(history: Sequence[dict]) -> list[dict] | None:
    """The rows since the best dev WER, that one first, when they are as many as should not be."""
    rates = [row["dev_wer"] for row in history]
    since = list(history[rates.index(min(rates)) :])
    return since if len(since) > _STALE_EPOCHS else None


def memorising(history: Sequence[dict], _: float) -> str | None:
    """Dev WER is no better for long while train goes on falling, far below it."""
    since, row = _stale(history), history[-1]
    if (
        since is None
        or since[0]["train_loss"] - row["train_loss"] < _FLAT_LOSS * since[0]["train_loss"]
    ):
        return None
    if row["train_wer"] > 0.7 * row["dev_wer"]:
        return None
    return (
        f"train and dev part: train WER {row['train_wer']:.1f} % and falling, dev {row['dev_wer']:.1f} % and no better for "
        f"{len(since) - 1} epochs: it memorises; raise --dropout or the augmentation's ranges, or add signers and sentences"
    )


def plateau(history: Sequence[dict], warmup_epochs: float) -> str | None:
    """Neither train loss nor dev WER moves, though the model is far from done."""
    since, row = _stale(history), history[-1]
    if (
        since is None
        or since[0]["train_loss"] - row["train_loss"] >= _FLAT_LOSS * since[0]["train_loss"]
    ):
        return None
    if row["train_wer"] < 10 or collapsed(history, warmup_epochs):
        return None
    return (
        f"plateau: for {len(since) - 1} epochs neither the train loss ({row['train_loss']:.3f}) nor dev WER has improved, at "
        f"train WER {row['train_wer']:.1f} %: lower --learning_rate, or where it is low already use a larger model"
    )


def diagnose(history: Sequence[dict], warmup_epochs: float) -> list[str]:
    """What begins to be true with the last epoch, one line each.

    history: the epochs' rows (training/trainer.py), oldest first. A condition that held the epoch
    before is not repeated.
    """
    lines = []
    for condition in (collapsed, memorising, plateau):
        line = condition(history, warmup_epochs)
        if line and not (len(history) > 1 and condition(history[:-1], warmup_epochs)):
            lines.append(line)
    return lines
