"""Compare the WER of students with their teacher's, over several seeds.

    python benchmarks/student.py --data_dir data/corpora/mine
    python benchmarks/student.py --teacher checkpoints/teacher/best_model.pth \
        --config configs/student.yaml --epochs 60
    python benchmarks/student.py --teacher checkpoints/demo/best_model.pth \
        --rows taught untaught streaming stored-8

Rows:

taught              the teacher runs beside the student
untaught            the same student without a teacher, with the loss of train_teacher.py
streaming           a causal student, taught
streaming-untaught  a causal student without a teacher
stored-K            taught by soft targets of K augmented views; stored-0: without augmentation

WER is of greedy decoding with the best epoch on dev: on dev, and on test if the corpus has it.
Without --teacher, a demo-size teacher is trained first. One run of 16 epochs of a demo-size student
on 45,000 train frames takes about 2 minutes on one idle core. --work keeps the runs: the same
command continues an interrupted comparison.
"""

import argparse
import contextlib
import json
import math
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import distill_student
import evaluate
import export_soft_targets
import train_teacher
from benchmarks.results import add_json_option, describe_machine, finish
from data.corpus import Corpus
from errors import run_script
from models.checkpoint import load_checkpoint

ROOT = Path(__file__).resolve().parent.parent
_T95 = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78}  # Student's t, two-sided 95 %, by number of seeds


def run_script_with_log(log: Path, script, *words: object) -> None:
    """Run a script's main; its output goes to the log file. Raises SystemExit when it fails."""
    with log.open("a", buffering=1, encoding="utf-8") as file, contextlib.redirect_stdout(file):
        code = script.main([str(word) for word in words])
    if code:
        sys.exit(f"{log}: exit code {code}")


def evaluate_splits(
    checkpoint: Path, data_dir: str, splits: list[str], log: Path
) -> dict[str, float]:
    """Greedy WER of each split."""
    wers = {}
    for split in splits:
        folder = checkpoint.parent / f"evaluation_{split}_greedy"
        words = (
            "--checkpoint",
            checkpoint,
            "--data_dir",
            data_dir,
            "--split",
            split,
            "--decoder",
            "greedy",
        )
        run_script_with_log(log, evaluate, *words, "--output_dir", folder)
        wers[split] = json.loads((folder / "result.json").read_text(encoding="utf-8"))["wer"]
    return wers


def row_options(row: str, teacher: Path, data_dir: str, work: Path) -> list[object]:
    """The options of distill_student.py for a row. Exports soft targets when the row needs them."""
    if row.startswith("stored-"):
        folder = work / row
        if not folder.exists():
            words = (
                "--checkpoint",
                teacher,
                "--data_dir",
                data_dir,
                "--splits",
                "train",
                "--output_dir",
                folder,
            )
            run_script_with_log(
                work / "log.txt",
                export_soft_targets,
                *words,
                "--views",
                row.removeprefix("stored-"),
            )
        return ["--soft_targets", folder]
    if row in ("taught", "streaming"):
        options: list[object] = ["--teacher", teacher]
    else:
        options = ["--soft_weight", 0, "--ctc_weight", 1]
    return [*options, "--causal"] if row.startswith("streaming") else options


def mean_and_deviation(values: list[float]) -> str:
    """Mean and standard deviation over the seeds."""
    mean = statistics.fmean(values)
    return f"{mean:.2f} ± {statistics.stdev(values):.2f}" if len(values) > 1 else f"{mean:.2f}"


def gain(taught: list[float], untaught: list[float]) -> str:
    """The gain from the teacher with its 95 % interval, from the differences seed by seed."""
    differences = [without - with_ for with_, without in zip(taught, untaught, strict=True)]
    mean = statistics.fmean(differences)
    if len(differences) not in _T95:
        return f"{mean:+.2f} points of WER (an interval needs 2 to 5 seeds)"
    error = statistics.stdev(differences) / math.sqrt(len(differences))
    half = _T95[len(differences)] * error
    verdict = "significant" if abs(mean) > half else "not significant"
    interval = f"{mean - half:+.2f} to {mean + half:+.2f}"
    return f"{mean:+.2f} points of WER, 95 % interval {interval}: {verdict}"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="student.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data_dir", help="corpus (default: the teacher's; without --teacher the built-in corpus)"
    )
    parser.add_argument(
        "--teacher", type=Path, help="checkpoint (default: train a demo-size teacher)"
    )
    parser.add_argument(
        "--config",
        type=Path,
        default=ROOT / "configs/student_demo.yaml",
        help="configuration of the student",
    )
    parser.add_argument(
        "--rows", nargs="+", default=["taught", "untaught"], help="(default: taught untaught)"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="(default: 0 1 2)")
    parser.add_argument(
        "--epochs", type=int, default=16, help="epochs of each student (default: 16)"
    )
    parser.add_argument(
        "--work", type=Path, help="folder that keeps the runs (default: a temporary folder)"
    )
    add_json_option(parser)
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as temporary:
        work = args.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        return compare(args, work)


