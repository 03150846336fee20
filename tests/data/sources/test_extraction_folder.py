"""The working folder of an extraction: complete files, full disks, plans that cannot be trusted."""

import errno
import json
import os
import signal

import numpy as np
import pytest

from data.sources import extraction_folder, extraction_workers
from data.sources.annotations.segments import FRAMES, SECONDS, Segment
from data.sources.extraction import extract, merge_shards
from data.sources.extraction_folder import (
    Job,
    is_finished,
    prepare_folder,
    read_facts,
    read_plan,
    result_name,
    write_result,
)
from data.sources.video_files import RecordingFile, signature
from errors import DataError, StoppedError, UsageError
from tests.data.sources.conftest import three_videos, working_folder


def test_a_full_disk_is_one_line(tmp_path, fake_workers, monkeypatch):
    def full(path, content):
        if path.suffix == ".failed":
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, content)

    write = extraction_folder._write_file
    monkeypatch.setattr(extraction_folder, "_write_file", full)
    with pytest.raises(
        DataError,
        match=r"cannot write to .*out\.extracting: No space left on device; the finished",
    ):
        extract(*three_videos(tmp_path), tmp_path / "out", workers=1)


def test_a_users_folder_with_the_name_of_the_working_folder_is_kept(tmp_path, fake_workers):
    """The working folder is removed at the end."""
    source = three_videos(tmp_path)
    (tmp_path / "out.extracting").mkdir()
    (tmp_path / "out.extracting" / "thesis.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"out\.extracting already exists and is not from an extr"):
        extract(*source, tmp_path / "out", workers=1)
    assert (tmp_path / "out.extracting" / "thesis.txt").read_text() == "mine"


def test_machines_that_share_a_folder_write_files_of_different_names(tmp_path, monkeypatch):
    names = set()
    for machine in ("one", "two"):
        monkeypatch.setattr(extraction_folder.platform, "node", lambda machine=machine: machine)
        names.add(extraction_folder._partial(tmp_path / "x.npz").name)
    assert names == {f"x.npz.{machine}.{os.getpid()}.partial" for machine in ("one", "two")}


def test_a_folder_that_is_no_working_folder_cannot_be_merged(tmp_path):
    with pytest.raises(
        DataError, match=r"has no plan\.json: expected a folder <output>\.extracting"
    ):
        merge_shards([tmp_path], tmp_path / "out")
    (tmp_path / "plan.json").write_text("{")
    with pytest.raises(DataError, match=r"plan\.json cannot be read"):
        merge_shards([tmp_path], tmp_path / "out")


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


def job_of(id, segment):
    return Job("train", id, "anna", "A", result_name("train", id), segment)


def test_a_plan_has_the_segment_of_each_sentence(tmp_path):
    jobs = [
        job_of("a", None),
        job_of("b", Segment(0, 15, FRAMES)),
        job_of("c", Segment(0.5, 2, SECONDS)),
    ]
    prepare_folder(tmp_path / "x", tmp_path, {}, jobs)
    assert read_plan(tmp_path / "x")["jobs"] == jobs
    plan = json.loads((tmp_path / "x/plan.json").read_text())
    assert plan["jobs"][0] == ["train", "a", "anna", "A", result_name("train", "a")]
    plan["jobs"][1][5] = [15, 0, "frames"]
    (tmp_path / "x/plan.json").write_text(json.dumps(plan))
    with pytest.raises(DataError, match=r"plan\.json cannot be read .*is not a segment"):
        read_plan(tmp_path / "x")


def test_a_result_counts_only_for_the_segment_it_was_made_from(tmp_path):
    recording = RecordingFile(tmp_path / "s.mp4", ("s",))
    recording.path.write_bytes(b"x")
    facts = {"frames": 2, "width": 3, "height": 4, "fps": 25.0, "hands": 2, "is_video": True}
    facts |= {"fps_is_known": True, "even": True, "signature": signature(recording)}
    segment = Segment(0, 15, FRAMES)
    for made_from in (None, segment):
        if made_from is not None:
            facts["segment"] = made_from.values
        job = job_of("a", made_from)
        arrays = np.arange(2) / 25, np.zeros((2, 543, 3), "<f2"), np.ones((2, 4), bool)
        write_result(tmp_path / f"{job.file}.npz", *arrays, facts)
        for wanted in (None, segment, Segment(0, 16, FRAMES), Segment(0, 15, SECONDS)):
            finished = is_finished(tmp_path, job_of("a", wanted), recording)
            assert finished == (wanted == made_from)


def test_a_recording_without_a_signer_is_told_as_such(tmp_path):
    seen = {
        "nobody": [False, False, False, False],
        "hands": [True, True, False, False],
        "rare": [True, True, True, False],
        "fine": [True, True, False, True],
    }
    hands = {"rare": 3, "fine": 10}
    facts = {id: {"frames": 10, "hands": hands.get(id, 0), "parts": seen[id]} for id in seen}
    facts["earlier"] = {"frames": 10, "hands": 0}  # a version without `parts`
    folder = working_folder(tmp_path / "0", facts)
    assert merge_shards([folder], tmp_path / "out").warnings[:4] == [
        "train 'nobody': nothing was detected in any of its 10 frames; check that the signer is "
        "in the image",
        "train 'hands': no hand was detected in any of its 10 frames; check that the hands are in "
        "the image",
        "train 'rare': hands are found in only 30 % of its frames; check that the hands are in the "
        "image",
        "train 'earlier': hands are found in only 0 % of its frames; check that the hands are in "
        "the image",
    ]


@pytest.mark.parametrize("parts", [[True] * 3, [1] * 4, ["yes"] * 4, 5, None])
def test_damaged_parts_of_a_result_are_no_result(parts, tmp_path):
    folder = working_folder(tmp_path / "0", {"a": {"parts": parts}})
    assert read_facts(folder / f"{result_name('train', 'a')}.npz") is None


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), StoppedError(signal.SIGTERM)])
def test_a_stopped_extraction_says_how_to_continue(
    stop, tmp_path, fake_workers, monkeypatch, capsys
):
    finish = extraction_workers._ProgressBar.finish

    def stopped(*arguments):
        finish(*arguments)
        raise stop

    monkeypatch.setattr(extraction_workers._ProgressBar, "finish", stopped)
    places = three_videos(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        extract(*places, tmp_path / "out", workers=1)
    assert capsys.readouterr().err == (
        f"1 of 2 recordings are in {tmp_path / 'out.extracting'}; repeat the command to continue\n"
    )
