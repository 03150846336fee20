"""WER of students beside their teacher, over several seeds: taught, the same without the teacher,
and variants.

    python benchmarks/student.py --data_dir data/corpora/mine
    python benchmarks/student.py --teacher checkpoints/teacher/best_model.pth --config configs/student.yaml --epochs 60
    python benchmarks/student.py --teacher checkpoints/demo/best_model.pth --rows taught untaught streaming stored-8

Rows: `taught` by the teacher run beside it, `untaught` (the same student on the teacher's own
loss), `streaming` (causal, taught), `streaming-untaught`, `stored-K` (taught by soft targets of K
augmented views; stored-0: none). WER is greedy, of the epoch that is best on dev: on dev, and on
test where the corpus has one. Without --teacher a demo-size teacher is trained first. A demo-size
student on 45,000 train frames takes about 2 minutes a run of 16 epochs on one idle core. --work
keeps the runs: the same command goes on from what is there.
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
from benchmarks.machine import describe_machine
from benchmarks.results import add_json_option, finish
from data.corpus import Corpus
from errors import run_script
from models.checkpoint import load_checkpoint

ROOT = Path(__file__).resolve().parent.parent
_T95 = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78}  # Student's t, two-sided 95 %, by number of seeds


def quietly(log: Path, script, *words: object) -> None:
    """Run a script's main with its output in a log file. Raises SystemExit where it fails."""
    with log.open("a", buffering=1, encoding="utf-8") as file, contextlib.redirect_stdout(file):
        code = script.main([str(word) for word in words])
    if code:
        sys.exit(f"{log}: exit code {code}")


def wers(checkpoint: Path, data_dir: str, splits: list[str], log: Path) -> dict[str, float]:
    """Greedy WER of each split."""
    found = {}
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
        quietly(log, evaluate, *words, "--output_dir", folder)
        found[split] = json.loads((folder / "result.json").read_text(encoding="utf-8"))["wer"]
    return found


def row_options(row: str, teacher: Path, data_dir: str, work: Path) -> list[object]:
    """What distill_student.py is told for a row; makes stored soft targets where the row wants
    some."""
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
            quietly(
                work / "log.txt",
                export_soft_targets,
                *words,
                "--views",
                row.removeprefix("stored-"),
            )
        return ["--soft_targets", folder]
    taught = (
        ["--teacher", teacher]
        if row in ("taught", "streaming")
        else ["--soft_weight", 0, "--ctc_weight", 1]
    )
    return [*taught, "--causal"] if row.startswith("streaming") else taught


def spread(values: list[float]) -> str:
    """Mean and standard deviation over the seeds."""
    mean = sum(values) / len(values)
    if len(values) < 2:
        return f"{mean:.2f}"
    return f"{mean:.2f} ± {math.sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - 1)):.2f}"


def gain(taught: list[float], untaught: list[float]) -> str:
    """What the teacher brings, seed by seed, with its 95 % interval over the seeds."""
    differences = [without - with_ for with_, without in zip(taught, untaught, strict=True)]
    mean = sum(differences) / len(differences)
    if len(differences) not in _T95:
        return f"{mean:+.2f} points of WER (too few or many seeds for an interval)"
    deviation = math.sqrt(sum((d - mean) ** 2 for d in differences) / (len(differences) - 1))
    half = _T95[len(differences)] * deviation / math.sqrt(len(differences))
    verdict = "beyond noise" if abs(mean) > half else "within noise"
    return f"{mean:+.2f} points of WER, 95 % interval {mean - half:+.2f} to {mean + half:+.2f}: {verdict}"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="student.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data_dir", help="corpus (default: the teacher's; without a teacher the built-in one)"
    )
    parser.add_argument(
        "--teacher", type=Path, help="checkpoint (default: a demo-size teacher is trained)"
    )
    parser.add_argument(
        "--config", type=Path, default=ROOT / "configs/student_demo.yaml", help="of the student"
    )
    parser.add_argument(
        "--rows", nargs="+", default=["taught", "untaught"], help="(default: taught untaught)"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="(default: 0 1 2)")
    parser.add_argument("--epochs", type=int, default=16, help="of each student (default: 16)")
    parser.add_argument(
        "--work", type=Path, help="folder that keeps the runs (default: a temporary one)"
    )
    add_json_option(parser)
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as temporary:
        work = args.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        return compare(args, work)


