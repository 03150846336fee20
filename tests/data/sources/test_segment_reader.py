"""The frames of segments: which ones, in which order, and how often a recording is decoded."""

from types import SimpleNamespace

import numpy as np
import pytest

from data.sources import segment_reader
from data.sources.annotations.segments import FRAMES, SECONDS, Segment
from data.sources.extraction_folder import Job
from data.sources.segment_reader import SegmentReader, in_reading_order
from data.sources.video_files import RecordingFile
from data.sources.video_frames import VideoFrames
from errors import DataError


@pytest.fixture
def videos(tmp_path, monkeypatch):
    """Two recordings of 30 frames at 25 frames/s, whose frames are their numbers.

    opened: how often a recording was opened. decoded: frames that were decoded. broken_at: the
    frame that cannot be decoded.
    """
    state = SimpleNamespace(opened=0, decoded=0, broken_at=None, recordings=[])
    for name in "ab":
        (tmp_path / f"{name}.mp4").write_bytes(b"x")
        state.recordings.append(RecordingFile(tmp_path / f"{name}.mp4", (name,)))

    def frames():
        for number in range(30):
            if number == state.broken_at:
                raise DataError("the file is damaged")
            state.decoded += 1
            yield number / 25, np.array(number)

    def open_video_frames(recording, fps):
        state.opened += 1
        return VideoFrames(frames(), 25.0, True, True, 31)

    monkeypatch.setattr(segment_reader, "open_video_frames", open_video_frames)
    return state


def read(reader, recording, *segment):
    opened = reader.open(recording, Segment(*segment) if segment else None)
    return [int(frame) for _, frame in opened.frames]


def test_segments_that_follow_each_other_are_decoded_once(videos):
    reader, (first, second) = SegmentReader(None), videos.recordings
    assert read(reader, first, 3, 10, FRAMES) == [*range(3, 10)]
    assert read(reader, first, 10, 12, FRAMES) == [10, 11]
    assert read(reader, first, 0.56, 0.8, SECONDS) == [*range(14, 20)]
    assert read(reader, first, 28, 30, FRAMES) == [28, 29]
    assert (videos.opened, videos.decoded) == (1, 30)
    assert read(reader, second, 28, 30, FRAMES) == [28, 29]
    assert videos.opened == 2


def test_a_segment_that_lies_behind_is_decoded_again(videos):
    reader, (recording, _) = SegmentReader(None), videos.recordings
    for start, end in ((10, 20), (15, 25), (5, 10), (5, 10)):
        assert read(reader, recording, start, end, FRAMES) == [*range(start, end)]
    assert videos.opened == 4
    assert read(reader, recording) == [*range(30)]  # the whole recording
    assert reader.open(recording, None).expected == 31


def test_a_segment_that_was_left_early_does_not_shift_the_next(videos):
    reader, (recording, _) = SegmentReader(None), videos.recordings
    opened = reader.open(recording, Segment(2, 20, FRAMES))
    assert opened.expected == 18
    assert [int(next(opened.frames)[1]) for _ in range(3)] == [2, 3, 4]
    assert read(reader, recording, 10, 12, FRAMES) == [10, 11]
    assert read(reader, recording, 4, 6, FRAMES) == [4, 5]


def test_a_recording_that_was_replaced_is_opened_again(videos):
    reader, (recording, _) = SegmentReader(None), videos.recordings
    read(reader, recording, 2, 5, FRAMES)
    recording.path.write_bytes(b"another video")
    assert read(reader, recording, 8, 9, FRAMES) == [8]
    assert videos.opened == 2


def test_segments_outside_of_the_recording_and_without_a_frame(videos):
    reader, (recording, _) = SegmentReader(None), videos.recordings
    for segment in ((25, 31, FRAMES), (40, 50, FRAMES), (1.0, 2.0, SECONDS)):
        with pytest.raises(DataError, match="is not inside of the recording, which has 30 frames"):
            read(reader, recording, *segment)
    with pytest.raises(DataError, match=r"no frame of the recording is in the segment from 0\.41"):
        read(reader, recording, 0.41, 0.43, SECONDS)


def test_after_damage_the_good_part_can_still_be_read(videos):
    videos.broken_at = 20
    reader, (recording, _) = SegmentReader(None), videos.recordings
    for _ in range(2):
        with pytest.raises(DataError, match="the file is damaged"):
            read(reader, recording, 15, 25, FRAMES)
    assert read(reader, recording, 5, 10, FRAMES) == [*range(5, 10)]


def test_the_order_of_reading(videos):
    first, second = videos.recordings

    def job(name, *segment):
        return Job("train", name, "A", "X", name, Segment(*segment) if segment else None)

    waiting = [
        (job("late", 20, 30, FRAMES), first),
        (job("whole"), second),
        (job("overlap", 5, 22, FRAMES), first),
        (job("early", 0, 10, FRAMES), first),
        (job("middle", 10, 20, FRAMES), first),
    ]
    ordered = in_reading_order(waiting)
    assert [job.id for job, _ in ordered] == ["early", "middle", "late", "overlap", "whole"]
    assert set(ordered) == set(waiting)
