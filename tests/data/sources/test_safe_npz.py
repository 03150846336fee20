"""Archives from untrusted sources: their declared size is checked before memory is allocated."""

import zipfile

import numpy as np
import pytest

from data.sources.safe_npz import FREE_BYTES, read_npz
from errors import DataError
from tests.data.sources.conftest import npy_bytes


def test_files_written_by_savez_are_read(tmp_path):
    arrays = {
        "a": np.arange(6).reshape(2, 3),
        "b": np.asfortranarray(np.ones((2, 3), "<f2")),
        "c": np.array("ü {}"),
    }
    zeros = np.zeros((300, 1629))  # without detections, the archive is far smaller
    assert zeros.nbytes < FREE_BYTES
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "a.npz", **arrays, zeros=zeros)
        found = read_npz(tmp_path / "a.npz")
        assert list(found) == ["a", "b", "c", "zeros"]
        for name, array in arrays.items():
            assert np.array_equal(found[name], array) and found[name].dtype == array.dtype
        assert list(read_npz(tmp_path / "a.npz", ("b",))) == ["b"]


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
