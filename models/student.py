"""The student: the teacher's features in, CTC log-probabilities out. Its default sizes have less
than a tenth of the default teacher's parameters.

    features (B, T, 6516), detected (B, T, 4)
        │  standardise, part encoders, gated fusion, as in the teacher   (B, 192, T)
        │  five inverted residual blocks, stride 4 in all                (B, 384, T')
        ├──► cosine head ─► conv_log_probs                               (B, T', V)
        │  conformer (in the causal student: an LSTM)                    (B, T', 256)
        └──► cosine head ─► log_probs                                    (B, T', V)

The blocks are those of MobileNetV3 (Howard et al., ICCV 2019, arXiv:1905.02244), over time: expand
1x1, depthwise convolution, project 1x1, hard-swish. Squeeze-and-excitation is left out: it
averages over the whole sentence, which a streaming student has not seen yet.
"""

from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from data.landmarks import PARTS, feature_columns, subset
from models.conformer import Conformer
from models.cpu_kernels import Dropout
from models.ctc_head import CosineHead
from models.fusion import GatedFusion
from models.i3d_teacher import TeacherOutput
from models.masking import MaskedBatchNorm, sentence_mask
from models.part_encoder import PartEncoder, PartEncoderModel
from models.prediction import Prediction
from models.student_config import StudentModelConfig

KERNEL = 5  # steps of the depthwise convolutions
# Steps, at its own rate, that each depthwise convolution of the causal student looks ahead
CAUSAL_RIGHT = 1
FEATURE_LOOKAHEAD = 1  # frames: velocity and acceleration are central differences
_STRIDES = (1, 2, 1, 2, 1)  # of the five blocks


