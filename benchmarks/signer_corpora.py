"""Make corpora that measure how well a recipe recognizes unknown signers.

    python benchmarks/signer_corpora.py --input MP_DATA --recorders 3 --output data/corpora/signers
    python benchmarks/signer_corpora.py --input MP_DATA --recorders 3 --others OTHER_MP_DATA ... \
        --output data/corpora/signers

Writes up to four corpora for benchmarks/ablation.py. Their dev splits have known and unknown
signers, which are two columns of the table.

recorders   sentences composed from INPUT's recordings. The last recorder is in dev only; dev also
            has unseen recordings of the other recorders.
simulated   simulated signers. Dev has the six known signers and eight that train does not have.
            The test split has 28 further signers, because 60 sentences of eight signers are too
            few; use it with `--also .../simulated:test`.
both        the two together, with one vocabulary.
others      with --others: recordings of INPUT's glosses from other people's collections, each a dev
            sentence of one gloss. Gloss names are compared without case, spaces and hyphens. The
            one train sentence is a copy, because a corpus needs a train split.
"""

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.results import add_json_option, finish
from command_line import Parser
from data.corpus import Corpus, Split
from data.corpus_writer import CorpusWriter, check_output
from data.keyed_random import generator
from data.simulation.corpora import synthesize
from data.sources.composer import (
    IsolatedRecording,
    join,
    plan_split,
    read_recordings,
    split_recordings,
)
from data.sources.mp_data import import_mp_data
from errors import UsageError, run_script

Row = tuple[str, str, tuple[str, ...], object, object]  # id, signer, glosses, landmarks, detected
TRAIN_SENTENCES, DEV_SENTENCES = 300, 60  # dev: 60 of known signers and 60 of unknown signers
UNKNOWN_SIMULATED = 8
# Sentences of known signers; number of unknown signers, and sentences of each
TEST_KNOWN, TEST_UNKNOWN, TEST_SENTENCES = 300, 28, 12


def composed_rows(clips: Split, pool: list[IsolatedRecording], count: int, name: str) -> list[Row]:
    """`count` sentences of 3 to 7 glosses, composed from recordings of the pool."""
    plan = plan_split(pool, count, 3, 7, name, (0, name))
    rows = []
    for number, recordings in enumerate(plan.sentences):
        landmarks, detected, _ = join(
            [clips.read(recording.index) for recording in recordings],
            generator(0, name, number, "motion"),
        )
        rows.append(
            (
                f"{name}-{number:04d}",
                recordings[0].signer,
                tuple(recording.gloss for recording in recordings),
                landmarks,
                detected,
            )
        )
    return rows


def recorder_rows(isolated: Corpus) -> dict[str, list[Row]]:
    """Train and dev. Half of dev is of known recorders, the other half of the last recorder."""
    recordings, clips = read_recordings(isolated), isolated.split("train")
    signers = sorted({recording.signer for recording in recordings})
    if len(signers) < 2:
        raise UsageError(
            f"--recorders: {isolated.path} has only the recorder {signers[0]}, expected two or more"
        )
    known = split_recordings(
        [r for r in recordings if r.signer != signers[-1]], "repetition", ["dev"]
    )
    glosses = {recording.gloss for recording in known["train"]}
    unknown = [r for r in recordings if r.signer == signers[-1] and r.gloss in glosses]
    return {
        "train": composed_rows(clips, known["train"], TRAIN_SENTENCES, "train"),
        "dev": composed_rows(clips, known["dev"], DEV_SENTENCES, "known")
        + composed_rows(clips, unknown, DEV_SENTENCES, "unknown"),
    }


def simulated_rows(folder: Path) -> dict[str, list[Row]]:
    """Splits with the built-in grammar. Dev and test have known and different unknown signers."""
    synthesize(folder / "known", sentences=TRAIN_SENTENCES, dev_sentences=DEV_SENTENCES)
    synthesize(
        folder / "unknown",
        sentences=1,
        dev_sentences=DEV_SENTENCES,
        unseen_dev_signers=UNKNOWN_SIMULATED,
    )
    signers = UNKNOWN_SIMULATED + TEST_UNKNOWN  # the first of them are those of dev
    sizes = {"dev_sentences": TEST_SENTENCES * signers, "test_sentences": TEST_KNOWN}
    synthesize(folder / "more", sentences=1, unseen_dev_signers=signers, **sizes)
    known, unknown, more = (Corpus(folder / name) for name in ("known", "unknown", "more"))
    train = list(read_rows(known.split("train"), "simulated-"))
    dev = [*read_rows(known.split("dev"), "known-"), *read_rows(unknown.split("dev"), "unknown-")]
    test = [
        *read_rows(more.split("test"), "more-known-"),
        *read_rows(more.split("dev"), "more-unknown-"),
    ]
    train_sentences = {row[2] for row in train}
    dev_signers = {row[1] for row in dev if row[0].startswith("unknown-")}
    test = [row for row in test if row[2] not in train_sentences and row[1] not in dev_signers]
    return {
        "train": train,
        "dev": dev,
        "test": test,
    }


