"""Opening .npy files: valid files are mapped, damaged and malicious ones are refused."""

import io
import re

import numpy as np
import pytest

from data.safe_npy import map_array, open_array
from errors import DataError


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
def test_truncated_and_manipulated_files_are_refused(tmp_path, content, message):
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(DataError, match=re.escape(message)) as caught:
        open_array(tmp_path / "a.npy", np.dtype("<f2"), (543, 3))
    assert str(tmp_path / "a.npy") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_files_and_folders_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"a\.npy is missing"):
        map_array(tmp_path / "a.npy")
    with pytest.raises(DataError, match="cannot be read: Is a directory"):
        map_array(tmp_path)


@pytest.mark.parametrize("shape", [(3, 5), (0, 5), (7,), (), (1, 2, 3)])
@pytest.mark.parametrize("order", ["C", "F"])
def test_map_array_reads_files_that_numpy_saved(tmp_path, shape, order):
    array = np.asarray(
        np.arange(np.prod(shape, dtype=int), dtype=">f8").reshape(shape), order=order
    )
    np.save(tmp_path / "a.npy", array)
    mapped = map_array(tmp_path / "a.npy")
    assert mapped.dtype == array.dtype
    np.testing.assert_array_equal(mapped, array)
