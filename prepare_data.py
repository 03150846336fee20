"""Make, import, compose, split and check corpora: folders of landmarks and annotations for the other scripts.

The built-in corpus of simulated signers, or one with the sentences and lengths of a real corpus:

    python prepare_data.py synthesize --output data/corpora/demo
    python prepare_data.py synthesize --output data/corpora/rehearsal --transcripts phoenix2014/train.corpus.csv --frames phoenix2014/train.frames.csv

Videos or folders of frames, with MediaPipe; on several machines, then merged:

    python prepare_data.py extract --input videos --annotations annotations --output data/corpora/mine
    RANK=0 WORLD_SIZE=2 python prepare_data.py extract --input videos --annotations annotations --output data/corpora/ours
    python prepare_data.py merge --input SHARD_0/ours.extracting SHARD_1/ours.extracting --output data/corpora/ours

Landmarks that exist as files:

    python prepare_data.py import --format mp_data --input MP_Data --output data/corpora/isolated
    python prepare_data.py import --format npy --input FEATURES_DIR --annotations ANNOTATIONS_DIR --output data/corpora/mine
    python prepare_data.py import --format pose --input POSE_DIR --annotations ANNOTATIONS_DIR --output data/corpora/poses

Sentences from isolated recordings, and a dev split for a corpus without one:

    python prepare_data.py compose --input data/corpora/isolated --output data/corpora/composed --sentences 400
    python prepare_data.py split data/corpora/isolated --output data/corpora/isolated_split --by random

A corpus at the frame rate of a model, and a check of a corpus:

    python prepare_data.py resample data/corpora/mine --output data/corpora/mine_30fps --fps 30
    python prepare_data.py check data/corpora/composed

When the glosses of a corpus begin and end, found by a model (for the augmentation `splice`):

    python prepare_data.py align data/corpora/mine --checkpoint checkpoints/mine/best_model.pth --output data/corpora/mine_aligned

Exit codes: 0 done, 2 usage, 3 data.
"""

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from command_line import Parser, add_options, request_of
from data.command_examples import EXAMPLES
from data.commands import (
    AlignCommand,
    CheckCommand,
    ComposeCommand,
    ExtractCommand,
    ImportCommand,
    MergeCommand,
    ResampleCommand,
    SplitCommand,
    SynthesizeCommand,
)
from errors import UsageError, printable, run_script
from settings import Settings

if TYPE_CHECKING:
    from data.sources.extraction_assembly import ExtractionReport

