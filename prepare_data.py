"""Make, import, compose and check corpora: folders of landmarks and annotations that the other
scripts train on.

The built-in corpus of simulated signers, or one with the sentences and lengths of a real corpus:

    python prepare_data.py synthesize --output data/corpora/demo
    python prepare_data.py synthesize --output data/corpora/rehearsal \\
        --transcripts phoenix2014/train.corpus.csv --frames phoenix2014/train.frames.csv

Videos (mp4, avi, mov, mkv, webm) or folders of frames (png, jpg), through MediaPipe; by several
machines, then merged:

    python prepare_data.py extract --input videos --annotations annotations --output data/corpora/mine
    RANK=0 WORLD_SIZE=2 python prepare_data.py extract --input videos --annotations annotations --output data/corpora/ours
    python prepare_data.py merge --input SHARD_0/ours.extracting SHARD_1/ours.extracting --output data/corpora/ours

Recordings you have:

    python prepare_data.py import --format mp_data --input MP_Data --output data/corpora/isolated
    python prepare_data.py import --format npy --input FEATURES_DIR --annotations ANNOTATIONS_DIR --output data/corpora/mine
    python prepare_data.py import --format pose --input POSE_DIR --annotations ANNOTATIONS_DIR --output data/corpora/poses

Sentences from isolated recordings, and is all well with a corpus:

    python prepare_data.py compose --input data/corpora/isolated --output data/corpora/composed --sentences 400
    python prepare_data.py check data/corpora/composed

Exit codes: 0 done, 2 a wrong option, 3 wrong or broken data.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from command_line import Parser, number_between
from errors import UsageError, run_script

SYNTHESIZE_DEFAULTS = {
    "sentences": 600,
    "dev_sentences": 100,
    "test_sentences": 0,
    "unseen_dev_signers": 0,
}
ASPECT_RATIOS = {
    "mp_data": (4 / 3, "a 640x480 webcam"),
    "npy": (210 / 260, "210x260, as RWTH-PHOENIX-Weather"),
    "parquet": (3 / 4, "a phone held upright"),
}


EXAMPLES = {  # what --help of a subcommand tells under its first line
    "synthesize": """\
    python prepare_data.py synthesize --output data/corpora/demo

Its sentences come from a small grammar, or with --transcripts from a real corpus.""",
    "extract": """\
    python prepare_data.py extract --input videos --annotations annotations --output data/corpora/mine

Finished videos are kept in <output>.extracting: after a kill, repeat the command and it goes on with the others.
Videos that fail are listed at the end with the reason; the exit code is then 3, and the rest is the corpus.

Several machines share the work by RANK and WORLD_SIZE, as torchrun sets them, and merge makes one corpus of the shards:

    RANK=0 WORLD_SIZE=2 python prepare_data.py extract --input videos --annotations annotations --output data/corpora/ours
    python prepare_data.py merge --input SHARD_0/ours.extracting SHARD_1/ours.extracting --output data/corpora/ours""",
    "merge": """\
    python prepare_data.py merge --input SHARD_0/ours.extracting SHARD_1/ours.extracting --output data/corpora/ours

The corpus is the one that a single machine would have made. All shards must be finished; the exit code is 3 when videos
had failed, which are listed, and the rest is the corpus. Shards that wrote to one shared folder: give it once.""",
    "import": """\
    python prepare_data.py import --format mp_data --input MP_Data --output data/corpora/isolated
    python prepare_data.py import --format npy --input FEATURES_DIR --annotations ANNOTATIONS_DIR --output data/corpora/mine

Each file must have an annotation and each annotation a file, found by its id: <split>/<id>.npy. An npy or npz file holds
(T, 1629), (T, 1662), (T, 6516) or (T, 543, 3 or 4) values; pickles are refused.
Coordinates must be fractions of the image, as MediaPipe gives them.""",
    "compose": """\
    python prepare_data.py compose --input data/corpora/isolated --output data/corpora/composed --sentences 400

A sentence is made of recordings of one signer in one sitting, joined by short movements; no recording is in two splits.""",
    "check": """\
    python prepare_data.py check data/corpora/composed --html report.html

