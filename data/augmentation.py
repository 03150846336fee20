"""Random changes of the training sentences.

The changes are drawn in numpy: a few numbers per sentence, keyed by (seed, epoch, sentence id).
They are applied in torch, to a batch on the device. In an epoch a sentence therefore looks the same
on every device, in every batch and after every interruption.

They are applied in two steps. `hide_parts` marks parts as not detected before gaps are bridged, so
that a hidden hand is bridged in the same way as a hand that the detector lost. `Augmenter` then
changes the body coordinates.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from data.augmentation_config import AugmentationConfig
from data.device_transfer import on_device
from data.features import gather_frames
from data.keyed_random import generator
from data.landmarks import (
    ALL_LANDMARKS,
    BLOCK_SIZE,
    FINGERS,
    MIRRORED_PARTS,
    PARTS,
    LandmarkSelection,
)

_NOISE_ROWS = 2048  # of the table of random numbers that all noise is taken from
_MOVED_PARTS = ("face", "left_hand", "right_hand")  # parts that are scaled and shifted separately
_HANDS = ("left_hand", "right_hand")
_DRIFT_FRAMES = 10  # between two drawn offsets of a drifting hand: about half a sign
_LONGEST_LOSS = 0.5  # a dropped hand is hidden for at most this share of the sentence


@dataclass(frozen=True)
class AugmentationDraw:
    """The random changes of one sentence of T frames, which becomes a sentence of S frames.

    times: float32 (S,), the position of each new frame among the T frames, rising.
    linear: float32 (2, 2), matrix for x and y: scale, aspect and rotation.
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
    shift: np.ndarray
    noise: float
    noise_row: int
    mirror: bool
    part_scale: np.ndarray
    part_shift: np.ndarray
    fingers: np.ndarray
    hidden: tuple[tuple[int, int, int], ...]
    drift: np.ndarray | None = None


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
    for part in _HANDS:
        dropped = random.random() < config.hand_drop
        start, stop = _span(random, frames, _LONGEST_LOSS)
        hidden += [(PARTS.index(part), start, stop)] * dropped
    return tuple(span for span in hidden if span[1] < span[2])


def _draw_drift(
    random: np.random.Generator, config: AugmentationConfig, frames: int
) -> np.ndarray | None:
    """Draw the slow drift of both hands, float32 (2, frames, 5); see `AugmentationDraw`.

    Independent offsets are drawn every _DRIFT_FRAMES frames. The hand moves smoothly from one to
    the next ("smoothstep": 3 w^2 - 2 w^3).
    """
    if not (config.hand_drift or config.hand_turn):
        return None
    position = random.uniform() + np.arange(frames) / _DRIFT_FRAMES
    before = position.astype(int)
    offsets = random.standard_normal((len(_HANDS), before[-1] + 2, 5))
    weight = (position - before)[:, None]
    difference = offsets[:, before + 1] - offsets[:, before]
    drift = offsets[:, before] + difference * (3 - 2 * weight) * weight**2
    deviation = np.repeat([config.hand_drift, math.radians(config.hand_turn)], [2, 3])
    return (drift * deviation).astype(np.float32)


def draw_augmentation(
    config: AugmentationConfig, seed: int, epoch: int, id: str, frames: int, min_frames: int
) -> AugmentationDraw:
    """Draw the augmentation of one sentence.

    Args:
        config: ranges to draw from.
        seed, epoch, id: keys of the draw.
        frames: length of the sentence.
        min_frames: the new sentence has at least so many frames. With the frames that CTC needs
            for the glosses, no augmented sentence becomes impossible to align.
    """
    random = generator(seed, epoch, id)
    times = _draw_times(random, config, frames, min_frames)
    angle = math.radians(random.uniform(-config.rotation, config.rotation))
    scale = random.uniform(*config.scale) * np.array([_log_uniform(random, config.aspect), 1.0])
    rotation = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    return AugmentationDraw(
        times=times,
        linear=(rotation * scale).astype(np.float32),  # scales x and y first, then rotates
        shift=random.uniform(-config.shift, config.shift, size=2).astype(np.float32),
        noise=random.uniform(0, config.noise),
        noise_row=int(random.integers(_NOISE_ROWS)),
        mirror=bool(random.random() < config.mirror),
        part_scale=_log_uniform(random, config.part_scale, len(_MOVED_PARTS)).astype(np.float32),
        part_shift=random.uniform(
            -config.part_shift, config.part_shift, (len(_MOVED_PARTS), 2)
        ).astype(np.float32),
        fingers=random.random((len(_HANDS), len(FINGERS))) >= config.finger_drop,
        hidden=_draw_hidden(random, config, frames),
        drift=_draw_drift(generator(seed, epoch, id, "drift"), config, len(times)),
    )


