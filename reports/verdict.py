"""Verdicts in plain words: how a training went, and how good an evaluation is."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

TARGET_WER = 25.0  # percent on dev: the teacher should stay below it
GREEDY = "greedy, sequence head alone"  # how dev is decoded after each epoch

TOO_EARLY, COLLAPSED, NOT_LEARNING = "too early", "collapsed to blanks", "not learning"
OVERFITTING, IMPROVING, PLATEAU = "overfitting", "still improving", "levelled off"
LITTLE, NO_BETTER = "learned little", "no better"
DIVERGED, OF_NO_USE = "diverged", "of no use"

_FEWEST_EPOCHS = 3
# A model has collapsed when it leaves out at least this share of the reference glosses (percent)
# and at least this share of its steps is blank (percent)
_SILENT = 90.0
_USELESS = 90.0  # percent WER
_HARDLY = 50.0  # percent WER: most glosses are wrong
_FAR = 20.0  # percentage points between the last WER of a diverged run and its best
_GAP = 5.0  # percentage points between train and dev
_LATEST = 0.25  # share of the run that counts as its end


@dataclass(frozen=True)
class Verdict:
    """A verdict and its grounds.

    Args:
        state: a few words, for example one of the constants above.
        headline: one sentence.
        reasons: sentences with the numbers, then advice.
    """

    state: str
    headline: str
    reasons: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.state}: {self.headline}"


def history_verdict(
    history: Sequence[dict[str, Any]], loaded_wer: float | None = None, best_epoch: int = 0
) -> Verdict:
    """How a training went.

    Args:
        history: the rows of metrics.jsonl, WER in percent, dev WER of the sequence head alone,
            greedy.
        loaded_wer: of the model that a fine-tune started from, on the same dev split.
        best_epoch: the epoch of the best model; 0: `_wer_and_loss` decides.

    The first rule that applies decides:

    - no better: it is a fine-tune, and no epoch was better than the loaded model.
    - too early: there are fewer than 3 epochs.
    - collapsed to blanks: the last model leaves out 90 % of the dev glosses, and 90 % of its steps
      are blank.
    - not learning: the best dev WER is 90 % or more.
    - diverged: dev WER and train WER of the last epoch are at least 20 points above their best.
    - overfitting: the train WER is less than half of the dev WER and at least 5 points below it,
      and the last quarter of the run has no better dev WER than the epochs before.
    - still improving: in the last quarter of the run, the best dev WER fell by at least half a
      point and by at least 3 % of its value.
    - learned little: in the last epoch, the train WER is 50 % or more.
    - of no use: the best dev WER is 50 % or more.
    - levelled off: all other runs.
    """
    if not history:
        return Verdict(TOO_EARLY, "no epoch was trained.", ())
    last, best = history[-1], min(history, key=_wer_and_loss)
    # Earlier versions kept the first one of epochs with the same WER
    best = next((row for row in history if row["epoch"] == best_epoch), best)
    if loaded_wer is not None and loaded_wer <= best["dev_wer"]:
        return _no_better(history, best, loaded_wer)
    facts = [
        f"The best dev WER is {best['dev_wer']:.2f} % ({GREEDY}), in epoch "
        f"{best['epoch']} of {len(history)}. {_against_target(best['dev_wer'])}"
    ]
    if len(history) < _FEWEST_EPOCHS:
        headline = f"a verdict needs at least {_FEWEST_EPOCHS} epochs, this run has {len(history)}."
        return Verdict(TOO_EARLY, headline, tuple(facts))
    if outputs_only_blanks(last):
        return _collapsed(facts, last, best)
    if best["dev_wer"] >= _USELESS:
        return _not_learning(facts, history)
    lowest_train = min(row["train_wer"] for row in history)
    if min(last["dev_wer"] - best["dev_wer"], last["train_wer"] - lowest_train) >= _FAR:
        return _diverged(facts, last, best, lowest_train)

    before = history[: max(len(history) - max(round(_LATEST * len(history)), 1), 1)]
    earlier = min(row["dev_wer"] for row in before)
    gained = earlier - best["dev_wer"]
    train, dev = last["train_wer"], last["dev_wer"]
    gap = f"train WER {train:.1f} %, dev WER {dev:.1f} % in the last epoch"
    train_far_ahead = train < dev / 2 and dev - train >= _GAP
    if train_far_ahead and gained <= 0:
        return _overfitting(facts, gap, history)
    if train_far_ahead:
        facts.append(f"Train is ahead of dev: {gap}.")
    if gained >= 0.5 and gained >= 0.03 * earlier:
        facts.append(
            f"In the last quarter of the run, the best dev WER fell from {earlier:.2f} %. "
            "More --epochs will probably help."
        )
        return Verdict(IMPROVING, "the model was still learning when the run ended.", tuple(facts))
    if train >= _HARDLY:
        return _learned_little(facts, gap)
    change = f"fell by {gained:.2f} points" if gained > 0 else "did not fall"
    facts.append(f"In the last quarter of the run, the best dev WER {change}.")
    if best["dev_wer"] >= _HARDLY:
        ahead = f"Train is ahead of dev: {gap}."
        return _of_no_use(facts if train_far_ahead else [*facts, ahead])
    return Verdict(PLATEAU, "the model has learned. More epochs would change little.", tuple(facts))


def _no_better(
    history: Sequence[dict[str, Any]], best: dict[str, Any], loaded_wer: float
) -> Verdict:
    facts = (
        f"The loaded model is kept: its dev WER is {loaded_wer:.2f} % ({GREEDY}). "
        f"{_against_target(loaded_wer)}",
        f"The best of {len(history)} epochs was epoch {best['epoch']}, with "
        f"{best['dev_wer']:.2f} %. Try a lower --learning_rate.",
    )
    return Verdict(NO_BETTER, "no epoch was better than the loaded model.", facts)


def _collapsed(facts: list[str], last: dict[str, Any], best: dict[str, Any]) -> Verdict:
    more = (
        f"In the last epoch, the model left out {_share_left_out(last):.0f} % of the dev glosses, "
        f"and {100 * last['dev_blank_share']:.0f} % of the steps were blank.",
        "Try a longer warm-up or a lower --learning_rate. Check that overfit_test.py can memorise "
        "five sentences.",
    )
    if outputs_only_blanks(best):
        return Verdict(COLLAPSED, "the model predicts almost only blanks.", more)
    headline = (
        f"the model of the last epoch predicts almost only blanks. The best model, of epoch "
        f"{best['epoch']}, does not."
    )
    return Verdict(COLLAPSED, headline, (*facts, *more))


def _not_learning(facts: list[str], history: Sequence[dict[str, Any]]) -> Verdict:
    first, last = history[0], history[-1]
    more = (
        f"The train loss went from {first['train_loss']:.2f} to {last['train_loss']:.2f}. "
        f"The train WER in the last epoch is {last['train_wer']:.1f} %.",
        "Check the corpus with prepare_data.py check. Check that overfit_test.py can memorise "
        "five sentences.",
    )
    return Verdict(NOT_LEARNING, f"the dev WER was never below {_USELESS:g} %.", (*facts, *more))


def _diverged(
    facts: list[str], last: dict[str, Any], best: dict[str, Any], lowest_train: float
) -> Verdict:
    more = (
        f"In the last epoch, the dev WER is {last['dev_wer']:.1f} % (best: {best['dev_wer']:.1f} "
        f"%), and the train WER is {last['train_wer']:.1f} % (lowest: {lowest_train:.1f} %).",
        f"best_model.pth has the model of epoch {best['epoch']}. For a new run, try a lower "
        "--learning_rate, or --precision fp32.",
    )
    headline = (
        f"the model of the last epoch is far worse than that of epoch {best['epoch']}, on dev and "
        "on train."
    )
    return Verdict(DIVERGED, headline, (*facts, *more))


def _of_no_use(facts: list[str]) -> Verdict:
    advice = (
        "Look at the errors by signer, on new sentences and on rare glosses in report.html. Check "
        "whether dev has signers, cameras or glosses that train lacks. More train data of that "
        "kind helps most."
    )
    headline = "the WER levelled off where most glosses of dev are wrong."
    return Verdict(OF_NO_USE, headline, (*facts, advice))


def _learned_little(facts: list[str], gap: str) -> Verdict:
    more = (
        f"It levelled off where it errs in most glosses of its own train sentences: {gap}.",
        "The recipe does not fit this corpus: it may be too small, its landmarks may lack what "
        "tells the glosses apart, or its annotations may not fit the recordings. Look at it with "
        "prepare_data.py check, and try a smaller model or less augmentation.",
    )
    return Verdict(LITTLE, "the model learned few of its train glosses.", (*facts, *more))


def _overfitting(facts: list[str], gap: str, history: Sequence[dict[str, Any]]) -> Verdict:
    more = (
        f"In the last quarter of the run, the dev WER did not fall: {gap}.{_loss_rise(history)}",
        "Try more data, more augmentation, a higher --dropout or a higher --weight_decay. "
        "More epochs will not help.",
    )
    headline = "the model knows its train sentences far better than those of dev."
    return Verdict(OVERFITTING, headline, (*facts, *more))


def outputs_only_blanks(row: dict[str, Any]) -> bool:
    """Whether an epoch's model leaves out nearly all dev glosses, with nearly all steps blank."""
    return _share_left_out(row) >= _SILENT and 100 * row["dev_blank_share"] >= _SILENT


