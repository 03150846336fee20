"""Writing a corpus folder: the files have the documented format, bad input is refused, and an
interrupted run leaves nothing behind."""

import json
import re

import numpy as np
import pytest

from data import corpus_writer
from data.checks.file_hash import sha256_of
from data.corpus import Corpus
from data.corpus_writer import CorpusWriter
from data.landmarks import PART_SLICES
from data.output_place import BeingWrittenError
from errors import DataError, UsageError
from tests.data.small_corpus import FACTS, recording, write_corpus


def test_the_files_have_the_documented_format(tmp_path):
    path = write_corpus(tmp_path / "tiny")
    assert (
        path / "train.csv"
    ).read_text() == "id|signer|frames|annotation\ns1|anna|5|HELLO WORLD\ns2|ben|3|WORLD\n"
    landmarks = np.load(path / "train.landmarks.npy", allow_pickle=False)
    assert (landmarks.dtype.str, landmarks.shape) == ("<i2", (8, 543, 3))
    assert np.load(path / "train.detected.npy", allow_pickle=False).shape == (8, 4)
    facts = json.loads((path / "corpus.json").read_text())
    assert facts["layout"] == "mediapipe_holistic_543"
    assert facts["made_by"] == {"command": "test"}
    assert facts["splits"]["train"]["sentences"] == 2
    assert facts["splits"]["train"]["frames"] == 8
    assert facts["splits"]["dev"]["sha256"]["dev.csv"] == sha256_of(path / "dev.csv")
    assert sorted(facts["splits"]["train"]["sha256"]) == [
        "train.csv",
        "train.detected.npy",
        "train.landmarks.npy",
    ]


def test_undetected_parts_are_stored_as_zeros(tmp_path):
    landmarks, detected = recording(4)
    original = landmarks.copy()
    detected[1, 3] = detected[2, 1] = False
    with CorpusWriter(tmp_path / "tiny", **FACTS) as writer:
        writer.split("train").add("s1", "anna", ["HELLO"], landmarks, detected)
    stored, stored_detected = Corpus(tmp_path / "tiny").split("train").read(0)
    assert (stored[1, PART_SLICES["right_hand"]] == 0).all()
    assert (stored[2, PART_SLICES["face"]] == 0).all()
    assert (stored[2, PART_SLICES["right_hand"]] != 0).all()
    assert (stored[1, :522] != 0).all()
    np.testing.assert_array_equal(stored_detected, detected)
    np.testing.assert_array_equal(landmarks, original)  # the caller's array stays unchanged


def test_float16_landmarks_of_the_caller_stay_unchanged(tmp_path):
    landmarks, detected = recording(2)
    landmarks, detected[:, 0] = landmarks.astype(np.float16), False
    with CorpusWriter(tmp_path / "tiny", **FACTS) as writer:
        writer.split("train").add("s1", "anna", "HELLO", landmarks, detected)
    assert (landmarks != 0).all()


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("a|b", "anna", "X"), "id 'a|b' has '|'"),
        (("", "anna", "X"), "id '' is empty"),
        (("a\u2028b", "anna", "X"), "unprintable"),  # str.splitlines would cut the row here
        (("a\udc80", "anna", "X"), "unprintable"),  # a file name that is not UTF-8
        (("s1", "an\nna", "X"), "signer 'an\\nna'"),
        (("s1", "anna", "  "), "annotation '' is empty"),
        (
            ("s1", "anna", ["thank you"]),
            "gloss 'thank you'",
        ),  # it would be read back as two glosses
        (("s1", "anna", ["A", ""]), "gloss ''"),
    ],
)
def test_texts_that_a_csv_row_cannot_hold_are_refused(tmp_path, row, message):
    with (
        pytest.raises(DataError, match=re.escape(message)),
        CorpusWriter(tmp_path / "tiny", **FACTS) as writer,
    ):
        writer.split("train").add(*row, *recording(3))
    assert list(tmp_path.iterdir()) == []


def test_texts_are_stored_in_one_unicode_form(tmp_path):
    with CorpusWriter(tmp_path / "tiny", **FACTS) as writer:
        writer.split("train").add("u\u0308", "Zoe\u0308", ["GRU\u0308N"], *recording(3))
        with pytest.raises(DataError, match="this id is already in the split"):
            writer.split("train").add("\u00fc", "anna", "X", *recording(3))
    rows = (tmp_path / "tiny/train.csv").read_text(encoding="utf-8").splitlines()
    assert rows[1] == "\u00fc|Zo\u00eb|3|GR\u00dcN"


def test_the_character_that_a_csv_row_cannot_hold_is_named(tmp_path):
    with (
        pytest.raises(
            DataError, match=r"has U\+202E RIGHT-TO-LEFT OVERRIDE in it, but .* remove it"
        ),
        CorpusWriter(tmp_path / "tiny", **FACTS) as writer,
    ):
        writer.split("train").add("s1", "anna", "A\u202e", *recording(3))


