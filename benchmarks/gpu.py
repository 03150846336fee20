"""What a full training costs on this machine: one table of times, memory, what bounds them, and
whether CUDA computes right.

    benchmarks/gpu.sh
    python benchmarks/gpu.py --steps overfit phases agreement --seconds 540
    python benchmarks/gpu.py --steps training --epochs 40 --work gpu_run
    python benchmarks/gpu.py --device cpu --small

Steps, each a line or more of the table; one that fails (ends with an error, does not learn five
sentences, computes something else than the CPU) is shown as failed and the others go on: exit code
1. The aims in WANTED are shown as met or missed, which changes no exit code: what is fast enough,
and with how much memory, is for the reader to say. overfit: overfit_test.py, timed. corpus: the
corpus for the rest, of PHOENIX-2014's size; where --data_dir does not name one and
data/corpora/rehearsal is not there, simulated signers act random sentences of 1,231 glosses, 5,671
of train, on all cores. phases: where an update's time goes for each --batch_size and
--frames_per_batch, and with --compile for the first batch size compiled; peak memory, and what 150
epochs with all that stands between them would take at that speed. agreement: one batch on CPU and
device in float32, and bf16 against it. training: train_teacher.py with configs/phoenix2014.yaml
until --epochs or the time are over.

Times of phases are CUDA events on the device; `queued` is the share of an update in which the host
still gives the device work: near 100 % the device waits for the host. Nothing is stored but in
--work and the corpus folder.
"""

import contextlib
import functools
import gc
import io
import itertools
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.machine import describe_machine
from benchmarks.results import add_json_option, figure_name, finish
from benchmarks.training import SMALL
from command_line import Parser
from errors import ProjectError, UsageError, run_script

ROOT = Path(__file__).resolve().parent.parent
REHEARSAL = ROOT / "data" / "corpora" / "rehearsal"
MADE = ROOT / "data" / "corpora" / "gpu_rehearsal"
PHASES = ("feeder", "forward", "loss", "backward", "optimizer")
EPOCHS, TRAIN_FRAMES, DEV_FRAMES = 150, 798_990, 75_186  # of a full training on PHOENIX-2014
WANTED = {"overfit seconds": 20.0, "hours": 1 / 6, "GB": 8.0}


@dataclass
class Session:
    """The options, what was measured so far, and the corpus once there is one."""

    options: object
    device: object
    work: Path
    ends: float
    corpus: Path | None = None
    figures: dict[str, float] = field(default_factory=dict)

    def seconds_left(self) -> float:
        return self.ends - time.monotonic()

    def show(self, what: str, text: str, **figures: float) -> None:
        """A line of the table."""
        self.figures |= figures
        print(f"{what:<26}  {text}", flush=True)


def judged(value: float, limit: float) -> str:
    return "met" if value <= limit else "missed"


# ---------------------------------------------------------------------------------------------------------- steps


def overfit(session: Session) -> bool:
    words = [
        "overfit_test.py",
        "--device",
        str(session.device),
        "--output_dir",
        str(session.work / "overfit"),
    ]
    if session.options.small:
        words += ["--config", str(write_small_config(session.work)), "--epochs", "10"]
    started = time.perf_counter()
    ended = run(words, session.seconds_left(), session.work / "overfit.txt")
    seconds = time.perf_counter() - started
    result = session.work / "overfit" / "result.json"
    if not result.exists():
        raise RuntimeError(f"exit code {ended}, see {session.work / 'overfit.txt'}")
    found = json.loads(result.read_text(encoding="utf-8"))
    limit = WANTED["overfit seconds"]
    session.show(
        "overfit check",
        f"{found['wer']:.1f} % WER after {found['epochs_run']} epochs, {found['seconds']:.1f} s "
        f"(under {limit:.0f} s: {judged(found['seconds'], limit)}), {seconds:.0f} s with start and report",
        overfit_wer=found["wer"],
        overfit_seconds=found["seconds"],
    )
    return session.options.small or found["reached"]


def corpus(session: Session) -> bool:
    from data.corpus import Corpus

    if session.corpus is None:
        place = session.work / "corpus" if session.options.small else MADE
        started, made = time.perf_counter(), not place.exists()
        if made:
            make_corpus(place, session.options.small)
        session.corpus = place
        session.figures["corpus_seconds"] = time.perf_counter() - started if made else 0.0
    opened = Corpus(session.corpus)
    train = opened.split("train")
    seconds = session.figures.get("corpus_seconds", 0.0)
    session.show(
        "corpus",
        f"{opened.describe()}: {len(train):,} train sentences, {int(train.lengths.sum()):,} frames"
        + (f", made in {seconds:.0f} s by {os.cpu_count()} processes" if seconds else ""),
    )
    return True


