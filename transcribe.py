"""Transcribe videos, folders of frames, landmark files or a camera: glosses with their times and confidences.

    python transcribe.py clip.mp4 --checkpoint best_model.pth
    python transcribe.py clip.mp4 --checkpoint best_model.pth --overlay out.mp4
    python transcribe.py clip.mp4 --checkpoint best_model.pth --format srt --output clip.srt
    python transcribe.py 'videos/*.mp4' --checkpoint best_model.pth --format eaf --output elan
    python transcribe.py --camera 0 --checkpoint best_model.pth

A recording is a video (mp4, mov, mkv, webm and others), a folder of numbered images, or a landmark
file (.pose, .npy, .npz, .parquet as for prepare_data.py import). A line of text has start and end
in seconds, confidence (0 to 1) and gloss. A line of json has one recording. With several recordings
(also a folder or a pattern), --output is a folder and gets a file for each; a name with the ending
of the format, such as clip.srt, is the file of one recording. If a recording fails, the reason is
printed, and the others are transcribed.

Short recordings are transcribed as a whole. Longer ones and the camera are transcribed in
overlapping windows, which limit the memory. A gloss is printed when the model has seen what follows
it. It is never changed later. A causal student with the greedy decoder needs no windows. With
--camera or --online it transcribes frame by frame: a gloss is printed as soon as no later frame can
change it, about half a second after it is signed. A line on stderr shows which way is used.
Recordings with another frame rate than the model's are resampled. Times are those of the recording.
Ctrl-C ends the transcript of a camera. There is no gloss where nobody is seen; a recording of
nobody has no transcript and counts as failed.

--decoder closed takes each recording for one sentence, and chooses it from a list (--closed_set).
It refuses cameras, --online and recordings longer than --whole.

Exit codes: 0 done, 2 usage, 3 data (a recording failed).
"""

import io
import sys
from collections.abc import Sequence

from command_line import Parser, add_options, parse_request
from errors import run_script
from inference.requests import TranscriptionRequest


def make_parser() -> Parser:
    parser = Parser(prog="transcribe.py", description=__doc__).add_version()
    add_options(parser, TranscriptionRequest)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    request = parse_request(make_parser(), argv, TranscriptionRequest)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A terminal may lack a gloss's letters; all other formats are UTF-8.
        encoding = None if request.format == "text" else "utf-8"
        sys.stdout.reconfigure(encoding=encoding, errors="backslashreplace")

    from inference.transcription import transcribe

    return transcribe(request)


if __name__ == "__main__":
    run_script(main)
