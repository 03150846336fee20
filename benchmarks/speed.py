"""Speed of the parts that docstrings make claims about, each against its alternative in the same
run.

    python benchmarks/speed.py

1. BiLSTM: two directions with a per-sentence flip against nn.LSTM on a packed sequence (forward and backward, 1024 units).
2. Features: landmarks to 6516 values with freed memory kept in the process against glibc's default.
3. Convolutions over time as the inception stages do them, (B, C, T), against channels last and against unfolding and one
   matrix product, forward and backward.
4. A whole update of the full-size teacher at batch 8.
"""

import functools
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.machine import describe_machine
from benchmarks.results import add_json_option, finish
from command_line import Parser
from data.features import compute_features
from errors import run_script
from models.bilstm import BiLSTM
from models.config import ModelConfig
from models.devices import choose_device
from models.i3d_teacher import I3DTeacher
from training.config import Config
from training.losses import TeacherLoss
from training.trainer import make_optimizer

BATCH, FRAMES, STEPS = 8, 140, 35


def median_seconds(action: Callable[[], object], repeats: int = 9) -> float:
    """Median time of an action after two warm-up calls."""
    times = []
    for _ in range(repeats + 2):
        started = time.perf_counter()
        action()
        times.append(time.perf_counter() - started)
    return sorted(times[2:])[repeats // 2]


def bilstm() -> tuple[float, float]:
    """Seconds of the flipped and of the packed bidirectional LSTM."""
    lengths = torch.linspace(STEPS // 2, STEPS, BATCH).long()
    x = torch.randn(BATCH, STEPS, 1024)
    flipped, packed = (
        BiLSTM(1024, 1024, 2, 0.0),
        nn.LSTM(1024, 1024, 2, batch_first=True, bidirectional=True),
    )

    def run_packed() -> None:
        sequence = nn.utils.rnn.pack_padded_sequence(
            x, lengths, batch_first=True, enforce_sorted=False
        )
        nn.utils.rnn.pad_packed_sequence(packed(sequence)[0], batch_first=True)[0].sum().backward()

    return median_seconds(lambda: flipped(x, lengths).sum().backward()), median_seconds(run_packed)


def features() -> float:
    """Frames a second of compute_features on a batch of long sentences (glibc keeps freed blocks
    under 32 MB anyway)."""
    frames = 2 * FRAMES
    landmarks = torch.rand(BATCH, frames, 543, 3).half()
    detected = torch.rand(BATCH, frames, 4) > 0.2
    lengths = torch.full((BATCH,), frames)
    return (
        BATCH
        * frames
        / median_seconds(lambda: compute_features(landmarks, detected, lengths, 4 / 3))
    )


def features_elsewhere(keep_memory: bool) -> float:
    """`features` in a process of its own, in which freed memory is kept or not."""
    keep = "from models.devices import choose_device; choose_device('cpu'); " if keep_memory else ""
    code = f"{keep}from benchmarks.speed import features; print(features())"
    root = Path(__file__).resolve().parent.parent
    return float(
        subprocess.run(
            [sys.executable, "-c", code], cwd=root, check=True, capture_output=True
        ).stdout
    )


def layouts() -> dict[str, float]:
    """Seconds of the first inception stage's convolutions (512 -> 96, 480, 96, 96 channels) in each
    layout."""
    wide = (3, 96), (5, 480), (9, 96), (1, 96)
    seconds = dict.fromkeys(("channels first", "channels last", "unfolded"), 0.0)
    for kernel, width in wide:
        x, weight = torch.rand(BATCH, 512, FRAMES), torch.randn(width, 512, kernel)
        last = x[:, :, None].contiguous(memory_format=torch.channels_last)
        last_weight = weight[:, :, None].contiguous(memory_format=torch.channels_last)
        steps, matrix = (
            x.transpose(1, 2).contiguous(),
            weight.permute(1, 2, 0).reshape(-1, width).contiguous(),
        )
        around = kernel // 2

        def unfolded(
            x: Tensor, matrix: Tensor, around: int = around, kernel: int = kernel
        ) -> Tensor:
            # (B, T, C, kernel)
            windows = functional.pad(x, (0, 0, around, around)).unfold(1, kernel, 1)
            return windows.reshape(BATCH * FRAMES, -1) @ matrix

        ways = {
            "channels first": (functools.partial(functional.conv1d, padding=around), x, weight),
            "channels last": (
                functools.partial(functional.conv2d, padding=(0, around)),
                last,
                last_weight,
            ),
            "unfolded": (unfolded, steps, matrix),
        }
        for name, (convolve, given, weights) in ways.items():
            given.requires_grad_()
            weights.requires_grad_()
            gradient = torch.randn_like(convolve(given, weights).detach())
            seconds[name] += median_seconds(
                lambda c=convolve, g=given, w=weights, d=gradient: torch.autograd.grad(
                    c(g, w), (g, w), d
                ),
                repeats=5,
            )
    return seconds


def update() -> float:
    """Frames a second of forward, loss, backward and optimiser step of the full-size teacher."""
    model = I3DTeacher(ModelConfig(), 1232).train()
    optimizer = make_optimizer(model, Config())
    loss = TeacherLoss(1.0, 1.0, 8.0)
    x, lengths = torch.randn(BATCH, FRAMES, 6516), torch.full((BATCH,), FRAMES)
    targets, target_lengths = torch.randint(1, 1232, (BATCH, 11)), torch.full((BATCH,), 11)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        loss(model(x, lengths), targets, target_lengths).total.mean().backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return BATCH * FRAMES / median_seconds(step, repeats=5)


def main(argv: list[str] | None = None) -> int:
    parser = Parser(prog="speed.py", description=__doc__)
    add_json_option(parser)
    options = parser.parse_args(argv)
    without, kept = features_elsewhere(False), features_elsewhere(True)
    choose_device("cpu")
    flipped, packed = bilstm()
    print(describe_machine())
    print(
        f"BiLSTM 2 x 1024, {BATCH} x {STEPS} steps: flipped {flipped:.3f} s, packed {packed:.3f} s"
    )
    print(f"features: {without:,.0f} frames/s, {kept:,.0f} with freed memory kept")
    convolutions = layouts()
    shown = ", ".join(f"{name} {1000 * seconds:.0f} ms" for name, seconds in convolutions.items())
    print(f"convolutions of the first inception stage, {BATCH} x {FRAMES} frames: {shown}")
    rate = update()
    print(f"teacher update, batch {BATCH} x {FRAMES} frames: {rate:,.0f} frames/s")
    figures = {
        "bilstm_packed_over_flipped": packed / flipped,
        "features_kept_over_default": kept / without,
        "features_frames_per_second": kept,
        "channels_last_over_first": convolutions["channels last"] / convolutions["channels first"],
        "unfolded_over_first": convolutions["unfolded"] / convolutions["channels first"],
        "teacher_frames_per_second": rate,
    }
    for name in list(figures)[:-1]:
        print(f"{name}: {figures[name]:.2f}")
    finish(options, figures, "teacher_frames_per_second")
    return 0


if __name__ == "__main__":
    run_script(main)