def read_rows(split: Split, prefix: str) -> list[Row]:
    """The rows of a split; `prefix` is put before the ids."""
    return [
        (prefix + sentence.id, sentence.signer, sentence.glosses, *split.read(index))
        for index, sentence in enumerate(split.sentences)
    ]


def other_rows(folder: Path, collections: list[Path], glosses: set[str]) -> dict[str, list[Row]]:
    """Dev: every recording of one of these glosses in the other collections."""
    by_name = {_comparable(gloss): gloss for gloss in glosses}
    rows = []
    for number, collection in enumerate(collections):
        import_mp_data(collection, folder / f"other{number}")
        split = Corpus(folder / f"other{number}").split("train")
        for index, sentence in enumerate(split.sentences):
            if gloss := by_name.get(_comparable(" ".join(sentence.glosses))):
                rows.append(
                    (
                        f"{collection.name}-{sentence.id}",
                        collection.name,
                        (gloss,),
                        *split.read(index),
                    )
                )
    if not rows:
        raise UsageError(
            f"--others: {', '.join(map(str, collections))} and --input have no gloss in common"
        )
    return {"train": [("copy", *rows[0][1:])], "dev": rows}


def _comparable(gloss: str) -> str:
    """The gloss without case, hyphens, underscores and spaces."""
    return gloss.casefold().replace("-", "").replace("_", "").replace(" ", "")


def write(
    output: Path, rows: dict[str, list[Row]], like: Corpus, simulated: bool
) -> dict[str, float]:
    """Write a corpus of the rows. Returns the number of sentences of each split."""
    made_by = {"command": "benchmarks/signer_corpora.py"}
    facts = {
        "name": output.name,
        "fps": like.fps,
        "aspect_ratio": like.aspect_ratio,
        "made_by": made_by,
    }
    with CorpusWriter(output, **facts, simulated=simulated, composed=not simulated) as writer:
        for name, sentences in rows.items():
            for sentence in sentences:
                writer.split(name).add(*sentence)
    counts = ", ".join(f"{len(sentences)} {name}" for name, sentences in rows.items())
    print(f"{output}: {counts} sentences")
    return {f"{output.name}_{name}_sentences": len(sentences) for name, sentences in rows.items()}


def main(argv: list[str] | None = None) -> int:
    parser = Parser(prog="signer_corpora.py", description=__doc__)
    parser.add_argument(
        "--input", type=Path, required=True, help="folder <gloss>/<repetition>/<frame>.npy"
    )
    parser.add_argument("--recorders", type=int, required=True, help="as in prepare_data.py import")
    parser.add_argument(
        "--others",
        type=Path,
        nargs="*",
        default=[],
        help="folders of other people's recordings, in the same selection",
    )
    parser.add_argument("--output", type=Path, required=True, help="folder for the corpora")
    add_json_option(parser)
    options = parser.parse_args(argv)
    for name in ("recorders", "simulated", "both", *(["others"] if options.others else [])):
        check_output(options.output / name)  # fails now, not after minutes of work
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        import_mp_data(options.input, folder / "isolated", recorders=options.recorders)
        isolated = Corpus(folder / "isolated")
        recorders, simulated = recorder_rows(isolated), simulated_rows(folder)
        figures = write(options.output / "recorders", recorders, isolated, simulated=False)
        figures |= write(options.output / "simulated", simulated, isolated, simulated=True)
        # Without the test split of the simulated signers
        both = {split: recorders[split] + simulated[split] for split in recorders}
        figures |= write(options.output / "both", both, isolated, simulated=True)
        if options.others:
            glosses = {gloss for _, _, words, _, _ in recorders["train"] for gloss in words}
            others = other_rows(folder, options.others, glosses)
            figures |= write(options.output / "others", others, isolated, simulated=False)
    finish(options, figures, "recorders_train_sentences")
    return 0


if __name__ == "__main__":
    run_script(main)
