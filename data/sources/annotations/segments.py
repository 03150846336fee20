"""Segments: the part of a recording that belongs to a sentence.

An annotation table may have columns for the start and the end of each sentence.

Frame numbers count from 0. The frame `end` is the first one that does not belong to the segment,
as in Python's slices: 0 to 15 and 15 to 30 are the two halves of 30 frames. Empty fields, and the
-1 of RWTH-PHOENIX-Weather 2014T, stand for the whole recording.

    columns                                                  unit
    start_frame, end_frame; frame_start, frame_end           frames
    start_seconds, end_seconds; start_s; start_time;
    START_REALIGNED, END_REALIGNED (How2Sign);
    Begin Time - ss.msec, End Time - ss.msec (ELAN)          seconds
    Begin Time - hh:mm:ss.ms, End Time - hh:mm:ss.ms (ELAN)  hours, minutes and seconds
    start_ms, end_ms; Begin Time - msec (ELAN)               milliseconds
    start, end                                               frames if all numbers are whole;
                                                             seconds if one has a fraction

`begin` and `onset` are `start`; `stop` and `offset` are `end`. Seconds may be written as
hours:minutes:seconds, such as 00:01:02.5.
"""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from errors import DataError

FRAMES, SECONDS = "frames", "seconds"
_MILLISECONDS, _CLOCK = "milliseconds", "clock"
UNNAMED = "unnamed"  # the columns start and end, whose names give no unit
# The first pair of columns that a table has counts. {} is the word for start or end.
_COLUMNS = {
    FRAMES: "frame_?{0}|{0}_?frames?",
    SECONDS: "time_?{0}|{0}_?(time|realigned|seconds?)|{0}_(time_)?(s|secs?|seconds?|ss_msec)",
    _CLOCK: "{0}_(time_)?hh_mm_ss(_ms)?",
    _MILLISECONDS: "{0}_?(time_)?(ms|msecs?|milliseconds?)",
    UNNAMED: "{0}",
}
_START, _END = "(start|begin|onset)", "(end|stop|offset)"
_ABSENT = ("", "-1", "-1.0", "na", "n/a", "nan", "none", "null")
_NUMBER = re.compile("([0-9]{1,9})(?:[.,]([0-9]{1,18}))?")
_CLOCK_TIME = re.compile("([0-9]{1,3}):([0-5]?[0-9]):([0-5]?[0-9](?:[.,][0-9]{1,18})?)")
# Words of columns that are probably meant for segments
_LIKE_SEGMENTS = re.compile("(.+_)?(start|begin|onset|end|stop|offset)(_.+)?|from|to|until")
# Containers round the times of frames to milliseconds
_TIME_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Segment:
    """A part of a recording: from `start` up to, but without, `end`, in frames or in seconds."""

    start: float
    end: float
    unit: str

    def __str__(self) -> str:
        if self.unit == FRAMES:
            return f"from frame {self.start:.0f} to before frame {self.end:.0f}"
        return f"from {self.start:g} s to {self.end:g} s"

    @property
    def values(self) -> list[Any]:
        """[start, end, unit], for JSON; `segment_of` makes a segment of them."""
        return [self.start, self.end, self.unit]

    @property
    def frames(self) -> int | None:
        """Its number of frames; None where the unit is seconds."""
        return int(self.end - self.start) if self.unit == FRAMES else None

    def is_before(self, number: int, time: float) -> bool:
        """Whether the whole segment ends before frame `number`, shown at `time` in seconds."""
        return self._position(number, time) >= self.end

    def contains(self, number: int, time: float) -> bool:
        """Whether frame `number`, shown at `time` in seconds, belongs to the segment."""
        return self.start <= self._position(number, time) < self.end

    def is_after(self, number: int, time: float) -> bool:
        """Whether the whole segment begins after frame `number`, shown at `time` in seconds."""
        return self._position(number, time) < self.start

    def check_inside(self, first: int, stop: int, fps: float, seconds: float) -> None:
        """Raise DataError when the segment is not inside of a recording.

        Args:
            first, stop: the first frame number of the recording, and the one behind its last.
            fps: frames per second. Annotated ends are often rounded: they may lie one frame behind
                the end of the recording.
            seconds: the time at which the last frame ends.
        """
        if self.unit == FRAMES:
            inside = first <= self.start and self.end <= stop
            recording = f"{stop - first} frames, {first} to {stop - 1}"
        else:
            inside = first / fps <= self.start + 1 / fps and self.end <= seconds + 1 / fps
            recording = f"{stop - first} frames, from {first / fps:g} s to {seconds:.3f} s"
        if not inside:
            raise DataError(
                f"the segment {self} is not inside of the recording, which has {recording}: "
                "correct start and end in the annotations, or their unit (frames or seconds)"
            )

    def _position(self, number: int, time: float) -> float:
        return number if self.unit == FRAMES else time + _TIME_TOLERANCE


