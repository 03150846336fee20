"""Files that are built to harm the program that loads them."""

import zipfile

import pytest
import torch

from errors import DataError
from models.checkpoint import (
    load_checkpoint,
)
from tests.models.conftest import checkpoint_content


def test_a_record_that_claims_to_be_longer_than_it_is(tmp_path):
    """A mapped file would let torch use the bytes after the record as values."""
    torch.save(
        {
            **checkpoint_content(),
            "format_version": 1,
            "model": {"w": torch.ones(7), "v": torch.ones(5)},
        },
        tmp_path / "a.pth",
    )
    with zipfile.ZipFile(tmp_path / "a.pth") as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    described = next(name for name in records if name.endswith("data.pkl"))
    count = records[described].count(b"K\x07")
    assert count >= 2
    records[described] = records[described].replace(b"K\x07", b"K\x0e")
    with zipfile.ZipFile(tmp_path / "b.pth", "w") as archive:
        for name, data in records.items():
            archive.writestr(name, data)
    with pytest.raises(DataError, match=r"b\.pth cannot be read"):
        load_checkpoint(tmp_path / "b.pth")


def test_a_compressed_archive_is_not_unpacked(tmp_path):
    torch.save(
        {**checkpoint_content(), "format_version": 1, "model": {"w": torch.zeros(5_000_000)}},
        tmp_path / "a.pth",
    )
    with (
        zipfile.ZipFile(tmp_path / "a.pth") as archive,
        zipfile.ZipFile(tmp_path / "b.pth", "w", zipfile.ZIP_DEFLATED) as out,
    ):
        for name in archive.namelist():
            out.writestr(name, archive.read(name))
    assert (tmp_path / "b.pth").stat().st_size < 50_000
    with pytest.raises(DataError, match="compressed or larger than the file"):
        load_checkpoint(tmp_path / "b.pth")


def test_values_that_torch_allows_but_no_checkpoint_contains_are_refused(tmp_path):
    lists: list = [1]
    for _ in range(60):
        lists = [lists, lists]
    for value, message in (
        (bytearray(10), "not a PyTorch file of tensors and plain values"),
        (lists, "occurs in it twice"),
        (torch.zeros(1).expand(10**12), "larger than what is stored"),
        ({1, 2}, "plain values"),
    ):
        torch.save(
            {**checkpoint_content(), "format_version": 1, "model": {"w": value}},
            tmp_path / "odd.pth",
        )
        with pytest.raises(DataError, match=message):
            load_checkpoint(tmp_path / "odd.pth")
