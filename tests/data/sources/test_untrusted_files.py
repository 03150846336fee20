"""Files from elsewhere: what they claim is checked before memory is taken, and no name in them
leads out of its folder."""

import io
import json
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

from data.corpus import read_sentences
from data.corpus_writer import CorpusWriter
from data.safe_npy import map_array
from data.sources.extraction import merge_shards
from data.sources.importing import import_landmark_files
from data.sources.landmark_files import read_npy, read_parquet
from data.sources.mp_data import import_mp_data
from data.sources.safe_npz import FREE_BYTES, read_npz
from data.sources.video_files import find_recording_files
from errors import MAX_MESSAGE, DataError

PEAK = 20 << 20  # bytes that a refusal may take at most


@pytest.fixture
def bounded():
    """Fails when more than PEAK bytes were taken at a time."""
    tracemalloc.start()
    yield
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < PEAK, f"{peak / 2**20:.0f} MiB were taken"


def npy_bytes(shape: tuple[int, ...], values: bytes = b"") -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        buffer, {"descr": "<f4", "fortran_order": False, "shape": shape}
    )
    return buffer.getvalue() + values


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


def test_an_npz_that_would_expand_to_a_thousand_times_its_size(tmp_path, bounded):
    path = tmp_path / "bomb.npz"
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("landmarks.npy", "w") as member,
    ):
        member.write(npy_bytes((32_000, 1629)))
        for _ in range(198):
            member.write(bytes(1 << 20))
        member.write(bytes(32_000 * 1629 * 4 - (198 << 20)))
    assert path.stat().st_size < 250_000
    with pytest.raises(
        DataError, match=r"bomb\.npz has \d+ bytes and would expand to 208512128: .* not opened"
    ):
        read_npz(path)


def test_an_npz_whose_array_claims_more_than_its_member_has(tmp_path, bounded):
    path = tmp_path / "liar.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("landmarks.npy", npy_bytes((2_000_000, 1629), b"x" * 50))
    with pytest.raises(DataError, match=r"landmarks\.npy has 178 bytes, but its header describes"):
        read_npz(path)


def test_what_savez_writes_is_read(tmp_path):
    arrays = {
        "a": np.arange(6).reshape(2, 3),
        "b": np.asfortranarray(np.ones((2, 3), "<f2")),
        "c": np.array("ü {}"),
    }
    zeros = np.zeros((300, 1629))  # nothing detected: small, and the archive far smaller
    assert zeros.nbytes < FREE_BYTES
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "a.npz", **arrays, zeros=zeros)
        found = read_npz(tmp_path / "a.npz")
        assert list(found) == ["a", "b", "c", "zeros"]
        for name, array in arrays.items():
            assert np.array_equal(found[name], array) and found[name].dtype == array.dtype
        assert list(read_npz(tmp_path / "a.npz", ("b",))) == ["b"]


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
        match=r"2 frames numbered -9223372036854775808 to 9223372036854775807: not one video",
    ):
        read_parquet(tmp_path / "a.parquet")


def test_a_csv_with_commands_for_the_terminal(tmp_path):
    path = tmp_path / "train.csv"
    path.write_text("id|signer|frames|annotation\ns1|anna|3|\x1b[2JX\n")
    with pytest.raises(
        DataError, match=r"train\.csv line 2: a tab or another unprintable character"
    ) as refused:
        read_sentences(path)
    assert "\x1b" not in str(refused.value)


def test_no_message_breaks_its_line_or_reaches_the_terminal():
    assert str(DataError("a\nb\x1b[2J\u2028ü")) == "a\\nb\\x1b[2J\\u2028ü"
    assert len(str(DataError("x" * 100_000))) == MAX_MESSAGE + 1


