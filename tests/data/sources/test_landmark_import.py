"""Importing landmark files: every file needs its annotation, every sentence its file."""

import re

import numpy as np
import pytest

from data.corpus import Corpus
from data.sources.landmark_import import import_landmark_files
from errors import DataError
from tests.data.small_corpus import as_stored
from tests.data.sources.conftest import import_npy, standing_signer


def test_npy_recordings_become_a_corpus(tmp_path, features):
    landmarks = standing_signer(6).reshape(6, 1629).astype(np.float32)
    landmarks[2, 522 * 3 :] = 0
    np.save(features[0] / "train/s1.npy", landmarks)
    import_npy(*features, tmp_path / "out")
    corpus = Corpus(tmp_path / "out")
    assert list(corpus.splits) == ["train", "dev"]
    assert [(s.id, s.signer, s.frames, s.glosses) for s in corpus.split("train").sentences] == [
        ("s1", "anna", 6, ("HELLO", "WORLD")),
        ("s2", "ben", 4, ("WORLD",)),
    ]
    stored, detected = corpus.split("train").read(0)
    np.testing.assert_array_equal(stored, as_stored(landmarks.reshape(6, 543, 3), detected))
    assert detected[:, 3].tolist() == [True, True, False, True, True, True]
    assert detected[:, :3].all()
    assert corpus.aspect_ratio == 210 / 260


@pytest.mark.parametrize("normalize", [None, "phoenix2014"])
def test_train_annotations_are_cleaned_when_asked_for(tmp_path, features, normalize):
    for table in features[1].iterdir():
        table.write_text(table.read_text().replace("HELLO", "loc-HELLO HELLO"))
    import_landmark_files(*features, tmp_path / "out", format="npy", normalize=normalize)
    corpus, raw = Corpus(tmp_path / "out"), ("loc-HELLO", "HELLO")
    assert corpus.split("train").sentences[0].glosses == (("HELLO",) if normalize else raw) + (
        "WORLD",
    )
    assert corpus.split("dev").sentences[0].glosses == raw
    assert corpus.facts["made_by"]["normalize"] == normalize


def test_files_and_annotations_must_match_both_ways(tmp_path, features):
    (features[0] / "train/s2.npy").rename(features[0] / "train/s3.npy")
    with pytest.raises(DataError) as caught:
        import_npy(*features, tmp_path / "out")
    message = str(caught.value)
    assert f"1 of 3 sentences have no file in {features[0]}: train s2" in message
    assert f"1 files have no annotation in {features[1]}: train/s3.npy" in message


def test_at_most_ten_mismatches_are_listed_and_all_are_counted(tmp_path, features):
    for number in range(12):
        np.save(features[0] / f"dev/x{number:02d}.npy", standing_signer(2).reshape(2, 1629))
    with pytest.raises(
        DataError, match=r"12 files have no annotation.*: dev/x00.npy, .*x09.npy, \.\.\.$"
    ):
        import_npy(*features, tmp_path / "out")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda npy, csv: (npy / "train/all.pkl").write_text(""),
            "all.pkl is a pickle and is not opened",
        ),
        (
            lambda npy, csv: np.save(npy / "test0.npy", standing_signer(3)),
            "1 files have no annotation",
        ),
        (
            lambda npy, csv: (csv / "test.corpus.csv").write_text(""),
            "test.corpus.csv line 1: expected a header",
        ),
        (
            lambda npy, csv: (csv / "train.corpus.csv").write_text("id|signer\n"),
            "train.corpus.csv line 1: expected a header",
        ),
        (
            lambda npy, csv: (csv / "dev.corpus.csv").write_text(
                "id|folder|signer|annotation\nd1|x|anna| \n"
            ),
            "the annotation of 'd1' is empty",
        ),
    ],
)
def test_errors_in_the_input_folders_are_named(tmp_path, features, change, message):
    change(*features)
    with pytest.raises(DataError, match=re.escape(message)):
        import_npy(*features, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("id", ["../../secret/s9", "/etc/s9", "train/../../secret/s9"])
def test_an_id_does_not_lead_out_of_the_input(id, four_sentences, tmp_path):
    (tmp_path / "secret").mkdir()
    np.save(tmp_path / "secret" / "s9.npy", standing_signer(4))
    with (four_sentences[1] / "train.csv").open("a") as file:
        file.write(f"{id}||anna|A\n")
    with pytest.raises(DataError, match=r"1 of 5 sentences have no file in .*features: train .*s9"):
        import_landmark_files(*four_sentences, tmp_path / "out", format="npy")
