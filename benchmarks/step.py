"""Compare the speed of parts of a training step with their alternatives, on this machine's device.

    python benchmarks/step.py
    python benchmarks/step.py --compile     # also the compiled front; compiling takes minutes

One run measures

1. CTC with its gradient, both heads of a batch: the recursion of training/ctc.py, against torch's;
2. a complete update of the full-size teacher: bfloat16 against float32, and on a CPU with large
   linear layers by torch and by oneDNN;
3. the optimiser's step: with the decision on the device whether to skip it, against without;
4. a linear layer of the conformer, forward and backward, by torch and by oneDNN; and what
   `--linear_layers auto` and `--precision auto` choose on this processor
   (models/machine_choices.py);
5. the convolutional front, forward and backward: compiled (--compile of train_teacher.py), against
   not compiled.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
from torch import Tensor, nn

from benchmarks.results import add_json_option, describe_machine, finish
from benchmarks.speed import BATCH, FRAMES, STEPS, median_seconds
from command_line import Parser
from data.landmarks import LandmarkSelection
from errors import run_script
from models.config import ModelConfig
from models.cpu_kernels import ONEDNN, TORCH, Linear, compute_linear_by
from models.devices import Precision, choose_device
from models.i3d_teacher import I3DTeacher
from models.machine_choices import choose_machine
from training.config import TrainingConfig
from training.ctc import ctc
from training.losses import TeacherLoss
from training.optimizer import make_optimizer

CLASSES, GLOSSES = 1232, 11


def synchronize(device: torch.device) -> None:
    """Wait until the device has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def ctc_losses(device: torch.device) -> tuple[float, float]:
    """Seconds of CTC with its gradient for both heads of a batch: the recursion, and torch's."""
    log_probs = (
        torch.randn(2 * BATCH, STEPS, CLASSES, device=device).log_softmax(-1).requires_grad_()
    )
    targets = torch.randint(1, CLASSES, (2 * BATCH, GLOSSES), device=device)
    steps, lengths = (torch.full((2 * BATCH,), count, device=device) for count in (STEPS, GLOSSES))

    def torch_ctc(log_probs: Tensor, *rest: Tensor) -> Tensor:
        return nn.functional.ctc_loss(log_probs.transpose(0, 1), *rest, reduction="none")

    def run(loss) -> None:
        loss(log_probs, targets, steps, lengths).sum().backward()
        synchronize(device)

    return median_seconds(lambda: run(ctc)), median_seconds(lambda: run(torch_ctc))


def linear_layers(device: torch.device) -> dict[str, float]:
    """Seconds of the conformer's widest linear layer with its gradients on one batch, by TORCH and,
    on a CPU, by ONEDNN."""
    width = ModelConfig().conformer_width
    x = torch.randn(BATCH, STEPS, width, device=device, requires_grad=True)

    layer, found = Linear(width, 4 * width).to(device), {}

    def run() -> None:
        out = layer(x)
        out.backward(torch.ones_like(out))
        synchronize(device)

    for way in ways(device):
        compute_linear_by(way)
        found[way] = median_seconds(run)
    return found


def ways(device: torch.device) -> list[str]:
    """How large linear layers can be computed on this device."""
    has_onednn = device.type == "cpu" and torch.backends.mkldnn.is_available()
    return [TORCH, ONEDNN] if has_onednn else [TORCH]


class Step:
    """Updates of a teacher on one batch of random features.

    config: the sizes of the teacher; by default the full size.
    """

    def __init__(
        self, device: torch.device, precision: str = "fp32", config: ModelConfig | None = None
    ):
        self.device, self.precision = device, Precision(precision, device)
        self.model = I3DTeacher(config or ModelConfig(), CLASSES).to(device).train()
        selection = LandmarkSelection(self.model.input_landmarks)
        self.model.set_input_selection(selection)
        self.optimizer, self.loss = (
            make_optimizer(self.model, TrainingConfig()),
            TeacherLoss(1.0, 1.0, 8.0),
        )
        self.features = torch.randn(BATCH, FRAMES, 4 * selection.block_size, device=device)
        self.lengths = torch.full((BATCH,), FRAMES, device=device)
        self.targets = torch.randint(1, CLASSES, (BATCH, GLOSSES), device=device)
        self.target_lengths = torch.full((BATCH,), GLOSSES, device=device)

    def update(self) -> None:
        """Forward, loss, backward, optimiser step."""
        self.optimizer.zero_grad(set_to_none=True)
        with self.precision.autocast():
            output = self.model(self.features, self.lengths)
        self.loss(output, self.targets, self.target_lengths).total.mean().backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        synchronize(self.device)

    def optimise(self, may_skip: bool) -> None:
        """The optimiser's step with the present gradients. may_skip: the device may skip it."""
        if may_skip:
            self.optimizer.grad_scale = None
            self.optimizer.found_inf = torch.zeros((), device=self.device)
        self.optimizer.step()
        if may_skip:
            del self.optimizer.grad_scale, self.optimizer.found_inf
        synchronize(self.device)

    def front(self) -> None:
        """Forward and backward of the convolutional front."""
        detected = torch.ones(BATCH, FRAMES, 4, dtype=torch.bool, device=self.device)
        with self.precision.autocast():
            x, _ = self.model.front(self.features, self.lengths, detected, None)
        x.sum().backward()
        synchronize(self.device)


def main(argv: list[str] | None = None) -> int:
    parser = Parser(prog="step.py", description=__doc__)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--compile", action="store_true", help="also measure the compiled front")
    add_json_option(parser)
    options = parser.parse_args(argv)
    device = choose_device(options.device)
    print(describe_machine())
    recursion, native = ctc_losses(device)
    print(
        f"CTC, 2 x {BATCH} x {STEPS} steps: recursion {1000 * recursion:.1f} ms, "
        f"torch {1000 * native:.1f} ms"
    )
    rates, step = {}, None
    for kind in ("bf16", *ways(device)):
        precision = "bf16" if kind == "bf16" else "fp32"
        compute_linear_by(TORCH if kind == "bf16" else kind)
        step = Step(device, precision)
        rates[kind] = BATCH * FRAMES / median_seconds(step.update, repeats=3)
        name = precision if kind == "bf16" else f"{precision}, linear layers by {kind}"
        print(
            f"teacher update, batch {BATCH} x {FRAMES} frames, {name}: {rates[kind]:,.0f} frames/s"
        )
    without, skippable = (
        median_seconds(lambda flag=flag: step.optimise(flag)) for flag in (False, True)
    )
    print(f"optimiser: {1000 * without:.1f} ms, with skipping possible {1000 * skippable:.1f} ms")
    layer = linear_layers(device)
    shown = ", ".join(f"{way} {1000 * seconds:.1f} ms" for way, seconds in layer.items())
    print(f"linear layer, {BATCH} x {STEPS} steps: {shown}")
    chosen = choose_machine("auto", [step.model], step.precision)
    print(f"--linear_layers auto: {chosen}")
    new_run = choose_machine("auto", [step.model], step.precision, any_precision=True)
    print(f"--precision auto, in a new run: {new_run.precision}; {new_run}")
    figures = {
        "ctc_native_over_recursion": native / recursion,
        "optimiser_deciding_over_without": skippable / without,
        "bf16_over_fp32": rates["bf16"] / rates[chosen.linear_layers],
    }
    if ONEDNN in layer:
        figures["linear_torchs_over_onednns"] = layer[TORCH] / layer[ONEDNN]
        figures["update_onednns_over_torchs"] = rates[ONEDNN] / rates[TORCH]
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