OWN_LAYOUTS = ("isharah", "boston104")  # of one corpus, with its own frame rate and image


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code. Raises ProjectError."""
    argv = sys.argv[1:] if argv is None else list(argv)
    parser, commands = build_parser()
    name = argv[0] if argv else ""
    if not argv:
        parser.error(f"give a command: {', '.join(COMMANDS)}")
    if name not in commands:
        parser.parse_args(argv)  # prints the help or an error, and exits
    kind, run = COMMANDS[name]
    return run(request_of(commands[name].parse_args(argv[1:]), kind))


def build_parser() -> tuple[Parser, dict[str, Parser]]:
    """The command line, and the parser of each command by its name."""
    parser = Parser(prog="prepare_data.py", description=__doc__).add_version()
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for name, (kind, _) in COMMANDS.items():
        help = (kind.__doc__ or "").removesuffix(".")
        description = f"{kind.__doc__}\n\n{EXAMPLES[name]}"
        command = commands.add_parser(name, help=help, description=description)
        add_options(command, kind)
    return parser, commands.choices


def run_synthesize(command: SynthesizeCommand) -> int:
    """`synthesize`: the built-in corpus, or one with the sentences of transcripts."""
    from data.simulation.corpora import synthesize, synthesize_transcripts
    from data.sources.annotations.transcripts import keep_fraction, read_splits

    if command.transcripts is None:
        names = ("sentences", "dev_sentences", "test_sentences", "unseen_dev_signers")
        counts = {name: getattr(command, name) for name in names}
        given = {name: count for name, count in counts.items() if count is not None}
        synthesize(command.output, seed=command.seed, progress=True, **given)
    else:
        splits = read_splits(command.transcripts, command.frames, "--transcripts")
        if not any(sentence.glosses for sentence in splits.get("test", [])):
            splits.pop("test", None)  # nothing to act
        for split, sentences in splits.items():
            if command.fraction is not None:
                splits[split] = keep_fraction(sentences, command.fraction, command.seed)
            print(f"{split}: {len(sentences):,} sentences found, {len(splits[split]):,} used")
        synthesize_transcripts(command.output, splits, seed=command.seed, progress=True)
    print_corpus(command.output)
    return 0


def run_extract(command: ExtractCommand) -> int:
    """`extract`: videos and annotations to a corpus. Returns 3 when videos failed."""
    from data.sources.extraction import extract, shard_of

    rank, world_size = shard_of(os.environ)
    report = extract(
        command.input,
        command.annotations,
        command.output,
        workers=command.workers,
        max_frames=command.max_frames,
        model_complexity=command.model_complexity,
        model=command.model,
        normalize=command.normalize,
        fps=command.fps,
        resample_fps=command.resample_fps,
        rank=rank,
        world_size=world_size,
        progress=True,
    )
    if report.complete:
        print_corpus(command.output)
        return print_failures(
            report,
            f"; to try only these again, repair them, remove {command.output} and repeat the "
            "command",
        )
    print(
        f"shard {rank} of {world_size}: {report.sentences:,} sentences, {report.frames:,} frames "
        f"in {command.output}.extracting"
    )
    print("when all shards are finished: prepare_data.py merge --input their folders --output DIR")
    return print_failures(report)


def run_merge(command: MergeCommand) -> int:
    """`merge`: the shards of an extraction to a corpus. Returns 3 when videos failed."""
    from data.sources.extraction import merge_shards

    report = merge_shards(list(command.input), command.output, command.resample_fps)
    print_corpus(command.output)
    return print_failures(report)


def print_failures(report: "ExtractionReport", advice: str = "") -> int:
    """Print the warnings and failed videos of an extraction; returns the exit code."""
    for line in report.warnings:
        print(printable(f"warning: {line}"), file=sys.stderr)
    for sentence, reason in report.failed.items():
        print(printable(f"failed: {sentence}: {reason}"), file=sys.stderr)
    if report.failed:
        count = len(report.failed)
        print(f"{count} of {count + report.sentences} sentences failed{advice}", file=sys.stderr)
    return 3 if report.failed else 0


def run_import(command: ImportCommand) -> int:
    """`import`: landmark files to a corpus."""
    from data.sources.corpora.boston104 import import_boston104
    from data.sources.corpora.isharah import import_isharah
    from data.sources.import_defaults import (
        FPS,
        IMAGES,
        PHONE_FPS,
        RECORDERS,
        REPETITIONS_PER_SESSION,
        VIDEO_FPS,
    )
    from data.sources.landmark_import import import_landmark_files
    from data.sources.mp_data import import_mp_data

    common: dict[str, Any] = {
        "progress": True,
        "skip_bad": command.skip_bad,
        "resample_fps": command.resample_fps,
    }
    if command.format == "pose":  # .pose files have both
        common["fps"] = command.fps
    elif command.format in OWN_LAYOUTS:
        fps = command.fps or (PHONE_FPS if command.format == "isharah" else VIDEO_FPS)
        print(f"assumed: {fps:g} frames/s (--fps)")
        common["fps"] = fps
    else:
        image = IMAGES[command.format]
        fps, ratio = command.fps or FPS, command.aspect_ratio or image.aspect_ratio
        assumed = "" if command.aspect_ratio else f"; that of {image.camera}"
        print(
            f"assumed: {fps:g} frames/s (--fps), width/height {ratio:.3f} (--aspect_ratio{assumed})"
        )
        common |= {"fps": fps, "aspect_ratio": ratio}
    if command.format == "mp_data":
        block = command.repetitions_per_session or REPETITIONS_PER_SESSION
        recorders = command.recorders or RECORDERS
        print(
            f"assumed: {block} repetitions per session (--repetitions_per_session), {recorders} "
            f"recorder{'s' if recorders > 1 else ''} in turn (--recorders)"
        )
        common |= {"repetitions_per_session": block, "recorders": recorders}
        import_mp_data(command.input, command.output, **common)
    elif command.format == "boston104":
        import_boston104(command.input, command.output, **common)
    elif command.format == "isharah":
        assert command.annotations is not None
        import_isharah(command.input, command.annotations, command.output, **common)
    else:
        assert command.annotations is not None
        common |= {"format": command.format, "normalize": command.normalize}
        import_landmark_files(command.input, command.annotations, command.output, **common)
    print_corpus(command.output)
    return 0


def run_compose(command: ComposeCommand) -> int:
    """`compose`: continuous sentences from isolated recordings."""
    from data.sources.composer import compose

    counts = {
        "train": command.sentences,
        "dev": command.dev_sentences,
        "test": command.test_sentences,
    }
    plans = compose(
        command.input,
        command.output,
        sentences={split: count for split, count in counts.items() if count},
        min_glosses=command.min_glosses,
        max_glosses=command.max_glosses,
        split_by=command.split_by,
        heldout_signers=list(command.heldout_signers) if command.heldout_signers else None,
        seed=command.seed,
        progress=True,
    )
    glosses = {split: plan.gloss_counts() for split, plan in plans.items()}
    width = max(5, *(len(gloss) for counter in glosses.values() for gloss in counter))
    print(" ".join(["gloss".ljust(width), *(split.rjust(6) for split in plans)]))
    for gloss in sorted(set().union(*glosses.values())):
        used = (f"{counter[gloss]:6,}" for counter in glosses.values())
        print(" ".join([gloss.ljust(width), *used]))
    for split, plan in plans.items():
        if plan.left_out:
            print(
                f"left out of {split}: {len(plan.left_out):,} recordings, from sessions with "
                f"fewer than {command.min_glosses} different glosses"
            )
        missing = sorted(set(glosses[split]) - set(glosses["train"]))
        if missing:
            print(
                f"warning: glosses of {split} that are not in train: {', '.join(missing)}",
                file=sys.stderr,
            )
    print_corpus(command.output)
    return 0


def run_resample(command: ResampleCommand) -> int:
    """`resample`: a corpus at another frame rate."""
    from data.sources.corpus_resampling import resample_corpus

    resample_corpus(command.corpus, command.output, command.fps, progress=True)
    print_corpus(command.output)
    return 0


def run_align(command: AlignCommand) -> int:
    """`align`: a corpus with gloss times."""
    from inference.gloss_alignment import HIGH_WER, align_corpus

    found = align_corpus(
        command.corpus, command.checkpoint, command.output, command.device, progress=True
    )
    for split, facts in found.items():
        wer = f"; the model's greedy WER on these is {facts.wer:.1f} %" if facts.aligned else ""
        print(f"{split}: gloss times of {facts.aligned:,} of {facts.sentences:,} sentences{wer}")
    if "train" in found and found["train"].wer > HIGH_WER:
        print(
            f"warning: the model's greedy WER on train is {found['train'].wer:.1f} %, expected at "
            f"most {HIGH_WER:g} %: the times are as good as the model; train it longer "
            "before you align",
            file=sys.stderr,
        )
    print_corpus(command.output)
    return 0


def run_split(command: SplitCommand) -> int:
    """`split`: dev, and test if asked for, split off from train."""
    from data.sources.splitting import HeldOut, split_corpus

    asked = {
        name: HeldOut(share or 0, signers or ())
        for name, share, signers in (
            ("dev", command.dev, command.dev_signers),
            ("test", command.test, command.test_signers),
        )
        if share or signers
    }
    found = split_corpus(
        command.corpus, command.output, by=command.by, seed=command.seed, progress=True, **asked
    )
    for facts in found:
        print("\n".join(facts.lines()))
    for facts in found:
        for line in facts.warnings():
            print(f"warning: {line}", file=sys.stderr)
    print_corpus(command.output)
    return 0


def run_check(command: CheckCommand) -> int:
    """`check`: print the report. Returns 0 when the corpus is fine and 3 when it is broken."""
    from data.corpus_check import check_corpus
    from data.output_place import check_output_files

    if command.html is not None:
        if command.html.suffix.lower() not in (".html", ".htm"):
            raise UsageError(f"--html {command.html}: expected a name that ends in .html")
        check_output_files([command.html], command.overwrite)
    report = check_corpus(command.corpus, progress=True)
    print("\n".join(report.lines()))
    if command.html is not None and "unreadable" in report.problems:
        print(f"note: {command.html} is not written: there is no corpus to show", file=sys.stderr)
    elif command.html is not None:
        from reports.corpus_report import write_corpus_report

        write_corpus_report(report, command.corpus, command.html)
    return 3 if report.problem_count else 0


def print_corpus(path: Path) -> None:
    """Print the splits of a corpus that was made."""
    from data.corpus import Corpus

    corpus = Corpus(path)
    print(f"{path}: {corpus.describe()}")
    for name, split in corpus.splits.items():
        signers = len({one.signer for one in split.sentences if one.signer_is_known})
        glosses = len({gloss for sentence in split.sentences for gloss in sentence.glosses})
        frames = int(split.offsets[-1])
        print(
            f"  {name:5} {len(split):6,} sentences {frames:9,} frames {signers:4,} signers "
            f"{glosses:6,} glosses"
        )


COMMANDS: dict[str, tuple[type[Settings], Callable[[Any], int]]] = {
    "synthesize": (SynthesizeCommand, run_synthesize),
    "extract": (ExtractCommand, run_extract),
    "merge": (MergeCommand, run_merge),
    "import": (ImportCommand, run_import),
    "compose": (ComposeCommand, run_compose),
    "resample": (ResampleCommand, run_resample),
    "align": (AlignCommand, run_align),
    "split": (SplitCommand, run_split),
    "check": (CheckCommand, run_check),
}


if __name__ == "__main__":
    run_script(main, to_its_end=True)
