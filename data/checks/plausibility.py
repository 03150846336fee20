"""Are the landmarks those of a signer, as MediaPipe gives them?

`measure` takes medians over the frames of one recording: where nose and shoulders are in the image,
how the body is turned, whether the face surrounds the nose, whether each hand is at its wrist. So
single bad frames do not count. `Plausibility` compares the measures of many recordings with what
MediaPipe gives: a fault of a large share of the recordings is an error, because it comes from how
the files were made; a fault of a few recordings is a warning. Nothing here depends on which hand
leads or on a mirrored camera, and people who lie or who are turned away give warnings alone.

"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from data.landmarks import (
    FACE_OVAL,
    LEFT_HAND_WRIST,
    LEFT_SHOULDER,
    LEFT_WRIST,
    NOSE,
    PART_SLICES,
    PARTS,
    RIGHT_HAND_WRIST,
    RIGHT_SHOULDER,
    RIGHT_WRIST,
)
from errors import shown_names

ERROR_SHARE = 0.25  # faults in a larger share of the recordings are errors, else warnings
MIN_RECORDINGS = 5  # for faults that a good recording has now and then
MAX_NAMES = 3  # recordings named in one line; the others are only counted

# Image fractions that nose, shoulders, face and hands keep to, also when half a body is cut off
IMAGE_LIMITS = (-0.5, 1.5)
# Points farther to the left and above at once: only coordinates from -1 to 1 and the like have them
CORNER = (-0.1, 0.05)
CENTRE = 0.02  # no nose is so near to the corner (0, 0), but centred features are
MIN_BODY_WIDTH = 0.02  # image fractions
MAX_HAND_OFFSET = 1.0  # body widths from the pose's wrist to the hand's wrist
# The face: largest distance from the pose's nose to the middle of the face, in sizes of the face;
# smallest and largest size, in body widths. Recorded faces: up to 0.25, and 0.5 to 1.4.
FACE_LIMITS = (0.6, 0.3, 2.0)
STRICT_FACE_LIMITS = (0.35, 0.4, 1.5)  # where another fact contradicts the order as well
MAX_HEAD_SIZE = 1.0  # body widths from the nose to the farthest point of the pose's head
MIN_FACING = 0.4  # for less, nose and shoulders are almost on one line
UPRIGHT, UPSIDE_DOWN = 0.5, -0.7  # cosines of the body's angle to the vertical

# The landmarks that models read, and the x and y in which a warning and an error begin. MediaPipe
# guesses elbows and hips outside the image; in recorded close-ups they reach -0.9 and 2.3. Knees
# and feet, which reach 4.6, are read by no model of configs/.
READ_LANDMARKS = np.r_[0:25, 33:543]
WARNING_RANGE, ERROR_RANGE = (-3.0, 4.0), (-10.0, 11.0)

_HEAD = range(1, 11)  # eyes, ears and mouth of the pose
_FACE = PART_SLICES["face"].start + np.array(FACE_OVAL)
# Columns: wrist of the hand, wrist of the pose, the other wrist of the pose
_HANDS = (
    ("left_hand", LEFT_HAND_WRIST, LEFT_WRIST, RIGHT_WRIST),
    ("right_hand", RIGHT_HAND_WRIST, RIGHT_WRIST, LEFT_WRIST),
)


@dataclass(frozen=True)
class Measures:
    """Medians over the frames of one recording, in image fractions unless stated otherwise.

    nose, shoulders: (x, y) of the nose and of the middle between the shoulders.
    visible: (x, y) of the middle of the face, and of the wrist of the left and of the right hand;
        NaN for an undetected part.
    corner: the smallest x and the smallest y of nose and shoulders.
    body_width: the larger one of the shoulder width and the distance from shoulders to nose.
    upright: cosine of the angle between the image's vertical and the line from the shoulders to the
        nose: 1 upright, 0 lying, -1 upside down.
    facing: sine of the angle from that line to the line between the shoulders: near 1 for a person
        who faces the camera, however the image is turned; near -1 for a mirror image whose left and
        right were not exchanged, and for a person seen from behind.
    head_size: see MAX_HEAD_SIZE; NaN if the pose has no points of the head but the nose.
    face_offset, face_size: NaN without a face. Units: FACE_LIMITS.
    hand_offsets, crossed_offsets: body widths from the wrist of the left and the right hand to the
        pose's wrist of the same side and of the other side; NaN without that hand.
    """

    nose: np.ndarray
    shoulders: np.ndarray
    visible: np.ndarray
    corner: np.ndarray
    body_width: float
    upright: float
    facing: float
    head_size: float
    face_offset: float
    face_size: float
    hand_offsets: tuple[float, float]
    crossed_offsets: tuple[float, float]


def measure(landmarks: np.ndarray, detected: np.ndarray) -> Measures | None:
    """The measures of a recording; None where no pose was detected.

    landmarks: float (T, 543, 3), image fractions. detected: bool (T, 4).
    """
    seen = detected[detected[:, 0]]
    if len(seen) == 0:
        return None
    used = [NOSE, LEFT_SHOULDER, RIGHT_SHOULDER, LEFT_WRIST, RIGHT_WRIST]
    places = [*used, LEFT_HAND_WRIST, RIGHT_HAND_WRIST]
    picked = landmarks[:, [*places, *_HEAD, *_FACE], :2][detected[:, 0]].astype(np.float64)
    points = dict(zip(places, picked[:, : len(places)].swapaxes(0, 1), strict=True))
    nose, left, right = points[NOSE], points[LEFT_SHOULDER], points[RIGHT_SHOULDER]
    middle = (left + right) / 2
    across, up = left - right, nose - middle
    width, height = vector_lengths(across), vector_lengths(up)
    body = np.maximum(np.maximum(width, height), 1e-6)
    turn = up[:, 0] * across[:, 1] - up[:, 1] * across[:, 0]
    head = picked[:, len(places) : len(places) + len(_HEAD)]
    known = head.any(axis=2)  # other extractors leave points of the head at zero
    distances = np.where(known, np.hypot(*np.moveaxis(head - nose[:, None], 2, 0)), 0).max(axis=1)
    face = picked[:, len(places) + len(_HEAD) :]
    low, high = face.min(axis=1), face.max(axis=1)
    size = np.maximum(vector_lengths(high - low), 1e-6)
    offsets = [
        [
            _median(vector_lengths(points[hand] - points[wrist]) / body, seen[:, PARTS.index(part)])
            for wrist in (own, other)
        ]
        for part, hand, own, other in _HANDS
    ]
    # Points of the face that a layout lacks lie in one place
    has_face = seen[:, PARTS.index("face")] & (high > low).any(axis=1)
    return Measures(
        nose=np.median(nose, axis=0),
        shoulders=np.median(middle, axis=0),
        visible=np.stack(
            [
                _median((low + high) / 2, has_face),
                *(_median(points[hand], seen[:, PARTS.index(part)]) for part, hand, *_ in _HANDS),
            ]
        ),
        corner=np.median(np.minimum(np.minimum(nose, left), right), axis=0),
        body_width=float(np.median(body)),
        upright=float(np.median(-up[:, 1] / np.maximum(height, 1e-6))),
        facing=float(np.median(turn / np.maximum(width * height, 1e-9))),
        head_size=_median(distances / body, known.any(axis=1)),
        face_offset=_median(vector_lengths(nose - (low + high) / 2) / size, has_face),
        face_size=_median(size / body, has_face),
        hand_offsets=(offsets[0][0], offsets[1][0]),
        crossed_offsets=(offsets[0][1], offsets[1][1]),
    )


def vector_lengths(vectors: np.ndarray) -> np.ndarray:
    """(..., 2) → (...)."""
    return np.hypot(vectors[..., 0], vectors[..., 1])


def _median(values: np.ndarray, chosen: np.ndarray) -> Any:
    """The median of the chosen frames (T, ...); NaN if there is none."""
    if not chosen.any():
        return np.full(values.shape[1:], np.nan)[()]
    return np.median(values[chosen], axis=0)


def _hand_is_off(measures: Measures, side: int) -> bool:
    return measures.hand_offsets[side] > MAX_HAND_OFFSET


def _face_is_off(measures: Measures, limits: tuple[float, float, float] = FACE_LIMITS) -> bool:
    offset, small, large = limits
    return measures.face_offset > offset or not (
        np.isnan(measures.face_size) or small <= measures.face_size <= large
    )


def _is_outside(measures: Measures) -> bool:
    """Whether a person at this place would not be in the image."""
    references = np.stack([measures.nose, measures.shoulders])
    places = np.concatenate([references, measures.visible])
    low, high = IMAGE_LIMITS
    lowest = np.nanmin(np.concatenate([measures.corner[None], places]), axis=0)
    return (
        bool(((places < low) | (places > high)).any())
        or bool((lowest < CORNER).all())
        or bool((np.abs(references) < CENTRE).all(axis=1).any())
        or measures.body_width < MIN_BODY_WIDTH
    )


def _is_out_of_order(measures: Measures) -> bool:
    """Whether at least two of four facts contradict the order of the parts."""
    contradictions = (
        _face_is_off(measures, STRICT_FACE_LIMITS),
        _hand_is_off(measures, 0) or _hand_is_off(measures, 1),
        abs(measures.facing) < MIN_FACING,
        measures.head_size > MAX_HEAD_SIZE,
    )
    return sum(contradictions) >= 2


def _hands_are_exchanged(measures: Measures) -> bool:
    """Whether every detected hand is at the wrist of the other arm."""
    own, crossed = np.array(measures.hand_offsets), np.array(measures.crossed_offsets)
    seen = ~np.isnan(own)
    return bool(seen.any() and ((own > 0.5) & (crossed < 0.6 * own))[seen].all())


@dataclass(frozen=True)
class _Fault:
    """A fault that a recording can have.

    applies: whether a recording has it. text: what is wrong, after "in 3 of 4 recordings ".
    advice: what to do. is_error: False for what also happens in good recordings. least: with fewer
    such recordings it is no error. error: the start of the message if it is one.
    """

    applies: Callable[[Measures], bool]
    text: str
    advice: str
    is_error: bool = True
    least: int = 1
    error: str = "does not hold image coordinates"


_FAULTS = (
    _Fault(
        _is_out_of_order,
        "the hands are not at the wrists of the pose, or the face does not surround the nose",
        "expected fractions of the image in the order pose, face, left hand, right hand, as "
        "MediaPipe gives them; standardised features cannot be converted back",
        error="does not hold image coordinates in MediaPipe's order",
    ),
    _Fault(
        _is_outside,
        "nose and shoulders, the face or a hand are not inside the image",
        "expected fractions of the image between 0 and 1: divide pixels by the image's width and "
        "height; standardised or centred features cannot be converted back",
    ),
    _Fault(
        lambda m: m.upright < UPSIDE_DOWN and m.facing < -MIN_FACING,
        "the nose is below the shoulders as in a mirror: y grows upwards",
        "expected y to grow downwards, from 0 at the top of the image: replace y by 1 - y",
    ),
    _Fault(
        lambda m: UPSIDE_DOWN <= m.upright < UPRIGHT and m.facing < -MIN_FACING,
        "the nose is beside the shoulders as in a mirror: x and y are exchanged",
        "expected x from left to right before y from top to bottom: exchange x and y",
    ),
    _Fault(
        _hands_are_exchanged,
        "the left hand is at the right wrist of the pose, or the right hand at the left one",
        "expected the signer's left hand before the right hand: exchange the two hands",
        least=MIN_RECORDINGS,
    ),
    _Fault(
        lambda m: _hand_is_off(m, 0) and _hand_is_off(m, 1),
        "both hands are far from their wrists of the pose",
        "expected pose and hands in coordinates of the same image",
        least=MIN_RECORDINGS,
    ),
    _Fault(
        _face_is_off,
        "the face does not surround the nose of the pose",
        "expected pose and face in coordinates of the same image",
    ),
    _Fault(
        lambda m: _hand_is_off(m, 0) or _hand_is_off(m, 1),
        "a hand is far from its wrist of the pose",
        "look at some of them: check DIR --html FILE draws skeletons",
        is_error=False,
    ),
    _Fault(
        lambda m: m.upright < UPRIGHT and m.facing > MIN_FACING,
        "the signer lies, or the image is turned",
        "if the image is turned, turn the videos and extract the landmarks again",
        is_error=False,
    ),
    _Fault(
        lambda m: m.upright >= UPRIGHT and m.facing < -MIN_FACING,
        "left and right are exchanged, or the signer is seen from behind",
        "if x was mirrored, exchange left and right of all parts as well",
        is_error=False,
    ),
)


def is_turned(landmarks: np.ndarray, detected: np.ndarray) -> bool:
    """Whether the signer lies, or the image is turned; False where no pose was detected. The
    arguments are those of `measure`."""
    found = measure(landmarks, detected)
    return found is not None and found.upright < UPRIGHT and abs(found.facing) > MIN_FACING


@dataclass(frozen=True)
class Finding:
    """What is wrong with many recordings, as the end of a sentence that begins with their name."""

    text: str
    is_error: bool


class Plausibility:
    """Measures recordings, and says what is wrong with them. It keeps the faulty ones alone."""

    def __init__(self) -> None:
        self._recordings = self._measured = 0
        self._faulty: dict[int, dict[str, Measures]] = {}  # by number of the fault and name

    def add(self, name: str, landmarks: np.ndarray, detected: np.ndarray) -> None:
        """Measure a recording.

        Args:
            name: for messages.
            landmarks: float (T, 543, 3), zeros where a part was not detected.
            detected: bool (T, 4).
        """
        self._recordings += 1
        measures = measure(landmarks, detected)
        if measures is None:
            return
        self._measured += 1
        for number, fault in enumerate(_FAULTS):
            if fault.applies(measures):
                self._faulty.setdefault(number, {})[name] = measures
                break

    def findings(self) -> list[Finding]:
        """The errors first, then the warnings. A recording counts for its first fault alone."""
        if self._recordings and not self._measured:
            text = f"has no detected pose in any of {self._recordings} recordings"
            advice = "expected recordings of a signer whose nose and shoulders are detected"
            return [Finding(f"{text}: {advice}", True)]
        can_be_errors = {
            number
            for number, recordings in self._faulty.items()
            if _FAULTS[number].is_error and len(recordings) >= _FAULTS[number].least
        }
        wrong = sum(len(self._faulty[number]) for number in can_be_errors)
        errors = can_be_errors if wrong > ERROR_SHARE * self._measured else set()
        ordered = sorted(self._faulty, key=lambda number: (number not in errors, number))
        return [self._finding(number, number in errors) for number in ordered]

    def _finding(self, number: int, is_error: bool) -> Finding:
        fault, recordings = _FAULTS[number], self._faulty[number]
        shown = shown_names(recordings, MAX_NAMES)
        places = [[one.nose, one.shoulders] for one in recordings.values()]
        nose, shoulders = (f"({x:.2f}, {y:.2f})" for x, y in np.median(places, axis=0))
        return Finding(
            f"{fault.error if is_error else 'is unusual'}: in {len(recordings)} of "
            f"{self._measured} recordings {fault.text} ({shown}; median nose {nose}, middle of the "
            f"shoulders {shoulders}); {fault.advice}",
            is_error,
        )


def find_extremes(landmarks: np.ndarray) -> Finding | None:
    """The x or y farthest outside the image, if it is outside WARNING_RANGE.

    Points that no model reads do not count. Depth may have any size.

    landmarks: float (T, 543, 3), zeros where a part was not detected.
    """
    image = landmarks[:, READ_LANDMARKS, :2]
    low, high = WARNING_RANGE
    outside = (image < low) | (image > high)
    if not outside.any():
        return None
    values = image[outside].astype(np.float32)
    worst = float(values[np.abs(values).argmax()])
    frames = np.flatnonzero(outside.any(axis=(1, 2)))
    where = (
        f"frame {frames[0]}" if len(frames) == 1 else f"{len(frames)} frames from {frames[0]} on"
    )
    is_error = not ERROR_RANGE[0] <= worst <= ERROR_RANGE[1]
    low, high = ERROR_RANGE if is_error else WARNING_RANGE
    return Finding(
        f"has x or y far outside the image ({worst:.3g}, expected {low:g} to {high:g}) in {where}",
        is_error,
    )
