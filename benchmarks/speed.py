"""Speed of the parts that docstrings make claims about, each against its alternative in the same run.

    python benchmarks/speed.py

1. BiLSTM: two directions with a per-sentence flip against nn.LSTM on a packed sequence (forward and backward, 1024 units).
2. Features: landmarks to 6516 values with freed memory kept in the process against glibc's default.
3. A whole update of the full-size teacher at batch 8.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
from torch import nn

from benchmarks.machine import describe_machine
from data.features import compute_features
from models.bilstm import BiLSTM
from models.config import ModelConfig
from models.i3d_teacher import I3DTeacher
from training.config import Config
from training.devices import choose_device
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
    flipped, packed = BiLSTM(1024, 1024, 2, 0.0), nn.LSTM(1024, 1024, 2, batch_first=True, bidirectional=True)

    def run_packed() -> None:
        sequence = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        nn.utils.rnn.pad_packed_sequence(packed(sequence)[0], batch_first=True)[0].sum().backward()

    return median_seconds(lambda: flipped(x, lengths).sum().backward()), median_seconds(run_packed)


def features() -> float:
    """Frames a second of compute_features on a batch of long sentences (glibc keeps freed blocks under 32 MB anyway)."""
    frames = 2 * FRAMES
    landmarks = torch.rand(BATCH, frames, 543, 3).half()
    detected = torch.rand(BATCH, frames, 4) > 0.2
    lengths = torch.full((BATCH,), frames)
    return BATCH * frames / median_seconds(lambda: compute_features(landmarks, detected, lengths, 4 / 3))


def features_elsewhere(keep_memory: bool) -> float:
    """`features` in a process of its own, in which freed memory is kept or not."""
    keep = "from training.devices import choose_device; choose_device('cpu'); " if keep_memory else ""
    code = f"{keep}from benchmarks.speed import features; print(features())"
    root = Path(__file__).resolve().parent.parent
    return float(subprocess.run([sys.executable, "-c", code], cwd=root, check=True, capture_output=True).stdout)


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


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    without, kept = features_elsewhere(False), features_elsewhere(True)
    choose_device("cpu")
    flipped, packed = bilstm()
    print(describe_machine())
    print(f"BiLSTM 2 x 1024, {BATCH} x {STEPS} steps: flipped {flipped:.3f} s, packed {packed:.3f} s")
    print(f"features: {without:,.0f} frames/s, {kept:,.0f} with freed memory kept")
    print(f"teacher update, batch {BATCH} x {FRAMES} frames: {update():,.0f} frames/s")
    print(f"bilstm_packed_over_flipped: {packed / flipped:.2f}")
    print(f"features_kept_over_default: {kept / without:.2f}")


if __name__ == "__main__":
    main()
