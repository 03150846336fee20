"""The steps of benchmarks/gpu.py: each measures something and shows its lines of the table."""

import contextlib
import io
import json
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.results import figure_name
from benchmarks.training import SMALL
from processor import cores_allowed

ROOT = Path(__file__).resolve().parent.parent
SIMULATED = ROOT / "data" / "corpora" / "gpu_rehearsal"
EPOCHS = 150
TARGETS = {"overfit seconds": 20.0, "hours": 1 / 6, "GB": 8.0}


@dataclass
class Session:
    """The options, the figures so far, and the corpus once it is known."""

    options: object
    device: object
    work: Path
    ends: float
    corpus: Path | None = None
    figures: dict[str, float] = field(default_factory=dict)

    def seconds_left(self) -> float:
        return self.ends - time.monotonic()

    def show(self, name: str, text: str, **figures: float) -> None:
        """Print a line of the table and keep its figures."""
        self.figures |= figures
        print(f"{name:<26}  {text}", flush=True)


def met_or_missed(value: float, target: float) -> str:
    return "met" if value <= target else "missed"


# ---------------------------------------------------------------- steps


def overfit(session: Session) -> bool:
    """Run overfit_test.py. Returns whether it learned its sentences."""
    words = ["overfit_test.py", "--device", str(session.device)]
    words += ["--output_dir", str(session.work / "overfit")]
    if session.options.small:
        words += ["--config", str(write_small_config(session.work)), "--epochs", "10"]
    started = time.perf_counter()
    code = run(words, session.seconds_left(), session.work / "overfit.txt")
    seconds = time.perf_counter() - started
    result = session.work / "overfit" / "result.json"
    if not result.exists():
        raise RuntimeError(f"exit code {code}, see {session.work / 'overfit.txt'}")
    found = json.loads(result.read_text(encoding="utf-8"))
    target = TARGETS["overfit seconds"]
    session.show(
        "overfit check",
        f"{found['wer']:.1f} % WER after {found['epochs_run']} epochs, {found['seconds']:.1f} s "
        f"(target: below {target:.0f} s: {met_or_missed(found['seconds'], target)}), "
        f"{seconds:.0f} s with start and report",
        overfit_wer=found["wer"],
        overfit_seconds=found["seconds"],
    )
    return session.options.small or found["reached"]


def corpus(session: Session) -> bool:
    """Choose the corpus; make it if there is none."""
    from data.corpus import Corpus

    if session.corpus is None:
        folder = session.work / "corpus" if session.options.small else SIMULATED
        started, missing = time.perf_counter(), not folder.exists()
        if missing:
            make_corpus(folder, session.options.small)
        session.corpus = folder
        session.figures["corpus_seconds"] = time.perf_counter() - started if missing else 0.0
    opened = Corpus(session.corpus)
    train = opened.split("train")
    seconds = session.figures.get("corpus_seconds", 0.0)
    session.show(
        "corpus",
        f"{opened.describe()}: {len(train):,} train sentences, {int(train.lengths.sum()):,} frames"
        + (f", made in {seconds:.0f} s by {cores_allowed()} processes" if seconds else ""),
    )
    return True


