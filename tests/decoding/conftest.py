"""Fixtures of the tests of decoding."""

from collections.abc import Callable

import pytest
import torch


@pytest.fixture(scope="session")
def ctc_log_probability() -> Callable[[torch.Tensor, list[list[int]]], torch.Tensor]:
    """(log_probs, hypotheses) -> log P of each hypothesis, by torch's own CTC loss."""

    def log_probability(log_probs: torch.Tensor, hypotheses: list[list[int]]) -> torch.Tensor:
        """float64 (N,), summed over all alignments; -inf if a hypothesis has no alignment."""
        values = []
        for hypothesis in hypotheses:
            loss = torch.nn.functional.ctc_loss(
                log_probs.double()[:, None],
                torch.tensor([hypothesis], dtype=torch.int64).reshape(1, -1),
                torch.tensor([len(log_probs)]),
                torch.tensor([len(hypothesis)]),
                reduction="none",
            )
            values.append(-loss[0])
        return torch.stack(values)

    return log_probability
