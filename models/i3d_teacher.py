"""The I3D teacher: MediaPipe features in, CTC log-probabilities over glosses out, at a quarter of
the frame rate.

I3D means inflated inception: the parallel convolutions of the inception network (Szegedy et al.
2015, arXiv:1409.4842), extended over time (Carreira & Zisserman 2017, arXiv:1705.07750). The I3D of
Carreira & Zisserman is a 3-D CNN over RGB video. This model is not: its input is a sequence of
landmark features, so its convolutions are one-dimensional, over time.

B sentences, T frames, T' = ceil(T / 4) steps, V classes; widths are the default ones:

    features (B, T, 6516)                    detected (B, T, 4)
        │  standardise                            │
        ├─────────────┬─────────────┬─────────────┤
      body (256)   face (128)   left hand (256)  right hand (256)     part encoders
        └─────────────┴──────┬──────┴─────────────┘
                       gated fusion               (B, 512, T)
                             │
              temporal inception, max pool 2      (B, 768, T / 2)
                             │
              temporal inception, max pool 2      (B, 1024, T')
                             ├───► cosine head ─► conv_log_probs (B, T', V)
                         conformer                (B, T', 928)
                             │
                        cosine head ─► log_probs  (B, T', V)

What is decoded is the sequence head (the last one), or both heads joined (models/prediction.py).
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from data.landmarks import NUM_COORDINATES, PARTS, feature_columns, subset
from models.bilstm import BiLSTM
from models.compilation import compile_front
from models.config import ModelConfig
from models.conformer import Conformer
from models.cpu_kernels import Dropout
from models.ctc_head import CosineHead
from models.fusion import GatedFusion
from models.masking import sentence_mask
from models.part_encoder import PartEncoder, PartEncoderModel
from models.prediction import Prediction
from models.temporal_inception import InceptionStack


class TeacherOutput(NamedTuple):
    """Output of the teacher, and of the student.

    log_probs: float32 (B, T', V) over blank (index 0) and glosses, from the sequence model.
    conv_log_probs: the same from the convolutions alone.
    lengths: int64 (B,), steps of each sentence: ceil(frames / 4).
    """

    log_probs: Tensor
    conv_log_probs: Tensor
    lengths: Tensor


class I3DTeacher(PartEncoderModel):
    """The whole model. `classes` counts the blank (index 0)."""

    def __init__(self, config: ModelConfig, classes: int):
        super().__init__()
        self.config, self.classes = config, classes
        widths = [config.pose_width, config.face_width, config.hand_width, config.hand_width]
        self.parts = nn.ModuleList(
            _part_encoder(config, part, width) for part, width in enumerate(widths)
        )
        self.fusion = GatedFusion(widths, config.fusion_width)
        self.inception = InceptionStack(
            config.fusion_width, config.inception_widths, config.dropout
        )
        conv_width = config.inception_widths[1]
        self.sequence: Conformer | BiLSTM
        if config.sequence == "conformer":
            self.sequence = Conformer(
                conv_width, config.conformer_width, config.conformer_blocks, config.dropout
            )
        else:
            self.sequence = BiLSTM(
                conv_width, config.lstm_hidden, config.lstm_layers, config.dropout
            )
        self.dropout = Dropout(config.dropout)
        self.head = CosineHead(self.sequence.out_width, classes, config.head_scale)
        self.conv_head = CosineHead(conv_width, classes, config.head_scale)
        self.prediction = Prediction(classes)

    def forward(
        self,
        features: Tensor,
        lengths: Tensor,
        detected: Tensor | None = None,
        visible: Tensor | None = None,
    ) -> TeacherOutput:
        """Log-probabilities of a padded batch. Padding never changes a sentence's output.

        Args:
            features: float (B, T, 6516), or (B, T, 12 K) of the K landmarks that
                `set_input_selection` names.
            lengths: int (B,), frames of each sentence, 1 to T.
            detected: bool (B, T, 4), the parts that MediaPipe detected; None: all.
            visible: bool (B, 4); False hides this part of the body in the whole sentence. None: all
                parts are visible.
        """
        if detected is None:
            detected = torch.ones(
                *features.shape[:2], len(PARTS), dtype=torch.bool, device=features.device
            )
        x, steps = self.front(features, lengths, detected, visible)  # (B, C, T')
        x = x.transpose(1, 2)  # (B, T', C)
        conv_logits = self.conv_head(x)
        logits = self.head(self.dropout(self.sequence(x, steps)))
        return TeacherOutput(logits.log_softmax(-1), conv_logits.log_softmax(-1), steps)

    def front(
        self, features: Tensor, lengths: Tensor, detected: Tensor, visible: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Everything before the sequence model. Inputs as in `forward` -> (B, C, T') and the steps
        of each sentence int (B,)."""
        mask = sentence_mask(lengths, features.shape[1])
        parts = self.encode_parts(features, detected, mask, visible)
        x = self.dropout(self.fusion(parts, mask))  # (B, fusion_width, T)
        return self.inception(x, lengths)

    def compile_front(self, **options: Any) -> None:
        """Compile `front` with torch.compile and its options; see models/compilation.py."""
        self.front = compile_front(self.front, **options)  # type: ignore[method-assign, assignment]


def _part_encoder(config: ModelConfig, part: int, width: int) -> PartEncoder:
    """The encoder of a part (a column of `detected`), for the landmarks, feature blocks and
    coordinates that the configuration names."""
    name = PARTS[part]
    kind = "hand" if "hand" in name else name
    landmarks = subset(getattr(config, f"{name}_subset"))
    blocks = getattr(config, f"{kind}_blocks").split()
    with_depth = config.depth == "all" or (config.depth == "hands" and kind == "hand")
    columns = feature_columns(landmarks, blocks, NUM_COORDINATES if with_depth else 2)
    return PartEncoder(torch.from_numpy(columns), part, width)


def count_parameters(model: nn.Module) -> int:
    """Number of trainable parameters."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
