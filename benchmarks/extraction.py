"""Compare the speed of landmark extraction with that of a plain loop over MediaPipe Holistic.

    python benchmarks/extraction.py --video FILE

Cuts clips of 40 frames from the video, each from another place; every second clip is mirrored. For
each size of --sizes, the clips are padded to its shape and scaled to it. Then three programs
process them, one after the other:

    plain       one process: OpenCV reads a frame, MediaPipe Holistic tracks it
    1 worker    `prepare_data.py extract` with one worker process
    2 workers   the same with two

The table has frames per second, including the start of the processes; how many times as fast as the
plain loop that is; the processor cores that the program kept busy on average; and the share of one
worker's time that reading the frames takes. It also says whether both corpora are the same to the
byte. The machine should be otherwise idle.
"""

import argparse
import math
import multiprocessing
import re
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from benchmarks.results import add_json_option, describe_machine, finish
from command_line import Parser
from data.sources.extraction import extract
from data.sources.holistic import missing_library, quiet_libraries
from data.sources.video_files import RecordingFile
from data.sources.video_frames import open_video_frames
from errors import DataError, UsageError, run_script

CLIP_FRAMES = 40
SIZES = ("210x260", "540x720", "1920x1080")


class Speed(NamedTuple):
    """frames_per_second: of the wall clock. cores: processor time / wall time, NaN on Windows."""

    frames_per_second: float
    cores: float


def size(text: str) -> tuple[int, int]:
    """An argparse type: '540x720' -> (540, 720), width and height. Both are even, as video coders
    need them."""
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    width, height = map(int, match.groups()) if match else (0, 0)
    if not 16 <= min(width, height) <= max(width, height) <= 8192 or width % 2 or height % 2:
        raise argparse.ArgumentTypeError(
            f"{text}: expected WIDTHxHEIGHT, two even numbers from 16 to 8192, such as 540x720"
        )
    return width, height


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


def fitted(frame: np.ndarray, width: int, height: int) -> np.ndarray:
    """A frame (H, W, 3), padded with black to the shape width / height and scaled to the size,
    (height, width, 3)."""
    import cv2

    rows, columns = frame.shape[:2]
    scale = min(width / columns, height / rows)
    inner = max(round(columns * scale), 1), max(round(rows * scale), 1)
    picture = np.zeros((height, width, 3), np.uint8)
    left, top = (width - inner[0]) // 2, (height - inner[1]) // 2
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    picture[top : top + inner[1], left : left + inner[0]] = cv2.resize(
        frame, inner, interpolation=method
    )
    return picture


