"""Compare student, streaming student and teacher with real time, from landmarks to glosses.

    python benchmarks/student_speed.py
    python benchmarks/student_speed.py --teacher_config configs/demo.yaml \
        --student_config configs/student_demo.yaml

The input is one sentence of 125 frames (5 s at 25 frames/s); decoding is greedy. The streaming
student gets four frames at a time; the latency that it adds is printed. torch and onnxruntime take
turns in one run with the same number of threads (OMP_NUM_THREADS). The weights are random, because
speed does not depend on them. Takes about a minute.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import onnxruntime
import torch

from benchmarks.results import add_json_option, describe_machine, figure_name, finish
from decoding.greedy import greedy_decode
from distillation.config import StudentConfig
from errors import run_script
from inference.model_export import LandmarkModel, write_onnx
from inference.streaming import StreamingStudent
from models.build import build_model
from models.devices import choose_device
from settings import read_overrides
from training.config import Config

ROOT = Path(__file__).resolve().parent.parent
FRAMES, FPS, ASPECT = 125, 25, 4 / 3
CHUNK = 4


def landmarks() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Random landmarks (1, T, 543, 3), detected (1, T, 4) and lengths (1,)."""
    torch.manual_seed(0)
    return torch.rand(1, FRAMES, 543, 3), torch.rand(1, FRAMES, 4) > 0.2, torch.tensor([FRAMES])


def in_torch(model: LandmarkModel) -> Callable[[], object]:
    """The action: predict the sentence with torch."""
    inputs = landmarks()

    def predict() -> object:
        with torch.inference_mode():
            return greedy_decode(*model(*inputs))

    return predict


def in_onnx(model: LandmarkModel, int8: bool) -> tuple[Callable[[], object], float]:
    """The action: predict the sentence with onnxruntime; and the MiB of the file."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.onnx"
        write_onnx(model, file, {}, int8)
        size = file.stat().st_size / 2**20
        session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    inputs = dict(
        zip(
            ("landmarks", "detected", "lengths"),
            (tensor.numpy() for tensor in landmarks()),
            strict=True,
        )
    )

    def predict() -> object:
        return greedy_decode(*map(torch.from_numpy, session.run(None, inputs)))

    return predict, size


def in_stream(model: LandmarkModel) -> Callable[[], object]:
    """The action: predict the sentence four frames at a time."""
    points, detected, _ = landmarks()
    cuts = range(CHUNK, FRAMES, CHUNK)
    chunks = list(
        zip(np.split(points[0].numpy(), cuts), np.split(detected[0].numpy(), cuts), strict=True)
    )

    def predict() -> object:
        stream = StreamingStudent(model.model, ASPECT)
        steps = torch.cat([*(stream.push(*chunk) for chunk in chunks), stream.finish()])
        return greedy_decode(steps[None], torch.tensor([len(steps)]))

    return predict


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="student_speed.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--teacher_config", type=Path, default=ROOT / "configs/teacher.yaml")
    parser.add_argument("--student_config", type=Path, default=ROOT / "configs/student.yaml")
    parser.add_argument(
        "--glosses",
        type=int,
        default=1232,
        help="(default: 1232, as many as PHOENIX-2014's train has)",
    )
    parser.add_argument(
        "--repeats",
        type=int,
        default=9,
        help="timed sentences of each; the table has the median (default: 9)",
    )
    add_json_option(parser)
    args = parser.parse_args(argv)
    choose_device("cpu")
    teacher = Config().updated(read_overrides(args.teacher_config, Config)).model
    student = StudentConfig().updated(read_overrides(args.student_config, StudentConfig)).model
    actions: dict[tuple[str, str], Callable[[], object]] = {}
    facts: dict[str, str] = {}
    for name, sizes in (
        ("student", student),
        ("streaming student", replace(student, causal=True)),
        ("teacher", teacher),
    ):
        model = LandmarkModel(build_model(sizes, args.glosses + 1), ASPECT).eval()
        parameters = sum(parameter.numel() for parameter in model.model.parameters())
        if name == "streaming student":
            actions[name, "torch"] = in_stream(model)
            facts[name] = (
                f"adds {model.model.lookahead / FPS:.2f} s ({model.model.lookahead} frames)"
            )
            continue
        actions[name, "torch"] = in_torch(model)
        sizes_on_disk = []
        for runtime, int8 in (("onnxruntime", False), ("int8", True)):
            actions[name, runtime], size = in_onnx(model, int8)
            sizes_on_disk.append(f"{size:.1f} MiB as {'int8' if int8 else 'onnx'}")
        facts[name] = f"{parameters:,} parameters, {', '.join(sizes_on_disk)}"
    seconds: dict[tuple[str, str], list[float]] = {key: [] for key in actions}
    for repeat in range(args.repeats + 2):
        for key, action in actions.items():
            started = time.perf_counter()
            action()
            if repeat >= 2:  # the first two repeats warm up
                seconds[key].append(time.perf_counter() - started)
    print(f"{describe_machine()}, onnxruntime {onnxruntime.__version__}")
    print(f"times real time at {FPS} frames/s, median of {args.repeats} (lowest to highest)")
    figures = {}
    for (name, runtime), times in seconds.items():
        rates = sorted(FRAMES / FPS / np.array(times))
        rate = rates[len(rates) // 2]
        print(f"  {name:<18} {runtime:<12} {rate:7.0f} x   ({rates[0]:.0f} to {rates[-1]:.0f})")
        figures[figure_name(name, runtime, "times_real_time")] = float(rate)
    for name, text in facts.items():
        print(f"{name}: {text}")
    finish(args, figures, "student_torch_times_real_time")
    return 0


if __name__ == "__main__":
    run_script(main)