@pytest.mark.parametrize("name", ["../train", "/tmp/train", "a/b", ".", ""])
def test_a_split_is_never_a_path(name, tmp_path):
    writer = CorpusWriter(tmp_path / "out", name="x", fps=25, aspect_ratio=1, made_by={})
    with pytest.raises(DataError, match="cannot be the name of a split"), writer:
        writer.split(name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("split", "file"), [("train", "../../outside"), ("../x", "f" * 32), ("train", "")]
)
def test_a_plan_of_another_machine_names_no_paths(split, file, tmp_path):
    job = [split, "s1", "anna", "A", file]
    shard = tmp_path / "x.extracting"
    shard.mkdir()
    (shard / "plan.json").write_text(json.dumps({"settings": {}, "input": "i", "jobs": [job]}))
    with pytest.raises(DataError, match=r"plan\.json cannot be read .* is not a sentence's job"):
        merge_shards([shard], tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.extracting"]


# ---------------------------------------------------------------- imports


def body(frames: int, seed: int = 0) -> np.ndarray:
    """Landmarks (T, 1629) of someone who stands in the image."""
    landmarks = 0.5 + np.random.default_rng(seed).normal(0, 0.01, (frames, 543, 3)).astype(
        np.float32
    )
    landmarks[:, 0, :2], landmarks[:, 11, :2], landmarks[:, 12, :2] = (
        (0.5, 0.2),
        (0.65, 0.4),
        (0.35, 0.4),
    )
    return landmarks.reshape(frames, 1629)


@pytest.fixture
def folders(tmp_path) -> tuple[Path, Path]:
    """Features and annotations of three train sentences and one of dev."""
    features, annotations = tmp_path / "features", tmp_path / "annotations"
    for split, ids in (("train", ("s1", "s2", "s3")), ("dev", ("d1",))):
        (features / split).mkdir(parents=True)
        annotations.mkdir(exist_ok=True)
        for number, id in enumerate(ids):
            np.save(features / split / f"{id}.npy", body(4, number))
        rows = "".join(f"{id}||anna|A B\n" for id in ids)
        (annotations / f"{split}.csv").write_text(f"id|video|signer|annotation\n{rows}")
    return features, annotations


@pytest.mark.parametrize("id", ["../../secret/s9", "/etc/s9", "train/../../secret/s9"])
def test_an_id_does_not_lead_out_of_the_input(id, folders, tmp_path):
    (tmp_path / "secret").mkdir()
    np.save(tmp_path / "secret" / "s9.npy", body(4))
    with (folders[1] / "train.csv").open("a") as file:
        file.write(f"{id}||anna|A\n")
    with pytest.raises(DataError, match=r"1 of 5 sentences have no file in .*features: train .*s9"):
        import_landmark_files(*folders, tmp_path / "out", format="npy")


@pytest.mark.parametrize("what", ["file", "folder"])
def test_a_link_does_not_lead_out_of_the_input(what, folders, tmp_path):
    (tmp_path / "secret").mkdir()
    np.save(tmp_path / "secret" / "s9.npy", body(4))
    link = folders[0] / ("train/s9.npy" if what == "file" else "more")
    link.symlink_to(tmp_path / "secret" / ("s9.npy" if what == "file" else ""))
    with pytest.raises(
        DataError, match=r"is a link out of .*features, to .*secret.*, and is not followed"
    ):
        find_recording_files(folders[0], (".npy",), ())
    link.unlink()
    link.symlink_to(folders[0] / ("train/s1.npy" if what == "file" else "dev"))
    find_recording_files(folders[0], (".npy",), ())


def test_sentences_that_cannot_be_read_are_listed_once_and_left_out_of_train_alone(
    folders, tmp_path, capsys
):
    np.save(folders[0] / "train/s1.npy", np.zeros((4, 1000), "f4"))  # of unknown width
    (folders[0] / "train/s3.npy").write_bytes(b"gone")
    with pytest.raises(
        DataError,
        match=r"s1\.npy holds an array of shape \(4, 1000\).*and 1 more sentences.*--skip_bad",
    ):
        import_landmark_files(*folders, tmp_path / "out", format="npy")
    said = capsys.readouterr().out
    assert (
        said.count("bad sentence: train sentence s1: ")
        == said.count("bad sentence: train sentence s3: ")
        == 1
    )
    assert not (tmp_path / "out").exists()
    import_landmark_files(*folders, tmp_path / "out", format="npy", skip_bad=True)
    assert [one.id for one in read_sentences(tmp_path / "out" / "train.csv")] == ["s2"]
    (folders[0] / "dev/d1.npy").write_bytes(b"gone")
    with pytest.raises(
        DataError, match=r"d1\.npy is not a readable \.npy file.*every dev sentence counts"
    ):
        import_landmark_files(*folders, tmp_path / "again", format="npy", skip_bad=True)
    assert not (tmp_path / "again").exists()


def test_isolated_recordings_that_cannot_be_read(tmp_path, capsys):
    for repetition in range(3):
        folder = tmp_path / "MP_Data" / "HELLO" / str(repetition)
        folder.mkdir(parents=True)
        np.save(folder / "0.npy", np.full(1662, np.nan if repetition == 1 else 0.5))
    with pytest.raises(
        DataError,
        match=r"1/0\.npy has NaN or infinite values.*--skip_bad leaves such sentences out",
    ):
        import_mp_data(tmp_path / "MP_Data", tmp_path / "out")
    import_mp_data(tmp_path / "MP_Data", tmp_path / "out", skip_bad=True)
    assert [one.id for one in read_sentences(tmp_path / "out" / "train.csv")] == [
        "HELLO-0",
        "HELLO-2",
    ]
    assert "bad sentence: train sentence HELLO-1: " in capsys.readouterr().out
