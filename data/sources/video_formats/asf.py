"""Whether an ASF file (.wmv) is whole.

Its header is a list of objects: an id of 16 bytes, the size of the object in 8 bytes, its content.
The File Properties Object has the size of the file. Format: Advanced Systems Format Specification.
"""

from pathlib import Path

_HEADER_ID = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_PROPERTIES_ID = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_BEFORE_OBJECTS = 30  # bytes of the header: id, size, number of objects, two reserved bytes
_FILE_SIZE, _FLAGS = 40, 88  # their places in the File Properties Object
_BROADCAST = 1  # flag: the sizes are not valid
_MOST_OBJECTS = 1000  # usual files have about ten


def missing_bytes(path: Path) -> int:
    """How many bytes an ASF file lacks at its end; 0 for a whole one, for one of unknown size (a
    broadcast), and for every other format. Raises OSError."""
    length, position = path.stat().st_size, _BEFORE_OBJECTS
    with open(path, "rb") as file:
        start = file.read(_BEFORE_OBJECTS)
        if not start.startswith(_HEADER_ID):
            return 0
        end = int.from_bytes(start[16:24], "little")
        for _ in range(_MOST_OBJECTS):
            if not position < min(end, length):
                break
            file.seek(position)
            one = file.read(_FLAGS + 4)
            if one.startswith(_PROPERTIES_ID) and len(one) == _FLAGS + 4:
                if int.from_bytes(one[_FLAGS:], "little") & _BROADCAST:
                    return 0
                return max(0, int.from_bytes(one[_FILE_SIZE : _FILE_SIZE + 8], "little") - length)
            position += max(24, int.from_bytes(one[16:24], "little"))
    return 0
