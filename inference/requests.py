"""The options of evaluate.py, transcribe.py and export_model.py. No torch in here."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from decoding import DECODERS
from errors import UsageError
from inference.transcript_files import FORMATS
from inference.windows import (
    LOOKAHEAD,
    OVERLAP,
    SAFE_MARGIN,
    WHOLE_RECORDING,
    WINDOW,
    Windows,
)
from settings import Settings, setting

DEVICES = "auto, cpu, cuda or cuda:N"
TRAIN = "train"  # the name of a closed set
HYPOTHESES = "hypotheses.csv"  # of an evaluation; --compare_with reads it
# Endings of files that are of one format alone
TRANSCRIPT_ENDINGS = {"json": (".json",), "srt": (".srt",), "vtt": (".vtt",), "eaf": (".eaf",)}
EXPORT_ENDINGS = {"onnx": (".onnx",), "torchscript": (".pt", ".ts")}


@dataclass(frozen=True, kw_only=True)
class EvaluationRequest(Settings):
    """The options of evaluate.py."""

    prefix: ClassVar[str] = "--"
    _what: ClassVar[str] = "what is evaluated"
    _how: ClassVar[str] = "decoding and scoring"
    _files: ClassVar[str] = "results"

    checkpoint: Path = setting(help="best_model.pth of a run", group=_what)
    data_dir: str | None = setting(
        None,
        "corpus folder",
        group=_what,
        default_text="the corpus that the checkpoint was trained on",
    )
    split: str = setting(
        "dev", "split of the corpus", choices=("train", "dev", "test"), group=_what
    )
    decoder: str = setting(
        "adaptive",
        "decoder; adaptive: with the settings that were chosen on dev; closed: only the sentences "
        "of a list (--closed_set)",
        choices=DECODERS,
        group=_how,
    )
    language_model: str | None = setting(
        None,
        "bigram language model: the path of an ARPA file; train: estimated from the train "
        "transcripts of the corpus; none: no language model",
        group=_how,
        option="lm",
        metavar="PATH|train|none",
        default_text="the checkpoint's, if one was chosen on dev",
    )
    closed_set: str | None = setting(
        None,
        "sentences that --decoder closed chooses from: the path of a text file with one sentence "
        "per line; train: those of the train split of the corpus",
        group=_how,
        metavar="PATH|train",
        default_text="train",
    )
    scoring: str = setting(
        "plain",
        "phoenix2014: the official clean-up of the corpus is applied to hypotheses, gloss by "
        "gloss; references stay as they are",
        choices=("plain", "phoenix2014"),
        group=_how,
    )
    device: str = setting("auto", DEVICES, group=_how)
    output_dir: Path | None = setting(
        None,
        "folder of the results",
        group=_files,
        metavar="DIR",
        default_text="evaluation_<split>_<decoder> beside the checkpoint; with the corpus's name "
        "after evaluation_ if it is not the one of the training",
    )
    overwrite: bool = setting(
        False, "replace the results of an earlier evaluation in that folder", group=_files
    )
    compare_with: Path | None = setting(
        None,
        "folder of another evaluation, for a paired test",
        group=_files,
        metavar="DIR",
        default_text="none",
    )

    def folder(self, other_corpus: str | None) -> Path:
        """The folder of the results: by default evaluation_<split>_<decoder> beside the checkpoint,
        with _lm_<name>, _<closed set> and _phoenix2014 where those were given.

        other_corpus: name of the corpus if it is not the one of the training. Its evaluation gets a
            folder of its own, evaluation_<name>_<split>_<decoder>.
        """
        if self.output_dir is not None:
            return self.output_dir
        words = ["evaluation", self.split, self.decoder]
        if other_corpus is not None:
            words.insert(1, re.sub(r"[^\w.-]+", "_", other_corpus)[:80])
        if self.language_model is not None:
            words += ["lm", Path(self.language_model).stem]
        if self.closed_set not in (None, TRAIN):
            words.append(Path(self.closed_set).stem)
        if self.scoring != "plain":
            words.append(self.scoring)
        return self.checkpoint.parent / "_".join(words)

    @property
    def input_files(self) -> list[Path]:
        """The files that are read, besides the corpus."""
        baseline = [] if self.compare_with is None else [self.compare_with / HYPOTHESES]
        return [
            self.checkpoint,
            *_file_of(self.language_model),
            *_file_of(self.closed_set),
            *baseline,
        ]

    @property
    def cleans_up(self) -> bool:
        """Whether hypotheses pass the official clean-up of PHOENIX-2014 before they are scored."""
        return self.scoring == "phoenix2014"

    def conflicts(self) -> list[str]:
        if self.decoder in ("greedy", "closed") and self.language_model is not None:
            return [f"--lm has no effect on --decoder {self.decoder}: use adaptive or beam"]
        return _useless_closed_set(self.decoder, self.closed_set)


def is_folder_name(given: str | Path | None) -> bool:
    """Whether a name of the command line ends in a slash, so that it is a folder's."""
    return str(given).endswith(("/", os.sep))