Exit code 0 when all is well, 3 when the corpus is broken: each problem is listed.""",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand; returns the exit code. Raises ProjectError for `run_script` to show."""
    argv = sys.argv[1:] if argv is None else list(argv)
    parser, commands = build_parser()
    command = commands.get(argv[0]) if argv else None
    # A subcommand's line is read by its own parser, which knows the options to suggest.
    arguments = command.parse_args(argv[1:]) if command else parser.parse_args(argv)
    return arguments.run(arguments)


def build_parser() -> tuple[Parser, dict[str, Parser]]:
    """The command line, and that of each subcommand by its name."""
    parser = Parser(prog="prepare_data.py", description=__doc__)
    commands = parser.add_subparsers(
        title="commands", required=True, metavar="{synthesize,extract,merge,import,compose,check}"
    )
    _add_synthesize(
        _command(commands, "synthesize", "a corpus acted by simulated signers", run_synthesize)
    )
    _add_extract(
        _command(
            commands,
            "extract",
            "videos and folders of frames, through MediaPipe Holistic",
            run_extract,
        )
    )
    merge = _command(commands, "merge", "one corpus of the shards of an extraction", run_merge)
    merge.add_argument(
        "--input",
        type=Path,
        nargs="+",
        required=True,
        metavar="DIR",
        help="folders <output>.extracting of all shards",
    )
    merge.add_argument(
        "--output", type=Path, required=True, metavar="DIR", help="the corpus folder to make"
    )
    _add_import(
        _command(
            commands,
            "import",
            "recordings that exist as landmarks: .npy, .npz, .pose, .parquet",
            run_import,
        )
    )
    _add_compose(_command(commands, "compose", "sentences from isolated recordings", run_compose))
    check = _command(commands, "check", "verify a corpus and print what is in it", run_check)
    check.add_argument("corpus", type=Path, metavar="DIR", help="the corpus folder")
    check.add_argument(
        "--html", type=Path, metavar="FILE", help="write it as a page too, with plots and skeletons"
    )
    return parser, commands.choices


def _command(commands, name: str, text: str, run: Callable[[argparse.Namespace], int]) -> Parser:
    description = f"{text[0].upper()}{text[1:]}.\n\n{EXAMPLES[name]}"
    parser = commands.add_parser(name, help=text, description=description)
    parser.set_defaults(run=run)
    return parser


def _add_synthesize(parser: Parser) -> None:
    parser.add_argument(
        "--output", type=Path, required=True, metavar="DIR", help="the corpus folder to make"
    )
    parser.add_argument(
        "--seed", type=_whole(0), default=0, help="same seed, same bytes (default: %(default)s)"
    )
    group = parser.add_argument_group("sentences from the built-in grammar")
    for option, default in SYNTHESIZE_DEFAULTS.items():
        text = {
            "sentences": "sentences to train on",
            "dev_sentences": "sentences of dev",
            "test_sentences": "sentences of test",
            "unseen_dev_signers": "signers of dev that are not in train",
        }[option]
        group.add_argument(
            f"--{option}", type=_whole(0), metavar="N", help=f"{text} (default: {default})"
        )
    group = parser.add_argument_group("sentences of a real corpus")
    group.add_argument(
        "--transcripts",
        type=Path,
        metavar="FILE",
        help="train.corpus.csv (id|folder|signer|annotation), or its folder; dev and test beside it are taken too",
    )
    group.add_argument(
        "--frames",
        type=Path,
        metavar="FILE",
        help="train.frames.csv (id|frames), or its folder: their real lengths",
    )
    group.add_argument(
        "--fraction",
        type=_fraction,
        metavar="F",
        help="keep this share of each split, 0.1 for a tenth (default: all)",
    )


def _add_extract(parser: Parser) -> None:
    parser.add_argument(
        "--input",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder of the videos or frame folders",
    )
    parser.add_argument(
        "--annotations",
        type=Path,
        required=True,
        metavar="PATH",
        help="train file with dev and test beside it, or their folder: PHOENIX-2014 (also SI5), 2014T, CSL-Daily, Isharah, "
        "or your own train.csv, dev.csv (id|video|signer|annotation)",
    )
    parser.add_argument(
        "--output", type=Path, required=True, metavar="DIR", help="the corpus folder to make"
    )
    _add_normalize(parser)
    parser.add_argument(
        "--workers",
        type=_whole(1),
        metavar="N",
        help="processes, 400 MB each (default: one a core)",
    )
    parser.add_argument(
        "--max_frames",
        type=_whole(1),
        metavar="N",
        help="leave longer videos out (default: no limit)",
    )
    parser.add_argument(
        "--fps",
        type=number_between(1, 1000),
        default=25.0,
        help="frames a second of folders of frames",
    )
    parser.add_argument(
        "--model_complexity",
        type=int,
        choices=(0, 1, 2),
        default=1,
        help="of the pose model; 0 and 2 need their files",
    )