def write_clips(
    frames: list[np.ndarray], fps: float, folder: Path, count: int, width: int, height: int
) -> Path:
    """Write clips of the size and their annotations to a new folder. Returns the annotation
    file."""
    import cv2

    folder.mkdir(parents=True)
    pictures = [fitted(frame, width, height) for frame in frames]
    lines = ["id|video|signer|annotation"]
    for clip in range(count):
        start = clip * len(frames) // count
        writer = cv2.VideoWriter(
            str(folder / f"{clip}.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), fps, (width, height)
        )
        for number in range(CLIP_FRAMES):
            picture = pictures[(start + number) % len(frames)]
            writer.write(cv2.flip(picture, 1) if clip % 2 else picture)
        writer.release()
        lines.append(f"{clip}|{clip}.mp4|signer|CLIP")
    (folder / "train.csv").write_text("\n".join(lines) + "\n")
    return folder / "train.csv"


def track_plainly(clips: list[str]) -> None:
    """The plain loop: MediaPipe Holistic over each frame that OpenCV reads. Nothing is kept."""
    with quiet_libraries():
        import cv2
        import mediapipe

        holistic = mediapipe.solutions.holistic.Holistic()
        for clip in clips:
            holistic.reset()
            capture = cv2.VideoCapture(clip)
            while True:
                success, frame = capture.read()
                if not success:
                    break
                holistic.process(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
            capture.release()


def in_a_process(clips: list[Path]) -> None:
    """`track_plainly` in a process of its own, as a script would run it. Raises DataError."""
    process = multiprocessing.get_context("spawn").Process(
        target=track_plainly, args=([str(clip) for clip in clips],)
    )
    process.start()
    process.join()
    if process.exitcode:
        raise DataError(
            f"the plain loop over MediaPipe Holistic ended with exit code {process.exitcode}: the "
            "script needs MediaPipe 0.10.14, which requirements.txt installs on Python 3.11 and "
            "3.12"
        )


def speed_of(work: Callable[[], object], frames: int) -> Speed:
    """The speed of work that processes `frames` frames in processes of its own."""
    before, started = processor_seconds(), time.perf_counter()
    work()
    seconds = time.perf_counter() - started
    return Speed(frames / seconds, (processor_seconds() - before) / seconds)


def processor_seconds() -> float:
    """Processor time of all processes that this one started and that have ended. Windows does not
    report it: NaN."""
    if sys.platform != "win32":
        import resource

        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime
    return math.nan


def reading_seconds(clips: list[Path]) -> float:
    """Of reading all frames of the clips as a worker reads them, without tracking."""
    started = time.perf_counter()
    for clip in clips:
        for _ in open_video_frames(RecordingFile(clip, (clip.stem,))).frames:
            pass
    return time.perf_counter() - started


def measure(folder: Path, annotations: Path, count: int) -> tuple[dict[str, Speed], float, bool]:
    """The speed of each program, the share of reading, and whether both corpora are the same."""
    clips, frames = [folder / f"{clip}.mp4" for clip in range(count)], count * CLIP_FRAMES
    speeds = {"plain": speed_of(lambda: in_a_process(clips), frames)}
    contents = {}
    for workers in (1, 2):
        output = folder.parent / f"{folder.name}_by_{workers}" / "corpus"
        name = "1 worker" if workers == 1 else "2 workers"

        def work(workers: int = workers, output: Path = output) -> None:
            found = extract(folder, annotations, output, workers=workers)
            if found.failed:
                raise DataError(f"the extraction failed: {next(iter(found.failed.items()))}")

        speeds[name] = speed_of(work, frames)
        contents[workers] = {path.name: path.read_bytes() for path in output.iterdir()}
    share = reading_seconds(clips) * speeds["1 worker"].frames_per_second / frames
    return speeds, share, contents[1] == contents[2]


def main(argv: list[str] | None = None) -> int:
    parser = Parser(prog="extraction.py", description=__doc__)
    parser.add_argument(
        "--video", type=Path, required=True, metavar="FILE", help="a video of a person who signs"
    )
    parser.add_argument(
        "--clips", type=int, default=12, metavar="N", help="number of clips to cut from it"
    )
    parser.add_argument(
        "--sizes",
        type=size,
        nargs="+",
        default=[size(text) for text in SIZES],
        metavar="WIDTHxHEIGHT",
        help="of the pictures",
    )
    add_json_option(parser)
    arguments = parser.parse_args(argv)
    if arguments.clips < 2:
        raise UsageError(f"--clips {arguments.clips}: expected at least 2, one per worker")
    print(describe_machine())
    print("| size | program | frames/s | times the plain loop | cores busy | reading |")
    print("|---|---|---|---|---|---|")
    figures = {}
    with tempfile.TemporaryDirectory() as temporary:
        try:
            frames, fps = read_frames(arguments.video)
        except ImportError as error:
            raise DataError(missing_library(error)) from None
        for width, height in arguments.sizes:
            label = f"{width}x{height}"
            folder = Path(temporary, label)
            annotations = write_clips(frames, fps, folder, arguments.clips, width, height)
            speeds, share, same = measure(folder, annotations, arguments.clips)
            plain = speeds["plain"].frames_per_second
            for name, found in speeds.items():
                reading = f"{100 * share:.1f} %" if name == "1 worker" else ""
                times = found.frames_per_second / plain
                print(
                    f"| {label} | {name} | {found.frames_per_second:.1f} | {times:.2f} | "
                    f"{found.cores:.2f} | {reading} |",
                    flush=True,
                )
                key = f"{label}_{name.replace(' ', '_')}"
                figures[f"{key}_frames_per_second"] = found.frames_per_second
                figures[f"{key}_cores"] = found.cores
            figures[f"{label}_share_of_reading"] = share
            figures[f"{label}_same_bytes"] = int(same)
            both = speeds["2 workers"].frames_per_second
            figures[f"{label}_two_workers_times_as_fast"] = (
                both / speeds["1 worker"].frames_per_second
            )
    same = all(value for key, value in figures.items() if key.endswith("same_bytes"))
    print(f"both corpora are the same to the byte: {'yes' if same else 'NO'}")
    headline = f"{arguments.sizes[-1][0]}x{arguments.sizes[-1][1]}_two_workers_times_as_fast"
    finish(arguments, figures, headline)
    return 0


if __name__ == "__main__":
    run_script(main)