def _file_of(name: str | None) -> list[Path]:
    """The file that --lm or --closed_set names; none for a word such as train."""
    return [] if name in (None, TRAIN, "none") else [Path(name)]


def _useless_closed_set(decoder: str | None, closed_set: str | None) -> list[str]:
    if closed_set is None or decoder == "closed":
        return []
    found = "without --decoder closed" if decoder is None else f"on --decoder {decoder}"
    return [f"--closed_set has no effect {found}: give --decoder closed, or leave it out"]


def _other_ending(output: Path, format: str, endings: Mapping[str, Sequence[str]]) -> list[str]:
    """What is wrong with a file whose name has the ending of another format, in words."""
    ending = output.suffix.lower()
    named = next((name for name, known in endings.items() if ending in known), format)
    if named == format:
        return []
    return [f"--output {output} ends like {named}, but --format is {format}: change one of them"]


@dataclass(frozen=True, kw_only=True)
class TranscriptionRequest(Settings):
    """The options of transcribe.py."""

    prefix: ClassVar[str] = "--"
    _model: ClassVar[str] = "model and decoder"
    _results: ClassVar[str] = "results"
    _online: ClassVar[str] = "online: long recordings and the camera"
    _assumed: ClassVar[str] = "facts that recordings do not have"

    inputs: tuple[str, ...] = setting(
        (),
        "files, folders, or patterns such as 'videos/*.mp4'",
        metavar="RECORDING",
        positional=True,
    )
    camera: int | None = setting(
        None, "transcribe camera N instead; 0 is the first", low=0, high=99, default_text="none"
    )
    checkpoint: Path = setting(
        help="best_model.pth of a run, or an exported .onnx file", group=_model
    )
    decoder: str | None = setting(
        None,
        "decoder; closed: the most probable sentence of a list (--closed_set) for each recording",
        choices=DECODERS,
        group=_model,
        default_text="the one chosen on dev, else greedy",
    )
    closed_set: str | None = setting(
        None,
        "sentences that --decoder closed chooses from: the path of a text file with one sentence "
        "per line; train: those of the corpus that the checkpoint was trained on",
        group=_model,
        metavar="PATH|train",
        default_text="train",
    )
    device: str = setting("auto", DEVICES, group=_model)
    model: Path | None = setting(
        None,
        "of the tracker: file of HolisticLandmarker, such as holistic.task; needs MediaPipe 1.x",
        metavar="FILE",
        group=_model,
        default_text="MediaPipe's own models",
    )
    format: str = setting("text", "srt, vtt: subtitles; eaf: ELAN", choices=FORMATS, group=_results)
    output: str | None = setting(  # a Path does not keep the slash at the end of a folder
        None,
        "file, or folder for several recordings",
        group=_results,
        metavar="PATH",
        default_text="the screen",
    )
    overlay: Path | None = setting(
        None,
        "video with skeleton and glosses (.mp4), or folder for several recordings",
        group=_results,
        default_text="none",
    )
    overwrite: bool = setting(False, "replace files that exist already", group=_results)
    skip_existing: bool = setting(
        False,
        "leave out recordings whose files exist already, to go on where a transcription of many "
        "recordings was interrupted",
        group=_results,
    )
    online: bool = setting(
        False,
        "short recordings as well: a causal student with the greedy decoder transcribes frame by "
        "frame, all other models use windows",
        group=_online,
    )
    window: float = setting(
        WINDOW, "seconds of a window", low=0, high=3600, group=_online, metavar="S"
    )
    overlap: float = setting(
        OVERLAP,
        "seconds by which a window overlaps the next; below --lookahead + "
        f"{SAFE_MARGIN:g}, a gloss that is followed by the same gloss can be lost",
        low=0,
        high=3600,
        group=_online,
        metavar="S",
    )
    lookahead: float = setting(
        LOOKAHEAD,
        "seconds after a gloss that must be seen before it is printed",
        low=0,
        high=3600,
        group=_online,
        metavar="S",
    )
    whole: float = setting(
        WHOLE_RECORDING,
        "recordings up to this many seconds are transcribed as a whole",
        low=0,
        high=3600,
        group=_online,
        metavar="S",
    )
    fps: float | None = setting(
        None,
        "frames per second of the recordings, in place of what they say",
        low=1,
        high=1000,
        group=_assumed,
        default_text="the recordings' own; the model's for files without one",
    )
    aspect_ratio: float | None = setting(
        None,
        "image width / height of .npy, .npz and .parquet files",
        low=0.2,
        high=5,
        fraction=True,
        group=_assumed,
        metavar="W/H",
        default_text="the model's",
    )

    @property
    def windows(self) -> Windows:
        """The windows of long recordings, of all recordings with --online, and of a camera."""
        whole = 0.0 if self.online else self.whole
        live = self.camera is not None
        return Windows(self.window, self.overlap, self.lookahead, whole, live)

    @property
    def model_files(self) -> list[Path]:
        """The files that decide how recordings are transcribed."""
        return [self.checkpoint, *_file_of(self.closed_set), *([self.model] if self.model else [])]

    @property
    def output_path(self) -> Path | None:
        """--output as a path."""
        return None if self.output is None else Path(self.output)

    def conflicts(self) -> list[str]:
        if (self.camera is None) == (not self.inputs):
            return ["give recordings or --camera N, one of the two (see transcribe.py --help)"]
        if self.decoder == "closed" and self.windows.online:
            given = "--camera" if self.camera is not None else "--online or --whole 0"
            return [
                f"{given}: --decoder closed chooses one sentence for a whole recording, so it "
                "cannot transcribe online: use another decoder, or recordings of one sentence each"
            ]
        useless = {
            "online": self.online,
            "whole": self.whole != WHOLE_RECORDING,
            "fps": self.fps,
            "aspect_ratio": self.aspect_ratio,
        }
        if self.camera is not None and any(useless.values()):
            name = next(name for name, value in useless.items() if value)
            return [
                f"--{name} has no effect on a camera, which is always transcribed online, by the "
                "clock: leave it out"
            ]
        if self.camera is not None and is_folder_name(self.output):
            return [f"--output {self.output} is a folder: expected the name of a file for a camera"]
        if self.camera is not None and self.skip_existing:
            return ["--skip_existing has no effect on a camera: leave it out"]
        if self.skip_existing and self.overwrite:
            return ["--skip_existing keeps the files that --overwrite replaces: choose one of them"]
        if self.skip_existing and self.output is None and self.overlay is None:
            return ["--skip_existing has no effect without --output or --overlay: give one of them"]
        if self.overwrite and self.output is None and self.overlay is None:
            return ["--overwrite has no effect without --output or --overlay: leave it out"]
        if self.overlap >= self.window:
            return [f"--overlap {self.overlap:g} must be less than --window {self.window:g}"]
        if self.lookahead >= self.overlap:
            return [
                f"--lookahead {self.lookahead:g} must be less than --overlap {self.overlap:g}: a "
                "gloss that one window leaves open must be in the next"
            ]
        output = self.output_path
        if output is not None and not is_folder_name(self.output) and not output.is_dir():
            wrong = _other_ending(output, self.format, TRANSCRIPT_ENDINGS)
            if wrong:
                return wrong
        return _useless_closed_set(self.decoder, self.closed_set)


