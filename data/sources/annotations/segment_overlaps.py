"""Segments of one recording that overlap: two sentences then share frames.

Between splits that is an error, because a model would be evaluated on frames of its training.
Within a split it is a warning. Segments that only touch are fine. So is an overlap of one frame or
0.05 seconds, because annotated times are rounded. Frames and seconds are not compared.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from operator import itemgetter

from data.sources.annotations.segments import FRAMES, SECONDS, Segment
from errors import DataError

_ROUNDING = {FRAMES: 1.0, SECONDS: 0.05}  # longest overlap that is fine
_SLACK = 1e-9  # of sums of floats


@dataclass(frozen=True)
class Part:
    """The part of a recording that is a sentence; `segment` is None for the whole recording."""

    split: str
    id: str
    segment: Segment | None

    def __str__(self) -> str:
        return f"{self.split} sentence {self.id!r}"


def check_overlaps(recordings: Mapping[str, Iterable[Part]]) -> str | None:
    """Look for overlapping segments of each recording, by its name.

    Returns a warning for overlaps within splits, None if there are none. Raises DataError for an
    overlap between splits, with both sentences, the recording and the overlap.
    """
    within: list[str] = []
    for name, parts in recordings.items():
        # By unit and split: the end that is the highest so far, and its part
        latest: dict[tuple[str, str], tuple[float, Part]] = {}
        segments = [(part.segment, part) for part in parts if part.segment is not None]
        for segment, part in sorted(segments, key=lambda pair: pair[0].start):
            for (unit, split), (end, other) in latest.items():
                shared = replace(segment, end=max(segment.start, min(end, segment.end)))
                if unit != segment.unit or not _counts(shared):
                    continue
                text = f"{other} and {part} overlap {shared} in the recording {name}"
                if split != part.split:
                    raise DataError(
                        f"{text}, expected no common frames in {split} and {part.split}: correct "
                        "the start and the end of the segments, or move one sentence into the "
                        "split of the other"
                    )
                within.append(text)
            key = segment.unit, part.split
            latest[key] = max(latest.get(key, (0.0, part)), (segment.end, part), key=itemgetter(0))
    if not within:
        return None
    count = "1 segment overlaps" if len(within) == 1 else f"{len(within):,} segments overlap"
    return (
        f"{count} an earlier one of the same split: {within[0]}; if that "
        "is a mistake, correct their start and end"
    )


def _counts(shared: Segment) -> bool:
    return shared.end - shared.start > _ROUNDING[shared.unit] + _SLACK
