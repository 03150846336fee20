import torch

from models import masked_statistics
from models.masked_statistics import frame_statistics, statistics_over_processes
from models.masking import sentence_mask


def batch(lengths: list[int], seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """x (B, 3, 6), mask (B, 1, 6) and the number of frames inside."""
    x = torch.randn(len(lengths), 3, 6, generator=torch.Generator().manual_seed(seed)) * 2 + 5
    mask = sentence_mask(torch.tensor(lengths), 6)
    return x, mask, mask.sum()


def test_statistics_are_those_of_the_joined_frames():
    x, mask, count = batch([6, 2, 3], seed=0)
    frames = torch.cat([x[0, :, :6], x[1, :, :2], x[2, :, :3]], dim=1)
    found_count, mean, variance = frame_statistics(x, mask, count)
    assert found_count == 11
    torch.testing.assert_close(mean, frames.mean(1))
    torch.testing.assert_close(variance, frames.var(1, unbiased=False))


def test_statistics_over_processes_are_those_of_all_frames(monkeypatch):
    """Three processes one after the other; the third one has no frame."""
    shares = [batch([6, 2], seed=1), batch([3], seed=2), batch([0], seed=3)]
    rows: list[torch.Tensor] = []

    class Table:
        @staticmethod
        def apply(row: torch.Tensor) -> torch.Tensor:
            rows.append(row)
            return torch.stack(rows)

    monkeypatch.setattr(masked_statistics, "_RowOfEachProcess", Table)
    for share in shares:
        count, mean, variance = statistics_over_processes(*share)
    x, mask = torch.cat([s[0] for s in shares]), torch.cat([s[1] for s in shares])
    _, expected_mean, expected_variance = frame_statistics(x, mask, mask.sum())
    assert count == 11
    torch.testing.assert_close(mean, expected_mean)
    torch.testing.assert_close(variance, expected_variance)