def _add_import(parser: Parser) -> None:
    parser.add_argument(
        "--format",
        choices=("mp_data", "npy", "pose", "parquet"),
        required=True,
        help="how the recordings are laid out",
    )
    parser.add_argument(
        "--input", type=Path, required=True, metavar="DIR", help="folder of the recordings"
    )
    parser.add_argument(
        "--output", type=Path, required=True, metavar="DIR", help="the corpus folder to make"
    )
    parser.add_argument(
        "--fps",
        type=number_between(1, 1000),
        help="frames a second of the recordings (default: 25; .pose files say theirs)",
    )
    parser.add_argument(
        "--aspect_ratio",
        type=number_between(0.2, 5),
        metavar="W/H",
        help="image width / height of the recordings (default: 4/3 for mp_data, 210/260 for npy, 3/4 for parquet)",
    )
    parser.add_argument(
        "--skip_bad",
        action="store_true",
        help="leave out train sentences that cannot be read (listed), instead of all",
    )
    group = parser.add_argument_group(
        "mp_data: <gloss>/<repetition>/<frame>.npy of 1662 or 258 values"
    )
    group.add_argument(
        "--repetitions_per_session",
        type=_whole(1),
        metavar="N",
        help="repetitions of a gloss that were recorded in one sitting (default: 30)",
    )
    group.add_argument(
        "--recorders",
        type=_whole(1),
        metavar="N",
        help="people who took turns, a sitting each (default: 1)",
    )
    group = parser.add_argument_group("npy, pose, parquet: a file a sentence")
    group.add_argument(
        "--annotations",
        type=Path,
        metavar="PATH",
        help="train file with dev and test beside it, or their folder",
    )
    _add_normalize(group)


def _add_normalize(parser) -> None:
    parser.add_argument(
        "--normalize",
        choices=("phoenix2014",),
        help="the official clean-up of train's annotations (default: none)",
    )


def _add_compose(parser: Parser) -> None:
    parser.add_argument(
        "--input",
        type=Path,
        required=True,
        metavar="DIR",
        help="corpus made by import --format mp_data",
    )
    parser.add_argument(
        "--output", type=Path, required=True, metavar="DIR", help="the corpus folder to make"
    )
    parser.add_argument(
        "--seed", type=_whole(0), default=0, help="same seed, same bytes (default: %(default)s)"
    )
    group = parser.add_argument_group("sentences")
    group.add_argument(
        "--sentences", type=_whole(1), default=400, metavar="N", help="sentences to train on"
    )
    group.add_argument(
        "--dev_sentences", type=_whole(0), default=80, metavar="N", help="sentences of dev"
    )
    group.add_argument(
        "--test_sentences",
        type=_whole(0),
        default=0,
        metavar="N",
        help="sentences of test (default: %(default)s)",
    )
    group.add_argument(
        "--min_glosses",
        type=_whole(1),
        default=3,
        metavar="N",
        help="glosses of the shortest sentence",
    )
    group.add_argument(
        "--max_glosses",
        type=_whole(1),
        default=7,
        metavar="N",
        help="glosses of the longest sentence",
    )
    group = parser.add_argument_group("what dev is made of")
    group.add_argument(
        "--split_by",
        choices=("repetition", "signer"),
        default="repetition",
        help="the last fifth of each gloss's repetitions in each session, or whole signers",
    )
    group.add_argument(
        "--heldout_signers",
        nargs="+",
        metavar="NAME",
        help="signers of dev, with --split_by signer (default: the last in sorted order)",
    )