def compare(args: argparse.Namespace, work: Path) -> int:
    log = work / "log.txt"
    teacher = args.teacher
    if teacher is None:
        folder = work / "teacher"
        given = ("--data_dir", args.data_dir) if args.data_dir else ()
        quietly(
            log,
            train_teacher,
            "--config",
            ROOT / "configs/demo.yaml",
            "--output_dir",
            folder,
            "--resume",
            "auto",
            *given,
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
            quietly(
                log, distill_student, *words, "--epochs", args.epochs, "--resume", "auto", *options
            )
            found = wers(folder / "best_model.pth", data_dir, splits, log)
            results.setdefault(row, []).append(found)
            shown = ", ".join(f"{split} {wer:.2f} %" for split, wer in found.items())
            print(
                f"{row}, seed {seed}: {shown} ({time.perf_counter() - started:.0f} s)", flush=True
            )
    of_teacher = wers_of_teacher(teacher, data_dir, splits, work)
    report(teacher, of_teacher, results, work, args, corpus, splits)
    figures = {f"teacher_{split}_wer": wer for split, wer in of_teacher.items()}
    for row, found in results.items():
        figures |= {
            f"{row}_{split}_wer": statistics.mean(one[split] for one in found) for split in splits
        }
    finish(args, figures, f"{args.rows[0]}_dev_wer")
    return 0


def wers_of_teacher(
    teacher: Path, data_dir: str, splits: list[str], work: Path
) -> dict[str, float]:
    """As `wers`, with its files in the work folder, as the teacher's own may be read-only."""
    copy = work / "teacher_evaluation" / "best_model.pth"
    copy.parent.mkdir(exist_ok=True)
    if not copy.exists():
        copy.symlink_to(teacher.resolve())
    return wers(copy, data_dir, splits, work / "log.txt")


def report(teacher, of_teacher, results, work, args, corpus, splits) -> None:
    """The table, then how near the teacher the students come and what the teacher brings."""

    def size(path: Path) -> tuple[int, float]:
        values = [
            t
            for name, t in load_checkpoint(path)["model"].items()
            if t.is_floating_point() and "running" not in name
        ]
        count = sum(t.numel() for t in values) - 2 * 6516  # less the feature statistics
        return count, 4 * count / 2**20

    print(
        f"\n{describe_machine()}\n{corpus.describe()}: greedy WER in %, mean ± standard deviation over seeds {args.seeds}"
    )
    print(f"{'':<20}{'parameters':>12}{'MiB':>7}" + "".join(f"{split:>16}" for split in splits))
    count, mebibytes = size(teacher)
    print(
        f"{'teacher':<20}{count:>12,}{mebibytes:>7.1f}"
        + "".join(f"{of_teacher[split]:>16.2f}" for split in splits)
    )
    for row, found in results.items():
        own, mebibytes = size(work / f"{row}-seed{args.seeds[0]}" / "best_model.pth")
        rates = "".join(f"{spread([one[split] for one in found]):>16}" for split in splits)
        print(
            f"{row:<20}{own:>12,}{mebibytes:>7.1f}{rates}   ({100 * own / count:.1f} % of the teacher's parameters)"
        )
    for split in splits:
        for row, found in results.items():
            accuracy = sum(100 - one[split] for one in found) / len(found)
            print(
                f"{split}: {row} reaches {100 * accuracy / (100 - of_teacher[split]):.1f} % of the teacher's accuracy (1 - WER)"
            )
        for row, other in (("taught", "untaught"), ("streaming", "streaming-untaught")):
            if row in results and other in results:
                both = ([one[split] for one in results[name]] for name in (row, other))
                print(f"{split}: {row} against {other}: {gain(*both)}")


if __name__ == "__main__":
    run_script(main)
