"""RWTH-BOSTON-104's hand positions → a corpus folder.

The tables are those of https://github.com/udacity/AIND-Recognizer (folder data):

    hands_condensed.csv   video,frame,left-x,left-y,right-x,right-y,nose-x,nose-y    in pixels
    speaker.csv           video,speaker
    train_words.csv       video,speaker,word,startframe,endframe                     161 sentences
    test_words.csv        the same                                                   40 sentences

They have three points per frame: the nose and the middle of each hand. The hands become the pose's
wrists. The tables have no shoulders, but features are measured in shoulder widths. So constant
shoulders stand beside the median nose of each video. All other points of the pose lie at the nose;
fingers and face are not detected.
"""

import csv
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data.corpus_writer import check_output
from data.gloss_times import UNKNOWN
from data.landmarks import (
    LEFT_SHOULDER,
    LEFT_WRIST,
    NUM_LANDMARKS,
    PART_SLICES,
    PARTS,
    RIGHT_SHOULDER,
    RIGHT_WRIST,
)
from data.sources.annotations.transcripts import TranscribedSentence
from data.sources.import_defaults import VIDEO_FPS
from data.sources.landmark_files import LandmarkRecording
from data.sources.landmark_import import write_corpus
from errors import DataError

WIDTH, HEIGHT = 312, 242  # pixels
_FRAMES_PER_ROW = 10  # a video with fewer rows has a wrong frame number
POSITIONS, SPEAKERS = "hands_condensed.csv", "speaker.csv"
POSITION_COLUMNS = "video,frame,left-x,left-y,right-x,right-y,nose-x,nose-y"
SPEAKER_COLUMNS = "video,speaker"
WORD_COLUMNS = "video,speaker,word,startframe,endframe"
WORDS = {"train": "train_words.csv", "test": "test_words.csv"}
# Left shoulder from the nose, image fractions. Chosen by hand: a usual size in these images.
SHOULDER = (0.16, 0.30)


def import_boston104(
    source: Path,
    output: Path,
    *,
    fps: float | None = None,
    resample_fps: float | None = None,
    skip_bad: bool = False,
    progress: bool = False,
) -> None:
    """Write the corpus `output` with the splits train and test.

    Args:
        source: folder of the tables.
        output: the corpus folder to write.
        fps: frames per second of the videos; None: 30.
        resample_fps, skip_bad, progress: as of `import_landmark_files`.

    Raises DataError with file and line for a damaged table, UsageError when `output` is not empty.
    """
    check_output(output, source)
    speakers = {
        row["video"]: row["speaker"] for _, row in _rows(source / SPEAKERS, SPEAKER_COLUMNS)
    }
    positions = _read_positions(source / POSITIONS)
    signs: dict[str, _Signs] = {}  # by the id of the sentence
    splits: dict[str, list[TranscribedSentence]] = {}
    for split, name in WORDS.items():
        splits[split] = []
        for video, of_video in _read_signs(source / name).items():
            if video not in speakers:
                raise DataError(f"{source / SPEAKERS} has no speaker of the video {video}")
            id = f"v{video.zfill(3)}"
            if id in signs:
                raise DataError(
                    f"{source / name}: {WORDS['train']} has the video {video}, too, or it has two "
                    "spellings here: leave it in one of them"
                )
            signs[id] = of_video
            splits[split].append(TranscribedSentence(id, speakers[video], of_video.glosses))

    def read(_: str, sentence: TranscribedSentence) -> LandmarkRecording:
        of_sentence = signs[sentence.id]
        if of_sentence.video not in positions:
            raise DataError(
                f"{source / POSITIONS} has no positions of the video {of_sentence.video}"
            )
        points = positions[of_sentence.video]
        return _recording(points, fps or VIDEO_FPS, of_sentence.times(len(points)))

    write_corpus(
        output,
        source,
        splits,
        read,
        fps=resample_fps or fps or VIDEO_FPS,
        aspect_ratio=WIDTH / HEIGHT,
        format="boston104",
        options={"resample_fps": resample_fps},
        skip_bad=skip_bad,
        progress=progress,
    )


