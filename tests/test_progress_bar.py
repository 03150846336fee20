"""The progress of long work where stderr is no terminal."""

import pytest

import prepare_data
import progress_bar
from progress_bar import ProgressBar, ProgressLines
from tests.data.signers import mp_data_vectors, standing_signer
from tests.data.sources.test_mp_data import save_recording


@pytest.fixture
def clock(monkeypatch):
    """A list with the time in seconds."""
    now = [0.0]
    monkeypatch.setattr(progress_bar.time, "monotonic", lambda: now[0])
    return now


def test_a_line_a_minute_and_none_for_short_work(clock, capsys):
    lines = ProgressLines("extract", 7000, "recording")
    for seconds, done in ((1, 5), (59.9, 100), (60, 120), (61, 125), (119.9, 200), (150, 1300)):
        clock[0] = seconds
        lines.tell(done)
    assert capsys.readouterr().err == (
        "extract: 120 of 7,000 recordings, 57 min left\n"
        "extract: 1,300 of 7,000 recordings, 11 min left\n"
    )


def test_the_time_left_leaves_out_what_was_done_before(clock, capsys):
    lines = ProgressLines("epoch 3/24", 2836, "update", done=2000)
    for seconds, done in ((60, 2001), (120, 2418), (180, 2836)):
        clock[0] = seconds
        lines.tell(done, "loss 5.20")
    assert capsys.readouterr().err == (
        "epoch 3/24: 2,001 of 2,836 updates, loss 5.20, 14 h left\n"
        "epoch 3/24: 2,418 of 2,836 updates, loss 5.20, 2 min left\n"
        "epoch 3/24: 2,836 of 2,836 updates, loss 5.20\n"
    )


def test_a_line_without_a_known_total(clock, capsys):
    with ProgressBar("clip.npy", 0, "frame") as bar:
        clock[0] = 60
        bar.update(5)
    assert capsys.readouterr().err == "clip.npy: 5 frames\n"


def test_a_bar_counts_what_is_finished(clock, capsys):
    bar = ProgressBar("split", 3, "sentence")
    for _ in bar.over("abc"):
        clock[0] += 50
    assert capsys.readouterr().err == "split: 2 of 3 sentences, 50 s left\n"
    with ProgressBar("hidden", 3, "sentence", visible=False) as bar:
        clock[0] += 100
        bar.update()
    assert capsys.readouterr().err == ""


def test_on_a_terminal_there_is_a_bar_alone(clock, monkeypatch, capsys):
    monkeypatch.setattr(progress_bar.sys.stderr, "isatty", lambda: True, raising=False)
    with ProgressBar("split", 3, "sentence") as bar:
        clock[0] += 100
        bar.update(3)
    err = capsys.readouterr().err
    assert "split: 100%" in err and "of 3 sentences" not in err


@pytest.fixture
def every_unit(monkeypatch):
    """A line for every unit of work."""
    monkeypatch.setattr(progress_bar, "SECONDS_BETWEEN_LINES", 0.0)


@pytest.mark.parametrize("command", ["resample {} --fps 30", "split {} --by random", "check {}"])
def test_commands_on_a_corpus_tell_their_progress(
    command, every_unit, make_corpus, tmp_path, capsys
):
    sentences = ["A B", "B A", "A", "B", "A A B", "B B"]
    corpus = make_corpus(tmp_path / "corpus", {"train": sentences})
    words = command.format(corpus).split()
    if words[0] != "check":
        words += ["--output", str(tmp_path / "out")]
    prepare_data.main(words)
    assert f"{words[0]}: " in capsys.readouterr().err


def test_import_and_compose_tell_their_progress(every_unit, tmp_path, capsys):
    for gloss in "abc":
        for repetition in range(5):
            vectors = mp_data_vectors(standing_signer(6, repetition))
            save_recording(tmp_path / "in", gloss, repetition, vectors)
    isolated, composed = str(tmp_path / "isolated"), str(tmp_path / "composed")
    prepare_data.main(
        ["import", "--format", "mp_data", "--input", str(tmp_path / "in"), "--output", isolated]
    )
    assert "import: 15 of 15 recordings\n" in capsys.readouterr().err
    prepare_data.main(
        f"compose --input {isolated} --output {composed} --sentences 3 --dev_sentences 1".split()
    )
    assert "compose: 4 of 4 sentences\n" in capsys.readouterr().err