@dataclass(frozen=True, kw_only=True)
class ExportRequest(Settings):
    """The options of export_model.py."""

    prefix: ClassVar[str] = "--"
    _files: ClassVar[str] = "files"
    _kind: ClassVar[str] = "what is written"

    checkpoint: Path = setting(help="best_model.pth of a teacher or a student", group=_files)
    output: Path = setting(help="file to write", group=_files)
    overwrite: bool = setting(False, "replace a file that exists already", group=_files)
    data_dir: str | None = setting(
        None,
        "corpus on which the file is compared with torch; the file's content does not depend on it",
        group=_files,
        default_text="the corpus that the checkpoint was trained on; if it is not here, made-up "
        "recordings",
    )
    format: str = setting(
        "onnx", "format of the file", choices=("onnx", "torchscript"), group=_kind
    )
    int8: bool = setting(False, "onnx: weights in 8 bits (dynamic quantisation)", group=_kind)

    def conflicts(self) -> list[str]:
        if self.int8 and self.format != "onnx":
            return ["--int8 quantises ONNX files: use it with --format onnx"]
        return _other_ending(self.output, self.format, EXPORT_ENDINGS)

    def refuse_unknown_ending(self) -> None:
        """Raise UsageError if the name of the output does not tell its format: transcribe.py knows
        an exported file by its ending."""
        known = EXPORT_ENDINGS[self.format]
        if self.output.suffix.lower() not in known:
            raise UsageError(
                f"--output {self.output}: expected a name that ends in {' or '.join(known)}"
            )