def _rows(path: Path, columns: str) -> list[tuple[str, dict[str, str]]]:
    """The rows of a table, each with its place 'FILE line N'. columns: its header."""
    header = tuple(columns.split(","))
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        raise DataError(
            f"{path} is missing: expected the tables of RWTH-BOSTON-104, {POSITIONS}, {SPEAKERS}, "
            f"{' and '.join(WORDS.values())}"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as UTF-8 text: {error}") from None
    found = tuple(next(csv.reader(lines[:1]), ()))
    if found != header:
        raise DataError(
            f"{path} line 1: expected the header '{columns}', found '{','.join(found)}'"
        )
    rows, reader = [], csv.reader(lines[1:], strict=True)
    try:
        for fields in reader:
            where = f"{path} line {reader.line_num + 1}"
            if len(fields) != len(header):
                raise DataError(f"{where}: expected {len(header)} fields, found {len(fields)}")
            rows.append((where, dict(zip(header, map(str.strip, fields), strict=True))))
    except csv.Error as error:  # such as a quote that is never closed
        raise DataError(f"{path} line {reader.line_num + 1}: {error}") from None
    return rows


def _number(row: dict[str, str], column: str, where: str) -> float:
    try:
        value = float(row[column])
    except ValueError:
        value = np.nan
    if not 0 <= value < 100_000:
        raise DataError(
            f"{where}: {column} is {row[column]!r}, expected a number of pixels or frames"
        )
    return value


class _Signs(NamedTuple):
    """The signs of a video, in the order of their start frames.

    frames: the first and the last frame of each sign, both included.
    """

    video: str
    glosses: tuple[str, ...]
    frames: tuple[tuple[int, int], ...]

    def times(self, length: int) -> np.ndarray:
        """The gloss times (data/gloss_times.py) in a video of `length` frames."""
        times = np.array([(first, min(last + 1, length)) for first, last in self.frames])
        times[times[:, 0] >= length] = UNKNOWN
        return times


def _read_signs(path: Path) -> dict[str, _Signs]:
    """The signs of each video."""
    signs: dict[str, list[tuple[int, str, int]]] = defaultdict(list)
    for where, row in _rows(path, WORD_COLUMNS):
        start, end = (int(_number(row, column, where)) for column in ("startframe", "endframe"))
        if end < start:
            raise DataError(f"{where}: endframe {end} is before startframe {start}: correct it")
        signs[row["video"]].append((start, row["word"], end))
    found = {}
    for video in sorted(signs, key=lambda video: video.zfill(9)):
        rows = sorted(signs[video])
        found[video] = _Signs(
            video,
            tuple(word for _, word, _ in rows),
            tuple((start, end) for start, _, end in rows),
        )
    return found


def _read_positions(path: Path) -> dict[str, np.ndarray]:
    """For each video, float64 (T, 3, 2): nose, left hand and right hand as image fractions, frame
    by frame; NaN in a frame without a row."""
    rows: dict[str, dict[int, list[float]]] = defaultdict(dict)
    for where, row in _rows(path, POSITION_COLUMNS):
        frames, frame = rows[row["video"]], int(_number(row, "frame", where))
        if frame in frames:
            raise DataError(
                f"{where}: a second row of frame {frame} of video {row['video']}: remove one"
            )
        frames[frame] = [
            _number(row, f"{part}-{axis}", where)
            for part in ("nose", "left", "right")
            for axis in "xy"
        ]
    positions = {}
    for video, frames in rows.items():
        if max(frames) > _FRAMES_PER_ROW * (len(frames) + 1):
            raise DataError(
                f"{path}: video {video} has {len(frames)} rows, but one of them is of frame "
                f"{max(frames)}: expected a row for most frames; correct its column 'frame'"
            )
        points = np.full((max(frames) + 1, 6), np.nan)
        points[list(frames)] = list(frames.values())
        positions[video] = points.reshape(-1, 3, 2) / (WIDTH, HEIGHT)
    return positions


def _recording(points: np.ndarray, fps: float, gloss_times: np.ndarray) -> LandmarkRecording:
    """points: as of `_read_positions`."""
    seen = ~np.isnan(points).any(axis=(1, 2))
    landmarks = np.zeros((len(points), NUM_LANDMARKS, 3), np.float32)
    nose = np.median(points[seen, 0], axis=0)
    pose = landmarks[:, PART_SLICES["pose"]]
    pose[seen, :, :2] = points[seen, :1]
    pose[seen, LEFT_WRIST, :2], pose[seen, RIGHT_WRIST, :2] = points[seen, 1], points[seen, 2]
    for shoulder, side in ((LEFT_SHOULDER, 1), (RIGHT_SHOULDER, -1)):
        pose[seen, shoulder, :2] = nose + np.multiply(SHOULDER, (side, 1))
    detected = np.zeros((len(points), len(PARTS)), bool)
    detected[:, PARTS.index("pose")] = seen
    return LandmarkRecording(landmarks, detected, fps, gloss_times=gloss_times)