def make_corpus(place: Path, small: bool) -> None:
    """Random sentences of PHOENIX-2014's numbers (sentences, glosses, frames a sentence) acted by
    nine simulated signers."""
    import numpy as np

    from data.keyed_random import generator
    from data.simulation.corpora import synthesize_transcripts
    from data.sources.transcripts import TranscribedSentence

    random = generator("gpu rehearsal")
    sizes = {"train": 40, "dev": 8} if small else {"train": 5671, "dev": 540}
    glosses = [f"GLOSS{number:04d}" for number in range(12 if small else 1231)]
    # A few glosses are common, most are rare, as in every corpus
    frequency = 1 / (np.arange(len(glosses)) + 10)
    frequency /= frequency.sum()
    splits = {}
    for split, count in sizes.items():
        # Mean 141, from 16 to 300, as PHOENIX-2014's train; 12 frames a gloss.
        frames = np.clip(random.gamma(9, 141 / 9, count), 16, 300).round().astype(int)
        splits[split] = [
            TranscribedSentence(
                f"{split}-{number:05d}",
                f"signer{number % 9:02d}",
                tuple(
                    str(one) for one in random.choice(glosses, max(length // 12, 1), p=frequency)
                ),
                int(length),
            )
            for number, length in enumerate(frames)
        ]
    synthesize_transcripts(place, splits, workers=1 if small else os.cpu_count() or 1)


def phases(session: Session) -> bool:
    import torch

    from benchmarks.multiply_adds import matmul_peak
    from models.devices import Precision
    from training.config import TrainingConfig

    options, device = session.options, session.device
    precision = Precision(TrainingConfig.precision, device).name
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    peak = matmul_peak(
        device, dtype, size=256 if options.small else 8192 if device.type == "cuda" else 2048
    )
    session.show(
        "matrix products",
        f"{2 * peak / 1e12:.2f} TFLOP/s in {precision}",
        peak_tflops=2 * peak / 1e12,
    )
    for name, settings in rows_of(options).items():
        measure_row(session, name, settings, peak)
    return True


def measure_row(session: Session, name: str, settings: dict, peak: float) -> None:
    """What a training with these settings costs. A function of its own: nothing of one row is left
    when the next begins.

    peak: multiply-adds a second of large matrix products.
    """
    import torch

    from benchmarks.multiply_adds import UPDATE, count_multiply_adds
    from models.devices import reset_peak_memory

    options, device, figures = session.options, session.device, session.figures
    trainer = make_trainer(session, settings)
    if device.type == "cuda":
        gc.collect()
        torch.cuda.empty_cache()
    reset_peak_memory(device)
    found = time_updates(trainer, options.updates)
    whole = time_real_updates(trainer, options.updates)
    made = next(trainer.batches([found.batch]))
    forward = functools.partial(trainer.model, made.features, made.lengths, made.detected)
    work = UPDATE * count_multiply_adds(trainer.model, forward)
    del made, forward
    between, writing = time_between_epochs(trainer, session.work)
    memory = peak_memory(device)
    share = work / peak / (sum(found.phases.values()) - found.phases["feeder"])
    epoch = TRAIN_FRAMES * whole.seconds / whole.frames
    # The next one is copied when the one before is written.
    period = max(epoch + sum(between.values()) - between["copying"], writing) + between["copying"]
    hours = EPOCHS * period / 3600
    bound = name_bound(found.phases, found.queued, share)
    split = ", ".join(f"{phase} {1000 * seconds:.1f}" for phase, seconds in found.phases.items())
    if device.type == "cuda":
        split += f"; queued {100 * found.queued:.0f} %"
    session.show(f"{name}: phases, ms", f"{split}; bound by {bound}")
    session.show(
        f"{name}: update",
        f"{1000 * whole.seconds:.1f} ms, {whole.frames / whole.seconds:,.0f} frames/s; products at {100 * share:.0f} % of "
        "the peak outside the feeder",
    )
    limit = (
        f" (under {WANTED['GB']:.0f} GB: {judged(memory, WANTED['GB'])})"
        if device.type == "cuda"
        else " (process)"
    )
    session.show(f"{name}: peak memory", f"{memory:.2f} GB{limit}")
    session.show(
        f"{name}: full training",
        f"{60 * hours:.1f} min for {EPOCHS} epochs of {TRAIN_FRAMES:,} frames, {epoch:.1f} s each and between two "
        + ", ".join(f"{what} {seconds:.2f}" for what, seconds in between.items())
        + f" s; a checkpoint is written beside it in {writing:.1f} s (under 10 min: {judged(hours, WANTED['hours'])})",
    )
    key = figure_name(name)
    figures |= {f"{key}_{phase}_ms": 1000 * seconds for phase, seconds in found.phases.items()}
    figures |= {
        f"{key}_update_ms": 1000 * whole.seconds,
        f"{key}_frames_per_second": whole.frames / whole.seconds,
        f"{key}_queued_share": found.queued,
        f"{key}_share_of_peak": share,
        f"{key}_peak_gb": memory,
        f"{key}_between_epochs_seconds": sum(between.values()),
        f"{key}_copying_seconds": between["copying"],
        f"{key}_checkpoint_seconds": writing,
        f"{key}_training_minutes": 60 * hours,
    }


def agreement(session: Session) -> bool:
    """Features, log-probs, loss and gradient of one batch in float32, CPU against the device."""
    import torch

    from data.batching import load_batch
    from data.ctc_targets import pad_targets
    from data.features import compute_features

    trainer = make_trainer(
        session, {"batch_size": 4, "device": "cpu", "precision": "fp32"}, {"dropout": 0.0}
    )
    batch = load_batch(trainer.train.split, trainer.begin_epoch(1)[0][0])
    model = trainer.model.train()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False

    def compute(device: torch.device, autocast: bool) -> tuple:
        """On the CPU again: features, log-probs inside the sentences, loss, gradient norm."""
        model.to(device).zero_grad()
        given = batch.to(device)
        features = compute_features(
            given.landmarks, given.detected, given.lengths, trainer.corpus.aspect_ratio
        )
        with torch.autocast(device.type, torch.bfloat16, enabled=autocast):
            output = model(features, given.lengths, given.detected)
        targets = pad_targets([trainer.train.targets[index] for index in batch.indices], device)
        loss = trainer.loss(output, *targets).total.mean()
        loss.backward()
        norm = torch.stack(
            [one.grad.norm() for one in model.parameters() if one.grad is not None]
        ).norm()
        inside = torch.arange(output.log_probs.shape[1], device=device) < output.lengths[:, None]
        return (
            features.cpu(),
            output.log_probs[inside].detach().cpu(),
            float(loss.detach()),
            float(norm),
        )

    reference = compute(torch.device("cpu"), False)
    found = compute(session.device, False)
    rounded = compute(session.device, True)
    of_features, of_log_probs = ((found[i] - reference[i]).abs().max().item() for i in (0, 1))
    of_loss, of_norm = (abs(found[i] / reference[i] - 1) for i in (2, 3))
    of_bf16 = abs(rounded[2] / found[2] - 1)
    right = of_log_probs <= 1e-3 and of_loss <= 1e-4
    same = (
        " (the same device: shows only that the step runs)" if session.device.type == "cpu" else ""
    )
    session.show(
        "CPU against the device",
        f"float32 differs by {of_features:.1e} in features, {of_log_probs:.1e} in log-probs (1e-3 allowed), {of_loss:.1e} of "
        f"the loss (1e-4 allowed), {of_norm:.1e} of the gradient's norm; bf16 by {of_bf16:.1e} of the loss{same}",
        agreement_features=of_features,
        agreement_log_probs=of_log_probs,
        agreement_loss=of_loss,
        agreement_gradient_norm=of_norm,
        bf16_loss_difference=of_bf16,
    )
    return right


def training(session: Session) -> bool:
    """A real training until it is done or the time is up; then it is stopped as by a user, and
    could be resumed."""
    options, folder = session.options, session.work / "training"
    words = ["train_teacher.py", "--device", str(session.device), "--epochs", str(options.epochs)]
    words += [
        "--config",
        str(
            write_small_config(session.work) if options.small else ROOT / "configs/phoenix2014.yaml"
        ),
    ]
    words += ["--data_dir", str(session.corpus), "--output_dir", str(folder), "--resume", "auto"]
    started = time.perf_counter()
    ended = run(words, session.seconds_left() - 15, session.work / "training.txt")
    seconds = time.perf_counter() - started
    rows = folder / "metrics.jsonl"
    if ended not in (0, 143) or not rows.exists():
        raise RuntimeError(f"exit code {ended}, see {session.work / 'training.txt'}")
    history = [json.loads(line) for line in rows.read_text(encoding="utf-8").splitlines()]
    best = min(row["dev_wer"] for row in history)
    rate = statistics.median(row["frames_per_second"] for row in history)
    session.show(
        "training",
        f"dev WER {best:.2f} % at best in {len(history)} of {options.epochs} epochs, {seconds:.0f} s, {rate:,.0f} frames/s"
        + ("" if ended == 0 else " (stopped: the time was up)"),
        training_dev_wer=best,
        training_epochs=len(history),
        training_seconds=seconds,
    )
    return True


STEPS: dict[str, Callable[[Session], bool]] = {
    step.__name__: step for step in (overfit, corpus, phases, agreement, training)
}


# ----------------------------------------------------------------------------------------------------- what they use


def run(words: list[str], seconds: float, log: Path) -> int:
    """A script of the project with its output in a file; after so many seconds it is asked to stop.
    Returns its exit code."""
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
    path = folder / "small.yaml"
    # JSON is YAML
    path.write_text(json.dumps({"training": {"patience": 150}, "model": SMALL}), encoding="utf-8")
    return path


def rows_of(options) -> dict[str, dict]:
    """What is measured, by name: settings of the training."""
    rows = {f"batch {size}": {"batch_size": size} for size in options.batch_size}
    rows |= {
        f"{budget} frames": {"frames_per_batch": budget} for budget in options.frames_per_batch
    }
    if options.compile:
        rows[f"batch {options.batch_size[0]} compiled"] = {
            "batch_size": options.batch_size[0],
            "compile": True,
        }
    return rows


def make_trainer(session: Session, settings: dict, model: dict | None = None):
    """The trainer of a real run with these settings, one batch an update, with the train split's
    statistics; nothing is written."""
    from data.pipeline import feature_statistics
    from training.resume import plan_start
    from training.setup import prepare_run

    options = session.options
    settings = {
        "device": str(session.device),
        "data_dir": str(session.corpus),
        "accumulation_steps": 1,
        **settings,
    }
    settings["output_dir"] = str(session.work / "none")
    sizes = (SMALL if options.small else {}) | (model or {})
    with contextlib.redirect_stdout(io.StringIO()):  # a training's opening words
        trainer = prepare_run(plan_start(None, {"training": settings, "model": sizes})).trainer
    statistics_of = feature_statistics(
        trainer.pipeline, trainer.train.split, 5_000, sentences=trainer.trainable
    )
    trainer.model.set_statistics(*statistics_of)
    trainer.model.train()
    return trainer


@dataclass
class Timed:
    """Medians of some updates: seconds of each phase, and the share of an update in which the host
    still gave the device work (0 on a CPU); and the indices of a batch that took about as long as
    they say."""

    phases: dict[str, float]
    queued: float
    batch: object


@dataclass
class Whole:
    """Seconds and recorded frames of an update, feeder and all, as the trainer does it."""

    seconds: float
    frames: float


class Marks:
    """Times between the phases of an update: CUDA events on CUDA, the clock on a CPU."""

    def __init__(self, device):
        self.device, self.host, self.events = device, [], []

    def add(self) -> None:
        import torch

        self.host.append(time.perf_counter())
        if self.device.type == "cuda":
            self.events.append(torch.cuda.Event(enable_timing=True))
            self.events[-1].record()

    def seconds(self) -> list[float]:
        """Of each phase. Waits for the device."""
        if self.device.type != "cuda":
            return [after - before for before, after in zip(self.host, self.host[1:], strict=False)]
        self.events[-1].synchronize()
        return [
            b.elapsed_time(a) / 1000 for b, a in zip(self.events, self.events[1:], strict=False)
        ]


def batches_of(trainer, count: int) -> list:
    """The first batches of an epoch, as many as there are up to `count` (and again from the first
    if there are fewer)."""
    plan = [batch for group in trainer.begin_epoch(1) for batch in group]
    return [plan[i % len(plan)] for i in range(count)]


def time_updates(trainer, count: int) -> Timed:
    """The phases of `Trainer.update`, one by one, each update after the device has done the one
    before."""
    from benchmarks.multiply_adds import synchronize
    from data.ctc_targets import pad_targets
    from data.device_transfer import on_device
    from training.part_masking import draw_part_masks

    options, warm_up = trainer.config.training, min(3, count)
    plan = batches_of(trainer, count + warm_up)
    feed, rows, queued = trainer.feed([[batch] for batch in plan]), [], []
    for _ in plan:
        synchronize(trainer.device)
        marks = Marks(trainer.device)
        marks.add()
        (batch,) = next(feed)
        names = [trainer.epoch_train.split.sentences[index].id for index in batch.indices]
        targets = pad_targets(
            [trainer.epoch_train.targets[index] for index in batch.indices], trainer.device
        )
        shown = draw_part_masks(options, 1, names)
        view = None if shown is None else on_device(shown[0], trainer.device)
        marks.add()
        with trainer.precision.autocast():
            output = trainer.model(batch.features, batch.lengths, batch.detected, view)
        marks.add()
        losses = trainer.loss(output, *targets).total
        marks.add()
        trainer.optimizer.zero_grad(set_to_none=True)
        trainer.precision.scaler.scale(losses.mean()).backward()
        marks.add()
        trainer._apply_gradients(losses.detach())
        marks.add()
        synchronize(trainer.device)
        given, taken = marks.host[-1] - marks.host[0], time.perf_counter() - marks.host[0]
        queued.append(given / taken if trainer.device.type == "cuda" else 0.0)
        rows.append(marks.seconds())
    feed.close()
    plan, rows = plan[warm_up:], rows[warm_up:]
    medians = [statistics.median(column) for column in zip(*rows, strict=True)]
    middle = sorted(range(len(rows)), key=lambda number: sum(rows[number]))[len(rows) // 2]
    return Timed(
        dict(zip(PHASES, medians, strict=True)), statistics.median(queued[warm_up:]), plan[middle]
    )


def time_real_updates(trainer, count: int) -> Whole:
    """Of updates as training does them, to the reading of the last one's figures."""
    from benchmarks.multiply_adds import synchronize

    warm_up = min(3, count)
    plan = batches_of(trainer, count + warm_up)
    feed = trainer.feed([[batch] for batch in plan])
    for _ in range(warm_up):
        trainer.update(next(feed))
    synchronize(trainer.device)
    started = time.perf_counter()
    for _ in range(count):
        trainer.update(next(feed))
    trainer.read_last_update()
    synchronize(trainer.device)
    seconds = time.perf_counter() - started
    feed.close()
    lengths = trainer.epoch_train.split.lengths
    return Whole(
        seconds / count, sum(int(lengths[batch].sum()) for batch in plan[warm_up:]) / count
    )


def time_between_epochs(trainer, work: Path) -> tuple[dict[str, float], float]:
    """Seconds of what stands between two epochs, dev as of PHOENIX-2014's frames; and of writing a
    checkpoint, which is done while training goes on."""
    from benchmarks.multiply_adds import synchronize
    from models.checkpoint import LAST, save_checkpoint
    from training.batchnorm_calibration import calibrate
    from training.checkpoint_writer import snapshot
    from training.validation import validate

    marks = [time.perf_counter()]

    def mark() -> None:
        synchronize(trainer.device)
        marks.append(time.perf_counter())

    calibrate(
        trainer.model, trainer.pipeline, trainer.train.split, trainer.precision, trainer.trainable
    )
    mark()
    dev = validate(
        trainer.model,
        trainer.pipeline,
        trainer.dev,
        trainer.vocabulary,
        trainer.loss,
        trainer.precision,
    )
    mark()
    trainer.progress.hypotheses = {
        int(index): trainer.train.targets[index] for index in trainer.trainable
    }
    trainer._row(dev)
    mark()
    trainer.begin_epoch(2)
    mark()
    content = snapshot(trainer.state())
    mark()
    with tempfile.TemporaryDirectory(dir=work) as folder:
        save_checkpoint(Path(folder) / LAST, content)
        mark()
    *seconds, writing = (after - before for before, after in itertools.pairwise(marks))
    between = dict(
        zip(("calibration", "dev", "scoring", "planning", "copying"), seconds, strict=True)
    )
    between["dev"] *= DEV_FRAMES / int(trainer.dev.split.lengths.sum())
    return between, writing


def name_bound(phases: dict[str, float], queued: float, share: float) -> str:
    """What an update waits for. phases: seconds; queued: share of it in which the host still gives
    work; share: of the measured matrix products' peak, outside the feeder."""
    total = sum(phases.values())
    if phases["feeder"] > 0.4 * total:
        return f"the feeder ({100 * phases['feeder'] / total:.0f} % of the update)"
    if queued > 0.9 and share < 0.3:
        return "launches: the device waits for the host"
    if phases["loss"] > 0.3 * total:
        return f"CTC ({100 * phases['loss'] / total:.0f} % of the update)"
    if share > 0.5:
        return "matrix products"
    longest = max(phases, key=phases.get)
    return f"{longest} ({100 * phases[longest] / total:.0f} % of the update): small kernels or memory, not matrix products"


def peak_memory(device) -> float:
    """GB: what torch took from a CUDA device at most since `reset_peak_memory`, its cache with it;
    of the process on a CPU."""
    import torch

    from models import devices

    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device) / 1e9
    return devices.peak_memory(device)


def main(argv: list[str] | None = None) -> int:
    parser = Parser(prog="gpu.py", description=__doc__)
    parser.add_argument(
        "--steps", nargs="+", choices=STEPS, default=list(STEPS), help="default: all"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument(
        "--data_dir",
        type=Path,
        help="corpus folder (default: data/corpora/rehearsal, else one is made)",
    )
    parser.add_argument(
        "--batch_size",
        type=int,
        nargs="+",
        default=[8, 12, 32],
        help="sentences (default: 8 12 32)",
    )
    parser.add_argument(
        "--frames_per_batch",
        type=int,
        nargs="*",
        default=[1_200, 1_800, 4_800],
        help="batches by frames besides (default: 1200 1800 4800, about as large as those of 8, 12 and 32 sentences)",
    )
    parser.add_argument(
        "--compile",
        action="store_true",
        help="measure the first batch size compiled, too: takes minutes",
    )
    parser.add_argument("--updates", type=int, default=30, help="timed for each of them")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="of the training")
    parser.add_argument(
        "--seconds",
        type=float,
        default=570.0,
        help="no step begins after, and the training stops then",
    )
    parser.add_argument(
        "--work", type=Path, help="folder that keeps logs and runs (default: a temporary one)"
    )
    parser.add_argument(
        "--small",
        action="store_true",
        help="tiny models and corpus: to see that it runs, not how fast",
    )
    add_json_option(parser)
    options = parser.parse_args(argv)
    if min(*options.batch_size, *options.frames_per_batch, options.updates, options.epochs) < 1:
        raise UsageError(
            "--batch_size, --frames_per_batch, --updates and --epochs: expected 1 or more"
        )
    with tempfile.TemporaryDirectory() as temporary:
        work = options.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        return measure(options, work.resolve())


def measure(options, work: Path) -> int:
    """Every step in turn; 1 when one failed."""
    from models.devices import choose_device

    ends = time.monotonic() + options.seconds
    session = Session(options, choose_device(options.device), work, ends)
    if options.data_dir is not None:
        session.corpus = options.data_dir
    elif REHEARSAL.is_dir() and not options.small:
        session.corpus = REHEARSAL
    steps = [name for name in STEPS if name in options.steps]
    if (
        session.corpus is None
        and {"phases", "agreement", "training"} & set(steps)
        and "corpus" not in steps
    ):
        steps = sorted([*steps, "corpus"], key=list(STEPS).index)  # they need one
    print(describe_machine())
    failed = 0
    for name in steps:
        started = time.perf_counter()
        if session.seconds_left() <= 0:
            session.show(name, f"not begun: the {options.seconds:g} seconds were over")
            failed += 1
            continue
        try:
            passed, reason = STEPS[name](session), "see above"
        # Torch's are RuntimeErrors
        except (ProjectError, RuntimeError, OSError, ValueError, LookupError) as error:
            passed, reason = False, f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"
        if not passed:
            failed += 1
            session.show(name, f"FAILED: {reason}")
        session.figures[f"{name}_step_seconds"] = time.perf_counter() - started
    finish(options, {**session.figures, "failed_steps": failed}, "failed_steps")
    return 1 if failed else 0


if __name__ == "__main__":
    run_script(main)
