import math

from reports.diagnosis import diagnose


def run(*rows: tuple, empty: float = 0.0) -> list[dict]:
    """History with (train_loss, train_wer, dev_wer) per epoch."""
    return [
        {
            "epoch": epoch,
            "train_loss": loss,
            "train_wer": train,
            "dev_wer": dev,
            "dev_empty_share": empty,
            "dev_blank_share": empty,
            "dev_substitutions": 1 - empty,
            "dev_deletions": empty,
            "dev_insertions": 0,
        }
        for epoch, (loss, train, dev) in enumerate(rows, start=1)
    ]


def warnings_of(history: list[dict], warmup: float = 1.0) -> list[tuple[int, str]]:
    """(epoch, first word) of every line of the diagnosis, over the whole run."""
    return [
        (epoch, line.split()[0])
        for epoch in range(1, len(history) + 1)
        for line in diagnose(history[:epoch], warmup)
    ]


def test_a_run_that_learns_gets_no_warning():
    assert warnings_of(run(*((10 - i, 90 - 8 * i, 95 - 7 * i) for i in range(10)))) == []


def test_blanks_are_normal_at_first_and_reported_once_when_they_stay():
    history = run(*((5 - 0.1 * i, 100, 100) for i in range(12)), empty=0.97)
    # The warm-up takes 1 epoch and five more epochs may be blank: epoch 7 is the first that counts.
    assert (7, "collapsed") in warnings_of(history)
    assert [word for _, word in warnings_of(history)].count("collapsed") == 1
    assert (9, "collapsed") in warnings_of(history, warmup=3.0) and (
        7,
        "collapsed",
    ) not in warnings_of(history, warmup=3.0)
    (line,) = [line for line in diagnose(history[:7], 1.0) if line.startswith("collapsed")]
    assert (
        "97 % of the dev hypotheses are empty" in line
        and "--learning_rate" in line
        and "\n" not in line
    )


def test_nearly_empty_is_not_collapsed():
    assert "collapsed" not in [
        word for _, word in warnings_of(run(*((5 - i, 100, 100) for i in range(12)), empty=0.85))
    ]


def test_memorising_is_reported_when_dev_does_not_improve_for_six_epochs_while_train_does():
    history = run(*((4 - 0.3 * i, 40 - 3 * i, 50 if i == 2 else 60) for i in range(11)))
    assert warnings_of(history) == [(9, "memorising:")]  # epoch 3 was the best
    line = diagnose(history[:9], 1.0)[0]
    assert "train WER 16.0 %" in line and "dev WER 60.0 %" in line and "6 epochs" in line


def test_a_constant_dev_wer_close_to_train_is_not_memorising():
    history = run(*((4 - 0.3 * i, 46 - i / 2, 50 if i == 2 else 51) for i in range(11)))
    assert warnings_of(history) == []


def test_a_plateau_is_reported_when_neither_improves():
    history = run(*((4.0, 60, 50 if i == 2 else 60) for i in range(11)))
    assert warnings_of(history) == [(9, "plateau:")]
    almost_done = run(*((0.1, 2, 5 if i == 2 else 6) for i in range(11)))
    assert warnings_of(almost_done) == []


def without_dev_loss(epochs: int, **counts: int) -> list[dict]:
    without = {"unknown gloss": 0, "too short": 0, "not finite": 0, **counts}
    return [
        {**row, "dev_loss": math.nan, "dev_without_loss": without}
        for row in run(*((5 - i, 90 - i, 90 - i) for i in range(epochs)))
    ]


def test_a_dev_loss_of_nan_is_explained_once():
    history = without_dev_loss(4, **{"unknown gloss": 10, "too short": 2})
    assert warnings_of(history) == [(1, "dev")]
    (line,) = diagnose(history[:1], 1.0)
    assert line.startswith(
        "dev loss nan: none of the 12 dev sentences has a CTC loss (10 have a gloss that is not in "
        "the vocabulary, 2 have too few frames for their glosses). Dev WER counts all of them, and "
        "early stopping depends on dev WER alone"
    )
    assert "prepare_data.py split" in line and "\n" not in line


def test_a_dev_loss_that_is_not_finite_because_the_output_is_not():
    finite = [{**row, "dev_loss": 3.0} for row in without_dev_loss(3, **{"too short": 1})]
    assert warnings_of(finite) == []
    history = finite + without_dev_loss(5, **{"not finite": 7})[3:]
    assert warnings_of(history) == [(4, "dev")]
    (line,) = diagnose(history[:4], 1.0)
    assert "not finite in 7 dev sentences" in line and "--precision fp32" in line


def test_rows_of_an_earlier_version_have_no_reasons():
    history = without_dev_loss(1)
    del history[0]["dev_without_loss"]
    assert diagnose(history, 1.0) == []