def run_synthesize(arguments: argparse.Namespace) -> int:
    """`synthesize`: the built-in corpus, or one with the sentences of transcripts."""
    given = {option: getattr(arguments, option) for option in SYNTHESIZE_DEFAULTS}
    if arguments.transcripts is None:
        for option in ("frames", "fraction"):
            if getattr(arguments, option) is not None:
                raise UsageError(f"--{option} goes with --transcripts FILE")
        from data.simulation.corpora import synthesize

        counts = {
            option: SYNTHESIZE_DEFAULTS[option] if n is None else n for option, n in given.items()
        }
        synthesize(arguments.output, seed=arguments.seed, progress=True, **counts)
    else:
        for option, value in given.items():
            if value is not None:
                raise UsageError(
                    f"--{option} does not go with --transcripts: these say what is signed by whom"
                )
        from data.simulation.corpora import synthesize_transcripts
        from data.sources.transcripts import keep_fraction, read_splits

        splits = read_splits(arguments.transcripts, arguments.frames)
        for split, sentences in splits.items():
            if arguments.fraction is not None:
                splits[split] = keep_fraction(sentences, arguments.fraction, arguments.seed)
            print(
                f"found {split}: {len(sentences):,} sentences, {len(splits[split]):,} to be signed"
            )
        synthesize_transcripts(arguments.output, splits, seed=arguments.seed, progress=True)
    _show(arguments.output)
    return 0


def run_extract(arguments: argparse.Namespace) -> int:
    """`extract`: footage and annotations to a corpus; 3 when videos failed, which are listed, the
    rest is kept."""
    from data.sources.extraction import extract, shard_of

    rank, world_size = shard_of(os.environ)
    report = extract(
        arguments.input,
        arguments.annotations,
        arguments.output,
        workers=arguments.workers,
        max_frames=arguments.max_frames,
        model_complexity=arguments.model_complexity,
        normalize=arguments.normalize,
        fps=arguments.fps,
        rank=rank,
        world_size=world_size,
        progress=True,
    )
    if report.complete:
        _show(arguments.output)
        return _tell(
            report,
            f"; to try only these again, repair them, remove {arguments.output}, repeat the command",
        )
    folder = f"{arguments.output}.extracting"
    print(
        f"shard {rank} of {world_size}: {report.sentences:,} sentences, {report.frames:,} frames in {folder}"
    )
    print("when all shards are finished: prepare_data.py merge --input their folders --output DIR")
    return _tell(report)


def run_merge(arguments: argparse.Namespace) -> int:
    """`merge`: the shards of an extraction to a corpus; 3 when videos had failed."""
    from data.sources.extraction import merge_shards

    report = merge_shards(arguments.input, arguments.output)
    _show(arguments.output)
    return _tell(report)


def _tell(report, again: str = "") -> int:
    """Say what an extraction had to warn of and which videos failed; returns the exit code."""
    for line in report.warnings:
        print(f"warning: {line}", file=sys.stderr)
    for sentence, reason in report.failed.items():
        print(f"failed: {sentence}: {reason}", file=sys.stderr)
    if report.failed:
        count = len(report.failed)
        print(f"{count} of {count + report.sentences} sentences failed{again}", file=sys.stderr)
    return 3 if report.failed else 0


def run_import(arguments: argparse.Namespace) -> int:
    """`import`: recordings that people already have."""
    mp_data_only = ("repetitions_per_session", "recorders")
    others = ("annotations", "normalize") if arguments.format == "mp_data" else mp_data_only
    for option in (*others, "fps", "aspect_ratio") if arguments.format == "pose" else others:
        if getattr(arguments, option) is not None:
            raise UsageError(f"--{option} does not go with --format {arguments.format}")
    if arguments.format != "mp_data" and arguments.annotations is None:
        raise UsageError(
            f"--format {arguments.format} needs --annotations PATH, the train file or its folder"
        )
    from data.sources.importing import import_landmark_files
    from data.sources.mp_data import import_mp_data

    if arguments.format == "pose":
        common = {}
    else:
        ratio, camera = ASPECT_RATIOS[arguments.format]
        common = {"fps": arguments.fps or 25.0, "aspect_ratio": arguments.aspect_ratio or ratio}
        assumed = f"{common['fps']:g} frames/s (--fps), width/height {common['aspect_ratio']:.3f} (--aspect_ratio"
        print(f"taken to be: {assumed}{'' if arguments.aspect_ratio else f'; that of {camera}'})")
    common |= {"progress": True, "skip_bad": arguments.skip_bad}
    if arguments.format != "mp_data":
        common |= {"format": arguments.format, "normalize": arguments.normalize}
        import_landmark_files(arguments.input, arguments.annotations, arguments.output, **common)
    else:
        block, recorders = arguments.repetitions_per_session or 30, arguments.recorders or 1
        print(
            f"taken to be: {block} repetitions a sitting (--repetitions_per_session), "
            f"{recorders} recorder{'s' if recorders > 1 else ''} in turn (--recorders)"
        )
        import_mp_data(
            arguments.input,
            arguments.output,
            repetitions_per_session=block,
            recorders=recorders,
            **common,
        )
    _show(arguments.output)
    return 0


