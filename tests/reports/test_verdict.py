"""Verdicts: a made-up history for each verdict, and the borders between them."""

import math

import pytest

from reports.verdict import (
    GREEDY,
    _wer_and_loss,
    closed_set_verdict,
    evaluation_verdict,
    history_verdict,
)


def row(epoch, dev, train=None, loss=1.0, blank=0.6, kinds=(1, 0, 0), train_loss=1.0):
    """An epoch's row. `kinds` divides the errors: (substitutions, deletions, insertions)."""
    names = ("dev_substitutions", "dev_deletions", "dev_insertions")
    counts = dict(zip(names, (10 * kind for kind in kinds), strict=True))
    wers = {"dev_wer": dev, "train_wer": dev if train is None else train}
    return {
        "epoch": epoch,
        "dev_loss": loss,
        "train_loss": train_loss,
        "dev_blank_share": blank,
        "learning_rate": 1e-3,
        **wers,
        **counts,
    }


def make_history(*dev, train=None, **same):
    return [
        row(n, wer, None if train is None else train[n - 1], **same) for n, wer in enumerate(dev, 1)
    ]


FALLING = make_history(90, 70, 55, 45, 38, 33, 29, 26)
FLAT = make_history(90, 50, 30, 22, 20, 20.1, 19.9, 20)
COLLAPSED = make_history(100, 100, 99, 99, blank=0.97, kinds=(0, 1, 0))
CHANCE = make_history(130, 110, 101, 99, train=[120, 110, 104, 102])
STUCK = make_history(100, 86, 84, 84, 84, 84.1, 84, 84, train=[132, 96, 91, 89, 88, 88, 87, 88])
DIVERGED = make_history(60, 40, 30, *[95] * 9, blank=0.5)
USELESS = make_history(*[85] * 10, train=[45] * 10)
OVERFITTED = make_history(90, 60, 45, 40, 40.5, 41, 42, 43, train=[95, 60, 40, 25, 15, 9, 5, 3])


@pytest.mark.parametrize(
    ("history", "state"),
    [
        ([], "too early"),
        (make_history(40, 30), "too early"),
        (FALLING, "still improving"),
        (FLAT, "levelled off"),
        (COLLAPSED, "collapsed to blanks"),
        (CHANCE, "not learning"),
        (OVERFITTED, "overfitting"),
        (STUCK, "learned little"),
        (DIVERGED, "diverged"),
        (USELESS, "of no use"),
    ],
)
def test_each_history_has_its_verdict(history, state):
    assert history_verdict(history).state == state
    assert str(history_verdict(history)).startswith(f"{state}: ")


def test_a_model_that_errs_on_its_own_train_sentences_has_learned_little():
    assert "train WER 88.0 %, dev WER 84.0 % in the last epoch" in history_verdict(STUCK).reasons[1]
    dev = (90, 50, 30, 22, 20, 20.1, 19.9, 20)
    for train, state in ((50.0, "learned little"), (49.9, "levelled off")):
        assert history_verdict(make_history(*dev, train=[train] * 8)).state == state


def test_a_diverged_run_names_its_best_epoch_and_what_to_try():
    verdict = history_verdict(DIVERGED)
    reasons = " ".join(verdict.reasons)
    assert "far worse than that of epoch 3, on dev and on train" in verdict.headline
    assert (
        "dev WER is 95.0 % (best: 30.0 %), and the train WER is 95.0 % (lowest: 30.0 %)" in reasons
    )
    assert "best_model.pth has the model of epoch 3" in reasons and "--precision fp32" in reasons


@pytest.mark.parametrize(
    ("dev", "train", "state"),
    [(50, 40, "diverged"), (49.9, 40, "levelled off"), (50, 39.9, "levelled off")],
)
def test_a_run_diverged_if_dev_and_train_rose_by_20_points(dev, train, state):
    history = make_history(80, 40, 30, 30, dev, train=[80, 30, 20, 25, train])
    assert history_verdict(history).state == state


