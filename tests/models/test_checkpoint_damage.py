"""Damaged checkpoints are refused and named."""

import os
from pathlib import Path

import pytest
import torch

from errors import DataError
from models.checkpoint import (
    load_checkpoint,
    save_checkpoint,
)
from tests.models.conftest import checkpoint_content, file_names, weight_in


def test_a_flipped_bit_is_found_wherever_it_is(tmp_path):
    path = tmp_path / "last.pth"
    save_checkpoint(path, checkpoint_content())
    good, hash_file = path.read_bytes(), (tmp_path / "last.pth.sha256").read_bytes()
    for place in range(0, len(good), 97):
        data = bytearray(good)
        data[place] ^= 1 << place % 8
        path.write_bytes(data)
        with pytest.raises(DataError, match=r"last\.pth is damaged: SHA-256"):
            load_checkpoint(path)
    path.write_bytes(good)
    for place in range(64):
        data = bytearray(hash_file)
        data[place] ^= 1 << place % 8
        (tmp_path / "last.pth.sha256").write_bytes(data)
        with pytest.raises(DataError, match=r"last\.pth is damaged"):
            load_checkpoint(path)


def test_without_a_hash_file_the_checksums_inside_are_checked_and_a_warning_is_printed(
    tmp_path, capsys
):
    path = tmp_path / "last.pth"
    save_checkpoint(path, checkpoint_content())
    (tmp_path / "last.pth.sha256").unlink()
    assert weight_in(path) == 1.0
    assert "last.pth.sha256 is missing: only last.pth's own checksums" in capsys.readouterr().err
    data = bytearray(path.read_bytes())
    place = data.find(torch.ones(100).numpy().tobytes()) + 40
    data[place] ^= 1
    path.write_bytes(data)
    with pytest.raises(
        DataError, match=r"last\.pth cannot be read: its record .*data/0 is damaged"
    ):
        load_checkpoint(path)


def test_a_file_that_reads_back_different_does_not_replace_the_checkpoint(tmp_path, monkeypatch):
    path = tmp_path / "last.pth"
    save_checkpoint(path, checkpoint_content(1.0))
    fsync = os.fsync

    def failing_disk(descriptor: int) -> None:
        fsync(descriptor)
        written = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        if written.name == "last.pth.partial":
            data = bytearray(written.read_bytes())
            data[1000] ^= 1
            written.write_bytes(data)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", failing_disk)
        with pytest.raises(
            DataError, match=r"differs from what was written.*previous checkpoint is untouched"
        ):
            save_checkpoint(path, checkpoint_content(2.0))
    assert weight_in(path) == 1.0 and len(file_names(tmp_path)) == 2


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("training", {}),
        ("corpus", {}),
        ("config", []),
        ("model", 5),
        ("decoder", {}),
        ("vocabulary", {}),
        ("kind", {}),
    ],
)
def test_a_checkpoint_whose_content_was_replaced_is_refused(key, value, run_copy, tmp_path):
    checkpoint = load_checkpoint(run_copy / "last.pth")
    checkpoint.pop("format_version")
    save_checkpoint(tmp_path / "replaced.pth", {**checkpoint, key: value})
    with pytest.raises(DataError, match=f"no usable '{key}'"):
        load_checkpoint(tmp_path / "replaced.pth")
