"""The corpus folder: what is written is what is read, and nothing broken is read."""

import io
import json
import re

import numpy as np
import pytest

from data import corpus_writer
from data.corpus import Corpus, read_sentences, sha256_of
from data.corpus_writer import CorpusWriter
from data.landmarks import PART_SLICES
from data.safe_npy import map_array, open_array
from errors import DataError, UsageError

FACTS = {"name": "tiny", "fps": 25, "aspect_ratio": 4 / 3, "made_by": {"command": "test"}}


def recording(frames: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    return random.uniform(0.1, 0.9, (frames, 543, 3)).astype(np.float32), np.ones(
        (frames, 4), dtype=bool
    )


def write_corpus(path, splits=None):
    splits = splits or {
        "train": [("s1", "anna", "HELLO WORLD", 5), ("s2", "ben", "WORLD", 3)],
        "dev": [("d1", "anna", "HELLO", 4)],
    }
    with CorpusWriter(path, **FACTS) as writer:
        for name, rows in splits.items():
            split = writer.split(name)
            for number, (id, signer, annotation, frames) in enumerate(rows):
                split.add(id, signer, annotation, *recording(frames, number))
    return path


def test_what_is_written_is_what_is_read(tmp_path):
    corpus = Corpus(write_corpus(tmp_path / "tiny"))
    assert (corpus.name, corpus.fps, corpus.aspect_ratio) == ("tiny", 25.0, 4 / 3)
    assert list(corpus.splits) == ["train", "dev"]
    train = corpus.split("train")
    assert len(train) == 2
    assert [(s.id, s.signer, s.frames, s.glosses) for s in train.sentences] == [
        ("s1", "anna", 5, ("HELLO", "WORLD")),
        ("s2", "ben", 3, ("WORLD",)),
    ]
    for index, frames in enumerate((5, 3)):
        landmarks, detected = train.read(index)
        np.testing.assert_array_equal(landmarks, recording(frames, index)[0].astype(np.float16))
        assert landmarks.dtype == np.float16
        assert detected.shape == (frames, 4)
        assert detected.all()


def test_files_are_as_the_docstring_says(tmp_path):
    path = write_corpus(tmp_path / "tiny")
    assert (
        path / "train.csv"
    ).read_text() == "id|signer|frames|annotation\ns1|anna|5|HELLO WORLD\ns2|ben|3|WORLD\n"
    landmarks = np.load(path / "train.landmarks.npy", allow_pickle=False)
    assert (landmarks.dtype.str, landmarks.shape) == ("<f2", (8, 543, 3))
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


def test_sha256_of_a_known_text(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    assert (
        sha256_of(tmp_path / "abc")
        == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )


def test_parts_that_were_not_detected_become_zeros(tmp_path):
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
    np.testing.assert_array_equal(landmarks, original)  # the caller's array is not touched


def test_float16_input_of_the_caller_is_not_touched(tmp_path):
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
        (("s1", "anna", ["thank you"]), "gloss 'thank you'"),  # would be read back as two
        (("s1", "anna", ["A", ""]), "gloss ''"),
    ],
)
def test_fields_that_could_not_be_read_back_are_refused(tmp_path, row, message):
    with (
        pytest.raises(DataError, match=re.escape(message)),
        CorpusWriter(tmp_path / "tiny", **FACTS) as writer,
    ):
        writer.split("train").add(*row, *recording(3))
    assert list(tmp_path.iterdir()) == []


def test_an_id_is_refused_twice_in_a_split_and_allowed_in_another(tmp_path):
    with CorpusWriter(tmp_path / "tiny", **FACTS) as writer:
        writer.split("train").add("s1", "anna", "X", *recording(3))
        writer.split("dev").add("s1", "anna", "X", *recording(3))
        with pytest.raises(DataError, match="train sentence 's1': this id was already written"):
            writer.split("train").add("s1", "ben", "Y", *recording(3))


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e6])
def test_values_that_float16_cannot_hold_are_refused(tmp_path, value):
    landmarks, detected = recording(3)
    landmarks[1, 40, 2] = value
    with (
        pytest.raises(DataError, match=r"'s1'.*NaN, infinite or larger"),
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


def test_nothing_appears_until_the_corpus_is_complete(tmp_path):
    with CorpusWriter(tmp_path / "tiny", **FACTS) as writer:
        writer.split("train").add("s1", "anna", "X", *recording(3))
        assert not (tmp_path / "tiny").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("stop")])
def test_an_interrupted_corpus_leaves_nothing(tmp_path, error):
    with pytest.raises(type(error)), CorpusWriter(tmp_path / "tiny", **FACTS) as writer:
        writer.split("train").add("s1", "anna", "X", *recording(3))
        raise error
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_run_left_behind_is_replaced(tmp_path):
    (tmp_path / "tiny.partial").mkdir()
    (tmp_path / "tiny.partial" / "dev.csv").write_text("half")
    write_corpus(tmp_path / "tiny", {"train": [("s1", "anna", "X", 3)]})
    assert not (tmp_path / "tiny.partial").exists()
    assert sorted(path.name for path in (tmp_path / "tiny").iterdir()) == [
        "corpus.json",
        "train.csv",
        "train.detected.npy",
        "train.landmarks.npy",
    ]


