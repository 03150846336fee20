"""Augmentation of train batches: drawn per sentence from (seed, epoch, id), applied to the whole
batch on the device.

Drawing (numpy, a few numbers a sentence) and applying (torch) are apart, so that the same sentence
in the same epoch looks the same on every device, in every batch and after every interruption.
Applied in two steps: what is hidden is hidden before gaps are bridged (`hide_parts`), so that a hidden
hand is bridged exactly as a lost one is; the rest acts on body coordinates.
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

_NOISE_ROWS = 2048  # rows of the table of normal values that noise is read from
_MOVED_PARTS = ("face", "left_hand", "right_hand")  # scaled and shifted against the body
_HANDS = ("left_hand", "right_hand")
_DRIFT_FRAMES = 10  # from one drawn place of a drifting hand to the next: about half a sign
_LONGEST_LOSS = 0.5  # a lost hand stays lost for at most this share of the sentence


@dataclass(frozen=True)
class AugmentationDraw:
    """What was drawn for one sentence.

    times: source positions (S,). linear: a 2x2 map of x and y; shift (2,). noise: standard
    deviation, from row noise_row of the table. mirror: exchange left and right, after everything
    else. part_scale (3,) and part_shift (3, 2): of face, left and right hand. fingers: bool (2, 5),
    those that stay. hidden: (part, start, stop) in source frames. drift: (2, S, 5), of the left and
    the right hand a shift in x and y and a rotation vector in radians; None when neither is drawn.
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
    """(start, stop) of a run of frames somewhere in the sentence, whose share of it is drawn from
    [0, share]."""
    length = int(random.uniform(0, share) * frames)
    start = int(random.integers(frames - length + 1))
    return start, start + length


def _log_uniform(random: np.random.Generator, limits: tuple[float, float], size: int | None = None):
    return np.exp(random.uniform(math.log(limits[0]), math.log(limits[1]), size))


def _draw_kept(
    random: np.random.Generator, config: AugmentationConfig, frames: int, min_frames: int
) -> tuple[np.ndarray, int]:
    """Source frames that are kept, and how many frames they become."""
    speed = _log_uniform(random, config.speed)
    drop = random.uniform(0, config.frame_drop)
    keep = random.random(frames) >= drop
    start, stop = _span(random, frames, config.frame_cut)
    keep[start:stop] = False
    kept = np.flatnonzero(keep)
    if len(kept) < 2:
        kept = np.arange(frames)
    # Dropped frames shorten the sentence as skipped frames of a camera do; speed then stretches
    # what is left.
    return kept, max(round(len(kept) / speed), min_frames, 1)


def _draw_times(
    random: np.random.Generator, config: AugmentationConfig, frames: int, min_frames: int
) -> np.ndarray:
    kept, count = _draw_kept(random, config, frames, min_frames)
    return np.interp(np.linspace(0, len(kept) - 1, count), np.arange(len(kept)), kept).astype(
        np.float32
    )


def _draw_hidden(
    random: np.random.Generator, config: AugmentationConfig, frames: int
) -> tuple[tuple[int, int, int], ...]:
    start, stop = _span(random, frames, config.time_mask)
    hidden = [(part, start, stop) for part in range(len(PARTS))]
    for part in _HANDS:
        lost = random.random() < config.hand_drop
        start, stop = _span(random, frames, _LONGEST_LOSS)
        hidden += [(PARTS.index(part), start, stop)] * lost
    return tuple(span for span in hidden if span[1] < span[2])


def _draw_drift(
    random: np.random.Generator, config: AugmentationConfig, frames: int
) -> np.ndarray | None:
    """Independent places every few frames, eased from one to the next."""
    if not (config.hand_drift or config.hand_turn):
        return None
    at = random.uniform() + np.arange(frames) / _DRIFT_FRAMES
    before = at.astype(int)
    places = random.standard_normal((len(_HANDS), before[-1] + 2, 5))
    way = (at - before)[:, None]
    drift = places[:, before] + (places[:, before + 1] - places[:, before]) * (3 - 2 * way) * way**2
    return (drift * np.repeat([config.hand_drift, math.radians(config.hand_turn)], [2, 3])).astype(
        np.float32
    )


