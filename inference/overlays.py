"""Overlays: a recording's video with the skeleton and the glosses of its transcript.

The captions need the whole transcript, and it is complete only at the recording's end. So the
landmarks are kept in a temporary file meanwhile, and the pictures are decoded a second time.
"""

import contextlib
import sys
import tempfile
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO

import numpy as np

from data.landmarks import NUM_COORDINATES, NUM_LANDMARKS, PARTS
from data.sources.video_files import RecordingFile
from data.sources.video_frames import open_video_frames
from decoding.timed_gloss import TimedGloss
from errors import DataError, printable
from inference.recordings import Frame
from reports.video_overlay import OverlayWriter

CAPTION_SECONDS = 2.0  # that a gloss stays in the caption after its end
MAX_CAPTION_GLOSSES = 20  # more than fit into a caption
CAMERA_OVERLAY_FPS = 25.0
_TIME_BYTES = 8  # float64
_LANDMARKS_BYTES = NUM_LANDMARKS * NUM_COORDINATES * 4  # float32


class VideoOverlay:
    """Draws the overlay of a video or a folder of frames after it was transcribed.

    Use it in a `with`: `keep` each frame, then `draw`.
    """

    def __init__(self, path: Path, recording: RecordingFile, fps: float, note: str):
        """fps: of the recording. note: is drawn in the corner of each picture."""
        self._recording, self._fps = recording, fps
        self._writer = OverlayWriter(path, fps, note)
        self._kept: IO[bytes] = tempfile.TemporaryFile()
        self._has_begun = False
        self._problem: str | None = None  # why landmarks could not be kept

    def __enter__(self) -> "VideoOverlay":
        self._writer.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with contextlib.suppress(OSError):  # on a full disk: the error was reported before
            self._kept.close()
        self._writer.__exit__(kind, error, traceback)

    def keep(self, frame: Frame) -> None:
        """Keep time and landmarks of the next frame, on disk. Raises DataError at the first one if
        the overlay cannot be written. If the disk is full, `draw` reports it: the transcript does
        not need the landmarks."""
        assert frame.picture is not None, "landmark files have no overlay"
        if self._problem is not None:
            return
        if not self._has_begun:
            self._writer.begin(frame.picture)
            self._has_begun = True
        try:
            self._kept.write(
                np.float64(frame.time).tobytes()
                + frame.landmarks.tobytes()
                + frame.detected.tobytes()
            )
        except OSError as error:
            self._problem = f"{tempfile.gettempdir()}: {error.strerror}"

    def draw(self, glosses: Sequence[TimedGloss]) -> None:
        """Write the overlay with the transcript's glosses. Raises DataError."""
        try:
            self._kept.flush()
        except OSError as error:
            self._problem = f"{tempfile.gettempdir()}: {error.strerror}"
        if self._problem is not None:
            raise DataError(
                f"cannot write {self._writer.path}: the landmarks could not be kept meanwhile "
                f"({self._problem}); make room there, or set TMPDIR to a folder with room"
            )
        first = 0
        for frame in self._frames():
            while first < len(glosses) and glosses[first].end + CAPTION_SECONDS < frame.time:
                first += 1
            caption = []
            for gloss in glosses[first : first + 100]:
                if gloss.start > frame.time:
                    break
                caption.append((gloss.gloss, frame.time < gloss.end))
            _write(self._writer, frame, caption)
        _warn_of_missing_characters(self._writer)
        print(printable(f"overlay: {self._writer.path}"), file=sys.stderr)

    def _frames(self) -> Iterator[Frame]:
        """The recording's pictures again, with the times and landmarks that were kept."""
        self._kept.seek(0)
        for _, picture in open_video_frames(self._recording, self._fps).frames:
            time = np.frombuffer(self._kept.read(_TIME_BYTES))
            landmarks = np.frombuffer(self._kept.read(_LANDMARKS_BYTES), np.float32)
            detected = np.frombuffer(self._kept.read(len(PARTS)), bool)
            shape = NUM_LANDMARKS, NUM_COORDINATES
            yield Frame(float(time[0]), landmarks.reshape(shape), detected, picture)


class CameraOverlay:
    """Draws the overlay of a camera while it runs: the captions are the last emitted glosses.

    Use it in a `with`.
    """

    def __init__(self, path: Path, note: str):
        """note: is drawn in the corner of each picture."""
        self._writer = OverlayWriter(path, CAMERA_OVERLAY_FPS, note)
        self._recent: deque[TimedGloss] = deque(maxlen=MAX_CAPTION_GLOSSES)

    def __enter__(self) -> "CameraOverlay":
        self._writer.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._writer.__exit__(kind, error, traceback)
        if kind is None:
            _warn_of_missing_characters(self._writer)

    def draw(self, frame: Frame, emitted: Sequence[TimedGloss]) -> None:
        """Draw the next frame. emitted: the glosses that are emitted at it. Raises DataError."""
        self._recent.extend(emitted)
        _write(self._writer, frame, [(gloss.gloss, False) for gloss in self._recent])


def _write(writer: OverlayWriter, frame: Frame, caption: Sequence[tuple[str, bool]]) -> None:
    assert frame.picture is not None, "landmark files have no overlay"
    writer.write(frame.time, frame.picture, frame.landmarks, frame.detected, caption)


def _warn_of_missing_characters(writer: OverlayWriter) -> None:
    """Print which characters no installed font has; the overlay has boxes in their place."""
    if writer.missing:
        shown = " ".join(sorted(writer.missing)[:10])
        print(
            f"warning: no installed font has {len(writer.missing)} characters of the glosses "
            f"({shown}): {printable(str(writer.path))} shows boxes for them, the transcript is "
            "complete; on Debian and Ubuntu apt-get install fonts-noto-cjk installs Chinese "
            "characters",
            file=sys.stderr,
        )
