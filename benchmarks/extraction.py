"""Compare the speed of landmark extraction with one and with two worker processes.

    python benchmarks/extraction.py --video FILE

Cuts clips of 40 frames from the video, each from another place; every second clip is mirrored.
Extracts them once with one worker and once with two. Prints frames per second, including the start
of the processes, how many times as fast two workers are, and whether both corpora are the same to
the byte. The machine should be otherwise idle and have one core per worker.
"""

import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from benchmarks.results import add_json_option, describe_machine, finish
from command_line import Parser
from data.sources.extraction import extract
from data.sources.holistic import missing_library
from errors import DataError, UsageError, run_script

CLIP_FRAMES = 40


def read_frames(video: Path) -> tuple[list[np.ndarray], float]:
    """All frames of a video, and its frame rate. Raises DataError when it cannot be read."""
    import cv2

    capture = cv2.VideoCapture(str(video))
    frames, fps = [], capture.get(cv2.CAP_PROP_FPS) or 25.0
    while True:
        success, frame = capture.read()
        if not success:
            break
        frames.append(frame)
    capture.release()
    if not frames:
        raise DataError(f"{video} has no frames that OpenCV can read: expected a video")
    return frames, fps


def write_clips(video: Path, folder: Path, count: int) -> Path:
    """Write clips and their annotations to the folder. Returns the annotation file."""
    import cv2

    frames, fps = read_frames(video)
    height, width = frames[0].shape[:2]
    lines = ["id|video|signer|annotation"]
    for clip in range(count):
        start = clip * len(frames) // count
        writer = cv2.VideoWriter(
            str(folder / f"{clip}.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), fps, (width, height)
        )
        for number in range(CLIP_FRAMES):
            frame = frames[(start + number) % len(frames)]
            writer.write(cv2.flip(frame, 1) if clip % 2 else frame)
        writer.release()
        lines.append(f"{clip}|{clip}.mp4|signer|CLIP")
    (folder / "train.csv").write_text("\n".join(lines) + "\n")
    return folder / "train.csv"


def main(argv: list[str] | None = None) -> int:
    parser = Parser(prog="extraction.py", description=__doc__)
    parser.add_argument(
        "--video", type=Path, required=True, metavar="FILE", help="a video of a person who signs"
    )
    parser.add_argument(
        "--clips", type=int, default=24, metavar="N", help="number of clips to cut from it"
    )
    add_json_option(parser)
    arguments = parser.parse_args(argv)
    if arguments.clips < 2:
        raise UsageError(f"--clips {arguments.clips}: expected at least 2, one per worker")
    print(describe_machine())
    with tempfile.TemporaryDirectory() as folder:
        clips = Path(folder, "clips")
        clips.mkdir()
        try:
            annotations = write_clips(arguments.video, clips, arguments.clips)
        except ImportError as error:
            raise DataError(missing_library(error)) from None
        rates, contents = {}, {}
        for workers in (1, 2):
            output = Path(folder, f"by_{workers}", "corpus")
            started = time.perf_counter()
            frames = extract(clips, annotations, output, workers=workers).frames
            rates[workers] = frames / (time.perf_counter() - started)
            contents[workers] = {path.name: path.read_bytes() for path in output.iterdir()}
            print(
                f"extraction_frames_per_second_{workers}_worker{'s' if workers > 1 else ''}: "
                f"{rates[workers]:.2f}"
            )
    same = contents[1] == contents[2]
    print(f"extraction_same_bytes: {'yes' if same else 'no'}")
    figures = {
        "frames_per_second_1_worker": rates[1],
        "frames_per_second_2_workers": rates[2],
        "same_bytes": int(same),
    }
    figures["extraction_two_workers_times_as_fast"] = rates[2] / rates[1]
    finish(arguments, figures, "extraction_two_workers_times_as_fast")
    return 0


if __name__ == "__main__":
    run_script(main)
