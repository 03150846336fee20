"""The baseline for training speed: the first version of this design, rebuilt from its description.

It uses all 6,516 features: each part encoder gets its part of all four blocks. The inception widths
are those of the teacher. It pools by 16 in time, interpolates linearly back to the full frame rate,
and runs three packed BiLSTM layers of 512 there. It has 27 M parameters (the teacher: 50 M), plain
batch norm and one CTC loss. Its features are float32 files, one per sentence, without augmentation.
AdamW is torch's plain loop over the parameters.

It exists only to be timed, so its weaknesses as a recognizer (docs/measurements.md) stay.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from data.landmarks import PART_SLICES, PARTS, feature_columns
from models.config import ModelConfig

POOL = 4  # after each of the two inception stages: stride 16
LSTM_HIDDEN, LSTM_LAYERS = 512, 3
MAX_GRAD_NORM = 1.0


class BaselineInception(nn.Module):
    """The branches of models/temporal_inception.py with a plain batch norm, which includes padding.

    (B, C, T) -> (B, width, T).
    """

    def __init__(self, in_width: int, out_width: int):
        super().__init__()
        eighth = out_width // 8
        widths = {3: eighth, 5: out_width - 3 * eighth, 9: eighth}
        self.branches = nn.ModuleList(
            nn.Conv1d(in_width, width, kernel, padding=kernel // 2)
            for kernel, width in widths.items()
        )
        self.pooled = nn.Conv1d(in_width, eighth, 1)
        self.norm = nn.BatchNorm1d(out_width)

    def forward(self, x: Tensor) -> Tensor:
        pooled = self.pooled(functional.max_pool1d(x, 3, stride=1, padding=1))
        return torch.relu(
            self.norm(torch.cat([*(branch(x) for branch in self.branches), pooled], dim=1))
        )


class BaselineTeacher(nn.Module):
    """The complete baseline.

    Args:
        sizes: widths of the teacher that it is compared with.
        classes: number of classes, including the blank (index 0).
        lstm_hidden: width of each LSTM direction.
    """

    def __init__(self, sizes: ModelConfig, classes: int, lstm_hidden: int = LSTM_HIDDEN):
        super().__init__()
        columns, encoders = [], []
        for part, width in zip(
            PARTS,
            (sizes.pose_width, sizes.face_width, sizes.hand_width, sizes.hand_width),
            strict=True,
        ):
            place = PART_SLICES[part]
            columns.append(torch.from_numpy(feature_columns(tuple(range(place.start, place.stop)))))
            encoders.append(nn.Linear(len(columns[-1]), width))
        self.columns, self.encoders = columns, nn.ModuleList(encoders)
        self.fusion = nn.Linear(
            sum(encoder.out_features for encoder in encoders), sizes.fusion_width
        )
        self.stages = nn.ModuleList(
            [
                BaselineInception(sizes.fusion_width, sizes.inception_widths[0]),
                BaselineInception(*sizes.inception_widths),
            ]
        )
        self.dropout = nn.Dropout(sizes.dropout)
        self.lstm = nn.LSTM(
            sizes.inception_widths[1],
            lstm_hidden,
            LSTM_LAYERS,
            batch_first=True,
            bidirectional=True,
            dropout=sizes.dropout,
        )
        self.head = nn.Linear(2 * lstm_hidden, classes)

    def forward(self, features: Tensor, lengths: Tensor) -> Tensor:
        """features (B, T, 6516), lengths int64 (B,) -> log-probs (B, T, V), one step per frame."""
        parts = [
            encode(features[..., at])
            for encode, at in zip(self.encoders, self.columns, strict=True)
        ]
        # (B, C, T)
        x = torch.relu(self.fusion(torch.relu(torch.cat(parts, dim=2)))).transpose(1, 2)
        for stage in self.stages:
            x = functional.max_pool1d(self.dropout(stage(x)), POOL, ceil_mode=True)
        x = functional.interpolate(
            x, size=features.shape[1], mode="linear", align_corners=False
        ).transpose(1, 2)
        packed = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
        x = pad_packed_sequence(
            self.lstm(packed)[0], batch_first=True, total_length=features.shape[1]
        )[0]
        return self.head(self.dropout(x)).log_softmax(-1)


def plain_adamw(model: nn.Module) -> torch.optim.AdamW:
    """AdamW that updates one parameter after the other, which is torch's default on a CPU."""
    return torch.optim.AdamW(model.parameters(), lr=3e-4, foreach=False, fused=False)


def load_padded(files: Sequence[Path]) -> tuple[Tensor, Tensor]:
    """Features (B, T, 6516) and lengths int64 (B,) of .npy files, one per sentence."""
    sentences = [torch.from_numpy(np.load(file)) for file in files]
    lengths = torch.tensor([len(sentence) for sentence in sentences])
    return nn.utils.rnn.pad_sequence(sentences, batch_first=True), lengths


def baseline_update(
    model: BaselineTeacher,
    optimizer: torch.optim.Optimizer,
    files: Sequence[Path],
    targets: Sequence[Sequence[int]],
) -> float:
    """One update: load, forward, CTC, backward, clip, step. Returns the loss."""
    features, lengths = load_padded(files)
    flat = torch.tensor([index for target in targets for index in target])
    target_lengths = torch.tensor([len(target) for target in targets])
    optimizer.zero_grad()
    log_probs = model(features, lengths).transpose(0, 1)  # (T, B, V)
    loss = functional.ctc_loss(log_probs, flat, lengths, target_lengths)
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), MAX_GRAD_NORM)
    optimizer.step()
    return loss.item()
