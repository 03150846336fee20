"""Draw the skeleton and the glosses onto a video.

OpenCV draws the lines. Pillow draws the letters, because OpenCV can draw ASCII only. The font is
matplotlib's DejaVu Sans. If it lacks a character of a gloss, the gloss is drawn in the first
installed font that has all its characters. If there is no such font, the missing characters become
empty boxes, and `OverlayWriter.missing` collects them.
"""

import logging
import os
import shutil
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from data.landmarks import BODY_LINES, FINGER_LINES, PART_SLICES, PARTS, SUBSETS
from data.output_place import partial_beside
from errors import DataError
from reports.text_direction import direction

# Blue, green, red, for OpenCV
COLOURS = {
    "pose": (190, 190, 190),
    "face": (160, 160, 160),
    "left_hand": (255, 160, 40),
    "right_hand": (60, 60, 255),
}
# RGB, for Pillow: a gloss that is over, the gloss that is being signed, the note in the corner
SIGNED, SIGNING, NOTE = (255, 255, 255), (255, 220, 60), (255, 150, 150)
REPLACEMENT = "□"
_LARGEST_NUMERATOR = 65535  # of a frame rate in MPEG-4


class OverlayWriter:
    """Write an mp4. Use it in a `with`: the file has its name only once it is complete.

    Each frame comes with its time and is repeated until the video has reached that time, so that a
    recording with uneven frames plays at its own speed.
    """

    def __init__(self, path: Path, fps: float, note: str = ""):
        """fps: of the recording; the video gets the nearest rate that an mp4 can have.
        note: text in the corner of each picture."""
        self.path, self.fps, self.note = path, writable_rate(fps), note
        self._target = Path(os.path.realpath(path))  # a link stays, its file is replaced
        self._partial = partial_beside(self._target)
        self.missing: set[str] = set()
        self._writer: Any = None  # a cv2.VideoWriter after the first frame
        self._size = (0, 0)  # width and height of the video
        self._written = 0

    def begin(self, picture: np.ndarray) -> None:
        """Open the file for pictures of this size, to find out early whether that is possible.

        `write` does it otherwise. Raises DataError when the file cannot be written.
        """
        self._size = (picture.shape[1], picture.shape[0])
        self._writer = self._open(*self._size)

    def write(
        self,
        time: float,
        picture: np.ndarray,
        landmarks: np.ndarray,
        detected: np.ndarray,
        caption: Sequence[tuple[str, bool]],
    ) -> None:
        """Draw onto a copy of the picture and write it. Raises DataError when that fails.

        Args:
            time: of the frame, in seconds.
            picture: uint8 (H, W, 3), blue, green, red. It gets the size of the first one.
            landmarks: (543, 3), x and y in fractions of the picture.
            detected: (4,).
            caption: glosses, each with whether it is being signed at this time. If they do not all
                fit, the last ones are shown.
        """
        import cv2

        if self._writer is None:
            self.begin(picture)
        if picture.shape[1::-1] != self._size:  # OpenCV would leave it out without a word
            picture = cv2.resize(picture, self._size)
        drawn = draw_skeleton_on_picture(picture, landmarks, detected)
        drawn = self._draw_caption(drawn, caption)
        while self._written <= round(time * self.fps):
            self._writer.write(drawn)
            self._written += 1

    def __enter__(self) -> "OverlayWriter":
        return self

    def __exit__(self, error_type: type[BaseException] | None, *_: object) -> None:
        if self._writer is None:
            return
        self._writer.release()
        try:
            if error_type is None:
                self._check_complete()
                self._partial.replace(self._target)
        finally:
            self._partial.unlink(missing_ok=True)

    def _check_complete(self) -> None:
        """Raise DataError unless all frames can be read: OpenCV does not report a full disk."""
        import cv2

        video = cv2.VideoCapture(str(self._partial))
        frames = round(video.get(cv2.CAP_PROP_FRAME_COUNT)) if video.isOpened() else 0
        video.release()
        if frames < self._written:
            raise DataError(
                f"cannot write {self.path}: {frames} of {self._written} frames can be read; is the "
                "disk full?"
            )

    def _open(self, width: int, height: int) -> Any:
        import cv2

        try:
            self._target.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(f"cannot write {self.path}: {error.strerror}") from None
        try:
            str(self._partial).encode()
        except UnicodeEncodeError:  # OpenCV ends the process
            raise DataError(
                f"cannot write {self.path}: OpenCV needs a path in UTF-8; give another --overlay"
            ) from None
        codec = cv2.VideoWriter.fourcc(*"mp4v")
        writer = cv2.VideoWriter(str(self._partial), codec, self.fps, (width, height))
        if not writer.isOpened():
            self._partial.unlink(missing_ok=True)
            free = shutil.disk_usage(self._target.parent).free / 2**20
            raise DataError(
                f"cannot write {self.path} as a video of {width}x{height} at {self.fps:g} "
                f"frames/s; {free:.1f} MiB are free there"
            )
        return writer

    def _draw_caption(self, picture: np.ndarray, caption: Sequence[tuple[str, bool]]) -> np.ndarray:
        height, width = picture.shape[:2]
        size = max(12, round(height / 18))
        words = [(word, *_font_for(word, size)) for word, _ in caption]
        self.missing.update(*(missing for _, _, missing in words))
        shown: list[tuple[str, ImageFont.FreeTypeFont, float, tuple[int, int, int]]] = []
        space, room = size / 3, width - size
        for (word, font, missing), (_, signing) in zip(
            reversed(words), reversed(caption), strict=True
        ):
            text = "".join(REPLACEMENT if letter in missing else letter for letter in word)
            length = font.getlength(text)
            if shown and length + space > room:
                break
            room -= length + space
            shown.insert(0, (text, font, length, SIGNING if signing else SIGNED))
        image = Image.fromarray(np.ascontiguousarray(picture[..., ::-1]))
        brush = ImageDraw.Draw(image, "RGBA")
        if shown:
            brush.rectangle((0, height - 2 * size, width, height), fill=(0, 0, 0, 150))
        if direction(text for text, *_ in shown) == "rtl":
            shown.reverse()
        x = (width - sum(length for _, _, length, _ in shown) - space * (len(shown) - 1)) / 2
        for text, font, length, colour in shown:
            brush.text((x, height - size), text, font=font, fill=colour, anchor="lm")
            x += length + space
        if self.note:
            font = ImageFont.truetype(_default_font(), max(9, size // 2))
            brush.text(
                (size / 4, size / 4),
                self.note,
                font=font,
                fill=NOTE,
                stroke_width=1,
                stroke_fill=(0, 0, 0),
            )
        return np.ascontiguousarray(np.asarray(image)[..., ::-1])


def writable_rate(fps: float) -> float:
    """The nearest frame rate that OpenCV writes into an mp4.

    MPEG-4 stores it as a fraction of 16-bit numbers, and OpenCV chooses powers of ten as the
    denominator. So a rate such as 119.193 has too many digits.
    """
    return next(
        (round(fps, digits) for digits in (3, 2, 1) if fps * 10**digits <= _LARGEST_NUMERATOR),
        float(min(round(fps), _LARGEST_NUMERATOR)),
    )


def draw_skeleton_on_picture(
    picture: np.ndarray, landmarks: np.ndarray, detected: np.ndarray
) -> np.ndarray:
    """Draw the detected parts onto a copy of the picture.

    picture: uint8 (H, W, 3), blue, green, red; landmarks: (543, 3), x and y in fractions of the
    picture; detected: (4,).
    """
    import cv2

    drawn = picture.copy()
    size = np.array([picture.shape[1], picture.shape[0]])
    points = np.rint(landmarks[:, :2].astype(np.float64) * size).astype(int).clip(-32000, 32000)
    thickness = max(1, picture.shape[0] // 300)
    for part, seen in zip(PARTS, detected, strict=True):
        if not seen:
            continue
        if part == "face":
            for point in points[list(SUBSETS["mouth_brows_eyes"])]:
                cv2.circle(drawn, point.tolist(), thickness, COLOURS[part], -1, cv2.LINE_AA)
            continue
        part_points = points[PART_SLICES[part]]
        lines = [
            part_points[list(line)] for line in (BODY_LINES if part == "pose" else FINGER_LINES)
        ]
        cv2.polylines(
            drawn,
            [line.astype(np.int32) for line in lines],
            False,
            COLOURS[part],
            thickness,
            cv2.LINE_AA,
        )
    return drawn


def _font_for(text: str, size: int) -> tuple[ImageFont.FreeTypeFont, frozenset[str]]:
    path, missing = _font_file(text)
    return _font(path, size), missing


@cache
def _font(path: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(path, size)


@cache
def _default_font() -> str:
    # matplotlib is not imported: its import looks for a writable home folder
    spec = find_spec("matplotlib")
    assert spec is not None and spec.origin is not None
    package = Path(spec.origin).parent
    return str(package / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf")


@cache
def _font_file(text: str) -> tuple[str, frozenset[str]]:
    """A font that has all characters of a text, or else the default font; and the characters that
    the font lacks."""
    missing = _lacking(_default_font(), text)
    if missing:
        for path in _installed_fonts():
            if not _lacking(path, text):
                return path, frozenset()
    return _default_font(), missing


def _lacking(path: str, text: str) -> frozenset[str]:
    known = _characters(path)
    return frozenset(letter for letter in text if ord(letter) not in known)


@cache
def _characters(path: str) -> frozenset[int]:
    from fontTools.ttLib import TTFont, TTLibError

    logging.getLogger("fontTools").setLevel(logging.ERROR)
    try:
        with TTFont(path, fontNumber=0, lazy=True) as font:
            return frozenset(font.getBestCmap() or ())
    except (OSError, TTLibError, KeyError, AssertionError):
        return frozenset()  # the file is no usable font


@cache
def _installed_fonts() -> tuple[str, ...]:
    """Font files in the folders where operating systems keep them, sorted by name in each."""
    folders = [
        "/usr/share/fonts",
        "/usr/local/share/fonts",
        "/Library/Fonts",
        "/System/Library/Fonts",
        "C:/Windows/Fonts",
    ]
    folders += ["~/.fonts", "~/.local/share/fonts", "~/Library/Fonts"]
    found = []
    for folder in folders:
        files = Path(folder).expanduser().rglob("*")
        found += sorted(
            str(path) for path in files if path.suffix.lower() in (".ttf", ".otf", ".ttc")
        )
    return tuple(found)
