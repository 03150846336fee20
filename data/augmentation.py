"""Augmentation of train batches: drawn per sentence from (seed, epoch, id), applied to the whole batch on the device.

Drawing (numpy, a few numbers a sentence) and applying (torch) are apart, so that the same sentence in the same epoch looks
the same on every device, in every batch and after every interruption.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from data.augmentation_config import AugmentationConfig
from data.features import take_frames
from data.landmarks import BLOCK
from data.randomness import generator

_NOISE_ROWS = 2048  # rows of the table of normal values that noise is read from


@dataclass(frozen=True)
class Draw:
    """What was drawn for one sentence: source positions in time (S,), a 2x2 map of x and y, a shift, noise."""

    times: np.ndarray
    linear: np.ndarray
    shift: np.ndarray
    noise: float
    noise_row: int


def _draw_times(random: np.random.Generator, config: AugmentationConfig, frames: int, min_frames: int) -> np.ndarray:
    speed = math.exp(random.uniform(math.log(config.speed[0]), math.log(config.speed[1])))
    drop = random.uniform(0, config.frame_drop)
    kept = np.flatnonzero(random.random(frames) >= drop)
    if len(kept) < 2:
        kept = np.arange(frames)
    # Dropped frames shorten the sentence as skipped frames of a camera do; speed then stretches what is left.
    count = max(round(len(kept) / speed), min_frames, 1)
    return np.interp(np.linspace(0, len(kept) - 1, count), np.arange(len(kept)), kept).astype(np.float32)


def draw(config: AugmentationConfig, seed: int, epoch: int, id: str, frames: int, min_frames: int) -> Draw:
    """Draw one sentence's augmentation.

    frames: its length; min_frames: it is never made shorter than this (4 x the CTC steps that its glosses need), so no
    augmented sentence becomes impossible to align.
    """
    random = generator(seed, epoch, id)
    times = _draw_times(random, config, frames, min_frames)
    angle = math.radians(random.uniform(-config.rotation, config.rotation))
    low, high = config.scale
    scale = random.uniform(low, high) * np.array([1 + random.uniform(low - 1, high - 1) / 10, 1.0])
    rotation = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    return Draw(
        times=times,
        linear=(rotation * scale).astype(np.float32),  # scales x and y first, then rotates
        shift=random.uniform(-config.shift, config.shift, size=2).astype(np.float32),
        noise=random.uniform(0, config.noise),
        noise_row=int(random.integers(_NOISE_ROWS)),
    )


class Augmenter:
    """Applies draws to a batch on one device. Noise is read from a fixed table at a drawn row: the same on all devices."""

    def __init__(self, config: AugmentationConfig, device: torch.device | str = "cpu"):
        self.config = config
        table = generator("noise table").standard_normal((_NOISE_ROWS, BLOCK), dtype=np.float32)
        self._table = torch.from_numpy(table).to(device)

    def __call__(self, body: Tensor, detected: Tensor, draws: Sequence[Draw]) -> tuple[Tensor, Tensor, Tensor]:
        """body (B, T, 543, 3) in shoulder widths, detected bool (B, T, 4) -> body (B, S, 543, 3), detected, lengths (B,).

        S is the longest drawn length; frames past a sentence's end hold its last frame, as `feature_blocks` wants them.
        """
        device = body.device
        lengths = [len(one.times) for one in draws]
        longest = max(lengths)
        times = torch.from_numpy(np.stack([np.pad(d.times, (0, longest - len(d.times)), "edge") for d in draws])).to(
            device
        )
        before = times.floor().long()
        after = times.ceil().long()
        body = torch.lerp(take_frames(body, before), take_frames(body, after), (times - before)[:, :, None, None])
        detected = take_frames(detected, times.round().long())

        linear = torch.from_numpy(np.stack([one.linear for one in draws])).to(device)  # (B, 2, 2)
        shift = torch.from_numpy(np.stack([one.shift for one in draws])).to(device)  # (B, 2)
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
            rows = torch.tensor([one.noise_row for one in draws], device=device)[:, None]
            rows = (rows + torch.arange(longest, device=device)) % _NOISE_ROWS
            amount = torch.tensor([one.noise for one in draws], device=device, dtype=torch.float32)[:, None, None]
            noise = self._table.index_select(0, rows.reshape(-1)).reshape(len(draws), longest, BLOCK) * amount
            # Noise behind the end would leak into the last frame's derivatives: hold the last frame there, too.
            last = torch.tensor(lengths, device=device)[:, None] - 1
            hold = torch.minimum(torch.arange(longest, device=device)[None], last)
            body = body + take_frames(noise, hold).reshape(body.shape)
        return body, detected, torch.tensor(lengths, device=device)
