"""Part encoders: each encodes the features of one part of the body (pose, face, left hand or right
hand)."""

from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from data.landmarks import BLOCK_SIZE, NUM_COORDINATES, NUM_FEATURES, LandmarkSelection
from models.cpu_kernels import Linear
from models.masking import MaskedBatchNorm
from models.prediction import Prediction

if TYPE_CHECKING:
    from models.i3d_teacher import TeacherOutput

# The unit of features is a shoulder width. A feature with a smaller deviation in train is constant
# there, such as the landmarks of a part that a corpus lacks. Its input is 0: to divide by its
# deviation would turn the augmentation's noise into the largest input of all.
MIN_STD = 1e-3
# Standard deviations at which a standardised value is cut: the tracker sometimes throws a hand
# across the image.
STANDARDISED_LIMIT = 8.0


class PartEncoder(nn.Module):
    """Standardise some columns of the features and project them: (B, T, 6516) -> (B, width, T).

    Args:
        columns: int64 (D,), the columns of the 6516 features that this encoder uses.
        part: the part's column in `detected`. Where the part was not detected, its features are
            interpolated, and the encoder adds a learned vector: the model can trust them less.
        width: channels of the output.
    """

    columns: Tensor
    selection_columns: Tensor

    def __init__(self, columns: Tensor, part: int, width: int):
        super().__init__()
        self.part = part
        # Both follow from the configuration and the corpus, so no checkpoint holds them.
        self.register_buffer("columns", columns, persistent=False)
        self.register_buffer("selection_columns", columns.clone(), persistent=False)
        self.project = Linear(len(columns), width)
        self.missing = nn.Parameter(torch.zeros(width))
        self.norm = MaskedBatchNorm(width)

    @property
    def input_landmarks(self) -> set[int]:
        """Indices (0 to 542) of the landmarks that the encoder uses."""
        return {column % BLOCK_SIZE // NUM_COORDINATES for column in self.columns.tolist()}

    def set_input_selection(self, selection: LandmarkSelection) -> None:
        """Also accept features of the selected landmarks only, (B, T, 12 K)."""
        columns = torch.from_numpy(selection.columns_in_selection(self.columns.cpu().numpy()))
        self.selection_columns = columns.to(self.columns.device)

    def forward(
        self, features: Tensor, mean: Tensor, inverse_std: Tensor, detected: Tensor, mask: Tensor
    ) -> Tensor:
        """Encode the part in a padded batch -> (B, width, T).

        Args:
            features: float (B, T, 6516), or (B, T, 12 K) of the input selection.
            mean, inverse_std: (6516,), of the train split's features.
            detected: bool (B, T, 4).
            mask: float (B, 1, T), see `sentence_mask`.
        """
        all_landmarks = features.shape[2] == NUM_FEATURES
        x = features.index_select(2, self.columns if all_landmarks else self.selection_columns)
        x = (x - mean[self.columns]) * inverse_std[self.columns]  # (B, T, D)
        x = self.project(x.clamp(-STANDARDISED_LIMIT, STANDARDISED_LIMIT))  # (B, T, width)
        x = x + (~detected[:, :, self.part, None]) * self.missing
        return torch.relu(self.norm(x.transpose(1, 2), mask))


class PartEncoderModel(nn.Module):
    """Base of the teacher and the student: their part encoders and the statistics that standardise
    the features, and what they predict. A subclass sets `parts` and `prediction`."""

    parts: nn.ModuleList
    prediction: Prediction
    feature_mean: Tensor
    feature_std: Tensor

    def __init__(self) -> None:
        super().__init__()
        # Of the train split; `set_statistics` fills them, and the checkpoint holds them.
        self.register_buffer("feature_mean", torch.zeros(NUM_FEATURES))
        self.register_buffer("feature_std", torch.ones(NUM_FEATURES))

    def encode_parts(
        self, features: Tensor, detected: Tensor, mask: Tensor, visible: Tensor | None
    ) -> list[Tensor]:
        """Encodings (B, width, T) of the four parts. features (B, T, 6516 or 12 K), detected bool
        (B, T, 4), mask (B, 1, T), visible bool (B, 4) or None (see `I3DTeacher.forward`)."""
        inverse_std = (self.feature_std >= MIN_STD) / self.feature_std.clamp(min=MIN_STD)
        parts = [
            encode(features, self.feature_mean, inverse_std, detected, mask)
            for encode in self.parts
        ]
        if visible is not None:
            parts = [part * visible[:, i, None, None] for i, part in enumerate(parts)]
        return parts

    def predict(self, output: "TeacherOutput") -> Tensor:
        """The log-probabilities that are decoded, float32 (B, T', V): those of both heads, joined.
        Only training uses the two heads one by one."""
        joined: Tensor = self.prediction(output.log_probs, output.conv_log_probs)
        return joined

    @property
    def input_landmarks(self) -> set[int]:
        """Indices (0 to 542) of the landmarks that the model uses."""
        return {index for encoder in self._encoders for index in encoder.input_landmarks}

    def set_input_selection(self, selection: LandmarkSelection) -> None:
        """Also accept features of the selected landmarks only, (B, T, 12 K)."""
        for encoder in self._encoders:
            encoder.set_input_selection(selection)

    def set_statistics(self, mean: Tensor, std: Tensor) -> None:
        """Standardise with mean and std (6516,), those of the train split's features."""
        self.feature_mean.copy_(mean)
        self.feature_std.copy_(std)

    @property
    def _encoders(self) -> list[PartEncoder]:
        return cast(list[PartEncoder], list(self.parts))
