"""Landmark files: the place of each value, the detected parts, and the files that are refused."""

import re
from pathlib import Path

import numpy as np
import pytest

from data.corpus import Corpus
from data.safe_npy import map_array
from data.sources.landmark_files import mp_data_landmarks, read_npy
from errors import DataError
from tests.data.signers import standing_signer
from tests.data.small_corpus import as_stored
from tests.data.sources.conftest import import_npy, npy_bytes


def numbered_frame(width: int) -> np.ndarray:
    """An mp_data vector whose values are their own places 1, 2, 3 ..., so that none is 0."""
    return np.arange(1, width + 1, dtype=np.float64)


def test_every_value_of_a_full_frame_goes_to_its_place():
    landmarks = mp_data_landmarks(numbered_frame(1662)[None])[0]
    assert landmarks.shape == (543, 3)
    assert landmarks[0].tolist() == [1, 2, 3]  # 4 is the visibility
    assert landmarks[1].tolist() == [5, 6, 7]
    assert landmarks[32].tolist() == [129, 130, 131]
    assert landmarks[33].tolist() == [133, 134, 135]  # face 0, after 33 * 4 values of the pose
    assert landmarks[500].tolist() == [1534, 1535, 1536]
    # Left hand 0, after 468 * 3 values of the face
    assert landmarks[501].tolist() == [1537, 1538, 1539]
    assert landmarks[522].tolist() == [1600, 1601, 1602]
    assert landmarks[542].tolist() == [1660, 1661, 1662]


def test_a_frame_without_the_face_leaves_it_zero():
    landmarks = mp_data_landmarks(numbered_frame(258)[None])[0]
    assert (landmarks[33:501] == 0).all()
    assert landmarks[32].tolist() == [129, 130, 131]
    assert landmarks[501].tolist() == [133, 134, 135]
    assert landmarks[542].tolist() == [256, 257, 258]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f4"])
def test_of_6516_columns_the_first_1629_are_taken(tmp_path, features, dtype):
    landmarks = standing_signer(4, seed=5).reshape(4, 1629)
    rest = np.random.default_rng(1).normal(0, 5, (4, 3 * 1629))
    np.save(features[0] / "train/s2.npy", np.concatenate([landmarks, rest], axis=1).astype(dtype))
    import_npy(*features, tmp_path / "out")
    stored, detected = Corpus(tmp_path / "out").split("train").read(1)
    np.testing.assert_array_equal(stored, as_stored(landmarks.astype(dtype).reshape(4, 543, 3)))
    assert detected.all()


def test_an_array_saved_in_fortran_order_is_read_right(tmp_path, features):
    landmarks = standing_signer(4, seed=5).reshape(4, 1629)
    np.save(features[0] / "train/s2.npy", np.asfortranarray(landmarks))
    import_npy(*features, tmp_path / "out")
    stored = Corpus(tmp_path / "out").split("train").read(1)[0]
    np.testing.assert_array_equal(stored, as_stored(landmarks.reshape(4, 543, 3)))


@pytest.mark.parametrize("compressed", [False, True])
def test_npz_and_the_other_shapes_of_npy(tmp_path, features, compressed):
    landmarks = standing_signer(4, seed=5)
    visible = np.concatenate([landmarks, np.full((4, 543, 1), 9.0)], axis=2)
    np.save(features[0] / "train/s2.npy", visible)
    np.save(features[0] / "train/s1.npy", landmarks)
    (features[0] / "dev/d1.npy").unlink()
    (np.savez_compressed if compressed else np.savez)(
        features[0] / "dev/d1.npz", landmarks=landmarks.reshape(4, 1629)
    )
    import_npy(*features, tmp_path / "out")
    corpus = Corpus(tmp_path / "out")
    for split, index in (("train", 0), ("train", 1), ("dev", 0)):
        np.testing.assert_array_equal(corpus.split(split).read(index)[0], as_stored(landmarks))


@pytest.mark.parametrize("face", [True, False])
def test_1662_and_258_columns_are_those_of_mp_data(tmp_path, features, face):
    landmarks = standing_signer(4, seed=5)
    pose = np.concatenate([landmarks[:, :33], np.full((4, 33, 1), 9.0)], axis=2).reshape(4, -1)
    np.save(
        features[0] / "train/s2.npy",
        np.concatenate([pose, landmarks[:, 33 if face else 501 :].reshape(4, -1)], axis=1),
    )
    if not face:
        landmarks[:, 33:501] = 0
    import_npy(*features, tmp_path / "out")
    np.testing.assert_array_equal(
        Corpus(tmp_path / "out").split("train").read(1)[0], as_stored(landmarks)
    )


