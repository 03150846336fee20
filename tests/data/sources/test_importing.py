"""Importing recordings: where each value ends up, what is detected, and what is said of folders
that are not as expected."""

import re
from pathlib import Path

import numpy as np
import pytest

from data.corpus import Corpus
from data.sources.importing import import_landmark_files
from data.sources.landmark_files import detected_parts
from data.sources.mp_data import find_mp_data_recordings, import_mp_data, mp_data_landmarks
from errors import DataError, UsageError


def numbered_frame(width: int) -> np.ndarray:
    """An mp_data vector whose values tell their own place: 1, 2, 3 ..., so that none is 0."""
    return np.arange(1, width + 1, dtype=np.float64)


def save_recording(root: Path, gloss: str, repetition: object, vectors, first: int = 0) -> Path:
    folder = root / gloss / str(repetition)
    folder.mkdir(parents=True)
    for number, vector in enumerate(vectors, start=first):
        np.save(folder / f"{number}.npy", vector)
    return folder


def tiny_vectors(frames: int, width: int = 258, value: float = 0.5) -> np.ndarray:
    return np.full((frames, width), value)


# ---------------------------------------------------------------------------------------------------------- mp_data


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


def test_a_part_of_zeros_is_not_detected():
    landmarks = np.full((3, 543, 3), 0.25)
    landmarks[1, 522:543] = 0
    landmarks[2, 33:501] = 0
    landmarks[2, 501:522] = 0
    landmarks[2, 510, 1] = 0.1  # one value is enough
    expected = [[True, True, True, True], [True, True, True, False], [True, False, True, True]]
    assert detected_parts(landmarks).tolist() == expected


def test_visibility_alone_is_no_pose(tmp_path):
    vectors = tiny_vectors(2)
    vectors[1, :132] = 0
    vectors[1, 3:132:4] = 0.9
    save_recording(tmp_path / "in", "hello", 0, vectors)
    import_mp_data(tmp_path / "in", tmp_path / "out")
    assert Corpus(tmp_path / "out").split("train").read(0)[1][:, 0].tolist() == [True, False]


def test_recordings_become_sentences_in_numeric_order(tmp_path):
    for repetition in (0, 2, 10, 1):
        vectors = tiny_vectors(12) + np.arange(12)[:, None] / 16 + repetition
        save_recording(tmp_path / "in", "thank you", repetition, vectors)
    save_recording(tmp_path / "in", "a", 7, tiny_vectors(3), first=1)  # some count frames from 1
    import_mp_data(tmp_path / "in", tmp_path / "out")
    corpus = Corpus(tmp_path / "out")
    train = corpus.split("train")
    assert [sentence.id for sentence in train.sentences] == [
        "a-7",
        "thank-you-0",
        "thank-you-1",
        "thank-you-2",
        "thank-you-10",
    ]
    assert [sentence.glosses for sentence in train.sentences[:2]] == [("a",), ("thank-you",)]
    assert [sentence.frames for sentence in train.sentences[:2]] == [3, 12]
    landmarks, detected = train.read(4)
    # 9 < 10
    np.testing.assert_array_equal(
        landmarks[:, 0, 0], np.float16(10.5) + np.arange(12, dtype=np.float16) / 16
    )
    assert detected.tolist() == [[True, False, True, True]] * 12
    assert (corpus.fps, corpus.aspect_ratio, corpus.composed) == (25.0, 4 / 3, False)


def test_recorders_take_turns_in_blocks(tmp_path):
    for repetition in range(9):
        save_recording(tmp_path / "in", "x", repetition, tiny_vectors(1))
    import_mp_data(
        tmp_path / "in",
        tmp_path / "out",
        repetitions_per_session=2,
        recorders=3,
        fps=30,
        aspect_ratio=1.5,
    )
    corpus = Corpus(tmp_path / "out")
    signers = [sentence.signer[-1] for sentence in corpus.split("train").sentences]
    assert "".join(signers) == "112233112"
    assert corpus.facts["made_by"]["repetitions_per_session"] == 2
    assert corpus.facts["made_by"]["recorders"] == 3
    assert (corpus.fps, corpus.aspect_ratio) == (30.0, 1.5)