def test_a_run_has_learned_only_where_most_glosses_of_dev_are_right():
    reasons = " ".join(history_verdict(USELESS).reasons)
    assert "train WER 45.0 %, dev WER 85.0 % in the last epoch" in reasons
    assert "errors by signer" in reasons
    for dev, state in ((50.0, "of no use"), (49.9, "levelled off")):
        verdict = history_verdict(make_history(*[dev] * 10, train=[45] * 10))
        assert verdict.state == state
        assert ("has learned" in verdict.headline) == (state == "levelled off")


def test_the_reasons_have_the_numbers():
    reasons = " ".join(history_verdict(FALLING).reasons)
    assert (
        f"best dev WER is 26.00 % ({GREEDY}), in epoch 8 of 8" in reasons
        and "It is not below the target of 25 %." in reasons
    )
    # The best epoch before the last quarter, which is epochs 7 and 8
    assert "fell from 33.00 %. More --epochs" in reasons
    reasons = " ".join(history_verdict(FLAT).reasons)
    assert (
        "best dev WER is 19.90 %" in reasons
        and "It is below the target of 25 %." in reasons
        and "epoch 7 of 8" in reasons
        and "fell by 0.10 points" in reasons
    )
    reasons = " ".join(history_verdict(OVERFITTED).reasons)
    assert "train WER 3.0 %, dev WER 43.0 %" in reasons and "loss rose" not in reasons
    reasons = " ".join(history_verdict(COLLAPSED).reasons)
    assert "left out 99 % of the dev glosses, and 97 % of the steps were blank" in reasons
    assert "overfit_test.py" in " ".join(history_verdict(CHANCE).reasons)


def test_the_verdict_of_an_overfitted_run_names_a_rising_dev_loss():
    losses = (4, 2, 1, 1, 1.2, 1.5, 2, 2.5)
    history = [{**epoch, "dev_loss": loss} for epoch, loss in zip(OVERFITTED, losses, strict=True)]
    assert "The dev loss rose from 1.00 to 2.50." in " ".join(history_verdict(history).reasons)
    history[-1]["dev_loss"] = None  # no dev sentence has a loss
    assert "rose from 1.00 to 2.00" in " ".join(history_verdict(history).reasons)


def test_neither_blanks_alone_nor_deletions_alone_are_a_collapse():
    # Long signs: the steps are mostly blank, but the glosses are predicted
    peaky = make_history(40, 30, 20, 20, blank=0.97, kinds=(0, 1, 0))
    assert history_verdict(peaky).state != "collapsed to blanks"
    often_silent = make_history(95, 95, 95, 95, blank=0.5, kinds=(0, 1, 0))
    assert history_verdict(often_silent).state == "not learning"


def test_a_collapse_at_the_end_counts_even_if_the_model_had_learned():
    history = [*make_history(80, 50, 40), row(4, 100, blank=1.0, kinds=(0, 1, 0))]
    assert history_verdict(history).state == "collapsed to blanks"


def test_train_ahead_of_dev_is_no_overfitting_while_dev_still_falls():
    ahead = make_history(90, 60, 50, 45, 40, 36, 33, 30, train=[90, 50, 30, 20, 15, 10, 8, 6])
    verdict = history_verdict(ahead)
    assert verdict.state == "still improving"
    assert "Train is ahead of dev: train WER 6.0 %, dev WER 30.0 %" in " ".join(verdict.reasons)


def test_half_a_point_is_an_improvement_only_if_it_is_3_percent_of_the_rate():
    # 1 point of 50
    assert history_verdict(make_history(90, 80, 70, 60, 52, 50, 49.2, 49)).state == "levelled off"
    # 1 point of 10
    assert history_verdict(make_history(90, 60, 40, 25, 12, 10, 9.2, 9)).state == "still improving"


def test_a_small_gap_at_a_low_rate_is_no_overfitting():
    low = make_history(60, 20, 5, 3, 2.5, 2.4, 2.6, 2.5, train=[60, 15, 3, 1, 0.5, 0.3, 0.2, 0.1])
    assert history_verdict(low).state == "levelled off"


def counts(wer, substitutions, deletions, insertions, glosses=100):
    named = {"substitutions": substitutions, "deletions": deletions, "insertions": insertions}
    return {"wer": wer, "reference_glosses": glosses, **named}


