"""What the tests of decoding share."""

from collections.abc import Callable

import pytest
import torch


@pytest.fixture(scope="session")
def ctc_log_probability() -> Callable[[torch.Tensor, list[list[int]]], torch.Tensor]:
    """(log_probs, readings) -> log P of each reading by torch's own CTC loss."""

    def log_probability(log_probs: torch.Tensor, readings: list[list[int]]) -> torch.Tensor:
        """log P(reading) summed over all alignments, by torch's CTC loss: float64 (N,), -inf where
        there is no alignment."""
        values = []
        for reading in readings:
            loss = torch.nn.functional.ctc_loss(
                log_probs.double()[:, None],
                torch.tensor([reading], dtype=torch.int64).reshape(1, -1),
                torch.tensor([len(log_probs)]),
                torch.tensor([len(reading)]),
                reduction="none",
            )
            values.append(-loss[0])
        return torch.stack(values)

    return log_probability
