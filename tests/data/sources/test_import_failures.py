"""Sentences that an import cannot read: all are listed, and only train may go without them."""

import numpy as np
import pytest

from data.sentences import read_sentences
from data.sources.landmark_import import import_landmark_files
from data.sources.mp_data import import_mp_data
from errors import DataError
from tests.data.signers import mp_data_vectors, standing_signer


def test_sentences_that_cannot_be_read_are_listed_once_and_left_out_of_train_alone(
    four_sentences, tmp_path, capsys
):
    np.save(four_sentences[0] / "train/s1.npy", np.zeros((4, 1000), "f4"))  # of unknown width
    (four_sentences[0] / "train/s3.npy").write_bytes(b"gone")
    with pytest.raises(
        DataError,
        match=r"s1\.npy holds an array of shape \(4, 1000\).*and 1 more sentences.*--skip_bad",
    ):
        import_landmark_files(*four_sentences, tmp_path / "out", format="npy")
    output = capsys.readouterr().out
    assert (
        output.count("bad sentence: train sentence s1: ")
        == output.count("bad sentence: train sentence s3: ")
        == 1
    )
    assert not (tmp_path / "out").exists()
    import_landmark_files(*four_sentences, tmp_path / "out", format="npy", skip_bad=True)
    assert [sentence.id for sentence in read_sentences(tmp_path / "out" / "train.csv")] == ["s2"]
    (four_sentences[0] / "dev/d1.npy").write_bytes(b"gone")
    with pytest.raises(
        DataError,
        match=r"d1\.npy is not a readable \.npy file.*--skip_bad leaves no dev sentences out",
    ):
        import_landmark_files(*four_sentences, tmp_path / "again", format="npy", skip_bad=True)
    assert not (tmp_path / "again").exists()


def test_isolated_recordings_that_cannot_be_read(tmp_path, capsys):
    for repetition in range(3):
        folder = tmp_path / "MP_Data" / "HELLO" / str(repetition)
        folder.mkdir(parents=True)
        vector = mp_data_vectors(standing_signer(1), face=True)[0]
        vector[7] = np.nan  # a visibility, which is ignored
        vector[8] = np.inf if repetition == 1 else vector[8]
        np.save(folder / "0.npy", vector)
    with pytest.raises(
        DataError,
        match=r"1/0\.npy: some points of pose are NaN or infinite.*--skip_bad leaves such",
    ):
        import_mp_data(tmp_path / "MP_Data", tmp_path / "out")
    import_mp_data(tmp_path / "MP_Data", tmp_path / "out", skip_bad=True)
    assert [sentence.id for sentence in read_sentences(tmp_path / "out" / "train.csv")] == [
        "HELLO-0",
        "HELLO-2",
    ]
    assert "bad sentence: train sentence HELLO-1: " in capsys.readouterr().out


@pytest.mark.parametrize("skip_bad", [False, True])
def test_a_train_split_of_which_nothing_can_be_read_is_no_corpus(
    four_sentences, tmp_path, capsys, skip_bad
):
    """--skip_bad would leave nothing, so it is no advice either."""
    np.save(four_sentences[0] / "train/s2.npy", np.zeros((4, 1000), "f4"))
    for id in ("s1", "s3"):
        (four_sentences[0] / f"train/{id}.npy").write_bytes(b"gone")
    with pytest.raises(
        DataError,
        match=r"none of the 3 train sentences can be imported.*the first: .*s1\.npy is not",
    ) as refused:
        import_landmark_files(*four_sentences, tmp_path / "out", format="npy", skip_bad=skip_bad)
    assert "--skip_bad" not in str(refused.value)
    assert capsys.readouterr().out.count("bad sentence: train sentence") == 3
    for repetition in range(2):
        folder = tmp_path / "MP_Data" / "HELLO" / str(repetition)
        folder.mkdir(parents=True)
        np.save(folder / "0.npy", np.full(225, 0.5))
    with pytest.raises(DataError, match="none of the 2 train sentences can be imported"):
        import_mp_data(tmp_path / "MP_Data", tmp_path / "out", skip_bad=skip_bad)
    assert not list(tmp_path.glob("out*"))


@pytest.mark.parametrize("skip_bad", [False, True])
def test_a_dev_sentence_that_cannot_be_read_is_named_before_those_of_train(
    four_sentences, tmp_path, skip_bad
):
    """--skip_bad would not help: it leaves out train sentences only."""
    for file in ("train/s1.npy", "dev/d1.npy"):
        (four_sentences[0] / file).write_bytes(b"gone")
    with pytest.raises(
        DataError, match=r"d1\.npy is not.*\(and 1 more .*--skip_bad leaves no dev sentences out"
    ):
        import_landmark_files(*four_sentences, tmp_path / "out", format="npy", skip_bad=skip_bad)