def evaluation_verdict(
    result: dict[str, Any], blank_share: float, trained_on: bool = False
) -> Verdict:
    """How good an evaluation is.

    Args:
        result: see `decoding.scoring.rates`.
        blank_share: 0 to 1.
        trained_on: the model was trained on these sentences. The target is not meant for them.
    """
    wer, glosses = result["wer"], result["reference_glosses"]
    errors = {kind: result[kind] for kind in ("substitutions", "deletions", "insertions")}
    left_out = 100 * errors["deletions"] / glosses
    if left_out >= _SILENT and 100 * blank_share >= _SILENT:
        fact = (
            f"The model leaves out {left_out:.0f} % of the glosses, "
            f"and {100 * blank_share:.0f} % of the steps are blank."
        )
        return Verdict(COLLAPSED, "the model predicts almost only blanks.", (fact,))
    facts = []
    kind = max(errors, key=lambda name: errors[name])
    if errors[kind] > sum(errors.values()) / 2:
        meaning = {
            "substitutions": "the model confuses glosses with each other",
            "deletions": "the model leaves glosses out",
            "insertions": "the model adds glosses that are not signed",
        }[kind]
        facts.append(
            f"Most errors are {kind} ({errors[kind]} of {sum(errors.values())}): {meaning}."
        )
    if wer >= _USELESS:
        return Verdict("unusable", f"WER {wer:.2f} % is close to chance.", tuple(facts))
    if trained_on:
        headline = f"WER {wer:.2f} % on the sentences that the model was trained on."
        return Verdict("not a result", headline, tuple(facts))
    state = "under the target" if wer < TARGET_WER else "not under the target"
    return Verdict(state, f"WER {wer:.2f} % (target: below {TARGET_WER:g} %).", tuple(facts))