def make_corpus(folder: Path, small: bool) -> None:
    """Simulate random sentences of nine signers, with PHOENIX-2014's numbers of sentences, glosses
    and frames per sentence."""
    import numpy as np

    from data.keyed_random import generator
    from data.simulation.corpora import synthesize_transcripts
    from data.sources.annotations.transcripts import TranscribedSentence

    random = generator("gpu rehearsal")
    sizes = {"train": 40, "dev": 8} if small else {"train": 5671, "dev": 540}
    glosses = [f"GLOSS{number:04d}" for number in range(12 if small else 1231)]
    # A few glosses are frequent, most are rare, as in every corpus
    frequency = 1 / (np.arange(len(glosses)) + 10)
    frequency /= frequency.sum()
    splits = {}
    for split, count in sizes.items():
        # Mean 141, from 16 to 300, as in PHOENIX-2014's train split; 12 frames per gloss
        lengths = np.clip(random.gamma(9, 141 / 9, count), 16, 300).round().astype(int)
        splits[split] = []
        for number, length in enumerate(lengths):
            drawn = random.choice(glosses, max(length // 12, 1), p=frequency)
            splits[split].append(
                TranscribedSentence(
                    f"{split}-{number:05d}",
                    f"signer{number % 9:02d}",
                    tuple(map(str, drawn)),
                    int(length),
                )
            )
    synthesize_transcripts(folder, splits, workers=1 if small else cores_allowed())


def phases(session: Session) -> bool:
    """Measure the cost of a training for each size of batch."""
    import torch

    from benchmarks.multiply_adds import matmul_peak
    from models.devices import Precision
    from training.config import TrainingConfig

    options, device = session.options, session.device
    precision = Precision(TrainingConfig.precision, device).name
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    size = 256 if options.small else 8192 if device.type == "cuda" else 2048
    peak = matmul_peak(device, dtype, size=size)
    session.show(
        "matrix products",
        f"{2 * peak / 1e12:.2f} TFLOP/s in {precision}",
        peak_tflops=2 * peak / 1e12,
    )
    for name, settings in rows_of(options).items():
        measure_row(session, name, settings, peak)
    return True


def measure_row(session: Session, name: str, settings: dict, peak: float) -> None:
    """Measure a training with these settings and show its lines.

    This is a separate function, so that nothing of one row is in memory when the next starts.
    peak: multiply-adds per second of large matrix products.
    """
    from benchmarks.gpu_timing import TRAIN_FRAMES, measure_cost, name_limit

    options, on_cuda = session.options, session.device.type == "cuda"
    cost = measure_cost(make_trainer(session, settings), options.updates, peak, session.work)
    seconds, queued, rate = (
        cost.times.phases,
        cost.times.queued,
        cost.update.frames / cost.update.seconds,
    )
    text = ", ".join(f"{phase} {1000 * value:.1f}" for phase, value in seconds.items())
    if on_cuda:
        text += f"; queued {100 * queued:.0f} %"
    limit = name_limit(seconds, queued, cost.share_of_peak)
    session.show(f"{name}: phases, ms", f"{text}; limited by {limit}")
    session.show(
        f"{name}: update",
        f"{1000 * cost.update.seconds:.1f} ms, {rate:,.0f} frames/s; outside the feeder "
        f"{100 * cost.share_of_peak:.0f} % of the peak of matrix products",
    )
    target = TARGETS["GB"]
    note = f"target: below {target:.0f} GB: {met_or_missed(cost.memory, target)}"
    session.show(
        f"{name}: peak memory", f"{cost.memory:.2f} GB ({note if on_cuda else 'of the process'})"
    )
    between = ", ".join(f"{step} {value:.2f}" for step, value in cost.between_epochs.items())
    session.show(
        f"{name}: full training",
        f"{60 * cost.hours:.1f} min for {EPOCHS} epochs of {TRAIN_FRAMES:,} frames "
        f"(target: below 10 min: {met_or_missed(cost.hours, TARGETS['hours'])}); "
        f"{cost.epoch_seconds:.1f} s per epoch; between two epochs {between} s; "
        f"a checkpoint is written in {cost.checkpoint_seconds:.1f} s beside the training",
    )
    key = figure_name(name)
    figures = {f"{key}_{phase}_ms": 1000 * value for phase, value in seconds.items()}
    session.figures |= figures | {
        f"{key}_update_ms": 1000 * cost.update.seconds,
        f"{key}_frames_per_second": rate,
        f"{key}_queued_share": queued,
        f"{key}_share_of_peak": cost.share_of_peak,
        f"{key}_peak_gb": cost.memory,
        f"{key}_between_epochs_seconds": sum(cost.between_epochs.values()),
        f"{key}_copying_seconds": cost.between_epochs["copying"],
        f"{key}_checkpoint_seconds": cost.checkpoint_seconds,
        f"{key}_training_minutes": 60 * cost.hours,
    }


def agreement(session: Session) -> bool:
    """Compare features, log-probabilities, loss and gradient of one batch on the CPU and device."""
    import torch

    from benchmarks.gpu_timing import compute_batch

    settings = {"batch_size": 4, "device": "cpu", "precision": "fp32"}
    trainer = make_trainer(session, settings, {"dropout": 0.0})
    indices, device = trainer.plan.begin(1)[0][0], session.device
    reference = compute_batch(trainer, indices, torch.device("cpu"), bf16=False)
    found = compute_batch(trainer, indices, device, bf16=False)
    bf16 = compute_batch(trainer, indices, device, bf16=True)
    features = (found.features - reference.features).abs().max().item()
    log_probs = (found.log_probs - reference.log_probs).abs().max().item()
    loss = abs(found.loss / reference.loss - 1)
    norm = abs(found.gradient_norm / reference.gradient_norm - 1)
    bf16_loss = abs(bf16.loss / found.loss - 1)
    note = " (the device is the CPU: this shows only that the step runs)"
    session.show(
        "CPU against the device",
        f"float32 differs by {features:.1e} in features, {log_probs:.1e} in log-probabilities "
        f"(1e-3 allowed), {loss:.1e} of the loss (1e-4 allowed), {norm:.1e} of the gradient norm; "
        f"bf16 by {bf16_loss:.1e} of the loss{note if device.type == 'cpu' else ''}",
        agreement_features=features,
        agreement_log_probs=log_probs,
        agreement_loss=loss,
        agreement_gradient_norm=norm,
        bf16_loss_difference=bf16_loss,
    )
    return log_probs <= 1e-3 and loss <= 1e-4


def training(session: Session) -> bool:
    """Train until the epochs or the seconds are over. A stopped training can be resumed."""
    options, folder = session.options, session.work / "training"
    config = ROOT / "configs" / "phoenix2014.yaml"
    if options.small:
        config = write_small_config(session.work)
    words = ["train_teacher.py", "--device", str(session.device), "--epochs", str(options.epochs)]
    words += ["--config", str(config), "--data_dir", str(session.corpus)]
    words += ["--output_dir", str(folder), "--resume", "auto"]
    started = time.perf_counter()
    code = run(words, session.seconds_left() - 15, session.work / "training.txt")
    seconds = time.perf_counter() - started
    rows = folder / "metrics.jsonl"
    if code not in (0, 143) or not rows.exists():
        raise RuntimeError(f"exit code {code}, see {session.work / 'training.txt'}")
    history = [json.loads(line) for line in rows.read_text(encoding="utf-8").splitlines()]
    best = min(row["dev_wer"] for row in history)
    rate = statistics.median(row["frames_per_second"] for row in history)
    session.show(
        "training",
        f"best dev WER {best:.2f} % in {len(history)} of {options.epochs} epochs, "
        f"{seconds:.0f} s, {rate:,.0f} frames/s"
        + ("" if code == 0 else " (stopped: --seconds were over)"),
        training_dev_wer=best,
        training_epochs=len(history),
        training_seconds=seconds,
    )
    return True


STEPS: dict[str, Callable[[Session], bool]] = {
    step.__name__: step for step in (overfit, corpus, phases, agreement, training)
}


# ---------------------------------------------------------------- helpers of the steps


def run(words: list[str], seconds: float, log: Path) -> int:
    """Run a script of the project; SIGTERM stops it after `seconds`. Returns its exit code.

    log: the file for its output.
    """
    with log.open("w", encoding="utf-8") as file:
        process = subprocess.Popen(
            [sys.executable, *words], cwd=ROOT, stdout=file, stderr=subprocess.STDOUT
        )
        try:
            return process.wait(max(seconds, 1))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGTERM)
            return 128 + signal.SIGTERM if process.wait() == -signal.SIGTERM else process.returncode
        finally:
            process.kill()


def write_small_config(folder: Path) -> Path:
    """A configuration file of a tiny teacher; JSON is also YAML."""
    path = folder / "small.yaml"
    path.write_text(json.dumps({"training": {"patience": 150}, "model": SMALL}), encoding="utf-8")
    return path


def rows_of(options) -> dict[str, dict]:
    """The rows of the step `phases`: settings of the training, by name."""
    rows = {f"batch {size}": {"batch_size": size} for size in options.batch_size}
    rows |= {
        f"{budget} frames": {"frames_per_batch": budget} for budget in options.frames_per_batch
    }
    if options.compile:
        size = options.batch_size[0]
        rows[f"batch {size} compiled"] = {"batch_size": size, "compile": True}
    return rows


def make_trainer(session: Session, settings: dict, model: dict | None = None):
    """The trainer of a run with these settings and one batch per update. Writes nothing."""
    from training.resume import plan_start
    from training.setup import prepare_run, train_statistics

    settings = {
        "device": str(session.device),
        "data_dir": str(session.corpus),
        "accumulation_steps": 1,
        **settings,
        "output_dir": str(session.work / "none"),
    }
    sizes = (SMALL if session.options.small else {}) | (model or {})
    with contextlib.redirect_stdout(io.StringIO()):  # what a training prints first
        trainer = prepare_run(plan_start(None, {"training": settings, "model": sizes})).trainer
    trainer.model.set_statistics(*train_statistics(trainer, 5_000))
    trainer.model.train()
    return trainer
