from training.diagnosis import diagnose


def run(*rows: tuple, empty: float = 0.0) -> list[dict]:
    """History of (train_loss, train_wer, dev_wer) an epoch."""
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


def said(history: list[dict], warmup: float = 1.0) -> list[tuple[int, str]]:
    """(epoch, first word) of every line said over the run."""
    return [
        (epoch, line.split()[0])
        for epoch in range(1, len(history) + 1)
        for line in diagnose(history[:epoch], warmup)
    ]


def test_a_run_that_learns_is_left_alone():
    assert said(run(*((10 - i, 90 - 8 * i, 95 - 7 * i) for i in range(10)))) == []


def test_blanks_are_normal_at_first_and_said_once_when_they_stay():
    history = run(*((5 - 0.1 * i, 100, 100) for i in range(12)), empty=0.97)
    # warm-up 1 and five usual epochs: epoch 7 is the first that counts; by then the stale dev WER
    # is of that collapse
    assert (7, "collapsed") in said(history)
    assert [word for _, word in said(history)].count("collapsed") == 1
    assert (9, "collapsed") in said(history, warmup=3.0) and (7, "collapsed") not in said(
        history, warmup=3.0
    )
    (line,) = [line for line in diagnose(history[:7], 1.0) if line.startswith("collapsed")]
    assert "97 % of dev is read as empty" in line and "--learning_rate" in line and "\n" not in line


def test_nearly_empty_is_not_collapsed():
    assert "collapsed" not in [
        word for _, word in said(run(*((5 - i, 100, 100) for i in range(12)), empty=0.85))
    ]


def test_memorising_is_said_when_dev_has_stood_still_for_six_epochs_and_train_falls():
    history = run(*((4 - 0.3 * i, 40 - 3 * i, 50 if i == 2 else 60) for i in range(11)))
    assert said(history) == [(9, "train")]  # the best was epoch 3
    line = diagnose(history[:9], 1.0)[0]
    assert "train WER 16.0 %" in line and "dev 60.0 %" in line and "6 epochs" in line


def test_dev_that_stands_still_close_to_train_is_not_memorising():
    history = run(*((4 - 0.3 * i, 46 - i / 2, 50 if i == 2 else 51) for i in range(11)))
    assert said(history) == []


def test_a_plateau_is_when_neither_moves():
    history = run(*((4.0, 60, 50 if i == 2 else 60) for i in range(11)))
    assert said(history) == [(9, "plateau:")]
    almost_done = run(*((0.1, 2, 5 if i == 2 else 6) for i in range(11)))
    assert said(almost_done) == []