def closed_set_verdict(closed: dict[str, Any]) -> Verdict:
    """How good a closed-set evaluation is. There is no target: the rate depends
    on the list. closed: see `inference.evaluating.closed_evaluation`."""
    missing = closed["sentences"] - closed["references_in_list"]
    facts = [f"{missing:,} of {closed['sentences']:,} references are not in the list."]
    headline = f"WER {closed['wer']:.2f} % among {closed['list_sentences']:,} listed sentences."
    return Verdict("closed set", headline, tuple(facts) if missing else ())


def _against_target(wer: float) -> str:
    relation = "below" if wer < TARGET_WER else "not below"
    return f"It is {relation} the target of {TARGET_WER:g} %."


def _share_left_out(row: dict[str, Any]) -> float:
    """Deletions of an epoch on dev, in percent of the reference glosses."""
    errors = row["dev_substitutions"] + row["dev_deletions"] + row["dev_insertions"]
    return row["dev_wer"] * row["dev_deletions"] / errors if errors else 0.0


def _wer_and_loss(row: dict[str, Any]) -> tuple[float, float]:
    """What decides which epoch is the best: the loss only where the WER is the same."""
    loss = row.get("dev_loss")
    return row["dev_wer"], math.inf if loss is None or not math.isfinite(loss) else loss


def _loss_rise(history: Sequence[dict[str, Any]]) -> str:
    losses = [
        row["dev_loss"]
        for row in history
        if row["dev_loss"] is not None and math.isfinite(row["dev_loss"])
    ]
    if not losses or losses[-1] <= 1.1 * min(losses):
        return ""
    return f" The dev loss rose from {min(losses):.2f} to {losses[-1]:.2f}."
