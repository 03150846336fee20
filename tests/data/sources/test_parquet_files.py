"""Landmark files of the format parquet, as in Google's Kaggle competitions."""

import re
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from data.corpus import Corpus
from data.sources.landmark_files import read_parquet
from data.sources.landmark_import import import_landmark_files
from errors import DataError
from tests.data.signers import standing_signer
from tests.data.small_corpus import as_stored

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
    """train_landmark_files/7/100.parquet with its train.csv, as in Google's competition, and the
    landmarks."""
    landmarks = standing_signer(3, seed=7)
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
    expected = np.nan_to_num(landmarks.astype(np.float32))
    np.testing.assert_array_equal(stored, as_stored(expected, detected))


def test_frames_without_rows_are_frames_without_a_signer(tmp_path, kaggle):
    path, table, landmarks = kaggle
    columns = kaggle_columns(landmarks)
    columns["frame"] = [frame + 2 * (frame == 22) for frame in columns["frame"]]  # 20, 21, 24
    write_parquet(path, columns)
    import_landmark_files(table.parent, table, tmp_path / "out", format="parquet")
    stored, detected = Corpus(tmp_path / "out").split("train").read(0)
    assert detected.any(axis=1).tolist() == [True, True, False, False, True]
    np.testing.assert_array_equal(stored[4], as_stored(landmarks[2:].astype(np.float32))[0])


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
            "has two rows of the same landmark in one frame",
        ),
        (
            lambda c: c.update(x=[float("nan"), *c["x"][1:]]),
            "frame 0: some points of face are NaN or infinite",
        ),
        (
            lambda c: c.update(frame=[9000, *c["frame"][1:]]),
            "has 4 frames numbered 20 to 9000, expected the numbers of one video",
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


def test_a_parquet_that_would_expand_to_gigabytes(tmp_path, bounded):
    import pyarrow
    from pyarrow import parquet

    count = 1_000_000
    columns = {
        "frame": np.zeros(count, "i2"),
        "type": np.full(count, "face"),
        "landmark_index": np.zeros(count, "i2"),
    }
    columns |= {name: np.zeros(count, "f4") for name in "xyz"}
    tracemalloc.reset_peak()
    table = pyarrow.table({name: pyarrow.array(values) for name, values in columns.items()})
    parquet.write_table(table, tmp_path / "bomb.parquet", compression="zstd")
    del columns, table
    tracemalloc.reset_peak()
    assert (tmp_path / "bomb.parquet").stat().st_size < 40_000
    with pytest.raises(
        DataError,
        match=r"bomb\.parquet has \d+ bytes and would expand to 40000000 \(1000000 rows\)",
    ):
        read_parquet(tmp_path / "bomb.parquet")


def test_a_parquet_whose_frames_are_numbered_across_all_numbers(tmp_path):
    import pyarrow
    from pyarrow import parquet

    columns = {"frame": [-(2**63), 2**63 - 1], "type": ["pose", "pose"], "landmark_index": [0, 0]}
    parquet.write_table(
        pyarrow.table({**columns, **{name: [0.5, 0.5] for name in "xyz"}}), tmp_path / "a.parquet"
    )
    with pytest.raises(
        DataError,
        match="2 frames numbered -9223372036854775808 to 9223372036854775807, expected the numbers",
    ):
        read_parquet(tmp_path / "a.parquet")
