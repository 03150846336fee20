"""What many sentences cost: the memory of an evaluation, and the start of a training.

    python benchmarks/machine/many_sentences.py
    python benchmarks/machine/many_sentences.py --part memory --sentences 5000 100000 \
        --classes 5001 --predicted 200
    python benchmarks/machine/many_sentences.py --part start --sentences 100000 --frames 200

Parts:

memory   evaluate.py on a split of each size, with an untrained small teacher of --classes classes.
         The memory is the peak of the process's own memory (RssAnon): the system can take back the
         mapped pages of the corpus. With --predicted N the model predicts N sentences, and copies
         of their log-probabilities stand for those of the others, which saves time.
start    a training of the small teacher on the largest corpus, from the command to the first batch
         on the device, and the part of that time behind the imports. The first start reads the
         corpus in full; the second one has seen it.

The landmarks of the corpus are zeros, and take no space on a disk that can store sparse files. The
part `start` also needs the CPU time to hash them once, about 1 s for each GB.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

from benchmarks.results import add_json_option, describe_machine, finish
from benchmarks.scaling import Peak, own_mebibytes
from command_line import Parser
from data.corpus import ARRAYS
from data.landmarks import LAYOUT
from data.sentences import CSV_HEADER
from data.stored_landmarks import FORMAT_VERSION
from errors import run_script

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("memory", "start")
SMALL = ROOT / "configs" / "demo.yaml"
FRAMES_PER_GLOSS = 12


def write_sparse_corpus(folder: Path, sentences: int, frames: int, classes: int) -> None:
    """Write a corpus whose landmarks are zeros. The train split has all glosses; dev has some.

    Args:
        sentences: of the train split.
        frames: per sentence on average; the lengths differ.
        classes: glosses and blank.
    """
    folder.mkdir()
    random, splits = np.random.default_rng(0), {}
    each = max(frames // FRAMES_PER_GLOSS, 1)  # glosses of a sentence
    for name, count in (("train", sentences), ("dev", max(sentences // 20, 1))):
        lengths = random.integers(frames - frames // 4, frames + frames // 4 + 1, count)
        glosses = np.arange(count * each).reshape(count, each) % (classes - 1)
        rows = [
            f"{name}/s{number:07d}|signer{number % 9}|{length}|"
            + " ".join(f"G{one}" for one in row)
            for number, (length, row) in enumerate(zip(lengths, glosses.tolist(), strict=True))
        ]
        (folder / f"{name}.csv").write_text("\n".join([CSV_HEADER, *rows, ""]), encoding="utf-8")
        total = int(lengths.sum())
        for array, (dtype, shape) in ARRAYS.items():
            with open(folder / f"{name}.{array}.npy", "wb") as file:
                header = {"descr": dtype.str, "fortran_order": False, "shape": (total, *shape)}
                np.lib.format.write_array_header_1_0(file, header)
                values = total * int(np.prod(shape)) * dtype.itemsize
                if array == "detected":
                    file.write(b"\1" * values)
                else:
                    file.truncate(file.tell() + values)
        splits[name] = {"sentences": count, "frames": total, "sha256": {}}
    facts = {
        "format_version": FORMAT_VERSION,
        "name": "zeros",
        "layout": LAYOUT,
        "fps": 25.0,
        "aspect_ratio": 4 / 3,
        "simulated": True,
        "splits": splits,
    }
    (folder / "corpus.json").write_text(json.dumps(facts), encoding="utf-8")


def prepare(folder: Path):
    """A prepared run of the small teacher on a corpus."""
    from settings import merge_overrides, read_overrides
    from training.config import Config
    from training.resume import plan_start
    from training.setup import prepare_run

    overrides = {"training": {"data_dir": str(folder), "device": "cpu"}}
    settings = merge_overrides(read_overrides(SMALL, Config), overrides)
    return prepare_run(plan_start(None, settings))


def measure_start(folder: Path) -> dict[str, float]:
    """Seconds until the first batch. Runs in a separate process."""
    from training.setup import train_statistics

    figures, started, used = {}, time.perf_counter(), time.process_time()
    trainer = prepare(folder).trainer
    figures["prepared_seconds"] = time.perf_counter() - started
    trainer.model.set_statistics(*train_statistics(trainer))
    next(iter(trainer.feed(trainer.plan.begin(1))))
    figures["first_batch_seconds"] = time.perf_counter() - started
    figures["first_batch_cpu_seconds"] = time.process_time() - used
    return figures


def measure_memory(folder: Path, predicted: int) -> dict[str, float]:
    """Peak memory of an evaluation of the train split. Runs in a separate process."""
    import evaluate
    from inference.model_on_corpus import ModelOnCorpus
    from models.checkpoint import save_checkpoint

    run = prepare(folder)
    sentences = len(run.trainer.train.split)
    checkpoint = folder / "untrained.pth"
    save_checkpoint(checkpoint, run.trainer.state())
    del run
    if predicted:
        ModelOnCorpus.posteriors = lambda model, split: (  # type: ignore[method-assign]
            (index, rows.clone())
            for first in range(min(predicted, sentences))
            for rows in (model.posteriors_of(split, first),)
            for index in range(first, sentences, predicted)
        )
    words = ["--checkpoint", checkpoint, "--split", "train", "--output_dir", folder / "evaluation"]
    words += ["--device", "cpu", "--decoder", "beam"]
    before, started = own_mebibytes(), time.process_time()
    with Peak() as peak:
        evaluate.main([str(word) for word in words])
    return {
        "mebibytes_before": before,
        "peak_mebibytes": peak.mebibytes,
        "cpu_seconds": time.process_time() - started,
    }


def measured(part: str, folder: Path, predicted: int) -> dict[str, float]:
    """The figures of one part, measured in a new process, and `command_seconds`: how long the
    process took."""
    script = Path(__file__).resolve()
    words = ["--measure", part, str(folder), "--predicted", str(predicted)]
    started = time.perf_counter()
    run = subprocess.run(
        [sys.executable, "-W", "ignore", str(script), *words],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found = json.loads(run.stdout.splitlines()[-1])
    return found | {"command_seconds": time.perf_counter() - started}


def main(argv: list[str] | None = None) -> int:
    parser = Parser(prog="many_sentences.py", description=__doc__)
    parser.add_argument("--part", choices=PARTS, help="measure this part only")
    parser.add_argument(
        "--sentences",
        type=int,
        nargs="+",
        default=[100, 1_000],
        metavar="N",
        help="train sentences of each corpus",
    )
    parser.add_argument(
        "--frames", type=int, default=16, metavar="N", help="per sentence (default: 16)"
    )
    parser.add_argument("--classes", type=int, default=501, metavar="N", help="glosses and blank")
    parser.add_argument(
        "--predicted", type=int, default=0, metavar="N", help="0: the model predicts all sentences"
    )
    parser.add_argument("--measure", nargs=2, metavar=("PART", "DIR"), help="(for this script)")
    add_json_option(parser)
    options = parser.parse_args(argv)
    if options.measure:
        part, folder = options.measure[0], Path(options.measure[1])
        found = (
            measure_start(folder) if part == "start" else measure_memory(folder, options.predicted)
        )
        print(json.dumps(found))
        return 0
    print(describe_machine())
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as place:
        largest = max(options.sentences)
        for sentences in sorted(set(options.sentences)):
            folder = Path(place) / str(sentences)
            write_sparse_corpus(folder, sentences, options.frames, options.classes)
            if options.part != "start":
                found = measured("memory", folder, options.predicted)
                figures |= {f"memory_{sentences}_{name}": one for name, one in found.items()}
                print(f"{sentences:,} sentences: peak {found['peak_mebibytes']:,.0f} MiB")
            if options.part != "memory" and sentences == largest:
                time.sleep(3)  # a file that has just changed is not remembered
                for start in ("first", "second"):
                    found = measured("start", folder, 0)
                    figures |= {f"{start}_start_{name}": one for name, one in found.items()}
                    print(
                        f"{start} start: {found['command_seconds']:.1f} s from the command to the "
                        f"first batch, {found['first_batch_seconds']:.1f} s of it after the imports"
                    )
    finish(options, figures, next(reversed(figures)))
    return 0


if __name__ == "__main__":
    run_script(main)