def test_a_full_disk_is_one_clear_error(tmp_path, monkeypatch):
    full = OSError(28, "No space left on device")

    def fail(path):
        raise full

    monkeypatch.setattr(corpus_writer, "sha256_of", fail)
    with pytest.raises(
        DataError, match=r"cannot write the corpus to .*tiny: No space left on device"
    ):
        write_corpus(tmp_path / "tiny")
    assert list(tmp_path.iterdir()) == []


def test_output_must_not_hold_anything(tmp_path):
    write_corpus(tmp_path / "tiny")
    with pytest.raises(UsageError, match="tiny already exists: choose another --output"):
        CorpusWriter(tmp_path / "tiny", **FACTS)
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="file already exists"):
        CorpusWriter(tmp_path / "file", **FACTS)
    (tmp_path / "empty").mkdir()
    assert len(Corpus(write_corpus(tmp_path / "empty")).split("train")) == 2


def test_output_that_cannot_be_made_is_one_clear_error(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(DataError, match=r"cannot write the corpus to .*file/inside"),
        CorpusWriter(tmp_path / "file/inside", **FACTS),
    ):
        pass
    with pytest.raises(DataError, match="cannot write the corpus"):
        CorpusWriter(tmp_path / ("long" * 100), **FACTS)


def test_the_current_folder_is_no_output(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="choose another --output"):
        CorpusWriter(".", **FACTS)


def test_a_folder_that_is_no_corpus_is_refused(tmp_path):
    with pytest.raises(DataError, match="nothing does not exist: expected a corpus folder"):
        Corpus(tmp_path / "nothing")
    with pytest.raises(DataError, match=r"has no corpus\.json"):
        Corpus(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not a readable corpus description"),
        ("[]", "not a readable corpus description"),
        pytest.param("[" * 100_000, "not a readable corpus description", id="nested too deep"),
        ("\udcff", "not a readable corpus description"),
    ],
)
def test_a_corpus_json_that_is_none_is_refused(tmp_path, text, message):
    path = write_corpus(tmp_path / "tiny")
    (path / "corpus.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(DataError, match=message):
        Corpus(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format_version": 2}, "format 2"),
        ({"layout": "openpose_25"}, "layout openpose_25"),
        ({"fps": "fast"}, "not a readable corpus description"),
        ({"fps": 0}, "not plausible"),
        ({"aspect_ratio": float("nan")}, "not plausible"),
        ({"splits": {"../train": {}}}, "'../train' is not a split"),
        ({"splits": {"train": 3}}, "'train' is not a split"),
        ({"splits": {"test": {}}}, "test.landmarks.npy is missing"),
    ],
)
def test_facts_that_do_not_fit_are_refused(tmp_path, change, message):
    path = write_corpus(tmp_path / "tiny")
    facts = json.loads((path / "corpus.json").read_text())
    (path / "corpus.json").write_text(json.dumps(facts | change))
    with pytest.raises(DataError, match=re.escape(message)):
        Corpus(path)


def test_counts_must_agree_with_corpus_json(tmp_path):
    path = write_corpus(tmp_path / "tiny")
    text = (path / "train.csv").read_text()
    (path / "train.csv").write_text(text.replace("s2|ben|3", "s2|ben|4"))
    with pytest.raises(DataError, match=r"split 'train' has 9 frames, corpus\.json says 8"):
        Corpus(path)
    (path / "train.csv").write_text(text.replace("s2|ben|3|WORLD\n", ""))
    with pytest.raises(DataError, match=r"split 'train' has 1 sentences, corpus\.json says 2"):
        Corpus(path)


def test_a_missing_or_empty_split_is_named(tmp_path):
    corpus = Corpus(write_corpus(tmp_path / "tiny", {"train": [("s1", "anna", "X", 3)], "dev": []}))
    assert corpus.splits["dev"].landmarks.shape == (0, 543, 3)
    with pytest.raises(DataError, match="split 'dev' is empty"):
        corpus.split("dev")
    with pytest.raises(DataError, match=re.escape("has no split 'test' (it has: train, dev)")):
        corpus.split("test")


def test_a_subset_holds_the_chosen_sentences_only(tmp_path):
    subset = Corpus(write_corpus(tmp_path / "tiny")).split("train").subset([1])
    assert [sentence.id for sentence in subset.sentences] == ["s2"]
    np.testing.assert_array_equal(subset.read(0)[0], recording(3, 1)[0].astype(np.float16))


def test_the_description_says_what_must_always_be_said(tmp_path):
    with CorpusWriter(tmp_path / "a", **FACTS, simulated=True, composed=True) as writer:
        writer.split("train").add("s1", "anna", "X", *recording(2))
    assert Corpus(tmp_path / "a").describe() == "tiny (simulated signers, composed)"
    assert Corpus(write_corpus(tmp_path / "b")).describe() == "tiny"