def test_hidden_files_are_passed_over(tmp_path):
    folder = save_recording(tmp_path / "in", "x", 0, tiny_vectors(2))
    for place in (folder, folder.parent, folder.parent.parent):
        (place / ".DS_Store").write_bytes(b"\0")
        (place / "._0.npy").write_bytes(b"\0")
    import_mp_data(tmp_path / "in", tmp_path / "out")
    assert Corpus(tmp_path / "out").split("train").sentences[0].frames == 2


def test_the_same_bytes_each_time(tmp_path):
    save_recording(tmp_path / "in", "x", 0, tiny_vectors(2))
    for name in ("a", "b"):
        import_mp_data(tmp_path / "in", tmp_path / name / "out")
    for file in ("corpus.json", "train.csv", "train.landmarks.npy", "train.detected.npy"):
        assert (tmp_path / "a/out" / file).read_bytes() == (tmp_path / "b/out" / file).read_bytes()


@pytest.mark.parametrize("first", [0, 1])
def test_a_frame_missing_from_the_numbering_is_named(tmp_path, first):
    folder = save_recording(tmp_path / "in", "x", 0, tiny_vectors(5), first=first)
    (folder / f"{first + 2}.npy").unlink()
    with pytest.raises(DataError, match=re.escape(f"{folder}: frame {first + 2} is missing")):
        import_mp_data(tmp_path / "in", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_recording_that_begins_late_is_refused(tmp_path):
    save_recording(tmp_path / "in", "x", 0, tiny_vectors(3), first=5)
    with pytest.raises(DataError, match="frame 1 is missing"):
        import_mp_data(tmp_path / "in", tmp_path / "out")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda x: np.save(x / "0/1.npy", np.zeros(1662)),
            "0/1.npy has 1662 values where the files before it have 258",
        ),
        (
            lambda x: np.save(x / "1/0.npy", np.zeros(1662)),
            "1/0.npy has 1662 values where the files before it have 258",
        ),
        (lambda x: np.save(x / "0/1.npy", np.zeros(300)), "0/1.npy holds an array of shape (300,)"),
        (
            lambda x: np.save(x / "0/1.npy", np.zeros((1, 258))),
            "0/1.npy holds an array of shape (1, 258)",
        ),
        (
            lambda x: np.save(x / "0/1.npy", np.zeros((258, 1))),
            "0/1.npy holds an array of shape (258, 1)",
        ),
        (
            lambda x: np.save(x / "0/1.npy", np.full(258, np.nan)),
            "0/1.npy has NaN or infinite values",
        ),
        (
            lambda x: np.save(x / "0/1.npy", np.zeros(258, int)),
            "0/1.npy holds int64 values, expected float16",
        ),
        (lambda x: np.save(x / "0/1.npy", np.array([None] * 258)), "0/1.npy holds Python objects"),
        (
            lambda x: (x / "0/1.npy").write_bytes(b"\x93NUMPY\x01\x00v"),
            "0/1.npy is not a readable .npy file",
        ),
        (lambda x: (x / "0/1.npy").write_bytes((x / "0/1.npy").read_bytes()[:-1]), "0/1.npy has"),
        (
            lambda x: (x / "0/notes.txt").write_text(""),
            "0/notes.txt: expected only <frame number>.npy",
        ),
        (
            lambda x: (x / "0/first.npy").write_text(""),
            "0/first.npy: expected only <frame number>.npy",
        ),
        (lambda x: (x / "0/01.npy").write_text(""), "are the same frame 1"),
        (lambda x: (x / "2").mkdir(), "2 is empty: expected the recording's frames"),
        (lambda x: (x / "01").mkdir(), "are the same repetition 1"),
        (
            lambda x: (x / "second").mkdir(),
            "expected a repetition number as the folder's name, found 'second'",
        ),
        (lambda x: (x / "video.mp4").write_text(""), "video.mp4 is a file"),
        (lambda x: (x.parent / "labels.npy").write_text(""), "labels.npy is a file"),
        (
            lambda x: (x.parent / "empty").mkdir(),
            "empty is empty: it should hold one folder a repetition",
        ),
        (
            lambda x: (x.parent / "thank  you/0").mkdir(parents=True),
            "would both be the gloss 'thank-you'",
        ),
        (lambda x: x.rename(x.parent / "a|b"), "'a|b-0'"),
    ],
)
def test_what_the_layout_does_not_have_is_named(tmp_path, change, message):
    for repetition in (0, 1):
        save_recording(tmp_path / "in", "thank you", repetition, tiny_vectors(3))
    change(tmp_path / "in/thank you")
    with pytest.raises(DataError, match=re.escape(message)) as caught:
        import_mp_data(tmp_path / "in", tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_missing_empty_and_unsuitable_inputs(tmp_path):
    with pytest.raises(DataError, match="nowhere does not exist"):
        find_mp_data_recordings(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty is empty: it should hold one folder a gloss"):
        find_mp_data_recordings(tmp_path / "empty")
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="file cannot be read: Not a directory"):
        find_mp_data_recordings(tmp_path / "file")
    save_recording(tmp_path / "in", "x", 0, tiny_vectors(1))
    with pytest.raises(UsageError, match="in already exists"):
        import_mp_data(tmp_path / "in", tmp_path / "in")


# -------------------------------------------------------------------------------------------------------------- npy


def import_npy(features: Path, annotations: Path, output: Path) -> None:
    import_landmark_files(features, annotations, output, format="npy")


def body(frames: int, seed: int = 0) -> np.ndarray:
    """Landmarks (T, 543, 3) of somebody who stands in the image: nose above two shoulders."""
    landmarks = np.random.default_rng(seed).uniform(0.3, 0.7, (frames, 543, 3))
    landmarks[:, [0, 11, 12], :2] = [[0.5, 0.3], [0.65, 0.55], [0.35, 0.55]]
    return landmarks


@pytest.fixture
def features(tmp_path):
    """Folders of three sentences, and their annotations: (FEATURES_DIR, ANNOTATIONS_DIR)."""
    rows = {
        "train": [("s1", "anna", "HELLO  WORLD", 6), ("s2", "ben", "WORLD", 4)],
        "dev": [("d1", "anna", "HELLO", 5)],
    }
    (tmp_path / "csv").mkdir()
    for split, sentences in rows.items():
        (tmp_path / "npy" / split).mkdir(parents=True)
        lines = ["id|folder|signer|annotation"]
        for id, signer, annotation, frames in sentences:
            np.save(tmp_path / "npy" / split / f"{id}.npy", body(frames).reshape(frames, 1629))
            lines.append(f"{id}|{id}/*.png|{signer}|{annotation}")
        (tmp_path / "csv" / f"{split}.corpus.csv").write_text("\n".join(lines) + "\n")
    return tmp_path / "npy", tmp_path / "csv"


def test_npy_recordings_become_a_corpus(tmp_path, features):
    landmarks = body(6).reshape(6, 1629).astype(np.float32)
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
    np.testing.assert_array_equal(stored, landmarks.reshape(6, 543, 3).astype(np.float16))
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


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f4"])
def test_of_6516_columns_the_first_1629_are_taken(tmp_path, features, dtype):
    landmarks = body(4, seed=5).reshape(4, 1629)
    rest = np.random.default_rng(1).normal(0, 5, (4, 3 * 1629))
    np.save(features[0] / "train/s2.npy", np.concatenate([landmarks, rest], axis=1).astype(dtype))
    import_npy(*features, tmp_path / "out")
    stored, detected = Corpus(tmp_path / "out").split("train").read(1)
    np.testing.assert_array_equal(
        stored, landmarks.astype(dtype).astype(np.float16).reshape(4, 543, 3)
    )
    assert detected.all()


def test_an_array_saved_in_fortran_order_is_read_right(tmp_path, features):
    landmarks = body(4, seed=5).reshape(4, 1629)
    np.save(features[0] / "train/s2.npy", np.asfortranarray(landmarks))
    import_npy(*features, tmp_path / "out")
    stored = Corpus(tmp_path / "out").split("train").read(1)[0]
    np.testing.assert_array_equal(stored, landmarks.astype(np.float16).reshape(4, 543, 3))


def test_files_and_annotations_must_match_both_ways(tmp_path, features):
    (features[0] / "train/s2.npy").rename(features[0] / "train/s3.npy")
    with pytest.raises(DataError) as caught:
        import_npy(*features, tmp_path / "out")
    message = str(caught.value)
    assert f"1 of 3 sentences have no file in {features[0]}: train s2" in message
    assert f"1 files have no annotation in {features[1]}: train/s3.npy" in message


def test_at_most_ten_mismatches_are_listed_and_all_are_counted(tmp_path, features):
    for number in range(12):
        np.save(features[0] / f"dev/x{number:02d}.npy", body(2).reshape(2, 1629))
    with pytest.raises(
        DataError, match=r"12 files have no annotation.*: dev/x00.npy, .*x09.npy, \.\.\.$"
    ):
        import_npy(*features, tmp_path / "out")


def standardised(landmarks: np.ndarray) -> np.ndarray:
    """Zero mean, unit spread, column by column over a long recording that moves."""
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
        np.save(path, change(body(40)).reshape(40, 1629))
    with pytest.raises(DataError, match=r"does not hold image coordinates.*cannot be turned back"):
        import_npy(*features, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_one_odd_recording_does_not_make_a_corpus_odd(tmp_path, features):
    turned = body(4)
    turned[:, [11, 12], 0] = 0.5  # sideways: one shoulder behind the other
    np.save(features[0] / "train/s2.npy", turned.reshape(4, 1629))
    import_npy(*features, tmp_path / "out")
    assert len(Corpus(tmp_path / "out").split("train")) == 2


def test_recordings_without_any_pose_are_refused(tmp_path, features):
    for path in features[0].glob("*/*.npy"):
        np.save(path, np.zeros((3, 1629)))
    with pytest.raises(DataError, match="no pose was detected in any of 3 files"):
        import_npy(*features, tmp_path / "out")


def with_nan(path: Path) -> None:
    landmarks = body(4).reshape(4, 1629)
    landmarks[2, 17] = np.nan
    np.save(path, landmarks)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda npy, csv: with_nan(npy / "train/s2.npy"),
            "s2.npy frame 2, column 17: NaN or infinite",
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
            lambda npy, csv: np.save(npy / "train/s2.npy", np.zeros(1629)),
            "s2.npy holds an array of shape (1629,)",
        ),
        (
            lambda npy, csv: np.save(npy / "train/s2.npy", np.zeros((4, 1629), int)),
            "s2.npy holds int64 values",
        ),
        (
            lambda npy, csv: (npy / "train/all.pkl").write_text(""),
            "all.pkl is a pickle, which can run any program",
        ),
        (lambda npy, csv: np.save(npy / "test0.npy", body(3)), "1 files have no annotation"),
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
def test_npy_faults_are_named(tmp_path, features, change, message):
    change(*features)
    with pytest.raises(DataError, match=re.escape(message)):
        import_npy(*features, tmp_path / "out")
    assert not (tmp_path / "out").exists()


# ------------------------------------------------------------------------------------------------ more kinds of files


@pytest.mark.parametrize("compressed", [False, True])
def test_npz_and_the_other_shapes_of_npy(tmp_path, features, compressed):
    landmarks = body(4, seed=5)
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
        np.testing.assert_array_equal(
            corpus.split(split).read(index)[0], landmarks.astype(np.float16)
        )


def test_1662_columns_are_those_of_mp_data(tmp_path, features):
    landmarks = body(4, seed=5)
    pose = np.concatenate([landmarks[:, :33], np.full((4, 33, 1), 9.0)], axis=2).reshape(4, -1)
    np.save(
        features[0] / "train/s2.npy",
        np.concatenate([pose, landmarks[:, 33:].reshape(4, -1)], axis=1),
    )
    import_npy(*features, tmp_path / "out")
    np.testing.assert_array_equal(
        Corpus(tmp_path / "out").split("train").read(1)[0], landmarks.astype(np.float16)
    )


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


POSE_PARTS = {
    "POSE_LANDMARKS": 33,
    "FACE_LANDMARKS": 468,
    "LEFT_HAND_LANDMARKS": 21,
    "RIGHT_HAND_LANDMARKS": 21,
}


def write_pose(
    path: Path, landmarks: np.ndarray, parts=POSE_PARTS, size=(320, 240), people: int = 1, lost=()
) -> None:
    """A .pose file of landmarks (T, points, 3) that are fractions of the image; `lost`:
    (frame, first point, end)."""
    from pose_format import Pose
    from pose_format.numpy import NumPyPoseBody
    from pose_format.pose_header import PoseHeader, PoseHeaderComponent, PoseHeaderDimensions

    components = [
        PoseHeaderComponent(name, [str(point) for point in range(count)], [], [], "XYZC")
        for name, count in parts.items()
    ]
    data = (landmarks * [*size, 1]).astype(np.float32)[:, None].repeat(people, axis=1)
    confidence = np.ones(data.shape[:3], np.float32)
    for frame, first, end in lost:
        data[frame, :, first:end] = confidence[frame, :, first:end] = 0
    pose = Pose(
        PoseHeader(0.2, PoseHeaderDimensions(*size, 0), components),
        NumPyPoseBody(30, data, confidence),
    )
    with open(path, "wb") as file:
        pose.write(file)


@pytest.fixture
def pose_files(tmp_path):
    """A folder of two .pose files, a and b, their annotations, and the landmarks of a."""
    (tmp_path / "pose").mkdir()
    landmarks = body(3, seed=7)
    write_pose(tmp_path / "pose/a.pose", landmarks, lost=[(1, 501, 522), (2, 33, 501)])
    write_pose(tmp_path / "pose/b.pose", body(2))
    table = tmp_path / "train.csv"
    table.write_text("id|video|signer|annotation\na|a.mp4|anna|HELLO\nb|b.mp4|ben|WORLD\n")
    return tmp_path / "pose", table, landmarks


def test_pose_files_become_fractions_of_the_image(tmp_path, pose_files):
    source, table, landmarks = pose_files
    import_landmark_files(source, table, tmp_path / "out", format="pose")
    corpus = Corpus(tmp_path / "out")
    assert (corpus.fps, corpus.aspect_ratio) == (30, 320 / 240)
    stored, detected = corpus.split("train").read(0)
    assert detected.tolist() == [[True] * 4, [True, True, False, True], [True, False, True, True]]
    np.testing.assert_allclose(stored[0], landmarks[0], atol=5e-4)
    assert (stored[1, 501:522] == 0).all() and (stored[2, 33:501] == 0).all()


@pytest.mark.parametrize("irises", [0, 10])
def test_pose_files_of_576_and_586_points(tmp_path, pose_files, irises):
    source, table, landmarks = pose_files
    face, hands = landmarks[:, :501], landmarks[:, 501:]
    more = np.concatenate(
        [face, np.full((3, irises, 3), 0.9), hands, np.full((3, 33, 3), 0.8)], axis=1
    )
    parts = {**POSE_PARTS, "FACE_LANDMARKS": 468 + irises, "POSE_WORLD_LANDMARKS": 33}
    write_pose(source / "a.pose", more, parts)
    import_landmark_files(source, table, tmp_path / "out", format="pose")
    np.testing.assert_allclose(
        Corpus(tmp_path / "out").split("train").read(0)[0], landmarks, atol=5e-4
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda path: write_pose(
                path, body(2)[:, :178], {"POSE_LANDMARKS": 8, "FACE_LANDMARKS": 128, "H": 42}
            ),
            "a.pose is reduced: POSE_LANDMARKS has 8 of 33 points (178 in all)",
        ),
        (
            lambda path: write_pose(path, body(2), people=2),
            "a.pose has 2 frames of 2 people in 3 dimensions",
        ),
        (
            lambda path: path.write_bytes(path.read_bytes()[:-50]),
            "a.pose is not a readable .pose file",
        ),
        (lambda path: path.write_bytes(b""), "a.pose is not a readable .pose file"),
    ],
)
def test_pose_faults_are_named(tmp_path, pose_files, change, message):
    source, table, _ = pose_files
    change(source / "a.pose")
    with pytest.raises(DataError, match=re.escape(message)):
        import_landmark_files(source, table, tmp_path / "out", format="pose")
    assert not (tmp_path / "out").exists()


