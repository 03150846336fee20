"""Whether an AVI file is whole.

An AVI file is a chunk `RIFF`: its name and its size, 4 bytes each, then its content. Above 1 GB,
further chunks `RIFF` follow (OpenDML).
"""

from pathlib import Path

_HEADER = 12  # bytes: name, size, kind
# Sizes that stand for an unknown one: a recording that was not finished, or written into a pipe
_UNKNOWN = (0, 0xFFFFFFFF)
# Some programs count the name and the size of the chunk, too
_UNCERTAIN = 8  # bytes


def missing_bytes(path: Path) -> int:
    """How many bytes an AVI file lacks at its end; 0 for a whole one, for one of unknown size, and
    for every other format. Raises OSError."""
    length, position = path.stat().st_size, 0
    with open(path, "rb") as file:
        while position < length:
            file.seek(position)
            header = file.read(_HEADER)
            size = int.from_bytes(header[4:8], "little")
            if header[:4] != b"RIFF" or header[8:] not in (b"AVI ", b"AVIX") or size in _UNKNOWN:
                return 0
            position += 8 + size + size % 2
    missing = position - length
    return missing if missing > _UNCERTAIN else 0
