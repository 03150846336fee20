"""Draws the random changes of the train sentences: a few numbers per sentence, in numpy.

Everything is keyed by (seed, epoch, sentence id). In an epoch a sentence therefore looks the same
on every device, in every batch and after every interruption. The draws of many sentences are made
together, in arrays: the columns of `_COLUMNS`, and one number per frame.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data.augmentation.config import AugmentationConfig
from data.ctc_lengths import min_frames
from data.keyed_random import Rekeyed, first_numbers, keys, uniform, whole_number
from data.landmarks import FINGERS, PARTS
from data.sentences import Sentence

NOISE_ROWS = 2048  # of the table of random numbers that all noise is taken from
MOVED_PARTS = ("face", "left_hand", "right_hand")  # parts that are scaled and shifted separately
HANDS = ("left_hand", "right_hand")
_DRIFT_FRAMES = 10  # between two drawn offsets of a drifting hand: about half a sign
_SENTENCES_AT_ONCE = 256  # whose lengths are drawn together
_LONGEST_LOSS = 0.5  # a dropped hand is hidden for at most this share of the sentence

# A sentence of T frames draws two numbers (speed, and the probability of a dropped frame), then T
# numbers (whether each frame is kept), then these columns. `whole_number` takes two draws from the
# columns of starts; cut_and_noise is the start of the cut and the row of the noise.
_BEFORE_FRAMES = 2
_WIDTHS = {
    "cut": 1,
    "cut_and_noise": 1,
    "rotation": 1,
    "scale": 1,
    "aspect": 1,
    "shift": 2,
    "noise": 1,
    "mirror": 1,
    "part_scale": len(MOVED_PARTS),
    "part_shift": 2 * len(MOVED_PARTS),
    "fingers": len(HANDS) * len(FINGERS),
    "mask": 1,
    "mask_and_left_start": 1,
    "left_drop": 1,
    "left_loss": 1,
    "right_drop": 1,
    "right_loss": 1,
    "right_start": 1,
}
_ENDS = np.cumsum(list(_WIDTHS.values()))
_COLUMNS = {
    name: slice(int(end) - width, int(end))
    for (name, width), end in zip(_WIDTHS.items(), _ENDS, strict=True)
}


@dataclass(frozen=True)
class AugmentationDraw:
    """The random changes of one sentence of T frames, which becomes a sentence of S frames.

    times: float32 (S,), the position of each new frame among the T frames, rising.
    linear: float32 (2, 2), matrix for x and y: scale, aspect and rotation.
    scale: factor of z, the same as that of x and y.
    shift: float32 (2,), for x and y, in shoulder widths.
    noise: standard deviation in shoulder widths; noise_row: where the noise starts in the table.
    mirror: exchange left and right, after all other changes.
    part_scale: float32 (3,), part_shift: float32 (3, 2), of the face, the left and the right hand.
    fingers: bool (2, 5), False for each finger of the left and right hand that is folded.
    hidden: (part, start, stop) for each run of the T frames in which a part is hidden.
    drift: float32 (2, S, 5), of the left and the right hand: a shift in x and y, and a rotation
        vector in radians. None if both are switched off.
    """

    times: np.ndarray
    linear: np.ndarray
    scale: float
    shift: np.ndarray
    noise: float
    noise_row: int
    mirror: bool
    part_scale: np.ndarray
    part_shift: np.ndarray
    fingers: np.ndarray
    hidden: tuple[tuple[int, int, int], ...]
    drift: np.ndarray | None = None


def ids_and_lengths(sentences: Sequence[Sentence]) -> tuple[list[str], list[int], list[int]]:
    """The last arguments of `draw_augmentations`: ids, frames, and frames that CTC needs."""
    return (
        [sentence.id for sentence in sentences],
        [sentence.frames for sentence in sentences],
        [min_frames(sentence.glosses) for sentence in sentences],
    )


def draw_augmentations(
    config: AugmentationConfig,
    seed: int,
    epoch: int,
    ids: Sequence[str],
    frames: Sequence[int] | np.ndarray,
    fewest: Sequence[int] | np.ndarray,
) -> list[AugmentationDraw]:
    """Draw the augmentation of each of N sentences.

    Args:
        config: ranges to draw from.
        seed, epoch, ids: keys of the draws.
        frames: the lengths of the sentences, 1 or more each.
        fewest: each new sentence has at least this many frames. With the frames that CTC needs
            for the glosses, no augmented sentence becomes impossible to align.
    """
    numbers = _Numbers(seed, epoch, ids, frames)
    kept, sizes, counts = _draw_kept(config, numbers, np.asarray(fewest))
    times = np.split(_times(kept, sizes, counts), np.cumsum(counts)[:-1])
    linear, scale = _draw_linear(config, numbers)
    shift = numbers.uniform("shift", -config.shift, config.shift).astype(np.float32)
    noise = numbers.uniform("noise", 0, config.noise).tolist()
    noise_row = numbers.whole("cut_and_noise", NOISE_ROWS, second=True).tolist()
    mirror = (numbers.units("mirror") < config.mirror).tolist()
    part_scale = numbers.log_uniform("part_scale", config.part_scale).astype(np.float32)
    part_shift = numbers.uniform("part_shift", -config.part_shift, config.part_shift)
    part_shift = part_shift.astype(np.float32).reshape(-1, len(MOVED_PARTS), 2)
    fingers = numbers.units("fingers") >= config.finger_drop
    fingers = fingers.reshape(-1, len(HANDS), len(FINGERS))
    hidden = _draw_hidden(config, numbers)
    drifts = _draw_drifts(config, keys((seed, epoch), ids, ("drift",)), counts)
    return [
        AugmentationDraw(
            times=times[row],
            linear=linear[row],
            scale=scale[row],
            shift=shift[row],
            noise=noise[row],
            noise_row=noise_row[row],
            mirror=mirror[row],
            part_scale=part_scale[row],
            part_shift=part_shift[row],
            fingers=fingers[row],
            hidden=hidden[row],
            drift=drifts[row],
        )
        for row in range(len(ids))
    ]


def draw_augmentation(
    config: AugmentationConfig, seed: int, epoch: int, id: str, frames: int, fewest: int
) -> AugmentationDraw:
    """`draw_augmentations` of one sentence."""
    (draw,) = draw_augmentations(config, seed, epoch, [id], [frames], [fewest])
    return draw


def augmented_lengths(
    config: AugmentationConfig,
    seed: int,
    epoch: int,
    ids: Sequence[str],
    frames: Sequence[int] | np.ndarray,
    fewest: Sequence[int] | np.ndarray,
) -> np.ndarray:
    """Frames of each sentence after augmentation, int64 (N,): the lengths of `draw_augmentations`
    without the rest of it. The arguments are the same."""
    found = np.array(frames, dtype=np.int64)
    if not config.enabled:
        return found
    # In parts that fit into the processor's cache: there are several numbers for each frame
    for start in range(0, len(found), _SENTENCES_AT_ONCE):
        part = slice(start, start + _SENTENCES_AT_ONCE)
        numbers = _Numbers(seed, epoch, ids[part], found[part])
        found[part] = _draw_kept(config, numbers, np.asarray(fewest[part]))[2]
    return found


class _Numbers:
    """The random numbers of N sentences. `frames`: int64 (N,), their lengths."""

    def __init__(
        self, seed: int, epoch: int, ids: Sequence[str], frames: Sequence[int] | np.ndarray
    ):
        self.frames = np.array(frames, dtype=np.int64)
        counts = _BEFORE_FRAMES + self.frames + int(_ENDS[-1])
        numbers = first_numbers(keys((seed, epoch), ids), counts.tolist())
        starts = np.cumsum(counts) - counts
        self._units = uniform(numbers)
        self._starts = starts
        self._columns = (starts + _BEFORE_FRAMES + self.frames)[:, None] + np.arange(_ENDS[-1])
        self._column_numbers = numbers[self._columns]
        self._column_units = self._units[self._columns]

    def units(self, name: str) -> np.ndarray:
        """A column as float64 from [0, 1): (N,), or (N, width) if it is wider than 1."""
        found = self._column_units[:, _COLUMNS[name]]
        return found[:, 0] if _WIDTHS[name] == 1 else found

    def uniform(self, name: str, low: float, high: float) -> np.ndarray:
        """A column as float64 from [low, high)."""
        return low + (high - low) * self.units(name)

    def log_uniform(self, name: str, limits: tuple[float, float]) -> np.ndarray:
        """A column as factors whose logarithm is uniform: 2 and 1/2 are equally likely."""
        return np.exp(self.uniform(name, math.log(limits[0]), math.log(limits[1])))

    def whole(self, name: str, limit: np.ndarray | int, second: bool) -> np.ndarray:
        """A column of width 1 as `whole_number`, int64 (N,)."""
        return whole_number(self._column_numbers[:, _COLUMNS[name].start], limit, second)

    def span(
        self, length: str, start: str, second: bool, share: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """A run of frames (start, stop) of each sentence, int64 (N,) each. Its length is up to
        `share` of the sentence's frames.

        length, start: columns; second: of `whole_number`, for the start.
        """
        frames = (self.uniform(length, 0, share) * self.frames).astype(np.int64)
        first = self.whole(start, self.frames - frames + 1, second)
        return first, first + frames

    def before_frames(self, index: int) -> np.ndarray:
        """0: of the speed, 1: of dropped frames. float64 (N,) from [0, 1)."""
        return self._units[self._starts + index]

    def of_frames(self) -> np.ndarray:
        """One number per frame, those of all sentences one after the other: float64
        (sum(frames),) from [0, 1)."""
        inside = np.ones(len(self._units), dtype=bool)
        inside[self._columns] = False
        for index in range(_BEFORE_FRAMES):
            inside[self._starts + index] = False
        return self._units[inside]


def ramps(counts: np.ndarray) -> np.ndarray:
    """0, 1, ... counts[0] - 1, then 0, 1, ... counts[1] - 1, and so on: int64 (sum(counts),)."""
    ends = np.cumsum(counts)
    return np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - counts, counts)


def _draw_kept(
    config: AugmentationConfig, numbers: _Numbers, fewest: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw the frames to keep.

    Returns the kept frames of all sentences, one sentence after the other; their number in each
    sentence (N,); and the number of frames that they become (N,).
    """
    frames = numbers.frames
    slowest, fastest = map(math.log, config.speed)
    speed = np.exp(slowest + (fastest - slowest) * numbers.before_frames(0))
    drop = config.frame_drop * numbers.before_frames(1)
    keep = numbers.of_frames() >= np.repeat(drop, frames)
    start, stop = numbers.span("cut", "cut_and_noise", False, config.frame_cut)
    place = ramps(frames)
    keep &= (place < np.repeat(start, frames)) | (place >= np.repeat(stop, frames))
    ends = np.cumsum(frames)
    so_far = np.concatenate([[0], np.cumsum(keep)])
    left = so_far[ends] - so_far[ends - frames]
    keep |= np.repeat(left < 2, frames)  # fewer than two frames are left: keep them all
    left = np.where(left < 2, frames, left)
    # A dropped frame shortens the sentence, like a frame that a camera skips. The speed then
    # stretches or shortens what is left.
    counts = np.maximum(np.rint(left / speed).astype(np.int64), np.maximum(fewest, 1))
    return place[keep], left, counts