def segment_of(values: Sequence[Any]) -> Segment:
    """The segment with these start, end and unit. Raises ValueError or TypeError for anything
    else."""
    start, end, unit = values
    if unit not in (FRAMES, SECONDS) or not 0 <= float(start) < float(end) < math.inf:
        raise ValueError(f"{values} is not a segment")
    return Segment(float(start), float(end), unit)


@dataclass(frozen=True)
class SegmentColumns:
    """The columns of a table for start and end of a segment, and the unit that their names give."""

    start: str
    end: str
    unit: str


def find_segment_columns(header: Sequence[str], where: str) -> SegmentColumns | None:
    """The columns of start and end in a header of lower-case names; None where it has none.

    where: place of the header, for messages. Raises DataError when only one of both is there, or
    when two columns could be meant.
    """
    alone: list[str] = []
    for unit, pattern in _COLUMNS.items():
        starts, ends = (
            [name for name in header if re.fullmatch(pattern.format(word), _plain(name))]
            for word in (_START, _END)
        )
        if len(starts) > 1 or len(ends) > 1:
            several = starts if len(starts) > 1 else ends
            raise DataError(
                f"{where}: the header has the columns {several[0]!r} and {several[1]!r}, expected "
                "one for the start and one for the end of a segment; rename or remove the others"
            )
        if starts and ends:
            return SegmentColumns(starts[0], ends[0], SECONDS if unit == _CLOCK else unit)
        alone += starts + ends
    if len(alone) > 1:
        raise DataError(
            f"{where}: the columns {alone[0]!r} and {alone[1]!r} have different units, expected "
            "start and end in the same one, such as start_frame and end_frame; convert one of them"
        )
    if alone:
        raise DataError(
            f"{where}: the header has the column {alone[0]!r} alone, expected a column for the "
            "start and one for the end of a segment, such as start_frame and end_frame; add the "
            "other one, or rename this one"
        )
    unclear = [name for name in header if _LIKE_SEGMENTS.fullmatch(_plain(name))]
    if unclear:
        raise DataError(
            f"{where}: the column {unclear[0]!r} seems to be the start or the end of a segment, "
            "but its unit is not known; rename such columns to start_frame and end_frame, "
            "start_seconds and end_seconds, or start_ms and end_ms, or remove them"
        )
    return None


def unit_without_name(values: Iterable[tuple[str, str]]) -> str:
    """The unit of columns `start` and `end`, whose names give none.

    values: (place in the file, text) of all fields of these columns, of all tables of a corpus.
    Raises DataError where whole numbers are written with a fraction, such as 5.0: they could be
    frames or seconds.
    """
    unclear: tuple[str, str] | None = None
    for where, text in values:
        number = _NUMBER.fullmatch(text)
        if number and number[2]:
            if int(number[2]):
                return SECONDS
            unclear = unclear or (where, text)
    if unclear is not None:
        raise DataError(
            f"{unclear[0]}: found {unclear[1]!r} in the columns 'start' and 'end', which can be a "
            "frame number or seconds; rename the columns to start_frame and end_frame, or to "
            "start_seconds and end_seconds"
        )
    return FRAMES


def read_segment(start: str, end: str, unit: str, where: str) -> Segment | None:
    """The segment of a row, from the texts of its fields; None for the whole recording.

    unit: of the columns. where: place of the row, for messages. Raises DataError when a field is no
    number of this unit, only one of both is given, or the segment is empty or reversed.
    """
    absent = [text.casefold() in _ABSENT for text in (start, end)]
    if all(absent):
        return None
    if any(absent):
        raise DataError(
            f"{where}: the segment has the start {start!r} and the end {end!r}; give both, or "
            "leave both empty for the whole recording"
        )
    numbers = [_number(text, unit, where) for text in (start, end)]
    if numbers[0] >= numbers[1]:
        raise DataError(
            f"{where}: the segment from {start} to {end} is "
            f"{'empty' if numbers[0] == numbers[1] else 'reversed'}; its end must be above its "
            "start"
        )
    if unit == _MILLISECONDS:
        return Segment(numbers[0] / 1000, numbers[1] / 1000, SECONDS)
    return Segment(numbers[0], numbers[1], unit)


def _number(text: str, unit: str, where: str) -> float:
    clock = _CLOCK_TIME.fullmatch(text)
    if clock is not None and unit == SECONDS:
        hours, minutes, seconds = clock.groups()
        return 3600 * int(hours) + 60 * int(minutes) + float(seconds.replace(",", "."))
    number = _NUMBER.fullmatch(text)
    whole = number is not None and not int(number[2] or 0)
    if number is None or (unit != SECONDS and not whole):
        kind = "number of seconds" if unit == SECONDS else f"whole number of {unit}"
        raise DataError(
            f"{where}: found {text!r} as the start or end of a segment, expected a {kind}, 0 or "
            "above; leave both empty for the whole recording"
        )
    return float(f"{number[1]}.{number[2] or 0}")


def _plain(name: str) -> str:
    """A column name with '_' for all that is no letter or digit: 'start (s)' is start_s."""
    return re.sub("[^a-z0-9]+", "_", name).strip("_")
