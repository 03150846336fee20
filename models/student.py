"""The student: the teacher's features in, CTC log-probabilities out, at a tenth of its size or
less.

features (B, T, 6516) ─ standardise ─► part encoders ─► gated fusion ─► inverted residual blocks, stride 4 in all
    ─┬─► conformer (causal: LSTM) ─► cosine head ─► log_probs
     └─► cosine head ─► conv_log_probs

The blocks are MobileNetV3's (Howard et al., ICCV 2019) over time: expand 1x1, depthwise
convolution, project 1x1, hard-swish. Its squeeze-and-excitation is left out: it reads the whole
sentence, which a stream does not have.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from data.landmarks import NUM_FEATURES, PARTS, feature_columns, subset
from models.conformer import Conformer
from models.cpu_kernels import Dropout
from models.ctc_head import CosineHead
from models.i3d_teacher import MIN_STD, TeacherOutput
from models.masking import MaskedBatchNorm, sentence_mask
from models.part_encoder import GatedFusion, PartEncoder, PartEncoderModel
from models.student_config import StudentModelConfig

KERNEL = 5
# Steps that each depthwise convolution of the causal student looks ahead, at its own rate
CAUSAL_RIGHT = 1
FEATURE_LOOKAHEAD = 1  # frames: velocity and acceleration are central differences
_STRIDES = (1, 2, 1, 2, 1)  # of the blocks


class InvertedResidual(nn.Module):
    """Expand, depthwise convolution over time, project; with a shortcut where the shape stays.

    (B, in_width, T) -> (B, out_width, ceil(T / stride)). `right`: steps that the kernel reads
    ahead; the rest lies behind.
    """

    def __init__(self, in_width: int, out_width: int, expansion: int, stride: int, right: int):
        super().__init__()
        inner = expansion * in_width
        self.stride, self.padding = stride, (KERNEL - 1 - right, right)
        self.expand = nn.Conv1d(in_width, inner, 1, bias=False)
        self.expand_norm = MaskedBatchNorm(inner)
        self.depthwise = nn.Conv1d(inner, inner, KERNEL, stride=stride, groups=inner, bias=False)
        self.depthwise_norm = MaskedBatchNorm(inner)
        self.project = nn.Conv1d(inner, out_width, 1, bias=False)
        self.project_norm = MaskedBatchNorm(out_width)
        self.shortcut = stride == 1 and in_width == out_width

    def forward(self, x: Tensor, mask: Tensor, out_mask: Tensor) -> Tensor:
        """x (B, in_width, T) with zeros outside the sentences, mask (B, 1, T), out_mask (B, 1,
        ceil(T / stride))."""
        inner = functional.hardswish(self.expand_norm(self.expand(x), mask))
        inner = functional.hardswish(
            self.depthwise_norm(self.depthwise(functional.pad(inner, self.padding)), out_mask)
        )
        out = self.project_norm(self.project(inner), out_mask)
        return x + out if self.shortcut else out

    def read_on(
        self, x: Tensor, state: "BlockState | None", last: bool
    ) -> tuple[Tensor, "BlockState"]:
        """The next steps of a stream, in evaluation: x (B, in_width, n) -> the outputs that no
        later step changes, and what the next call needs. `last`: nothing follows. All calls'
        outputs together are those of `forward`."""
        inner = x.new_zeros(len(x), self.expand.out_channels, 0)
        if x.shape[2]:
            inner = functional.hardswish(
                self.expand_norm(self.expand(x), x.new_ones(len(x), 1, x.shape[2]))
            )
        before, waiting = state or (inner.new_zeros(*inner.shape[:2], self.padding[0]), x[:, :, :0])
        inner, x = torch.cat([before, inner], 2), torch.cat([waiting, x], 2)
        if last:
            inner = functional.pad(inner, (0, self.padding[1]))
        count = max((inner.shape[2] - KERNEL) // self.stride + 1, 0)
        if count == 0:
            return x.new_zeros(len(x), self.project.out_channels, 0), BlockState(inner, x)
        mask = x.new_ones(len(x), 1, count)
        middle = self.depthwise(inner[:, :, : (count - 1) * self.stride + KERNEL])
        out = self.project_norm(
            self.project(functional.hardswish(self.depthwise_norm(middle, mask))), mask
        )
        if self.shortcut:
            out, x = x[:, :, :count] + out, x[:, :, count:]
        else:
            x = x[:, :, :0]
        return out, BlockState(inner[:, :, count * self.stride :], x)


class BlockState(NamedTuple):
    """inner: what the next outputs' kernels read of the expanded input; waiting: input whose
    shortcut is to come."""

    inner: Tensor
    waiting: Tensor


class ForwardLSTM(nn.Module):
    """Layers of LSTM that read forward only. (B, T, in_width) -> (B, T, hidden)."""

    def __init__(self, in_width: int, hidden: int, layers: int, dropout: float):
        super().__init__()
        self.out_width = hidden
        self.lstm = nn.LSTM(
            in_width, hidden, layers, batch_first=True, dropout=dropout if layers > 1 else 0.0
        )

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Padding lies behind the sentence's end, so that its steps never see it."""
        return self.lstm(x)[0]


