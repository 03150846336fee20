"""The options of each command of prepare_data.py."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from data.sources.import_defaults import (
    FPS,
    IMAGES,
    PHONE_FPS,
    RECORDERS,
    REPETITIONS_PER_SESSION,
    VIDEO_FPS,
)
from settings import Settings, setting

_OUTPUT = "the corpus folder to make"
_SEED = "random seed: the same seed makes the same bytes"
_RESAMPLE = "frames per second of the corpus: recordings with another rate are resampled"
_ANNOTATIONS = (
    "train file with dev and test beside it, or their folder: PHOENIX-2014 (also SI5), 2014T, "
    "CSL-Daily, Isharah, or your own train.csv, dev.csv (id|video|signer|annotation; with columns "
    "start_frame|end_frame or start_seconds|end_seconds, sentences are segments of recordings)"
)


def folder(help: str, **declaration: Any) -> Any:
    """A setting that is a required folder."""
    return setting(help=help, metavar="DIR", **declaration)


@dataclass(frozen=True)
class SynthesizeCommand(Settings):
    """Make a corpus of simulated signers."""

    prefix: ClassVar[str] = "--"
    _grammar: ClassVar[str] = "sentences from the built-in grammar"
    _real: ClassVar[str] = "sentences of a real corpus"

    output: Path = folder(_OUTPUT)
    seed: int = setting(0, _SEED, low=0)
    # None: not given. The defaults are those of data/simulation/corpora.py.
    sentences: int | None = setting(
        None, "sentences of train", low=0, group=_grammar, default_text="600"
    )
    dev_sentences: int | None = setting(
        None, "sentences of dev", low=0, group=_grammar, default_text="100"
    )
    test_sentences: int | None = setting(
        None, "sentences of test", low=0, group=_grammar, default_text="0"
    )
    unseen_dev_signers: int | None = setting(
        None, "signers of dev that are not in train", low=0, group=_grammar, default_text="0"
    )
    transcripts: Path | None = setting(
        None,
        "train.corpus.csv (id|folder|signer|annotation) or its folder; dev and test beside it are "
        "used as well",
        group=_real,
        metavar="FILE",
        default_text="none",
    )
    frames: Path | None = setting(
        None,
        "train.frames.csv (id|frames) or its folder: the real lengths of the sentences",
        group=_real,
        metavar="FILE",
        default_text="none",
    )
    fraction: float | None = setting(
        None,
        "keep this share of each split, such as 0.1 for a tenth",
        above=0,
        high=1,
        group=_real,
        default_text="all",
    )

    def conflicts(self) -> list[str]:
        counts = ("sentences", "dev_sentences", "test_sentences", "unseen_dev_signers")
        if self.transcripts is None:
            needing = [name for name in ("frames", "fraction") if getattr(self, name) is not None]
            return [f"--{name} needs --transcripts FILE" for name in needing]
        given = [name for name in counts if getattr(self, name) is not None]
        return [
            f"--{name} has no effect with --transcripts, which have the sentences and signers: "
            "leave it out"
            for name in given
        ]


@dataclass(frozen=True)
class ExtractCommand(Settings):
    """Make a corpus from videos or folders of frames, with MediaPipe Holistic."""

    prefix: ClassVar[str] = "--"

    input: Path = folder("folder of the videos or frame folders")
    annotations: Path = setting(help=_ANNOTATIONS)
    output: Path = folder(_OUTPUT)
    normalize: str | None = setting(
        None,
        "clean up the annotations of train by the official rules of this corpus",
        choices=("phoenix2014",),
        default_text="none",
    )
    workers: int | None = setting(
        None, "worker processes, 400 MB each", low=1, default_text="one per core"
    )
    max_frames: int | None = setting(
        None, "leave out longer videos", low=1, default_text="no limit"
    )
    fps: float | None = setting(
        None,
        "frames per second of all recordings, in place of what the videos say",
        low=1,
        high=1000,
        default_text=f"the videos'; {FPS:g} for folders of frames",
    )
    resample_fps: float | None = setting(
        None, _RESAMPLE, low=5, high=240, default_text="that of most recordings"
    )
    model_complexity: int = setting(
        1, "of the pose model, 0 to 2; 0 and 2 need model files of their own", low=0, high=2
    )
    model: Path | None = setting(
        None,
        "model file of HolisticLandmarker, such as holistic.task; needs MediaPipe 1.x",
        metavar="FILE",
        default_text="MediaPipe's own models",
    )

    def conflicts(self) -> list[str]:
        if self.model is not None and self.model_complexity != 1:
            return ["--model_complexity has no effect with --model FILE: leave it out"]
        return []


@dataclass(frozen=True)
class MergeCommand(Settings):
    """Make one corpus from the shards of an extraction."""

    prefix: ClassVar[str] = "--"

    input: tuple[Path, ...] = folder("the folders <output>.extracting of all shards")
    output: Path = folder(_OUTPUT)
    resample_fps: float | None = setting(
        None, _RESAMPLE, low=5, high=240, default_text="that of most recordings"
    )


@dataclass(frozen=True)
class ImportCommand(Settings):
    """Make a corpus from landmarks that exist as files."""

    prefix: ClassVar[str] = "--"
    _mp_data: ClassVar[str] = "mp_data: <gloss>/<repetition>/<frame>.npy of 1662 or 258 values"
    _sentences: ClassVar[str] = "npy, pose, parquet: one file per sentence; isharah"

    format: str = setting(
        help="layout of the recordings: mp_data, npy, pose, parquet, isharah (pickles of the "
        "challenges MSLR 2025 and SignEval 2026) or boston104 (the tables of RWTH-BOSTON-104)",
        choices=("mp_data", "npy", "pose", "parquet", "isharah", "boston104"),
        metavar="FORMAT",
    )
    input: Path = folder("folder of the recordings; isharah: or one pickle")
    output: Path = folder(_OUTPUT)
    fps: float | None = setting(
        None,
        "frames per second of the recordings, in place of what .pose files say",
        low=1,
        high=1000,
        default_text=f"{FPS:g}; {PHONE_FPS:g} for isharah, {VIDEO_FPS:g} for boston104; .pose "
        "files have their own",
    )
    resample_fps: float | None = setting(
        None, _RESAMPLE, low=5, high=240, default_text="that of most recordings"
    )
    aspect_ratio: float | None = setting(
        None,
        "image width / height of the recordings",
        low=0.2,
        high=5,
        fraction=True,
        metavar="W/H",
        default_text=", ".join(
            f"{image.width}/{image.height} for {format}" for format, image in IMAGES.items()
        ),
    )
    skip_bad: bool = setting(
        False, "leave out train sentences that cannot be read, and list them, instead of stopping"
    )
    repetitions_per_session: int | None = setting(
        None,
        "repetitions of a gloss that were recorded in one session",
        low=1,
        group=_mp_data,
        default_text=str(REPETITIONS_PER_SESSION),
    )
    recorders: int | None = setting(
        None,
        "people who recorded in turn, one session each",
        low=1,
        group=_mp_data,
        default_text=str(RECORDERS),
    )
    annotations: Path | None = setting(
        None,
        "train file with dev and test beside it, or their folder",
        group=_sentences,
        default_text="none",
    )
    normalize: str | None = setting(
        None,
        "clean up the annotations of train by the official rules of this corpus",
        choices=("phoenix2014",),
        group=_sentences,
        default_text="none",
    )

    def conflicts(self) -> list[str]:
        without_annotations = self.format in ("mp_data", "boston104")
        useless: tuple[str, ...] = ()
        if self.format != "mp_data":
            useless += ("repetitions_per_session", "recorders")
        if without_annotations:
            useless += ("annotations",)
        if without_annotations or self.format == "isharah":
            useless += ("normalize",)
        if self.format in ("pose", "isharah", "boston104"):
            useless += ("aspect_ratio",)
        wrong = [
            f"--{name} has no effect with --format {self.format}: leave it out"
            for name in useless
            if getattr(self, name) is not None
        ]
        if not wrong and not without_annotations and self.annotations is None:
            wrong = [
                f"--format {self.format} needs --annotations PATH, the train file or its folder"
            ]
        return wrong


@dataclass(frozen=True)
class ComposeCommand(Settings):
    """Make sentences from recordings of isolated signs."""

    prefix: ClassVar[str] = "--"
    _sentences: ClassVar[str] = "sentences"
    _dev: ClassVar[str] = "what dev is made of"

    input: Path = folder("corpus made by import --format mp_data")
    output: Path = folder(_OUTPUT)
    seed: int = setting(0, _SEED, low=0)
    sentences: int = setting(400, "sentences of train", low=1, group=_sentences)
    dev_sentences: int = setting(80, "sentences of dev", low=0, group=_sentences)
    test_sentences: int = setting(0, "sentences of test", low=0, group=_sentences)
    min_glosses: int = setting(3, "glosses of the shortest sentence", low=1, group=_sentences)
    max_glosses: int = setting(7, "glosses of the longest sentence", low=1, group=_sentences)
    split_by: str = setting(
        "repetition",
        "repetition: the last fifth of each gloss's repetitions in each session; signer: whole "
        "signers",
        choices=("repetition", "signer"),
        group=_dev,
    )
    heldout_signers: tuple[str, ...] | None = setting(
        None,
        "signers of dev, with --split_by signer",
        group=_dev,
        metavar="NAME",
        default_text="the last one in sorted order",
    )

    def conflicts(self) -> list[str]:
        if self.min_glosses > self.max_glosses:
            return [f"--min_glosses {self.min_glosses} is above --max_glosses {self.max_glosses}"]
        return []


@dataclass(frozen=True)
class ResampleCommand(Settings):
    """Make a corpus at another frame rate."""

    prefix: ClassVar[str] = "--"

    corpus: Path = setting(help="the corpus folder", metavar="DIR", positional=True)
    output: Path = folder(_OUTPUT)
    fps: float = setting(help="frames per second of the new corpus", low=5, high=240)


@dataclass(frozen=True)
class AlignCommand(Settings):
    """Find out when the glosses of a corpus begin and end, with a trained model."""

    prefix: ClassVar[str] = "--"

    corpus: Path = setting(help="the corpus folder", metavar="DIR", positional=True)
    checkpoint: Path = setting(help="best_model.pth of a training on its glosses")
    output: Path = folder(_OUTPUT)
    device: str = setting("auto", "auto, cpu, cuda or cuda:N")


@dataclass(frozen=True)
class SplitCommand(Settings):
    """Split off dev, and test if asked for, from the train split of a corpus."""

    prefix: ClassVar[str] = "--"
    _signers: ClassVar[str] = "with --by signer"

    corpus: Path = setting(help="the corpus folder", metavar="DIR", positional=True)
    output: Path = folder(_OUTPUT)
    by: str = setting(
        help="what is new in dev. signer: whole signers are held out; sentence: whole gloss "
        "sequences; random: single sentences",
        choices=("signer", "sentence", "random"),
    )
    dev: float | None = setting(
        None,
        "share of the train sentences for dev",
        above=0,
        below=1,
        default_text="0.1; a corpus that has dev keeps it",
    )
    test: float | None = setting(
        None, "share of the train sentences for test", above=0, below=1, default_text="none"
    )
    seed: int = setting(0, _SEED, low=0)
    dev_signers: tuple[str, ...] | None = setting(
        None, "the signers of dev", group=_signers, metavar="NAME", default_text="by share"
    )
    test_signers: tuple[str, ...] | None = setting(
        None, "the signers of test", group=_signers, metavar="NAME", default_text="by share"
    )

    def conflicts(self) -> list[str]:
        wrong = []
        for name in ("dev", "test"):
            signers, share = getattr(self, f"{name}_signers"), getattr(self, name)
            if signers and self.by != "signer":
                wrong.append(f"--{name}_signers has no effect with --by {self.by}: leave it out")
            elif signers and share is not None:
                wrong.append(f"--{name} {share:g} and --{name}_signers: give one of them")
        if both := {*(self.dev_signers or ())} & {*(self.test_signers or ())}:
            wrong.append(f"signer {min(both)} is in --dev_signers and in --test_signers")
        return wrong


@dataclass(frozen=True)
class CheckCommand(Settings):
    """Verify a corpus and print what is in it."""

    prefix: ClassVar[str] = "--"

    corpus: Path = setting(help="the corpus folder", metavar="DIR", positional=True)
    html: Path | None = setting(
        None,
        "write a page with plots and skeletons as well",
        metavar="FILE",
        default_text="none",
    )
    overwrite: bool = setting(False, "replace a page that exists already")

    def conflicts(self) -> list[str]:
        if self.overwrite and self.html is None:
            return ["--overwrite has no effect without --html FILE: leave it out"]
        return []
