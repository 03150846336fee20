"""Compare the speed of parts of the models with their alternatives.

    python benchmarks/speed.py

Docstrings of the models refer to these figures. One run measures

1. BiLSTM, forward and backward, 1024 units: two directions with a flip per sentence, against
   nn.LSTM on a packed sequence;
2. features, landmarks to 6516 values: with freed memory kept in the process, against the default of
   glibc;
3. the convolutions of the inception stages, forward and backward: layout (B, C, T), against
   channels last and against unfolding with one matrix product;
4. a complete update of the full-size teacher at batch 8.
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

from benchmarks.results import add_json_option, describe_machine, finish
from command_line import Parser
from data.features import compute_features
from errors import run_script
from models.bilstm import BiLSTM
from models.config import ModelConfig
from models.devices import choose_device
from models.i3d_teacher import I3DTeacher
from training.config import TrainingConfig
from training.losses import TeacherLoss
from training.optimizer import make_optimizer

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
    """Seconds of the bidirectional LSTM with a flip per sentence, and of the packed one."""
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
    """Frames per second of compute_features on a batch of long sentences.

    The sentences are long because glibc always keeps freed blocks below 32 MB.
    """
    frames = 2 * FRAMES
    landmarks = torch.rand(BATCH, frames, 543, 3).half()
    detected = torch.rand(BATCH, frames, 4) > 0.2
    lengths = torch.full((BATCH,), frames)
    seconds = median_seconds(lambda: compute_features(landmarks, detected, lengths, 4 / 3))
    return BATCH * frames / seconds


def features_in_new_process(keep_memory: bool) -> float:
    """`features` in a separate process, which keeps freed memory or does not."""
    keep = "from models.devices import choose_device; choose_device('cpu'); " if keep_memory else ""
    code = f"{keep}from benchmarks.speed import features; print(features())"
    root = Path(__file__).resolve().parent.parent
    return float(
        subprocess.run(
            [sys.executable, "-c", code], cwd=root, check=True, capture_output=True
        ).stdout
    )


def layouts() -> dict[str, float]:
    """Seconds of the first inception stage's convolutions in each layout.

    The convolutions have 512 input channels and 96, 480, 96 and 96 output channels.
    """
    kernels_and_widths = (3, 96), (5, 480), (9, 96), (1, 96)
    seconds = dict.fromkeys(("channels first", "channels last", "unfolded"), 0.0)
    for kernel, width in kernels_and_widths:
        x, weight = torch.rand(BATCH, 512, FRAMES), torch.randn(width, 512, kernel)
        last = x[:, :, None].contiguous(memory_format=torch.channels_last)
        last_weight = weight[:, :, None].contiguous(memory_format=torch.channels_last)
        steps = x.transpose(1, 2).contiguous()
        matrix = weight.permute(1, 2, 0).reshape(-1, width).contiguous()
        padding = kernel // 2

        def unfolded(
            x: Tensor, matrix: Tensor, padding: int = padding, kernel: int = kernel
        ) -> Tensor:
            # (B, T, C, kernel)
            windows = functional.pad(x, (0, 0, padding, padding)).unfold(1, kernel, 1)
            return windows.reshape(BATCH * FRAMES, -1) @ matrix

        layouts_of_stage = {
            "channels first": (functools.partial(functional.conv1d, padding=padding), x, weight),
            "channels last": (
                functools.partial(functional.conv2d, padding=(0, padding)),
                last,
                last_weight,
            ),
            "unfolded": (unfolded, steps, matrix),
        }
        for name, (convolve, inputs, weights) in layouts_of_stage.items():
            inputs.requires_grad_()
            weights.requires_grad_()
            gradient = torch.randn_like(convolve(inputs, weights).detach())
            seconds[name] += median_seconds(
                lambda c=convolve, x=inputs, w=weights, d=gradient: torch.autograd.grad(
                    c(x, w), (x, w), d
                ),
                repeats=5,
            )
    return seconds


def update() -> float:
    """Frames per second of forward, loss, backward and optimiser step of the full-size teacher."""
    model = I3DTeacher(ModelConfig(), 1232).train()
    optimizer = make_optimizer(model, TrainingConfig())
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
    without, kept = features_in_new_process(False), features_in_new_process(True)
    choose_device("cpu")
    flipped, packed = bilstm()
    print(describe_machine())
    print(
        f"BiLSTM 2 x 1024, {BATCH} x {STEPS} steps: flipped {flipped:.3f} s, packed {packed:.3f} s"
    )
    print(f"features: {without:,.0f} frames/s, {kept:,.0f} with freed memory kept")
    convolutions = layouts()
    times = ", ".join(f"{name} {1000 * seconds:.0f} ms" for name, seconds in convolutions.items())
    print(f"convolutions of the first inception stage, {BATCH} x {FRAMES} frames: {times}")
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