def run_compose(arguments: argparse.Namespace) -> int:
    """`compose`: continuous sentences from isolated recordings."""
    if arguments.min_glosses > arguments.max_glosses:
        raise UsageError(
            f"--min_glosses {arguments.min_glosses} is more than --max_glosses {arguments.max_glosses}"
        )
    from data.sources.composer import compose

    counts = {
        "train": arguments.sentences,
        "dev": arguments.dev_sentences,
        "test": arguments.test_sentences,
    }
    plans = compose(
        arguments.input,
        arguments.output,
        sentences={split: count for split, count in counts.items() if count},
        min_glosses=arguments.min_glosses,
        max_glosses=arguments.max_glosses,
        split_by=arguments.split_by,
        heldout_signers=arguments.heldout_signers,
        seed=arguments.seed,
        progress=True,
    )
    glosses = {split: plan.gloss_counts() for split, plan in plans.items()}
    width = max(len(gloss) for counter in glosses.values() for gloss in counter)
    print(" ".join(["gloss".ljust(max(width, 5)), *(split.rjust(6) for split in plans)]))
    for gloss in sorted(set().union(*glosses.values())):
        print(
            " ".join(
                [
                    gloss.ljust(max(width, 5)),
                    *(f"{counter[gloss]:6,}" for counter in glosses.values()),
                ]
            )
        )
    for split, plan in plans.items():
        if plan.left_out:
            print(
                f"left out of {split}: {len(plan.left_out):,} recordings, in sessions of fewer than "
                f"{arguments.min_glosses} different glosses"
            )
        missing = sorted(set(glosses[split]) - set(glosses["train"]))
        if missing:
            print(
                f"warning: glosses of {split} that train never shows: {', '.join(missing)}",
                file=sys.stderr,
            )
    _show(arguments.output)
    return 0


def run_check(arguments: argparse.Namespace) -> int:
    """`check`: prints the report, 0 when all is well and 3 when the corpus is broken."""
    from data.corpus_check import check_corpus

    report = check_corpus(arguments.corpus, progress=True)
    print("\n".join(report.lines()))
    if arguments.html is not None:
        from reports.corpus_report import write_corpus_report

        write_corpus_report(report, arguments.corpus, arguments.html)
    return 3 if report.problem_count else 0


def _show(path: Path) -> None:
    """Say what was made."""
    from data.corpus import Corpus

    corpus = Corpus(path)
    print(f"{path}: {corpus.describe()}")
    for name, split in corpus.splits.items():
        signers = len({sentence.signer for sentence in split.sentences})
        glosses = len({gloss for sentence in split.sentences for gloss in sentence.glosses})
        frames = int(split.offsets[-1])
        print(
            f"  {name:5} {len(split):6,} sentences {frames:9,} frames {signers:4,} signers {glosses:6,} glosses"
        )


def _whole(least: int) -> Callable[[str], int]:
    """An argparse type: a whole number that is not below `least`."""

    def whole(text: str) -> int:
        if not text.isdecimal() or len(text) > 18 or int(text) < least:
            raise argparse.ArgumentTypeError(
                f"expected a whole number of at least {least}, found '{text}'"
            )
        return int(text)

    return whole


def _fraction(text: str) -> float:
    """An argparse type: a share above 0, at most 1."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"expected a share above 0 and at most 1, found '{text}'")
    return value


if __name__ == "__main__":
    run_script(main)
