"""Part encoders: each reads the features of one named landmark subset and tells a bridged gap from
a seen part."""

import torch
from torch import Tensor, nn

from data.landmarks import BLOCK_SIZE, NUM_COORDINATES, NUM_FEATURES, LandmarkSelection
from models.cpu_kernels import Linear
from models.masking import MaskedBatchNorm


class PartEncoder(nn.Module):
    """Standardised columns of the features -> (B, width, T).

    columns: int64 (D,), which of the 6516 features to read. part: which column of `detected` tells
    whether the part was seen; where it was not, a learned vector is added, so that the model can
    trust a bridged gap less.
    """

    def __init__(self, columns: Tensor, part: int, width: int):
        super().__init__()
        self.part = part
        self.register_buffer("columns", columns, persistent=False)  # follows from the configuration
        self.register_buffer("places", columns.clone(), persistent=False)
        self.project = Linear(len(columns), width)
        self.missing = nn.Parameter(torch.zeros(width))
        self.norm = MaskedBatchNorm(width)

    @property
    def landmarks_read(self) -> list[int]:
        """Of the 543, those that are read."""
        return sorted({column % BLOCK_SIZE // NUM_COORDINATES for column in self.columns.tolist()})

    def read_from(self, selection: LandmarkSelection) -> None:
        """Take features of the selection's landmarks from now on, beside the whole ones."""
        self.places = torch.from_numpy(
            selection.columns_in_selection(self.columns.cpu().numpy())
        ).to(self.columns.device)

    def forward(
        self, features: Tensor, mean: Tensor, inverse_std: Tensor, seen: Tensor, mask: Tensor
    ) -> Tensor:
        """features (B, T, 6516 or 12 K), mean and inverse_std (6516,), seen bool (B, T, 4), mask
        (B, 1, T) -> (B, width, T)."""
        # (B, T, D)
        x = features.index_select(
            2, self.columns if features.shape[2] == NUM_FEATURES else self.places
        )
        x = (x - mean[self.columns]) * inverse_std[self.columns]
        x = self.join(x.clamp(-STANDARDISED_LIMIT, STANDARDISED_LIMIT))
        x = x + (~seen[:, :, self.part, None]) * self.missing
        return torch.relu(self.norm(x.transpose(1, 2), mask))

    def join(self, x: Tensor) -> Tensor:
        """Standardised values (B, T, D) -> (B, T, width)."""
        return self.project(x)


# A tracker's outlier (a hand thrown across the image) is cut at this many standard deviations.
STANDARDISED_LIMIT = 8.0


class GraphPartEncoder(PartEncoder):
    """A part encoder whose landmarks first exchange what they see: each landmark's values become a
    node of a graph with learned edges (at first all alike), as graph networks over skeletons do
    (Yan et al. 2018), then all are joined.

    columns: as of PartEncoder, ordered block, landmark, coordinate, of `landmarks` landmarks in
    `blocks` blocks.
    """

    def __init__(self, columns: Tensor, part: int, width: int, landmarks: int, blocks: int):
        super().__init__(columns, part, width)
        self.landmarks, self.blocks = landmarks, blocks
        self.embed = Linear(len(columns) // landmarks, NODE_WIDTH)
        self.place = nn.Parameter(torch.zeros(landmarks, NODE_WIDTH))
        self.edges = nn.Parameter(torch.zeros(landmarks, landmarks))
        self.exchange = Linear(NODE_WIDTH, NODE_WIDTH)
        self.project = Linear(landmarks * NODE_WIDTH, width)

    def join(self, x: Tensor) -> Tensor:
        batch, frames, _ = x.shape
        # (B, T, N, values)
        nodes = x.view(batch, frames, self.blocks, self.landmarks, -1).transpose(2, 3).flatten(3)
        nodes = torch.relu(self.embed(nodes) + self.place)
        nodes = nodes + torch.relu(self.exchange(self.edges.softmax(-1) @ nodes))
        return self.project(nodes.flatten(2))


NODE_WIDTH = 24


class PartEncoderModel(nn.Module):
    """What every model that reads the features by part encoders can say and be told of them:
    `parts`, the encoders, and the statistics of the train split's features, which the checkpoint
    carries."""

    parts: nn.ModuleList
    feature_mean: Tensor
    feature_std: Tensor

    @property
    def landmarks_read(self) -> set[int]:
        """Of the 543, those that the model reads."""
        return {index for encode in self.parts for index in encode.landmarks_read}

    def read_from(self, selection: LandmarkSelection) -> None:
        """Take features of the selection's landmarks from now on, beside the whole ones."""
        for encode in self.parts:
            encode.read_from(selection)

    def set_statistics(self, mean: Tensor, std: Tensor) -> None:
        """Standardise by these from now on: mean and std (6516,) of the train split's features."""
        self.feature_mean.copy_(mean)
        self.feature_std.copy_(std)


class GatedFusion(nn.Module):
    """Joins the parts' encodings; each part is first scaled by a gate that looks at all parts of
    the frame.

    The gate lets the model lean on the body where a hand is lost. (B, sum of widths, T) ->
    (B, out_width, T).
    """

    def __init__(self, widths: list[int], out_width: int):
        super().__init__()
        self.widths = widths
        self.gate = nn.Conv1d(sum(widths), len(widths), 1)
        self.project = nn.Conv1d(sum(widths), out_width, 1, bias=False)
        self.norm = MaskedBatchNorm(out_width)
        nn.init.zeros_(self.gate.weight)
        nn.init.zeros_(self.gate.bias)

    def forward(self, parts: list[Tensor], mask: Tensor) -> Tensor:
        """parts: one (B, width, T) each, mask (B, 1, T)."""
        x = torch.cat(parts, dim=1)
        gates = 2 * torch.sigmoid(self.gate(x))  # (B, parts, T), 1 at the start
        x = torch.cat([part * gates[:, i : i + 1] for i, part in enumerate(parts)], dim=1)
        return torch.relu(self.norm(self.project(x), mask))
