"""The same landmarks are accepted, warned about or refused in every import format."""

from pathlib import Path

import numpy as np
import pytest

from data.corpus import Corpus
from data.sources.landmark_import import import_landmark_files
from data.sources.mp_data import import_mp_data
from errors import DataError
from tests.data.signers import mp_data_vectors, standing_signer
from tests.data.sources.test_parquet_files import kaggle_columns, write_parquet
from tests.data.sources.test_pose_files import write_pose

FORMATS = ("mp_data", "npy", "pose", "parquet")


def swaying(number: int, frames: int = 8) -> np.ndarray:
    steps = np.random.default_rng(number).normal(0, 0.01, (frames, 1, 2))
    landmarks = standing_signer(frames, number)
    landmarks[..., :2] += steps
    return landmarks


def import_all(folder: Path, format: str, recordings: list[np.ndarray]) -> Path:
    """Import recordings as sentences of one gloss; returns the corpus folder."""
    source, output = folder / "in", folder / "out"
    for number, landmarks in enumerate(recordings):
        path = source / f"s{number}.{format}"
        if format == "mp_data":
            path = source / "x" / str(number)
        (path if format == "mp_data" else source).mkdir(parents=True, exist_ok=True)
        if format == "mp_data":
            for frame, vector in enumerate(mp_data_vectors(landmarks, face=True)):
                np.save(path / f"{frame}.npy", vector)
        elif format == "npy":
            np.save(path, landmarks)
        elif format == "pose":
            lost = [(frame, 0, 543) for frame in np.flatnonzero(~landmarks.any(axis=(1, 2)))]
            write_pose(path, np.nan_to_num(landmarks), lost=lost)
        else:
            write_parquet(path, kaggle_columns(landmarks))
    if format == "mp_data":
        import_mp_data(source, output)
    else:
        rows = [f"s{number}||anna|X" for number in range(len(recordings))]
        (folder / "train.csv").write_text("\n".join(["id|video|signer|annotation", *rows]) + "\n")
        import_landmark_files(source, folder / "train.csv", output, format=format)
    return output


@pytest.mark.parametrize("format", FORMATS)
def test_signers_are_imported_without_a_warning(tmp_path, format, capsys):
    output = import_all(tmp_path, format, [swaying(number) for number in range(2)])
    assert Corpus(output).split("train").detected.all()
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x * [640, 480, 640], "divide pixels by the image's width and height"),
        (lambda x: (x - x.mean(0)) / x.std(0), "does not hold image coordinates"),
        (lambda x: x[:, np.r_[501:543, 33:501, 0:33]], "order pose, face, left hand, right hand"),
        (lambda x: x[:, np.r_[33:501, 0:33, 501:543]], "order pose, face, left hand, right hand"),
        (lambda x: [0, 1, 0] + x * [1, -1, 1], "replace y by 1 - y"),
        (lambda x: x * 0, "has no detected pose in any of 2 recordings"),
    ],
    ids=["pixels", "standardised", "hands first", "face first", "y up", "zeros"],
)
def test_what_is_no_signer_in_an_image_is_refused(tmp_path, format, change, message):
    with pytest.raises(DataError, match=message) as caught:
        import_all(tmp_path, format, [change(swaying(number)) for number in range(2)])
    assert str(tmp_path / "in") in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("format", FORMATS)
def test_a_recording_in_which_nothing_was_detected_is_a_warning(tmp_path, format, capsys):
    nothing = swaying(0) * (0 if format == "pose" else np.nan)
    output = import_all(tmp_path, format, [swaying(0), nothing, swaying(2)])
    assert len(Corpus(output).split("train")) == 3
    warning = "warning: train: nothing was detected in any frame of 1 of 3 sentences"
    assert warning in capsys.readouterr().err


@pytest.mark.parametrize("format", FORMATS)
def test_one_odd_recording_of_many_is_a_warning_with_its_name(tmp_path, format, capsys):
    recordings = [swaying(number) for number in range(5)]
    recordings[3] = recordings[3][:, np.r_[33:501, 0:33, 501:543]]
    import_all(tmp_path, format, recordings)
    name = "x-3" if format == "mp_data" else "s3"
    error = capsys.readouterr().err
    assert "warning: split 'train' is unusual: in 1 of 5 recordings the hands are not" in error
    assert f"({name}; median nose" in error


@pytest.mark.parametrize("format", FORMATS)
def test_a_point_far_outside_the_image(tmp_path, format, capsys):
    recordings = [swaying(number) for number in range(5)]
    recordings[1][3, 13, 0], recordings[1][4, 27, 1] = 5.0, 50.0  # an elbow and an ankle
    import_all(tmp_path, format, recordings)
    error = capsys.readouterr().err
    assert "has x or y far outside the image (5, expected -3 to 4) in frame 3" in error
    recordings[1][3, 13, 0] = 50.0
    with pytest.raises(DataError, match=r"outside the image \(50, .*--skip_bad leaves such"):
        import_all(tmp_path / "again", format, recordings)


def test_the_splits_are_judged_one_by_one(tmp_path, features):
    for number in range(12):
        np.save(features[0] / f"train/t{number}.npy", standing_signer(4, number))
    rows = [f"t{number}|x|anna|HELLO" for number in range(12)]
    with (features[1] / "train.corpus.csv").open("a") as table:
        table.write("\n".join(rows) + "\n")
    np.save(features[0] / "dev/d1.npy", standing_signer(4) * [640, 480, 640])
    with pytest.raises(DataError, match=r"dev sentence d1 has x or y far outside the image"):
        import_landmark_files(*features, tmp_path / "out", format="npy")
    np.save(features[0] / "dev/d1.npy", standing_signer(4) * 2 - 1)
    with pytest.raises(DataError, match=r"split 'dev', does not hold image coordinates: in 1 of 1"):
        import_landmark_files(*features, tmp_path / "out", format="npy")
    assert not (tmp_path / "out").exists()
