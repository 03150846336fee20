"""The two tasks of Isharah, rehearsed with simulated signers: known and new sentences.

    python benchmarks/unseen/isharah.py --lists isharah2000 --phoenix phoenix2014 --output isharah
    python benchmarks/unseen/isharah.py --lists isharah2000 --phoenix phoenix2014 --output isharah \
        --tasks us --only today bilstm --seeds 0 1 2

LISTS has the official lists of sentences as {si,us}_{train,dev}.csv (id|gloss). PHOENIX has
train.corpus.csv and train.frames.csv: the frames a gloss of a sentence are those of a random
PHOENIX sentence. Simulated signers act the sentences; an id begins with its signer.

A fixed share of the lists is used, so that a training takes minutes: 4,000 train and at most 600
dev sentences. Each task also has a split `test` of 600 recordings that the official train list has
but our share lacks: known sentences, by signers of train.

    us    dev has the same signers, but no sentence of train. WER of dev against WER of test is the
          loss from known to new sentences.
    si    dev has a signer whom train lacks. Most of its sentences are in train.

Each row of the variants file (benchmarks/variants/isharah.yaml) is trained on each task and decoded
greedily after its last epoch: no split chooses anything. Runs that OUTPUT/runs.jsonl already has
are not repeated. The result is OUTPUT/table.md.
"""

import itertools
import statistics
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.results import add_json_option, describe_machine, figure_name, finish
from benchmarks.unseen.trained_runs import (
    RememberedRuns,
    add_run_options,
    aligned,
    chosen_variants,
    paired,
)
from command_line import Parser
from data.corpus import Corpus
from data.ctc_lengths import min_frames
from data.keyed_random import generator, key
from data.simulation.corpora import synthesize_transcripts
from data.sources.annotations.transcripts import TranscribedSentence, read_splits, read_transcript
from decoding.novelty import TrainText
from decoding.scoring import SentenceErrors, total
from errors import DataError, run_script

VARIANTS = Path(__file__).parents[1] / "variants" / "isharah.yaml"
TASKS = ("us", "si")
SIZES = {"train": 4_000, "dev": 600, "test": 600}
SPLITS = ("dev", "test")


def drawn(sentences: Sequence[TranscribedSentence], count: int) -> list[TranscribedSentence]:
    """At most `count` sentences, by their ids alone, in their order."""
    kept = {s.id for s in sorted(sentences, key=lambda s: key(s.id, "rehearsal"))[:count]}
    return [sentence for sentence in sentences if sentence.id in kept]


def choose_sentences(lists: Path, task: str) -> dict[str, list[TranscribedSentence]]:
    """The sentences of each split of a task. The ids of `test` are those of the train list."""
    official = read_transcript(lists / f"{task}_train.csv")
    train = drawn(official, SIZES["train"])
    known, ids = {s.glosses for s in train}, {s.id for s in train}
    signers = {s.signer for s in train}
    others = [s for s in official if s.id not in ids and s.glosses in known and s.signer in signers]
    dev = drawn(read_transcript(lists / f"{task}_dev.csv"), SIZES["dev"])
    return {"train": train, "dev": dev, "test": drawn(others, SIZES["test"])}


def frames_per_gloss(phoenix: Path) -> list[float]:
    """Of each train sentence of PHOENIX."""
    splits = read_splits(phoenix / "train.corpus.csv", phoenix / "train.frames.csv")
    return [s.frames / len(s.glosses) for s in splits["train"] if s.frames and s.glosses]


def with_frames(sentence: TranscribedSentence, paces: Sequence[float]) -> TranscribedSentence:
    """The sentence with a length: the frames a gloss are drawn, and enough for CTC."""
    pace = paces[int(generator(sentence.id, "pace").integers(len(paces)))]
    frames = max(round(pace * len(sentence.glosses)), min_frames(sentence.glosses))
    return replace(sentence, frames=frames)


def write_task(lists: Path, phoenix: Path, task: str, output: Path) -> None:
    """Write the corpus of a task."""
    paces = frames_per_gloss(phoenix)
    if not paces:
        raise DataError(f"--phoenix {phoenix} has no sentences with frames")
    splits = {
        name: [with_frames(sentence, paces) for sentence in sentences]
        for name, sentences in choose_sentences(lists, task).items()
    }
    synthesize_transcripts(output, splits, progress=True)