KAGGLE_ORDER = (("face", 33, 468), ("left_hand", 501, 21), ("pose", 0, 33), ("right_hand", 522, 21))


def kaggle_columns(landmarks: np.ndarray, first_frame: int = 20) -> dict[str, list]:
    rows = [
        (
            first_frame + frame,
            f"{first_frame + frame}-{kind}-{index}",
            kind,
            index,
            *landmarks[frame, start + index],
        )
        for frame in range(len(landmarks))
        for kind, start, count in KAGGLE_ORDER
        for index in range(count)
    ]
    return dict(
        zip(
            ("frame", "row_id", "type", "landmark_index", "x", "y", "z"),
            map(list, zip(*rows, strict=True)),
            strict=True,
        )
    )


def write_parquet(path: Path, columns: dict[str, list]) -> None:
    import pyarrow
    from pyarrow import parquet

    parquet.write_table(pyarrow.table(columns), path)


@pytest.fixture
def kaggle(tmp_path):
    """train_landmark_files/7/100.parquet with its train.csv, as Google's competition has it, and
    the landmarks."""
    landmarks = body(3, seed=7)
    landmarks[1, 522:] = np.nan
    folder = tmp_path / "kaggle/train_landmark_files/7"
    folder.mkdir(parents=True)
    write_parquet(folder / "100.parquet", kaggle_columns(landmarks))
    table = tmp_path / "kaggle/train.csv"
    table.write_text(
        "path,participant_id,sequence_id,sign\ntrain_landmark_files/7/100.parquet,7,100,blow\n"
    )
    return folder / "100.parquet", table, landmarks


