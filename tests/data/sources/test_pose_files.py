"""Landmark files of the format .pose."""

import re
from pathlib import Path

import numpy as np
import pytest

from data.corpus import Corpus
from data.sources.landmark_import import import_landmark_files
from errors import DataError
from tests.data.signers import standing_signer

POSE_PARTS = {
    "POSE_LANDMARKS": 33,
    "FACE_LANDMARKS": 468,
    "LEFT_HAND_LANDMARKS": 21,
    "RIGHT_HAND_LANDMARKS": 21,
}


def write_pose(
    path: Path,
    landmarks: np.ndarray,
    parts=POSE_PARTS,
    size=(320, 240),
    people: int = 1,
    lost=(),
    fps=30,
) -> None:
    """Write landmarks (T, points, 3), as fractions of the image, to a .pose file.

    lost: (frame, first point, end) of points that were not detected.
    """
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
        NumPyPoseBody(fps, data, confidence),
    )
    with open(path, "wb") as file:
        pose.write(file)


@pytest.fixture
def pose_files(tmp_path):
    """A folder of two .pose files, a and b, their annotations, and the landmarks of a."""
    (tmp_path / "pose").mkdir()
    landmarks = standing_signer(3, seed=7)
    write_pose(tmp_path / "pose/a.pose", landmarks, lost=[(1, 501, 522), (2, 33, 501)])
    write_pose(tmp_path / "pose/b.pose", standing_signer(2))
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
                path,
                standing_signer(2)[:, :178],
                {"POSE_LANDMARKS": 8, "FACE_LANDMARKS": 128, "H": 42},
            ),
            "a.pose is reduced: POSE_LANDMARKS has 8 of 33 points (178 in all)",
        ),
        (
            lambda path: write_pose(path, standing_signer(2), people=2),
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


def test_files_of_another_rate_than_most_are_resampled(tmp_path, pose_files, capsys):
    folder, table, _ = pose_files
    write_pose(folder / "b.pose", standing_signer(5), fps=60)
    write_pose(folder / "c.pose", standing_signer(4), fps=29.97)
    with open(table, "a") as file:
        file.write("c|c.mp4|ben|WORLD\n")
    import_landmark_files(folder, table, tmp_path / "out", format="pose")
    corpus = Corpus(tmp_path / "out")
    assert corpus.fps == pytest.approx(29.97)
    assert [s.frames for s in corpus.split("train").sentences] == [3, 2, 4]
    warning = capsys.readouterr().err
    assert "frame rates differ (29.97 in 1, 30 in 1, 60 in 1): the corpus gets 29.97" in warning
    import_landmark_files(folder, table, tmp_path / "slow", format="pose", resample_fps=15)
    assert Corpus(tmp_path / "slow").fps == 15
    assert [s.frames for s in Corpus(tmp_path / "slow").split("train").sentences] == [2, 2, 2]
    assert capsys.readouterr().err == ""


def test_an_implausible_rate_is_refused_until_the_user_confirms_it(tmp_path, pose_files):
    folder, table, _ = pose_files
    write_pose(folder / "b.pose", standing_signer(2), fps=600)
    with pytest.raises(DataError, match=r"b\.pose states 600 frames/s.*--fps"):
        import_landmark_files(folder, table, tmp_path / "out", format="pose")
    import_landmark_files(folder, table, tmp_path / "out", format="pose", fps=25)
    assert Corpus(tmp_path / "out").fps == 25
    assert [s.frames for s in Corpus(tmp_path / "out").split("train").sentences] == [3, 2]
