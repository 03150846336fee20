"""What a training step is made of, each part against its alternative in the same run, on this
machine's device.

    python benchmarks/step.py
    python benchmarks/step.py --compile     # also the compiled front, which takes minutes to compile

1. CTC with its gradient, both heads of a batch: the recursion of training/ctc.py against torch's own.
2. A whole update of the full-size teacher in bfloat16 against float32. 'auto' is float32 on the CPU whatever comes out: a
   probe at each start could choose otherwise after an interruption, and a continued run would not be the same.
3. The optimiser's step with the skip decided on the device against a step without any.
4. A linear layer of the conformer, forward and backward: models/cpu_kernels.py against torch's own.
5. Forward and backward of the convolutional front, compiled (--compile of train_teacher.py) against as it is.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
from torch import Tensor, nn

from benchmarks.machine import describe_machine
from benchmarks.results import add_json_option, finish
from benchmarks.speed import BATCH, FRAMES, STEPS, median_seconds
from command_line import Parser
from data.landmarks import Layout
from errors import run_script
from models.config import ModelConfig
from models.cpu_kernels import Linear
from models.devices import Precision, choose_device
from models.i3d_teacher import I3DTeacher
from training.config import Config
from training.ctc import ctc
from training.losses import TeacherLoss
from training.trainer import make_optimizer

CLASSES, GLOSSES = 1232, 11


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def ctc_losses(device: torch.device) -> tuple[float, float]:
    """Seconds of CTC with its gradient for both heads of a batch: the recursion, torch's own."""
    log_probs = (
        torch.randn(2 * BATCH, STEPS, CLASSES, device=device).log_softmax(-1).requires_grad_()
    )
    targets = torch.randint(1, CLASSES, (2 * BATCH, GLOSSES), device=device)
    steps, lengths = (torch.full((2 * BATCH,), count, device=device) for count in (STEPS, GLOSSES))

    def torchs_own(log_probs: Tensor, *rest: Tensor) -> Tensor:
        return nn.functional.ctc_loss(log_probs.transpose(0, 1), *rest, reduction="none")

    def run(loss) -> None:
        loss(log_probs, targets, steps, lengths).sum().backward()
        wait(device)

    return median_seconds(lambda: run(ctc)), median_seconds(lambda: run(torchs_own))


def linear_layers(device: torch.device) -> tuple[float, float]:
    """Seconds of the widest linear layer of the conformer with its gradients, of a batch:
    models/cpu_kernels.py, torch's own."""
    width = ModelConfig().conformer_width
    x = torch.randn(BATCH, STEPS, width, device=device, requires_grad=True)

    def run(layer: nn.Linear) -> None:
        out = layer(x)
        out.backward(torch.ones_like(out))
        wait(device)

    ours, torchs = (kind(width, 4 * width).to(device) for kind in (Linear, nn.Linear))
    return median_seconds(lambda: run(ours)), median_seconds(lambda: run(torchs))


class Step:
    """Updates of a full-size teacher on one batch of random features of the landmarks that it
    reads."""

    def __init__(self, device: torch.device, precision: str = "fp32"):
        self.device, self.precision = device, Precision(precision, device)
        self.model = I3DTeacher(ModelConfig(), CLASSES).to(device).train()
        layout = Layout(self.model.input_landmarks)
        self.model.set_input_layout(layout)
        self.optimizer, self.loss = make_optimizer(self.model, Config()), TeacherLoss(1.0, 1.0, 8.0)
        self.features = torch.randn(BATCH, FRAMES, 4 * layout.block, device=device)
        self.lengths = torch.full((BATCH,), FRAMES, device=device)
        self.targets = torch.randint(1, CLASSES, (BATCH, GLOSSES), device=device)
        self.target_lengths = torch.full((BATCH,), GLOSSES, device=device)

    def update(self) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        with self.precision.autocast():
            output = self.model(self.features, self.lengths)
        self.loss(output, self.targets, self.target_lengths).total.mean().backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        wait(self.device)

    def optimise(self, deciding: bool) -> None:
        """A step on the gradients that are there; `deciding`: it may be skipped."""
        if deciding:
            self.optimizer.grad_scale, self.optimizer.found_inf = (
                None,
                torch.zeros((), device=self.device),
            )
        self.optimizer.step()
        if deciding:
            del self.optimizer.grad_scale, self.optimizer.found_inf
        wait(self.device)

    def front(self) -> None:
        detected = torch.ones(BATCH, FRAMES, 4, dtype=torch.bool, device=self.device)
        with self.precision.autocast():
            x, _ = self.model.front(self.features, self.lengths, detected, None)
        x.sum().backward()
        wait(self.device)


def main(argv: list[str] | None = None) -> int:
    parser = Parser(prog="step.py", description=__doc__)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--compile", action="store_true", help="measure the compiled front, too")
    add_json_option(parser)
    options = parser.parse_args(argv)
    device = choose_device(options.device)
    print(describe_machine())
    recursion, native = ctc_losses(device)
    print(
        f"CTC, 2 x {BATCH} x {STEPS} steps: recursion {1000 * recursion:.1f} ms, torch's own {1000 * native:.1f} ms"
    )
    rates, step = {}, None
    for precision in ("bf16", "fp32"):
        step = Step(device, precision)
        rates[precision] = BATCH * FRAMES / median_seconds(step.update, repeats=3)
        print(
            f"teacher update, batch {BATCH} x {FRAMES} frames, {precision}: {rates[precision]:,.0f} frames/s"
        )
    without, deciding = (
        median_seconds(lambda flag=flag: step.optimise(flag)) for flag in (False, True)
    )
    print(f"optimiser: {1000 * without:.1f} ms, with the skip decided {1000 * deciding:.1f} ms")
    ours, torchs = linear_layers(device)
    print(
        f"linear layer, {BATCH} x {STEPS} steps: {1000 * ours:.1f} ms, torch's own {1000 * torchs:.1f} ms"
    )
    figures = {
        "ctc_native_over_recursion": native / recursion,
        "optimiser_deciding_over_without": deciding / without,
        "linear_torchs_over_ours": torchs / ours,
        "bf16_over_fp32": rates["bf16"] / rates["fp32"],
    }
    if options.compile:
        plain = median_seconds(step.front, repeats=3)
        step.model.compile_front()
        compiled = median_seconds(step.front, repeats=3)
        print(
            f"front, forward and backward: {1000 * plain:.0f} ms, compiled {1000 * compiled:.0f} ms"
        )
        figures["front_plain_over_compiled"] = plain / compiled
    finish(options, figures, "bf16_over_fp32")
    return 0


if __name__ == "__main__":
    run_script(main)