def test_parquet_of_google_s_competitions(tmp_path, kaggle):
    _, table, landmarks = kaggle
    import_landmark_files(table.parent, table, tmp_path / "out", format="parquet")
    train = Corpus(tmp_path / "out").split("train")
    assert [(s.id, s.signer, s.glosses) for s in train.sentences] == [("100", "7", ("blow",))]
    stored, detected = train.read(0)
    assert detected[:, 3].tolist() == [True, False, True]
    assert detected[:, :3].all()
    np.testing.assert_array_equal(
        stored, np.nan_to_num(landmarks.astype(np.float32)).astype(np.float16)
    )


def test_frames_without_rows_are_frames_without_a_signer(tmp_path, kaggle):
    path, table, landmarks = kaggle
    columns = kaggle_columns(landmarks)
    columns["frame"] = [frame + 2 * (frame == 22) for frame in columns["frame"]]  # 20, 21, 24
    write_parquet(path, columns)
    import_landmark_files(table.parent, table, tmp_path / "out", format="parquet")
    stored, detected = Corpus(tmp_path / "out").split("train").read(0)
    assert detected.any(axis=1).tolist() == [True, True, False, False, True]
    np.testing.assert_array_equal(stored[4], landmarks[2].astype(np.float32).astype(np.float16))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("type"), "100.parquet is not parquet with the columns frame, type"),
        (
            lambda c: c.update(type=["foot", *c["type"][1:]]),
            "has rows of the type 'foot', expected pose, face",
        ),
        (
            lambda c: c.update(landmark_index=[468, *c["landmark_index"][1:]]),
            "face has landmark_index 468, expected 0 to 467",
        ),
        (
            lambda c: c.update(landmark_index=[1, *c["landmark_index"][1:]]),
            "has the same landmark of a frame in two rows",
        ),
        (
            lambda c: c.update(x=[float("nan"), *c["x"][1:]]),
            "frame 0: face is NaN or infinite in a part of its points",
        ),
        (
            lambda c: c.update(frame=[9000, *c["frame"][1:]]),
            "has 4 frames numbered 20 to 9000: not one video",
        ),
    ],
)
def test_parquet_faults_are_named(tmp_path, kaggle, change, message):
    path, table, landmarks = kaggle
    columns = kaggle_columns(landmarks)
    change(columns)
    write_parquet(path, columns)
    with pytest.raises(DataError, match=re.escape(message)):
        import_landmark_files(table.parent, table, tmp_path / "out", format="parquet")
