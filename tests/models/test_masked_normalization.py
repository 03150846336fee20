import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch

from models.masked_normalization import frame_statistics, normalize_frames
from models.masking import sentence_mask

Row = torch.Tensor


def batch(lengths: list[int], seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """x (B, 3, 6) and mask (B, 1, 6)."""
    x = torch.randn(len(lengths), 3, 6, generator=torch.Generator().manual_seed(seed)) * 2 + 5
    return x, sentence_mask(torch.tensor(lengths), 6)


def test_statistics_are_those_of_the_joined_frames():
    x, mask = batch([6, 2, 3], seed=0)
    frames = torch.cat([x[0, :, :6], x[1, :, :2], x[2, :, :3]], dim=1)
    mean, variance, count = frame_statistics(x, mask)
    assert count == 11
    torch.testing.assert_close(mean, frames.mean(1))
    torch.testing.assert_close(variance, frames.var(1, unbiased=False))


def exchange(number: int) -> Callable[[int], Callable[[Row], Row]]:
    """Makes the `join` of each of so many threads."""
    barrier = threading.Barrier(number, timeout=20)
    rows: list[Row] = [torch.empty(0)] * number

    def make(thread: int) -> Callable[[Row], Row]:
        def join(row: Row) -> Row:
            rows[thread] = row
            barrier.wait()
            table = torch.stack(rows)
            barrier.wait()
            return table

        return join

    return make


def test_models_that_share_a_batch_normalise_it_as_one_model_does():
    """Three models; the third one has no frame. Outputs, statistics and all gradients."""
    shares = [batch([6, 2], seed=1), batch([3], seed=2), batch([0], seed=3)]
    weight, bias = torch.tensor([0.5, 1.0, 2.0]), torch.tensor([1.0, 0.0, -1.0])
    factors = [torch.randn(x.shape, generator=torch.Generator().manual_seed(4)) for x, _ in shares]

    def normalised(x, mask, factor, join=None):
        leaves = [tensor.clone().requires_grad_() for tensor in (x, weight, bias)]
        out, *statistics = normalize_frames(leaves[0], mask, *leaves[1:], 1e-5, join)
        (out * factor).sum().backward()
        return out.detach(), statistics, [leaf.grad for leaf in leaves]

    make = exchange(len(shares))
    with ThreadPoolExecutor(len(shares)) as pool:
        futures = [
            pool.submit(normalised, *share, factor, make(thread))
            for thread, (share, factor) in enumerate(zip(shares, factors, strict=True))
        ]
        found = [future.result() for future in futures]
    whole = [torch.cat(tensors) for tensors in (*zip(*shares, strict=True), factors)]
    out, statistics, (x_gradient, *parameter_gradients) = normalised(*whole)
    torch.testing.assert_close(torch.cat([one[0] for one in found]), out)
    for _, own, _ in found:
        torch.testing.assert_close(own, statistics)
    torch.testing.assert_close(torch.cat([one[2][0] for one in found]), x_gradient)
    for place, expected in enumerate(parameter_gradients, start=1):
        torch.testing.assert_close(sum(one[2][place] for one in found), expected)


def test_the_joined_variance_does_not_cancel():
    """Frames far from zero, with little spread: sums of plain squares would lose it."""
    shares = [batch([6, 2], seed=1), batch([3], seed=2)]
    shares = [(x / 100 + 3000, mask) for x, mask in shares]
    make = exchange(2)
    ones, zeros = torch.ones(3), torch.zeros(3)
    with ThreadPoolExecutor(2) as pool:
        futures = [
            pool.submit(normalize_frames, *share, ones, zeros, 1e-12, make(thread))
            for thread, share in enumerate(shares)
        ]
        variance, same = (future.result()[2] for future in futures)
    x, mask = (torch.cat(tensors).double() for tensors in zip(*shares, strict=True))
    centred = (x - ((x * mask).sum((0, 2)) / mask.sum())[:, None]) * mask
    expected = (centred**2).sum((0, 2)) / mask.sum()
    torch.testing.assert_close(variance.double(), expected, rtol=0.05, atol=0)
    assert torch.equal(variance, same)
