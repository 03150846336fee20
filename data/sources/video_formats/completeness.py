"""Whether a video file is shorter than it says. FFmpeg reads one that was cut off without a word.

FLV, MPEG program streams (.mpg) and transport streams (.ts) do not say how long they are. FFmpeg
refuses an .mp4 or .mov that lacks a part.
"""

from pathlib import Path

from data.sources.video_formats import asf, matroska, riff


def missing_bytes(path: Path) -> int:
    """How many bytes a video file lacks at its end; 0 for a whole one, and for one of unknown size.
    Raises OSError."""
    return max(of_format.missing_bytes(path) for of_format in (matroska, riff, asf))