def draw_augmentation(
    config: AugmentationConfig, seed: int, epoch: int, id: str, frames: int, min_frames: int
) -> AugmentationDraw:
    """AugmentationDraw one sentence's augmentation.

    frames: its length; min_frames: it is never made shorter than this (4 x the CTC steps that its
    glosses need), so no augmented sentence becomes impossible to align.
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
    """Frames of the sentence that `draw` makes of these, without drawing the rest."""
    return (
        _draw_kept(generator(seed, epoch, id), config, frames, min_frames)[1]
        if config.enabled
        else frames
    )


def hide_parts(detected: Tensor, draws: Sequence[AugmentationDraw]) -> Tensor:
    """`detected` bool (B, T, 4) as stored, with the drawn spans set to False: to be bridged like
    any other gap."""
    if not any(one.hidden for one in draws):
        return detected
    seen = np.ones(detected.shape, dtype=bool)
    for row, one in enumerate(draws):
        for part, start, stop in one.hidden:
            seen[row, start:stop, part] = False
    return detected & on_device(seen, detected.device)


class Augmenter:
    """Applies draws to a batch on one device. Noise is read from a fixed table at a drawn row: the
    same on all devices."""

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
        self._flip = torch.tensor([-1.0, 1.0, 1.0], device=device)
        # Of the arms' landmarks: which they are, whose of the hands', and how far they go along
        # with it.
        arms = [
            (place, hand, share)
            for hand, name in enumerate(_HANDS)
            for place, share in selection.arms[name]
        ]
        places, hands, shares = zip(*arms, strict=True)
        self._arms, self._arms_hand = (
            torch.tensor(places, device=device),
            torch.tensor(hands, device=device),
        )
        self._arms_share = torch.tensor(shares, device=device)[:, None]

    def __call__(
        self, body: Tensor, detected: Tensor, draws: Sequence[AugmentationDraw]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """body (B, T, 543, 3) in shoulder widths, detected bool (B, T, 4) -> body (B, S, 543, 3),
        detected, lengths (B,).

        S is the longest drawn length; frames past a sentence's end hold its last frame, as
        `feature_blocks` wants them.
        """
        device = body.device
        counts = np.array([len(one.times) for one in draws])
        longest = int(counts.max())
        times = np.stack(
            [np.pad(one.times, (0, longest - len(one.times)), "edge") for one in draws]
        )
        times, lengths = on_device(times, device), on_device(counts, device)
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

        linear = on_device(np.stack([one.linear for one in draws]), device)  # (B, 2, 2)
        shift = on_device(np.stack([one.shift for one in draws]), device)  # (B, 2)
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
            rows = on_device(np.array([one.noise_row for one in draws]), device)[:, None]
            rows = (rows + torch.arange(longest, device=device)) % _NOISE_ROWS
            amount = on_device(np.array([one.noise for one in draws], dtype=np.float32), device)[
                :, None, None
            ]
            noise = (
                self._table.index_select(0, rows.reshape(-1)).reshape(
                    len(draws), longest, self.selection.block_size
                )
                * amount
            )
            # Noise behind the end would leak into the last frame's derivatives: hold the last frame
            # there, too.
            hold = torch.minimum(torch.arange(longest, device=device)[None], lengths[:, None] - 1)
            body = body + gather_frames(noise, hold).reshape(body.shape)
        for row, one in enumerate(draws):
            if one.mirror:
                body[row] = body[row].index_select(1, self._mirrored) * self._flip
                detected[row] = detected[row].index_select(1, self._mirrored_parts)
        return body, detected, lengths

    def _move_parts(self, body: Tensor, draws: Sequence[AugmentationDraw]) -> None:
        """Scale face and hands about their roots and shift them against the body, in place."""
        if self.config.part_shift == 0 and self.config.part_scale == (1.0, 1.0):
            return
        scales = on_device(np.stack([one.part_scale for one in draws]), body.device)  # (B, 3)
        shifts = on_device(
            np.stack([np.pad(one.part_shift, ((0, 0), (0, 1))) for one in draws]), body.device
        )
        for index, name in enumerate(_MOVED_PARTS):
            points = body[:, :, self.selection.part_slices[name]]
            root = body[:, :, self.selection.part_roots[name], None].clone()
            points.sub_(root).mul_(scales[:, index, None, None, None]).add_(
                root + shifts[:, index, None, None]
            )

    def _fold_fingers(self, body: Tensor, draws: Sequence[AugmentationDraw]) -> None:
        """Put all points of each dropped finger onto its base, in place."""
        for row, one in enumerate(draws):
            for hand, name in enumerate(_HANDS):
                for finger in np.flatnonzero(~one.fingers[hand]):
                    # Slices: a list of indices would be copied to the device, which waits for it.
                    first, *_, last = (
                        self.selection.part_slices[name].start + point for point in FINGERS[finger]
                    )
                    body[row, :, first + 1 : last + 1] = body[row, :, first : first + 1]

    def _drift_hands(self, body: Tensor, draws: Sequence[AugmentationDraw], frames: int) -> None:
        """Turn hands about their wrists and shift them with their arms, the elbow half as far, in
        place."""
        if draws[0].drift is None:
            return
        drift = np.stack(
            [
                np.pad(d.drift, ((0, 0), (0, frames - d.drift.shape[1]), (0, 0)), "edge")
                for d in draws
            ]
        )
        drift = on_device(drift, body.device).transpose(1, 2)[:, :, :, None]  # (B, S, 2, 1, 5)
        shift, turn = drift[..., :2], drift[..., 2:]
        # The right one begins where the left one ends
        left, right = (self.selection.part_slices[name] for name in _HANDS)
        # (B, S, 2, 21, 3)
        hands = body[:, :, left.start : right.stop].unflatten(2, (len(_HANDS), -1))
        root = hands[..., :1, :].clone()
        hands.copy_(root + rotate(hands - root, turn))
        hands[..., :2] += shift
        body[..., :2].index_add_(2, self._arms, shift[:, :, self._arms_hand, 0] * self._arms_share)


def rotate(points: Tensor, turn: Tensor) -> Tensor:
    """Points (..., 3) turned about the origin by rotation vectors in radians (..., 3) that
    broadcast (Rodrigues' formula)."""
    angle = torch.linalg.vector_norm(turn, dim=-1, keepdim=True)
    axis = (turn / angle.clamp(min=1e-9)).expand_as(points)
    along = axis * (axis * points).sum(-1, keepdim=True)
    return along + (points - along) * angle.cos() + torch.linalg.cross(axis, points) * angle.sin()
