"""Soft targets are stored as finite float16 numbers, and each complete sentence is on disk."""

import dataclasses
import resource
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from distillation.soft_target_writer import SoftTargetWriter, to_stored
from distillation.soft_targets import SoftTargetDescription, SoftTargets
from errors import DataError, UsageError
from tests.conftest import run_in_child

# ---------------------------------------------------------------- values


def test_a_probability_of_zero_is_stored_as_a_finite_number():
    log_probs = torch.tensor([[0.0, -torch.inf, -5.0]]).log_softmax(-1)
    assert torch.from_numpy(to_stored(log_probs)).isfinite().all()


def test_the_stored_values_are_exact_to_float16():
    torch.manual_seed(0)
    log_probs = (3 * torch.randn(50, 20)).log_softmax(-1)
    stored = torch.from_numpy(to_stored(log_probs)).float()
    assert torch.allclose(stored, log_probs, rtol=1e-3)
    exact, stored = log_probs.double().log_softmax(-1), stored.double().log_softmax(-1)
    lost_nats = float((exact.exp() * (exact - stored)).sum(-1).mean())
    assert abs(lost_nats) < 1e-4


# ---------------------------------------------------------------- folders

DESCRIPTION = SoftTargetDescription(
    corpus={"name": "c", "path": "c", "fingerprint": "1"},
    checkpoint={"path": "t.pth", "sha256": "2"},
    vocabulary=("A", "B"),
    temperature=2.0,
    views=2,
    seed=5,
    augmentation={},
)


def row(*values: float) -> torch.Tensor:
    """One step with these values."""
    return torch.tensor([values])


def files_of(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_has_the_views_in_storage_order(tmp_path):
    """The folder may exist if it is empty. request.json is gone when the folder is complete."""
    (tmp_path / "new").mkdir()
    writer = SoftTargetWriter(tmp_path / "new", DESCRIPTION, ["train"])
    assert writer.begin() == 0
    writer.add("train", "s0", 1, torch.cat([row(-1, -2, -3), row(-4, -5, -6)]))
    writer.add("train", "s0", 2, row(-7, -8, -9))
    entry = writer.finish()["splits"]["train"]
    assert (entry["sentences"], entry["rows"]) == (2, 3)
    names = ["soft_targets.json", "train.index.csv", "train.log_probs.npy"]
    assert files_of(tmp_path / "new") == names and files_of(tmp_path) == ["new"]
    values = np.load(tmp_path / "new" / "train.log_probs.npy", allow_pickle=False)
    assert values.dtype == np.float16 and (-values).ravel().tolist() == list(range(1, 10))
    targets = SoftTargets(tmp_path / "new")
    assert targets.read("train", "s0", 1).tolist() == [[-1, -2, -3], [-4, -5, -6]]
    assert targets.read("train", "s0", 2).tolist() == [[-7, -8, -9]]


def test_each_added_sentence_is_on_disk_at_once(tmp_path):
    """A killed process leaves all the sentences that it added."""
    writer = SoftTargetWriter(tmp_path / "new", DESCRIPTION, ["train"])
    writer.begin()
    for number in (1, 2):
        writer.add("train", "s0", number, row(-1, -2, -3))
        shutil.copytree(tmp_path / "new.partial", tmp_path / f"{number}.partial")
        with SoftTargetWriter(tmp_path / str(number), DESCRIPTION, ["train"]) as again:
            assert again.begin() == number
        assert again.done("train") == {("s0", view) for view in range(1, number + 1)}


def test_two_processes_do_not_export_to_one_folder(tmp_path):
    with SoftTargetWriter(tmp_path / "new", DESCRIPTION, ["train"]) as first:
        first.begin()
        first.add("train", "s0", 1, row(-1, -2, -3))
        with (
            pytest.raises(UsageError, match=r"another process is writing .*new .*: wait for it"),
            SoftTargetWriter(tmp_path / "new", DESCRIPTION, ["train"]) as second,
        ):
            second.begin()
        first.add("train", "s0", 2, row(-1, -2, -3))
        assert first.finish()["splits"]["train"]["rows"] == 2
    assert not (tmp_path / "new" / ".writing").exists()


@pytest.mark.parametrize(
    ("change", "splits"),
    [({}, ["train", "dev"]), ({"temperature": 3.0}, ["train"]), ({"seed": 6}, ["train"])],
)
def test_an_interrupted_export_is_not_continued_with_other_options(tmp_path, change, splits):
    SoftTargetWriter(tmp_path / "new", DESCRIPTION, ["train"]).begin()
    other = dataclasses.replace(DESCRIPTION, **change)
    with pytest.raises(UsageError, match=r"new\.partial was started with other options"):
        SoftTargetWriter(tmp_path / "new", other, splits)


@pytest.mark.parametrize("content", ["", '{"request": {"vie'])
def test_an_export_whose_plan_is_not_complete_has_not_begun(tmp_path, content):
    """So an earlier version left it on a full disk."""
    partial = tmp_path / "new.partial"
    partial.mkdir()
    (partial / "request.json").write_text(content)
    (partial / "train.index.csv").write_text("id|view|steps\ns0|1|1\n")
    np.save(partial / "train.log_probs.npy", np.zeros((1, 3), np.float16))
    with SoftTargetWriter(tmp_path / "new", DESCRIPTION, ["train"]) as writer:
        assert writer.begin() == 0
        writer.add("train", "s0", 1, row(-1, -2, -3))
        writer.finish()
    assert SoftTargets(tmp_path / "new").read("train", "s0", 1).tolist() == [[-1, -2, -3]]


def test_a_full_disk_at_the_start_leaves_nothing_in_the_way(tmp_path):
    def begin_under_each_limit() -> str:
        for limit in (0, 1, 40):
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
            with (
                pytest.raises(DataError, match=r"cannot write soft targets to .*File too large"),
                SoftTargetWriter(tmp_path / "new", DESCRIPTION, ["train"]) as writer,
            ):
                writer.begin()
            resource.setrlimit(
                resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
            )
            assert not (tmp_path / "new.partial" / "request.json").exists()
        other = dataclasses.replace(DESCRIPTION, seed=6)  # with other options, too
        with SoftTargetWriter(tmp_path / "new", other, ["train"]) as writer:
            writer.begin()
            writer.finish()
        return " ".join(files_of(tmp_path / "new"))

    left = run_in_child(begin_under_each_limit)
    assert left == "soft_targets.json train.index.csv train.log_probs.npy"