def compare(args: argparse.Namespace, work: Path) -> int:
    """Train and evaluate every row with every seed, and print the comparison."""
    log = work / "log.txt"
    teacher = args.teacher
    if teacher is None:
        folder = work / "teacher"
        corpus_options = ("--data_dir", args.data_dir) if args.data_dir else ()
        run_script_with_log(
            log,
            train_teacher,
            "--config",
            ROOT / "configs/demo.yaml",
            "--output_dir",
            folder,
            "--resume",
            "auto",
            *corpus_options,
        )
        teacher = folder / "best_model.pth"
    data_dir = args.data_dir or load_checkpoint(teacher)["corpus"]["path"]
    corpus = Corpus(data_dir)
    splits = ["dev", "test"] if "test" in corpus.splits else ["dev"]
    results: dict[str, list[dict]] = {}
    for seed in args.seeds:
        for row in args.rows:
            started, folder = time.perf_counter(), work / f"{row}-seed{seed}"
            words = (
                "--config",
                args.config,
                "--data_dir",
                data_dir,
                "--output_dir",
                folder,
                "--seed",
                seed,
            )
            options = row_options(row, teacher, data_dir, work)
            run_script_with_log(
                log, distill_student, *words, "--epochs", args.epochs, "--resume", "auto", *options
            )
            wers = evaluate_splits(folder / "best_model.pth", data_dir, splits, log)
            results.setdefault(row, []).append(wers)
            wer_text = ", ".join(f"{split} {wer:.2f} %" for split, wer in wers.items())
            print(
                f"{row}, seed {seed}: {wer_text} ({time.perf_counter() - started:.0f} s)",
                flush=True,
            )
    teacher_wers = evaluate_teacher(teacher, data_dir, splits, work)
    report(teacher, teacher_wers, results, work, args, corpus, splits)
    figures = {f"teacher_{split}_wer": wer for split, wer in teacher_wers.items()}
    for row, runs in results.items():
        figures |= {
            f"{row}_{split}_wer": statistics.mean(run[split] for run in runs) for split in splits
        }
    finish(args, figures, f"{args.rows[0]}_dev_wer")
    return 0


def evaluate_teacher(
    teacher: Path, data_dir: str, splits: list[str], work: Path
) -> dict[str, float]:
    """As `evaluate_splits`, with the files in the work folder: the teacher's may be read-only."""
    copy = work / "teacher_evaluation" / "best_model.pth"
    copy.parent.mkdir(exist_ok=True)
    if not copy.exists():
        copy.symlink_to(teacher.resolve())
    return evaluate_splits(copy, data_dir, splits, work / "log.txt")


def report(teacher, teacher_wers, results, work, args, corpus, splits) -> None:
    """Print the table, the share of the teacher's accuracy, and the gain from the teacher."""

    def size(path: Path) -> tuple[int, float]:
        """Number of parameters, and their MiB."""
        weights = [
            tensor
            for name, tensor in load_checkpoint(path)["model"].items()
            if tensor.is_floating_point() and "running" not in name
        ]
        count = sum(tensor.numel() for tensor in weights) - 2 * 6516  # no feature statistics
        return count, 4 * count / 2**20

    print(
        f"\n{describe_machine()}\n{corpus.describe()}: greedy WER in %, "
        f"mean ± standard deviation over the seeds {args.seeds}"
    )
    print(f"{'':<20}{'parameters':>12}{'MiB':>7}" + "".join(f"{split:>16}" for split in splits))
    count, mebibytes = size(teacher)
    print(
        f"{'teacher':<20}{count:>12,}{mebibytes:>7.1f}"
        + "".join(f"{teacher_wers[split]:>16.2f}" for split in splits)
    )
    for row, runs in results.items():
        student_count, mebibytes = size(work / f"{row}-seed{args.seeds[0]}" / "best_model.pth")
        rates = "".join(
            f"{mean_and_deviation([run[split] for run in runs]):>16}" for split in splits
        )
        print(
            f"{row:<20}{student_count:>12,}{mebibytes:>7.1f}{rates}   "
            f"({100 * student_count / count:.1f} % of the teacher's parameters)"
        )
    for split in splits:
        for row, runs in results.items():
            accuracy = sum(100 - run[split] for run in runs) / len(runs)
            share = 100 * accuracy / (100 - teacher_wers[split])
            print(f"{split}: {row} reaches {share:.1f} % of the teacher's accuracy (1 - WER)")
        for row, other in (("taught", "untaught"), ("streaming", "streaming-untaught")):
            if row in results and other in results:
                both = ([run[split] for run in results[name]] for name in (row, other))
                print(f"{split}: {row} against {other}: {gain(*both)}")


if __name__ == "__main__":
    run_script(main)
