"""A slow and simple drawing of augmentations: one generator per sentence, one draw after another.

`data/augmentation/draws.py` draws the same numbers for many sentences at once.
"""

import math

import numpy as np

from data.augmentation.config import AugmentationConfig
from data.augmentation.draws import HANDS, MOVED_PARTS, NOISE_ROWS, AugmentationDraw
from data.keyed_random import generator
from data.landmarks import FINGERS, PARTS


def _span(random: np.random.Generator, frames: int, share: float) -> tuple[int, int]:
    """Draw a run of frames (start, stop). Its length is up to `share` of the sentence's frames."""
    length = int(random.uniform(0, share) * frames)
    start = int(random.integers(frames - length + 1))
    return start, start + length


def _log_uniform(
    random: np.random.Generator, limits: tuple[float, float], size: int | None = None
) -> np.ndarray:
    """Draw factors whose logarithm is uniform: 2 and 1/2 are equally likely."""
    return np.exp(random.uniform(math.log(limits[0]), math.log(limits[1]), size))


def _draw_kept(
    random: np.random.Generator, config: AugmentationConfig, frames: int, min_frames: int
) -> tuple[np.ndarray, int]:
    """Draw the frames to keep, and the number of frames that they become."""
    speed = float(_log_uniform(random, config.speed))
    drop = random.uniform(0, config.frame_drop)
    keep = random.random(frames) >= drop
    start, stop = _span(random, frames, config.frame_cut)
    keep[start:stop] = False
    kept = np.flatnonzero(keep)
    if len(kept) < 2:
        kept = np.arange(frames)
    # A dropped frame shortens the sentence, like a frame that a camera skips. The speed then
    # stretches or shortens what is left.
    return kept, max(round(len(kept) / speed), min_frames, 1)


def _draw_times(
    random: np.random.Generator, config: AugmentationConfig, frames: int, min_frames: int
) -> np.ndarray:
    """Draw the position of each new frame among the stored frames, float32 (S,)."""
    kept, count = _draw_kept(random, config, frames, min_frames)
    return np.interp(np.linspace(0, len(kept) - 1, count), np.arange(len(kept)), kept).astype(
        np.float32
    )


def _draw_hidden(
    random: np.random.Generator, config: AugmentationConfig, frames: int
) -> tuple[tuple[int, int, int], ...]:
    """Draw the runs of frames in which all parts, or one hand, are hidden."""
    start, stop = _span(random, frames, config.time_mask)
    hidden = [(part, start, stop) for part in range(len(PARTS))]
    for part in HANDS:
        dropped = random.random() < config.hand_drop
        start, stop = _span(random, frames, 0.5)
        hidden += [(PARTS.index(part), start, stop)] * dropped
    return tuple(span for span in hidden if span[1] < span[2])


def _draw_drift(
    random: np.random.Generator, config: AugmentationConfig, frames: int
) -> np.ndarray | None:
    """Draw the slow drift of both hands, float32 (2, frames, 5); see `AugmentationDraw`.

    Independent offsets are drawn every 10 frames. The hand moves smoothly from one to
    the next ("smoothstep": 3 w^2 - 2 w^3).
    """
    if not (config.hand_drift or config.hand_turn):
        return None
    position = random.uniform() + np.arange(frames) / 10
    before = position.astype(int)
    offsets = random.standard_normal((len(HANDS), before[-1] + 2, 5))
    weight = (position - before)[:, None]
    difference = offsets[:, before + 1] - offsets[:, before]
    drift = offsets[:, before] + difference * (3 - 2 * weight) * weight**2
    deviation = np.repeat([config.hand_drift, math.radians(config.hand_turn)], [2, 3])
    return (drift * deviation).astype(np.float32)


def reference_draw(
    config: AugmentationConfig, seed: int, epoch: int, id: str, frames: int, min_frames: int
) -> AugmentationDraw:
    """Draw the augmentation of one sentence.

    Args:
        config: ranges to draw from.
        seed, epoch, id: keys of the draw.
        frames: length of the sentence.
        min_frames: the new sentence has at least this many frames. With the frames that CTC needs
            for the glosses, no augmented sentence becomes impossible to align.
    """
    random = generator(seed, epoch, id)
    times = _draw_times(random, config, frames, min_frames)
    angle = math.radians(random.uniform(-config.rotation, config.rotation))
    rotation = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    factor, aspect = random.uniform(*config.scale), _log_uniform(random, config.aspect)
    scale = factor * np.array([aspect, 1.0])
    return AugmentationDraw(
        times=times,
        scale=factor,
        linear=(rotation * scale).astype(np.float32),  # scales x and y first, then rotates
        shift=random.uniform(-config.shift, config.shift, size=2).astype(np.float32),
        noise=random.uniform(0, config.noise),
        noise_row=int(random.integers(NOISE_ROWS)),
        mirror=bool(random.random() < config.mirror),
        part_scale=_log_uniform(random, config.part_scale, len(MOVED_PARTS)).astype(np.float32),
        part_shift=random.uniform(
            -config.part_shift, config.part_shift, (len(MOVED_PARTS), 2)
        ).astype(np.float32),
        fingers=random.random((len(HANDS), len(FINGERS))) >= config.finger_drop,
        hidden=_draw_hidden(random, config, frames),
        drift=_draw_drift(generator(seed, epoch, id, "drift"), config, len(times)),
    )
