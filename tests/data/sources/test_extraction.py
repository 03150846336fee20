"""Extraction: videos and folders of frames become a corpus, also from several shards."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from data.corpus import Corpus
from data.sources import extraction, holistic
from data.sources.extraction import extract, merge_shards, shard_of
from data.sources.extraction_folder import (
    Job,
    prepare_folder,
    read_facts,
    record_failure,
    result_name,
    write_result,
)
from errors import DataError, UsageError
from tests.data.signers import standing_signer
from tests.data.sources.conftest import annotate, three_videos, working_folder
from tests.mediapipe_support import why_no_tracking

ROOT = Path(extraction.__file__).parents[2]
FRAMES = {"first": 7, "second": 4, "third": 5}


def content(corpus: Path) -> dict[str, bytes]:
    """The files of a corpus; corpus.json without the name."""
    files = {path.name: path.read_bytes() for path in corpus.iterdir()}
    return {**files, "corpus.json": json.dumps({**json.loads(files["corpus.json"]), "name": ""})}


def test_landmarks_are_where_the_parts_are_in_the_picture(extracted):
    corpus = Corpus(extracted[0])
    sentences = {
        s.id: (name, i, s)
        for name, split in corpus.splits.items()
        for i, s in enumerate(split.sentences)
    }
    assert {id: sentence.frames for id, (_, _, sentence) in sentences.items()} == FRAMES
    for id, start in (("first", 0), ("second", 20)):
        name, index, _ = sentences[id]
        landmarks, detected = corpus.split(name).read(index)
        # Body and face; no hand is in the picture
        assert detected[:, :2].all() and not detected[:, 2:].any()
        # The tip of the nose is at (222, 131) of the complete picture
        tip = landmarks[:, 33 + 1].astype(float)
        expected = 222 - start - 5 * np.arange(FRAMES[id])
        np.testing.assert_allclose(tip[:, 0] * 400, expected, atol=4)
        np.testing.assert_allclose(tip[:, 1] * 512, 131, atol=4)
        # She faces us: her left shoulder is on the right
        assert (landmarks[:, 11, 0] > landmarks[:, 12, 0]).all()
        assert (landmarks[:, 501:] == 0).all()


def test_the_corpus_stores_how_it_was_made(extracted):
    corpus = Corpus(extracted[0])
    assert corpus.fps == 30  # of two videos; a folder of frames has 25
    assert corpus.aspect_ratio == 400 / 512
    made_by = corpus.facts["made_by"]
    assert made_by["extractor"]["name"] == "MediaPipe Holistic"
    assert made_by["extractor"]["mediapipe"] == "0.10.14"
    assert made_by["extractor"]["model_complexity"] == 1
    assert corpus.split("train").sentences[0].glosses == ("SUN",)  # cleaned
    assert corpus.split("dev").sentences[0].glosses == ("loc-SUN",)  # dev is not cleaned


def test_a_video_of_another_shape_keeps_its_geometry(extracted):
    corpus = Corpus(extracted[0])
    landmarks = corpus.split("dev").read(0)[0].astype(float)  # 400x400
    tip = landmarks[:, 33 + 1]
    # With the aspect corrected, in pixels of the height
    x = (tip[:, 0] - 0.5) * corpus.aspect_ratio * 400 + 200
    np.testing.assert_allclose(x, 182 - 5 * np.arange(5), atol=4)


def test_the_report_names_failures_and_unused_recordings(extracted, recordings):
    report = extracted[1]
    assert (report.sentences, report.frames, report.complete) == (3, 16, True)
    assert list(report.failed) == ["train 'gone'", "dev 'broken'", "dev 'empty'"]
    assert (
        f"has no recording: no video or folder of that name in {recordings / 'input'}"
        in report.failed["train 'gone'"]
    )
    assert "broken.mp4: cannot be opened: not a video, damaged" in report.failed["dev 'broken'"]
    assert "empty.mp4: the file is empty (0 bytes)" in report.failed["dev 'empty'"]
    warned = "\n".join(report.warnings)
    for warning in (
        "train 'first': no hand was detected in any of its",
        "1 recordings have no annotation and are left out: stray.mp4",
        "frame rates differ (25 in 1, 30 in 2; uneven times in 0): the corpus gets 30, "
        "1 recordings are resampled to it; --resample_fps gives another",
        "image shapes differ (width/height 0.7812 in 2, 1 in 1): the corpus gets 0.7812",
    ):
        assert warning in warned
    assert (recordings / "one.extracting").is_dir()  # the finished results stay for another try


def test_a_killed_run_continues_and_shards_merge_to_the_same_bytes(extracted, recordings, tmp_path):
    command = [
        sys.executable,
        ROOT / "prepare_data.py",
        "extract",
        "--normalize",
        "phoenix2014",
        "--workers",
        "2",
    ]
    command += [
        "--input",
        recordings / "input",
        "--annotations",
        recordings / "annotations",
        "--output",
        tmp_path / "two",
    ]
    process = subprocess.Popen(list(map(str, command)), stderr=subprocess.DEVNULL)
    folder, deadline = tmp_path / "two.extracting", time.monotonic() + 250
    while not list(folder.glob("*.npz")) and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "two").exists()
    # Two shards continue in the same folder, and each extracts only its own sentences
    finished = {path: path.stat().st_mtime_ns for path in folder.glob("*.npz")}
    assert finished
    options = {"normalize": "phoenix2014", "workers": 1, "world_size": 2}
    reports = [
        extract(
            recordings / "input", recordings / "annotations", tmp_path / "two", rank=rank, **options
        )
        for rank in range(2)
    ]
    assert [report.complete for report in reports] == [False, False]
    assert sum(report.sentences for report in reports) == 3
    assert sum(len(report.failed) for report in reports) == 3
    assert {path: path.stat().st_mtime_ns for path in finished} == finished  # not extracted again
    report = merge_shards([folder], tmp_path / "two")
    assert (report.sentences, len(report.failed)) == (3, 3)
    assert content(tmp_path / "two") == content(extracted[0])


def test_a_video_over_the_limit_is_left_out_by_name(cv2, recordings, tmp_path):
    annotations = annotate(tmp_path / "annotations", {"train": ["first|first.mp4|anna|SUN"]})
    with pytest.raises(
        DataError, match=r"first train 'first' is left out: longer than --max_frames 6"
    ):
        extract(recordings / "input", annotations, tmp_path / "out", max_frames=6, workers=1)


def test_segments_of_a_video_are_tracked_as_videos_of_their_own(cv2, recordings, tmp_path):
    rows = ["a|first.mp4|0|3|anna|SUN", "b|first.mp4|3|7|anna|RAIN", "c|first.mp4|2|5|ben|SUN"]
    table = tmp_path / "segments.csv"
    table.write_text("\n".join(["id|video|start|end|signer|annotation", *rows]))
    report = extract(recordings / "input", table, tmp_path / "cut", workers=1)
    assert (report.sentences, report.failed) == (3, {})
    # The same frames as images, each segment in a folder
    capture = cv2.VideoCapture(str(recordings / "input/first.mp4"))
    frames = [capture.read()[1] for _ in range(7)]
    for id, segment in (("a", frames[:3]), ("b", frames[3:]), ("c", frames[2:5])):
        (tmp_path / "images" / id).mkdir(parents=True)
        for number, frame in enumerate(segment):
            cv2.imwrite(str(tmp_path / "images" / id / f"{number}.png"), frame)
    table.write_text("id|signer|annotation\na|anna|SUN\nb|anna|RAIN\nc|ben|SUN\n")
    extract(tmp_path / "images", table, tmp_path / "whole", workers=1)
    cut, whole = (Corpus(tmp_path / name).split("train") for name in ("cut", "whole"))
    assert cut.sentences == whole.sentences
    assert [sentence.frames for sentence in cut.sentences] == [3, 4, 3]
    np.testing.assert_array_equal(cut.landmarks, whole.landmarks)


def test_a_segment_outside_of_its_video_fails_by_name(cv2, recordings, tmp_path):
    table = tmp_path / "segments.csv"
    rows = ["a|first.mp4|0.0|0.1|anna|SUN", "b|first.mp4|0.1|0.5|anna|RAIN"]
    table.write_text("\n".join(["id|video|start|end|signer|annotation", *rows]))
    report = extract(recordings / "input", table, tmp_path / "out", workers=1)
    assert [s.frames for s in Corpus(tmp_path / "out").split("train").sentences] == [3]
    assert list(report.failed) == ["train 'b'"]
    assert (
        "first.mp4: the segment from 0.1 s to 0.5 s is not inside of the recording, which has "
        "7 frames, from 0 s to 0.233 s" in report.failed["train 'b'"]
    )


def test_errors_before_the_extraction_starts(tmp_path):
    (tmp_path / "input").mkdir()
    (tmp_path / "input/other.mp4").write_bytes(b"x")
    annotations = annotate(tmp_path / "annotations", {"train": ["a|a.mp4|anna|SUN"]})
    with pytest.raises(
        DataError, match=r"none of 1 recordings .* found other\.mp4, expected for example a\.mp4"
    ):
        extract(tmp_path / "input", annotations, tmp_path / "out")
    (tmp_path / "input/a.mp4").write_bytes(b"x")
    if why_no_tracking() is None:  # the option is of MediaPipe's own models
        with pytest.raises(DataError, match=re.escape("--model_complexity 2 needs ")):
            extract(tmp_path / "input", annotations, tmp_path / "out", model_complexity=2)
    os.rename(tmp_path / "input", tmp_path / "out")
    with pytest.raises(UsageError, match="already exists"):
        extract(tmp_path / "input", annotations, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["annotations", "out"]


def test_a_missing_system_library_of_opencv_is_named(tmp_path):
    if "has no models of its own" in (why_no_tracking() or ""):
        pytest.skip("MediaPipe 1.x asks for its model file before OpenCV is loaded")
    (tmp_path / "cv2.py").write_text(
        "raise ImportError('libGL.so.1: cannot open shared object file: No such file')\n"
    )
    (tmp_path / "input").mkdir()
    (tmp_path / "input/a.mp4").write_bytes(b"x")
    annotations = annotate(tmp_path / "annotations", {"train": ["a|a.mp4|anna|SUN"]})
    command = [
        sys.executable,
        ROOT / "prepare_data.py",
        "extract",
        "--input",
        tmp_path / "input",
        "--workers",
        1,
    ]
    command += ["--annotations", annotations, "--output", tmp_path / "out"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    ended = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, env=environment, timeout=120
    )
    assert ended.returncode == 3
    assert ended.stderr == f"error: {holistic.missing_library(ImportError('libGL.so.1: x'))}\n"


def test_shards_are_put_together_in_the_order_of_the_annotations(tmp_path):
    first = working_folder(tmp_path / "0", {"b": None, "a": {"frames": 3}, "c": None})
    second = working_folder(tmp_path / "1", {"b": {}, "a": None, "c": "the reason"})
    # The plan has the name of the input folder, which is the same for all shards of one run
    for shard in (first, second):
        text = (shard / "plan.json").read_text().replace('"input": "1"', '"input": "0"')
        (shard / "plan.json").write_text(text)
    report = merge_shards([first, second], tmp_path / "out")
    assert [(s.id, s.frames) for s in Corpus(tmp_path / "out").split("train").sentences] == [
        ("b", 2),
        ("a", 3),
    ]
    assert report.failed == {"train 'c'": "the reason"}


def test_a_shard_that_is_not_finished_is_named(tmp_path):
    shard = working_folder(tmp_path / "0", {"a": {}, "b": None, "c": None})
    with pytest.raises(
        DataError, match="2 of 3 sentences have not been extracted yet, first train 'b'"
    ):
        merge_shards([shard], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_different_versions_are_not_mixed(tmp_path):
    first = working_folder(tmp_path / "0", {"a": {}})
    second = working_folder(tmp_path / "1", {"a": {}}, extractor={"mediapipe": "0.10.9"})
    with pytest.raises(
        DataError,
        match=r"different settings or extractor: .*0\.10\.14.*0\.10\.9.* cannot be one corpus",
    ):
        merge_shards([first, second], tmp_path / "out")
    with pytest.raises(
        UsageError, match=r"was begun with extractor .*0\.10\.14.*, now .*0\.10\.9.*cannot mix them"
    ):
        prepare_folder(first, first, {"extractor": {"mediapipe": "0.10.9"}}, [])


def test_a_damaged_result_counts_as_not_extracted(tmp_path):
    shard = working_folder(tmp_path / "0", {"a": {}})
    result = next(shard.glob("*.npz"))
    result.write_bytes(result.read_bytes()[:-100])
    with pytest.raises(DataError, match="1 of 1 sentences have not been extracted yet"):
        merge_shards([shard], tmp_path / "out")


def test_without_any_result_there_is_no_corpus(tmp_path):
    with pytest.raises(
        DataError,
        match=r"none of the 1 train sentences could be extracted, .*; first train 'a': the reason",
    ):
        merge_shards([working_folder(tmp_path / "0", {"a": "the reason"})], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_corpus_without_a_train_or_dev_sentence(tmp_path):
    """Without train there is no corpus; a dev split that is gone is a warning."""
    landmarks, detected = np.full((2, 543, 3), 0.25, "<f2"), np.ones((2, 4), bool)
    facts = {"frames": 2, "width": 3, "height": 4, "fps": 25.0, "hands": 2}
    facts |= {"is_video": True, "fps_is_known": True, "even": True}
    jobs = [
        Job(split, split, "anna", "SUN", result_name(split, split)) for split in ("train", "dev")
    ]
    for kept, lost in (jobs, jobs[::-1]):
        folder = tmp_path / lost.split
        prepare_folder(folder, folder, {"extractor": {}}, jobs)
        write_result(
            folder / f"{kept.file}.npz", np.arange(len(landmarks)) / 25, landmarks, detected, facts
        )
        record_failure(folder, lost, "longer than --max_frames 9", left_out=True)
    report = merge_shards([tmp_path / "dev"], tmp_path / "out")
    assert report.warnings == [
        "dev 'dev' is left out: longer than --max_frames 9",
        "the corpus has no split 'dev': none of its 1 sentences could be extracted",
    ]
    assert list(Corpus(tmp_path / "out").splits) == ["train"]
    with pytest.raises(
        DataError,
        match=r"none of the 1 train sentences could be .*; first train 'train' is left out: longer",
    ):
        merge_shards([tmp_path / "train"], tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_the_corpus_gets_the_commonest_shape_and_frame_rate(tmp_path):
    shard = working_folder(tmp_path / "0", {"a": {"width": 800, "fps": 30.0}, "b": {}, "c": {}})
    report = merge_shards([shard], tmp_path / "out")
    corpus = Corpus(tmp_path / "out")
    assert (corpus.aspect_ratio, corpus.fps) == (0.75, 25)
    x = [corpus.split("train").read(index)[0][0, 0, 0] for index in range(3)]
    assert x[1] == x[2] == pytest.approx(0.25, abs=1e-4)
    # A quarter of the wide image to the left of its middle
    assert x[0] == pytest.approx(0.5 - 0.25 * 2 / 0.75, abs=1e-4)
    assert len(report.warnings) == 2


def test_a_jump_to_another_person_is_a_warning(tmp_path):
    folder = working_folder(tmp_path / "0", {"a": {"frames": 20, "hands": 20}, "b": {}})
    landmarks = standing_signer(20).astype("<f2")
    landmarks[12:, :, 0] += 0.6
    result = folder / f"{result_name('train', 'a')}.npz"
    facts = read_facts(result)
    times = np.arange(20) / 25
    write_result(result, times, landmarks, np.ones((20, 4), bool), facts)
    report = merge_shards([folder], tmp_path / "out")
    assert report.warnings == [
        "train 'a': the signer jumps by 1.8 body widths at frame 12; if another person is in the "
        "picture, cut the picture to the signer and extract it again"
    ]


def test_recordings_of_another_rate_and_of_uneven_times_are_resampled(tmp_path):
    sentences = {
        "slow": {"frames": 11, "fps": 12.5},
        "uneven": {"frames": 9, "even": False},
        "even": {"frames": 9},
        "short": {"frames": 1},
    }
    folder = working_folder(tmp_path / "0", sentences)
    uneven = folder / f"{result_name('train', 'uneven')}.npz"
    facts = read_facts(uneven)
    times = np.array([0, 1, 2, 3, 4, 8, 9, 10, 11]) / 25
    landmarks = times[:, None, None] * np.ones((9, 543, 3))
    write_result(uneven, times, landmarks, np.ones((9, 4), bool), facts)
    report = merge_shards([folder], tmp_path / "out")
    train = Corpus(tmp_path / "out").split("train")
    # 10 pauses of 0.08 s are 20 of 0.04 s; 11 pauses of 0.04 s fill the gap
    assert [sentence.frames for sentence in train.sentences] == [21, 12, 9, 1]
    np.testing.assert_allclose(train.read(1)[0][:, 0, 0], np.arange(12) / 25, atol=1e-3)
    (warning,) = (text for text in report.warnings if text.startswith("frame rates"))
    assert warning.startswith("frame rates differ (12.5 in 1, 25 in 3; uneven times in 1)")
    assert "2 recordings are resampled" in warning

    report = merge_shards([folder], tmp_path / "fast", resample_fps=50)
    corpus = Corpus(tmp_path / "fast")
    assert corpus.fps == 50 and "frame rates" not in " ".join(report.warnings)
    assert [s.frames for s in corpus.split("train").sentences] == [41, 23, 17, 1]
    assert corpus.facts["made_by"]["resample_fps"] == 50


def test_a_file_that_is_not_read_is_named(tmp_path, fake_workers):
    places = three_videos(tmp_path)
    (places[0] / "c.mxf").write_bytes(b"x")
    report = extract(*places, tmp_path / "out", workers=1)
    assert report.failed["train 'c'"].startswith(
        f"has no recording: {places[0] / 'c.mxf'} is there, but .mxf is not read; convert it"
    )


def test_shards_of_the_environment():
    assert shard_of({}) == (0, 1)
    assert shard_of({"RANK": "2", "WORLD_SIZE": "3"}) == (2, 3)
    for environment in (
        {"RANK": "3", "WORLD_SIZE": "3"},
        {"RANK": "0"},
        {"WORLD_SIZE": "2"},
        {"RANK": "-1", "WORLD_SIZE": "2"},
    ):
        with pytest.raises(
            UsageError, match=r"expected whole numbers, RANK from 0 to WORLD_SIZE - 1"
        ):
            shard_of(environment)
