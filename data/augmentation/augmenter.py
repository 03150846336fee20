"""Applies the random changes of the train sentences, in torch, to a batch on the device.

`data/augmentation/draws.py` draws them. They are applied in two steps. `hide_parts` marks parts as
not detected before gaps are bridged, so that a hidden hand is bridged in the same way as a hand
that the detector lost. `Augmenter` then changes the body coordinates.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from data.augmentation.config import AugmentationConfig
from data.augmentation.draws import HANDS, MOVED_PARTS, NOISE_ROWS, AugmentationDraw
from data.device_transfer import on_device
from data.features import gather_frames
from data.keyed_random import generator
from data.landmarks import (
    ALL_LANDMARKS,
    BLOCK_SIZE,
    FINGERS,
    MIRRORED_PARTS,
    LandmarkSelection,
)


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
        table = generator("noise table").standard_normal((NOISE_ROWS, BLOCK_SIZE), dtype=np.float32)
        self._table = torch.from_numpy(table[:, selection.coordinate_columns]).to(device)
        self._mirrored = torch.tensor(selection.mirrored, device=device)
        self._mirrored_parts = torch.tensor(MIRRORED_PARTS, device=device)
        self._negate_x = torch.tensor([-1.0, 1.0, 1.0], device=device)
        # The landmarks of both arms, the hand that each follows, and how far: 1 is the whole way.
        arms = [
            (landmark, hand, share)
            for hand, name in enumerate(HANDS)
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
        scale = on_device(np.array([draw.scale for draw in draws], dtype=np.float32), device)
        shift = on_device(np.stack([draw.shift for draw in draws]), device)  # (B, 2)
        x, y = body[..., 0], body[..., 1]
        linear, shift = linear[:, :, :, None, None], shift[:, :, None, None]
        body = torch.stack(
            [
                linear[:, 0, 0] * x + linear[:, 0, 1] * y + shift[:, 0],
                linear[:, 1, 0] * x + linear[:, 1, 1] * y + shift[:, 1],
                scale[:, None, None] * body[..., 2],
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
        rows = (rows + torch.arange(frames, device=device)) % NOISE_ROWS
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
        for index, name in enumerate(MOVED_PARTS):
            points = body[:, :, self.selection.part_slices[name]]
            root = body[:, :, self.selection.part_roots[name], None].clone()
            points.sub_(root).mul_(scales[:, index, None, None, None]).add_(
                root + shifts[:, index, None, None]
            )

    def _fold_fingers(self, body: Tensor, draws: Sequence[AugmentationDraw]) -> None:
        """Put all points of each folded finger onto its base, in place."""
        for row, draw in enumerate(draws):
            for hand, name in enumerate(HANDS):
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
        left, right = (self.selection.part_slices[name] for name in HANDS)
        hands = body[:, :, left.start : right.stop]
        hands = hands.view(*hands.shape[:2], len(HANDS), -1, 3)  # (B, S, 2, 21, 3)
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