def test_an_id_is_unique_in_a_split_but_not_between_splits(tmp_path):
    with CorpusWriter(tmp_path / "tiny", **FACTS) as writer:
        writer.split("train").add("s1", "anna", "X", *recording(3))
        writer.split("dev").add("s1", "anna", "X", *recording(3))
        with pytest.raises(DataError, match="train sentence 's1': this id is already in the split"):
            writer.split("train").add("s1", "ben", "Y", *recording(3))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.nan, "landmarks have NaN, infinite or too large values"),
        (-np.inf, "landmarks have NaN, infinite or too large values"),
        (640, "landmarks have the value 640, expected fractions of the image: divide pixels by"),
        (-1e6, "landmarks have the value -1e+06, expected fractions"),
    ],
)
def test_values_that_are_no_fractions_of_an_image_are_refused(tmp_path, value, message):
    landmarks, detected = recording(3)
    landmarks[1, 40, 2] = value
    with (
        pytest.raises(DataError, match=re.escape(f"train sentence 's1': {message}")),
        CorpusWriter(tmp_path / "t", **FACTS) as writer,
    ):
        writer.split("train").add("s1", "anna", "X", landmarks, detected)


@pytest.mark.parametrize(
    ("landmarks", "detected"), [((0, 543, 3), (0, 4)), ((3, 543, 2), (3, 4)), ((3, 543, 3), (2, 4))]
)
def test_wrong_shapes_are_refused(tmp_path, landmarks, detected):
    with (
        pytest.raises(DataError, match="expected \\(T, 543, 3\\)"),
        CorpusWriter(tmp_path / "t", **FACTS) as writer,
    ):
        writer.split("train").add(
            "s1", "anna", "X", np.zeros(landmarks), np.zeros(detected, dtype=bool)
        )


def test_the_folder_appears_when_the_corpus_is_complete(tmp_path):
    with CorpusWriter(tmp_path / "tiny", **FACTS) as writer:
        writer.split("train").add("s1", "anna", "X", *recording(3))
        assert not (tmp_path / "tiny").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("stop")])
def test_an_interrupted_run_leaves_no_files(tmp_path, error):
    with pytest.raises(type(error)), CorpusWriter(tmp_path / "tiny", **FACTS) as writer:
        writer.split("train").add("s1", "anna", "X", *recording(3))
        raise error
    assert list(tmp_path.iterdir()) == []


def test_files_of_a_killed_run_are_replaced(tmp_path):
    (tmp_path / "tiny.partial").mkdir()
    (tmp_path / "tiny.partial" / "dev.csv").write_text("id|signer|fr")
    (tmp_path / "tiny.partial" / ".writing").touch()
    write_corpus(tmp_path / "tiny", {"train": [("s1", "anna", "X", 3)]})
    assert not (tmp_path / "tiny.partial").exists()
    assert sorted(path.name for path in (tmp_path / "tiny").iterdir()) == [
        "corpus.json",
        "train.csv",
        "train.detected.npy",
        "train.landmarks.npy",
    ]


def test_two_processes_do_not_write_one_corpus(tmp_path):
    with CorpusWriter(tmp_path / "tiny", **FACTS) as first:
        first.split("train").add("s1", "anna", "X", *recording(3))
        with (
            pytest.raises(BeingWrittenError, match=r"another process is writing .*tiny .*: wait"),
            CorpusWriter(tmp_path / "tiny", **FACTS),
        ):
            raise AssertionError
        first.split("train").add("s2", "anna", "X", *recording(3))
    assert len(Corpus(tmp_path / "tiny").split("train")) == 2
    assert not (tmp_path / "tiny" / ".writing").exists()


@pytest.mark.parametrize(
    ("name", "content"),
    [("notes.txt", "mine"), ("train.csv", "id|video|signer|annotation\n"), ("x.npy", "mine")],
)
def test_a_users_folder_with_the_partial_name_is_kept(tmp_path, name, content):
    (tmp_path / "tiny.partial").mkdir()
    (tmp_path / "tiny.partial" / name).write_text(content)
    with pytest.raises(UsageError, match=r"tiny\.partial already exists and is not from an inter"):
        write_corpus(tmp_path / "tiny")
    assert (tmp_path / "tiny.partial" / name).read_text() == content


def test_a_full_disk_is_reported_in_one_error(tmp_path, monkeypatch):
    full = OSError(28, "No space left on device")

    def fail(path):
        raise full

    monkeypatch.setattr(corpus_writer, "sha256_of", fail)
    with pytest.raises(
        DataError, match=r"cannot write the corpus to .*tiny: No space left on device"
    ):
        write_corpus(tmp_path / "tiny")
    assert list(tmp_path.iterdir()) == []


def test_the_output_folder_must_be_empty(tmp_path):
    write_corpus(tmp_path / "tiny")
    with pytest.raises(UsageError, match="tiny already exists: choose another --output"):
        CorpusWriter(tmp_path / "tiny", **FACTS)
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="file already exists"):
        CorpusWriter(tmp_path / "file", **FACTS)
    (tmp_path / "empty").mkdir()
    assert len(Corpus(write_corpus(tmp_path / "empty")).split("train")) == 2


def test_an_output_folder_that_cannot_be_made_is_reported_in_one_error(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(DataError, match=r"cannot write .*file/inside: .*file is not a folder"),
        CorpusWriter(tmp_path / "file/inside", **FACTS),
    ):
        pass
    with pytest.raises(DataError, match=r"cannot write to .*long: File name too long"):
        CorpusWriter(tmp_path / ("long" * 100), **FACTS)


def test_the_current_folder_is_refused_as_output(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="choose another --output"):
        CorpusWriter(".", **FACTS)


@pytest.mark.parametrize("name", ["../train", "/tmp/train", "a/b", ".", ""])
def test_a_split_is_never_a_path(name, tmp_path):
    writer = CorpusWriter(tmp_path / "out", name="x", fps=25, aspect_ratio=1, made_by={})
    with pytest.raises(DataError, match="cannot be the name of a split"), writer:
        writer.split(name)
    assert list(tmp_path.iterdir()) == []