class InvertedResidual(nn.Module):
    """Expand, depthwise convolution over time, project; with a shortcut where the shape stays.

    (B, in_width, T) -> (B, out_width, ceil(T / stride)).

    Args:
        expansion: channels inside the block, as a multiple of in_width.
        right: steps after the current one that the kernel covers; the others lie before it.
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
        """x (B, in_width, T) with zeros outside the sentences, mask (B, 1, T), out_mask
        (B, 1, ceil(T / stride)) -> (B, out_width, ceil(T / stride))."""
        inner = functional.hardswish(self.expand_norm(self.expand(x), mask))
        inner = functional.hardswish(
            self.depthwise_norm(self.depthwise(functional.pad(inner, self.padding)), out_mask)
        )
        out = self.project_norm(self.project(inner), out_mask)
        return x + out if self.shortcut else out

    def forward_chunk(
        self, x: Tensor, state: "BlockState | None", last: bool
    ) -> tuple[Tensor, "BlockState"]:
        """Compute the next steps of a stream, in evaluation. The outputs of all chunks, joined,
        equal those of `forward`.

        x: (B, in_width, n), the next n steps, maybe 0. state: from the previous chunk, None before
        the first one. last: no chunk follows. Returns the outputs (B, out_width, m) that no later
        step can change, and the state for the next chunk.
        """
        inner = x.new_zeros(len(x), self.expand.out_channels, 0)
        if x.shape[2]:
            inner = functional.hardswish(
                self.expand_norm(self.expand(x), x.new_ones(len(x), 1, x.shape[2]))
            )
        if state is None:
            state = BlockState(inner.new_zeros(*inner.shape[:2], self.padding[0]), x[:, :, :0])
        inner, x = torch.cat([state.inner, inner], 2), torch.cat([state.waiting, x], 2)
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
    """State of an `InvertedResidual` between two chunks of a stream.

    inner: (B, inner width, k), the expanded steps that the kernels of the next outputs cover.
    waiting: (B, in_width, m), the input steps that the shortcut adds to the next outputs.
    """

    inner: Tensor
    waiting: Tensor


class ForwardLSTM(nn.Module):
    """A unidirectional LSTM. (B, T, in_width) -> (B, T, hidden)."""

    def __init__(self, in_width: int, hidden: int, layers: int, dropout: float):
        super().__init__()
        self.out_width = hidden
        self.lstm = nn.LSTM(
            in_width, hidden, layers, batch_first=True, dropout=dropout if layers > 1 else 0.0
        )

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """x (B, T, in_width) -> (B, T, hidden). `lengths` has no effect: the padding comes after
        the sentence, so no step of the sentence sees it."""
        out: Tensor = self.lstm(x)[0]
        return out


class StreamState(NamedTuple):
    """State of a causal student between two chunks of a stream: of each block, and of the LSTM
    (hidden state and cell state; None before its first step)."""

    blocks: list[BlockState]
    lstm: tuple[Tensor, Tensor] | None


class Student(PartEncoderModel):
    """The whole model. `classes` counts the blank (index 0)."""

    def __init__(self, config: StudentModelConfig, classes: int):
        super().__init__()
        self.config, self.classes = config, classes
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
        self.sequence: ForwardLSTM | Conformer
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
        self.prediction = Prediction(classes)

    @property
    def lookahead(self) -> int | None:
        """Frames that an output step waits for, in a causal student; None: for the whole sentence.

        Output step s covers the frames from 4 s on. It is final as soon as frame 4 s + lookahead
        has arrived. So lookahead / frame rate is the latency in seconds that streaming adds.
        """
        if not self.config.causal:
            return None
        reach = 0
        for stride in reversed(_STRIDES):
            reach = stride * reach + CAUSAL_RIGHT
        return reach + FEATURE_LOOKAHEAD

    def forward(
        self,
        features: Tensor,
        lengths: Tensor,
        detected: Tensor | None = None,
        visible: Tensor | None = None,
    ) -> TeacherOutput:
        """Log-probabilities of a padded batch. Arguments as in `I3DTeacher.forward`."""
        if detected is None:
            detected = torch.ones(
                *features.shape[:2], len(PARTS), dtype=torch.bool, device=features.device
            )
        mask = sentence_mask(lengths, features.shape[1])
        x = self._fused_parts(features, detected, mask, visible)
        for block, stride in zip(self.blocks, _STRIDES, strict=True):
            in_mask = mask
            if stride == 2:
                lengths = (lengths + 1) // 2
                mask = sentence_mask(lengths, (mask.shape[2] + 1) // 2)
            x = block(x, in_mask, mask)
        x = x.transpose(1, 2)  # (B, T', widths[2])
        conv_logits = self.conv_head(x)
        logits = self.head(self.dropout(self.sequence(self.dropout(x), lengths)))
        return TeacherOutput(logits.log_softmax(-1), conv_logits.log_softmax(-1), lengths)

    def forward_chunk(
        self, features: Tensor, detected: Tensor, state: StreamState | None, last: bool
    ) -> tuple[Tensor, StreamState]:
        """Compute the next frames of a stream with a causal student in evaluation. The outputs of
        all chunks, joined, equal `predict` of `forward`'s output.

        Args:
            features: float (B, n, 6516), the next n frames, n >= 1.
            detected: bool (B, n, 4).
            state: from the previous chunk; None before the first one.
            last: no chunk follows.

        Returns the log-probs (B, steps, V) that no later frame can change (0 steps or more), and
        the state for the next chunk.
        """
        assert isinstance(self.sequence, ForwardLSTM), "only a causal student can stream"
        mask = features.new_ones(len(features), 1, features.shape[1])
        x = self._fused_parts(features, detected, mask, None)
        lstm_state = None if state is None else state.lstm
        block_states: list[BlockState] = []
        for i, block in enumerate(cast(list[InvertedResidual], list(self.blocks))):
            x, block_state = block.forward_chunk(
                x, None if state is None else state.blocks[i], last
            )
            block_states.append(block_state)
        if x.shape[2] == 0:
            return x.new_zeros(len(x), 0, self.classes), StreamState(block_states, lstm_state)
        x = x.transpose(1, 2)
        out, lstm_state = self.sequence.lstm(x, lstm_state)
        log_probs: Tensor = self.prediction(
            self.head(out).log_softmax(-1), self.conv_head(x).log_softmax(-1)
        )
        return log_probs, StreamState(block_states, lstm_state)

    def _fused_parts(
        self, features: Tensor, detected: Tensor, mask: Tensor, visible: Tensor | None
    ) -> Tensor:
        """Inputs as in `encode_parts` -> (B, widths[0], T)."""
        fused: Tensor = self.fusion(self.encode_parts(features, detected, mask, visible), mask)
        return self.dropout(fused)
