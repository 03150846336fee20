"""The I3D teacher: MediaPipe features in, CTC log-probabilities over glosses out, at a quarter of
the frame rate.

features (B, T, 6516) ─ standardise ─► part encoders (body, face, left hand, right hand) ─► gated fusion
    ─► temporal inception ─ pool 2 ─► temporal inception ─ pool 2 ─┬─► conformer ─► cosine head ─► log_probs
                                                                   └─────────────► cosine head ─► conv_log_probs
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from data.ctc_lengths import TIME_STRIDE
from data.landmarks import NUM_COORDINATES, NUM_FEATURES, PARTS, feature_columns, subset
from models.bilstm import BiLSTM
from models.config import ModelConfig
from models.conformer import Conformer
from models.cpu_kernels import Dropout
from models.ctc_head import CosineHead
from models.masking import sentence_mask
from models.part_encoder import GatedFusion, PartEncoder, PartEncoderModel
from models.temporal_inception import InceptionStack

ROUND_FRAMES = 64  # of batches that the compiled front reads
# Ways of the front: lengths in multiples of that, times what is said at `compile_front`
MAX_COMPILED = 1024
MIN_STD = 1e-3  # shoulder widths: below this a feature is quantisation noise and is not blown up


class TeacherOutput(NamedTuple):
    """log_probs and conv_log_probs: float32 (B, T', V) over blank and glosses; lengths: int64 (B,),
    T' = ceil(T / 4)."""

    log_probs: Tensor
    conv_log_probs: Tensor
    lengths: Tensor


class I3DTeacher(PartEncoderModel):
    """The whole model. `classes` counts the blank (index 0)."""

    def __init__(self, config: ModelConfig, classes: int):
        super().__init__()
        self.config, self.classes, self.round_frames = config, classes, 1
        # Statistics of the train split; `set_statistics` fills them, the checkpoint carries them.
        self.register_buffer("feature_mean", torch.zeros(NUM_FEATURES))
        self.register_buffer("feature_std", torch.ones(NUM_FEATURES))
        widths = [config.pose_width, config.face_width, config.hand_width, config.hand_width]
        self.parts = nn.ModuleList(
            make_part_encoder(config, part, width) for part, width in enumerate(widths)
        )
        self.fusion = GatedFusion(widths, config.fusion_width)
        self.inception = InceptionStack(
            config.fusion_width, config.inception_widths, config.dropout
        )
        width = config.inception_widths[1]
        if config.sequence == "conformer":
            self.sequence = Conformer(
                width, config.conformer_width, config.conformer_blocks, config.dropout
            )
        else:
            self.sequence = BiLSTM(width, config.lstm_hidden, config.lstm_layers, config.dropout)
        self.dropout = Dropout(config.dropout)
        self.head = CosineHead(self.sequence.out_width, classes, config.head_scale)
        self.conv_head = CosineHead(config.inception_widths[1], classes, config.head_scale)

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
        batch, frames, _ = features.shape
        if detected is None:
            detected = torch.ones(
                batch, frames, len(PARTS), dtype=torch.bool, device=features.device
            )
        if self.round_frames > 1:
            behind = -frames % self.round_frames
            features, detected = pad(features, (0, 0, 0, behind)), pad(detected, (0, 0, 0, behind))
        x, steps = self.front(features, lengths, detected, shown)  # (B, C, T')
        if self.round_frames > 1:
            x = x[:, :, : -(-frames // TIME_STRIDE)]
        x = x.transpose(1, 2)  # (B, T', C)
        conv_logits = self.conv_head(x)
        logits = self.head(self.dropout(self.sequence(x, steps)))
        return TeacherOutput(logits.log_softmax(-1), conv_logits.log_softmax(-1), steps)

    def front(
        self, features: Tensor, lengths: Tensor, detected: Tensor, shown: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """What lies before the sequence: inputs as of `forward` -> (B, C, T') and steps int (B,)."""
        mask = sentence_mask(lengths, features.shape[1])
        inverse_std = 1 / self.feature_std.clamp(min=MIN_STD)
        parts = [
            encode(features, self.feature_mean, inverse_std, detected, mask)
            for encode in self.parts
        ]
        if shown is not None:
            parts = [part * shown[:, i, None, None] for i, part in enumerate(parts)]
        x = self.dropout(self.fusion(parts, mask))  # (B, fusion_width, T)
        return self.inception(x, lengths)

    def compile_front(self, **options) -> None:
        """Compile the front with torch.compile (its options). The names of the weights stay as they
        are.

        Batches are padded to multiples of 64 frames, which changes no output, and each such length
        is compiled for itself, in training, calibration and evaluation, for one sentence, some and
        many. What was seen before decides nothing, so that a run that is continued repeats it. With
        kernels for all lengths torch 2.13 would compile every length again all the same, and after
        eight give up.
        """
        config = torch._dynamo.config
        config.recompile_limit = max(config.recompile_limit, MAX_COMPILED)
        config.accumulated_recompile_limit = max(config.accumulated_recompile_limit, MAX_COMPILED)
        # Else a momentum that calibration has changed would be compiled in another way
        config.specialize_float = True
        compiled, self.round_frames = torch.compile(self.front, **options), ROUND_FRAMES

        def front(
            features: Tensor, lengths: Tensor, detected: Tensor, shown: Tensor | None
        ) -> tuple[Tensor, Tensor]:
            for tensor in (features, detected):
                torch._dynamo.mark_static(tensor, 1)
            for tensor in (
                (features, lengths, detected)
                if shown is None
                else (features, lengths, detected, shown)
            ):
                torch._dynamo.maybe_mark_dynamic(tensor, 0)
            return compiled(features, lengths, detected, shown)

        self.front = front


def make_part_encoder(config: ModelConfig, part: int, width: int) -> PartEncoder:
    """The encoder of one of the four parts (a column of `detected`), reading what the configuration
    names."""
    name = PARTS[part]
    kind = "hand" if "hand" in name else name
    landmarks = subset(getattr(config, f"{name}_subset"))
    blocks = getattr(config, f"{kind}_blocks").split()
    with_depth = config.depth == "all" or (config.depth == "hands" and kind == "hand")
    columns = torch.from_numpy(
        feature_columns(landmarks, blocks, NUM_COORDINATES if with_depth else 2)
    )
    return PartEncoder(columns, part, width)


def count_parameters(model: nn.Module) -> int:
    """Trainable parameters."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
