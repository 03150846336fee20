"""Read the glosses of videos, folders of frames, landmark files or a camera, with
their times and how sure the model is of them.

    python transcribe.py clip.mp4 --checkpoint best_model.pth
    python transcribe.py clip.mp4 --checkpoint best_model.pth --overlay out.mp4
    python transcribe.py clip.mp4 --checkpoint best_model.pth \\
        --format srt --output clip.srt
    python transcribe.py 'videos/*.mp4' --checkpoint best_model.pth \\
        --format eaf --output elan
    python transcribe.py --camera 0 --checkpoint best_model.pth

A recording is a video (mp4, avi, mov, mkv, webm), a folder of numbered png or
jpg, or landmarks (.pose, .npy, .npz, .parquet as prepare_data.py import reads
them). Each line is start and end in seconds, confidence (0 to 1), gloss; json
has one recording a line. Of several recordings (also all those in a folder, or
of a pattern) each gets a file in the folder --output; one that fails is listed
with the reason, and the rest is done.

Short recordings are read as a whole. Longer ones and the camera are read in
overlapping windows, so that memory does not grow with their length: a gloss is
emitted once the model has seen what follows it, and is never taken back. Other
frame rates than that of the model's corpus are resampled; times are those of
the recording. Ctrl-C ends the camera's transcript.

Exit codes: 0 done, 2 usage, 3 data (a recording failed).
"""

import argparse
import sys
from pathlib import Path

from command_line import Parser, number_between
from errors import UsageError, run_script
from inference.emitter import LOOKAHEAD, OVERLAP, WHOLE_RECORDING, WINDOW
from inference.transcript_files import FORMATS
from training.config import DECODERS


def make_parser() -> Parser:
    parser = Parser(prog="transcribe.py", description=__doc__)
    parser.add_argument(
        "inputs",
        nargs="*",
        metavar="RECORDING",
        help="files, folders, or patterns such as 'videos/*.mp4'",
    )
    parser.add_argument(
        "--camera", type=int, metavar="N", help="read camera N (0 is the first) instead"
    )
    parser.add_argument(
        "--checkpoint",
        type=Path,
        required=True,
        help="best_model.pth of a run, or an exported .onnx",
    )
    parser.add_argument(
        "--decoder",
        choices=DECODERS,
        help="how glosses are read (default: what dev chose, else greedy)",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")

    results = parser.add_argument_group("what is written")
    results.add_argument(
        "--format", choices=FORMATS, default="text", help="srt, vtt: subtitles; eaf: ELAN"
    )
    results.add_argument(
        "--output",
        type=Path,
        metavar="PATH",
        help="file, or folder of several (default: the screen)",
    )
    results.add_argument(
        "--overlay",
        type=Path,
        metavar="PATH",
        help="video with skeleton and glosses (.mp4), or folder of several",
    )

    windows = parser.add_argument_group("online: long recordings and the camera")
    windows.add_argument("--online", action="store_true", help="windows for short recordings too")
    windows.add_argument(
        "--window",
        type=number_between(0, 3600),
        default=WINDOW,
        metavar="S",
        help="seconds of a window",
    )
    windows.add_argument(
        "--overlap",
        type=number_between(0, 3600),
        default=OVERLAP,
        metavar="S",
        help="seconds of overlap of windows",
    )
    windows.add_argument(
        "--lookahead",
        type=number_between(0, 3600),
        default=LOOKAHEAD,
        metavar="S",
        help="seconds seen behind a gloss before it is emitted",
    )
    windows.add_argument(
        "--whole",
        type=number_between(0, 3600),
        default=WHOLE_RECORDING,
        metavar="S",
        help="recordings up to this many seconds are read as a whole",
    )

    assumed = parser.add_argument_group("what recordings do not say")
    assumed.add_argument(
        "--fps",
        type=number_between(1, 1000),
        help="frames a second of folders of frames and landmark files (default: the model's)",
    )
    assumed.add_argument(
        "--aspect_ratio",
        type=number_between(0.2, 5),
        metavar="W/H",
        help="image width / height of .npy, .npz, .parquet (default: the model's)",
    )
    return parser


def check(options: argparse.Namespace) -> None:
    """Refuse what does not go together. Raises UsageError."""
    if (options.camera is None) == (not options.inputs):
        raise UsageError("give recordings or --camera N, one of the two (see transcribe.py --help)")
    if options.camera is not None and options.camera < 0:
        raise UsageError(f"--camera {options.camera}: expected 0 or more")
    if options.camera is not None:
        given = {
            "online": options.online,
            "whole": options.whole != WHOLE_RECORDING,
            "fps": options.fps,
            "aspect_ratio": options.aspect_ratio,
        }
        if name := next((name for name, value in given.items() if value), None):
            raise UsageError(
                f"--{name} has no effect on a camera, which is always read online, by the clock: leave it out"
            )
    if options.overlap >= options.window:
        raise UsageError(
            f"--overlap {options.overlap:g} must be less than --window {options.window:g}"
        )
    if options.lookahead >= options.overlap:
        raise UsageError(
            f"--lookahead {options.lookahead:g} must be less than --overlap {options.overlap:g}: a gloss that one window "
            "leaves open must be in the next"
        )


def main(argv: list[str] | None = None) -> int:
    options = make_parser().parse_args(argv)
    check(options)
    if options.format == "text":
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal that lacks a gloss's letters
    else:
        sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")

    from inference.transcription import TranscriptionRequest, transcribe
    from inference.windows import Windows

    whole = 0.0 if options.online else options.whole
    windows = Windows(
        options.window, options.overlap, options.lookahead, whole, live=options.camera is not None
    )
    return transcribe(
        TranscriptionRequest(
            inputs=tuple(options.inputs),
            camera=options.camera,
            checkpoint=options.checkpoint,
            decoder=options.decoder,
            device=options.device,
            format=options.format,
            output=options.output,
            overlay=options.overlay,
            windows=windows,
            fps=options.fps,
            aspect_ratio=options.aspect_ratio,
        )
    )


if __name__ == "__main__":
    run_script(main)
