"""What a run's history, or an evaluation's counts, say in plain words: learning, overfitting,
collapsed to blanks, ..."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

TARGET_WER = 25.0  # percent on dev: what this teacher is meant to stay under

TOO_EARLY, COLLAPSED, NOT_LEARNING = "too early", "collapsed to blanks", "not learning"
OVERFITTING, IMPROVING, PLATEAU = "overfitting", "still improving", "levelled off"

_FEWEST_EPOCHS = 3
# Percent of the reference glosses left out, and of the steps blank, from which on a model says
# nothing
_SILENT = 90.0
_USELESS = 90.0  # percent WER
_GAP = 5.0  # percentage points between train and dev
_LATEST = 0.25  # share of the run that counts as its end


@dataclass(frozen=True)
class Verdict:
    """state: one of the constants above; headline: a sentence; reasons: sentences with the numbers,
    then what to try."""

    state: str
    headline: str
    reasons: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.state}: {self.headline}"


def history_verdict(history: Sequence[dict]) -> Verdict:
    """How a training went, from its epochs' rows (the lines of metrics.jsonl; WER in percent, the
    dev WER greedy).

    The rules, the first that holds: fewer than 3 epochs are too few; a model that leaves out 90 %
    of the glosses and answers 90 % of the steps with blank has collapsed; a best dev WER of 90 % or
    more is no learning; a train WER under half of the dev WER and 5 points away from it, with no
    better dev WER in the last quarter of the run, is overfitting; a dev WER that in the last
    quarter became better by half a point and by 3 % of itself is still improving; otherwise it has
    levelled off.
    """
    if not history:
        return Verdict(TOO_EARLY, "no epoch was trained.", ())
    last, best = history[-1], min(history, key=lambda row: row["dev_wer"])
    facts = [
        f"The best dev WER, {best['dev_wer']:.2f} % (greedy), came in epoch {best['epoch']} of {len(history)}; "
        f"{_against_target(best['dev_wer'])}."
    ]
    if len(history) < _FEWEST_EPOCHS:
        return Verdict(
            TOO_EARLY,
            f"{len(history)} of at least {_FEWEST_EPOCHS} epochs needed to judge by.",
            tuple(facts),
        )
    if outputs_only_blanks(last):
        facts = [
            f"In the last epoch {_share_left_out(last):.0f} % of the dev glosses were left out and "
            f"{100 * last['dev_blank_share']:.0f} % of the steps were blank.",
            "Try a longer warm-up, a lower --learning_rate, and whether overfit_test.py can memorise five sentences.",
        ]
        return Verdict(COLLAPSED, "the model says next to nothing.", tuple(facts))
    if best["dev_wer"] >= _USELESS:
        facts.append(
            f"The train loss went from {history[0]['train_loss']:.2f} to {last['train_loss']:.2f}, the train WER to "
            f"{last['train_wer']:.1f} %."
        )
        facts.append(
            "Check the corpus (prepare_data.py check) and whether overfit_test.py can memorise five sentences."
        )
        return Verdict(NOT_LEARNING, "the dev WER never left the range of chance.", tuple(facts))

    before = history[: max(len(history) - max(round(_LATEST * len(history)), 1), 1)]
    earlier = min(row["dev_wer"] for row in before)
    gained = earlier - best["dev_wer"]
    gap = f"train WER {last['train_wer']:.1f} % against dev WER {last['dev_wer']:.1f} % in the last epoch"
    apart = last["train_wer"] < last["dev_wer"] / 2 and last["dev_wer"] - last["train_wer"] >= _GAP
    if apart and gained <= 0:
        facts.append(
            f"It knows the train sentences far better than new ones: {gap}.{_loss_rise(history)}"
        )
        facts.append(
            "Try more data, more augmentation, a higher --dropout or --weight_decay; more epochs will not help."
        )
        return Verdict(OVERFITTING, "train still falls, dev does not follow.", tuple(facts))
    if apart:
        facts.append(f"Train is ahead of dev: {gap}.")
    if gained >= 0.5 and gained >= 0.03 * earlier:
        facts.append(
            f"In the last quarter of the run it fell from {earlier:.2f} %: more --epochs are likely to help."
        )
        return Verdict(IMPROVING, "the model is learning and had not finished.", tuple(facts))
    facts.append(
        f"In the last quarter of the run it {f'fell by {gained:.2f} points' if gained > 0 else 'did not fall'}."
    )
    return Verdict(
        PLATEAU, "the model has learned, and more epochs alone would change little.", tuple(facts)
    )


def outputs_only_blanks(row: dict) -> bool:
    """Whether an epoch's model leaves out nearly all of dev's glosses and answers nearly all steps
    with blank."""
    return _share_left_out(row) >= _SILENT and 100 * row["dev_blank_share"] >= _SILENT


def evaluation_verdict(result: dict, blank_share: float) -> Verdict:
    """What an evaluation's WER and counts (the keys of `decoding.scoring.rates`) say; blank_share 0
    to 1."""
    wer, glosses = result["wer"], result["reference_glosses"]
    errors = {kind: result[kind] for kind in ("substitutions", "deletions", "insertions")}
    facts = []
    left_out = 100 * errors["deletions"] / glosses
    if left_out >= _SILENT and 100 * blank_share >= _SILENT:
        facts.append(
            f"{left_out:.0f} % of the glosses were left out, {100 * blank_share:.0f} % of the steps are blank."
        )
        return Verdict(COLLAPSED, "the model says next to nothing.", tuple(facts))
    kind = max(errors, key=lambda name: errors[name])
    if errors[kind] > sum(errors.values()) / 2:
        meaning = {
            "substitutions": "it confuses glosses with each other",
            "deletions": "it leaves glosses out",
            "insertions": "it adds glosses that were not signed",
        }[kind]
        facts.append(
            f"Most errors are {kind} ({errors[kind]} of {sum(errors.values())}): {meaning}."
        )
    if wer >= _USELESS:
        return Verdict("unusable", f"{wer:.2f} % WER is the range of chance.", tuple(facts))
    state = "under the target" if wer < TARGET_WER else "not under the target"
    return Verdict(state, f"{wer:.2f} % WER, aimed at is less than {TARGET_WER:g} %.", tuple(facts))


def _against_target(wer: float) -> str:
    relation = "under" if wer < TARGET_WER else "not under"
    return f"{wer:.2f} % is {relation} the {TARGET_WER:g} % that is aimed at"


def _share_left_out(row: dict) -> float:
    """Deletions of an epoch on dev in percent of its reference glosses."""
    errors = row["dev_substitutions"] + row["dev_deletions"] + row["dev_insertions"]
    return row["dev_wer"] * row["dev_deletions"] / errors if errors else 0.0


def _loss_rise(history: Sequence[dict]) -> str:
    losses = [
        row["dev_loss"]
        for row in history
        if row["dev_loss"] is not None and math.isfinite(row["dev_loss"])
    ]
    if not losses or losses[-1] <= 1.1 * min(losses):
        return ""
    return f" The dev loss rose from {min(losses):.2f} to {losses[-1]:.2f}."