class StreamState(NamedTuple):
    """What a causal student remembers of a stream: of each block, and of the LSTM."""

    blocks: list[BlockState]
    memory: tuple[Tensor, Tensor] | None


class Student(PartEncoderModel):
    """The whole model. `classes` counts the blank (index 0). The convolution head only helps to
    train."""

    def __init__(self, config: StudentModelConfig, classes: int):
        super().__init__()
        self.config, self.classes = config, classes
        # Statistics of the train split; `set_statistics` fills them, the checkpoint carries them.
        self.register_buffer("feature_mean", torch.zeros(NUM_FEATURES))
        self.register_buffer("feature_std", torch.ones(NUM_FEATURES))
        part_widths = [config.pose_width, config.face_width, config.hand_width, config.hand_width]
        names = [getattr(config, f"{part}_subset") for part in PARTS]
        self.parts = nn.ModuleList(
            PartEncoder(torch.from_numpy(feature_columns(subset(name))), part, width)
            for part, (name, width) in enumerate(zip(names, part_widths, strict=True))
        )
        full, half, quarter = config.widths
        self.fusion = GatedFusion(part_widths, full)
        widths = [full, full, half, half, quarter, quarter]
        right = CAUSAL_RIGHT if config.causal else KERNEL // 2
        self.blocks = nn.ModuleList(
            InvertedResidual(widths[i], widths[i + 1], config.expansion, stride, right)
            for i, stride in enumerate(_STRIDES)
        )
        if config.causal:
            self.sequence = ForwardLSTM(
                quarter, config.lstm_hidden, config.lstm_layers, config.dropout
            )
        else:
            self.sequence = Conformer(
                quarter, config.conformer_width, config.conformer_blocks, config.dropout
            )
        self.dropout = Dropout(config.dropout)
        self.head = CosineHead(self.sequence.out_width, classes, config.head_scale)
        self.conv_head = CosineHead(quarter, classes, config.head_scale)

    @property
    def lookahead(self) -> int | None:
        """Output step s, which begins with frame 4 s, is known once frame 4 s + lookahead is; None:
        once all frames are.

        No frame waits longer than this for its own step, so this, over the frame rate, is the
        latency that streaming adds.
        """
        if not self.config.causal:
            return None
        reach = 0
        for stride in reversed(_STRIDES):
            reach = stride * reach + CAUSAL_RIGHT
        return reach + FEATURE_LOOKAHEAD

    def _fuse(
        self, features: Tensor, detected: Tensor, mask: Tensor, shown: Tensor | None = None
    ) -> Tensor:
        """(B, widths[0], T)"""
        inverse_std = 1 / self.feature_std.clamp(min=MIN_STD)
        parts = [
            encode(features, self.feature_mean, inverse_std, detected, mask)
            for encode in self.parts
        ]
        if shown is not None:
            parts = [part * shown[:, i, None, None] for i, part in enumerate(parts)]
        return self.dropout(self.fusion(parts, mask))

    def read_on(
        self, features: Tensor, detected: Tensor, state: "StreamState | None", last: bool
    ) -> tuple[Tensor, "StreamState"]:
        """The next frames of a stream, of a causal student in evaluation: features (B, n, 6516),
        detected bool (B, n, 4) -> the log-probs (B, steps, V) that no later frame changes, and what
        the next call needs. `last`: nothing follows."""
        blocks, memory = state or ([None] * len(self.blocks), None)
        x = self._fuse(features, detected, features.new_ones(len(features), 1, features.shape[1]))
        after = []
        for block, before in zip(self.blocks, blocks, strict=True):
            x, kept = block.read_on(x, before, last)
            after.append(kept)
        if x.shape[2] == 0:
            return x.new_zeros(len(x), 0, self.classes), StreamState(after, memory)
        seen, memory = self.sequence.lstm(x.transpose(1, 2), memory)
        return self.head(seen).log_softmax(-1), StreamState(after, memory)

    def forward(
        self,
        features: Tensor,
        lengths: Tensor,
        detected: Tensor | None = None,
        shown: Tensor | None = None,
    ) -> TeacherOutput:
        """features (B, T, 6516), or (B, T, 12 K) of the landmarks of `read_from`; lengths int (B,)
        with 1 <= length <= T; detected bool (B, T, 4) or None for all seen.

        shown: bool (B, 4), False for a part that the model is not to see in the whole sentence;
        None shows all.
        """
        if detected is None:
            detected = torch.ones(
                *features.shape[:2], len(PARTS), dtype=torch.bool, device=features.device
            )
        mask = sentence_mask(lengths, features.shape[1])
        x = self._fuse(features, detected, mask, shown)
        for block, stride in zip(self.blocks, _STRIDES, strict=True):
            before = mask
            if stride == 2:
                lengths = (lengths + 1) // 2
                mask = sentence_mask(lengths, (mask.shape[2] + 1) // 2)
            x = block(x, before, mask)
        x = x.transpose(1, 2)  # (B, T', widths[2])
        conv_logits = self.conv_head(x)
        logits = self.head(self.dropout(self.sequence(self.dropout(x), lengths)))
        return TeacherOutput(logits.log_softmax(-1), conv_logits.log_softmax(-1), lengths)
