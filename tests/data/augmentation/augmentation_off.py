"""An augmentation that changes nothing, to switch single changes on in tests; and random bodies."""

from dataclasses import replace

import numpy as np
import torch

from data.augmentation.config import AugmentationConfig
from data.augmentation.draws import AugmentationDraw

OFF = AugmentationConfig(
    speed=(1, 1),
    frame_drop=0,
    frame_cut=0,
    time_mask=0,
    noise=0,
    scale=(1, 1),
    aspect=(1, 1),
    rotation=0,
    shift=0,
    mirror=0,
    part_scale=(1, 1),
    part_shift=0,
    hand_drift=0,
    hand_turn=0,
    finger_drop=0,
    hand_drop=0,
    mix=0,
)


def unchanged_draw(frames: int, **changes) -> AugmentationDraw:
    """A draw for a sentence of `frames` frames that changes nothing, except for `changes`."""
    identity = AugmentationDraw(
        times=np.arange(frames, dtype=np.float32),
        linear=np.eye(2, dtype=np.float32),
        scale=1.0,
        shift=np.zeros(2, np.float32),
        noise=0.0,
        noise_row=0,
        mirror=False,
        part_scale=np.ones(3, np.float32),
        part_shift=np.zeros((3, 2), np.float32),
        fingers=np.ones((2, 5), dtype=bool),
        hidden=(),
    )
    return replace(identity, **changes)


def random_body(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, 543, 3, generator=torch.Generator().manual_seed(seed))


def random_detected(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, 4, generator=torch.Generator().manual_seed(seed)) < 0.5
