"""Importing landmark files: every file needs its annotation, every sentence its file."""

import re

import numpy as np
import pytest

from data.corpus import Corpus
from data.sources.landmark_import import import_landmark_files
from errors import DataError
from tests.data.signers import standing_signer
from tests.data.small_corpus import as_stored
from tests.data.sources.conftest import import_npy
from tests.data.sources.test_parquet_files import kaggle_columns, write_parquet
from tests.data.sources.test_pose_files import write_pose


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
    assert f"1 of 3 sentences have no file in {features[0]}: train s2 (add or rename" in message
    assert f"1 files have no annotation in {features[1]}: train/s3.npy (add rows" in message


def test_at_most_ten_mismatches_are_listed_and_all_are_counted(tmp_path, features):
    for number in range(12):
        np.save(features[0] / f"dev/x{number:02d}.npy", standing_signer(2).reshape(2, 1629))
    with pytest.raises(
        DataError, match=r"12 files have no annotation.*: dev/x00.npy, .*x09.npy and 2 more \(add"
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
            "test.corpus.csv is empty: expected a header",
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


def test_npy_files_are_resampled_when_asked_for(tmp_path, features):
    moving = standing_signer(1).repeat(9, axis=0)
    moving[:, 11, 2] = np.arange(9) / 64
    np.save(features[0] / "train/s1.npy", moving.reshape(9, 1629))
    import_landmark_files(*features, tmp_path / "out", format="npy", fps=50, resample_fps=25)
    corpus = Corpus(tmp_path / "out")
    assert corpus.fps == 25 and corpus.facts["made_by"]["resample_fps"] == 25
    np.testing.assert_allclose(
        corpus.split("train").read(0)[0][:, 11, 2], np.arange(0, 9, 2) / 64, atol=1e-3
    )


HEADER = "id|video|start|end|signer|annotation\n"


def recorded(folder, format, first=0):
    """Write the recording s1 of 30 frames; returns its landmarks (T, 543, 3)."""
    folder.mkdir()
    landmarks = standing_signer(30).astype(np.float32)
    if format == "npy":
        np.save(folder / "s1.npy", landmarks)
    elif format == "pose":
        write_pose(folder / "s1.pose", landmarks)  # 30 frames/s
    else:
        write_parquet(folder / "s1.parquet", kaggle_columns(landmarks, first))
    return landmarks


@pytest.mark.parametrize("format", ["npy", "pose", "parquet"])
@pytest.mark.parametrize("unit", ["frames", "seconds"])
def test_segments_are_cut_out_of_their_recording(tmp_path, format, unit):
    landmarks = recorded(tmp_path / "in", format)
    rate = 1 if unit == "frames" else 30 if format == "pose" else 25
    rows = [
        f"{id}|s1|{a / rate:.4g}|{b / rate:.4g}|A|{id}"
        for id, a, b in (("a", 5, 20), ("b", 20, 30))
    ]
    (tmp_path / "t.csv").write_text(HEADER + "\n".join(rows))
    import_landmark_files(tmp_path / "in", tmp_path / "t.csv", tmp_path / "out", format=format)
    split = Corpus(tmp_path / "out").split("train")
    assert [(s.id, s.frames) for s in split.sentences] == [("a", 15), ("b", 10)]
    stored = np.concatenate([split.read(index)[0] for index in range(2)])
    np.testing.assert_allclose(stored, landmarks[5:30], atol=1e-3)


def test_seconds_follow_the_frame_rate(tmp_path):
    recorded(tmp_path / "in", "npy")
    (tmp_path / "t.csv").write_text(HEADER + "a|s1|0.2|0.8|A|X\n")
    import_landmark_files(
        tmp_path / "in", tmp_path / "t.csv", tmp_path / "out", format="npy", fps=10
    )
    assert Corpus(tmp_path / "out").split("train").sentences[0].frames == 6


def test_frame_numbers_of_parquet_are_those_of_its_column(tmp_path):
    landmarks = recorded(tmp_path / "in", "parquet", first=100)
    (tmp_path / "t.csv").write_text(HEADER + "a|s1|105|120|A|X\n")
    import_landmark_files(tmp_path / "in", tmp_path / "t.csv", tmp_path / "out", format="parquet")
    stored, _ = Corpus(tmp_path / "out").split("train").read(0)
    np.testing.assert_allclose(stored, landmarks[5:20], atol=1e-3)
    (tmp_path / "t.csv").write_text(HEADER + "a|s1|5|20|A|X\n")
    with pytest.raises(DataError, match="which has 30 frames, 100 to 129"):
        import_landmark_files(
            tmp_path / "in", tmp_path / "t.csv", tmp_path / "no", format="parquet"
        )


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a|s1|20|31|A|X", "s1.npy: the segment from frame 20 to before frame 31 is not inside"),
        ("a|s1|0.41|0.43|A|X", "s1.npy: no frame is in the segment from 0.41 s to 0.43 s"),
        ("a|s1|9|9|A|X", "t.csv line 2: the segment from 9 to 9 is empty"),
    ],
)
def test_segments_that_cannot_be_cut(tmp_path, row, message):
    recorded(tmp_path / "in", "npy")
    (tmp_path / "t.csv").write_text(HEADER + row)
    with pytest.raises(DataError, match=re.escape(message)):
        import_npy(tmp_path / "in", tmp_path / "t.csv", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_ids_glosses_and_file_names_in_two_unicode_forms(tmp_path):
    (tmp_path / "in").mkdir()
    for name in ("u\u0308bung", "stra\u00dfe"):
        np.save(tmp_path / "in" / f"{name}.npy", standing_signer(4))
    (tmp_path / "t.csv").write_text(
        "id|signer|annotation\n\u00fcbung|A|GR\u00dcN\nstra\u00dfe|A|GRU\u0308N\n", encoding="utf-8"
    )
    import_npy(tmp_path / "in", tmp_path / "t.csv", tmp_path / "out")
    sentences = Corpus(tmp_path / "out").split("train").sentences
    assert [(s.id, s.glosses) for s in sentences] == [
        ("\u00fcbung", ("GR\u00dcN",)),
        ("stra\u00dfe", ("GR\u00dcN",)),
    ]


def test_persian_and_arabic_glosses_keep_their_format_characters(tmp_path):
    recorded(tmp_path / "in", "npy")
    glosses = ("می\u200cخواهم", "سوال\u200f")
    (tmp_path / "t.csv").write_text(
        f"id|signer|annotation\ns1|A|{' '.join(glosses)}\n", encoding="utf-8"
    )
    import_npy(tmp_path / "in", tmp_path / "t.csv", tmp_path / "out")
    assert Corpus(tmp_path / "out").split("train").sentences[0].glosses == glosses