def test_the_fingerprint_changes_with_any_value(tmp_path):
    first = Corpus(write_corpus(tmp_path / "a")).fingerprint
    assert Corpus(write_corpus(tmp_path / "b")).fingerprint == first
    with CorpusWriter(tmp_path / "c", **FACTS) as writer:
        writer.split("train").add("s1", "anna", "X", *recording(2))
    assert Corpus(tmp_path / "c").fingerprint != first


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("id|signer|annotation\n", "line 1: expected the header"),
        ("", "line 1: expected the header"),
        (
            "id|signer|frames|annotation\ns1|anna|3\n",
            "line 2: expected id|signer|frames|annotation",
        ),
        ("id|signer|frames|annotation\ns1|anna|3|X\ns2|anna|-1|X\n", "line 3"),
        ("id|signer|frames|annotation\ns1|anna|-3|X\n", "line 2"),
        pytest.param(
            "id|signer|frames|annotation\ns1|anna|" + "9" * 5000 + "|X\n",
            "line 2",
            id="5000 digits",
        ),
        (
            "id|signer|frames|annotation\ns1|anna|3|X\ns1|ben|4|Y\n",
            "line 3: id 's1' stands there twice",
        ),
    ],
)
def test_csv_faults_name_file_and_line(tmp_path, rows, message):
    (tmp_path / "train.csv").write_text(rows)
    with pytest.raises(DataError, match=re.escape(message)) as caught:
        read_sentences(tmp_path / "train.csv")
    assert str(tmp_path / "train.csv") in str(caught.value)


def test_csv_that_is_not_utf8_or_missing(tmp_path):
    (tmp_path / "train.csv").write_bytes(b"id|signer|frames|annotation\ns1|J\xfcrgen|3|X\n")
    with pytest.raises(DataError, match="cannot be read as UTF-8"):
        read_sentences(tmp_path / "train.csv")
    with pytest.raises(DataError, match=r"dev\.csv is missing"):
        read_sentences(tmp_path / "dev.csv")


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


def header(text: str) -> bytes:
    """An .npy file that is only a header of the given text."""
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


GOOD = npy(np.zeros((2, 543, 3), np.float16))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (GOOD[:-1], "truncated or was changed"),
        (GOOD + b"x", "truncated or was changed"),
        (GOOD.replace(b"(2, 543", b"(9, 543"), "truncated or was changed"),
        (GOOD[:60], "not a readable .npy file"),
        (b"", "not a readable .npy file"),
        (b"PK\x03\x04" + GOOD, "not a readable .npy file"),
        (
            npy(np.zeros((2, 543, 3), np.float32)),
            "holds float32 (2, 543, 3), expected float16 (rows, 543, 3)",
        ),
        (npy(np.zeros((2, 543, 3), ">f2")), "expected float16"),
        (npy(np.zeros((2, 543, 2), np.float16)), "holds float16 (2, 543, 2)"),
        (npy(np.float16(1)), "holds float16 ()"),
        (npy(np.asfortranarray(np.zeros((2, 543, 3), np.float16))), "expected float16"),
        (npy(np.array([{}, None])), "Python objects"),
        (
            header("{'descr': '<f2', 'fortran_order': False, 'shape': (-1, 543, 3)}\n"),
            "shape (-1, 543, 3)",
        ),
        (
            header(
                "{'descr': '<f2', 'fortran_order': False, 'shape': (0, 99999999999999999999, 3)}\n"
            ),
            "cannot be mapped",
        ),
        (header("{'descr': '<f2', (\n"), "not a readable .npy file"),
        (header("(" * 500 + "\n"), "not a readable .npy file"),
        (header("__import__('os').getpid()\n"), "not a readable .npy file"),
    ],
)
def test_truncated_and_doctored_arrays_are_refused(tmp_path, content, message):
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(DataError, match=re.escape(message)) as caught:
        open_array(tmp_path / "a.npy", np.dtype("<f2"), (543, 3))
    assert str(tmp_path / "a.npy") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_arrays_and_folders_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"a\.npy is missing"):
        map_array(tmp_path / "a.npy")
    with pytest.raises(DataError, match="cannot be read: Is a directory"):
        map_array(tmp_path)


@pytest.mark.parametrize("shape", [(3, 5), (0, 5), (7,), (), (1, 2, 3)])
@pytest.mark.parametrize("order", ["C", "F"])
def test_map_array_reads_what_numpy_saved(tmp_path, shape, order):
    array = np.asarray(
        np.arange(np.prod(shape, dtype=int), dtype=">f8").reshape(shape), order=order
    )
    np.save(tmp_path / "a.npy", array)
    mapped = map_array(tmp_path / "a.npy")
    assert mapped.dtype == array.dtype
    np.testing.assert_array_equal(mapped, array)
