"""Whether a Matroska file (.mkv, .webm) is whole. FFmpeg reads one that was cut off without a word.

Format: RFC 8794 (EBML) and RFC 9559 (Matroska).
"""

from pathlib import Path

_EBML_ID, _SEGMENT_ID = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
_LONGEST_HEADER = 4096  # bytes; usual ones have about 40


def missing_bytes(path: Path) -> int:
    """How many bytes a Matroska file lacks at its end; 0 for a whole one, for one of unknown length
    (a live recording), and for every other format. Raises OSError."""
    with open(path, "rb") as file:
        start = file.read(_LONGEST_HEADER)
    if not start.startswith(_EBML_ID):
        return 0
    header_size, position = _read_size(start, len(_EBML_ID))
    segment = position + (header_size or 0)
    if start[segment : segment + len(_SEGMENT_ID)] != _SEGMENT_ID:
        return 0
    segment_size, position = _read_size(start, segment + len(_SEGMENT_ID))
    if segment_size is None:
        return 0
    return max(0, position + segment_size - path.stat().st_size)


def _read_size(data: bytes, position: int) -> tuple[int | None, int]:
    """An EBML size at a position: the size (None: unknown) and the position after it.

    The zeros before the first set bit count the further bytes. A size of ones alone is unknown.
    """
    first = data[position] if position < len(data) else 0
    length = 9 - first.bit_length()
    if length > 8 or position + length > len(data):
        return None, position
    value = int.from_bytes(data[position : position + length]) - (1 << 7 * length)
    return (None if value == (1 << 7 * length) - 1 else value), position + length
