"""The convolutional front of a model through torch.compile.

torch.compile makes kernels for each shape that it sees, and a compilation takes half a minute. So a
batch is padded to a multiple of 64 frames here, and the output is cut afterwards. Padding changes
no output.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from data.ctc_lengths import ctc_steps

ROUND_FRAMES = 64  # the compiled front sees lengths that are multiples of this
# Times that torch may compile the front before it gives up: the number of padded lengths, times the
# variants that `compile_front` lists.
MAX_COMPILED = 1024

# (features, lengths, detected, visible) -> (B, C, T') and steps int (B,), as `I3DTeacher.front`
Front = Callable[[Tensor, Tensor, Tensor, Tensor | None], tuple[Tensor, Tensor]]


def compile_front(front: Front, **options: Any) -> Front:
    """`front` compiled with torch.compile (its options), with the same inputs and outputs.

    Each padded length is compiled separately for training, for calibration and for evaluation; in
    each of these for one sentence, for some sentences and for many. From the first batch on, the
    length is static and the number of sentences is dynamic. So the kernels do not depend on earlier
    batches, and a continued run equals an uninterrupted one. One kernel for all lengths is not
    possible: torch 2.13 compiles every length again anyway, and gives up after eight.
    """
    config = torch._dynamo.config
    config.recompile_limit = max(config.recompile_limit, MAX_COMPILED)
    config.accumulated_recompile_limit = max(config.accumulated_recompile_limit, MAX_COMPILED)
    # Calibration changes the momentum of batch normalisation. Without this setting torch compiles
    # the front in another way after such a change.
    config.specialize_float = True
    compiled = torch.compile(front, **options)

    def padded_front(
        features: Tensor, lengths: Tensor, detected: Tensor, visible: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        frames = features.shape[1]
        padding = -frames % ROUND_FRAMES
        features = pad(features, (0, 0, 0, padding))
        detected = pad(detected, (0, 0, 0, padding))
        for tensor in (features, detected):
            torch._dynamo.mark_static(tensor, 1)
        for batched in (features, lengths, detected, visible):
            if batched is not None:
                torch._dynamo.maybe_mark_dynamic(batched, 0)
        x, steps = compiled(features, lengths, detected, visible)
        return x[:, :, : ctc_steps(frames)], steps

    return padded_front
