"""What an epoch costs on the CPU before and beside its updates.

    python benchmarks/landmarks/between_epochs.py
    python benchmarks/landmarks/between_epochs.py --before ../earlier_version

"begin" is the time between two epochs: which sentences are joined, their targets and their lengths
after augmentation, and the batches. "draw" is the time to draw the augmentation of all sentences in
one thread, which prepares batches while the device computes. --before measures the same in the
folder of another version.
"""

import json
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.results import add_json_option, describe_machine, finish
from command_line import Parser
from errors import DataError, run_script

ROOT = Path(__file__).resolve().parents[2]
# Runs in the folder of either version. Prints the seconds as JSON.
MEASURE = """
import json, sys, time
import numpy as np
from data.corpus import Split
from data.sentences import Sentence
from data.ctc_lengths import min_frames
from data.ctc_targets import prepare_split
from data.vocabulary import Vocabulary
from training.config import Config
from training.epoch_plan import EpochPlan
count, frames_per_batch = int(sys.argv[1]), int(sys.argv[2])
random = np.random.default_rng(0)
lengths = random.integers(60, 260, count)
glosses = [f"G{number}" for number in range(1_000)]
sentences = [
    Sentence(f"train/s{number:06d}", f"signer{number % 9}", int(length),
             tuple(glosses[one] for one in random.integers(0, 1_000, max(2, length // 14))))
    for number, length in enumerate(lengths)
]
total = int(lengths.sum())
landmarks = np.broadcast_to(np.zeros((1, 543, 3), np.float16), (total, 543, 3))
detected = np.broadcast_to(np.ones((1, 4), bool), (total, 4))
vocabulary = Vocabulary(glosses)
train = prepare_split(Split("train", sentences, landmarks, detected), vocabulary)
config = Config().updated({"training": {"frames_per_batch": frames_per_batch}})
key = lambda epoch: (0, epoch)
try:
    from data.augmentation.draws import draw_augmentations
    plan = EpochPlan(config, train, key, 4 / 3)
except ImportError:
    from data.augmentation.augmenter import draw_augmentation
    plan = EpochPlan(config, train, vocabulary, key)
    def draw_augmentations(config, seed, epoch, ids, frames, fewest):
        return [draw_augmentation(config, seed, epoch, *one) for one in zip(ids, frames, fewest)]
def seconds(run):
    started, used = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - started, time.process_time() - used
def draw():
    for update in updates:
        for batch in update:
            chosen = [plan.split.split.sentences[index] for index in batch]
            draw_augmentations(
                config.augmentation, 0, 1, [one.id for one in chosen],
                [one.frames for one in chosen], [min_frames(one.glosses) for one in chosen])
updates = plan.begin(1)
begin = min(seconds(lambda: plan.begin(epoch)) for epoch in (2, 3, 4))
updates = plan.begin(1)
print(json.dumps({"begin": begin, "draw": seconds(draw)}))
"""


def main(argv: list[str] | None = None) -> int:
    parser = Parser(prog="between_epochs.py", description=__doc__)
    parser.add_argument(
        "--before", type=Path, metavar="DIR", help="folder of another version of this project"
    )
    parser.add_argument("--sentences", type=int, default=20_000, metavar="N", help="of the corpus")
    parser.add_argument(
        "--frames_per_batch", type=int, default=0, metavar="N", help="0: 8 sentences per batch"
    )
    add_json_option(parser)
    options = parser.parse_args(argv)
    if options.before is not None and not (options.before / "data" / "corpus.py").is_file():
        raise DataError(f"--before {options.before}: expected the folder of a version")
    print(f"{describe_machine()}, {options.sentences:,} sentences")
    figures: dict[str, float] = {}
    folders = {"before": options.before, "now": ROOT}
    for name, folder in folders.items():
        if folder is None:
            continue
        run = subprocess.run(
            [sys.executable, "-c", MEASURE, str(options.sentences), str(options.frames_per_batch)],
            cwd=folder,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        for step, (seconds, used) in json.loads(run.stdout.splitlines()[-1]).items():
            figures |= {f"{name}_{step}_seconds": seconds, f"{name}_{step}_cpu_seconds": used}
            print(f"{name:6} {step:5} {seconds:6.2f} s, {used:6.2f} s of CPU time")
    finish(options, figures, "now_begin_seconds")
    return 0


if __name__ == "__main__":
    run_script(main)