DELETIONS = "Most errors are deletions (15 of 24.9): the model leaves glosses out."
SILENT = "The model leaves out 95 % of the glosses, and 98 % of the steps"


@pytest.mark.parametrize(
    ("result", "blank", "state", "reason"),
    [
        (counts(24.9, 5, 15, 4.9), 0.6, "under the target", DELETIONS),
        (counts(25.0, 20, 3, 2), 0.6, "not under the target", "confuses glosses with each other"),
        (counts(60, 10, 10, 40), 0.2, "not under the target", "adds glosses that are not signed"),
        (counts(30, 10, 10, 10), 0.6, "not under the target", ""),
        (counts(95, 30, 60, 5), 0.6, "unusable", ""),
        # Half of the steps predict glosses: it is no collapse to blanks
        (counts(97, 2, 95, 0), 0.5, "unusable", "Most errors are deletions"),
        (counts(97, 2, 95, 0), 0.98, "collapsed to blanks", SILENT),
    ],
)
def test_an_evaluation_has_a_verdict_too(result, blank, state, reason):
    verdict = evaluation_verdict(result, blank)
    assert verdict.state == state and reason in " ".join(verdict.reasons)
    errors = [result[kind] for kind in ("substitutions", "deletions", "insertions")]
    assert bool(verdict.reasons) == (max(errors) * 2 > sum(errors))


def test_the_headline_compares_the_rate_with_the_target():
    headline = evaluation_verdict(counts(31.2, 10, 10, 11.2), 0.6).headline
    assert headline == "WER 31.20 % (target: below 25 %)."


@pytest.mark.parametrize("wer", [3.0, 40.0])
def test_sentences_of_the_training_have_no_target(wer):
    verdict = evaluation_verdict(counts(wer, wer, 0, 0), 0.6, trained_on=True)
    assert str(verdict) == (
        f"not a result: WER {wer:.2f} % on the sentences that the model was trained on."
    )
    silent = evaluation_verdict(counts(97, 2, 95, 0), 0.98, trained_on=True)
    assert silent.state == "collapsed to blanks"


def test_a_closed_set_has_no_target():
    closed = {"wer": 5.678, "list_sentences": 2306, "sentences": 1950, "references_in_list": 1613}
    verdict = closed_set_verdict(closed)
    assert str(verdict) == "closed set: WER 5.68 % among 2,306 listed sentences."
    assert verdict.reasons == ("337 of 1,950 references are not in the list.",)
    assert closed_set_verdict({**closed, "references_in_list": 1950}).reasons == ()


def test_a_fine_tune_that_is_never_better_is_judged_by_the_loaded_model():
    verdict = history_verdict(make_history(40, 35, 30, 28), loaded_wer=12.0)
    assert verdict.state == "no better"
    assert f"its dev WER is 12.00 % ({GREEDY}). It is below the target" in verdict.reasons[0]
    assert "The best of 4 epochs was epoch 4, with 28.00 %" in verdict.reasons[1]


def test_of_epochs_with_the_same_wer_the_best_has_the_lowest_loss():
    losses = (9.0, math.nan, 5.0, 6.0)
    history = [row(epoch, 100.0, loss=loss) for epoch, loss in enumerate(losses, start=1)]
    assert min(history, key=_wer_and_loss)["epoch"] == 3
    for best, expected in ((0, 3), (1, 1)):
        assert f"in epoch {expected} of 4" in history_verdict(history, None, best).reasons[0]
    assert history_verdict(FALLING, loaded_wer=26.01) == history_verdict(FALLING)
    assert history_verdict(FALLING, loaded_wer=26.0).state == "no better"


def test_a_collapse_of_the_last_epoch_does_not_hide_the_best_model():
    history = [*make_history(80, 50, 40), row(4, 100, blank=1.0, kinds=(0, 1, 0))]
    verdict = history_verdict(history)
    assert "The best model, of epoch 3, does not." in verdict.headline
    assert f"The best dev WER is 40.00 % ({GREEDY}), in epoch 3 of 4" in verdict.reasons[0]
    assert "of epoch" not in history_verdict(COLLAPSED).headline