def _times(kept: np.ndarray, sizes: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The position of each new frame among the stored frames, float32 (sum(counts),).

    The new frames are spread evenly over the kept frames. The arguments are those that `_draw_kept`
    returns.
    """
    step = (sizes - 1) / np.maximum(counts - 1, 1)
    last = np.repeat(sizes - 1, counts)
    place = np.minimum(ramps(counts) * np.repeat(step, counts), last)
    before = np.minimum(place.astype(np.int64), np.maximum(last - 1, 0))
    first = np.repeat(np.cumsum(sizes) - sizes, counts)  # where the sentence's kept frames begin
    lower, upper = kept[first + before], kept[first + np.minimum(before + 1, last)]
    return (lower + (upper - lower) * (place - before)).astype(np.float32)


def _draw_linear(config: AugmentationConfig, numbers: _Numbers) -> tuple[np.ndarray, list[float]]:
    """Draw the matrices of x and y, float32 (N, 2, 2), and their scale."""
    angle = np.radians(numbers.uniform("rotation", -config.rotation, config.rotation))
    scale = numbers.uniform("scale", *config.scale)
    aspect = numbers.log_uniform("aspect", config.aspect)
    cos, sin = np.cos(angle), np.sin(angle)
    # Scales x and y first, then rotates
    linear = [[cos * scale * aspect, -sin * scale], [sin * scale * aspect, cos * scale]]
    return np.array(linear).transpose(2, 0, 1).astype(np.float32), scale.tolist()


def _draw_hidden(
    config: AugmentationConfig, numbers: _Numbers
) -> list[tuple[tuple[int, int, int], ...]]:
    """Draw the runs of frames in which all parts, or one hand, are hidden, of each sentence."""
    if not (config.time_mask or config.hand_drop):
        return [()] * len(numbers.frames)
    start, stop = numbers.span("mask", "mask_and_left_start", False, config.time_mask)
    runs = [(part, start, stop) for part in range(len(PARTS))]
    for hand, starts, second in (
        ("left", "mask_and_left_start", True),
        ("right", "right_start", False),
    ):
        start, stop = numbers.span(f"{hand}_loss", starts, second, _LONGEST_LOSS)
        dropped = numbers.units(f"{hand}_drop") < config.hand_drop
        runs.append((PARTS.index(f"{hand}_hand"), start, np.where(dropped, stop, start)))
    return [
        tuple(
            (part, int(start[row]), int(stop[row]))
            for part, start, stop in runs
            if start[row] < stop[row]
        )
        for row in range(len(numbers.frames))
    ]


def _draw_drifts(
    config: AugmentationConfig, drift_keys: Sequence[int], counts: np.ndarray
) -> Sequence[np.ndarray | None]:
    """Draw the slow drift of both hands, float32 (2, S, 5), of each sentence; see
    `AugmentationDraw`.

    Independent offsets are drawn every _DRIFT_FRAMES frames. The hand moves smoothly from one to
    the next ("smoothstep": 3 w^2 - 2 w^3).
    """
    if not (config.hand_drift or config.hand_turn):
        return [None] * len(drift_keys)
    random, phases, drawn = Rekeyed(), [], []
    for key, count in zip(drift_keys, counts.tolist(), strict=True):
        generator = random.start(key)
        phases.append(generator.random())
        offsets = int(phases[-1] + (count - 1) / _DRIFT_FRAMES) + 2
        drawn.append(generator.standard_normal((len(HANDS), offsets, 5)).transpose(1, 0, 2))
    sizes = np.array([len(offsets) for offsets in drawn])
    flat = np.concatenate(drawn).reshape(-1, len(HANDS) * 5)  # a row per offset
    position = np.repeat(phases, counts) + ramps(counts) / _DRIFT_FRAMES
    before = position.astype(np.int64)
    weight = (position - before)[:, None]
    weight = (3 - 2 * weight) * weight**2
    before += np.repeat(np.cumsum(sizes) - sizes, counts)
    drift = np.diff(flat, axis=0).take(before, axis=0)
    drift *= weight
    drift += flat.take(before, axis=0)
    drift *= np.tile(np.repeat([config.hand_drift, math.radians(config.hand_turn)], [2, 3]), 2)
    frames = drift.astype(np.float32).reshape(-1, len(HANDS), 5)
    ends = np.cumsum(counts).tolist()
    return [
        frames[stop - count : stop].transpose(1, 0, 2)
        for stop, count in zip(ends, counts.tolist(), strict=True)
    ]