def augmented_frames(
    config: AugmentationConfig, seed: int, epoch: int, id: str, frames: int, min_frames: int
) -> int:
    """Frames of a sentence after augmentation: a quick way to the length that `draw_augmentation`
    draws. The arguments are the same."""
    if not config.enabled:
        return frames
    _, count = _draw_kept(generator(seed, epoch, id), config, frames, min_frames)
    return count


def hide_parts(detected: Tensor, draws: Sequence[AugmentationDraw]) -> Tensor:
    """Mark the hidden parts as not detected, so that they are bridged like any other gap.

    detected: bool (B, T, 4) as stored; draws: of the B sentences. Returns bool (B, T, 4).
    """
    if not any(draw.hidden for draw in draws):
        return detected
    visible = np.ones(detected.shape, dtype=bool)
    for row, draw in enumerate(draws):
        for part, start, stop in draw.hidden:
            visible[row, start:stop, part] = False
    return detected & on_device(visible, detected.device)


class Augmenter:
    """Applies draws to batches on one device.

    Noise comes from a fixed table of random numbers and starts at a drawn row, so it is the same on
    all devices.
    """

    def __init__(
        self,
        config: AugmentationConfig,
        device: torch.device | str = "cpu",
        selection: LandmarkSelection = ALL_LANDMARKS,
    ):
        self.config, self.selection = config, selection
        table = generator("noise table").standard_normal(
            (_NOISE_ROWS, BLOCK_SIZE), dtype=np.float32
        )
        self._table = torch.from_numpy(table[:, selection.coordinate_columns]).to(device)
        self._mirrored = torch.tensor(selection.mirrored, device=device)
        self._mirrored_parts = torch.tensor(MIRRORED_PARTS, device=device)
        self._negate_x = torch.tensor([-1.0, 1.0, 1.0], device=device)
        # The landmarks of both arms, the hand that each follows, and how far: 1 is the whole way.
        arms = [
            (landmark, hand, share)
            for hand, name in enumerate(_HANDS)
            for landmark, share in selection.arms[name]
        ]
        landmarks, hands, shares = zip(*arms, strict=True)
        self._arms = torch.tensor(landmarks, device=device)
        self._arms_hand = torch.tensor(hands, device=device)
        self._arms_share = torch.tensor(shares, device=device)[:, None]

    def __call__(
        self, body: Tensor, detected: Tensor, draws: Sequence[AugmentationDraw]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Apply the drawn changes.

        Args:
            body: float32 (B, T, 543, 3) in shoulder widths; or the K landmarks of the selection.
            detected: bool (B, T, 4).
            draws: of the B sentences.

        Returns body float32 (B, S, 543, 3), detected bool (B, S, 4) and lengths int64 (B,). S is
        the longest drawn length. Frames after the end of a sentence hold its last frame, as
        `feature_blocks` needs it.
        """
        device = body.device
        counts = np.array([len(draw.times) for draw in draws])
        longest = int(counts.max())
        padded_times = [
            np.pad(draw.times, (0, longest - len(draw.times)), "edge") for draw in draws
        ]
        times, lengths = on_device(np.stack(padded_times), device), on_device(counts, device)
        before = times.floor().long()
        after = times.ceil().long()
        body = torch.lerp(
            gather_frames(body, before),
            gather_frames(body, after),
            (times - before)[:, :, None, None],
        )
        detected = gather_frames(detected, times.round().long())
        self._move_parts(body, draws)
        self._fold_fingers(body, draws)
        self._drift_hands(body, draws, longest)

        linear = on_device(np.stack([draw.linear for draw in draws]), device)  # (B, 2, 2)
        shift = on_device(np.stack([draw.shift for draw in draws]), device)  # (B, 2)
        x, y = body[..., 0], body[..., 1]
        linear, shift = linear[:, :, :, None, None], shift[:, :, None, None]
        body = torch.stack(
            [
                linear[:, 0, 0] * x + linear[:, 0, 1] * y + shift[:, 0],
                linear[:, 1, 0] * x + linear[:, 1, 1] * y + shift[:, 1],
                body[..., 2],
            ],
            dim=-1,
        )
        if self.config.noise > 0:
            body = body + self._noise(draws, lengths, longest).reshape(body.shape)
        for row, draw in enumerate(draws):
            if draw.mirror:
                body[row] = body[row].index_select(1, self._mirrored) * self._negate_x
                detected[row] = detected[row].index_select(1, self._mirrored_parts)
        return body, detected, lengths

    def _noise(self, draws: Sequence[AugmentationDraw], lengths: Tensor, frames: int) -> Tensor:
        """The noise of a batch, float32 (B, frames, 3 K)."""
        device = lengths.device
        rows = on_device(np.array([draw.noise_row for draw in draws]), device)[:, None]
        rows = (rows + torch.arange(frames, device=device)) % _NOISE_ROWS
        deviation = on_device(np.array([draw.noise for draw in draws], dtype=np.float32), device)
        noise = self._table.index_select(0, rows.reshape(-1))
        noise = noise.reshape(len(draws), frames, -1) * deviation[:, None, None]
        # Hold the noise of the last frame after the end, too: other noise there would change the
        # derivatives of the last frame.
        hold = torch.minimum(torch.arange(frames, device=device)[None], lengths[:, None] - 1)
        return gather_frames(noise, hold)

    def _move_parts(self, body: Tensor, draws: Sequence[AugmentationDraw]) -> None:
        """Scale face and hands about their roots and shift them relative to the body, in place."""
        if self.config.part_shift == 0 and self.config.part_scale == (1.0, 1.0):
            return
        scales = on_device(np.stack([draw.part_scale for draw in draws]), body.device)  # (B, 3)
        padded_shifts = [np.pad(draw.part_shift, ((0, 0), (0, 1))) for draw in draws]  # z: 0
        shifts = on_device(np.stack(padded_shifts), body.device)  # (B, 3, 3)
        for index, name in enumerate(_MOVED_PARTS):
            points = body[:, :, self.selection.part_slices[name]]
            root = body[:, :, self.selection.part_roots[name], None].clone()
            points.sub_(root).mul_(scales[:, index, None, None, None]).add_(
                root + shifts[:, index, None, None]
            )

    def _fold_fingers(self, body: Tensor, draws: Sequence[AugmentationDraw]) -> None:
        """Put all points of each folded finger onto its base, in place."""
        for row, draw in enumerate(draws):
            for hand, name in enumerate(_HANDS):
                for finger in np.flatnonzero(~draw.fingers[hand]):
                    # Slices, because a list of indices would be copied to the device, with a wait
                    first, *_, last = (
                        self.selection.part_slices[name].start + point for point in FINGERS[finger]
                    )
                    body[row, :, first + 1 : last + 1] = body[row, :, first : first + 1]

    def _drift_hands(self, body: Tensor, draws: Sequence[AugmentationDraw], frames: int) -> None:
        """Turn the hands about their wrists, and shift them together with their arms, in place.

        The wrist of the pose moves with the hand, the elbow half as far.
        """
        drifts = [draw.drift for draw in draws if draw.drift is not None]
        if not drifts:
            return
        padded_drifts = [
            np.pad(drift, ((0, 0), (0, frames - drift.shape[1]), (0, 0)), "edge")
            for drift in drifts
        ]
        drift = on_device(np.stack(padded_drifts), body.device)  # (B, 2, S, 5)
        drift = drift.transpose(1, 2)[:, :, :, None]  # (B, S, 2, 1, 5)
        shift, turn = drift[..., :2], drift[..., 2:]
        # The landmarks of the right hand follow those of the left hand.
        left, right = (self.selection.part_slices[name] for name in _HANDS)
        hands = body[:, :, left.start : right.stop]
        hands = hands.view(*hands.shape[:2], len(_HANDS), -1, 3)  # (B, S, 2, 21, 3)
        root = hands[..., :1, :].clone()
        hands.copy_(root + rotate(hands - root, turn))
        hands[..., :2] += shift
        body[..., :2].index_add_(2, self._arms, shift[:, :, self._arms_hand, 0] * self._arms_share)


def rotate(points: Tensor, turn: Tensor) -> Tensor:
    """Rotate points about the origin, with Rodrigues' formula.

    points: (..., 3). turn: (..., 3), rotation vectors that broadcast to the points: the direction
    is the axis, the length is the angle in radians. Returns (..., 3).
    """
    angle = torch.linalg.vector_norm(turn, dim=-1, keepdim=True)
    axis = (turn / angle.clamp(min=1e-9)).expand_as(points)
    along = axis * (axis * points).sum(-1, keepdim=True)  # the part that the rotation leaves alone
    return along + (points - along) * angle.cos() + torch.linalg.cross(axis, points) * angle.sin()