def with_nan(path: Path) -> None:
    landmarks = standing_signer(4).reshape(4, 1629)
    landmarks[2, 17] = np.nan
    np.save(path, landmarks)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda npy, csv: with_nan(npy / "train/s2.npy"),
            "s2.npy frame 2: some points of pose are NaN or infinite, expected all or none",
        ),
        (
            lambda npy, csv: np.save(npy / "train/s2.npy", np.zeros((4, 1630))),
            "s2.npy holds an array of shape (4, 1630)",
        ),
        (
            lambda npy, csv: np.save(npy / "train/s2.npy", np.zeros((0, 1629))),
            "s2.npy holds an array of shape (0, 1629)",
        ),
        (
            lambda npy, csv: np.save(npy / "train/s2.npy", np.zeros((0, 543, 3))),
            "with at least one frame; it has no frames: leave the file out, or make it again",
        ),
        (
            lambda npy, csv: np.save(npy / "train/s2.npy", np.ones((543, 28, 3))),
            "; its first axis is the 543 points, and frames must be the first axis",
        ),
        (
            lambda npy, csv: np.save(npy / "train/s2.npy", np.ones((543, 75, 3))),
            "225 values are probably the pose 33 x (x, y, z) and both hands",
        ),
        (
            lambda npy, csv: np.save(npy / "train/s2.npy", np.ones((4, 225))),
            "225 values are probably the pose 33 x (x, y, z) and both hands 2 x 21 x (x, y, z); "
            "add 468 x 3 zeros for the face after the pose",
        ),
        (
            lambda npy, csv: np.save(npy / "train/s2.npy", np.ones((4, 42, 3))),
            "126 values are probably both hands 2 x 21 x (x, y, z); the pose is missing",
        ),
        (
            lambda npy, csv: np.save(npy / "train/s2.npy", np.zeros(1629)),
            "s2.npy holds an array of shape (1629,)",
        ),
        (
            lambda npy, csv: np.save(npy / "train/s2.npy", np.zeros((4, 1629), int)),
            "s2.npy holds int64 values",
        ),
    ],
)
def test_npy_errors_are_named(tmp_path, features, change, message):
    change(*features)
    with pytest.raises(DataError, match=re.escape(message)):
        import_npy(*features, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"a": np.zeros(3), "b": np.zeros(3)}, "holds 2 arrays (a, b), expected one"),
        ({"a": np.array([{}], dtype=object)}, "a.npy holds Python objects, which are never loaded"),
        ({"a": np.zeros((4, 1629), int)}, "holds int64 values"),
    ],
)
def test_npz_faults_are_named(tmp_path, features, arrays, message):
    (features[0] / "dev/d1.npy").unlink()
    np.savez(features[0] / "dev/d1.npz", **arrays)
    with pytest.raises(DataError, match=re.escape(message)):
        import_npy(*features, tmp_path / "out")


@pytest.mark.parametrize(
    "data",
    [
        b"\x93NUMPY\x02\x00\xff\xff\xff\xff",  # 12 bytes whose header would have 4 GiB
        b"\x93NUMPY\x01\x00\xff\xff",
        npy_bytes((2_000_000_000, 1629)),
        npy_bytes((2_000_000_000, 1629), b"x" * 100),
        npy_bytes((10**30,)),
    ],
    ids=["4 GiB header", "64 KiB header", "13 TB", "13 TB and a little", "beyond any"],
)
def test_a_small_npy_that_declares_gigabytes(data, tmp_path, bounded):
    path = tmp_path / "a.npy"
    path.write_bytes(data)
    for read in (map_array, read_npy):
        with pytest.raises(DataError, match=r"a\.npy"):
            read(path)


def standardised(landmarks: np.ndarray) -> np.ndarray:
    """Zero mean and unit variance of each column over a long recording that moves."""
    moving = landmarks + np.random.default_rng(2).normal(0, 0.02, landmarks.shape)
    return (moving - moving.mean(axis=0)) / moving.std(axis=0)


def shoulder_centred(landmarks: np.ndarray) -> np.ndarray:
    middle = landmarks[:, [11, 12]].mean(axis=1, keepdims=True)
    return (landmarks - middle) / 0.3


@pytest.mark.parametrize(
    "change", [standardised, shoulder_centred, lambda landmarks: landmarks * [210, 260, 210]]
)
def test_coordinates_that_are_not_fractions_of_the_image_are_refused(tmp_path, features, change):
    for path in features[0].glob("*/*.npy"):
        np.save(path, change(standing_signer(40)).reshape(40, 1629))
    with pytest.raises(
        DataError, match=r"does not hold image coordinates.*cannot be converted back"
    ):
        import_npy(*features, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_one_odd_recording_does_not_make_a_corpus_odd(tmp_path, features):
    turned = standing_signer(4)
    turned[:, [11, 12], 0] = 0.5  # sideways: one shoulder behind the other
    np.save(features[0] / "train/s2.npy", turned.reshape(4, 1629))
    import_npy(*features, tmp_path / "out")
    assert len(Corpus(tmp_path / "out").split("train")) == 2


def test_recordings_without_any_pose_are_refused(tmp_path, features):
    for path in features[0].glob("*/*.npy"):
        np.save(path, np.zeros((3, 1629)))
    with pytest.raises(DataError, match="has no detected pose in any of 3 recordings"):
        import_npy(*features, tmp_path / "out")


def test_a_part_of_nan_was_not_detected(tmp_path, features):
    landmarks = standing_signer(6).astype(np.float32)
    landmarks[2:4, 522:] = np.nan
    landmarks[5] = np.nan
    np.save(features[0] / "train/s1.npy", landmarks)
    import_npy(*features, tmp_path / "out")
    stored, detected = Corpus(tmp_path / "out").split("train").read(0)
    assert detected[:, 3].tolist() == [True, True, False, False, True, False]
    assert detected[:, 0].tolist() == [True, True, True, True, True, False]
    np.testing.assert_array_equal(stored, as_stored(np.nan_to_num(landmarks), detected))
