"""Read the video frames of segments: those of one recording that follow each other in one pass.

A recording with many segments is decoded once per worker process, and a second time only for
segments that overlap. What a segment gives does not depend on the segments before it.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np

from data.sources.annotations.segments import Segment
from data.sources.extraction_folder import Job
from data.sources.video_files import RecordingFile, signature
from data.sources.video_frames import VideoFrames, open_video_frames
from errors import DataError


def in_reading_order(
    waiting: Iterable[tuple[Job, RecordingFile]],
) -> list[tuple[Job, RecordingFile]]:
    """The jobs, with the segments of each recording together, so that each continues where the one
    before it ends. Of overlapping segments, the later ones come after all others."""
    jobs_of: dict[RecordingFile, list[Job]] = {}
    for job, recording in waiting:
        jobs_of.setdefault(recording, []).append(job)
    return [
        (job, recording) for recording, jobs in jobs_of.items() for job in _without_overlaps(jobs)
    ]


def _without_overlaps(jobs: list[Job]) -> Iterator[Job]:
    """The jobs of one recording as passes without overlaps, one after the other."""
    passes: list[list[tuple[Segment, Job]]] = []
    segments = [(job.segment, job) for job in jobs if job.segment is not None]
    for segment, job in sorted(segments, key=lambda pair: (pair[0].unit, pair[0].start)):
        for one in passes:
            if one[-1][0].unit == segment.unit and one[-1][0].end <= segment.start:
                one.append((segment, job))
                break
        else:
            passes.append([(segment, job)])
    yield from (job for job in jobs if job.segment is None)
    yield from (job for one in passes for _, job in one)


class SegmentReader:
    """Opens recordings and segments of recordings, one after the other."""

    def __init__(self, fps: float | None):
        """fps: frames per second that the user gives; they replace the recordings' own times."""
        self._fps = fps
        self._pass: _Pass | None = None

    def open(self, recording: RecordingFile, segment: Segment | None) -> VideoFrames:
        """Open a segment of a recording, or the whole recording where `segment` is None.

        This function and the iterator of frames raise DataError as `open_video_frames` does, and
        when the segment is outside of the recording or has no frame.
        """
        if segment is None:
            self._pass = None
            return open_video_frames(recording, self._fps)
        if self._pass is None or not self._pass.leads_to(recording, segment):
            self._pass = None  # closes the recording before
            self._pass = _Pass(recording, self._fps)
        return replace(self._pass.video, frames=self._frames(segment), expected=segment.frames or 0)

    def _frames(self, segment: Segment) -> Iterator[tuple[float, np.ndarray]]:
        one, found = self._pass, 0
        assert one is not None, "a segment is open"
        while True:
            try:
                upcoming = one.peek()
            except DataError:
                self._pass = None
                raise
            if upcoming is None:
                segment.check_inside(0, one.number, one.video.fps, one.end)
                break
            time, picture = upcoming
            if segment.is_before(one.number, time):
                break
            inside = segment.contains(one.number, time)
            one.advance()
            if inside:
                found += 1
                yield time, picture
        if not found:
            raise DataError(
                f"no frame of the recording is in the segment {segment}, which is shorter than a "
                "frame: correct it, or remove the sentence from the annotations"
            )


class _Pass:
    """A recording that is decoded from its start.

    number: of the frame that comes next. end: seconds, when the last frame that was left ends.
    """

    def __init__(self, recording: RecordingFile, fps: float | None):
        self.recording, self._state = recording, signature(recording)
        self.video = open_video_frames(recording, fps)
        self.number = 0
        self._last_time = 0.0  # of the last frame that was left behind
        self._next: tuple[float, np.ndarray] | None = None

    @property
    def end(self) -> float:
        return self._last_time + 1 / self.video.fps if self.number else 0.0

    def leads_to(self, recording: RecordingFile, segment: Segment) -> bool:
        """Whether this pass is in the same recording, which was not replaced, and no frame of the
        segment is behind it."""
        same = recording == self.recording and signature(recording) == self._state
        return same and (not self.number or segment.is_after(self.number - 1, self._last_time))

    def peek(self) -> tuple[float, np.ndarray] | None:
        """The time and the picture of the next frame, None at the end."""
        if self._next is None:
            self._next = next(self.video.frames, None)
        return self._next

    def advance(self) -> None:
        """Leave the next frame behind."""
        assert self._next is not None
        self._last_time, self.number, self._next = self._next[0], self.number + 1, None