def groups_of(run: dict[str, Any], train: TrainText) -> dict[str, list[SentenceErrors]]:
    """The sentences of dev whose glosses are a train sentence, and the others."""
    references = run["splits"]["dev"]["references"]
    known = [tuple(reference) in train.sentences for reference in references]
    sentences = list(zip(aligned(run), known, strict=True))
    return {
        "known": [errors for errors, is_known in sentences if is_known],
        "new": [errors for errors, is_known in sentences if not is_known],
    }


def rate(runs: Sequence[Sequence[SentenceErrors]]) -> str:
    """WER in percent: the mean of the runs, and their deviation if there are several."""
    rates = [total(run).wer for run in runs if run]
    if not rates:
        return "-"
    deviation = f" ± {statistics.stdev(rates):.1f}" if len(rates) > 1 else ""
    return f"{statistics.mean(rates):.1f}{deviation}"


def table(rows: dict[tuple[str, str], list[dict[str, Any]]], train: dict[str, TrainText]) -> str:
    """Markdown: a line per task and variant. `rows` has the runs of each (task, variant)."""
    lines = [
        "| task | variant | known sentences, signers of train (test) | dev: known sentences "
        "| dev: new sentences | WER on train | seconds | p, dev against the first |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for (task, name), runs in rows.items():
        first = next(one for (of_task, _), one in rows.items() if of_task == task)
        groups = [groups_of(run, train[task]) for run in runs]
        on_train = [run["train_wer"] for run in runs if run["train_wer"] is not None]
        cells = [
            rate([aligned(run, "test") for run in runs]),
            rate([group["known"] for group in groups]),
            rate([group["new"] for group in groups]),
            f"{statistics.mean(on_train):.1f}" if on_train else "-",
            f"{statistics.mean(run['seconds'] for run in runs):.0f}",
            "-" if runs is first else paired(first, runs, ["task"]),
        ]
        lines.append(f"| {task} | {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    parser = Parser(prog="isharah.py", description=__doc__)
    parser.add_argument("--lists", type=Path, required=True, help="folder of the official lists")
    parser.add_argument("--phoenix", type=Path, required=True, help="folder of PHOENIX's tables")
    parser.add_argument("--output", type=Path, required=True, help="folder for corpora and results")
    add_run_options(parser, VARIANTS)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    add_json_option(parser)
    options = parser.parse_args(argv)
    variants = chosen_variants(options)
    options.output.mkdir(parents=True, exist_ok=True)
    runs = RememberedRuns(options.output / "runs.jsonl")
    print(describe_machine(), flush=True)
    rows: dict[tuple[str, str], list[dict[str, Any]]] = {}
    train = {}
    for task in options.tasks:
        folder = options.output / task
        if not folder.exists():
            write_task(options.lists, options.phoenix, task, folder)
        corpus = Corpus(folder)
        sentences = [sentence.glosses for sentence in corpus.split("train").sentences]
        train[task] = TrainText.of(sentences, corpus.describe())
        for seed, name in itertools.product(options.seeds, variants):
            overrides, _ = variants[name]
            found = runs.get({"variant": name, "task": task}, overrides, seed, folder, SPLITS)
            rows.setdefault((task, name), []).append(found)
            rates = ", ".join(f"{split} {rate([aligned(found, split)])} %" for split in SPLITS)
            print(f"{task} seed {seed} {name}: {rates}, {found['seconds']:.0f} s", flush=True)
    result = table(rows, train)
    (options.output / "table.md").write_text(
        f"{describe_machine()}\n\n{result}\n", encoding="utf-8"
    )
    print(result)
    figures = {
        figure_name(task, name, split): statistics.mean(
            total(aligned(run, split)).wer for run in of_row
        )
        for (task, name), of_row in rows.items()
        for split in SPLITS
    }
    finish(options, figures, next(iter(figures)))
    return 0


if __name__ == "__main__":
    run_script(main)
